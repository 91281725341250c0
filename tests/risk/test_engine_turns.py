"""Who is shut out for what, whose turn it is, and what is seen by whom of all that was said before."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from ztsession.errors import SessionEnded
from ztsession.risk.actions import Action
from ztsession.risk.engine import RiskEngine
from ztsession.risk.kinds import DEFAULT_KINDS, Kind
from ztsession.risk.levels import Level, Mode
from ztsession.risk.rules import RiskRules, Threshold
from ztsession.risk.session import Received, kept
from ztsession.risk.signals import Signal

ONE, TWO, NEXT = b"1" * 16, b"2" * 16, b"3" * 16
POSTURE = frozenset({"posture"})
QUIET = Kind("factor", actions=(Action.NONE,) * 4, points=(15, 30, 60, 100), half_life_s=600, cap=90)


class Clock:
    """Unix seconds, moved by hand."""

    now = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now


class Desk:
    """Ada on host-1 and bob on host-2, both from one address."""

    def __init__(self, **rules: Any) -> None:
        self.clock, self.count = Clock(), 0
        kinds = {**DEFAULT_KINDS, "quiet": QUIET}
        self.engine = RiskEngine(RiskRules(kinds=kinds, **rules), clock=self.clock)
        for session, who, device in ((ONE, "ada", "host-1"), (TWO, "bob", "host-2")):
            self.engine.open(session, who, device, mark=0, network="192.0.2.7")

    def hit(self, kind: str, level: Level = Level.MEDIUM, **more: Any) -> Any:
        self.count += 1
        signal = Signal(f"s-{self.count}", kind, level, "feed", self.clock.now, **more)
        return self.engine.signal(signal)

    def mode(self, session: bytes) -> Mode:
        return self.engine.session(session).mode


# ---- Who is shut out


def test_a_network_that_is_shut_out_takes_nobody_with_it_by_name() -> None:
    """Whoever comes from there is over, and may begin elsewhere."""
    desk = Desk()
    reaction = desk.hit("account", Level.CRITICAL, network="192.0.2.0/24")
    assert reaction.quarantined == reaction.standing[1:] == [("network", "192.0.2.0/24")]
    assert {change.session for change in reaction.modes} == {ONE, TWO}
    assert desk.engine.open(NEXT, "ada", "host-1", mark=1, network="198.51.100.7").mode is Mode.NORMAL


def test_what_a_score_causes_is_done_whatever_raised_it() -> None:
    """A mild signal against a network shuts out the one subject whose score it raises high enough."""
    desk = Desk(high=Threshold(80, 50, Action.QUARANTINE_SUBJECT))
    desk.hit("quiet", Level.HIGH, subject="ada")
    desk.engine.open(NEXT, "ada", "elsewhere", mark=1)
    reaction = desk.hit("threat", network="192.0.2.7")
    assert sorted(set(reaction.sessions)) == [ONE, TWO, NEXT]
    assert (reaction.quarantined, reaction.action) == ([("subject", "ada")], Action.QUARANTINE_SUBJECT)
    assert (desk.mode(ONE), desk.mode(TWO)) == (Mode.REVOKED, Mode.RESTRICTED)


def test_a_score_that_shuts_out_a_device_leaves_the_subject() -> None:
    """The signal that raised it names a subject, and is not what shuts out."""
    desk = Desk(high=Threshold(80, 50, Action.QUARANTINE_DEVICE))
    desk.hit("quiet", Level.HIGH, session=ONE)
    desk.hit("threat", subject="ada")
    assert [each.target for each in desk.engine.quarantines()] == [("device", "host-1")]


def test_the_first_reason_is_the_one_that_is_told() -> None:
    """A signal that shuts its subject out is named as such, and who was revoked before keeps that reason."""
    desk = Desk()
    desk.hit("session-revoked", Level.CRITICAL, session=ONE)
    before = desk.engine.session(ONE)
    desk.engine.open(NEXT, "ada", "host-1", mark=desk.engine.mark())
    desk.hit("account", Level.CRITICAL, subject="ada")
    assert [each.why for each in desk.engine.quarantines()] == ["account from feed (signal s-2)"]
    assert desk.engine.quarantine(("subject", "ada"), "again").modes == []
    assert [each.why for each in desk.engine.quarantines()] == ["account from feed (signal s-2)"]
    assert desk.engine.session(ONE) == before


# ---- Whose turn it is


def test_every_session_whose_score_stands_has_its_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that does not cool keeps no other from it, and one that has cooled or ended takes no turn more."""
    monkeypatch.setattr("ztsession.risk.engine.TICK_MAX", 1)
    desk = Desk()
    desk.hit("quiet", Level.HIGH, session=ONE)
    desk.hit("threat", Level.MEDIUM, session=ONE)
    desk.hit("quiet", Level.HIGH, session=TWO)
    desk.clock.now += 1800
    assert [change.session for change in (desk.engine.tick().modes + desk.engine.tick().modes)] == [TWO]
    desk.hit("quiet", Level.HIGH, session=TWO)
    desk.engine.close(ONE)
    desk.clock.now += 1800
    assert [change.session for change in desk.engine.tick().modes] == [TWO]
    assert desk.engine.tick().sessions == []
    with pytest.raises(SessionEnded):
        desk.engine.look_again(ONE)


