"""Streams, as their receivers manage them: one for each, and nobody's but his own.

Every question here names the receiver who asks, and is about that receiver's stream alone. The identifier of
another's gives what one that never was gives: nothing.

What makes or ends a stream, or silences it, is audited, because a receiver that hears nothing any more is
what an intruder would want. So that a receiver cannot fill the log, he may do that a few times a minute.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from ztsession.audit.sink import AuditSink
from ztsession.authority.outbox import DISABLED, ENABLED, PAUSED, Outbox, Wish
from ztsession.errors import StoreError, WireError
from ztsession.mfa.sealed import Sealer
from ztsession.risk.ssf.names import POLL, PUSH
from ztsession.risk.ssf.outgoing_settings import Receiver, TransmitterSettings
from ztsession.risk.ssf.outgoing_subjects import is_complex
from ztsession.store.streams import SqliteStreams, StreamRow

__all__ = ["STATUSES", "VERIFICATION_INTERVAL_S", "Stream", "Streams", "Wanted"]

STATUSES: Final = (ENABLED, PAUSED, DISABLED)
#: Between two verifications that a receiver asks for.
VERIFICATION_INTERVAL_S: Final = 30
#: What is audited, in a minute, of one receiver.
CHANGES_MAX: Final = 30
#: Subjects of one stream that are not as the default has it, and complex ones, which are looked at in turn.
SIMPLE_MAX, COMPLEX_MAX = 10_000, 64

_ID_BYTES: Final = 16
_MINUTE_S: Final = 60


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a receiver asks a stream to be. ``endpoint`` and ``authorization`` belong to PUSH; ``requested``:
    URIs of events, none for all that there are.
    """

    method: str = POLL
    endpoint: str = ""
    authorization: str = field(default="", repr=False)
    requested: tuple[str, ...] = ()
    description: str = ""


@dataclass(frozen=True, slots=True)
class Stream:
    """One stream as it stands. ``row`` is the store's; ``delivered``: URIs of the events that are sent."""

    row: StreamRow
    wanted: Wanted
    delivered: tuple[str, ...]

    @property
    def id(self) -> str:
        """Its identifier."""
        return self.row.id


