"""How long single calls took, summed up: percentiles, and a histogram whose steps grow with the time.

Every sample is kept until the end, since averages hide exactly what a trading system is afraid of.
"""

from __future__ import annotations

import statistics
import time
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

__all__ = ["EDGES_NS", "summarise", "timer_cost_ns"]

#: Upper edges of the histogram's bars; the last bar takes whatever is above.
EDGES_NS: Final = (140, 160, 180, 200, 220, 250, 300, 400, 500, 750, 1000, 2000, 5000, 10_000, 100_000)

_QUANTILES: Final = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}


def summarise(samples_ns: Sequence[int]) -> dict[str, object]:
    """Count, quantiles, maximum (nanoseconds) and the number of samples below each edge and above the one
    before.
    """
    ordered = sorted(samples_ns)
    if not ordered:
        return {"count": 0, "bars": []}
    last = len(ordered) - 1
    bars = [0] * (len(EDGES_NS) + 1)
    for sample in ordered:
        bars[bisect_right(EDGES_NS, sample)] += 1
    quantiles = {name: ordered[round(share * last)] for name, share in _QUANTILES.items()}
    return {"count": len(ordered), **quantiles, "max": ordered[-1], "bars": bars}


def timer_cost_ns(readings: int = 10_000) -> float:
    """What reading the timer twice adds to each sample: the median over neighbouring readings."""
    read = time.perf_counter_ns
    return statistics.median(after - before for before, after in pairwise([read() for _ in range(readings)]))
