"""Where the Authority writes what it decides, as a protocol and as a list in memory.

Writing comes first: an event that cannot be recorded must not happen, so ``record`` raises and the caller
stops.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from ztsession.audit.entry import encode_entry

__all__ = ["AuditSink", "MemoryAudit"]


class AuditSink(Protocol):
    """Anything that keeps audit entries."""

    def record(self, event: str, **fields: object) -> None:
        """Keep one entry, durably, before returning; AuditError when that is not certain."""


class MemoryAudit:
    """Entries in a list, under the same rules as on disk: what a test records, production can record too."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self.entries: list[dict[str, Any]] = []

    def record(self, event: str, **fields: object) -> None:
        """Keep one entry as it would read from a log file; AuditError for what no entry may hold."""
        with self._lock:
            line = encode_entry(len(self.entries) + 1, self._clock(), event, fields)
            self.entries.append(json.loads(line))

    def events(self) -> list[str]:
        """The names of the recorded events, in order."""
        with self._lock:
            return [entry["event"] for entry in self.entries]
