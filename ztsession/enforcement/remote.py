"""An Authority in another process, as an enforcement point sees it: it answers questions, and takes reports.

The point was handed what it must trust beforehand: its segment's key file, its segment's operations, and the
Authority's public key. What comes over the connection is signed, so the connection itself needs no protection
of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from ztsession.bus.change import Change
from ztsession.client.transport import Transport
from ztsession.errors import ConfigurationError, TransportError
from ztsession.policy.catalog import Segment
from ztsession.tickets.segment_key import SegmentKey

__all__ = ["RemoteAuthority"]

_T = TypeVar("_T")


class RemoteAuthority:
    """Give this to ``EnforcementPoint(segment, authority=...)`` in a process without an Authority."""

    #: Nothing is pushed into this process: the point keeps a question open at the Authority instead.
    pushes = False

    def __init__(
        self,
        dial: Callable[[], Transport],
        *,
        segment: Segment,
        segment_key: SegmentKey | Sequence[SegmentKey],
        ticket_key: bytes | Sequence[bytes],
    ) -> None:
        """``dial`` opens a connection and raises TransportError. ``segment_key``: the segment's key, or
        several while it is replaced; ``ticket_key``: ``Authority.ticket_key``, or several likewise.
        """
        self._dial, self._segment = dial, segment
        self.ticket_keys = (ticket_key,) if isinstance(ticket_key, bytes) else tuple(ticket_key)
        self._segment_keys = (segment_key,) if isinstance(segment_key, SegmentKey) else tuple(segment_key)
        #: A question is held open for seconds, and a report must not wait for its answer.
        self._questions, self._reports = _Line(dial), _Line(dial)

    def segment(self, name: str) -> Segment:
        """The one segment that this process enforces."""
        return self._only(name, self._segment)

    def segment_keys(self, name: str) -> Sequence[SegmentKey]:
        """Its keys."""
        return self._only(name, self._segment_keys)

    def add_segment_key(self, key: SegmentKey) -> None:
        """Take tickets that are sealed to this key, too, from the next one on."""
        self._only(key.segment, key)
        if key not in self._segment_keys:
            self._segment_keys = (*self._segment_keys, key)

    def subscribe(self, receiver: Callable[[Change], None]) -> Callable[[], None]:
        """Nothing to subscribe to; see ``pushes``."""
        return lambda: None

    def feed(self, request: bytes) -> bytes:
        """Ask over the connection, which is opened anew after it failed."""
        return self._questions.exchange(request)

    def report(self, report: bytes) -> bytes:
        """Answer an encoded SignalReport, over a connection of its own."""
        return self._reports.exchange(report)

    def close(self) -> None:
        """Ask no more, and close the connections as soon as what is under way has its answer."""
        self._questions.close()
        self._reports.close()

    def _only(self, name: str, what: _T) -> _T:
        if name != self._segment.name:
            raise ConfigurationError(f"this process enforces segment {self._segment.name!r}, not {name!r}")
        return what


class _Line:
    """One connection that is opened when it is needed, and anew after it failed. Thread-safe."""

    def __init__(self, dial: Callable[[], Transport]) -> None:
        self._dial, self._lock, self._closed = dial, threading.Lock(), threading.Event()
        self._transport: Transport | None = None

    def exchange(self, message: bytes) -> bytes:
        try:
            with self._lock:
                if self._closed.is_set():
                    raise TransportError("the connection to the Authority was closed here")
                transport, self._transport = self._transport or self._dial(), None
                answer = transport.exchange(message)
                self._transport = transport
                return answer
        finally:
            if self._closed.is_set():
                self.close()

    def close(self) -> None:
        self._closed.set()
        if self._lock.acquire(blocking=False):
            try:
                transport = self._transport
                self._transport = None
                close = getattr(transport, "close", None)
                if close is not None:
                    close()
            finally:
                self._lock.release()
