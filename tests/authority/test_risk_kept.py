"""What is kept of risk: whatever comes between, nothing that was said is lost, and nothing is said twice."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from test_authority import MovableClock, composed, read_only, supersede
from test_reacting import QUIET, calls, events, replayed, said

import ztsession as zts
from ztsession.audit.reading import read_entries
from ztsession.authority.reacting import alert_word
from ztsession.errors import HandshakeError, ReauthRequired, StepUpRequired, StoreError, WireError
from ztsession.risk.alert import Alert
from ztsession.risk.alert_sinks import CallbackSink
from ztsession.risk.alerts import Alerts
from ztsession.risk.replay import Replay
from ztsession.risk.rules import RiskRules
from ztsession.store.records import SessionRecord
from ztsession.store.sqlite import SqliteStore
from ztsession.wire import canonical

QUARANTINES = """
[levels]
HIGH = { enter = 80, leave = 50, action = "quarantine-subject" }

[kinds.mood]
answered_by = "factor"
points = { LOW = 15, HIGH = 60 }
cap = 90
actions = { HIGH = "none" }
"""


@contextmanager
def full(store: SqliteStore) -> Iterator[None]:
    """The disk is full, but not before the engine has decided."""
    fails = "BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
    store.rows(f"CREATE TEMP TRIGGER full BEFORE INSERT ON main.state {fails}")
    yield
    store.rows("DROP TRIGGER full")


def test_H14_a_signal_that_leaves_the_mode_as_it_is_outlives_a_restart(house: Any) -> None:
    """Of two signals that both restrict a session, the second holds when the first is taken back later."""
    authority = house.authority()
    session = house.connect(authority)
    authority.signal(said("1", "order-rate", zts.Level.MEDIUM, session=session.id))
    assert authority.signal(said("2", "threat", zts.Level.MEDIUM, session=session.id)) == []
    before = authority.risk.session(session.id)
    authority.close()
    authority = house.authority()
    assert authority.risk.session(session.id) == before
    call = calls(house, authority, session)
    authority.resolve("order-rate", ("session", session.id.hex()))
    with pytest.raises(StepUpRequired):
        call()


def test_what_time_and_rules_change_beneath_a_mode_outlives_a_restart(house: Any) -> None:
    """A level of the score that is left, while a signal holds the mode, is left after a restart, too."""
    (house.rules / "risk.toml").write_text(QUIET)
    clock = MovableClock()
    authority = house.authority(clock=clock)
    session = house.connect(authority)
    authority.signal(said("1", "mood", zts.Level.HIGH, session=session.id))
    authority.signal(said("2", "threat", zts.Level.MEDIUM, session=session.id))
    assert authority.risk.session(session.id).suspended
    (house.rules / "risk.toml").write_text(QUIET + "\n[levels]\nMEDIUM = { enter = 70, leave = 70 }\n")
    authority.reload()
    clock.offset_s += 600
    authority.tick()
    before = authority.risk.session(session.id)
    assert before.rated is zts.Level.LOW
    authority.close()
    assert house.authority(clock=clock).risk.session(session.id) == before


def test_what_was_decided_while_the_store_failed_is_told_once_as_what_came_of_it(house: Any) -> None:
    """Two changes that are written together are one, and of a session that ended since there is none."""
    authority, audit, store = composed(house)
    session, other = house.connect(authority), house.connect(authority)
    for number, each in enumerate((session, other)):
        with full(store), pytest.raises(StoreError):
            authority.signal(said(f"m-{number}", level=zts.Level.MEDIUM, session=each.id))
    authority.revoke(other.id)
    (change,) = authority.signal(said("2", level=zts.Level.HIGH, session=session.id))
    assert (change.session, change.before, change.after) == (session.id, zts.Mode.NORMAL, zts.Mode.SUSPENDED)
    told = [entry for entry in audit.entries if entry["event"] == "session.mode"]
    assert [(entry["session"], entry["mode"]) for entry in told] == [(session.id.hex(), "SUSPENDED")]
    assert authority.session(session.id).mode == zts.Mode.SUSPENDED


def test_a_session_that_a_quarantine_ends_is_recorded_as_ended_alone(house: Any) -> None:
    """A signal that restricts one session and by another's score shuts the subject out is one change each."""
    (house.rules / "risk.toml").write_text(QUARANTINES)
    authority = house.authority()
    session, other = house.connect(authority), house.connect(authority)
    authority.signal(said("1", "mood", zts.Level.HIGH, session=session.id))
    authority.signal(said("2", "posture-drift", zts.Level.MEDIUM, device="host-1"))
    assert {entry["mode"] for entry in events(house, "session.mode")[1:]} == {"REVOKED"}
    assert {entry["session"] for entry in events(house, "session.mode")[1:]} == {
        session.id.hex(),
        other.id.hex(),
    }
    authority.close()
    assert (replayed(house).differences, replayed(house).skipped) == ([], 0)


