"""Which tickets were presented here, and in which requests, until they expire.

A recorded request must not be taken a second time: it would throw the live session out. So every request is
remembered for as long as its ticket is good, in few bytes, and when there is no more room for that, tickets
that were not seen before are refused: forgetting is not an option, and growing without an end is none
either (D6). Only genuine tickets, presented by who holds their secret, get this far.
"""

from __future__ import annotations

from typing import Final

from ztsession.enforcement.compact import CompactMap
from ztsession.errors import InstallationError, TableFull

__all__ = ["PRESENTATIONS_MAX", "PresentedTickets"]

#: How often one ticket may be presented; after that the client renews at the Authority.
PRESENTATIONS_MAX: Final = 16
#: Tickets that are remembered, for each session that fits into the table; but room for a busy small point.
_PER_SLOT: Final = 64
_TICKETS_MIN: Final = 1 << 20
_BUCKET_S: Final = 600
#: The bits of a number that count presentations, up to 31; the others are the nonce's.
_TIMES_MASK: Final = 0x1F


class PresentedTickets:
    """Tickets and the nonces that came with them. Not thread-safe."""

    def __init__(self, capacity: int) -> None:
        """Room for a point of ``capacity`` sessions."""
        self._max = max(_TICKETS_MIN, _PER_SLOT * capacity)
        #: By the time of expiry, so that a sweep looks at buckets and not at tickets.
        self._buckets: dict[int, _Bucket] = {}

    def __len__(self) -> int:
        """How many tickets are remembered."""
        return sum(bucket.tickets for bucket in self._buckets.values())

    def take(self, ticket: bytes, nonce: bytes, not_after: int) -> None:
        """Remember this presentation; InstallationError if it was made before or is one too many.

        ``nonce`` 32 bytes, ``not_after`` Unix seconds.
        """
        bucket = self._buckets.get(not_after // _BUCKET_S) or _Bucket()
        times = bucket.times(ticket)
        if bucket.has_seen(ticket, nonce):
            raise InstallationError("this very request was presented before")
        if times >= PRESENTATIONS_MAX:
            raise InstallationError(f"the ticket was presented {PRESENTATIONS_MAX} times: renew the session")
        if not times and len(self) >= self._max:
            raise TableFull(f"{self._max} tickets were presented here and have not expired yet")
        self._buckets[not_after // _BUCKET_S] = bucket
        bucket.take(ticket, nonce)

    def sweep(self, now: float) -> None:
        """Forget tickets that have expired at ``now`` (Unix seconds)."""
        for bucket in [at for at in self._buckets if (at + 1) * _BUCKET_S < now]:
            del self._buckets[bucket]


class _Bucket:
    """Tickets that expire together.

    Nearly all are presented once, so a ticket's own entry holds how often, and what fits of its first nonce;
    each further nonce has an entry of its own. A nonce that looks like another's (one in 2^27) is refused
    once, and the client's next try has another.
    """

    def __init__(self) -> None:
        self._seen = CompactMap()
        self.tickets = 0

    def times(self, ticket: bytes) -> int:
        """How often a ticket was presented."""
        return (self._seen.get(ticket) or 0) & _TIMES_MASK

    def has_seen(self, ticket: bytes, nonce: bytes) -> bool:
        """Whether it was presented with this nonce."""
        held = self._seen.get(ticket)
        if held is None:
            return False
        return held & ~_TIMES_MASK == _first(nonce) or nonce + ticket in self._seen

    def take(self, ticket: bytes, nonce: bytes) -> None:
        """Count one more presentation."""
        held = self._seen.get(ticket)
        if held is None:
            self._seen.put(ticket, _first(nonce) | 1)
            self.tickets += 1
        else:
            self._seen.put(ticket, held + 1)
            self._seen.put(nonce + ticket, 0)


def _first(nonce: bytes) -> int:
    return int.from_bytes(nonce[:4], "little") & ~_TIMES_MASK & 0xFFFFFFFF
