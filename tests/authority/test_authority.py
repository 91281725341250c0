"""The Authority as a whole: what it grants, what it refuses, what it takes back, and what it tells whom."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from typing import Any

import pytest

import ztsession as zts
from ztsession.audit.sink import MemoryAudit
from ztsession.authority.decision import Decider
from ztsession.authority.keys import AuthorityKeys
from ztsession.client.conversation import handshake
from ztsession.client.drive import drive
from ztsession.errors import (
    AuditError,
    ConfigurationError,
    EvidenceError,
    HandshakeError,
    NotPermitted,
    ReauthRequired,
    Revoked,
    SessionEnded,
    StepUpRequired,
    StoreError,
    WireError,
)
from ztsession.handshake.refusal import Refusal
from ztsession.identity.subjects import FileSubjects
from ztsession.identity.verifiers import IdentityVerifiers
from ztsession.policy.engine import PolicyEngine
from ztsession.posture.appraisal import PostureAppraiser
from ztsession.store.sqlite import SqliteStore


def signal(
    name: str, level: zts.Level = zts.Level.HIGH, kind: str = "behaviour", **target: Any
) -> zts.Signal:
    return zts.Signal(name, kind, level, "detector", time.time(), **target)


def audited(house: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (house.state / "audit.jsonl").read_text().splitlines()]


class MovableClock:
    def __init__(self, offset_s: float = 0.0) -> None:
        self.offset_s = offset_s

    def __call__(self) -> float:
        return time.time() + self.offset_s


class Recorder:
    """A transport that remembers what was said."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.sent, self.heard = inner, list[bytes](), list[bytes]()

    def exchange(self, message: bytes) -> bytes:
        self.sent.append(message)
        self.heard.append(self.inner.exchange(message))
        return self.heard[-1]


class FailingAudit(MemoryAudit):
    failing = False

    def record(self, event: str, **fields: object) -> None:
        if self.failing:
            raise AuditError("the disk is full")
        super().record(event, **fields)


def composed(house: Any, **options: Any) -> tuple[zts.Authority, FailingAudit, SqliteStore]:
    """An Authority of the real parts whose audit log and store the test holds in its hands."""
    subjects = FileSubjects(house.rules / "subjects.toml")
    decider = Decider(
        IdentityVerifiers.from_directory(house.rules, subjects),
        PostureAppraiser(house.rules / "devices.toml"),
        PolicyEngine(house.rules),
        subjects=subjects,
        posture_required=True,
    )
    audit, store = FailingAudit(), house.keep(SqliteStore(house.rules.parent / "store.sqlite"))
    return zts.Authority(AuthorityKeys.open(house.state), store, audit, decider, **options), audit, store


def supersede(authority: zts.Authority, client: zts.Session, session: bytes) -> None:
    """A full handshake of this client that claims another session for its own."""
    drive(handshake(client._subject, supersedes=session), authority.connection())


# ---- Granting


def test_a_granted_session_is_known_stored_and_audited(house: Any):
    """What the client holds is what the Authority lists, with the posture and the policy that it rests on."""
    authority = house.authority()
    session = house.connect(authority)
    record = authority.session(session.id)
    assert authority.sessions() == [record]
    assert (record.subject, record.device, record.assurance) == ("algo-7", "host-1", session.assurance)
    assert set(session.segments) == {"md", "orders"}
    (entry,) = audited(house)
    assert (entry["event"], entry["session"]) == ("session.granted", session.id.hex())
    assert entry["policy"] == session.grants["orders"].policy.hex()
    assert authority.explain(session.id) == "LOW because no signal is unresolved"


def test_L1_what_the_policies_do_not_allow_is_refused(house: Any):
    """Nothing granted is a refusal, told coarsely to the peer and exactly to the log."""
    authority = house.authority()
    with pytest.raises(HandshakeError, match=r"refused: refused$"):
        house.connect(authority, scopes=["risk.*"])
    assert audited(house)[-1]["cause"] == "the policies allow algo-7 none of risk.*"
    assert authority.sessions() == []
    assert house.connect(authority, scopes=["orders.submit"]).segments == ("orders",)


