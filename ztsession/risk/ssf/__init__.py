"""Security events as others say them: SETs, CAEP and RISC, and what they are to us."""
