"""A trading floor in miniature: an algorithm, a person, a service, and somebody who holds the wrong keys."""