def test_H14_a_subject_that_is_no_longer_enrolled_is_refused(house: Any):
    """Once the registry without it is loaded, the same identity gets nothing, and other subjects still do."""
    authority, other = house.authority(), zts.Ed25519Identity.generate("algo-8")
    house.connect(authority)
    house.enrol(other)
    authority.reload()
    with pytest.raises(HandshakeError):
        house.connect(authority)
    assert audited(house)[-1]["cause"] == "the signature does not hold"
    assert house.connect(authority, identity=other)


def test_H20_posture_of_a_device_that_is_not_enrolled_is_no_evidence(house: Any):
    """A statement of a foreign device is refused and audited; where there is none, one is asked for."""
    authority = house.authority()
    with pytest.raises(HandshakeError, match=r"refused$"):
        house.connect(authority, posture=zts.DevicePosture("host-1", os.urandom(32), measure=dict))
    assert audited(house)[-1]["event"] == "handshake.refused"
    with pytest.raises(StepUpRequired, match="posture"):
        house.connect(authority, posture=None)
    assert audited(house)[-1]["missing"] == ["posture"]
    assert authority.sessions() == []
    assert house.connect(authority)


def test_without_required_posture_the_device_is_nobody_and_assurance_is_lower(house: Any):
    """An Authority may do without a device; what it then grants says so."""
    authority = house.authority(posture_required=False)
    session = house.connect(authority, posture=None)
    assert (session.assurance, session.grants["orders"].device) == (1, "none")
    assert house.connect(authority).assurance == 2


def test_a_client_that_pins_another_root_believes_nothing(house: Any):
    """An Authority that is not certified by the pinned root gets no evidence."""
    authority = house.authority()
    with pytest.raises(EvidenceError):
        house.connect(authority, root=zts.Ed25519Identity.generate("x").public_key)
    assert authority.sessions() == []


def test_eight_clients_connect_at_once(house: Any):
    """Concurrent handshakes all succeed, each with a session and secrets of its own."""
    authority = house.authority()
    point, sessions, failures = house.point(authority), list[zts.Session](), list[BaseException]()

    def connect() -> None:
        try:
            for _ in range(3):
                session = house.connect(authority)
                orders = session.install(point, "orders")
                point.verifier("orders.submit")(orders.sign("orders.submit", b"x"), b"x")
                sessions.append(session)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=connect) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len({session.id for session in sessions}) == 24
    assert {record.id for record in authority.sessions()} == {session.id for session in sessions}
    assert [entry["n"] for entry in audited(house)] == list(range(1, 25))


def test_grants_that_do_not_fit_one_message_are_refused_before_anything_is_written(house: Any):
    """A client that asks for too much at once is refused, and no session that nobody knows of is left
    behind.
    """
    names = [f"segment-{n:02}" for n in range(16)]
    rows = [f"[segments.{s}.operations.operation-{n:02}]\neffect = 'read'" for s in names for n in range(40)]
    (house.rules / "catalog.toml").write_text("version = 1\n" + "\n".join(rows))
    for file in house.rules.glob("*.cedar"):
        file.write_text('@id("all") permit (principal, action, resource);')
    authority = house.authority()
    with pytest.raises(HandshakeError, match=r"refused$"):
        house.connect(authority, scopes=[f"{name}.*" for name in names])
    assert "do not fit one message" in audited(house)[-1]["cause"]
    assert [entry["event"] for entry in audited(house)] == ["handshake.refused"]
    assert authority.sessions() == []
    assert len(house.connect(authority, scopes=[f"{name}.*" for name in names[:4]]).segments) == 4


# ---- What a peer can do to the handshake


def test_H3_a_replayed_first_message_makes_no_session(house: Any):
    """Whoever repeats message 1 gets an offer for fresh keys, cannot answer it, and changes nothing."""
    authority = house.authority()
    recorded = Recorder(authority.connection())
    house.connect(authority, recorded)
    before = authority.sessions()
    connection = authority.connection()
    offer = connection.exchange(recorded.sent[0])
    assert offer != recorded.heard[0]
    assert Refusal.from_bytes(connection.exchange(recorded.sent[1])).reason == "refused"
    assert authority.sessions() == before
    assert len(audited(house)) == 1


