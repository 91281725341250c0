"""What a transmitter says of its own stream: whether it still sends, and that what it sends arrives.

A stream that is silent is either at peace or broken, and they look the same from here. So a receiver asks for
a verification event with a text that it has made up, and waits for that text to come back by the way that all
events come (SSF 1.0, section 8.1.4). One that was not asked for with this text is refused.
"""

from __future__ import annotations

import hmac
import logging
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from ztsession.errors import EventRefused
from ztsession.risk.ssf.names import VERIFICATION
from ztsession.risk.ssf.sets import INVALID_REQUEST, SecurityEvent
from ztsession.risk.ssf.subjects import SIMPLE, Identifier

__all__ = ["ENABLED", "INVALID_STATE", "STATUSES", "StreamStatus", "Streams", "Verification"]

#: Beside those of RFC 8935 (SSF 1.0, section 8.1.4.1).
INVALID_STATE: Final = "invalid_state"
ENABLED: Final = "enabled"
STATUSES: Final = (ENABLED, "paused", "disabled")
_REASON_MAX_BYTES: Final = 256
_STATE_BYTES: Final = 16

_log = logging.getLogger("ztsession.ssf")


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """What was said last; ``status`` out of ``STATUSES``, ``reason`` for people."""

    stream_id: str
    status: str
    reason: str = ""


@dataclass(frozen=True)
class Verification:
    """One verification that was asked for; ``state`` is the text that has to come back."""

    stream_id: str
    state: str = field(repr=False)
    _arrived: threading.Event = field(default_factory=threading.Event, repr=False)

    def wait(self, timeout_s: float) -> bool:
        """Whether it came back within so many seconds."""
        return self._arrived.wait(timeout_s)


class Streams:
    """The streams of all transmitters, by the name of each. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._expected: dict[str, Verification] = {}
        self._statuses: dict[str, StreamStatus] = {}

    @property
    def statuses(self) -> Mapping[str, StreamStatus]:
        """What each transmitter that said anything has said last of its stream."""
        with self._lock:
            return dict(self._statuses)

    def expect(self, name: str, stream_id: str) -> Verification:
        """Make up a text for the next verification of a stream, in the place of the one before."""
        verification = Verification(stream_id, secrets.token_urlsafe(_STATE_BYTES))
        with self._lock:
            self._expected[name] = verification
        return verification

    def take(self, name: str, event: SecurityEvent) -> None:
        """Take an event about a stream; EventRefused if it is malformed, or verifies what was not asked."""
        stream_id = _stream_id(event)
        if event.type == VERIFICATION:
            self._verified(name, stream_id, event)
        else:
            self._updated(name, stream_id, event)

    def _verified(self, name: str, stream_id: str, event: SecurityEvent) -> None:
        if "state" not in event.members:
            return  # the transmitter's own idea
        state = event.members["state"]
        with self._lock:
            expected = self._expected.get(name)
        # Kept when it came: the same SET may be delivered twice.
        if (
            expected is None
            or type(state) is not str
            or expected.stream_id != stream_id
            or not hmac.compare_digest(expected.state.encode(), state.encode("utf-8", "surrogatepass"))
        ):
            raise EventRefused(INVALID_STATE, "this verification was not asked for")
        expected._arrived.set()

    def _updated(self, name: str, stream_id: str, event: SecurityEvent) -> None:
        status, reason = event.members.get("status"), event.members.get("reason", "")
        if status not in STATUSES or type(reason) is not str:
            raise EventRefused(INVALID_REQUEST, f"the stream's status is not one of {', '.join(STATUSES)}")
        told = "".join(letter for letter in reason if letter.isascii() and letter.isprintable())
        with self._lock:
            self._statuses[name] = StreamStatus(stream_id, status, told[:_REASON_MAX_BYTES])
        if status != ENABLED:
            # What it knows of an attack from now on is not heard here.
            _log.warning("%s sends no more events, its stream is %s: %r", name, status, told)


def _stream_id(event: SecurityEvent) -> str:
    match event.principal.members.get(SIMPLE):
        case (Identifier("opaque", text),):
            return text
    raise EventRefused(INVALID_REQUEST, "an event about a stream names it by an opaque id")
