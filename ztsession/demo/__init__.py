"""A trading floor in miniature: four processes, one session, and somebody who holds the wrong keys."""
