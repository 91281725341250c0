"""Detectors: what the counters of the call path, and the list of live sessions, say against somebody."""
