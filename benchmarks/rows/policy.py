"""P13: how long it takes until a change of the rules holds for every session that lives.

From the moment at which the Authority is told to read its rules again (read, check, hold every live session
against them, write, push) until it returns; from then on a point of its process obeys, which is seen with one
call of each kind of session. The rule takes an operation from everybody: one change for each profile.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

import ztsession
from benchmarks.kinds import KINDS, ManySessions
from benchmarks.measure import Series
from benchmarks.plan import Plan
from benchmarks.result import Findings, Row

__all__ = ["measure"]

#: One operation for each change, which all kinds of sessions have.
RULES = (
    'forbid (principal, action == Action::"orders.status", resource);',
    'forbid (principal, action == Action::"orders.cancel", resource);',
)


def measure(plan: Plan, wanted: Collection[str], say: Callable[[str], None]) -> Findings:
    """Fill an Authority, change its rules, and call."""
    took = Series("change of the rules, until it holds for every live session", "ms")
    with ManySessions(plan.policy_sessions, say) as many:
        opening = Series("opening an Authority with as many live sessions", "ms", [many.opening_s * 1e3])
        _allowed(many, ("orders.status", "orders.cancel"))
        for rule, operation in zip(RULES, ("orders.status", "orders.cancel"), strict=True):
            say(f"reloading with a rule against {operation}")
            many.add_rule(rule)
            start = time.perf_counter()
            many.authority.reload()
            took.values.append((time.perf_counter() - start) * 1e3)
            refused = sum(_verdict(many.point, client, operation) for client in many.clients)
        note = (
            f"{many.count:,} sessions of {KINDS} profiles; then refused at the next call: {refused} of "
            f"{len(many.clients)} kinds"
        )
    rows = [Row("P13", took.name, took, note=note), Row("P13 opening", opening.name, opening)]
    return Findings(rows, [took, opening])


def _allowed(many: ManySessions, operations: Collection[str]) -> None:
    for client in many.clients:
        for operation in operations:
            many.point.verifier(operation)(client.sign(operation, b"x"), b"x")


def _verdict(point: ztsession.EnforcementPoint, client: ztsession.InstalledSession, operation: str) -> bool:
    try:
        point.verifier(operation)(client.sign(operation, b"x"), b"x")
    except ztsession.Denied as denied:
        return denied.verdict == "NOT_PERMITTED"
    return False
