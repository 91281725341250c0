"""P12, first column: which call is the first to be refused after ``signal``, or ``revoke``, has returned, in
the same process and under load.

Four threads call all the time. A trial: a session is NORMAL and its calls are accepted; a signal against it
(stored and audited, as always) returns; the very next call must be refused, by whichever thread. Then the
signal is withdrawn, and the session serves for another trial. Afterwards each session is revoked, which is
the same for good.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

import ztsession
from benchmarks.firm import Firm
from benchmarks.load import OPERATION, Load
from benchmarks.measure import Series
from benchmarks.plan import Plan
from benchmarks.result import Findings, Row
from ztsession.risk.levels import Level
from ztsession.risk.signals import Signal

__all__ = ["measure"]

THREADS = 4
#: Calls after which a session that is still accepted counts as never refused.
CALLS_MAX = 100


def measure(plan: Plan, wanted: Collection[str], say: Callable[[str], None]) -> Findings:
    """Real handshakes, real installations, real store and audit log."""
    call = Series("which call after a signal was the first to be refused", "call")
    revoked = Series("which call after revoke was the first to be refused", "call")
    took = Series("Authority.signal under load, audited and stored, in force at the point", "ms")
    ended = Series("Authority.revoke under load, the same", "ms")
    with Firm() as firm, ztsession.EnforcementPoint("orders", authority=firm.authority) as point:
        sessions = [firm.connect(firm.authority.connection(), "orders.*") for _ in range(plan.revocations)]
        clients = [session.install(point, "orders") for session in sessions]
        with Load(point.verifier(OPERATION), clients, THREADS) as load:
            for trial in range(plan.refusals):
                if trial % 100 == 0:
                    say(f"signal {trial + 1:,} of {plan.refusals:,}")
                number = trial % len(sessions)
                _signal(firm, load, number, sessions[number].id, trial, call, took)
            for number, session in enumerate(sessions):
                say(f"revocation {number + 1} of {len(sessions)}")
                load.aim(number)
                start = time.perf_counter_ns()
                firm.authority.revoke(session.id)
                ended.values.append((time.perf_counter_ns() - start) / 1e6)
                load.promise(number)
                revoked.values.append(_first_refused(load, number))
    worst = Series("the same, over all trials", "call", [max(*call.values, *revoked.values)])
    calls, wrong = sum(load.accepted) + sum(load.refused), sum(load.wrong)
    note = (
        f"refused at the very next call under {THREADS} threads of load: {call.values.count(1):,} of "
        f"{len(call.values):,} signals, {revoked.values.count(1)} of {len(revoked.values)} revocations; "
        f"of the threads' own {calls:,} calls {wrong} were accepted after a return; "
        f"signal takes {took.median:.2f} ms, revoke {ended.median:.2f} ms"
    )
    if wrong:
        worst.values[0] = CALLS_MAX + 1
    row = Row("P12", "signal or revoke to first refusal, same process, under load", worst, note=note)
    return Findings([row], [call, revoked, took, ended])


def _signal(
    firm: Firm, load: Load, number: int, session: bytes, trial: int, call: Series, took: Series
) -> None:
    load.aim(number)
    if not load.call(number):
        raise RuntimeError("a session that nothing is held against was refused")
    start = time.perf_counter_ns()
    firm.authority.signal(_said(session, f"{trial}", withdraws=False))
    took.values.append((time.perf_counter_ns() - start) / 1e6)
    load.promise(number)
    call.values.append(_first_refused(load, number))
    load.release(number)
    firm.authority.signal(_said(session, f"{trial}.withdrawn", withdraws=True))


def _said(session: bytes, name: str, *, withdraws: bool) -> Signal:
    return Signal(name, "operator", Level.HIGH, "bench", time.time(), session=session, withdraws=withdraws)


def _first_refused(load: Load, number: int) -> float:
    for turn in range(1, CALLS_MAX + 1):
        if not load.call(number):
            return turn
    return CALLS_MAX + 1
