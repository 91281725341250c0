"""What an Authority does about risk: at once, durably, on record, and again after a restart."""

from __future__ import annotations

import json
import re
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_authority import MovableClock, composed, read_only, supersede

import ztsession as zts
from ztsession.audit.reading import read_entries
from ztsession.errors import (
    AuditError,
    ConfigurationError,
    HandshakeError,
    ReauthRequired,
    Revoked,
    StepUpRequired,
    StoreError,
    WireError,
)
from ztsession.risk.alert import Alert
from ztsession.risk.alert_sinks import CallbackSink
from ztsession.risk.alerts import Alerts
from ztsession.risk.replay import Replay
from ztsession.risk.rules import RiskRules

QUIET = """
[kinds.mood]
answered_by = "factor"
half_life_s = 60
points = { LOW = 15, MEDIUM = 45, HIGH = 60 }
cap = 90
actions = { MEDIUM = "none", HIGH = "none" }
"""


def said(id: str, kind: str = "threat", level: zts.Level = zts.Level.HIGH, **more: Any) -> zts.Signal:
    return zts.Signal(id, kind, level, "feed", time.time(), **more)


def events(house: Any, *names: str) -> list[dict[str, Any]]:
    entries = [json.loads(line) for line in (house.state / "audit.jsonl").read_text().splitlines()]
    return [entry for entry in entries if entry["event"] in names]


def replayed(house: Any) -> Replay:
    again = Replay(RiskRules.from_directory(house.rules))
    for entry in read_entries(house.state / "audit.jsonl"):
        assert entry is not None
        again.take(entry)
    return again


def calls(house: Any, authority: zts.Authority, session: zts.Session) -> Any:
    """The call of one session at a point of its own."""
    point = house.point(authority)
    installed, verify = session.install(point, "orders"), point.verifier("orders.submit")
    return lambda: verify(installed.sign("orders.submit", b"x"), b"x")


def test_a_network_is_refused_at_the_very_next_call(house: Any) -> None:
    """A signal against a network suspends who came from it, over its renewals, and refuses who comes."""
    authority = house.authority()
    inside = house.connect(authority, authority.connection("::ffff:192.0.2.7"))
    outside = house.connect(authority, authority.connection("198.51.100.7"))
    renewed = inside.renew(authority.connection("192.0.2.8"))
    call, other = calls(house, authority, renewed), calls(house, authority, outside)
    authority.signal(said("1", network="192.0.2.0/24"))
    with pytest.raises(ReauthRequired):
        call()
    assert other()
    with pytest.raises(HandshakeError):
        house.connect(authority, authority.connection("192.0.2.99"))
    authority.signal(said("2", network="198.51.100.7", level=zts.Level.MEDIUM))
    with pytest.raises(StepUpRequired):
        other()
    granted = [entry["network"] for entry in events(house, "session.granted")]
    assert granted == ["192.0.2.7", "198.51.100.7", "192.0.2.8"]


def test_a_source_that_takes_back_lifts_at_the_next_call(house: Any) -> None:
    """What was withdrawn is lifted at every point, and refuses nobody any more; a restart agrees."""
    authority = house.authority()
    call = calls(house, authority, house.connect(authority))
    authority.signal(said("1", device="host-1"))
    with pytest.raises(ReauthRequired):
        call()
    (change,) = authority.signal(said("2", level=zts.Level.LOW, device="host-1", withdraws=True))
    assert change.after is zts.Mode.NORMAL
    assert call()
    authority.close()
    assert house.connect(house.authority())


def test_quarantine_outlives_restarts_and_ends_with_a_release(house: Any) -> None:
    """Who is shut out is refused at the next call and at every handshake, until an operator lets them in."""
    authority = house.authority()
    call = calls(house, authority, house.connect(authority))
    (change,) = authority.quarantine(("subject", "algo-7"), why="looks odd")
    assert (change.after, "looks odd" in change.why) == (zts.Mode.REVOKED, True)
    with pytest.raises(Revoked):
        call()
    authority.close()
    again = house.authority()
    assert [each.target for each in again.quarantines] == [("subject", "algo-7")]
    with pytest.raises(HandshakeError):
        house.connect(again)
    assert "is quarantined: looks odd" in events(house, "handshake.refused")[-1]["cause"]
    assert again.release(("subject", "algo-7"))
    assert not again.release(("subject", "algo-7"))
    assert house.connect(again)
    told = events(house, "quarantine", "quarantine.released")
    assert [(entry["event"], entry["target"], entry["name"]) for entry in told] == [
        ("quarantine", "subject", "algo-7"),
        ("quarantine.released", "subject", "algo-7"),
    ]
    again.close()
    assert house.authority().quarantines == []


@pytest.mark.parametrize(
    ("target", "told"),
    [
        (("session", "00" * 16), "expected one of subject, device, network"),
        (("subject", "a b"), "expected the name of a subject"),
        (("network", "192.0.2.1/8"), "expected an address or a network"),
    ],
)
def test_nobody_is_shut_out_by_a_wrong_name(house: Any, target: tuple[str, str], told: str) -> None:
    """A mistake is told, and a network has one spelling."""
    authority = house.authority()
    for act in (authority.quarantine, authority.release):
        with pytest.raises(ConfigurationError, match=told):
            act(target)
    authority.quarantine(("network", "::ffff:192.0.2.1"))
    assert authority.release(("network", "192.0.2.1"))


