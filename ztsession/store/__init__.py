"""Store: the Authority's state on disk."""
