from __future__ import annotations

import dataclasses
import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ztsession.errors import SessionEnded, WireError
from ztsession.risk.engine import RiskEngine
from ztsession.risk.kinds import DEFAULT_KINDS
from ztsession.risk.levels import Level, Mode
from ztsession.risk.session import SessionRisk
from ztsession.risk.signals import Signal
from ztsession.wire import canonical

ONE, TWO = b"1" * 16, b"2" * 16
KINDS = tuple(DEFAULT_KINDS)
BOTH = frozenset({"posture", "factor"})
NOW = 1_790_000_000.25


class Clock:
    """A clock that is moved by hand, Unix seconds."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def signal(id: str, kind: str = "behaviour", level: Level = Level.HIGH, **target: Any) -> Signal:
    return Signal(id, kind, level, "detector", NOW, **(target or {"session": ONE}))


def watching(*sessions: bytes, **more: Any) -> RiskEngine:
    engine = RiskEngine(**more)
    for session in sessions or (ONE,):
        engine.open(session, f"subject-{session[:1].decode()}", "host", mark=engine.mark())
    return engine


@pytest.mark.parametrize(
    ("level", "mode"),
    [
        (Level.LOW, Mode.NORMAL),
        (Level.MEDIUM, Mode.RESTRICTED),
        (Level.HIGH, Mode.SUSPENDED),
        (Level.CRITICAL, Mode.REVOKED),
    ],
)
def test_level_decides_the_mode(level: Level, mode: Mode) -> None:
    """Each level has one mode, and the change is reported exactly when there is one."""
    engine = watching()
    changes = engine.signal(signal("a", level=level)).modes
    assert engine.session(ONE).mode is mode
    assert [(c.session, c.before, c.after) for c in changes] == (
        [] if mode is Mode.NORMAL else [(ONE, Mode.NORMAL, mode)]
    )


def test_signals_of_level_low_never_add_up() -> None:
    """What is only noted never amounts to anything, and a small one after a big one changes nothing."""
    engine = watching()
    for number in range(100):
        engine.signal(signal(f"low-{number}", level=Level.LOW))
    assert engine.session(ONE).mode is Mode.NORMAL
    engine.signal(signal("high"))
    assert engine.signal(signal("medium", level=Level.MEDIUM)).modes == []
    assert engine.session(ONE).mode is Mode.SUSPENDED


def test_R2_duplicate_signal_is_ignored() -> None:
    """A second arrival changes nothing, also after the first was answered; a new id counts again."""
    engine = watching()
    engine.signal(signal("a"))
    engine.reauthenticated(ONE, engine.mark())
    before = engine.session(ONE)
    assert engine.signal(signal("a", level=Level.CRITICAL)).duplicate
    assert engine.session(ONE) == before
    assert engine.session(ONE).mode is Mode.NORMAL
    engine.signal(signal("b"))
    assert engine.session(ONE).mode is Mode.SUSPENDED


def test_R5_one_source_cannot_suppress_another_by_using_its_id() -> None:
    """Ids are unique to their source, so the same id from elsewhere is another signal."""
    engine = watching()
    engine.signal(Signal("a", "behaviour", Level.LOW, "noisy", 0.0, session=ONE))
    engine.signal(Signal("a", "behaviour", Level.HIGH, "detector", 0.0, session=ONE))
    assert engine.session(ONE).mode is Mode.SUSPENDED


def test_signal_hits_the_sessions_of_its_target_and_no_others() -> None:
    """A subject's signal hits that subject's sessions, a device's all on it, a session's itself."""
    engine = watching(ONE, TWO)
    engine.signal(signal("a", level=Level.MEDIUM, subject="subject-1"))
    assert [engine.session(s).mode for s in (ONE, TWO)] == [Mode.RESTRICTED, Mode.NORMAL]
    engine.signal(signal("b", level=Level.MEDIUM, session=TWO))
    assert [engine.session(s).mode for s in (ONE, TWO)] == [Mode.RESTRICTED, Mode.RESTRICTED]
    changes = engine.signal(signal("c", level=Level.HIGH, device="host")).modes
    assert {c.session for c in changes} == {ONE, TWO}
    assert engine.signal(signal("d", level=Level.HIGH, device="other-host")).modes == []


@pytest.mark.parametrize("kind", KINDS)
def test_evidence_clears_what_it_answers_and_nothing_else(kind: str) -> None:
    """Evidence answers drift and behaviour; a stolen credential, a threat, an operator's word stay."""
    engine = watching()
    engine.signal(signal("a", kind))
    changes = engine.reauthenticated(ONE, engine.mark())
    stays = {
        "credential-compromise", "account", "session-revoked", "risk-level", "lateral-movement",
        "threat", "operator",
    }  # fmt: skip
    answered = kind not in stays
    assert engine.session(ONE).mode is (Mode.NORMAL if answered else Mode.SUSPENDED)
    assert [c.after for c in changes] == ([Mode.NORMAL] if answered else [])


