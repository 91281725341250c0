"""When the hour of a decision comes, and what is left of it then."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from typing import Any

import pytest

from ztsession.bus.change import Change
from ztsession.clock import FakeClock
from ztsession.enforcement.hours import Hours
from ztsession.enforcement.point import EnforcementPoint
from ztsession.errors import Denied, NotPermitted
from ztsession.policy.catalog import Catalog
from ztsession.policy.grant import Grant
from ztsession.policy.tighten import Less
from ztsession.testing import TestAuthority, pair

PROFILE, NOW, NOW_US = b"p" * 32, 1_800_000_000.0, 5_000_000


def lasting(until: int) -> Any:
    _, point = pair(operations=["orders.submit", "orders.cancel"])
    grant = point.authority.grant()
    point.close()
    return dataclasses.replace(grant, issued_at=int(NOW) - 60, until=until, lasting=[2, 2, 0])


def test_an_end_is_a_moment_of_session_time() -> None:
    """It comes once, at its microsecond; a grant without one has none."""
    hours = Hours()
    hours.add(b"q" * 32, lasting(0), NOW, NOW_US)
    assert (len(hours), hours.next_us()) == (0, None)
    hours.add(PROFILE, lasting(int(NOW) + 3), NOW, NOW_US)
    assert hours.next_us() == NOW_US + 3_000_000
    assert hours.take_due(NOW_US + 2_999_999) == []
    assert hours.take_due(NOW_US + 3_000_000) == [(PROFILE, Less((2, 2, 0)))]
    assert hours.take_due(NOW_US + 3_000_000) == []


def test_an_hour_that_is_over_when_a_ticket_comes_is_over_at_once() -> None:
    """Presenting late gains nothing, and neither does a clock that was put back between two tickets."""
    hours = Hours()
    hours.add(PROFILE, lasting(int(NOW) - 5), NOW, NOW_US)
    assert hours.take_due(NOW_US) == [(PROFILE, Less((2, 2, 0)))]
    hours.add(PROFILE, lasting(int(NOW) + 3), NOW, NOW_US)
    hours.add(PROFILE, lasting(int(NOW) + 3), NOW - 3600, NOW_US)
    assert hours.next_us() == NOW_US + 3_000_000


def _grant(authority: TestAuthority, in_s: float) -> Grant:
    return dataclasses.replace(authority.grant(), until=int(time.time() + in_s), lasting=[2, 2, 0])


def test_a_point_keeps_the_hour_by_itself(eventually: Any) -> None:
    """Nobody calls it and nothing is changed: at the hour the right is gone, and what lasts is not."""
    text = "version = 1\n" + "".join(
        f'[segments.orders.operations.{name}]\neffect = "risk-reducing"\n' for name in ("submit", "cancel")
    )
    authority = TestAuthority(Catalog.from_text(text).segment("orders"))
    with EnforcementPoint("orders", authority=authority) as point:
        grant = _grant(authority, 2.5)
        client = authority.connect(point, grant)

        def verdict(operation: str) -> str:
            call = point.verifier(operation)
            try:
                call(client.sign(operation, b"x"), b"x")
            except Exception as denied:
                return str(getattr(denied, "verdict", denied))
            return "OK"

        seen = [verdict("orders.submit")]
        before = time.time()
        eventually(lambda: verdict("orders.submit") == "NOT_PERMITTED")
        assert seen == ["OK"] or before >= grant.until
        # The wall clock and the point's are read one after the other; what lies between is taken off.
        assert time.time() >= grant.until - 0.1
        assert verdict("orders.cancel") == "OK"


def test_an_hour_that_is_near_when_a_ticket_comes_waits_for_no_housekeeper(eventually: Any) -> None:
    """Whoever comes just before the hour does not keep its right until the point looks around again."""
    text = "version = 1\n" + "".join(
        f'[segments.orders.operations.{name}]\neffect = "risk-reducing"\n' for name in ("submit", "cancel")
    )
    authority = TestAuthority(Catalog.from_text(text).segment("orders"))
    with EnforcementPoint("orders", authority=authority) as point:
        # As good as asleep: it ends, and nobody looks around.
        point._stopping.set()
        hours = 1, 2, 1
        grants = [
            dataclasses.replace(_grant(authority, hour), assurance=number)
            for number, hour in enumerate(hours, start=1)
        ]
        clients = [authority.connect(point, grant) for grant in grants]

        def verdict(client: Any, operation: str) -> str:
            call = point.verifier(operation)
            try:
                call(client.sign(operation, b"x"), b"x")
            except Denied as denied:
                return denied.verdict
            return "OK"

        for client in clients:
            eventually(lambda client=client: verdict(client, "orders.submit") == "NOT_PERMITTED")
            assert verdict(client, "orders.cancel") == "OK"


def test_the_hour_is_kept_before_the_lease_is_prolonged() -> None:
    """Maintenance that hears from nobody takes what the hour gave all the same."""
    clock = FakeClock()
    _, point = pair(clock=clock)
    authority: Any = point.authority
    grant = dataclasses.replace(authority.grant(), lasting=[0, 0, 0])
    grant = dataclasses.replace(grant, until=grant.issued_at + 10)
    late = authority.connect(point, grant, clock=clock)
    authority.feed = None
    for seconds, expected in ((9, 1), (2, 0)):
        clock.advance(seconds)
        with suppress(TypeError):
            point.maintain()
        assert len(point._installer._hours) == expected
    assert point.session(late.handle) is not None


class _Interrupted:
    """A table in which something else begins right before the first narrowing."""

    def __init__(self, table: Any, meanwhile: Callable[[], None]) -> None:
        self._table, self._meanwhile = table, [threading.Thread(target=meanwhile)]
        self.threads = list(self._meanwhile)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._table, name)

    def narrow(self, *what: Any) -> bool:
        if self._meanwhile:
            other = self._meanwhile.pop()
            other.start()
            # Whether it gets through or has to wait: what is left must be the same.
            other.join(0.3)
        return bool(self._table.narrow(*what))


def test_a_session_that_is_given_less_in_the_middle_of_it_loses_the_hour_too() -> None:
    """The hour passes in one thread while a change takes something from one session in another: both are
    gone, and what neither takes is not.
    """
    clock = FakeClock()
    _, point = pair(clock=clock, operations=("orders.submit", "orders.cancel", "orders.status"))
    authority: Any = point.authority
    grant = authority.grant()
    submit, cancel = (1 << grant.operations[f"orders.{name}"][0] for name in ("submit", "cancel"))
    grant = dataclasses.replace(
        grant, until=grant.issued_at + 10, lasting=[bits & ~submit for bits in grant.allowed]
    )
    client = authority.connect(point, grant, clock=clock)
    left = [2**64 - 1 - cancel] * 3
    change = Change.tighten(grant.profile_digest(), left, 0, session=grant.session)
    table = _Interrupted(point.table, lambda: authority._publish(change))
    point._listener._table = table
    clock.advance(11)
    point.maintain()
    for thread in table.threads:
        thread.join()
    verdicts = {}
    for name in ("submit", "cancel", "status"):
        verdict = point.verifier(f"orders.{name}")
        try:
            verdict(client.sign(f"orders.{name}", b"x"), b"x")
            verdicts[name] = "OK"
        except Denied as denied:
            verdicts[name] = denied.verdict
    assert verdicts == {"submit": "NOT_PERMITTED", "cancel": "NOT_PERMITTED", "status": "OK"}


def test_a_ticket_that_is_presented_after_the_hour_has_what_lasts() -> None:
    """Nobody has to maintain the point first: the answer already goes out with what is left."""
    clock = FakeClock()
    _, point = pair(operations=["orders.submit", "orders.cancel"], clock=clock)
    authority: Any = point.authority
    grant = dataclasses.replace(authority.grant(), lasting=[2, 2, 0])
    grant = dataclasses.replace(grant, until=grant.issued_at + 2)
    for at, allowed in ((1, True), (2, False)):
        clock.advance(at)
        client = authority.connect(point, grant, clock=clock)
        call = point.verifier("orders.submit")
        with nullcontext() if allowed else pytest.raises(NotPermitted):
            call(client.sign("orders.submit", b"x"), b"x")
        assert point.verifier("orders.cancel")(client.sign("orders.cancel", b"x"), b"x")


def test_an_installation_that_is_slow_makes_no_hour_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """What passes between looking at the ticket and filling its slot is not added to the hour."""
    clock = FakeClock()
    _, point = pair(clock=clock)
    authority: Any = point.authority
    grant = dataclasses.replace(authority.grant(), lasting=[0, 0, 0])
    grant = dataclasses.replace(grant, until=grant.issued_at + 10)
    looked = iter([0.0])
    monkeypatch.setattr(point._installer, "_clock", lambda: clock.time() + next(looked, 4.0))
    authority.connect(point, grant, clock=clock)
    due_us = point._installer.next_due_us()
    assert due_us is not None
    assert due_us <= point.table.now_us() + 6_000_000