def test_what_was_settled_of_a_session_that_ended_shuts_nobody_out_again(house: Any) -> None:
    """After release and resolve a new session begins, and a mild signal does to it what it always does."""
    authority = house.authority()
    house.connect(authority)
    authority.signal(said("1", "account", zts.Level.CRITICAL, subject="algo-7"))
    authority.resolve("account", ("subject", "algo-7"))
    authority.release(("subject", "algo-7"))
    session = house.connect(authority)
    (change,) = authority.signal(said("2", "order-rate", zts.Level.MEDIUM, subject="algo-7"))
    assert (change.session, change.after) == (session.id, zts.Mode.RESTRICTED)
    assert authority.quarantines == []


def test_the_replay_resolves_at_the_moment_at_which_it_was_done(house: Any) -> None:
    """What is left of a score when an operator settles something is counted as it is then."""
    (house.rules / "risk.toml").write_text(QUIET)
    clock = MovableClock()
    authority = house.authority(clock=clock)
    session = house.connect(authority)
    authority.signal(said("1", "mood", zts.Level.HIGH, session=session.id))
    authority.signal(said("2", "replay", zts.Level.MEDIUM, session=session.id))
    clock.offset_s += 60
    authority.resolve("replay", ("session", session.id.hex()))
    assert authority.session(session.id).mode == zts.Mode.NORMAL
    authority.close()
    assert replayed(house).differences == []


def test_an_event_has_one_moment(house: Any) -> None:
    """However often the clock is read in it, what is recorded of an event is what it was decided by."""
    (house.rules / "risk.toml").write_text(QUARANTINES)
    clock = RunningClock()
    authority = house.authority(clock=clock)
    session = house.connect(authority, authority.connection("192.0.2.7"))
    other = house.connect(authority)
    authority.signal(said("1", "mood", zts.Level.LOW, network="198.51.100.7"))
    authority.signal(said("2", "mood", zts.Level.LOW, subject="algo-7"))
    renewed = session.renew(authority.connection("198.51.100.7"))
    authority.signal(said("3", "mood", zts.Level.HIGH, session=renewed.id))
    live = {each: authority.risk.session(each).to_bytes() for each in (session.id, other.id, renewed.id)}
    authority.close()
    again = replayed(house)
    assert {each: again.engine.session(each).to_bytes() for each in live} == live


class RunningClock(MovableClock):
    """A second passes whenever somebody looks."""

    def __call__(self) -> float:
        self.offset_s += 1
        return super().__call__()


def test_R3_the_log_tells_when_a_signal_happened(house: Any) -> None:
    """A withdrawal that takes back nothing newer does not do so in the replay either."""
    authority = house.authority()
    session = house.connect(authority)
    now = time.time()
    for number, (level, at, withdraws) in enumerate(
        [(zts.Level.MEDIUM, now - 100, False), (zts.Level.LOW, now - 200, True)]
    ):
        signal = zts.Signal(str(number), "threat", level, "feed", at, session=session.id, withdraws=withdraws)
        authority.signal(signal)
    live = authority.risk.session(session.id)
    authority.close()
    again = replayed(house)
    assert again.engine.session(session.id) == live
    assert (live.mode, again.differences) == (zts.Mode.RESTRICTED, [])