def test_step_up_answers_medium_and_not_high() -> None:
    """A second factor lifts RESTRICTED; SUSPENDED wants the whole evidence again."""
    engine = watching()
    engine.signal(signal("a", level=Level.MEDIUM))
    assert engine.renew(ONE, ONE, mark=engine.mark(), shown=BOTH).mode is Mode.NORMAL
    engine.signal(signal("b", level=Level.HIGH))
    assert engine.renew(ONE, ONE, mark=engine.mark(), shown=BOTH).mode is Mode.SUSPENDED


def test_H19_evidence_asked_for_before_a_signal_does_not_answer_it() -> None:
    """Evidence counts from its challenge on, also when a worse and a milder signal straddle it."""
    engine = watching()
    engine.signal(signal("a", level=Level.HIGH))
    mark = engine.mark()
    engine.signal(signal("b", level=Level.MEDIUM))
    engine.reauthenticated(ONE, mark)
    assert engine.session(ONE).mode is Mode.RESTRICTED
    engine.reauthenticated(ONE, engine.mark())
    assert engine.session(ONE).mode is Mode.NORMAL


def test_H21_drift_between_evidence_and_ticket_hits_the_new_session() -> None:
    """A device that drifts after its challenge opens suspended; with a later challenge it opens well."""
    engine = RiskEngine()
    mark = engine.mark()
    engine.signal(signal("a", "posture-drift", device="host"))
    assert engine.open(ONE, "ada", "host", mark=mark).mode is Mode.SUSPENDED
    assert engine.open(TWO, "ada", "host", mark=engine.mark()).mode is Mode.NORMAL


def test_revoked_is_for_good() -> None:
    """Neither evidence nor an operator brings a revoked session back; a new session may begin."""
    engine = watching()
    engine.signal(signal("a", "behaviour", Level.CRITICAL, subject="subject-1"))
    engine.reauthenticated(ONE, engine.mark())
    engine.resolve("behaviour", ("subject", "subject-1"))
    assert engine.session(ONE).mode is Mode.REVOKED
    assert engine.open(TWO, "subject-1", "host", mark=engine.mark()).mode is Mode.NORMAL


def test_H14_stolen_credential_meets_every_new_session_until_resolved() -> None:
    """Connecting again does not escape a standing signal; once an operator resolves it, it does."""
    engine = RiskEngine()
    engine.signal(signal("a", "credential-compromise", Level.CRITICAL, subject="ada"))
    assert engine.standing("ada", "host") is Level.CRITICAL
    assert engine.open(ONE, "ada", "host", mark=engine.mark()).mode is Mode.REVOKED
    assert engine.open(TWO, "bob", "host", mark=engine.mark()).mode is Mode.NORMAL
    engine.resolve("credential-compromise", ("subject", "ada"))
    assert engine.standing("ada", "host") is Level.LOW
    assert engine.session(ONE).mode is Mode.REVOKED
    assert engine.open(b"3" * 16, "ada", "host", mark=engine.mark()).mode is Mode.NORMAL


def test_resolving_lifts_only_that_kind_and_target() -> None:
    """What an operator did not name stays."""
    engine = watching()
    engine.signal(signal("a", "threat", Level.MEDIUM, device="host"))
    engine.signal(signal("b", "operator", Level.HIGH, subject="subject-1"))
    assert engine.resolve("threat", ("device", "elsewhere")).modes == []
    assert engine.resolve("operator", ("subject", "subject-1")).modes[0].after is Mode.RESTRICTED
    assert engine.resolve("threat", ("device", "host")).modes[0].after is Mode.NORMAL
    with pytest.raises(WireError, match="kind"):
        engine.resolve("mood", ("device", "host"))


