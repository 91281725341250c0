"""Conversations that last for several requests: what HTTP needs and a socket has by itself.

Whoever asks for one holds memory until he comes back, and he may never come. So those that have proven
nothing yet are few, last for seconds, and never take the place of another; those that have are many, last
until they are idle, and make room, the oldest of the same source first.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from ztsession.client.transport import Transport, hang_up
from ztsession.errors import Overloaded
from ztsession.integrations.shares import Shares
from ztsession.limits import IDLE_S
from ztsession.wire.source import address_of, network_of

__all__ = ["Conversations", "Held"]

HALF_OPEN_S = 10.0
HALF_OPEN_MAX = 512
ESTABLISHED_MAX = 4096
#: A name is 16 random bytes, as base64url without padding.
_NAME_BYTES = 16


@dataclass(eq=False)
class Held:
    """One conversation, in use or waiting. ``established``: its peer has proven who he is."""

    key: bytes
    source: str
    network: bytes
    conversation: Transport
    established: bool = False
    until: float = 0.0


class Conversations:
    """Keeps conversations by name between their messages. For one event loop: not thread-safe.

    One that was taken is in use until it is put back or ended, and nobody else can take it meanwhile.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        *,
        half_open_max: int = HALF_OPEN_MAX,
        established_max: int = ESTABLISHED_MAX,
    ) -> None:
        """``clock`` counts seconds. One source has an eighth of the places of each kind; "" is no source."""
        self._clock = clock
        self._half_open_max, self._established_max = half_open_max, established_max
        self._shares, self._half_open = Shares(max(1, half_open_max // 8)), 0
        self._in_use = dict[bytes, Held]()
        # In the order in which they expire.
        self._young, self._old = OrderedDict[bytes, Held](), OrderedDict[bytes, Held]()

    def __len__(self) -> int:
        """How many there are, in use or waiting."""
        return len(self._in_use) + len(self._young) + len(self._old)

    def begin(self, source: str, conversation: Transport) -> tuple[str, Held]:
        """Take a new one into use; returns the name to tell the peer. Overloaded when there is no place."""
        self._expire()
        if self._half_open >= self._half_open_max or not self._shares.take(source):
            raise Overloaded("too many conversations are begun and not established")
        self._half_open += 1
        name = secrets.token_urlsafe(_NAME_BYTES)
        held = Held(_key(name), source, network_of(address_of(source)), conversation)
        self._in_use[held.key] = held
        return name, held

    def take(self, name: str) -> Held | None:
        """Take one into use; None when there is none of this name, or it is :meth:`in_use`."""
        self._expire()
        held = self._young.pop(_key(name), None) or self._old.pop(_key(name), None)
        if held is not None:
            self._in_use[held.key] = held
        return held

    def in_use(self, name: str) -> bool:
        """Whether a message of this conversation is being answered now."""
        return _key(name) in self._in_use

    def put_back(self, held: Held, *, established: bool) -> None:
        """Keep it for the next message. What was established once stays so."""
        if self._in_use.pop(held.key, None) is None:
            return  # everything was closed meanwhile
        if established and not held.established:
            self._leave_half_open(held)
            held.established = True
        if held.established:
            self._make_room(held)
        waits_s, pile = (float(IDLE_S), self._old) if held.established else (HALF_OPEN_S, self._young)
        held.until = self._clock() + waits_s
        pile[held.key] = held

    def end(self, held: Held) -> None:
        """It is over; ending it twice is harmless."""
        piles = (self._in_use, self._young, self._old)
        if not any(pile.pop(held.key, None) for pile in piles):
            return
        if not held.established:
            self._leave_half_open(held)
        hang_up(held.conversation)

    def close(self) -> None:
        """All of them are over."""
        for held in [*self._in_use.values(), *self._young.values(), *self._old.values()]:
            self.end(held)

    def _expire(self) -> None:
        now = self._clock()
        for pile in (self._young, self._old):
            while pile and (first := next(iter(pile.values()))).until <= now:
                self.end(first)

    def _leave_half_open(self, held: Held) -> None:
        self._half_open -= 1
        self._shares.give_back(held.source)

    def _make_room(self, newest: Held) -> None:
        # Behind a server that names no client all would be one source.
        own = [held for held in self._old.values() if newest.source and held.network == newest.network]
        if len(own) >= max(1, self._established_max // 8):
            self.end(own[0])
        elif len(self._old) >= self._established_max:
            self.end(next(iter(self._old.values())))


def _key(name: str) -> bytes:
    # Looking a name up by its digest tells nobody by time how much of it he has guessed.
    return hashlib.sha256(name.encode("utf-8", "backslashreplace")).digest()
