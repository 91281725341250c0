"""What one decision comes to for one operation, as one word: the worst mode in which it still runs.

Two decisions can then be compared, because the words have an order. It follows from modes that only ever
narrow: what runs in a SUSPENDED session runs in every better one, and what runs after a step-up may become
more, but is less than what runs at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum

__all__ = ["Outcome", "outcomes"]


class Outcome(IntEnum):
    """From least to most."""

    NOTHING = 0
    STEP_UP = 1
    NORMAL = 2
    RESTRICTED = 3
    SUSPENDED = 4

    @property
    def word(self) -> str:
        """As it is told: "nothing", "step-up", "NORMAL", "RESTRICTED", "SUSPENDED"."""
        return self.name if self >= Outcome.NORMAL else self.name.lower().replace("_", "-")


def outcomes(numbers: Mapping[str, int], allowed: Sequence[int], step_up: int) -> dict[str, Outcome]:
    """The outcome of each operation that gets any; ``numbers``: the bit of each name, ``allowed``: the
    bitmaps of NORMAL, RESTRICTED and SUSPENDED, ``step_up``: what of NORMAL wants more assurance first.
    """
    found = {name: _outcome(1 << number, allowed, step_up) for name, number in numbers.items()}
    return {name: outcome for name, outcome in found.items() if outcome > Outcome.NOTHING}


def _outcome(bit: int, allowed: Sequence[int], step_up: int) -> Outcome:
    if not allowed[0] & bit:
        return Outcome.NOTHING
    if step_up & bit:
        return Outcome.STEP_UP
    # Each mode allows a part of what the one before it allows, so their number is the last of them.
    return Outcome(Outcome.STEP_UP + sum(bool(bitmap & bit) for bitmap in allowed))