def test_H3_a_replayed_third_message_is_refused_on_any_connection(house: Any):
    """Message 3 belongs to one handshake: neither at the same connection nor at another one is it taken
    twice.
    """
    authority = house.authority()
    recorded = Recorder(authority.connection())
    house.connect(authority, recorded)
    before = authority.sessions()
    for connection in (recorded.inner, authority.connection()):
        assert Refusal.from_bytes(connection.exchange(recorded.sent[1])).reason
    assert authority.sessions() == before
    assert house.connect(authority, recorded.inner)


def test_H4_nothing_recorded_is_of_use_after_a_restart(house: Any):
    """The Authority's keys survive its restart, and its half-done handshakes do not."""
    authority = house.authority()
    recorded = Recorder(authority.connection())
    house.connect(authority, recorded)
    authority.close()
    reopened = house.authority()
    before = reopened.sessions()
    connection = reopened.connection()
    connection.exchange(recorded.sent[0])
    assert Refusal.from_bytes(connection.exchange(recorded.sent[1])).reason == "refused"
    assert reopened.sessions() == before
    assert house.connect(reopened, root=authority.root)


def test_H15_no_changed_byte_gets_a_session_or_an_exception_out_of_a_connection(house: Any):
    """Flip any byte of message 1 or 3, cut it, or send noise: the answer is one coarse word and nothing
    changes.
    """
    authority = house.authority()
    recorded = Recorder(authority.connection())
    house.connect(authority, recorded)
    before, events = authority.sessions(), len(audited(house))
    first = recorded.sent[0]
    for at in range(0, len(first), 13):
        connection = authority.connection()
        connection.exchange(first[:at] + bytes([first[at] ^ 0x40]) + first[at + 1 :])
        assert Refusal.from_bytes(connection.exchange(recorded.sent[1])).reason in ("refused", "malformed")
    for noise in (b"", b"\x80", os.urandom(40), os.urandom(300), os.urandom(70_000)):
        assert Refusal.from_bytes(authority.connection().exchange(noise)).reason in ("refused", "malformed")
    assert authority.sessions() == before
    assert len(audited(house)) == events
    assert authority.strangers_refused >= 5


def test_H23_every_refusal_after_message_3_says_the_same(house: Any):
    """Unknown subject, foreign device, superseding a stranger's session: one text, whatever the cause."""
    authority, texts = house.authority(), set()
    stranger = zts.Ed25519Identity.generate("algo-7")
    foreign = zts.DevicePosture("host-2", os.urandom(32), measure=dict)
    for changed in ({"identity": stranger}, {"posture": foreign}, {"scopes": ["no.*"]}):
        with pytest.raises(HandshakeError) as refused:
            house.connect(authority, **changed)
        texts.add(str(refused.value))
    assert texts == {"the Authority refused: refused"}
    assert len({entry["cause"] for entry in audited(house)}) == 2


def test_a_mistake_of_ours_is_told_coarsely_and_grants_nothing(house: Any, caplog: pytest.LogCaptureFixture):
    """An exception that nobody foresaw ends the handshake, is logged, and neither leaves exchange nor tells
    why.
    """

    class Broken:
        required = ["identity", "posture"]  # noqa: RUF012

        def judge(self, *_: object) -> None:
            raise TypeError("an inner detail")

    authority = house.authority()
    working, authority.rules.decider = authority.decider, Broken()
    with pytest.raises(HandshakeError, match="unavailable") as refused:
        house.connect(authority)
    assert "inner detail" not in str(refused.value)
    assert "an inner detail" in caplog.text
    assert authority.sessions() == []
    authority.rules.decider = working
    assert house.connect(authority)


# ---- Superseding


