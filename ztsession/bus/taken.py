"""What was taken from decisions, also from those that are yet to be seen.

A ticket that was granted before may be presented after; what was taken meanwhile must be missing from it from
the start. What an operator took from a profile stays taken. What new rules took concerns sessions of before
alone: it is forgotten when none of them can live any more, or this memory would grow with every change (D6).
"""

from __future__ import annotations

from typing import Final

from ztsession.bus.change import Change
from ztsession.policy.tighten import EVERYTHING, Less
from ztsession.wire import canonical
from ztsession.wire.digest import digest

__all__ = ["GENERATION_US", "Taken", "name_of"]

#: A session lives for a day at most; an hour for clocks that do not agree.
GENERATION_US: Final = 25 * 3600 * 1_000_000

#: A profile's digest, and the session that alone is meant or none.
_Place = tuple[bytes, bytes]


class Taken:
    """By profile, and by session and profile, what is left. Not thread-safe."""

    def __init__(self) -> None:
        self._for_good: dict[bytes, Less] = {}
        self._younger: dict[_Place, Less] = {}
        self._elder: dict[_Place, Less] = {}
        self._began_us: int | None = None

    def __len__(self) -> int:
        """How many entries are remembered."""
        return len(self._for_good) + len(self._younger) + len(self._elder)

    def take(self, change: Change) -> Less:
        """Remember what a "narrow" or a "tighten" takes, and return it; nothing for any other change."""
        less = Less.of(change.allowed, change.step_up)
        if change.what == "narrow":
            self._for_good[change.profile] = self._for_good.get(change.profile, EVERYTHING) & less
        elif change.what == "tighten":
            place = change.profile, change.session
            # Into the younger generation whole: what it adds to must not be forgotten before it.
            self._younger[place] = self._recent(place) & less
            self._elder.pop(place, None)
        else:
            return EVERYTHING
        return less

    def of_profile(self, profile: bytes) -> Less:
        """What is left of a profile to every session of it."""
        return self._for_good.get(profile, EVERYTHING) & self._recent((profile, b""))

    def of_session(self, profile: bytes, session: bytes) -> Less:
        """What is left to one session, as far as it alone is concerned."""
        return self._recent((profile, session))

    def age(self, now_us: int) -> None:
        """Let time pass; ``now_us`` is read off one clock."""
        if self._began_us is None:
            self._began_us = now_us
        elif now_us - self._began_us >= GENERATION_US:
            self._elder, self._younger, self._began_us = self._younger, {}, now_us

    def _recent(self, place: _Place) -> Less:
        return self._younger.get(place) or self._elder.get(place, EVERYTHING)


def name_of(profile: bytes, less: Less) -> bytes:
    """The 32 bytes that name a profile with less in it: sessions that lost the same share it."""
    return digest("tightened profile", profile, canonical.encode([*less.allowed, less.step_up]))
