"""Where it is written what was decided: as a protocol, as a list in memory, and as lines of the log.

Writing comes first: an event that cannot be recorded must not happen, so ``record`` raises and the caller
stops.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Protocol

from ztsession.audit.entry import encode_entry

__all__ = ["AuditSink", "LogAudit", "MemoryAudit"]

_LOG: Final = logging.getLogger("ztsession.audit")


class AuditSink(Protocol):
    """Anything that keeps audit entries."""

    def record(self, event: str, **fields: object) -> None:
        """Keep one entry, durably, before returning; AuditError when that is not certain."""

    def record_all(self, event: str, entries: Iterable[Mapping[str, object]]) -> None:
        """Keep an entry of one event for each of the fields in ``entries``, as :meth:`record` does, in the
        time of a few. AuditError when that is not certain of all of them.
        """


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

    def record_all(self, event: str, entries: Iterable[Mapping[str, object]]) -> None:
        """Keep them one by one."""
        for fields in entries:
            self.record(event, **fields)

    def events(self) -> list[str]:
        """The names of the recorded events, in order."""
        with self._lock:
            return [entry["event"] for entry in self.entries]


class LogAudit:
    """Entries as lines of JSON in the log ``ztsession.audit``: for a process that has no audit log of its
    own. Whether they last is that log's affair.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._written = 0

    def record(self, event: str, **fields: object) -> None:
        """Log one entry; AuditError for what no entry may hold."""
        with self._lock:
            line = encode_entry(self._written + 1, self._clock(), event, fields)
            self._written += 1
        _LOG.warning("%s", line.decode("ascii").rstrip())

    def record_all(self, event: str, entries: Iterable[Mapping[str, object]]) -> None:
        """Log them one by one."""
        for fields in entries:
            self.record(event, **fields)