def test_reauthentication_ends_the_old_session_and_goes_on_with_the_new(house: Any):
    """At the moment that the new session is granted the old one is over, everywhere in this process."""
    authority = house.authority()
    point = house.point(authority)
    session = house.connect(authority)
    old = session.install(point, "orders")
    token = old.sign("orders.submit", b"x")
    renewed = session.reauthenticate()
    with pytest.raises(Revoked):
        point.verifier("orders.submit")(token, b"x")
    assert [record.id for record in authority.sessions()] == [renewed.id]
    new = renewed.install(point, "orders")
    assert point.verifier("orders.submit")(new.sign("orders.submit", b"x"), b"x").session == renewed.id


def test_H2_nobody_supersedes_another_ones_session(house: Any):
    """To name a session that is not one's own is refused; it goes on, and whoever tried gets nothing."""
    other, authority = zts.Ed25519Identity.generate("algo-8"), None
    house.enrol(house.identity, other)
    authority = house.authority()
    victim = house.connect(authority)
    attacker = house.connect(authority, identity=other)
    with pytest.raises(HandshakeError, match=r"refused$"):
        supersede(authority, attacker, victim.id)
    assert "is not this client's" in audited(house)[-1]["cause"]
    assert {record.id for record in authority.sessions()} == {victim.id, attacker.id}
    # The same subject with another handshake key is another client.
    twin = zts.Ed25519Identity("algo-7", house.identity.signing_seed, os.urandom(32))
    with pytest.raises(HandshakeError, match=r"refused$"):
        supersede(authority, house.connect(authority, identity=twin), victim.id)
    assert authority.session(victim.id)
    assert victim.reauthenticate().id != victim.id


def test_a_session_that_was_revoked_can_be_superseded_and_stays_revoked(house: Any):
    """Its subject may come back with full evidence; the old session does not."""
    authority = house.authority()
    point = house.point(authority)
    session = house.connect(authority)
    authority.revoke(session.id)
    renewed = session.reauthenticate()
    with pytest.raises(zts.errors.InstallationError):
        session.install(point, "orders")
    assert renewed.install(point, "orders")
    with pytest.raises(SessionEnded):
        authority.session(session.id)


def test_a_session_that_nobody_remembers_can_be_superseded(house: Any):
    """Long after it expired and was cleared away, the client's reauthentication makes a new session."""
    clock = MovableClock(-3 * 86400)
    authority = house.authority(clock=clock, posture_required=False)
    session = house.connect(authority, posture=None)
    clock.offset_s = 0
    house.connect(authority)
    assert authority._store.get_session(session.id) is None
    assert session.reauthenticate().id != session.id


# ---- Signals, revocation, narrowing


def test_a_signal_suspends_the_very_next_call_until_reauthentication(house: Any):
    """Signal, mode, refusal, fresh evidence, and on it goes; cancel-all never stopped."""
    authority = house.authority()
    point = house.point(authority)
    session = house.connect(authority)
    orders = session.install(point, "orders")
    submit, cancel_all = point.verifier("orders.submit"), point.verifier("orders.cancel-all")
    assert submit(orders.sign("orders.submit", b"1"), b"1").mode == "NORMAL"
    (change,) = authority.signal(signal("1", device="host-1"))
    assert (change.session, change.after.name) == (session.id, "SUSPENDED")
    with pytest.raises(ReauthRequired):
        submit(orders.sign("orders.submit", b"2"), b"2")
    assert cancel_all(orders.sign("orders.cancel-all", b"3"), b"3").mode == "SUSPENDED"
    assert authority.explain(session.id).startswith("HIGH because behaviour of device host-1")
    orders = session.reauthenticate().install(point, "orders")
    assert submit(orders.sign("orders.submit", b"4"), b"4").mode == "NORMAL"
    assert [entry["event"] for entry in audited(house)] == [
        "session.granted",
        "signal",
        "session.mode",
        "session.granted",
    ]


