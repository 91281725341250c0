"""P14: what ``import ztsession`` adds to starting Python."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from benchmarks.measure import Series, difference
from benchmarks.plan import Plan
from benchmarks.result import Findings, Row
from benchmarks.subprocesses import run_python

__all__ = ["measure"]


def measure(plan: Plan, wanted: Collection[str], say: Callable[[str], None]) -> Findings:
    """Wall time of fresh interpreters with and without the import, in turn; files are in the system's
    cache.
    """
    bare, ours = Series("python -c pass", "ms"), Series("python -c 'import ztsession'", "ms")
    _start_ms("import ztsession")
    for number in range(plan.imports):
        say(f"interpreter {number + 1} of {plan.imports}")
        bare.values.append(_start_ms("pass"))
        ours.values.append(_start_ms("import ztsession"))
    over = difference("import ztsession over bare Python", ours, bare)
    return Findings([Row("P14", over.name, over, bare)], [bare, ours])


def _start_ms(program: str) -> float:
    start = time.perf_counter()
    run_python("-c", program)
    return (time.perf_counter() - start) * 1e3
