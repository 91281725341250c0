"""An expectation, and what comes of holding it against the facts.

The facts come as plain data, and so an expectation is a function of data: it can be tried on facts that are
wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from ztsession.demo.refusals import Facts, counted

__all__ = ["Expectation", "Finding", "judge", "told"]


class Expectation(NamedTuple):
    """``holds(facts)`` says whether, and ``saw(facts)`` in a few words what was seen. ``act``: where it
    belongs to an act that can be skipped.
    """

    sentence: str
    holds: Callable[[Facts], bool]
    saw: Callable[[Facts], str]
    act: str = ""


class Finding(NamedTuple):
    """An expectation held against the facts."""

    sentence: str
    held: bool
    saw: str


def judge(facts: Facts, expectations: Sequence[Expectation]) -> list[Finding]:
    """Hold facts against expectations; a fact that is not there is a miss. What belongs to an act that was
    skipped is neither.
    """
    skipped = facts.get("skipped", {})
    return [_judge_one(facts, each) for each in expectations if each.act not in skipped]


def told(outcomes: Mapping[str, Mapping[str, int]]) -> str:
    """Counts by operation, for people."""
    seen = [f"{name}: {counted(counts)}" for name, counts in outcomes.items() if counts]
    return "; ".join(seen) or "nothing"


def _judge_one(facts: Facts, expectation: Expectation) -> Finding:
    try:
        return Finding(expectation.sentence, expectation.holds(facts), expectation.saw(facts))
    except (KeyError, IndexError, TypeError, ZeroDivisionError) as missing:
        return Finding(expectation.sentence, False, f"not seen: {missing!r}")
