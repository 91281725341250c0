"""Events on their way to others: put in with the decision, taken out when the receiver has them.

A receiver that has stopped taking events must not fill this house's disk, nor be told in an hour of what was
true last week. So an outbox has a most and an age. What is over them is given up from its old end, because a
later word about a session is worth more than an earlier one; it is counted, and the stream is paused and says
so: a receiver that goes on as if it had heard everything would be worse off than one that knows of a gap. It
hears the rest, in order, when it enables the stream again.

Nothing here waits for a receiver, and nothing raises but StoreError: whoever ends a session must not be kept
from it by who wants to hear of it.
"""

from __future__ import annotations

import json
import logging
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

from ztsession.authority.set_keys import SetKeys
from ztsession.errors import WireError
from ztsession.risk.ssf.names import POLL, PUSH
from ztsession.risk.ssf.outgoing import Event, stream_updated, verification
from ztsession.risk.ssf.outgoing_settings import TransmitterSettings
from ztsession.risk.ssf.outgoing_subjects import complex_matches, keys_of
from ztsession.store.streams import SqliteStreams, StreamRow, WaitingEvent
from ztsession.wire.schema import ListOf, Message, Octets, OneOf, Text

__all__ = ["EVENTS_MAX", "OUTBOX_AGE_S", "OUTBOX_MAX", "Outbox", "Wish"]

OUTBOX_MAX: Final = 10_000
#: Longer than any session lives: what is older tells of nothing that still is.
OUTBOX_AGE_S: Final = 2 * 86_400
#: Types of events that a receiver may ask for, known here or not.
EVENTS_MAX: Final = 64

ENABLED, PAUSED, DISABLED = "enabled", "paused", "disabled"

_JTI_BYTES: Final = 16
_OVERFLOW: Final = "The outbox was full or too old, and events were dropped."

_log = logging.getLogger("ztsession.ssf")


@dataclass(frozen=True)
class Wish(Message, kind="stream-wish", max_bytes=1 << 15):
    """What a receiver wants of its stream. ``requested``: URIs of events, none for all that there are;
    ``authorization``: what it wants to be shown with each push, sealed.
    """

    method: Annotated[str, OneOf((PUSH, POLL))]
    endpoint: Annotated[str, Text(2048)] = ""
    authorization: Annotated[bytes, Octets(2048)] = field(default=b"", repr=False)
    requested: Annotated[list[str], ListOf(Text(256, min_bytes=1), EVENTS_MAX)] = field(default_factory=list)
    description: Annotated[str, Text(1024)] = ""