class Streams:
    """All streams of the transmitter. Thread-safe; what changes is durable on return."""

    def __init__(
        self,
        rows: SqliteStreams,
        outbox: Outbox,
        settings: TransmitterSettings,
        audit: AuditSink,
        sealing_key: bytes,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``sealing_key``: 32 bytes that receivers' own secrets are kept under."""
        self._rows, self.outbox, self.settings, self._audit = rows, outbox, settings, audit
        self._sealer, self._clock = Sealer(sealing_key), clock
        self._pacing = threading.Lock()
        self._recent: dict[str, deque[float]] = {name: deque() for name in settings.receivers}

    def end_unnamed(self) -> None:
        """Delete the streams of receivers that the settings do not name any more."""
        for row in self._rows.all():
            if row.receiver not in self.settings.receivers:
                self._delete(row, by="operator")

    def waiting(self) -> dict[str, int]:
        """How many events wait for each receiver that has a stream."""
        return {row.receiver: row.held for row in self._rows.all()}

    # ---- One receiver's own

    def of(self, receiver: str) -> Stream | None:
        """The stream of a receiver; None if he has none."""
        row = self._rows.of(receiver)
        return None if row is None else self._stream(row)

    def get(self, receiver: str, stream: str) -> Stream | None:
        """The same by its identifier; None also if that is another's."""
        found = self.of(receiver)
        return found if found is not None and found.id == stream else None

    def create(self, receiver: str, wanted: Wanted) -> Stream | None:
        """Make the stream of a receiver; None if he has one. WireError: it may not be pushed there."""
        self._check(receiver, wanted)
        stream = secrets.token_urlsafe(_ID_BYTES)
        with self._rows.transaction():
            if self._rows.of(receiver) is not None:
                return None
            self._audit.record("stream.created", receiver=receiver, stream=stream, method=wanted.method)
            self._rows.create(stream, receiver, self._wish(stream, wanted))
        return self.of(receiver)

    def change(self, stream: Stream, wanted: Wanted) -> Stream:
        """Make a stream what its receiver wants of it now; WireError as :meth:`create`."""
        self._check(stream.row.receiver, wanted)
        with self._rows.transaction():
            self._rows.configure(stream.id, self._wish(stream.id, wanted))
        self.outbox.wake()
        return replace(stream, wanted=wanted, delivered=self._delivered(stream.row.receiver, wanted))

    def delete(self, stream: Stream) -> None:
        """End a stream with all that waits on it."""
        self._delete(stream.row, by="receiver")

    def set_status(self, stream: Stream, status: str, reason: str) -> None:
        """What its receiver wants: PAUSED keeps what comes in, DISABLED drops it and what waits."""
        row = stream.row
        self._audit.record("stream.status", receiver=row.receiver, stream=row.id, status=status)
        with self._rows.transaction():
            self._rows.set_status(row.id, status, reason)
            self._rows.forget_control(row.id)
            if status == DISABLED:
                self._rows.empty(row.id)
        self.outbox.wake()

    def paced(self, receiver: str) -> bool:
        """Whether a receiver may now do what is audited; asking counts."""
        recent, now = self._recent[receiver], self._clock()
        with self._pacing:
            # What is yet to come was done before the clock was set back, and would count until it comes.
            while recent and not now - _MINUTE_S < recent[0] <= now:
                recent.popleft()
            if len(recent) >= CHANGES_MAX:
                return False
            recent.append(now)
            return True

    # ---- Subjects and verification

    def want_subject(self, stream: Stream, subject: str, wanted: bool) -> None:
        """Tell a receiver of a subject, as ``read_subject`` gave it, or do not; WireError when he
        has named too many.
        """
        with self._rows.transaction():
            if wanted is self.settings.all_subjects:
                self._rows.remove_exception(stream.id, subject)
                return
            kind = is_complex(subject)
            most = COMPLEX_MAX if kind else SIMPLE_MAX
            if self._rows.exceptions(stream.id, is_complex=kind) >= most:
                raise WireError(f"a stream takes at most {most} such subjects")
            self._rows.add_exception(stream.id, subject, is_complex=kind)

    def verify(self, stream: Stream, state: str | None) -> bool:
        """Put a verification on a stream; False if the last one was less than
        ``VERIFICATION_INTERVAL_S`` ago.
        """
        now = int(self._clock())
        with self._rows.transaction():
            if not self._rows.verified(stream.id, now, now - VERIFICATION_INTERVAL_S):
                return False
            if stream.row.status != DISABLED:
                self.outbox.verify(stream.row, state)
        return True

    # ---- Inside

    def _stream(self, row: StreamRow) -> Stream:
        try:
            wish = Wish.from_bytes(row.data)
        except WireError as error:
            raise StoreError(f"the stream of {row.receiver} is damaged: {error}") from None
        secret = self._sealer.open("authorization", row.id, wish.authorization) if wish.authorization else b""
        wanted = Wanted(wish.method, wish.endpoint, secret.decode(), tuple(wish.requested), wish.description)
        return Stream(row, wanted, self._delivered(row.receiver, wanted))

    def _wish(self, stream: str, wanted: Wanted) -> bytes:
        secret = wanted.authorization.encode()
        return Wish(
            wanted.method,
            wanted.endpoint,
            self._sealer.seal("authorization", stream, secret) if secret else b"",
            list(wanted.requested),
            wanted.description,
        ).to_bytes()

    def _delivered(self, receiver: str, wanted: Wanted) -> tuple[str, ...]:
        allowed = self.settings.receivers[receiver].events
        return tuple(each for each in allowed if not wanted.requested or each in wanted.requested)

    def _check(self, receiver: str, wanted: Wanted) -> None:
        named: Receiver = self.settings.receivers[receiver]
        if wanted.method == PUSH and not named.may_be_pushed_to(wanted.endpoint):
            raise WireError("delivery.endpoint_url: the operator allows no pushes there")

    def _delete(self, row: StreamRow, *, by: str) -> None:
        self._audit.record("stream.deleted", receiver=row.receiver, stream=row.id, by=by)
        with self._rows.transaction():
            self._rows.delete(row.id)
        self.outbox.wake()
