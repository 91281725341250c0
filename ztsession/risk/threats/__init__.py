"""Threat intelligence: lists of addresses, keys and digests that others know to be bad, and what matches."""
