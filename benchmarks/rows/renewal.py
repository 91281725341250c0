"""Renewal under load: whether calls are refused, and how long they wait, while a session is renewed.

One thread signs and calls without a pause; another renews by SessionKeeper, again and again, with as much
time without a renewal between two of them. Client and enforcement point share this process and its
interpreter, so what a renewal computes on the client's side, and the new ticket at the point, stand between
two calls; the Authority is in a process of its own, as it is in the field. Only calls that were accepted are
written down, so a refused one would show as a longer gap as well.
"""

from __future__ import annotations

import threading
import time
from array import array
from collections.abc import Callable, Collection, Sequence

import numpy as np
import numpy.typing as npt

import ztsession
from benchmarks.measure import Series
from benchmarks.plan import Plan
from benchmarks.remote import RemoteFirm
from benchmarks.result import Findings, Row
from ztsession.client import SessionKeeper

__all__ = ["gaps_of", "measure"]

OPERATION = "orders.submit"
BODY = bytes(64)

#: Times, or gaps between them.
Nanoseconds = npt.NDArray[np.int64]
#: Beginning and end of a renewal, on the clock that the calls are timed by.
Span = tuple[int, int]


def measure(plan: Plan, wanted: Collection[str], say: Callable[[str], None]) -> Findings:
    """Renewals with nothing else running, and then as many under load."""
    with RemoteFirm() as firm, firm.dial() as transport:
        session = firm.house.connect(transport, firm.root, "orders.*")
        keeper = SessionKeeper(session, {"orders": lambda: firm.point})
        try:
            keeper.renew()
            alone = [_renewed(keeper) for _ in range(plan.renewals)]
            caller = _Caller(keeper.signer(OPERATION), firm.point.verifier(OPERATION))
            loaded = _under_load(caller, keeper, plan.renewals, say)
        finally:
            keeper.close()
    rows = [_refused(caller, len(loaded)), *_gaps(caller, loaded), _time(loaded, alone)]
    return Findings(rows, [series for row in rows for series in (row.ours, row.beside) if series is not None])


def gaps_of(accepted: Nanoseconds, spans: Sequence[Span]) -> tuple[list[Nanoseconds], list[Nanoseconds]]:
    """The gaps between accepted calls (ascending times): for each span those that lie in it wholly or in
    part, and for the time after each span those that do not.
    """
    gaps, during, without = np.diff(accepted), list[Nanoseconds](), list[Nanoseconds]()
    firsts = [max(int(np.searchsorted(accepted, start, "right")) - 1, 0) for start, _ in spans]
    ends = [int(np.searchsorted(accepted, end, "left")) for _, end in spans]
    for first, end, following in zip(firsts, ends, [*firsts[1:], len(gaps)], strict=True):
        during.append(gaps[first:end])
        without.append(gaps[end:following])
    return during, without


# ---- Under load


class _Caller(threading.Thread):
    """Signs and calls without a pause, and writes down when each accepted call returned."""

    def __init__(self, sign: Callable[[bytes], bytes], verify: Callable[[bytes, bytes], object]) -> None:
        super().__init__(name="caller", daemon=True)
        self._sign, self._verify, self._stopping = sign, verify, False
        self.accepted, self.refused, self._failed = array("q"), 0, list[Exception]()

    def run(self) -> None:
        """Call until stopped."""
        sign, verify, clock, keep = self._sign, self._verify, time.perf_counter_ns, self.accepted.append
        while not self._stopping:
            try:
                verify(sign(BODY), BODY)
                keep(clock())
            except ztsession.Denied:
                self.refused += 1
            except Exception as error:
                self._failed.append(error)
                return

    def stop(self) -> None:
        """Return when the last call has returned; raises what ended the thread before."""
        self._stopping = True
        self.join()
        if self._failed:
            raise self._failed[0]


def _under_load(
    caller: _Caller, keeper: SessionKeeper, renewals: int, say: Callable[[str], None]
) -> list[Span]:
    spans = list[Span]()
    caller.start()
    try:
        # The time before the first renewal is in no figure: the caller begins in it.
        time.sleep(0.01)
        for number in range(renewals):
            say(f"renewal {number + 1} of {renewals}")
            spans.append(_renewed(keeper))
            time.sleep((spans[-1][1] - spans[-1][0]) / 1e9)
    finally:
        caller.stop()
    return spans


def _renewed(keeper: SessionKeeper) -> Span:
    start = time.perf_counter_ns()
    keeper.renew()
    return start, time.perf_counter_ns()


# ---- What came out


def _refused(caller: _Caller, renewals: int) -> Row:
    series = Series("calls refused while the session was renewed", "call", [float(caller.refused)])
    note = f"{caller.refused} refused, {len(caller.accepted):,} accepted"
    return Row("renewal refused", f"calls refused over {renewals} renewals", series, note=note)


def _gaps(caller: _Caller, spans: Sequence[Span]) -> list[Row]:
    during, without = gaps_of(np.frombuffer(caller.accepted, np.int64), spans)
    each = _series(
        "longest gap of each", during, without, lambda parts: [float(p.max()) for p in parts if p.size]
    )
    longest = _series(
        "longest gap of all", during, without, lambda parts: [float(np.concatenate(parts).max())]
    )
    usual = _series(
        "p99.9 of the gaps",
        during,
        without,
        lambda parts: [float(np.percentile(np.concatenate(parts), 99.9))],
    )
    return [
        Row("renewal gap", "longest gap between accepted calls in each renewal", *each),
        Row("renewal gap max", "the longest of all", *longest),
        Row("renewal gap p99.9", "p99.9 of all gaps between accepted calls", *usual),
    ]


def _series(
    what: str,
    during: list[Nanoseconds],
    without: list[Nanoseconds],
    values: Callable[[list[Nanoseconds]], list[float]],
) -> tuple[Series, Series]:
    renewing = Series(f"{what}, while renewing", "us", [value / 1e3 for value in values(during)])
    return renewing, Series(f"{what}, without", "us", [value / 1e3 for value in values(without)])


def _time(loaded: Sequence[Span], alone: Sequence[Span]) -> Row:
    under_load, idle = (
        Series(name, "ms", [(end - start) / 1e6 for start, end in spans])
        for name, spans in (("a renewal while calls run", loaded), ("a renewal, nothing else running", alone))
    )
    return Row("renewal time", "one renewal by SessionKeeper, installed at the point", under_load, idle)
