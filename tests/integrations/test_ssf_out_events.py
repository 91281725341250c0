"""What is decided is told, once, in the transaction that decides it; and what an outbox holds is bounded."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from ssf_out_house import ISSUER, Receiver, write_settings
from ssf_out_schemas import only_event, read_set

import ztsession as zts
from ztsession.authority import outbox
from ztsession.authority.changes import ChangeLog
from ztsession.authority.streams import Streams, Wanted
from ztsession.errors import HandshakeError, StoreError
from ztsession.identity.subjects import Subject, ed25519_credential
from ztsession.risk.ssf.names import POLL
from ztsession.store.streams import SqliteStreams

sys.path.append(str(Path(__file__).parents[1] / "authority"))

from test_going_on import Trader

Told = tuple[str, dict[str, Any]]


class Clock:
    """Time that a test moves on."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_s


class Desk:
    """An Authority with one stream, read out of its outbox as a receiver would read it."""

    def __init__(self, authority: zts.Authority) -> None:
        self.authority = authority
        streams = authority.announcer.streams
        assert streams is not None
        self.streams: Streams = streams
        self.streams.create("siem", Wanted(POLL))

    @property
    def row(self) -> Any:
        stream = self.streams.of("siem")
        assert stream is not None
        return stream.row

    def sets(self) -> list[dict[str, Any]]:
        """The claims of all that may be sent now; they stay."""
        waiting, _ = self.streams.outbox.waiting(self.row, 1000)
        jwks = self.authority.announcer.keys.jwks()
        return [read_set(self.streams.outbox.token(self.row, each), jwks) for each in waiting]

    def take(self) -> list[Told]:
        """The events of all that may be sent now; they are gone."""
        claims = self.sets()
        self.streams.outbox.done(self.row, [each["jti"] for each in claims])
        return [only_event(each) for each in claims]

    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.take()]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def settings(house: Any) -> None:
    write_settings(house.rules, Receiver("siem").table())


@pytest.fixture
def desk(house: Any, settings: None, clock: Clock) -> Desk:
    return Desk(house.authority(clock=clock))


def drift(
    authority: zts.Authority, number: int = 1, level: zts.Level = zts.Level.MEDIUM, **changed: Any
) -> None:
    named = {"device": "host-1"} | changed
    authority.signal(zts.Signal(f"drift-{number}", "posture-drift", level, "edr", time.time(), **named))


def rows(authority: zts.Authority) -> int:
    return int(authority._store.rows("SELECT count(*) FROM outbox")[0][0])


# ---- What is told


def test_without_settings_or_a_stream_nothing_is_written(house: Any):
    """Sessions, signals and revocations leave no row behind where nobody is to be told."""
    for write in (lambda: None, lambda: write_settings(house.rules, Receiver("siem").table())):
        write()
        authority = house.authority()
        session = house.connect(authority)
        drift(authority)
        authority.revoke(session.id)
        for table in ("outbox", "streams", "noncompliant_devices"):
            assert authority._store.rows(f"SELECT count(*) FROM {table}") == [(0,)]
        authority.close()


def test_a_renewed_session_is_told_as_one_that_goes_on(house: Any, desk: Desk):
    """The new session names the one before, and no revocation is told of what was merely renewed."""
    session = house.connect(desk.authority)
    desk.take()
    renewed = session.renew(desk.authority.connection())
    [claims] = desk.sets()
    assert claims["sub_id"]["session"]["id"] == renewed.id.hex()
    assert only_event(claims)[1]["ext_id"] == session.id.hex()


def test_a_session_that_is_replaced_is_told_as_revoked(house: Any, desk: Desk):
    """Everything proven anew ends the session before, by the user himself."""
    session = house.connect(desk.authority)
    desk.take()
    session.reauthenticate(desk.authority.connection())
    assert [only_event(each)[0] for each in desk.sets()] == ["session-established", "session-revoked"]
    claims = desk.sets()[1]
    assert claims["sub_id"]["session"]["id"] == session.id.hex()
    assert only_event(claims)[1]["initiating_entity"] == "user"


def test_a_step_up_is_told_as_more_assurance(house: Any, settings: None):
    """From one level to the other, in the namespace of NIST."""
    trader = Trader(house, mfa=False)
    desk = Desk(trader.authority)
    session = trader.connect()
    desk.take()
    assert session.assurance == 1
    stepped = session.step_up(mfa=trader.prover)
    told = desk.take()
    assert [kind for kind, _ in told] == ["session-established", "assurance-level-change"]
    change = told[1][1]
    assert change["previous_level"] == "nist-aal1"
    assert change["current_level"] == f"nist-aal{stepped.assurance}" != "nist-aal1"
    assert change["change_direction"] == "increase"