def test_A10_a_source_takes_nothing_back_that_is_not_on_record(house: Any) -> None:
    """Whoever fills the log's disk gets no rights by a withdrawal; sent again, it counts."""
    authority, audit, store = composed(house)
    session = house.connect(authority)
    authority.signal(said("1", session=session.id))
    back = said("2", level=zts.Level.LOW, session=session.id, withdraws=True)
    audit.failing = True
    with pytest.raises(StoreError, match="not on record"):
        authority.signal(back)
    authority.tick()
    assert authority.session(session.id).mode == authority.risk.session(session.id).mode == zts.Mode.SUSPENDED
    audit.failing = False
    with full(store), pytest.raises(StoreError):
        authority.signal(back)
    assert [change.after for change in authority.signal(back)] == [zts.Mode.NORMAL]
    told = [entry["withdraws"] for entry in audit.entries if entry["event"] == "signal"]
    assert told == [False, True, True]


def test_a_quarantine_that_was_released_before_it_could_be_written_is_not_told_again(house: Any) -> None:
    """The same signal, sent again as its sender must, is taken, and shuts nobody out any more."""
    told: list[Alert] = []
    alerts = Alerts([CallbackSink(told.append)])
    authority, audit, store = composed(house, alerts=alerts)
    gone = said("1", "account", zts.Level.CRITICAL, subject="algo-7")
    with full(store), pytest.raises(StoreError):
        authority.signal(gone)
    assert authority.release(("subject", "algo-7"))
    authority.signal(gone)
    assert authority.quarantines == []
    assert [entry["event"] for entry in audit.entries] == [
        "signal",
        "quarantine",
        "quarantine.released",
        "signal",
    ]
    alerts.close()
    assert [alert.what for alert in told] == ["signal.account"]


def test_what_was_settled_while_the_file_was_locked_is_written_by_the_next_try(house: Any) -> None:
    """Also if not even a transaction could begin, nothing of what was decided is lost."""
    authority, _, store = composed(house)
    session = house.connect(authority)
    call = calls(house, authority, session)
    authority.signal(said("1", session=session.id))
    store.rows("PRAGMA busy_timeout = 0")
    with closing(sqlite3.connect(house.rules.parent / "store.sqlite")) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="locked"):
            authority.resolve("threat", ("session", session.id.hex()))
        with pytest.raises(ReauthRequired):
            call()
    (change,) = authority.resolve("threat", ("session", session.id.hex()))
    assert change.after is zts.Mode.NORMAL
    assert call()


def test_D8_points_are_answered_while_nothing_can_be_written(house: Any) -> None:
    """A disk that is full takes no lease away as long as there is nothing to say."""
    clock = MovableClock()
    authority, _, store = composed(house, clock=clock)
    call = calls(house, authority, house.connect(authority))
    with read_only(store):
        clock.offset_s += 2
        authority.tick()
        assert call()


@pytest.mark.parametrize("data", [b"\xc1", b"\x90", b"\x92\x01\xa1x", b"\x92\x01\xff", b"\x80"])
def test_a_damaged_clock_of_risk_is_told_as_such(house: Any, data: bytes) -> None:
    """What cannot be read back of risk opens no Authority, and the file is let go of."""
    house.authority().close()
    with SqliteStore(house.state / "authority.sqlite") as store:
        store.put_state("risk-clock", data)
    with pytest.raises(StoreError, match="the risk that is kept is damaged"):
        house.authority()
    with SqliteStore(house.state / "authority.sqlite") as store:
        store.put_state("risk-clock", canonical.encode([7, 5]))
    assert house.authority().risk.mark() == 7


def test_a_damaged_risk_of_a_session_opens_no_authority(house: Any) -> None:
    """A state that cannot be read must not pass for one without signals."""
    authority = house.authority()
    session = house.connect(authority)
    authority.close()
    with SqliteStore(house.state / "authority.sqlite") as store:
        store.set_mode(session.id, zts.Mode.NORMAL, b"\x80")
    with pytest.raises(StoreError, match="the risk that is kept is damaged"):
        house.authority()


