"""The grant: one session's decision for one segment, compiled down to bitmaps and limits.

At run time nothing evaluates policy; a call is allowed by one bit. All that the decision rested on is in here
(the policy's digest, the posture's, the catalog's), because segment keys are derived from this object's
digest: a decision that differs in anything is a different key, and cannot be confused with this one. So its
encoding must be unique, and what is read from outside is checked in full before it is believed: widths,
ranges, and that the modes only ever narrow.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Annotated, Final

from ztsession.errors import WireError
from ztsession.wire import canonical
from ztsession.wire.schema import VERSION, Integer, ListOf, MapOf, Message, Name, Octets, Row, Text

__all__ = ["GRANT_MAX_BYTES", "Grant"]

GRANT_MAX_BYTES: Final = 16_384

_U32: Final = 2**32 - 1
_U64: Final = 2**64 - 1
_BITMAP: Final = Integer(0, _U64)
#: index, max_age_us, stale_ms, ordered
_OPERATION: Final = Row((Integer(0, 63), Integer(1000, 60_000_000), Integer(0, _U32), Integer(0, 1)))

#: What tells two sessions with the same decision apart; the rest of the grant is their common profile.
_NOT_PROFILE: Final = ("session", "subject", "device", "issued_at")


@dataclass(frozen=True)
class Grant(Message, kind="grant", max_bytes=GRANT_MAX_BYTES):
    """One session's grant in one segment; all fields checked when made, WireError naming the one that is
    wrong.

    ``operations`` is the segment's whole table, {full name: [index, max_age_us, stale_ms, ordered]}, so that
    a name always has its number, granted or not. ``allowed`` holds the u64 bitmaps for NORMAL, RESTRICTED and
    SUSPENDED; ``step_up`` marks those of NORMAL that want more assurance first. ``stale_ms``: 0 stops when
    the lease has run out, 0xFFFFFFFF runs on until the session ends, else milliseconds after the lease.
    ``environment``: the one that its segment belongs to. ``version``: counts the changes of the Authority's
    rules, so that no decision of one time can be taken for an equal one of another. ``until`` (unix seconds,
    0 for never): when the policies would decide differently although nothing has changed but the time; from
    then on ``lasting`` takes the place of ``allowed``: what they allow at every moment of the session.
    ``issued_at``: unix seconds.
    """

    session: Annotated[bytes, Octets.exactly(16)]
    subject: Annotated[str, Name()]
    device: Annotated[str, Name()]
    segment: Annotated[str, Text(32, min_bytes=1)]
    environment: Annotated[str, Text(32, min_bytes=1)]
    catalog: Annotated[bytes, Octets.exactly(32)]
    policy: Annotated[bytes, Octets.exactly(32)]
    version: Annotated[int, Integer(1, 2**63 - 1)]
    posture: Annotated[bytes, Octets.exactly(32)]
    assurance: Annotated[int, Integer(1, 3)]
    operations: Annotated[dict[str, list[int]], MapOf(Text(65, min_bytes=3), _OPERATION, 64)]
    allowed: Annotated[list[int], ListOf(_BITMAP, 3, 3)]
    step_up: Annotated[int, _BITMAP]
    epoch_length_us: Annotated[int, Integer(1_000_000, 3_600_000_000)]
    lifetime_s: Annotated[int, Integer(1, 86_400)]
    idle_s: Annotated[int, Integer(1, 86_400)]
    until: Annotated[int, Integer(0, _U64)]
    lasting: Annotated[list[int], ListOf(_BITMAP, 3, 3)]
    issued_at: Annotated[int, Integer(0, _U64)]

    def digest(self) -> bytes:
        """SHA-256 of the canonical bytes: the ``grant_digest`` that segment keys derive from (protocol,
        Keys).
        """
        return hashlib.sha256(self.encoded).digest()

    def profile_digest(self) -> bytes:
        """32 bytes that sessions with the same decision share, so that one change can narrow all of them."""
        values = canonical.decode(self.encoded, max_bytes=GRANT_MAX_BYTES)
        kept = {name: value for name, value in values.items() if name not in _NOT_PROFILE}
        return hashlib.sha256(canonical.encode({**kept, "v": VERSION})).digest()

    def _check(self) -> None:
        super()._check()
        indices = [row[0] for row in self.operations.values()]
        if len(set(indices)) != len(indices):
            raise WireError("grant.operations: two operations share an index")
        if any(not name.startswith(f"{self.segment}.") for name in self.operations):
            raise WireError("grant.operations: an operation of another segment")
        if any(row[1] > self.epoch_length_us for row in self.operations.values()):
            raise WireError("grant.operations: max_age_us is longer than the epoch")
        if 0 < self.until <= self.issued_at:
            raise WireError("grant.until: over before it begins")
        if any(after & ~now for after, now in zip(self.lasting, self.allowed, strict=True)):
            raise WireError("grant.lasting: more than is allowed at first")
        if self.idle_s > self.lifetime_s:
            raise WireError("grant.idle_s: longer than the lifetime")
        self._check_bitmaps(sum(1 << index for index in indices))

    def _check_bitmaps(self, known: int) -> None:
        normal, restricted, suspended = self.allowed
        if normal & ~known:
            raise WireError("grant.allowed: a bit without an operation")
        # Each mode is a step down: what a worse mode allows, every better one must allow too.
        if restricted & ~normal or suspended & ~restricted:
            raise WireError("grant.allowed: a mode allows more than the one before it")
        if self.step_up & ~normal:
            raise WireError("grant.step_up: an operation that is not allowed in principle")