def test_a_signal_that_comes_twice_counts_once(house: Any):
    """The second arrival changes nothing and is not audited, also after a restart."""
    authority = house.authority()
    house.connect(authority)
    assert len(authority.signal(signal("1", zts.Level.MEDIUM, subject="algo-7"))) == 1
    assert authority.signal(signal("1", zts.Level.CRITICAL, subject="algo-7")) == []
    authority.close()
    reopened = house.authority()
    assert reopened.signal(signal("1", zts.Level.CRITICAL, subject="algo-7")) == []
    assert [record.mode for record in reopened.sessions()] == [zts.Mode.RESTRICTED]


def test_H21_evidence_does_not_answer_a_signal_that_came_after_it_was_asked_for(house: Any):
    """A host that drifts between offer and proof begins restricted, and one that drifts before does not."""
    authority = house.authority()

    class DriftsMeanwhile:
        def __init__(self) -> None:
            self.inner, self.messages = authority.connection(), 0

        def exchange(self, message: bytes) -> bytes:
            self.messages += 1
            if self.messages == 2:
                authority.signal(signal("late", zts.Level.MEDIUM, "posture-drift", device="host-1"))
            return self.inner.exchange(message)

    point = house.point(authority)
    authority.signal(signal("early", zts.Level.MEDIUM, "posture-drift", device="host-1"))
    before = house.connect(authority).install(point, "orders")
    assert point.session(before.handle)["mode"] == "NORMAL"
    during = house.connect(authority, DriftsMeanwhile()).install(point, "orders")
    assert point.session(during.handle)["mode"] == "RESTRICTED"
    with pytest.raises(StepUpRequired):
        point.verifier("orders.submit")(during.sign("orders.submit", b"x"), b"x")


def test_nothing_is_granted_while_a_credential_is_known_to_be_stolen(house: Any):
    """A standing signal that evidence cannot answer refuses new sessions, and leaves none half made."""
    authority = house.authority()
    authority.signal(signal("1", zts.Level.HIGH, "credential-compromise", subject="algo-7"))
    with pytest.raises(HandshakeError, match=r"refused$"):
        house.connect(authority)
    assert "would begin SUSPENDED" in audited(house)[-1]["cause"]
    assert authority.sessions() == []
    assert len(authority.risk._sessions) == 0


def test_R16_a_session_revoked_before_it_is_installed_is_refused(house: Any):
    """The ticket is good and the session is over: the point says no, and holds nothing of it."""
    authority = house.authority()
    point = house.point(authority)
    session, other = house.connect(authority), house.connect(authority)
    authority.revoke(session.id, why="gone")
    with pytest.raises(zts.errors.InstallationError, match=r"refused$"):
        session.install(point, "orders")
    assert point.table.live == 0
    assert other.install(point, "orders")
    assert audited(house)[-1]["why"] == "gone"


def test_a_revocation_holds_for_sessions_known_unknown_and_expired(house: Any):
    """To revoke is never an error, also not twice; what is no session's id is refused before anything is
    written.
    """
    clock = MovableClock(-86400)
    authority = house.authority(clock=clock, posture_required=False)
    house.connect(authority, posture=None)
    (record,) = authority.sessions()
    clock.offset_s = 0
    for session in (record.id, record.id, b"u" * 16):
        authority.revoke(session)
    assert authority._store.revocations(int(time.time())) == sorted([record.id, b"u" * 16])
    for wrong in (b"", b"x" * 15):
        with pytest.raises(WireError):
            authority.revoke(wrong)
    assert len([e for e in audited(house) if e["event"] == "session.revoked"]) == 3


def test_narrowing_a_profile_reaches_sessions_of_now_and_of_later(house: Any):
    """Every session with the same decision loses the operation on the next call, and new ones never have
    it.
    """
    authority = house.authority()
    point = house.point(authority)
    session = house.connect(authority)
    orders = session.install(point, "orders")
    submit, cancel = point.verifier("orders.submit"), point.verifier("orders.cancel")
    assert submit(orders.sign("orders.submit", b"x"), b"x")
    everything_but_submit = (2**64 - 1) & ~1
    authority.narrow(session.grants["orders"].profile_digest(), [everything_but_submit] * 3)
    later = house.connect(authority).install(point, "orders")
    for client in (orders, later):
        with pytest.raises(NotPermitted):
            submit(client.sign("orders.submit", b"x"), b"x")
        assert cancel(client.sign("orders.cancel", b"x"), b"x")
    with pytest.raises(WireError):
        authority.narrow(b"short", [0, 0, 0])