def test_a_kind_that_there_is_not_is_no_entry_of_the_log(house: Any) -> None:
    """An operator's slip settles nothing, and the log does not say that it did."""
    authority = house.authority()
    with pytest.raises(WireError, match="signal kind: expected one of"):
        authority.resolve("thread", ("subject", "algo-7"))
    assert events(house, "signal.resolved") == []


def test_L3_a_log_from_anywhere_is_led_through_to_its_end(house: Any) -> None:
    """Entries of wrong form are counted, and change nothing of what the others say."""
    authority = house.authority()
    session = house.connect(authority)
    authority.signal(said("1", level=zts.Level.MEDIUM, session=session.id))
    authority.close()
    log = house.state / "audit.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    wrong = [
        {"event": "signal", "at_us": 2**53 + 1},
        {"event": "signal", "at_us": 1e400},
        {"event": "signal", "at_us": True},
        {"event": "signal", "at_us": "1"},
        {"event": "session.granted", "session": "00", "marks": [1], "shown": []},
        {"event": "session.granted", "session": 5, "marks": [1, 2], "shown": []},
        {"event": "session.revoked", "session": "zz"},
        {"event": "session.mode", "session": "00", "mode": "HAPPY"},
        {"event": "signal.resolved", "about": "mood", "target": "subject", "name": "ada"},
        {"event": "quarantine.released", "target": "subject"},
    ]
    good = next(json.loads(line) for line in lines if b'"event":"signal"' in line)
    wrong += [{**good, "happened_us": 10**400}, {**good, "session": "00"}, {**good, "level": "BAD"}]
    extra = [json.dumps({"n": 1, **each}).encode() + b"\n" for each in wrong]
    log.write_bytes(b"".join(lines[:1] + extra + lines[1:]))
    again = replayed(house)
    assert (again.skipped, again.signals, again.modes, again.differences) == (len(wrong), 1, 1, [])


def test_the_replay_is_told_what_each_grant_was_given_for(house: Any) -> None:
    """Marks, what was shown, from where and when: a replay comes to just what each session began with."""
    dull = QUIET.replace("mood", "dull").replace("factor", "nothing")
    (house.rules / "risk.toml").write_text(dull)
    clock = MovableClock()
    authority = house.authority(clock=clock)
    live: dict[bytes, Any] = {}

    def begun(session: zts.Session) -> zts.Session:
        live[session.id] = authority.risk.session(session.id)
        return session

    class DriftsMeanwhile:
        """A device drifts between the offer and the proof."""

        def __init__(self) -> None:
            self.inner, self.messages = authority.connection("192.0.2.7"), 0

        def exchange(self, message: bytes) -> bytes:
            self.messages += 1
            if self.messages == 2:
                authority.signal(said("drift", "posture-drift", zts.Level.MEDIUM, device="host-1"))
            return self.inner.exchange(message)

    authority.signal(said("1", "dull", zts.Level.HIGH, network="192.0.2.7"))
    clock.offset_s += 60
    begun(house.connect(authority, authority.connection("192.0.2.7")))
    session = begun(house.connect(authority, DriftsMeanwhile()))
    assert live[session.id].mode is zts.Mode.RESTRICTED
    # The challenge of the renewal was made with the grant, so it answers what came before that.
    renewed = begun(session.renew(authority.connection("192.0.2.8")))
    assert live[renewed.id].mode is zts.Mode.NORMAL
    authority.signal(said("2", "posture-drift", zts.Level.MEDIUM, device="host-1"))
    assert authority.session(renewed.id).mode == zts.Mode.RESTRICTED
    again = begun(renewed.renew(authority.connection("192.0.2.7")))
    assert live[again.id].mode is zts.Mode.RESTRICTED
    log = Replay(RiskRules.from_directory(house.rules))
    for entry in read_entries(house.state / "audit.jsonl"):
        assert entry is not None
        log.take(entry)
        if entry["event"] == "session.granted":
            id = bytes.fromhex(entry["session"])
            assert log.engine.session(id) == live[id]
    assert (log.skipped, len(live)) == (0, 4)