def test_a_tick_that_finds_nothing_changed_has_nothing_to_be_kept() -> None:
    """What time has not changed needs no write; what it has, does, also if the mode stays."""
    desk = Desk()
    desk.hit("quiet", Level.HIGH, session=ONE)
    desk.hit("threat", session=ONE)
    assert desk.engine.session(ONE).suspended
    assert desk.engine.tick().sessions == []
    desk.clock.now += 86_400
    reaction = desk.engine.tick()
    assert (reaction.modes, reaction.sessions) == ([], [ONE])


# ---- What is seen


def test_a_renewal_from_the_same_place_does_not_meet_again_what_was_answered() -> None:
    """What the first handshake answered, and what a step-up did, stays answered as long as nobody moves."""
    desk = Desk()
    desk.hit("off-hours", network="192.0.2.0/24")
    desk.engine.open(NEXT, "eve", "x", mark=desk.engine.mark(), network="192.0.2.7")
    renewed = desk.engine.renew(b"4" * 16, NEXT, mark=1, shown=POSTURE, network="192.0.2.7")
    assert renewed.mode is Mode.NORMAL


def test_a_step_up_answers_nothing_that_came_after_its_challenge() -> None:
    """Evidence counts from its mark on, whatever is shown."""
    desk = Desk()
    mark = desk.engine.mark()
    desk.hit("off-hours", session=ONE)
    network = desk.engine.session(ONE).network
    for asked_at, mode in ((mark, Mode.RESTRICTED), (mark + 1, Mode.NORMAL)):
        shown = frozenset({"factor"})
        assert desk.engine.renew(ONE, ONE, mark=asked_at, shown=shown, network=network).mode is mode


def test_who_only_asks_does_not_move_the_clock() -> None:
    """What is recorded of an event is the moment that it saw, so a question must see none."""
    desk = Desk()
    desk.hit("off-hours", subject="ada")
    before = desk.engine.clock
    desk.clock.now += 60
    assert desk.engine.standing("ada", "host-1") is Level.LOW  # full evidence answers it
    desk.engine.explain(ONE)
    assert desk.engine.clock == before


def test_each_event_sees_the_moment_of_its_own() -> None:
    """Evidence of an hour later is judged by what is left then."""
    for act in (
        lambda engine, network: engine.renew(ONE, ONE, mark=9, shown=POSTURE, network=network),
        lambda engine, _: engine.reauthenticated(ONE, 0),
    ):
        desk = Desk()
        desk.hit("quiet", Level.HIGH, session=ONE)
        desk.clock.now += 3600
        act(desk.engine, desk.engine.session(ONE).network)
        assert desk.engine.session(ONE).mode is Mode.NORMAL


