"""When decisions that depend on time lose what depends on it.

A grant says until when it is whole, and what lasts beyond. Here that becomes a moment of session time, once,
when its ticket is presented: from then on no clock of this machine or of the Authority's can shift it.
"""

from __future__ import annotations

from ztsession.policy.grant import Grant
from ztsession.policy.tighten import Less

__all__ = ["Hours"]


class Hours:
    """The next end of each profile. Not thread-safe."""

    def __init__(self) -> None:
        self._ends: dict[bytes, tuple[int, Less]] = {}

    def __len__(self) -> int:
        """How many ends are still to come."""
        return len(self._ends)

    def add(self, profile: bytes, grant: Grant, now: float, now_us: int) -> None:
        """A grant of this profile (32-byte digest) was installed at ``now`` (Unix seconds), which is
        ``now_us`` of session time.
        """
        if not grant.until:
            return
        ends_us = now_us + int((grant.until - now) * 1_000_000)
        # The earliest of several readings of one clock: a session must not gain by another's late arrival.
        known = self._ends.get(profile)
        if known is None or ends_us < known[0]:
            self._ends[profile] = ends_us, Less.of(grant.lasting)

    def take_due(self, now_us: int) -> list[tuple[bytes, Less]]:
        """The profiles whose end has come, and what is left of each; they are forgotten here."""
        due = [profile for profile, (ends_us, _) in self._ends.items() if ends_us <= now_us]
        return [(profile, self._ends.pop(profile)[1]) for profile in due]

    def next_us(self) -> int | None:
        """The session time at which the next one ends."""
        return min((ends_us for ends_us, _ in self._ends.values()), default=None)
