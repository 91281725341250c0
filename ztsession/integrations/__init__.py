"""Thin adapters, one per framework or kind of connection."""
