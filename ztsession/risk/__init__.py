"""Risk: signals that bear on trust, and the mode that they put a session in."""
