"""How signals add up, how time takes points away, and what a score does to a session."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ztsession.errors import WireError
from ztsession.risk.actions import Action
from ztsession.risk.engine import RiskEngine
from ztsession.risk.kinds import DEFAULT_KINDS, Kind
from ztsession.risk.levels import Level, Mode
from ztsession.risk.rules import RiskRules, Threshold
from ztsession.risk.score import decayed
from ztsession.risk.signals import Signal

ONE, TWO = b"1" * 16, b"2" * 16
HOUR_US = 3_600_000_000


class Clock:
    """Unix seconds, moved by hand."""

    def __init__(self) -> None:
        self.now = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now


class Desk:
    """An engine with two watched sessions of one subject each, and a clock."""

    def __init__(self, **rules: Any) -> None:
        self.clock = Clock()
        self.engine = RiskEngine(RiskRules(**rules), clock=self.clock)
        self.engine.open(ONE, "ada", "host", mark=0, network="192.0.2.7")
        self.engine.open(TWO, "bob", "host", mark=0)
        self.count = 0

    def hit(self, kind: str, level: Level = Level.MEDIUM, **target: Any) -> Mode:
        """One more signal, from a source of its own kind; the mode of the first session after it."""
        self.count += 1
        named = target or {"session": ONE}
        self.engine.signal(Signal(f"s-{self.count}", kind, level, f"sensor-{kind}", self.clock.now, **named))
        return self.mode

    def later(self, seconds: float) -> Mode:
        """Time passes, and takes effect."""
        self.clock.now += seconds
        self.engine.tick()
        return self.mode

    def step_up(self, mark: int) -> None:
        """The first session goes on with all that a step-up can show."""
        shown = frozenset({"posture", "factor"})
        self.engine.renew(ONE, ONE, mark=mark, shown=shown, network=self.engine.session(ONE).network)

    @property
    def mode(self) -> Mode:
        return self.engine.session(ONE).mode

    @property
    def points(self) -> dict[str, int]:
        now_us = int(self.clock.now * 1e6)
        return {k: v // 1000 for k, v in self.engine.session(ONE).scores(self.engine.rules, now_us).items()}


#: Kinds that by themselves do nothing: what happens is the score's doing.
QUIET = Kind("factor", actions=(Action.NONE,) * 4, points=(0, 30, 60, 100), half_life_s=600, cap=90)
QUIET_KINDS = {"a": QUIET, "b": QUIET, "c": dataclasses.replace(QUIET, answered_by="nothing")}


@given(st.integers(0, 10**9), st.integers(0, 10**14), st.integers(1, 10**12))
def test_points_are_halved_at_each_half_life_and_never_grow(points: int, age: int, half_life: int) -> None:
    """At whole half-lives the value is exact, between them it only falls, and before its time it is whole."""
    assert decayed(points, 0, half_life) == decayed(points, -age, half_life) == points
    for halvings in (1, 2, 7):
        assert decayed(points, halvings * half_life, half_life) == points >> halvings
    assert 0 <= decayed(points, age + 1, half_life) <= decayed(points, age, half_life) <= points


def test_a_level_begins_and_ends_at_its_very_number() -> None:
    """At the number itself it is entered, at the other it is kept, and a thousandth below it is left."""
    rules = RiskRules()
    for score, before, rated in (
        (39_999, Level.LOW, Level.LOW),
        (40_000, Level.LOW, Level.MEDIUM),
        (25_000, Level.MEDIUM, Level.MEDIUM),
        (24_999, Level.MEDIUM, Level.LOW),
        (79_999, Level.MEDIUM, Level.MEDIUM),
        (80_000, Level.MEDIUM, Level.HIGH),
        (50_000, Level.HIGH, Level.HIGH),
        (49_999, Level.HIGH, Level.MEDIUM),
        (25_000, Level.HIGH, Level.MEDIUM),
        (24_999, Level.HIGH, Level.LOW),
    ):
        assert rules.rated(score, before) is rated, (score, before)


def test_points_of_signals_taken_together_are_those_of_each_at_its_time() -> None:
    """One half-life apart, what is left of the first is added; and a flood fills the cap and no more."""
    desk = Desk(kinds=QUIET_KINDS)
    desk.hit("a", Level.MEDIUM)
    desk.clock.now += 600
    desk.hit("a", Level.MEDIUM)
    assert desk.points == {"a": 45}
    for _ in range(100):
        desk.hit("a", Level.MEDIUM)
    assert desk.points == {"a": 90}
    desk.clock.now += 600
    assert desk.points == {"a": 45}


def test_what_answers_nothing_changes_nothing() -> None:
    """Evidence and withdrawals that hit nothing leave a level, a suspension and an end as they are."""
    desk = Desk(kinds={**QUIET_KINDS, "dead": Kind()})
    desk.hit("a", Level.HIGH)
    assert desk.later(600) is Mode.RESTRICTED  # 30 points, held by where it came from
    desk.step_up(0)
    assert desk.mode is Mode.RESTRICTED
    desk.hit("b", Level.HIGH)
    assert desk.mode is Mode.SUSPENDED
    assert desk.hit("c", Level.LOW, session=ONE, withdraws=True) is Mode.SUSPENDED
    assert desk.later(86_400) is Mode.SUSPENDED
    desk.engine.resolve("c", ("session", ONE.hex()))
    assert desk.mode is Mode.SUSPENDED
    desk.hit("dead", Level.CRITICAL, session=ONE)
    desk.engine.resolve("dead", ("session", ONE.hex()))
    assert desk.engine.explain(ONE).startswith("CRITICAL because dead of session")


def test_everything_proven_anew_does_not_answer_critical() -> None:
    """What was not revoked for it by the operator's rules stands until somebody takes it back."""
    kinds = {"a": dataclasses.replace(QUIET, actions=(*QUIET.actions[:3], Action.RESTRICT), points=(0,) * 4)}
    desk = Desk(kinds=kinds)
    desk.hit("a", Level.CRITICAL)
    desk.engine.reauthenticated(ONE, desk.engine.mark())
    assert desk.mode is Mode.RESTRICTED


