"""How old a measurement may be, and how far ahead the clock that dated it.

A host that was healthy yesterday is not thereby healthy now (H19). A clock that runs ahead is refused and
nothing is remembered of it, so that no timestamp can lock a device out later (H24).
"""

from __future__ import annotations

from ztsession.errors import EvidenceError

__all__ = ["MAX_AGE_S", "MAX_AHEAD_S", "check_age"]

#: Default: how old a measurement may be.
MAX_AGE_S = 600
#: How far a device's clock may run ahead.
MAX_AHEAD_S = 60


def check_age(collected_at: int, now: float, max_age_s: int) -> None:
    """Raise ``EvidenceError`` unless ``collected_at`` is recent; both times in Unix seconds."""
    age_s = now - collected_at
    # Both written so that a time that is no number is refused.
    if not age_s <= max_age_s:
        raise EvidenceError(f"the posture evidence is {age_s:.0f} s old, at most {max_age_s} s are allowed")
    if not age_s >= -MAX_AHEAD_S:
        raise EvidenceError(f"the posture evidence was collected {-age_s:.0f} s in the future")
