"""An audit log's entries, led through an engine again."""

from __future__ import annotations

from typing import Any

from ztsession.risk.actions import Action
from ztsession.risk.kinds import Kind
from ztsession.risk.levels import Level, Mode
from ztsession.risk.replay import Replay
from ztsession.risk.rules import RiskRules

SECOND_US = 1_000_000
NOW_US = 1_790_000_000 * SECOND_US
ONE, TWO, NEXT = "31" * 16, "32" * 16, "33" * 16


class Log:
    """Entries as an Authority writes them, one second after the other, and what a replay makes of them."""

    def __init__(self, **kinds: Kind) -> None:
        self.replay, self.n, self.now_us = Replay(RiskRules(kinds=kinds) if kinds else None), 0, NOW_US

    def add(self, event: str, **fields: Any) -> None:
        self.n, self.now_us = self.n + 1, self.now_us + SECOND_US
        self.replay.take({"n": self.n, "event": event, "at_us": self.now_us, **fields})

    def granted(self, session: str, *, marks: tuple[int, int] = (0, 0), **more: Any) -> None:
        fields = {"subject": "ada", "device": "host", "network": "192.0.2.7", "supersedes": "", "shown": []}
        ends_at = self.now_us // SECOND_US + 3600
        self.add(
            "session.granted",
            **fields | {"renewed": False, "ends_at": ends_at} | more,
            session=session,
            marks=list(marks),
        )

    def signal(self, kind: str, level: str = "MEDIUM", **more: Any) -> None:
        about = more or {"subject": "ada"}
        fields = {
            "source": "feed",
            "happened_us": self.now_us,
            "withdraws": False,
            "evidence": [],
            "line": [],
        }
        self.add("signal", **fields | about, id=f"s-{self.n}", about=kind, level=level)

    def later(self, seconds: int) -> None:
        self.now_us += seconds * SECOND_US

    def mode(self, session: str) -> Mode:
        assert self.replay.skipped == 0
        return self.replay.engine.session(bytes.fromhex(session)).mode


def test_D8_sessions_that_are_over_are_forgotten() -> None:
    """A log of months needs no more memory than what lived at one time of it."""
    log = Log()
    for number in range(50):
        log.granted(f"{number:032x}")
        log.later(3600)
    assert (len(log.replay.engine), log.replay.skipped) == (1, 0)
    log.granted(f"{50:032x}")
    for number in range(51, 100):
        log.granted(f"{number:032x}", supersedes=f"{number - 1:032x}", renewed=True)
        log.later(120)
    assert len(log.replay.engine) == 2
    log.granted(ONE, supersedes=f"{99:032x}")
    assert len(log.replay.engine) == 1


def test_each_half_of_the_evidence_answers_by_its_own_mark() -> None:
    """What was shown first by the first mark, and what was added by the second, but only what it answers."""
    for marks, shown, mode in (
        ((2, 2), [], Mode.NORMAL),
        ((0, 2), ["posture", "factor"], Mode.NORMAL),
        ((0, 2), ["factor"], Mode.RESTRICTED),
        ((0, 1), ["posture", "factor"], Mode.RESTRICTED),
        ((1, 1), [], Mode.RESTRICTED),
        ((0, 2), [], Mode.RESTRICTED),
    ):
        log = Log()
        log.signal("off-hours")
        log.signal("posture-drift")
        log.granted(ONE, marks=marks, shown=shown)
        assert log.mode(ONE) is mode, (marks, shown)


def test_a_renewal_goes_on_with_what_stands_and_moves() -> None:
    """It keeps what its evidence does not answer, and meets what stands where it came to."""
    log = Log()
    log.signal("threat", network="198.51.100.7")
    log.granted(ONE, marks=(1, 1))
    log.signal("posture-drift")
    log.granted(TWO, marks=(1, 2), shown=["posture"], supersedes=ONE, renewed=True)
    assert (log.mode(ONE), log.mode(TWO)) == (Mode.RESTRICTED, Mode.NORMAL)
    log.granted(NEXT, marks=(1, 2), supersedes=TWO, renewed=True, network="198.51.100.7")
    assert log.mode(NEXT) is Mode.RESTRICTED


def test_a_line_is_hit_with_its_first_session() -> None:
    """A signal against a session that was renewed hits those that the entry names, and no others."""
    log = Log()
    log.granted(ONE)
    log.granted(TWO, supersedes=ONE, renewed=True)
    log.granted(NEXT)
    log.signal("threat", session=ONE, line=[ONE, TWO])
    assert [log.mode(each) for each in (ONE, TWO, NEXT)] == [Mode.RESTRICTED, Mode.RESTRICTED, Mode.NORMAL]


def test_time_passes_by_the_log_and_never_back() -> None:
    """Scores fall by the moments of the entries, also where one tells an earlier one."""
    log = Log(mood=Kind(actions=(Action.NONE,) * 4, points=(0, 45, 45, 45), half_life_s=60))
    log.granted(ONE)
    log.signal("mood")
    log.later(120)
    log.add("session.mode", session=ONE, mode="NORMAL")
    log.add("session.mode", session=ONE, mode="NORMAL", at_us=NOW_US)
    assert (log.replay.differences, log.replay.modes) == ([], 2)
    log.later(-120)
    log.signal("mood", "HIGH")
    assert [received.at_us for received in log.replay.engine.session(bytes.fromhex(ONE)).unresolved] == [
        NOW_US + 123 * SECOND_US
    ]


def test_operators_are_followed() -> None:
    """Quarantine, release and resolve do what they did, and a revoked session is not known any more."""
    log = Log()
    log.granted(ONE)
    log.granted(TWO, subject="bob")
    log.add("quarantine", target="subject", name="ada", why="odd")
    assert (log.mode(ONE), log.mode(TWO)) == (Mode.REVOKED, Mode.NORMAL)
    log.add("quarantine.released", target="subject", name="ada")
    log.granted(NEXT)
    log.signal("threat", subject="bob")
    log.add("signal.resolved", about="threat", target="subject", name="bob")
    assert (log.mode(NEXT), log.mode(TWO)) == (Mode.NORMAL, Mode.NORMAL)
    log.add("session.revoked", session=TWO)
    log.add("session.mode", session=TWO, mode="REVOKED")
    assert [(each.recorded, each.replayed) for each in log.replay.differences] == [("REVOKED", "")]


def test_what_a_sensor_wrote_is_in_the_explanation() -> None:
    """Evidence is part of the sentence, and a withdrawal takes back what happened before it."""
    log = Log()
    log.granted(ONE)
    log.signal("threat", subject="ada", evidence=[["list", "botnets"]])
    assert "'list': 'botnets'" in log.replay.engine.explain(bytes.fromhex(ONE))
    log.signal("threat", "LOW", subject="ada", withdraws=True, happened_us=NOW_US)
    assert log.mode(ONE) is Mode.RESTRICTED
    log.signal("threat", "LOW", subject="ada", withdraws=True)
    assert log.mode(ONE) is Mode.NORMAL
    assert log.replay.engine.session(bytes.fromhex(ONE)).level is Level.LOW