def test_explanation_names_the_cause_in_one_ascii_line() -> None:
    """The deciding signals are told, and what a sensor wrote cannot draw a second line."""
    engine = watching()
    assert engine.explain(ONE) == "LOW because no signal is unresolved"
    evil = {"kernel": "bad\nLOW because all is well\u202e"}
    engine.signal(Signal("s-1", "posture-drift", Level.HIGH, "agent", 0.0, device="host", evidence=evil))
    engine.signal(signal("s-2", level=Level.MEDIUM))
    told = engine.explain(ONE)
    assert told.startswith(
        "HIGH because posture-drift of device host from agent (signal s-1): 'kernel': 'bad"
    )
    assert "s-2" not in told
    assert told.isascii()
    assert told.isprintable()


def test_closed_session_is_forgotten() -> None:
    """After close nothing is watched, and signals pass it by."""
    engine = watching()
    engine.close(ONE)
    with pytest.raises(SessionEnded):
        engine.session(ONE)
    with pytest.raises(SessionEnded):
        engine.reauthenticated(ONE, 0)
    assert engine.signal(signal("a")).modes == []


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("id", {"id": "a\nb"}),
        ("id", {"id": ""}),
        ("about", {"kind": "a mood"}),
        ("level", {"level": 4}),
        ("level", {"level": True}),
        ("source", {"source": "ag\u0435nt"}),
        ("time", {"time": float("nan")}),
        ("time", {"time": float("inf")}),
        ("time", {"time": -1.0}),
        ("session", {"session": b"x" * 15}),
        ("exactly one", {"session": b""}),
        ("exactly one", {"subject": "ada"}),
        ("exactly one", {"network": "192.0.2.1"}),
        ("network", {"session": b"", "network": "192.0.2.1/24"}),
        ("network", {"session": b"", "network": "somewhere"}),
        ("withdraws", {"withdraws": 1}),
        ("evidence", {"evidence": {"k": "v" * 257}}),
        ("evidence", {"evidence": {str(n): "v" for n in range(9)}}),
        ("evidence", {"evidence": {"score": 1.0}}),
    ],
)
def test_L3_malformed_signal_is_refused(field: str, changes: dict[str, Any]) -> None:
    """A signal with a wrong field cannot exist, and the field is named."""
    good = signal("a")
    assert dataclasses.replace(good, id="b").id == "b"
    with pytest.raises(WireError, match=field):
        dataclasses.replace(good, **changes)


SIGNALS = st.builds(
    lambda number, kind, level, target, at: Signal(
        f"s-{number}", kind, level, "detector", at, **target, evidence={"n": str(number)}
    ),
    st.integers(0, 30),
    st.sampled_from(KINDS),
    st.sampled_from(Level),
    st.sampled_from([{"session": ONE}, {"session": TWO}, {"subject": "ada"}, {"device": "host"}]),
    st.floats(0, 2e9),
)
EVENTS = st.lists(
    st.one_of(
        SIGNALS.map(lambda s: ("signal", s)),
        st.sampled_from([("stepped_up", ONE), ("reauthenticated", ONE), ("reauthenticated", TWO)]),
    ),
    max_size=40,
)


def _run(engine: RiskEngine, events: list[tuple[str, Any]]) -> None:
    for what, value in events:
        if what == "signal":
            engine.signal(value)
        elif what == "stepped_up":
            engine.renew(value, value, mark=engine.mark(), shown=BOTH)
        else:
            engine.reauthenticated(value, engine.mark())


def _standing(engine: RiskEngine) -> list[bytes]:
    targets = [("subject", "ada"), ("device", "host")]
    return [data for data in map(engine.standing_bytes, targets) if data]


def _fresh() -> RiskEngine:
    engine = RiskEngine(clock=lambda: NOW)
    engine.open(ONE, "ada", "host", mark=0)
    engine.open(TWO, "bob", "host", mark=0)
    return engine


@given(SIGNALS)
def test_signal_survives_its_own_bytes(one: Signal) -> None:
    """Encoding and decoding gives the same signal, and one byte too many is refused."""
    assert Signal.from_bytes(one.to_bytes()) == one
    with pytest.raises(WireError):
        Signal.from_bytes(one.to_bytes() + b"\0")


@given(EVENTS, EVENTS)
def test_restored_engine_goes_on_as_the_first_would_have(before: list[Any], after: list[Any]) -> None:
    """After a restart from the kept state, the same events lead to the same modes and explanations."""
    engine = _fresh()
    _run(engine, before)
    states = [engine.session(session).to_bytes() for session in (ONE, TWO)]
    seen = {value.id for what, value in before if what == "signal"}
    after = [(what, value) for what, value in after if what != "signal" or value.id not in seen]
    restored = RiskEngine.restore(_standing(engine), states, clock=lambda: NOW, at=engine.clock)
    _run(engine, after)
    _run(restored, after)
    for session in (ONE, TWO):
        assert restored.session(session) == engine.session(session)
        assert restored.explain(session) == engine.explain(session)
    assert _standing(restored) == _standing(engine)