class Outbox:
    """All outboxes. Thread-safe; what is put in belongs to the caller's transaction."""

    def __init__(
        self,
        rows: SqliteStreams,
        settings: TransmitterSettings,
        keys: SetKeys,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._rows, self._settings, self._keys, self._clock = rows, settings, keys, clock
        self._counting = threading.Lock()
        self._counts = Counter[str]()
        self._listeners = set[Callable[[], None]]()

    # ---- In

    def put(self, event: Event) -> None:
        """Put an event in the outbox of every stream that it is for; call inside the transaction of what it
        tells of.
        """
        data = b""
        for row in self._rows.all():
            if row.status == DISABLED or not self._wants(row, event):
                continue
            data = data or event.encode(int(self._clock()), secrets.token_urlsafe(_JTI_BYTES))
            self._append(row, data)
        if data:
            self.wake()

    def verify(self, row: StreamRow, state: str | None) -> None:
        """Put a verification in a stream's outbox; inside a transaction."""
        event = verification(row.id, state)
        self._append(row, event.encode(int(self._clock()), secrets.token_urlsafe(_JTI_BYTES)))
        self.wake()

    # ---- Out

    def waiting(self, row: StreamRow, limit: int) -> tuple[list[WaitingEvent], bool]:
        """The oldest events that may be sent on a stream now, at most ``limit``, and whether there are more.

        They wait until they are :meth:`done`.
        """
        with self._rows.transaction():
            self._bound(row, room=0)
            current = self._rows.of(row.receiver)
            if current is None or current.id != row.id or current.status == DISABLED:
                return [], False
            found = self._rows.waiting(row.id, limit + 1, control=current.status == PAUSED)
        return found[:limit], len(found) > limit

    def token(self, row: StreamRow, waiting: WaitingEvent) -> str:
        """The signed SET of an event, whose name (``jti``) is the same however often it is sent."""
        claims: dict[str, Any] = json.loads(waiting.data)
        audience = self._settings.receivers[row.receiver].audience
        named = {
            "iss": self._settings.issuer,
            "jti": waiting.jti,
            "aud": audience[0] if len(audience) == 1 else list(audience),
        }
        return self._keys.sign({**named, **claims})

    def done(self, row: StreamRow, jtis: list[str]) -> None:
        """The receiver has these; names that are not of its stream are passed over."""
        with self._rows.transaction():
            removed = self._rows.remove(row.id, jtis)
        self.count("delivered", removed)

    def refused(self, row: StreamRow, errors: Mapping[str, str]) -> None:
        """The receiver will not take these, by name and its word for why: they are given up, and told to
        the log.
        """
        with self._rows.transaction():
            removed = [jti for jti in errors if self._rows.remove(row.id, [jti])]
        for jti in removed:
            _log.error("%s refuses the event %s: %s", row.receiver, jti, errors[jti])
        self.count("refused", len(removed))

    # ---- Who waits, and what is counted

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call ``listener`` when something may have come in, perhaps before it can be read: whoever then
        looks waits for the transaction. Returns the way to stop.
        """
        with self._counting:
            self._listeners.add(listener)
        return lambda: self._forget(listener)

    def wake(self) -> None:
        """Call everybody who listens."""
        with self._counting:
            listeners = tuple(self._listeners)
        for listener in listeners:
            listener()

    def count(self, what: str, number: int = 1) -> None:
        """Count something that happened to events."""
        with self._counting:
            self._counts[what] += number

    @property
    def counts(self) -> dict[str, int]:
        """Events since the start: "delivered", "refused" by their receiver, "dropped" here, and "retried"
        pushes.
        """
        with self._counting:
            return {what: self._counts[what] for what in ("delivered", "refused", "dropped", "retried")}

    # ---- Inside

    def _forget(self, listener: Callable[[], None]) -> None:
        with self._counting:
            self._listeners.discard(listener)

    def _wants(self, row: StreamRow, event: Event) -> bool:
        receiver = self._settings.receivers.get(row.receiver)
        if receiver is None or event.type not in receiver.events:
            return False
        try:
            requested = Wish.from_bytes(row.data).requested
        except WireError as error:
            # To raise it would keep alive whoever is about to be revoked.
            _log.error("the stream of %s is damaged, it is not told: %s", row.receiver, error)
            return False
        if requested and event.type not in requested:
            return False
        keys = keys_of(event.subject)
        excepted = any(
            text in keys or complex_matches(text, event.subject)
            for text in self._rows.exceptions_among(row.id, keys)
        )
        return excepted is not self._settings.all_subjects

    def _append(self, row: StreamRow, data: bytes) -> None:
        self._bound(row, room=1)
        self._rows.append(row.id, secrets.token_urlsafe(_JTI_BYTES), data, now=int(self._clock()))

    def _bound(self, row: StreamRow, *, room: int) -> None:
        # The row as it is now: of several events of one transaction the first may have changed it.
        current = self._rows.of(row.receiver)
        if current is None or current.id != row.id:
            return
        oldest, horizon = self._rows.oldest(row.id), int(self._clock()) - OUTBOX_AGE_S
        over = max(0, current.held + room - OUTBOX_MAX)
        if not over and (oldest is None or oldest >= horizon):
            return
        dropped = self._rows.drop(row.id, made_before=horizon, over=over)
        self.count("dropped", dropped)
        if current.status == ENABLED:
            _log.error("%s does not take its events: %d dropped, stream paused", row.receiver, dropped)
            self._pause(current, _OVERFLOW)

    def _pause(self, row: StreamRow, reason: str) -> None:
        self._rows.set_status(row.id, PAUSED, reason)
        self._rows.forget_control(row.id)
        data = stream_updated(row.id, PAUSED, reason).encode(
            int(self._clock()), secrets.token_urlsafe(_JTI_BYTES)
        )
        jti = secrets.token_urlsafe(_JTI_BYTES)
        self._rows.append(row.id, jti, data, now=int(self._clock()), control=True)
