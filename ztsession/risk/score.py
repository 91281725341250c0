"""How signals add up, and how they are forgotten: points in whole thousandths, halved from time to time.

Only integers are used here. Two Authorities that see the same signals at the same moments come to the same
score to the last digit, on whatever machine, and so does a log that is read again years later.
"""

from __future__ import annotations

from typing import Final

__all__ = ["SCALE", "decayed"]

#: Thousandths of a point.
SCALE: Final = 1000


def decayed(points: int, age_us: int, half_life_us: int) -> int:
    """What is left of ``points`` after ``age_us``; exact at whole half-lives and straight between them."""
    halvings, rest = divmod(max(0, age_us), half_life_us)
    return (points * (2 * half_life_us - rest) // (2 * half_life_us)) >> halvings