@pytest.mark.parametrize(
    ("level", "told"), [(zts.Level.MEDIUM, "MEDIUM"), (zts.Level.HIGH, "HIGH"), (zts.Level.LOW, None)]
)
def test_a_mode_is_told_as_a_level_of_risk(house: Any, desk: Desk, level: zts.Level, told: str | None):
    """RESTRICTED is MEDIUM, SUSPENDED is HIGH; what changes no mode is not told."""
    house.connect(desk.authority)
    desk.take()
    drift(desk.authority, level=level)
    levels = [event["current_level"] for kind, event in desk.take() if kind == "risk-level-change"]
    assert levels == ([] if told is None else [told])


def test_a_session_that_begins_restricted_is_told_so(house: Any, desk: Desk):
    """What stands against a subject before it connects is told with the session that it weighs on."""
    desk.authority.signal(zts.Signal("s", "threat", zts.Level.MEDIUM, "edr", time.time(), subject="algo-7"))
    desk.take()
    house.connect(desk.authority)
    told = desk.take()
    assert [kind for kind, _ in told] == ["session-established", "risk-level-change"]
    assert told[1][1]["current_level"] == "MEDIUM"


@pytest.mark.parametrize(
    ("named", "principal"),
    [
        ({"device": "host-1"}, "DEVICE"),
        ({"device": "", "subject": "algo-7"}, "USER"),
        ({"device": "", "session": b""}, "SESSION"),
    ],
)
def test_the_principal_is_whom_the_signal_was_against(
    house: Any, desk: Desk, named: dict[str, Any], principal: str
):
    """And the subject of the event is the session, its user and its device all the same."""
    session = house.connect(desk.authority)
    desk.take()
    if "session" in named:
        named = {**named, "session": session.id}
    drift(desk.authority, **named)
    claims = next(each for each in desk.sets() if only_event(each)[0] == "risk-level-change")
    assert only_event(claims)[1]["principal"] == principal
    assert claims["sub_id"].keys() == {"format", "session", "user", "device"}


def test_a_critical_signal_is_told_as_a_revocation_for_each_session(house: Any, desk: Desk):
    """Two sessions of one device: two revocations by policy, each with its own session."""
    sessions = [house.connect(desk.authority) for _ in range(2)]
    desk.take()
    drift(desk.authority, level=zts.Level.CRITICAL)
    claims = [each for each in desk.sets() if only_event(each)[0] == "session-revoked"]
    assert {each["sub_id"]["session"]["id"] for each in claims} == {each.id.hex() for each in sessions}
    assert {only_event(each)[1]["initiating_entity"] for each in claims} == {"policy"}


def test_an_operators_quarantine_is_told_as_his(house: Any, desk: Desk):
    """Every session of the subject is revoked, by an administrator; its release is nobody's business."""
    house.connect(desk.authority)
    desk.take()
    desk.authority.quarantine(("subject", "algo-7"))
    [(kind, event)] = desk.take()
    assert (kind, event["initiating_entity"]) == ("session-revoked", "admin")
    assert desk.authority.release(("subject", "algo-7"))
    assert desk.take() == []


def test_what_the_rules_end_is_told_as_policy(house: Any, desk: Desk):
    """A subject that is gone from the files: its session ends, and nobody did it by hand."""
    house.connect(desk.authority)
    desk.take()
    house.enrol(zts.Ed25519Identity.generate("algo-8"))
    desk.authority.reload()
    [(kind, event)] = desk.take()
    assert (kind, event["initiating_entity"]) == ("session-revoked", "policy")


def test_a_device_is_not_compliant_once_and_until_all_of_it_is_withdrawn(desk: Desk):
    """A second signal changes nothing, nor does the withdrawal of one of two."""
    drift(desk.authority, 1)
    desk.authority.signal(
        zts.Signal("quiet", "posture-silence", zts.Level.MEDIUM, "mdm", time.time(), device="host-1")
    )
    assert desk.kinds() == ["device-compliance-change"]
    drift(desk.authority, 3, withdraws=True)
    assert desk.kinds() == []
    desk.authority.resolve("posture-silence", ("device", "host-1"))
    [(kind, event)] = desk.take()
    assert (kind, event["current_status"]) == ("device-compliance-change", "compliant")
    drift(desk.authority, 4, withdraws=True)
    assert desk.kinds() == []