def test_A10_a_release_is_recorded_first_and_a_quarantine_is_in_force_without(house: Any) -> None:
    """Whoever fills the log's disk keeps nobody in, and lets nobody in."""
    authority, audit, _ = composed(house)
    call = calls(house, authority, house.connect(authority))
    audit.failing = True
    with pytest.raises(AuditError):
        authority.quarantine(("device", "host-1"))
    with pytest.raises(Revoked):
        call()
    with pytest.raises(AuditError):
        authority.release(("device", "host-1"))
    with pytest.raises(AuditError):
        authority.resolve("threat", ("device", "host-1"))
    assert [each.target for each in authority.quarantines] == [("device", "host-1")]
    audit.failing = False
    assert authority.release(("device", "host-1"))
    assert house.connect(authority)


def test_a_release_that_cannot_be_stored_lets_nobody_in(house: Any) -> None:
    """What would be forgotten with a restart is not believed before it."""
    authority, _, store = composed(house)
    authority.quarantine(("device", "host-1"))
    with read_only(store), pytest.raises(StoreError):
        authority.release(("device", "host-1"))
    assert [each.target for each in authority.quarantines] == [("device", "host-1")]


def test_a_quarantine_by_a_signal_that_could_not_be_stored_comes_again(house: Any) -> None:
    """The second time the same signal is told it shuts out, is recorded with its action, and stays."""
    authority, audit, store = composed(house)
    gone = said("1", "account", zts.Level.CRITICAL, subject="algo-7")
    with read_only(store), pytest.raises(StoreError):
        authority.signal(gone)
    authority.signal(gone)
    assert store.standing() != []
    entry = [each for each in audit.entries if each["event"] == "signal"][-1]
    assert entry["action"] == "quarantine-subject"
    with pytest.raises(HandshakeError):
        house.connect(authority)


def test_a_kind_that_there_is_not_is_refused_and_not_durable(house: Any) -> None:
    """The sender is told which kinds there are; once the operator declares it, the same signal counts."""
    authority = house.authority()
    session = house.connect(authority)
    with pytest.raises(WireError, match=r"risk\.toml"):
        authority.signal(said("1", "mood", session=session.id))
    (house.rules / "risk.toml").write_text("[kinds.mood]\n")
    authority.reload()
    (change,) = authority.signal(said("1", "mood", session=session.id))
    assert change.after is zts.Mode.SUSPENDED


def test_rules_of_risk_are_reloaded_all_or_nothing(house: Any) -> None:
    """A file that does not load changes nothing; one that does holds for sessions that live."""
    authority = house.authority()
    call = calls(house, authority, house.connect(authority))
    authority.signal(said("1", level=zts.Level.LOW, subject="algo-7"))
    authority.signal(said("2", level=zts.Level.MEDIUM, subject="algo-7"))
    with pytest.raises(StepUpRequired):
        call()
    (house.rules / "risk.toml").write_text("[kinds.threat]\nactions = { MEDIUM = 'nothing' }\n")
    with pytest.raises(ConfigurationError, match=r"risk\.toml:2: .*expected one of none, alert"):
        authority.reload()
    with pytest.raises(StepUpRequired):
        call()
    (house.rules / "risk.toml").write_text("[kinds.threat]\nactions = { MEDIUM = 'alert' }\n")
    authority.reload()
    assert call()
    (house.rules / "risk.toml").write_text("[kinds.threat]\nactions = { MEDIUM = 'suspend' }\n")
    authority.reload()
    with pytest.raises(ReauthRequired):
        call()
    authority.close()
    (house.rules / "risk.toml").unlink()
    reopened = house.authority()
    assert [record.mode for record in reopened.sessions()] == [zts.Mode.RESTRICTED]


def test_time_lifts_what_a_score_did_when_points_ask(house: Any) -> None:
    """A score falls by itself, a point's own questions are enough for that, and a restart loses nothing."""
    (house.rules / "risk.toml").write_text(QUIET)
    clock = MovableClock()
    authority = house.authority(clock=clock)
    session = house.connect(authority)
    authority.signal(said("1", "mood", zts.Level.MEDIUM, session=session.id))
    authority.close()
    clock.offset_s += 50
    authority = house.authority(clock=clock)
    assert authority.session(session.id).mode == zts.Mode.RESTRICTED
    clock.offset_s += 40
    assert re.search(r"the score is 1[56] ", authority.explain(session.id))
    house.point(authority).maintain()
    assert authority.session(session.id).mode == zts.Mode.NORMAL


