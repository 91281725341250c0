"""The flood gate: what a stranger must do before the Authority does anything costly for him.

A first message is cheap to make and dear to answer: the answer takes key agreement, an encapsulation, and
memory until the next message comes. So three bounds stand in front of it, each of which costs no more than a
look at a table.

- Each source gets so many handshakes a second, and others none the fewer for it.
- Under load, a newcomer must first show that he hears what is sent to his address. He gets a cookie, a MAC
  over that address under a secret of minutes, and has to say it again. The gate remembers nothing of him
  meanwhile, so a flood under invented addresses fills no memory (as RFC 9147, section 5.1).
- Answered handshakes that are not finished are counted, in all and for each source, and their places fall
  free again when the client does not come back.

Time is handed in and may stand still or jump: the gate's own time never runs backward.
"""

from __future__ import annotations

import hmac
import os
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from ztsession.errors import Overloaded
from ztsession.handshake.messages import CookieDemand
from ztsession.limits import COOKIE_SECRET_S, HANDSHAKES_PER_SOURCE_PER_S
from ztsession.wire.source import address_of, network_of

__all__ = ["BUSY_PER_S", "HALF_OPEN_MAX", "HALF_OPEN_S", "Gate", "Rates"]

#: More handshakes than this begun in a second are a flood, or may become one.
BUSY_PER_S = 200
HALF_OPEN_MAX = 1024
HALF_OPEN_S = 10.0
SOURCES_MAX = 16384

_NUMBER_BYTES = 8
_MAC_BYTES = 24
_LABEL = b"ztsession v1 cookie"


class Gate:
    """Lets handshakes in, asks for cookies, or turns away. Thread-safe, bounded in memory, does no I/O.

    A source is the text of a peer's address. The empty source is this very process or machine (a call, a Unix
    socket): it is neither counted nor limited.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        *,
        per_source_per_s: float = HANDSHAKES_PER_SOURCE_PER_S,
        busy_per_s: float = BUSY_PER_S,
        half_open_max: int = HALF_OPEN_MAX,
    ) -> None:
        """``clock`` counts seconds. One source may begin ``per_source_per_s`` handshakes in a second and hold
        a quarter of ``half_open_max`` places; load is over ``busy_per_s``, or with half of the places taken.
        """
        self._time = _Forward(clock)
        self._lock = threading.Lock()
        self._rates = Rates(per_source_per_s)
        self._begun = _Bucket(busy_per_s, busy_per_s)
        self._cookies = _Cookies(COOKIE_SECRET_S)
        self._places = _Places(half_open_max, max(1, half_open_max // 4), HALF_OPEN_S)

    def enter(self, source: str, cookie: bytes) -> bytes | None:
        """Judge a first message before any work is done for it: None lets it in.

        Otherwise the encoded CookieDemand to answer with; Overloaded when this source has had its share.
        Under load a share is used up only by who proved his address, so that nobody uses up another's.
        """
        if not source:
            return None
        address = address_of(source)
        with self._lock:
            now = self._time()
            if self._is_busy(now) and not self._cookies.holds(address, cookie, now):
                return CookieDemand(self._cookies.make(address, now)).to_bytes()
            if not self._rates.take(network_of(address), now):
                raise Overloaded("this source begins too many handshakes")
            self._begun.take(now)
        return None

    def opened(self, source: str) -> int:
        """Take a place for a handshake that is answered and not finished; returns what :meth:`closed` wants.

        Overloaded when every place, or this source's share of them, is taken.
        """
        if not source:
            return 0
        with self._lock:
            return self._places.take(network_of(address_of(source)), self._time())

    def closed(self, token: int) -> bool:
        """Give a place back; False when it had fallen free before, and the handshake came back too late."""
        if token == 0:
            return True
        with self._lock:
            self._places.expire(self._time())
            return self._places.give_back(token)

    @property
    def half_open(self) -> int:
        """How many handshakes from outside are begun and not finished."""
        with self._lock:
            self._places.expire(self._time())
            return len(self._places)

    @property
    def busy(self) -> bool:
        """Whether newcomers are asked for cookies now."""
        with self._lock:
            return self._is_busy(self._time())

    def _is_busy(self, now: float) -> bool:
        self._places.expire(now)
        return self._begun.left(now) < 1.0 or self._places.crowded


class _Forward:
    """A clock that stands still where the one beneath it runs backward, and goes on from there."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._last, self._shown = clock, clock(), 0.0

    def __call__(self) -> float:
        read = self._clock()
        self._shown += max(0.0, read - self._last)
        self._last = read
        return self._shown


