"""P4 and P10: batches that are accepted, and batches of garbage that must not cost more."""

from __future__ import annotations

from collections.abc import Callable, Collection

from benchmarks.calls import BATCH, Calls
from benchmarks.floors import BATCH_FLOOR, floors
from benchmarks.measure import Subject, round_robin
from benchmarks.plan import Plan
from benchmarks.result import Findings, Row

__all__ = ["measure"]


def measure(plan: Plan, wanted: Collection[str], say: Callable[[str], None]) -> Findings:
    """Good tokens, bad tags and unknown handles in the same rounds, per token."""
    calls = Calls()
    ours = (calls.verify_batch, calls.refuse_bad_tags, calls.refuse_unknown, calls.sign_batch)
    subjects: list[Subject] = [*floors(plan), *(make(plan.calls) for make in ours)]
    try:
        found = round_robin(subjects, plan.rounds, say)
    finally:
        calls.close()
    accepting = found["verify_batch"]
    rows = [
        Row("P4", f"verify_batch, 64 B, {BATCH:,} tokens, per token", accepting, found[BATCH_FLOOR]),
        Row("P10 bad tag", "refusing bad tags in a batch", found["verify_batch, bad tags"], accepting),
        Row(
            "P10 unknown",
            "refusing unknown handles in a batch",
            found["verify_batch, unknown handles"],
            accepting,
        ),
    ]
    return Findings([row for row in rows if row.key.split()[0] in wanted], [*found.values()])
