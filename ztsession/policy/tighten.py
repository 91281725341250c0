"""Narrowing a decision in place, which is the only way it may change in place.

A live session can lose rights at once, because losing them needs nobody's consent and no new key. It can
never gain any: widening takes a renewed grant, hence a new digest and new keys (attack K9). Intersection is
the whole rule, and it makes late, repeated and reordered changes harmless: applying them in any order gives
the same answer.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["narrower"]


def narrower(old_allowed: Sequence[int], new_allowed: Sequence[int]) -> list[int]:
    """Intersect the bitmaps of two decisions, mode by mode; both hold NORMAL, RESTRICTED and SUSPENDED."""
    if len(old_allowed) != 3 or len(new_allowed) != 3:
        raise ValueError("expected three bitmaps, one a mode")
    return [old & new for old, new in zip(old_allowed, new_allowed, strict=True)]