@given(EVENTS)
def test_engine_agrees_with_a_model_that_forgets_nothing(events: list[Any]) -> None:
    """Keeping few signals decides exactly as keeping all of them would, where no time passes."""
    engine = _fresh()
    owner = {ONE: "ada", TWO: "bob"}
    model: dict[bytes, Model] = {ONE: Model(), TWO: Model()}
    seen: set[str] = set()
    for what, value in events:
        _run(engine, [(what, value)])
        if what == "signal" and value.id not in seen:
            seen.add(value.id)
            for session in (ONE, TWO):
                if value.session == session or value.subject == owner[session] or value.device == "host":
                    model[session].take(value)
        elif what != "signal":
            model[value].answer(full=what == "reauthenticated")
        for session in (ONE, TWO):
            assert engine.session(session).mode == model[session].mode


class Model:
    """One session's risk by the letter of the defaults, with every signal kept."""

    def __init__(self) -> None:
        self.signals: list[tuple[Signal, int]] = []
        self.mode, self.rated, self.suspended = Mode.NORMAL, 0, False

    def take(self, signal: Signal) -> None:
        kind = DEFAULT_KINDS[signal.kind]
        if kind.points[signal.level] or kind.actions[signal.level] > 1:
            # What a milder one of the same was worth lives on in the worse, and in none that came before it.
            self.signals.append((signal, kind.points[signal.level]))
            self.judge()

    def answer(self, *, full: bool) -> None:
        if self.mode is Mode.REVOKED:
            return
        shown, most = ({"posture", "factor", "everything"}, 2) if full else ({"posture", "factor"}, 1)
        left = [s for s in self.signals if not self.answers(s[0], shown, most)]
        # Points ride on the last signal that was no milder: they go when that goes, and stay if it stays.
        if len(self.kept()) > len(self.kept(left)):
            self.signals, self.rated = self.with_riders(left), 0
        self.suspended = self.suspended and not full
        self.judge()

    def with_riders(self, left: list[tuple[Signal, int]]) -> list[tuple[Signal, int]]:
        gone = [s for s in self.signals if s not in left]
        stays = [s for s in gone if any(_covers(later[0], s[0]) for later in left[self.after(left, s) :])]
        return [s for s in self.signals if s in left or s in stays]

    def after(self, left: list[tuple[Signal, int]], one: tuple[Signal, int]) -> int:
        before = self.signals[: self.signals.index(one)]
        return len([s for s in left if s in before])

    def kept(self, signals: list[tuple[Signal, int]] | None = None) -> list[Signal]:
        held = [s for s, _ in (self.signals if signals is None else signals)]
        return [s for at, s in enumerate(held) if not any(_covers(later, s) for later in held[at + 1 :])]

    @staticmethod
    def answers(signal: Signal, shown: set[str], most: int) -> bool:
        return DEFAULT_KINDS[signal.kind].answered_by in shown and signal.level <= most

    def judge(self) -> None:
        if self.mode is Mode.REVOKED:
            return
        points: dict[str, int] = {}
        for signal, worth in self.signals:
            points[signal.kind] = points.get(signal.kind, 0) + worth
        score = sum(min(DEFAULT_KINDS[kind].cap, worth) for kind, worth in points.items())
        high, medium = (50 if self.rated == 2 else 80), (25 if self.rated else 40)
        self.rated = 2 if score >= high else 1 if score >= medium else 0
        self.suspended = self.suspended or self.rated == 2
        worst = max((DEFAULT_KINDS[s.kind].actions[s.level].mode for s in self.kept()), default=Mode.NORMAL)
        self.mode = max(worst, Mode(self.rated), Mode.SUSPENDED if self.suspended else Mode.NORMAL)


def _covers(later: Signal, earlier: Signal) -> bool:
    same = (later.kind, later.target) == (earlier.kind, earlier.target)
    return same and later.level >= earlier.level


