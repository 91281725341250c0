"""Zero-trust continuous verification inside trading systems, at perimeter latency."""
