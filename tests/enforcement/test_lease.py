"""The lease as a figure: how it stands, that it bounds what it says it bounds, and what is told of its
loss.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from test_feed_attacks import LEASE_S, Middle, Scene, silent

from ztsession.audit.sink import MemoryAudit
from ztsession.clock import FakeClock
from ztsession.enforcement import EnforcementPoint
from ztsession.enforcement.lease import CHECK_US, Lease
from ztsession.errors import AuditError, ReauthRequired, Stale
from ztsession.risk.levels import Mode
from ztsession.testing import pair

SECOND_US = 1_000_000


def audited() -> tuple[Scene, MemoryAudit]:
    made, audit = Scene(), MemoryAudit()
    made.point._lease._audit = audit
    made.point._lease.begin_anew_for_testing_only()
    assert made.point.maintain()
    return made, audit


@pytest.fixture
def scene() -> Scene:
    return audited()[0]


def test_a_lease_says_how_it_stands(scene: Scene) -> None:
    """Heard just now, then silent, then lost, then heard again: each figure at each moment."""
    length = LEASE_S * SECOND_US
    assert scene.point.lease() == Lease(length, 0, length, stale=False, lost=0, longest_silence_us=0)
    scene.line.answer = silent
    scene.clock.advance(2)
    scene.point.maintain()
    assert scene.point.lease() == Lease(
        length, 2 * SECOND_US, length - 2 * SECOND_US, stale=False, lost=0, longest_silence_us=2 * SECOND_US
    )
    scene.clock.advance(4)
    # Before anybody has noticed, and after.
    for _ in range(2):
        assert scene.point.lease() == Lease(
            length, 6 * SECOND_US, 0, stale=True, lost=1, longest_silence_us=6 * SECOND_US
        )
        scene.point.maintain()
    scene.line.answer = scene.line.true.feed
    assert scene.point.maintain()
    assert scene.point.lease() == Lease(
        length, 0, length, stale=False, lost=1, longest_silence_us=6 * SECOND_US
    )
    assert scene.point.lease().bound_us == length + CHECK_US


def test_R11_a_point_that_was_never_answered_is_stale_and_has_lost_nothing() -> None:
    """Before the first answer there is no lease to lose."""
    clock = FakeClock()
    line = Middle(clock)
    line.answer = silent
    point = EnforcementPoint("orders", authority=line, manual_clock=True, wall_clock=clock.time)
    clock.follow(point.table)
    point.maintain()
    lease = point.lease()
    assert (lease.heard_us_ago, lease.remaining_us, lease.stale, lease.lost) == (None, 0, True, 0)


@pytest.mark.parametrize("one_way", [False, True], ids=["R7", "R8"])
def test_R7_R8_no_call_is_accepted_past_the_stated_bound(scene: Scene, one_way: bool) -> None:
    """A change that nothing of comes through, whenever it is made within a lease: the last call that is
    accepted comes within ``bound_us`` of it.
    """
    step_us, worst_us = CHECK_US, 0
    for made_after_us in range(0, 5 * SECOND_US, 490_000):
        scene.line.answer = scene.line.true.feed
        assert scene.point.maintain()
        assert scene.call()
        scene.line.answer = silent
        scene.line.receive = lambda _: None
        if one_way:
            # What was pushed before may come, and come again: it does not make a lease.
            scene.line.receive = scene.line.pushed.append
        scene.clock.advance(made_after_us / 1e6)
        bound_us = scene.point.lease().bound_us
        scene.line.true.set_mode(scene.session, Mode.SUSPENDED)
        accepted_us, after_us = 0, 0
        while after_us <= bound_us + SECOND_US:
            scene.point.maintain()
            try:
                scene.call()
                accepted_us = after_us
            except Stale:
                pass
            scene.clock.advance(step_us / 1e6)
            after_us += step_us
        worst_us = max(worst_us, accepted_us)
        assert accepted_us <= bound_us
        scene.line.true.set_mode(scene.session, Mode.NORMAL)
    # The bound is no invention: a change right after an answer comes close to it.
    assert worst_us > 0.99 * LEASE_S * SECOND_US


def test_R7_loss_and_recovery_are_in_the_audit_log() -> None:
    """Once each, with the segment and for how long."""
    scene, audit = audited()
    scene.line.answer = silent
    for _ in range(8):
        scene.clock.advance(1)
        scene.point.maintain()
    scene.line.answer = scene.line.true.feed
    scene.clock.advance(1)
    assert scene.point.maintain()
    told = [{k: v for k, v in entry.items() if k not in ("n", "time")} for entry in audit.entries]
    assert told == [
        {"event": "point.stale", "segment": "orders", "lost": 1, "silent_s": 6.0, "untold": 0},
        {"event": "point.recovered", "segment": "orders", "lost": 1, "silent_s": 9.0, "stale_s": 4.0},
    ]


def test_R7_a_loss_that_is_noticed_only_afterwards_is_told_all_the_same() -> None:
    """A point whose questions hang learns of its loss with the answer that ends it."""
    scene, audit = audited()
    scene.clock.advance(60)
    assert scene.point.maintain()
    assert audit.events() == ["point.stale", "point.recovered"]
    assert scene.point.lease().lost == 1


def test_D8_a_line_that_flaps_does_not_fill_the_audit_log() -> None:
    """The first losses are told each; from then on one a minute, with how many were not told. A loss that
    lasts is told in the end.
    """
    scene, audit = audited()
    for _ in range(100):
        scene.clock.advance(6)
        assert scene.point.maintain()
    events = audit.events()
    assert events == ["point.stale", "point.recovered"] * (len(events) // 2)
    stale = [entry for entry in audit.entries if entry["event"] == "point.stale"]
    assert [entry["lost"] for entry in stale[:8]] == list(range(1, 9))
    assert 8 + 9 <= len(stale) <= 8 + 11
    assert all(8 <= entry["untold"] <= 10 for entry in stale[10:])
    assert scene.point.lease().lost == 100
    assert sum(1 + entry["untold"] for entry in stale) == stale[-1]["lost"] > 90
    scene.line.answer = silent
    for _ in range(70):
        scene.clock.advance(1)
        scene.point.maintain()
    assert audit.events()[-1] == "point.stale"
    assert audit.entries[-1]["silent_s"] >= 6
    assert len(audit.entries) == len(events) + 1


def test_A10_a_lease_is_kept_although_its_loss_cannot_be_written(caplog: pytest.LogCaptureFixture) -> None:
    """A full disk at the audit log keeps nobody from being heard."""

    class Full:
        def record(self, event: str, **fields: object) -> None:
            raise AuditError("disk full")

    scene, _ = audited()
    scene.point._lease._audit = Full()
    scene.clock.advance(LEASE_S + 1)
    assert scene.point.maintain()
    assert scene.call()
    assert caplog.text.count("is not in the audit log: disk full") == 2


def test_by_default_it_is_told_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """A point that was given no audit log says the same as lines of JSON."""
    clock = FakeClock()
    _, point = pair(clock=clock)
    clock.advance(LEASE_S + 1)
    with caplog.at_level(logging.WARNING, "ztsession.audit"):
        assert point.maintain()
    lines = [json.loads(record.message) for record in caplog.records if record.name == "ztsession.audit"]
    assert [(line["n"], line["event"]) for line in lines] == [(1, "point.stale"), (2, "point.recovered")]


def test_an_audit_log_of_the_points_own_is_used() -> None:
    """What is given comes before what the Authority has."""
    clock, own = FakeClock(), MemoryAudit()
    _, point = pair(clock=clock, audit=own)
    clock.advance(LEASE_S + 1)
    assert point.maintain()
    assert own.events() == ["point.stale", "point.recovered"]


def test_in_one_process_it_is_in_the_authoritys_audit_log(house: Any) -> None:
    """The Authority's own log takes the entries of the points beside it."""
    clock = FakeClock()
    authority = house.authority(clock=clock.time)
    point = house.point(authority, manual_clock=True, wall_clock=clock.time)
    clock.follow(point.table)
    point._lease.begin_anew_for_testing_only()
    assert point.maintain()
    clock.advance(LEASE_S + 1)
    assert point.maintain()
    lines = (house.state / "audit.jsonl").read_text().splitlines()
    assert [json.loads(line)["event"] for line in lines][-2:] == ["point.stale", "point.recovered"]


def test_R9_a_real_clock_loses_and_regains_it(eventually: Callable[..., None]) -> None:
    """The housekeeper notices the loss and the recovery by itself."""
    audit = MemoryAudit()
    client, point = pair(lease_us=200_000, audit=audit)
    authority: Any = point.authority
    with point:
        eventually(lambda: not point.lease().stale)
        true, authority.feed = authority.feed, silent
        eventually(lambda: point.lease().stale and audit.events()[-1:] == ["point.stale"])
        authority.feed = true
        eventually(lambda: not point.lease().stale)
        assert point.lease().lost >= 1
        authority.set_mode(client.grant.session, Mode.SUSPENDED)
        verify, token = point.verifier("orders.submit"), client.sign("orders.submit", b"x")
        with pytest.raises(ReauthRequired):
            verify(token, b"x")