class _Bucket:
    """Fills with ``per_s`` tokens a second up to ``size``; a full one at first."""

    __slots__ = ("_at", "_left", "_per_s", "_size")

    def __init__(self, per_s: float, size: float, now: float = 0.0) -> None:
        self._per_s, self._size, self._left, self._at = per_s, size, size, now

    def left(self, now: float) -> float:
        return min(self._size, self._left + (now - self._at) * self._per_s)

    def take(self, now: float) -> bool:
        self._left, self._at = self.left(now), now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


class Rates:
    """A bucket for each network, of which the one that was silent for longest is forgotten first. Not
    thread-safe.
    """

    def __init__(self, per_s: float) -> None:
        self._per_s, self._buckets = per_s, OrderedDict[bytes, _Bucket]()

    def take(self, network: bytes, now: float) -> bool:
        """Take one token of a network's ``per_s`` a second; False if none is left. ``now`` in seconds."""
        bucket = self._buckets.get(network)
        if bucket is None:
            bucket = self._buckets[network] = _Bucket(self._per_s, max(1.0, self._per_s), now)
            if len(self._buckets) > SOURCES_MAX:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(network)
        return bucket.take(now)


@dataclass(frozen=True)
class _Secret:
    number: int
    key: bytes = field(default_factory=lambda: os.urandom(32), repr=False)

    def cookie(self, address: bytes) -> bytes:
        number = self.number.to_bytes(_NUMBER_BYTES, "big")
        return number + hmac.digest(self.key, _LABEL + number + address, "sha256")[:_MAC_BYTES]


class _Cookies:
    """8 bytes that say which secret, and 24 bytes of a MAC over that and the address."""

    def __init__(self, lifetime_s: float) -> None:
        self._lifetime_s = lifetime_s
        self._current, self._previous = _Secret(1), _Secret(0)

    def make(self, address: bytes, now: float) -> bytes:
        self._renew(now)
        return self._current.cookie(address)

    def holds(self, address: bytes, cookie: bytes, now: float) -> bool:
        if len(cookie) != _NUMBER_BYTES + _MAC_BYTES:
            return False
        self._renew(now)
        # The number says which secret it can only be, so that no more than one MAC is ever computed.
        number = int.from_bytes(cookie[:_NUMBER_BYTES], "big")
        for secret in (self._current, self._previous):
            if secret.number == number:
                return hmac.compare_digest(secret.cookie(address), cookie)
        return False

    def _renew(self, now: float) -> None:
        number = 1 + int(now // self._lifetime_s)
        if number != self._current.number:
            # After a long quiet even the last one is older than any cookie may become.
            follows = number == self._current.number + 1
            self._previous = self._current if follows else _Secret(number - 1)
            self._current = _Secret(number)


class _Places:
    """Handshakes that are not finished, oldest first, each with its network and its end."""

    def __init__(self, places_max: int, per_network_max: int, lifetime_s: float) -> None:
        self._max, self._per_network_max, self._lifetime_s = places_max, per_network_max, lifetime_s
        self._taken = OrderedDict[int, tuple[float, bytes]]()
        self._by_network = Counter[bytes]()
        self._last = 0

    def __len__(self) -> int:
        return len(self._taken)

    @property
    def crowded(self) -> bool:
        return 2 * len(self._taken) > self._max

    def take(self, network: bytes, now: float) -> int:
        self.expire(now)
        if len(self._taken) >= self._max:
            raise Overloaded("too many handshakes are begun and not finished")
        if self._by_network[network] >= self._per_network_max:
            raise Overloaded("this source has begun too many handshakes and not finished them")
        self._last += 1
        self._taken[self._last] = (now + self._lifetime_s, network)
        self._by_network[network] += 1
        return self._last

    def give_back(self, token: int) -> bool:
        place = self._taken.pop(token, None)
        if place is None:
            return False
        self._by_network[place[1]] -= 1
        if not self._by_network[place[1]]:
            del self._by_network[place[1]]
        return True

    def expire(self, now: float) -> None:
        while self._taken:
            token, (until, _) = next(iter(self._taken.items()))
            if now < until:
                return
            self.give_back(token)
