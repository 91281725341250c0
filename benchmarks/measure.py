"""Rounds: everything that is compared is measured in turn, over and over, in one process.

A machine slows down and speeds up for reasons of its own. Two figures taken a second apart may differ for
that alone, so every round takes all subjects once, and a ratio can be formed within the round as well as
between the medians.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

__all__ = ["CLoop", "Loop", "Series", "Subject", "difference", "round_robin"]


class Subject(Protocol):
    """Something to measure, once in every round."""

    @property
    def name(self) -> str:
        """What stands in the table."""

    def once(self) -> float:
        """Nanoseconds per call."""


@dataclass(frozen=True)
class Loop:
    """A loop over fresh material: ``prepare(calls)`` makes it, untimed, and ``run(material)`` goes through
    it once.
    """

    name: str
    calls: int
    prepare: Callable[[int], Any]
    run: Callable[[Any], object]

    def once(self) -> float:
        """Nanoseconds per call; the collector of garbage rests meanwhile, for ours and for everybody
        else's.
        """
        material = self.prepare(self.calls)
        gc.collect()
        gc.disable()
        try:
            start = time.perf_counter_ns()
            self.run(material)
            spent = time.perf_counter_ns() - start
        finally:
            gc.enable()
        return spent / self.calls


@dataclass(frozen=True)
class CLoop:
    """A loop in C that takes its own time: ``function(count)`` returns nanoseconds, of which ``scale`` make a
    unit.

    A floor is a lower bound, so a round's value is the fastest of ``tries``: two lanes run some runs in step
    and some not.
    """

    name: str
    count: int
    function: Callable[[int], float]
    scale: float = 1.0
    tries: int = 1

    def once(self) -> float:
        """Nanoseconds per unit."""
        return min(self.function(self.count) for _ in range(self.tries)) * self.scale


@dataclass
class Series:
    """One subject's values, a round each."""

    name: str
    unit: str = "ns"
    values: list[float] = field(default_factory=list)
    #: The rows that it was measured with: floors are measured again with each group.
    run: str = ""

    @property
    def median(self) -> float:
        """The middle value."""
        return statistics.median(self.values)

    @property
    def quartiles(self) -> tuple[float, float]:
        """Where the middle half begins and ends."""
        if len(self.values) < 2:
            return self.values[0], self.values[0]
        low, _, high = statistics.quantiles(self.values, n=4, method="inclusive")
        return low, high


def round_robin(
    subjects: Sequence[Subject], rounds: int, say: Callable[[str], None] = lambda _: None
) -> dict[str, Series]:
    """Measure all ``subjects`` in each of ``rounds`` rounds, after one round that warms up and does not
    count.
    """
    found = {subject.name: Series(subject.name) for subject in subjects}
    for number in range(rounds + 1):
        say(f"round {number} of {rounds}" if number else "warming up")
        for subject in subjects:
            value = subject.once()
            if number:
                found[subject.name].values.append(value)
    return found


def difference(name: str, more: Series, less: Series) -> Series:
    """What ``more`` costs over ``less``, round by round."""
    return Series(name, more.unit, _pairwise(more.values, less.values))


def _pairwise(more: Iterable[float], less: Iterable[float]) -> list[float]:
    return [a - b for a, b in zip(more, less, strict=True)]