def test_D6_who_proves_everything_anew_leaves_no_session_watched(house: Any) -> None:
    """With the session, those that had renewed it are over, and nothing of them is kept in memory."""
    authority = house.authority()
    session = house.connect(authority)
    renewed = session.renew(authority.connection())
    assert len(authority.risk) == 2
    supersede(authority, renewed, session.id)
    assert len(authority.risk) == 1


def test_R2_a_signal_that_was_taken_back_does_not_come_again_after_a_restart(house: Any) -> None:
    """The store knows every name, also those of which nothing stands any more."""
    authority = house.authority()
    session = house.connect(authority)
    gone = said("1", session=session.id)
    authority.signal(gone)
    authority.resolve("threat", ("session", session.id.hex()))
    authority.close()
    authority = house.authority()
    assert authority.signal(gone) == []
    assert authority.session(session.id).mode == zts.Mode.NORMAL


def test_what_stands_outlives_a_release(house: Any) -> None:
    """To let somebody in again settles nothing else that is said of them, also over a restart."""
    authority = house.authority()
    authority.signal(said("1", subject="algo-7"))
    authority.quarantine(("subject", "algo-7"))
    assert authority.release(("subject", "algo-7"))
    authority.close()
    with pytest.raises(HandshakeError):
        house.connect(house.authority())


def test_a_tick_waits_for_nobody_and_comes_every_second(house: Any) -> None:
    """While something is decided elsewhere it is left to the next, and a second later it is done."""
    (house.rules / "risk.toml").write_text(QUIET)
    clock = MovableClock()
    authority = house.authority(clock=clock)
    session = house.connect(authority)
    authority.tick()
    authority.signal(said("1", "mood", zts.Level.HIGH, session=session.id))
    clock.offset_s += 600
    with authority._lock:
        ticking = threading.Thread(target=authority.tick)
        ticking.start()
        ticking.join(10)
        assert not ticking.is_alive()
    assert authority.session(session.id).mode == zts.Mode.RESTRICTED
    authority.tick()
    assert authority.session(session.id).mode == zts.Mode.NORMAL
    authority.signal(said("2", "mood", zts.Level.HIGH, session=session.id))
    clock.offset_s += 0.5
    authority.risk._clock = lambda: clock() + 600
    authority.tick()
    assert authority.session(session.id).mode == zts.Mode.RESTRICTED
    clock.offset_s += 1
    authority.tick()
    assert authority.session(session.id).mode == zts.Mode.NORMAL


