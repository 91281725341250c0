"""P8: how long one verify takes when the program also does other work.

A loop of nothing but verifies keeps everything in the first cache and every branch predicted. Here each
verify follows work of another kind, which reads through a megabyte of orders and keeps a book; each is timed
by itself, with the time of reading the clock in it. The clock alone is measured the same way, and its
distribution is what the machine, and not ztsession, adds.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable, Collection, Sequence

from benchmarks.calls import OPERATION, Calls
from benchmarks.measure import Series
from benchmarks.plan import Plan
from benchmarks.result import Findings, Row

__all__ = ["CLOCK", "VERIFY", "measure", "percentile"]

VERIFY, CLOCK = "one verify among other work", "the clock alone, at the same place"
#: Tokens signed ahead: few enough that none is too old when its turn comes.
CHUNK = 5_000
FEED_BYTES = 1 << 20


def measure(plan: Plan, wanted: Collection[str], say: Callable[[str], None]) -> Findings:
    """Samples in nanoseconds, in chunks that alternate between verifying and reading the clock."""
    calls, work = Calls(), _OtherWork()
    verify, samples = calls.point.verifier(OPERATION), {VERIFY: list[int](), CLOCK: list[int]()}
    try:
        _sample(verify, calls.tokens(CHUNK), calls.body, work, [])
        for done in range(0, plan.latency_calls, CHUNK):
            say(f"{done:,} of {plan.latency_calls:,} calls")
            _sample(verify, calls.tokens(CHUNK), calls.body, work, samples[VERIFY])
            _sample_clock(CHUNK, work, samples[CLOCK])
    finally:
        calls.close()
    tail = Series("verify among other work, p99.9", "ns", [float(percentile(samples[VERIFY], 99.9))])
    beside = Series("the clock alone, p99.9", "ns", [float(percentile(samples[CLOCK], 99.9))])
    return Findings(
        [
            Row(
                "P8",
                "p99.9 of one verify in a loop with other work",
                tail,
                beside,
                note=_shape(samples[VERIFY]),
            )
        ],
        [tail, beside],
        samples,
    )


def percentile(samples: Sequence[int], percent: float) -> int:
    """The sample that ``percent`` of all are at or below."""
    ordered = sorted(samples)
    return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)]


def _shape(samples: Sequence[int]) -> str:
    parts = [f"p{percent:g} {percentile(samples, percent):,}" for percent in (50, 90, 99, 99.9, 99.99)]
    return f"{', '.join(parts)}, longest {max(samples):,} ns, of {len(samples):,}"


def _sample(
    verify: Callable[[bytes, bytes], object],
    tokens: Sequence[bytes],
    body: bytes,
    work: _OtherWork,
    into: list[int],
) -> None:
    clock, keep = time.perf_counter_ns, into.append
    for token in tokens:
        work.step()
        start = clock()
        verify(token, body)
        keep(clock() - start)


def _sample_clock(count: int, work: _OtherWork, into: list[int]) -> None:
    clock, keep = time.perf_counter_ns, into.append
    for _ in range(count):
        work.step()
        start = clock()
        keep(clock() - start)


class _OtherWork:
    """Reads an order from a feed and keeps the quantity at its price, as a service around a verify would."""

    def __init__(self) -> None:
        self._feed, self._at = os.urandom(FEED_BYTES), 0
        self._order = struct.Struct("<QQIIHH")
        self._book: dict[int, int] = {}

    def step(self) -> None:
        # A prime number of cache lines on: the next order is never where the last one was.
        self._at = (self._at + 64 * 61) % (FEED_BYTES - 64)
        _, account, price, quantity, side, flags = self._order.unpack_from(self._feed, self._at)
        level = price % 4096
        self._book[level] = (self._book.get(level, 0) + (quantity if side & 1 else -quantity)) & 0xFFFFFFFF
        if flags == account & 0xFFFF:
            self._book.clear()
