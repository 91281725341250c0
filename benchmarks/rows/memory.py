"""P6: what one more session costs the enforcement point in memory, in a fresh process."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection

from benchmarks.measure import Series
from benchmarks.plan import Plan
from benchmarks.result import Findings, Row
from benchmarks.subprocesses import run_python

__all__ = ["measure"]


def measure(plan: Plan, wanted: Collection[str], say: Callable[[str], None]) -> Findings:
    """Sessions by the table alone, and by tickets through the whole point with the books that it keeps."""
    rows = []
    for kind, count, what in (
        ("table", plan.memory_sessions, "memory per session: slot, record, subject"),
        ("tickets", plan.memory_tickets, "memory per session: the whole point, by tickets"),
    ):
        say(f"installing {count:,} sessions by {kind}")
        found = json.loads(run_python("-m", "benchmarks.probe_memory", kind, str(count)))
        series = Series(what, "B", [found["bytes_per_session"]])
        region = f"the table's region takes {found['region_bytes_per_session']:.0f} B of it"
        note = f"growth of resident memory over {count:,} sessions; {region}"
        rows.append(Row(f"P6 {kind}", what, series, note=note))
    return Findings(rows, [row.ours for row in rows])