def test_an_explanation_says_what_counts_and_no_more() -> None:
    """Points that are gone are not told, nor a suspension that the score still holds; order is fixed."""
    desk = Desk(kinds=QUIET_KINDS)
    desk.hit("a", Level.MEDIUM)
    assert desk.engine.explain(ONE) == "LOW because what is unresolved comes to no more"
    desk.hit("b", Level.HIGH)
    assert desk.engine.explain(ONE) == "HIGH because the score is 90 (a 30, b 60)"
    desk.later(86_400)
    assert desk.engine.explain(ONE) == (
        "HIGH because the score is 0 (nothing is left of it); a score suspended it, and not everything was "
        "proven since"
    )
    evidence = {"z": "1", "a": "2"}
    desk.engine.signal(Signal("x", "b", Level.MEDIUM, "s", 0.0, session=TWO, evidence=evidence))
    strict = RiskRules(kinds={"b": dataclasses.replace(QUIET, actions=(Action.RESTRICT,) * 4)})
    desk.engine.adopt(strict)
    assert desk.engine.explain(TWO).endswith("(signal x): 'a': '2', 'z': '1'")


def test_several_kinds_are_more_than_one() -> None:
    """Two kinds that each restrict at most suspend together; the same number of one kind does not."""
    alone = Desk(kinds=QUIET_KINDS)
    for _ in range(50):
        alone.hit("a", Level.MEDIUM)
    assert (alone.mode, alone.points) == (Mode.SUSPENDED, {"a": 90})
    capped = Desk(kinds={**QUIET_KINDS, "a": dataclasses.replace(QUIET, cap=70)})
    for _ in range(50):
        assert capped.hit("a", Level.MEDIUM) <= Mode.RESTRICTED
    assert (capped.mode, capped.points) == (Mode.RESTRICTED, {"a": 70})
    assert capped.hit("b", Level.MEDIUM) is Mode.SUSPENDED
    assert capped.points == {"a": 70, "b": 30}


def test_no_kind_suspends_a_desk_by_a_flood_at_medium() -> None:
    """With the defaults a thousand signals of one kind at MEDIUM restrict a session and do no more."""
    for kind in DEFAULT_KINDS:
        desk = Desk()
        for _ in range(1000):
            desk.hit(kind, Level.MEDIUM)
        assert desk.mode is Mode.RESTRICTED, kind