def test_people_are_told_what_was_done_and_nothing_of_what_was_not(house: Any) -> None:
    """Each signal that does something is an alert once; duplicates and what does nothing are none."""
    told: list[Alert] = []
    alerts = Alerts([CallbackSink(told.append)])
    authority = house.authority(alerts=alerts)
    session = house.connect(authority)
    authority.signal(said("1", level=zts.Level.MEDIUM, session=session.id))
    authority.signal(said("1", level=zts.Level.MEDIUM, session=session.id))
    authority.signal(said("2", "posture-drift", zts.Level.LOW, device="host-1"))
    authority.signal(said("3", "account", zts.Level.CRITICAL, subject="algo-7"))
    authority.quarantine(("network", "192.0.2.1"), why="noise")
    assert alerts.flush()
    alerts.close()
    assert sorted((alert.what, alert.about[0]) for alert in told) == [
        ("quarantine", "network"),
        ("quarantine", "subject"),
        ("signal.account", "subject"),
        ("signal.threat", "session"),
    ]
    assert "restrict, 1 sessions changed; from feed, signal 1" in [alert.why for alert in told]


# ---- From the log


KINDS = st.sampled_from(["mood", "threat", "posture-drift", "replay", "off-hours", "account"])
TARGETS = st.sampled_from(["subject", "device", "session", "network"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("signal"), KINDS, st.sampled_from(list(zts.Level)), TARGETS),
        st.tuples(st.just("withdraw"), KINDS, TARGETS),
        st.tuples(st.just("pass"), st.integers(1, 400)),
        st.tuples(
            st.sampled_from(["connect", "renew", "anew", "resolve", "quarantine", "release", "revoke"])
        ),
        st.tuples(st.just("late"), KINDS, TARGETS, st.integers(-5, 0)),
        st.just(("reload",)),
    ),
    max_size=14,
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_the_log_alone_gives_every_mode_again(house: Any, steps: list[Any]) -> None:
    """Whatever happens, and across a restart, the recorded events decide again what was recorded."""
    for file in [*house.state.glob("authority.sqlite*"), *house.state.glob("audit.jsonl")]:
        file.unlink()
    (house.rules / "risk.toml").write_text(QUIET)
    clock = MovableClock()
    authority = house.authority(clock=clock)
    session = house.connect(authority, authority.connection("192.0.2.7"))
    for number, step in enumerate(steps):
        if number == len(steps) // 2:
            authority.close()
            authority = house.authority(clock=clock)
        with suppress(HandshakeError):
            session = act(house, authority, clock, session, number, step)
    live = {record.id: zts.Mode(record.mode) for record in authority.sessions()}
    authority.close()
    again = replayed(house)
    assert (again.differences, again.skipped) == ([], 0)
    for known, mode in live.items():
        assert again.engine.session(known).mode is mode


def act(
    house: Any, authority: zts.Authority, clock: MovableClock, session: zts.Session, number: int, step: Any
) -> zts.Session:
    """One step of the test above; the session that is the client's after it."""
    names: dict[str, Any] = {"subject": "algo-7", "device": "host-1", "network": "192.0.2.0/24"}
    names["session"] = session.id
    match step:
        case ("signal", kind, level, target):
            authority.signal(said(f"s-{number}", kind, level, **{target: names[target]}))
        case ("withdraw", kind, target):
            back = said(f"s-{number}", kind, zts.Level.LOW, withdraws=True, **{target: names[target]})
            authority.signal(back)
        case ("pass", seconds):
            clock.offset_s += seconds
            authority.tick()
        case ("late", kind, target, ago_s):
            # Of before what was said last, to be worse than it or to take it back.
            at, back = time.time() + ago_s * 0.001, number % 2 == 0
            level = zts.Level.LOW if back else zts.Level.MEDIUM
            about: dict[str, Any] = {target: names[target], "withdraws": back}
            authority.signal(zts.Signal(f"s-{number}", kind, level, "feed", at, **about))
        case ("reload",):
            authority.reload()
        case ("anew",):
            supersede(authority, session, session.id)
        case ("connect",):
            return house.connect(authority, authority.connection("192.0.2.7"))
        case ("renew",):
            return session.renew(authority.connection("198.51.100.7"))
        case ("resolve",):
            authority.resolve("threat", ("subject", "algo-7"))
        case ("quarantine",):
            authority.quarantine(("device", "host-1"))
        case ("release",):
            authority.release(("device", "host-1"))
        case ("revoke",):
            authority.revoke(session.id)
    return session


def test_a_log_that_was_changed_is_told(house: Any) -> None:
    """A mode that was edited, a signal that was taken out and other rules each show as a difference."""
    authority = house.authority()
    session = house.connect(authority)
    authority.signal(said("1", level=zts.Level.MEDIUM, session=session.id))
    authority.close()
    log = house.state / "audit.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    assert replayed(house).differences == []
    edited = [line.replace('"mode":"RESTRICTED"', '"mode":"NORMAL"') for line in lines]
    without = [line for line in lines if '"event":"signal"' not in line]
    for changed in (edited, without):
        log.write_text("".join(changed))
        (difference,) = replayed(house).differences
        assert difference.session == session.id.hex()
    log.write_text("".join(lines))
    (house.rules / "risk.toml").write_text("[kinds.threat]\nactions = { MEDIUM = 'suspend' }\n")
    (difference,) = replayed(house).differences
    assert (difference.recorded, difference.replayed) == ("RESTRICTED", "SUSPENDED")