def test_D8_flood_of_signals_keeps_memory_bounded() -> None:
    """Thousands of signals leave a state of a few, which still fits its bound."""
    engine = watching()
    targets: list[dict[str, Any]] = [{"session": ONE}, {"subject": "subject-1"}, {"device": "host"}]
    kinds = ("posture-drift", "credential-compromise", "behaviour", "threat", "operator")
    for number in range(6000):
        kind, target = kinds[number % 5], targets[number // 5 % 3]
        level = Level(2 - number * 3 // 6000)
        evidence = {f"k{n}": "v" * 256 for n in range(8)}
        engine.signal(Signal(f"s-{number}", kind, level, "d", 0.0, **target, evidence=evidence))
    risk = engine.session(ONE)
    assert len(risk.unresolved) == 30  # HIGH and MEDIUM; LOW says nothing here
    assert SessionRisk.from_bytes(risk.to_bytes()) == risk
    assert risk.mode is Mode.SUSPENDED


def test_D8_flood_from_many_sources_keeps_memory_bounded() -> None:
    """A thousand sources that each say something of one session are taken together, and none is lost."""
    engine = watching()
    engine.signal(signal("apart", "threat", Level.MEDIUM, device="host"))
    for number in range(1000):
        level = Level.HIGH if number == 3 else Level.MEDIUM
        engine.signal(Signal("s", "threat", level, f"source-{number}", NOW, session=ONE))
    risk = engine.session(ONE)
    assert len(risk.unresolved) <= 256
    assert {each.signal.target for each in risk.unresolved} == {("device", "host"), ("session", ONE.hex())}
    assert risk.mode is Mode.SUSPENDED
    assert SessionRisk.from_bytes(risk.to_bytes()) == risk


def test_D8_flood_over_many_networks_keeps_memory_bounded() -> None:
    """Every network around one address, of every kind and at length, still is a state that can be kept."""
    engine = RiskEngine(clock=lambda: NOW)
    engine.open(ONE, "ada", "host", mark=0, network="192.0.2.7")
    evidence = {f"k{n}": "v" * 256 for n in range(8)}
    for number, kind in enumerate(KINDS):
        for bits in range(8, 33):
            for level in (Level.HIGH, Level.MEDIUM):
                network = str(ipaddress.ip_network(f"192.0.2.7/{bits}", strict=False))
                id = f"{number}-{bits}-{level}"
                engine.signal(Signal(id, kind, level, "d", NOW, network=network, evidence=evidence))
    risk = engine.session(ONE)
    assert len(risk.unresolved) <= 256
    assert {(each.signal.kind, each.signal.level) for each in risk.unresolved} >= {
        (kind, Level.HIGH) for kind in KINDS
    }
    assert SessionRisk.from_bytes(risk.to_bytes()) == risk


@pytest.mark.parametrize(
    "change", [("session", b"x"), ("unresolved", [[1, b"x"]]), ("unresolved", [[0, b""]])]
)
def test_damaged_state_is_refused(change: tuple[str, object]) -> None:
    """State that does not decode in full is an error and never an empty, harmless risk."""
    engine = watching()
    engine.signal(signal("a"))
    good = engine.session(ONE).to_bytes()
    fields = canonical.decode(good, max_bytes=1 << 21)
    assert SessionRisk.from_bytes(canonical.encode(fields)) == engine.session(ONE)
    fields[change[0]] = change[1]
    with pytest.raises(WireError):
        SessionRisk.from_bytes(canonical.encode(fields))


def test_state_with_signals_out_of_order_is_refused() -> None:
    """Two signals with one arrival number would make order, and with it evidence, ambiguous."""
    engine = watching()
    engine.signal(signal("a"))
    engine.signal(signal("b", "threat"))
    fields = canonical.decode(engine.session(ONE).to_bytes(), max_bytes=1 << 21)
    good = fields["unresolved"]
    for rows in ([good[0], [good[0][0], *good[1][1:]]], good[::-1]):
        with pytest.raises(WireError, match="order"):
            SessionRisk.from_bytes(canonical.encode({**fields, "unresolved": rows}))


def test_restored_engine_knows_what_it_has_seen_and_counted() -> None:
    """After a restart from a session's state alone, a repeated signal is a duplicate and numbers go on."""
    engine = watching()
    for name in ("a", "b", "c"):
        engine.signal(signal(name, level=Level.MEDIUM))
    restored = RiskEngine.restore([], [engine.session(ONE).to_bytes()])
    assert restored.mark() == engine.mark() == 3
    assert restored.signal(signal("c", level=Level.HIGH)).duplicate
    assert restored.session(ONE) == engine.session(ONE)
    assert restored.signal(signal("d", level=Level.HIGH)).modes[0].after is Mode.SUSPENDED
