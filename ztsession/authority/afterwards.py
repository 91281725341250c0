"""An audit log for what takes rights away: that happens in any case, and complaints come afterwards.

A grant that cannot be recorded is not made. But if a revocation waited for the log, then whoever can fill a
disk could keep a stolen session alive.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Self

from ztsession.audit.sink import AuditSink
from ztsession.errors import AuditError

__all__ = ["Afterwards"]


class Afterwards:
    """Records entries; the first AuditError is raised when the block ends, unless something worse was."""

    def __init__(self, sink: AuditSink) -> None:
        self._sink = sink
        self._failed: AuditError | None = None

    def record(self, event: str, **fields: object) -> None:
        """Keep one entry if it can be kept."""
        try:
            self._sink.record(event, **fields)
        except AuditError as error:
            self._failed = self._failed or error

    def record_all(self, event: str, entries: Iterable[Mapping[str, object]]) -> None:
        """Keep entries if they can be kept, as :meth:`AuditSink.record_all`."""
        try:
            self._sink.record_all(event, entries)
        except AuditError as error:
            self._failed = self._failed or error

    def __enter__(self) -> Self:
        """The log itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Raise what failed."""
        if error is None and self._failed is not None:
            raise self._failed
