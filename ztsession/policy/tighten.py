"""Narrowing a decision in place, which is the only way it may change in place.

A live session can lose rights at once, because losing them needs nobody's consent and no new key. It can
never gain any: widening takes a renewed grant, hence a new digest and new keys (attack K9). Taking away is
the whole rule, and it makes late, repeated and reordered changes harmless: applying them in any order gives
the same answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce
from typing import Final, NamedTuple

__all__ = ["EVERYTHING", "Less", "narrower"]


def narrower(old_allowed: Sequence[int], new_allowed: Sequence[int]) -> list[int]:
    """Intersect the bitmaps of two decisions, mode by mode; both hold NORMAL, RESTRICTED and SUSPENDED."""
    if len(old_allowed) != 3 or len(new_allowed) != 3:
        raise ValueError("expected three bitmaps, one a mode")
    return [old & new for old, new in zip(old_allowed, new_allowed, strict=True)]


class Less(NamedTuple):
    """What may be left of a decision: bitmaps for NORMAL, RESTRICTED and SUSPENDED, and what of it wants more
    assurance first. ``a & b`` is what both leave.
    """

    allowed: tuple[int, int, int]
    step_up: int = 0

    @classmethod
    def of(cls, allowed: Sequence[int], step_up: int = 0) -> Less:
        """The same from any sequence of three bitmaps."""
        normal, restricted, suspended = allowed
        return cls((normal, restricted, suspended), step_up)

    @classmethod
    def most(cls, several: Iterable[Less]) -> Less:
        """What at least one of them leaves: taking no more than this away is right for each."""
        return reduce(lambda a, b: a | b, several)

    def __and__(self, other: Less) -> Less:
        return Less.of(narrower(self.allowed, other.allowed), self.step_up | other.step_up)

    def __or__(self, other: Less) -> Less:
        normal, restricted, suspended = (
            mine | its for mine, its in zip(self.allowed, other.allowed, strict=True)
        )
        # Demanded of all only where each that leaves the operation at all demands it.
        free = (self.allowed[0] & ~self.step_up) | (other.allowed[0] & ~other.step_up)
        return Less((normal, restricted, suspended), (self.step_up | other.step_up) & ~free)


#: Takes nothing away.
EVERYTHING: Final = Less((2**64 - 1,) * 3)