def test_who_begins_or_goes_on_is_judged_by_the_moment_at_which_they_do() -> None:
    """What has decayed since it was said holds up nobody, and a quarantine is as old as it is."""
    desk = Desk()
    desk.hit("quiet", Level.HIGH, subject="ada")
    desk.clock.now += 900
    assert desk.engine.open(NEXT, "ada", "x", mark=0).mode is Mode.NORMAL
    desk.hit("quiet", Level.HIGH, subject="bob")
    desk.clock.now += 1200
    assert desk.engine.renew(b"4" * 16, TWO, mark=0, shown=POSTURE, network="192.0.2.7").mode is Mode.NORMAL
    desk.clock.now += 900
    desk.engine.quarantine(("subject", "ada"), "x")
    assert desk.engine.quarantines()[0].since_us == round(desk.clock.now * 1e6)


def test_H19_a_renewal_answers_nothing_that_came_after_its_challenge() -> None:
    """Posture that was asked for before a drift says nothing about it."""
    desk = Desk()
    mark = desk.engine.mark()
    desk.hit("posture-drift", device="host-1")
    for asked, mode in ((mark, Mode.RESTRICTED), (mark + 1, Mode.NORMAL)):
        renewed = desk.engine.renew(NEXT, ONE, mark=asked, shown=POSTURE, network="192.0.2.7")
        assert renewed.mode is mode


def test_what_is_kept_does_not_depend_on_the_order_in_which_it_is_given() -> None:
    """A session that moves gets what came before after what came later."""
    rules = RiskRules()
    received = [
        Received(number, 0, 30_000, Signal(f"s-{number}", "threat", level, "s", 0.0, subject="ada"))
        for number, level in enumerate((Level.HIGH, Level.MEDIUM, Level.HIGH), 1)
    ]
    assert kept(received, rules) == kept(received[::-1], rules)
    assert [each.number for each in kept(received, rules)] == [3]


def test_what_was_said_of_where_somebody_came_from_can_be_taken_back_when_they_have_moved() -> None:
    """The restriction goes along with the session, and so does its end."""
    desk = Desk()
    desk.hit("threat", network="192.0.2.0/24")
    desk.engine.renew(NEXT, ONE, mark=1, shown=POSTURE, network="198.51.100.7")
    assert desk.mode(NEXT) is Mode.RESTRICTED
    desk.engine.resolve("threat", ("network", "192.0.2.0/24"))
    assert desk.mode(NEXT) is Mode.NORMAL
    assert desk.engine._sessions.with_signals() == []
    assert desk.hit("threat", network="192.0.2.0/24", withdraws=True).standing == []


def test_a_restart_knows_what_stands_against_nobody_connected() -> None:
    """From what stands alone, and from the clock, numbers and moments go on and duplicates are known."""
    desk = Desk()
    desk.hit("threat", subject="carol")
    kept = desk.engine.standing_bytes(("subject", "carol"))
    again = RiskEngine.restore([kept], [], clock=lambda: 0.0, at=(0, desk.engine.clock[1]))
    assert again.clock == desk.engine.clock
    again.look_at_clock()
    assert again.clock == desk.engine.clock
    assert again.signal(Signal("s-1", "threat", Level.HIGH, "feed", 0.0, subject="carol")).duplicate


def test_D8_the_names_of_the_latest_signals_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded, and it is the oldest name that is forgotten."""
    monkeypatch.setattr("ztsession.risk.engine.SEEN_MAX", 2)
    desk = Desk()
    for _ in range(3):
        desk.hit("threat", session=ONE)
    seen = []
    for number in (3, 2, 1):
        repeated = Signal(f"s-{number}", "threat", Level.MEDIUM, "feed", desk.clock.now, session=ONE)
        seen.append(desk.engine.signal(repeated).duplicate)
    assert seen == [True, True, False]


def test_what_is_only_told_is_told_as_such() -> None:
    """The action of a signal that changes nothing is its own, and nothing is to be kept of it."""
    desk = Desk()
    reaction = desk.hit("threat", Level.LOW, network="192.0.2.7")
    assert reaction == dataclasses.replace(reaction, modes=[], sessions=[], standing=[], quarantined=[])
    assert reaction.action is Action.ALERT
    assert desk.hit("operator", Level.LOW, subject="ada").action is Action.NONE