# ---- What cannot be recorded


def test_A10_nothing_is_granted_that_cannot_be_audited(house: Any):
    """With a log that cannot be written no session is made, nothing is stored, and the peer hears
    'unavailable'.
    """
    authority, audit, store = composed(house)
    audit.failing = True
    with pytest.raises(HandshakeError, match=r"unavailable$"):
        house.connect(authority)
    assert authority.sessions() == []
    assert (store.last_change(), len(authority.risk._sessions)) == (0, 0)
    audit.failing = False
    assert house.connect(authority)


def test_A10_a_full_log_does_not_keep_a_session_alive(house: Any):
    """Revocations, signals and narrowings are in force without their entry, and the caller hears of the
    log.
    """
    authority, audit, _ = composed(house)
    point = house.point(authority)
    first, second, third = (house.connect(authority).install(point, "orders") for _ in range(3))
    call = point.verifier("orders.submit")
    audit.failing = True
    with pytest.raises(AuditError):
        authority.revoke(first.grant.session)
    with pytest.raises(AuditError):
        authority.signal(signal("1", session=second.grant.session))
    with pytest.raises(Revoked):
        call(first.sign("orders.submit", b"x"), b"x")
    with pytest.raises(ReauthRequired):
        call(second.sign("orders.submit", b"x"), b"x")
    assert call(third.sign("orders.submit", b"x"), b"x")
    with pytest.raises(AuditError):
        authority.narrow(third.grant.profile_digest(), [0, 0, 0])
    with pytest.raises(NotPermitted):
        call(third.sign("orders.submit", b"x"), b"x")
    assert {record.id for record in authority.sessions()} == {second.grant.session, third.grant.session}


def test_nothing_is_granted_that_cannot_be_stored(house: Any):
    """With a store that fails no session is made; what was true before is true afterwards."""
    authority, _, store = composed(house)
    session = house.connect(authority)
    store.close()
    with pytest.raises(HandshakeError, match=r"unavailable$"):
        house.connect(authority)
    with pytest.raises(StoreError):
        authority.revoke(session.id)
    assert (len(authority.risk), authority.risk.watches(session.id)) == (1, True)


def test_a_signal_that_could_not_be_stored_is_in_force_when_it_comes_again(house: Any):
    """A detector that hears of the failure sends its signal again, and then every session is hit as at
    first.
    """
    authority, _, store = composed(house)
    point = house.point(authority)
    orders = house.connect(authority).install(point, "orders")
    call = point.verifier("orders.submit")
    before = store.last_change()
    with read_only(store):
        with pytest.raises(StoreError):
            authority.signal(signal("1", subject="algo-7"))
        assert store.last_change() == before
        assert call(orders.sign("orders.submit", b"x"), b"x").mode == "NORMAL"
    (change,) = authority.signal(signal("1", subject="algo-7"))
    assert (change.session, change.after) == (orders.grant.session, zts.Mode.SUSPENDED)
    with pytest.raises(ReauthRequired):
        call(orders.sign("orders.submit", b"x"), b"x")
    assert authority.session(orders.grant.session).mode == zts.Mode.SUSPENDED


def test_a_signal_reaches_the_living_past_sessions_that_are_over(house: Any):
    """Sessions that were cleared away or revoked meanwhile do not keep a signal from all the others."""
    clock = MovableClock(-3600 * 11)
    authority = house.authority(clock=clock, posture_required=False)
    old = house.connect(authority, posture=None)
    clock.offset_s = 0
    over, live = house.connect(authority), house.connect(authority)
    authority._store.set_mode(over.id, zts.Mode.REVOKED)
    authority._store.prune(int(time.time()) + 3600 * 2)
    assert authority._store.get_session(old.id) is None
    authority.signal(signal("1", subject="algo-7"))
    assert authority.session(live.id).mode == zts.Mode.SUSPENDED