def test_a_credential_of_another_kind_is_told_as_such(desk: Desk):
    """One that no verifier of ours has made keeps nobody from taking it away."""
    desk.authority.enrolment.subject(Subject("ada", "human", credentials=("badge:4711",)))
    desk.authority.enrolment.remove_subject("ada")
    said = [only_event(each)[1] for each in desk.sets()]
    assert [(each["credential_type"], each["change_type"]) for each in said] == [
        ("other", "create"),
        ("other", "delete"),
    ]


def test_credentials_that_come_and_go_are_told(desk: Desk):
    """Enrolled, exchanged, removed: the old one goes and the new one comes, by type and without its value."""
    keys = [ed25519_credential(zts.Ed25519Identity.generate("ada").public_key) for _ in range(2)]
    enrolment = desk.authority.enrolment
    enrolment.subject(Subject("ada", "human", credentials=(keys[0], "dns:ada.firm.example")))
    enrolment.subject(Subject("ada", "human", roles=("x",), credentials=(keys[1], "dns:ada.firm.example")))
    enrolment.remove_subject("ada")
    claims = desk.sets()
    said = [only_event(each)[1] for each in claims]
    assert [(each["credential_type"], each["change_type"]) for each in said] == [
        ("ed25519", "create"),
        ("x509", "create"),
        ("ed25519", "delete"),
        ("ed25519", "create"),
        ("ed25519", "delete"),
        ("x509", "delete"),
    ]
    assert all(each["reason_admin"]["en"] for each in said)
    subject = {"format": "complex", "user": {"format": "iss_sub", "iss": ISSUER, "sub": "ada"}}
    assert all(each["sub_id"] == subject for each in claims)
    assert not any(key in json.dumps(claims) for key in keys)


# ---- In one transaction


def fail(*_: object, **__: object) -> None:
    raise StoreError("the disk is full")


def test_what_was_not_decided_is_not_told(house: Any, desk: Desk, monkeypatch: pytest.MonkeyPatch):
    """A change that cannot be written takes its event with it; written at last, both are there once."""
    house.connect(desk.authority)
    desk.take()
    with monkeypatch.context() as patched:
        patched.setattr(ChangeLog, "write_mode", fail)
        with pytest.raises(StoreError):
            drift(desk.authority)
    assert desk.take() == []
    drift(desk.authority)
    assert desk.kinds() == ["device-compliance-change", "risk-level-change"]


def test_what_cannot_be_told_is_not_decided(house: Any, desk: Desk, monkeypatch: pytest.MonkeyPatch):
    """An event that cannot be written takes its grant with it."""
    with monkeypatch.context() as patched:
        patched.setattr(SqliteStreams, "append", fail)
        with pytest.raises(HandshakeError, match="unavailable"):
            house.connect(desk.authority)
    assert desk.authority.sessions() == []
    house.connect(desk.authority)
    assert desk.kinds() == ["session-established"]


def test_an_unsent_event_outlives_a_restart(house: Any, desk: Desk):
    """Under its name, in its order, and signed by the same key."""
    session = house.connect(desk.authority)
    desk.authority.revoke(session.id)
    before, jwks = desk.sets(), desk.authority.announcer.keys.jwks()
    desk.authority.close()
    again = Desk(house.authority())
    assert again.sets() == before
    assert again.authority.announcer.keys.jwks() == jwks


# ---- Bounded


def overflow(desk: Desk, house: Any, events: int) -> list[bytes]:
    ids = []
    for _ in range(events):
        ids.append(house.connect(desk.authority).id)
    return ids