def test_a_score_is_left_later_than_it_is_entered() -> None:
    """A score that moves about the threshold does not switch the session on and off."""
    desk = Desk(kinds=QUIET_KINDS)
    assert desk.hit("a", Level.HIGH) is Mode.RESTRICTED  # 60 of 40
    assert desk.later(500) is Mode.RESTRICTED  # about 35, and left below 25
    assert 25 <= sum(desk.points.values()) < 40
    assert desk.later(400) is Mode.NORMAL
    assert desk.hit("b", Level.MEDIUM) is Mode.RESTRICTED  # what is left of a, and 30 more
    assert desk.later(4000) is Mode.NORMAL


def test_the_two_ways_to_one_score_differ_by_where_they_came_from() -> None:
    """At 30 points a session that was above 40 is still restricted, and one that was not never was."""
    came_down, came_up = Desk(kinds=QUIET_KINDS), Desk(kinds=QUIET_KINDS)
    came_down.hit("a", Level.HIGH)
    came_down.later(600)
    came_up.hit("a", Level.MEDIUM)
    assert came_down.points == came_up.points == {"a": 30}
    assert (came_down.mode, came_up.mode) == (Mode.RESTRICTED, Mode.NORMAL)


def test_time_lifts_a_restriction_and_never_a_suspension() -> None:
    """Whoever was suspended by a score has to prove everything anew, however long that takes."""
    desk = Desk(kinds=QUIET_KINDS)
    desk.hit("a", Level.HIGH)
    assert desk.hit("b", Level.HIGH) is Mode.SUSPENDED
    assert desk.later(86_400) is Mode.SUSPENDED
    told = desk.engine.explain(ONE)
    assert told.startswith("HIGH because")
    assert "not everything was proven since" in told
    desk.step_up(desk.engine.mark())
    assert desk.mode is Mode.SUSPENDED
    changes = desk.engine.reauthenticated(ONE, desk.engine.mark())
    assert [change.after for change in changes] == [Mode.NORMAL]


def test_H19_what_came_after_the_challenge_still_counts() -> None:
    """Evidence that was asked for before a signal leaves that signal's points where they are."""
    desk = Desk(kinds=QUIET_KINDS)
    desk.hit("a", Level.HIGH)
    mark = desk.engine.mark()
    desk.hit("b", Level.HIGH)
    desk.engine.reauthenticated(ONE, mark)
    assert (desk.mode, desk.points) == (Mode.RESTRICTED, {"b": 60})


def test_evidence_that_cannot_answer_a_kind_leaves_its_points() -> None:
    """Points of a kind that nothing answers stay after everything was proven anew, and time takes them."""
    desk = Desk(kinds=QUIET_KINDS)
    desk.hit("a", Level.HIGH)
    desk.hit("c", Level.HIGH)
    desk.engine.reauthenticated(ONE, desk.engine.mark())
    assert (desk.mode, desk.points) == (Mode.RESTRICTED, {"c": 60})
    assert desk.later(3600) is Mode.NORMAL


def test_a_clock_that_goes_back_forgets_nothing() -> None:
    """Set back, the clock stands still for scores: nothing decays, and nothing counts twice."""
    desk = Desk(kinds=QUIET_KINDS)
    desk.hit("a", Level.HIGH)
    desk.later(600)
    before = desk.engine.clock
    desk.clock.now -= 7200
    desk.engine.tick()
    assert (desk.engine.clock, desk.mode) == (before, Mode.RESTRICTED)
    desk.hit("b", Level.MEDIUM)
    assert [received.at_us for received in desk.engine.session(ONE).unresolved][-1] == before[1]


def test_only_integers_count() -> None:
    """Arriving in two halves or at once, the same signals at the same moments come to the same digit."""
    one, other = Desk(kinds=QUIET_KINDS), Desk(kinds=QUIET_KINDS)
    for desk in (one, other):
        for number in range(40):
            desk.clock.now += 7.3
            desk.hit("ab"[number % 2], Level(number % 3))
            if desk is other:
                desk.engine.tick()
                state, at = desk.engine.session(ONE).to_bytes(), desk.engine.clock
                desk.engine = RiskEngine.restore([], [state], desk.engine.rules, clock=desk.clock, at=at)
    assert one.engine.session(ONE).to_bytes() == other.engine.session(ONE).to_bytes()


