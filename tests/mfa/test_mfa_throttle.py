"""Guessing is slowed down, then stopped."""

from __future__ import annotations

import pytest

from ztsession.errors import EvidenceError
from ztsession.mfa.throttle import Throttle

NOW = 1_900_000_000.25


def test_the_table_of_waits():
    """Four failures are free, the fifth costs a second, each further one twice as much, up to 15 minutes."""
    throttle, waits = Throttle(), []
    for _ in range(17):
        throttle = throttle.failed(NOW)
        waits.append(max(0, throttle.wait_until - 1_900_000_000))
    assert waits == [0, 0, 0, 0, 2, 3, 5, 9, 17, 33, 65, 129, 257, 513, 901, 901, 901]


def test_who_waits_is_admitted_on_time():
    """Before its time a try is refused, at its time it is let in."""
    throttle = Throttle(7, 1_900_000_004)
    throttle.admit(1_900_000_004.0)
    for early in (1_900_000_003.99, 1_899_999_103.0, float("nan")):
        with pytest.raises(EvidenceError, match="has to wait"):
            throttle.admit(early)


def test_H24_a_clock_that_was_set_back_makes_nobody_wait_longer():
    """A failure counted by a clock a year ahead shuts nobody out for a year; the next one waits as ever."""
    ahead = Throttle(17).failed(NOW + 365 * 86400)
    ahead.admit(NOW)
    after = ahead.failed(NOW)
    assert after.failures == 19
    with pytest.raises(EvidenceError, match="has to wait"):
        after.admit(NOW)
    with pytest.raises(EvidenceError, match="has to wait"):
        after.admit(NOW + 899)
    with pytest.raises(EvidenceError, match="locked"):
        Throttle(99).failed(NOW + 365 * 86400).admit(NOW)


def test_the_hundredth_failure_locks():
    """Ninety-nine failures wait, one hundred lock for ever, and the count goes no further."""
    throttle = Throttle(98, 0).failed(NOW)
    assert not throttle.locked
    throttle.admit(NOW + 1000)
    locked = throttle.failed(NOW)
    assert locked.locked
    assert locked.failed(NOW).failures == 100
    with pytest.raises(EvidenceError, match="locked"):
        locked.admit(NOW + 1e9)
