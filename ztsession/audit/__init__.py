"""Audit: what was decided, when and why, written before it takes effect."""