def test_rules_that_change_are_applied_to_what_stands() -> None:
    """A kind that does more restricts at once who has it; one that is gone is not forgiven."""
    desk = Desk(kinds=QUIET_KINDS)
    desk.hit("a", Level.MEDIUM)
    assert desk.mode is Mode.NORMAL
    harder = dataclasses.replace(QUIET, actions=(Action.NONE, Action.SUSPEND, Action.SUSPEND, Action.REVOKE))
    changes = desk.engine.adopt(RiskRules(kinds={"a": harder})).modes
    assert [(change.session, change.after) for change in changes] == [(ONE, Mode.SUSPENDED)]
    assert desk.engine.adopt(RiskRules(kinds={"b": QUIET})).modes[0].after is Mode.RESTRICTED
    desk.engine.reauthenticated(ONE, desk.engine.mark())
    assert desk.mode is Mode.RESTRICTED


def test_what_stands_of_a_kind_that_is_gone_can_be_settled() -> None:
    """An operator who took a kind out of the file need not put it in again to let somebody go on."""
    desk = Desk(kinds=QUIET_KINDS)
    desk.hit("a", Level.HIGH)
    desk.hit("b", Level.HIGH, subject="carol")
    desk.engine.adopt(RiskRules(kinds={"c": QUIET}))
    assert desk.mode is Mode.SUSPENDED
    assert desk.engine.resolve("a", ("session", ONE.hex())).modes[0].after is Mode.NORMAL
    assert desk.engine.standing("carol", "host") is Level.HIGH
    assert desk.engine.resolve("b", ("subject", "carol")).standing == [("subject", "carol")]
    assert desk.engine.standing("carol", "host") is Level.LOW
    with pytest.raises(WireError, match="signal kind: expected one of c"):
        desk.engine.resolve("a", ("session", ONE.hex()))


def test_D8_what_ended_takes_no_turn_of_a_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many sessions were revoked with a high score, the living cool."""
    monkeypatch.setattr("ztsession.risk.engine.TICK_MAX", 1)
    desk = Desk(kinds=QUIET_KINDS)
    desk.hit("a", Level.HIGH, device="host")
    desk.engine.quarantine(("subject", "ada"), "gone")
    desk.clock.now += 3600
    assert [change.session for change in desk.engine.tick().modes] == [TWO]
    assert not desk.engine._cooling


def test_D8_the_reason_of_a_change_is_of_bounded_length() -> None:
    """What sensors wrote of a device is not kept once for each of its sessions."""
    desk = Desk()
    evidence = {f"k{number}": "v" * 250 for number in range(8)}
    reaction = desk.engine.signal(
        Signal("s", "threat", Level.HIGH, "d", 0.0, device="host", evidence=evidence)
    )
    assert [len(change.why) for change in reaction.modes] == [512, 512]


def test_tick_looks_at_a_bounded_number_of_sessions_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many scores cool, one tick looks at some of them, and each has its turn."""
    monkeypatch.setattr("ztsession.risk.engine.TICK_MAX", 10)
    desk = Desk(kinds=QUIET_KINDS)
    for number in range(35):
        desk.engine.open(number.to_bytes(16, "big"), f"trader-{number}", "host", mark=desk.engine.mark())
    desk.hit("a", Level.HIGH, device="host")
    desk.clock.now += 3600
    lifted = [len(desk.engine.tick().modes) for _ in range(5)]
    assert lifted == [10, 10, 10, 7, 0]


def test_an_action_of_a_level_can_shut_out() -> None:
    """A score whose level is to quarantine the subject ends all of its sessions, and of nobody else."""
    desk = Desk(kinds=QUIET_KINDS, high=Threshold(80, 50, Action.QUARANTINE_SUBJECT))
    third = desk.engine.open(b"3" * 16, "ada", "laptop", mark=0)
    desk.hit("a", Level.HIGH)
    desk.hit("b", Level.HIGH)
    modes = [desk.engine.session(s).mode for s in (ONE, TWO, third.session)]
    assert modes == [Mode.REVOKED, Mode.NORMAL, Mode.REVOKED]
    assert [each.target for each in desk.engine.quarantines()] == [("subject", "ada")]
    assert "the score is" in desk.engine.quarantines()[0].why
