"""The demo's latency summary."""

from __future__ import annotations

from ztsession.demo.latency import EDGES_NS, summarise, timer_cost_ns


def test_quantiles_and_bars_are_those_of_the_samples() -> None:
    """Of 1..1000 ns the quantiles are known, and every sample is in exactly one bar."""
    summary = summarise(range(1000, 0, -1))
    assert [summary[name] for name in ("count", "p50", "p90", "p99", "max")] == [1000, 501, 900, 990, 1000]
    bars = summary["bars"]
    assert isinstance(bars, list)
    assert len(bars) == len(EDGES_NS) + 1
    assert sum(bars) == 1000
    assert bars[0] == EDGES_NS[0] - 1


def test_the_slowest_are_counted_too() -> None:
    """Above the last edge there is one more bar."""
    bars = summarise([10**9])["bars"]
    assert isinstance(bars, list)
    assert bars[-1] == 1


def test_no_samples_are_no_error() -> None:
    """Nothing measured is told as nothing."""
    assert summarise([])["count"] == 0


def test_reading_the_timer_costs_something() -> None:
    """The cost of the timer is above nothing and far below a millisecond."""
    assert 0 < timer_cost_ns(1000) < 1e6