# ---- Time goes by


def test_D6_what_ended_is_forgotten(house: Any):
    """Neither the risk engine nor the store grows with sessions that are over."""
    clock = MovableClock(-5 * 86400)
    authority = house.authority(clock=clock, posture_required=False)
    for _ in range(5):
        session = house.connect(authority, posture=None)
        authority.signal(signal(session.id.hex(), zts.Level.MEDIUM, session=session.id))
    clock.offset_s += 86400
    house.connect(authority, posture=None)
    assert len(authority.risk._sessions) == len(authority._granting._ends) == 1
    assert authority._store.get_session(session.id) is None
    clock.offset_s = 0
    authority.revoke(b"u" * 16)
    house.connect(authority, posture=None)
    assert [row.number for row in authority._store.changes_after(5)] == [6]
    with pytest.raises(StoreError):
        authority._store.changes_after(0)


def test_a_new_point_begins_where_the_changes_begin_that_are_kept(house: Any):
    """What is older than any session is not told; what holds for good is said again, and the revoked stay
    so.
    """
    clock = MovableClock(-3 * 86400)
    authority = house.authority(clock=clock, posture_required=False)
    profile = house.connect(authority, posture=None).grants["orders"].profile_digest()
    authority.revoke(b"u" * 16)
    authority.narrow(profile, [(2**64 - 1) & ~1] * 3)
    authority.narrow(profile, [(2**64 - 1) & ~2] * 3)
    clock.offset_s = 0
    session, revoked = house.connect(authority, posture=None), house.connect(authority, posture=None)
    authority.revoke(revoked.id)
    authority.close()
    reopened = house.authority(posture_required=False)
    point = house.point(reopened)
    assert point.maintain()
    orders = session.install(point, "orders")
    for operation in ("orders.submit", "orders.amend"):
        with pytest.raises(NotPermitted):
            point.verifier(operation)(orders.sign(operation, b"x"), b"x")
    assert point.verifier("orders.cancel")(orders.sign("orders.cancel", b"x"), b"x")
    with pytest.raises(zts.errors.InstallationError):
        revoked.install(point, "orders")


def test_the_feed_has_no_gap_when_the_clock_is_set_back(house: Any):
    """Changes made after a step back are forgotten no earlier than those before it."""
    clock = MovableClock()
    authority = house.authority(clock=clock, posture_required=False)
    authority.revoke(b"a" * 16)
    clock.offset_s = -5 * 86400
    authority.revoke(b"b" * 16)
    clock.offset_s = -86400
    house.connect(authority, posture=None)
    assert [row.number for row in authority._store.changes_after(0)] == [1, 2]


def test_H12_the_certificate_of_a_long_lived_authority_does_not_expire(house: Any):
    """An Authority that has been up for longer than its first certificate still convinces its clients."""
    clock = MovableClock(-40 * 86400)
    authority = house.authority(clock=clock, posture_required=False)
    with pytest.raises(EvidenceError):
        house.connect(authority, posture=None)
    clock.offset_s = 0
    assert house.connect(authority)


# ---- Operators


def test_L6_a_reload_with_any_mistake_keeps_everything_as_it_was(house: Any):
    """Policies, subjects and devices change together or not at all, and the error names file and line."""
    authority, other = house.authority(), zts.Ed25519Identity.generate("algo-8")
    house.enrol(other)
    (house.rules / "devices.toml").write_text('[devices."host-1"]\npublic_key = "00"\n')
    with pytest.raises(ConfigurationError, match=r"devices\.toml:2: "):
        authority.reload()
    assert house.connect(authority)
    with pytest.raises(HandshakeError):
        house.connect(authority, identity=other)
    (house.rules / "devices.toml").write_text(house.device.registry_entry())
    authority.reload()
    assert house.connect(authority, identity=other)
    assert "policy.reloaded" in [entry["event"] for entry in audited(house)]


