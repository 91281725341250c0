"""P1, P2, P3 and P9: one message at a time, beside the single floor and beside what others cost."""

from __future__ import annotations

from collections.abc import Callable, Collection

from benchmarks.calls import Calls
from benchmarks.floors import SINGLE_FLOOR, floors
from benchmarks.measure import Subject, difference, round_robin
from benchmarks.peers import HMAC_DIGEST, ITSDANGEROUS, PYJWT, peers
from benchmarks.plan import Plan
from benchmarks.result import Findings, Row

__all__ = ["measure"]


def measure(plan: Plan, wanted: Collection[str], say: Callable[[str], None]) -> Findings:
    """Floors, ours and, if P9 is wanted, the peers, in the same rounds."""
    calls = Calls()
    subjects: list[Subject] = [*floors(plan)]
    ours = (calls.empty, calls.verify, calls.plain, calls.protected, calls.sign)
    subjects += [make(plan.calls) for make in ours]
    if "P9" in wanted:
        subjects += peers(plan.calls // 5)
    try:
        found = round_robin(subjects, plan.rounds, say)
    finally:
        calls.close()
    floor, verify = found[SINGLE_FLOOR], found["verify"]
    extra = difference(
        "decorated minus plain", found["decorated call of a handler"], found["plain call of a handler"]
    )
    rows = [
        Row("P1", "verify 64 B from Python, everything checked", verify, floor),
        Row("P2", "decorated call minus plain call", extra, floor),
        Row("P3", "sign 64 B from Python", found["sign"], floor),
    ]
    for key, peer in (
        ("P9 PyJWT", PYJWT),
        ("P9 itsdangerous", ITSDANGEROUS),
        ("P9 hmac.digest", HMAC_DIGEST),
    ):
        if peer in found:
            rows.append(Row(key, f"verify is faster than {peer}", verify, found[peer], inverse=True))
    return Findings([row for row in rows if row.key.split()[0] in wanted], [*found.values(), extra])