def test_D6_a_full_outbox_drops_its_oldest_and_says_so(
    house: Any, desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """The stream is paused and says why; enabled again it gives what is left, in order."""
    monkeypatch.setattr(outbox, "OUTBOX_MAX", 4)
    ids = overflow(desk, house, 7)
    assert caplog.text.count("does not take its events") == 1
    assert (desk.row.status, desk.row.held) == ("paused", 4)
    assert desk.row.held == rows(desk.authority)
    [(kind, event)] = desk.take()
    assert (kind, event["status"]) == ("stream-updated", "paused")
    assert desk.row.reason == event["reason"]
    # Paused, it is told nothing else.
    assert desk.take() == []
    stream = desk.streams.of("siem")
    assert stream is not None
    desk.streams.set_status(stream, "enabled", "")
    left = [each["sub_id"]["session"]["id"] for each in desk.sets()]
    assert left == [each.hex() for each in ids][-len(left) :]
    assert desk.row.dropped == 7 - len(left) + 0
    assert desk.streams.outbox.counts["dropped"] >= 7 - len(left)


def test_D6_what_is_too_old_is_dropped_and_said_so(house: Any, desk: Desk, clock: Clock):
    """Two days are more than any session lives; what is younger stays."""
    house.connect(desk.authority)
    clock.ahead_s = 500
    kept = house.connect(desk.authority)
    clock.ahead_s = outbox.OUTBOX_AGE_S + 300
    [(kind, event)] = desk.take()
    assert (kind, event["status"]) == ("stream-updated", "paused")
    stream = desk.streams.of("siem")
    assert stream is not None
    desk.streams.set_status(stream, "enabled", "")
    assert [each["sub_id"]["session"]["id"] for each in desk.sets()] == [kept.id.hex()]
    assert desk.row.dropped == 1


def test_a_receiver_that_paused_its_stream_is_told_nothing_of_what_is_dropped(
    house: Any, desk: Desk, monkeypatch: pytest.MonkeyPatch
):
    """It may not be sent anything; how much was dropped is counted."""
    monkeypatch.setattr(outbox, "OUTBOX_MAX", 2)
    stream = desk.streams.of("siem")
    assert stream is not None
    desk.streams.set_status(stream, "paused", "mine")
    overflow(desk, house, 5)
    assert desk.take() == []
    assert (desk.row.status, desk.row.reason) == ("paused", "mine")
    assert (desk.row.held, desk.row.dropped) == (2, 3)


def test_the_count_of_what_is_held_is_true(house: Any, desk: Desk):
    """However events come and go, the row says how many there are."""
    session = house.connect(desk.authority)
    desk.authority.revoke(session.id)
    for jtis in (["never-was"], [desk.sets()[0]["jti"]] * 2):
        desk.streams.outbox.done(desk.row, jtis)
        assert desk.row.held == rows(desk.authority)
    stream = desk.streams.of("siem")
    assert stream is not None
    desk.streams.set_status(stream, "disabled", "")
    assert (desk.row.held, rows(desk.authority)) == (0, 0)


def test_a_damaged_stream_keeps_no_session_alive(house: Any, desk: Desk, caplog: pytest.LogCaptureFixture):
    """What a receiver wants cannot be read any more: it is not told, the log is, and the session ends."""
    session = house.connect(desk.authority)
    desk.authority._store.execute("UPDATE streams SET data = x'c0'")
    desk.authority.revoke(session.id)
    assert desk.authority.sessions() == []
    assert "the stream of siem is damaged" in caplog.text
    with pytest.raises(StoreError, match="the stream of siem is damaged"):
        desk.streams.of("siem")


# ---- Keys


def test_the_key_of_sets_is_this_authoritys_alone_and_nowhere_on_the_disk(
    house: Any, desk: Desk, tmp_path_factory: pytest.TempPathFactory
):
    """Another Authority has another, and no file has its private half."""
    keys = desk.authority.announcer.keys
    house.connect(desk.authority)
    desk.sets()
    private = keys._pairs[1].as_dict(private=True)
    scalar = int.from_bytes(keys._pairs[1].raw_value.private_numbers().private_value.to_bytes(32, "big"))
    files = [path.read_bytes() for path in house.state.rglob("*") if path.is_file()]
    for secret in (str(private["d"]).encode(), scalar.to_bytes(32, "big")):
        assert not any(secret in data for data in files)
    with zts.Authority.open(tmp_path_factory.mktemp("other"), policy=house.rules) as other:
        assert other.announcer.keys.jwks()["keys"][0]["kid"] != keys.jwks()["keys"][0]["kid"]


def test_rotations_are_audited_and_no_number_comes_twice(house: Any, desk: Desk):
    """A key that was staged and given up, or retired, never signs again."""
    keys, seen = desk.authority.announcer.keys, set[str]()
    seen.add(keys.jwks()["keys"][0]["kid"])
    for _ in range(3):
        for kid in (keys.stage(), keys.stage()):
            assert kid not in seen
            seen.add(kid)
        keys.activate(overlap_s=0)
        keys.retire(overlap_s=0)
        assert [key["kid"] for key in keys.jwks()["keys"]] == [kid]
    lines = [json.loads(line) for line in (house.state / "audit.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines if line["event"] == "rotation.sets"]
    assert steps == ["staged", "staged", "activated", "retired"] * 3


def test_damaged_state_of_keys_is_told(desk: Desk):
    """No other key is made in the place of one that cannot be found."""
    desk.authority._store.put_state("set-keys", b"\xc0")
    with pytest.raises(StoreError, match="the keys of SETs is damaged"):
        desk.authority.announcer.keys.jwks()
