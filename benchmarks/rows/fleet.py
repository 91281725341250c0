"""P5: a million live sessions, each called once in random order, so that nearly every call misses the
caches.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from benchmarks.fleet import Fleet
from benchmarks.floors import BATCH_FLOOR, SINGLE_FLOOR, floors
from benchmarks.measure import round_robin
from benchmarks.plan import Plan
from benchmarks.result import Findings, Row

__all__ = ["measure"]


def measure(plan: Plan, wanted: Collection[str], say: Callable[[str], None]) -> Findings:
    """Single and in batches, with the floors in the same rounds."""
    fleet = Fleet(plan.fleet_sessions, say)
    single, batch = fleet.single(), fleet.batch()
    found = round_robin([*floors(plan)[:2], single, batch], plan.fleet_rounds, say)
    note = (
        ""
        if plan.fleet_sessions >= 1_000_000
        else f"only {plan.fleet_sessions:,} sessions: the target is for 1,000,000"
    )
    rows = [
        Row("P5 single", single.name, found[single.name], found[SINGLE_FLOOR], note=note),
        Row("P5 batch", batch.name, found[batch.name], found[BATCH_FLOOR], note=note),
    ]
    return Findings(rows, [found[single.name], found[batch.name]])