@pytest.mark.parametrize(
    ("file", "text", "place"),
    [
        ("catalog.toml", None, r"catalog\.toml: cannot be read"),
        ("catalog.toml", "version = 1\n[segments.x.operations.y]\neffect = 3\n", r"catalog\.toml:3: "),
        ("trading.cedar", "permit (principal, action, resource);\nforbid when;", r"trading\.cedar:2: "),
        ("trading.cedar", None, r"expected 1 to \d+ files \*\.cedar"),
        ("subjects.toml", None, r"subjects\.toml: cannot be read"),
        ("subjects.toml", "\n[subjects\n", r"subjects\.toml:2: expected TOML"),
        ("subjects.toml", 'subjects.a.public_key = "00"\n', r"subjects\.toml:1: "),
        ("subjects.toml", "\n[subject]\n", r"subjects\.toml:2: "),
        ("devices.toml", None, r"devices\.toml: cannot be read"),
        ("devices.toml", "[posture]\nkernel = ['x']\n", r"devices\.toml:2: "),
        ("devices.toml", "\xff", r"devices\.toml: |devices\.toml:1: "),
    ],
)
def test_a_policy_file_that_is_wrong_is_named_with_its_line(
    house: Any, file: str, text: str | None, place: str
):
    """An Authority does not open with a missing or garbled file, and leaves no state behind for it."""
    if text is None:
        (house.rules / file).unlink()
    else:
        (house.rules / file).write_text(text, encoding="latin-1")
    with pytest.raises(ConfigurationError, match=place):
        zts.Authority.open(house.state, policy=house.rules)
    assert not house.state.exists()


def test_A11_a_state_directory_has_one_authority(house: Any):
    """A second one is refused while the first one lives, and lets go of everything."""
    first = house.authority()
    with pytest.raises(AuditError, match="another process writes"):
        zts.Authority.open(house.state, policy=house.rules)
    assert house.connect(first)
    first.close()
    assert house.authority().sessions()


def test_a_damaged_state_is_refused_and_let_go_of(house: Any):
    """An Authority that cannot read what it knew of risk does not open, and holds no file open."""
    house.authority().close()
    with SqliteStore(house.state / "authority.sqlite") as store:
        store.put_standing("subject", "ada", b"garbage")
    with pytest.raises(StoreError, match="the risk that is kept is damaged"):
        zts.Authority.open(house.state, policy=house.rules)
    shutil.rmtree(house.state)
    assert house.authority().sessions() == []


def test_keys_are_private_and_those_of_another_segment_are_refused(house: Any):
    """Key files are for their owner; one that was put in another's place does not pass."""
    authority = house.authority()
    orders, md = authority.segment_key_file("orders"), authority.segment_key_file("md")
    files = [house.state / "keys.sealed", house.state / "unlock.key", orders, md]
    assert all(path.stat().st_mode & 0o077 == 0 for path in files)
    assert authority.segment_key_file("md") == md
    shutil.copy(orders, md)
    with pytest.raises(ConfigurationError, match="is not the key of segment 'md'"):
        authority.segment_key_file("md")
    with pytest.raises(ConfigurationError, match="no segment 'nowhere'"):
        authority.segment_key("nowhere")


def test_a_segment_key_is_made_once_however_many_ask(house: Any):
    """Threads that want the same new key get the same one."""
    keys, found = AuthorityKeys.open(house.state), list[object]()
    threads = [threading.Thread(target=lambda: found.append(keys.segment("orders"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert all(key is found[0] for key in found)


def test_an_authority_without_a_directory_cannot_reload(house: Any):
    """What was not read from files is not read again, and that is said."""
    authority, _, _ = composed(house)
    with pytest.raises(ConfigurationError, match="was not opened from a directory"):
        authority.reload()


class read_only:  # noqa: N801 - reads like the builtins it stands beside
    """Refuse all writes of a store for a while, as a disk does that has failed."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store

    def __enter__(self) -> None:
        self._store.rows("PRAGMA query_only = ON")

    def __exit__(self, *_: object) -> None:
        self._store.rows("PRAGMA query_only = OFF")
