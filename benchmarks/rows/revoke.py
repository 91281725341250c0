"""P12, first column: how many calls a session still gets after ``revoke`` has returned, in the same
process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

import ztsession
from benchmarks.firm import Firm
from benchmarks.measure import Series
from benchmarks.plan import Plan
from benchmarks.result import Findings, Row

__all__ = ["measure"]

OPERATION = "orders.submit"
#: Calls after which a session that is still accepted counts as never refused.
CALLS_MAX = 100


def measure(plan: Plan, wanted: Collection[str], say: Callable[[str], None]) -> Findings:
    """Real handshake, real installation, one accepted call; then revoke, and call until refused."""
    call = Series("which call after revoke was the first to be refused", "call")
    took = Series("Authority.revoke, audited and stored, in force at the point", "ms")
    with Firm() as firm, ztsession.EnforcementPoint("orders", authority=firm.authority) as point:
        verify = point.verifier(OPERATION)
        for number in range(plan.revocations):
            say(f"revocation {number + 1} of {plan.revocations}")
            session = firm.connect(firm.authority.connection(), "orders.*")
            client = session.install(point, "orders")
            verify(client.sign(OPERATION, b"before"), b"before")
            start = time.perf_counter_ns()
            firm.authority.revoke(session.id)
            took.values.append((time.perf_counter_ns() - start) / 1e6)
            call.values.append(_first_refused(client, verify))
            client.close()
    worst = Series("the same, over all trials", "call", [max(call.values)])
    first = sum(value == 1 for value in call.values)
    note = f"refused at the very next call: {first} of {len(call.values)}; revoke takes {took.median:.2f} ms"
    return Findings([Row("P12", "revoke to first refusal, same process", worst, note=note)], [call, took])


def _first_refused(client: ztsession.InstalledSession, verify: Callable[[bytes, bytes], object]) -> float:
    for number in range(1, CALLS_MAX + 1):
        token = client.sign(OPERATION, b"after")
        try:
            verify(token, b"after")
        except ztsession.Denied:
            return number
    return CALLS_MAX + 1