def test_D8_what_could_not_be_written_is_remembered_within_bounds(
    house: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest are forgotten as signals, and all that they caused is written with the next."""
    monkeypatch.setattr("ztsession.authority.reacting._UNWRITTEN_MAX", 2)
    authority, audit, store = composed(house)
    session = house.connect(authority)
    signals = [said(str(number), level=zts.Level(number), session=session.id) for number in (1, 2)]
    signals.append(said("3", "operator", zts.Level.MEDIUM, session=session.id))
    with full(store):
        for each in signals:
            with pytest.raises(StoreError):
                authority.signal(each)
    assert list(authority._reacting._unwritten) == [each.name for each in signals[1:]]
    (change,) = authority.signal(signals[0])
    assert (change.before, change.after) == (zts.Mode.NORMAL, zts.Mode.SUSPENDED)
    for each in signals[1:]:
        authority.signal(each)
    assert authority._reacting._unwritten == authority._reacting._owed_sessions == {}
    actions = [entry["action"] for entry in audit.entries if entry["event"] == "signal"]
    assert actions[-3:] == ["none", "none", "suspend"]  # of two nobody knows any more what they caused


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("order-rate", "order-rate"),
        ("Desk/Mood..x", "desk-mood-x"),
        ("...", "other"),
        ("a" * 31 + ".b", "a" * 31),
        ("x" * 128, "x" * 32),
    ],
)
def test_every_kind_can_be_told_in_an_alert(kind: str, word: str) -> None:
    """Whatever an operator calls a kind, its alert has a word that alerts can have."""
    assert alert_word(kind) == word
    Alert(f"signal.{word}", zts.Level.LOW, ("subject", "ada"), "", 0.0)


def test_what_is_worth_an_alert_alone_is_told(house: Any) -> None:
    """A signal that changes nothing for any session is told all the same, if the operator wants it."""
    told: list[Alert] = []
    alerts = Alerts([CallbackSink(told.append)])
    authority = house.authority(alerts=alerts)
    authority.signal(said("1", level=zts.Level.LOW, network="192.0.2.7"))
    authority.signal(said("2", "operator", level=zts.Level.LOW, network="192.0.2.7"))
    alerts.close()
    assert [(alert.what, alert.about) for alert in told] == [("signal.threat", ("network", "192.0.2.7"))]


def test_a_session_that_ends_in_its_overlap_is_watched_no_more(house: Any) -> None:
    """Rules that changed while nobody was running end it, and no signal is told to hit it after that."""
    authority = house.authority()
    renewed = house.connect(authority).renew(authority.connection())
    authority.close()
    policies = house.rules / "trading.cedar"
    policies.write_text(
        policies.read_text().replace('[Action::"orders.*", Action::"md.*"]', 'Action::"orders.*"')
    )
    authority = house.authority()
    assert len(authority.risk) == 1
    (change,) = authority.signal(said("1", subject="algo-7"))
    assert change.session == renewed.id
    authority.close()
    assert replayed(house).differences == []


def test_what_stands_against_several_is_owed_until_it_is_written(house: Any) -> None:
    """Who is not connected has no session that would show it, and is kept all the same."""
    authority, _, store = composed(house)
    for name in ("ada", "eve"):
        with full(store), pytest.raises(StoreError):
            authority.signal(said(name, subject=name))
    assert store.standing() == []
    authority.signal(said("3", device="host-9"))
    assert len(store.standing()) == 3
    assert authority._reacting._owed_standing == {}


def test_a_session_that_expired_before_its_change_was_written_holds_up_no_other(house: Any) -> None:
    """It is over and not watched any more, and whatever comes next is written without it."""
    authority, _, store = composed(house)
    session = b"s" * 16
    now = int(time.time())
    store.put_session(SessionRecord(session, "algo-7", "none", b"k" * 32, 1, 0, now, now + 60, (), None, b""))
    authority.risk.open(session, "algo-7", "none", mark=0)
    with full(store), pytest.raises(StoreError):
        authority.signal(said("1", session=session))
    authority.risk.close(session)
    assert authority.signal(said("2", subject="eve")) == []


def test_a_withdrawal_sees_the_moment_at_which_it_comes(house: Any) -> None:
    """What is left of a score is counted then, as when an operator settles something, and in the replay."""
    (house.rules / "risk.toml").write_text(QUIET)
    clock = MovableClock()
    authority = house.authority(clock=clock)
    session = house.connect(authority)
    authority.signal(said("1", "mood", zts.Level.HIGH, session=session.id))
    authority.signal(said("2", "replay", zts.Level.MEDIUM, session=session.id))
    clock.offset_s += 60
    authority.signal(said("3", "replay", zts.Level.LOW, session=session.id, withdraws=True))
    assert authority.session(session.id).mode == zts.Mode.NORMAL
    authority.close()
    assert replayed(house).differences == []


def test_who_is_shut_out_before_they_ever_came_stays_so(house: Any) -> None:
    """A quarantine of somebody unknown outlives a restart, and each is told once, by its own event."""
    authority = house.authority()
    authority.quarantine(("subject", "eve"), why="one")
    authority.quarantine(("device", "host-9"), why="two")
    authority.close()
    assert [each.why for each in house.authority().quarantines] == ["two", "one"]
    assert [entry["why"] for entry in events(house, "quarantine")] == ["one", "two"]


def test_what_comes_to_nothing_before_it_is_written_is_no_change(house: Any) -> None:
    """A signal that could not be written and is taken back leaves no mode in the log, and is none."""
    authority, audit, _ = composed(house)
    session = house.connect(authority)
    with full(authority._store), pytest.raises(StoreError):
        authority.signal(said("1", session=session.id))
    assert authority.signal(said("2", session=session.id, withdraws=True)) == []
    assert "session.mode" not in audit.events()
    assert authority.session(session.id).mode == zts.Mode.NORMAL
