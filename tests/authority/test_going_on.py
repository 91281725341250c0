"""A session goes on: more evidence in its channel, renewal in one round trip, both without a pause."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyotp
import pytest

import ztsession as zts
from ztsession.client.conversation import handshake
from ztsession.client.drive import drive
from ztsession.client.installing import install_ticket
from ztsession.clock import FakeClock
from ztsession.errors import (
    EvidenceError,
    Expired,
    HandshakeError,
    InstallationError,
    Revoked,
    SessionEnded,
    StepUpRequired,
)
from ztsession.handshake.keys import DhKeyPair
from ztsession.handshake.messages import Outcome, Supplement
from ztsession.handshake.renewal import start_renewal
from ztsession.limits import OVERLAP_S
from ztsession.mfa.factors import Factors
from ztsession.mfa.prover import TotpProver, WebAuthnProver
from ztsession.mfa.settings import MfaSettings
from ztsession.mfa.totp import TotpEvidence
from ztsession.store.enrolments import SqliteEnrolments

#: Short enough that the records of what is over are still there when it is.
LIFETIME_S = 600
for room in ("identity", "mfa"):
    sys.path.append(str(Path(__file__).parents[1] / room))

import x509_makers  # noqa: E402
from soft_authenticator import ORIGIN, RP, Authenticator  # noqa: E402

CATALOG = f"""\
version = 1
[segments.orders]
lifetime_s = {LIFETIME_S}
[segments.orders.operations.submit]
effect = "risk-increasing"
assurance = 2
[segments.orders.operations.cancel]
effect = "risk-reducing"
"""
POLICY = "permit (principal, action, resource);\n"


class Clock:
    """Unix time that a test moves."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead_s


class Line:
    """A transport that keeps what was said, and may change it."""

    def __init__(self, inner: Any, change: Callable[[bytes], bytes] = lambda message: message) -> None:
        self.inner, self.change, self.said = inner, change, list[bytes]()

    def exchange(self, message: bytes) -> bytes:
        self.said.append(message)
        return self.inner.exchange(self.change(message))


class Trader:
    """A person with a key and an authenticator app, and the Authority that knows both."""

    def __init__(self, house: Any, *, mfa: bool) -> None:
        (house.rules / "catalog.toml").write_text(CATALOG)
        for path in house.rules.glob("*.cedar"):
            path.unlink()
        (house.rules / "all.cedar").write_text(POLICY)
        self.identity = zts.Ed25519Identity.generate("trader-1")
        entry = self.identity.registry_entry("human", desk="rates")
        (house.rules / "subjects.toml").write_text(entry + ("mfa = true\n" if mfa else ""))
        self.clock, self.house = Clock(), house
        self.authority = house.authority(clock=self.clock)
        factors = Factors(
            SqliteEnrolments(self.authority._store),
            self.authority.keys.sealing("mfa"),
            MfaSettings(),
            clock=self.clock,
        )
        self.secret = factors.enrol_totp("trader-1")
        self.totp = pyotp.parse_uri(self.secret.uri)
        factors.confirm_totp("trader-1", self.code())
        self.asked = self.signals = 0

    def code(self) -> str:
        return str(self.totp.at(int(self.clock())))

    def next_code(self) -> str:
        # Each step is good once: the person waits for the next one.
        self.asked += 1
        self.clock.ahead_s += 30
        return self.code()

    @property
    def prover(self) -> TotpProver:
        return TotpProver(self.next_code)

    def connect(self, **changed: Any) -> zts.Session:
        device = zts.DevicePosture("host-1", self.house.device.signing_seed, measure=dict, clock=self.clock)
        given = {"identity": self.identity, "posture": device, "scopes": ["orders.*"]} | changed
        transport = given.pop("transport", None) or self.authority.connection()
        return zts.connect(transport, root=self.authority.root, **given)

    def signal(self, kind: str, **target: Any) -> None:
        self.signals += 1
        self.authority.signal(
            zts.Signal(str(self.signals), kind, zts.Level.MEDIUM, "test", time.time(), **target)
        )

    def mode(self, session: zts.Session) -> zts.Mode:
        return zts.Mode(self.authority.session(session.id).mode)


def audited(house: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (house.state / "audit.jsonl").read_text().splitlines()]


# ---- Step-up


def test_a_factor_that_the_authority_demands_is_shown_in_the_channel(house: Any):
    """Where a second factor is required the Authority asks for it, and nothing is granted before it holds."""
    trader = Trader(house, mfa=True)
    with pytest.raises(StepUpRequired, match=r"mfa \(second factors: totp\)"):
        trader.connect()
    assert trader.authority.sessions() == []
    session = trader.connect(mfa=trader.prover)
    assert (session.assurance, session.factors) == (2, ("totp",))
    assert audited(house)[-1]["factor"] == "totp"


def test_a_person_without_any_factor_is_refused_where_one_is_demanded(house: Any):
    """What cannot be shown is not asked for: the audit log says that nothing is enrolled."""
    trader = Trader(house, mfa=True)
    other = zts.Ed25519Identity.generate("trader-2")
    text = (house.rules / "subjects.toml").read_text()
    (house.rules / "subjects.toml").write_text(text + other.registry_entry("human") + "mfa = true\n")
    trader.authority.reload()
    with pytest.raises(HandshakeError, match=r"refused$"):
        trader.connect(identity=other, mfa=trader.prover)
    assert "none enrolled" in audited(house)[-1]["cause"]


def test_a_session_is_widened_by_a_second_factor_under_a_new_key(house: Any):
    """What needs more assurance answers STEP_UP_REQUIRED, is granted after a code, and is another key."""
    trader = Trader(house, mfa=False)
    point = house.point(trader.authority)
    session = trader.connect()
    before = session.install(point, "orders")
    call = point.verifier("orders.submit")
    with pytest.raises(zts.errors.StepUpRequired):
        call(before.sign("orders.submit", b"x"), b"x")
    stepped = session.step_up(mfa=trader.prover)
    assert (session.assurance, stepped.assurance) == (1, 2)
    after = stepped.install(point, "orders")
    assert call(after.sign("orders.submit", b"x"), b"x").session == stepped.id
    assert session.grants["orders"].digest() != stepped.grants["orders"].digest()
    # Under the old keys the old decision holds until they end.
    with pytest.raises(zts.errors.StepUpRequired):
        call(before.sign("orders.submit", b"x"), b"x")
    assert point.verifier("orders.cancel")(before.sign("orders.cancel", b"x"), b"x")
    assert [record.id for record in trader.authority.sessions()] == [stepped.id]


def test_H25_a_code_that_was_used_does_not_work_again_in_any_channel(house: Any):
    """A code is used up by the first session that shows it; the next step's code passes."""
    trader = Trader(house, mfa=False)
    first, second = trader.connect(), trader.connect()
    trader.clock.ahead_s += 30
    code = trader.code()
    assert first.step_up(mfa=TotpProver(lambda: code)).assurance == 2
    with pytest.raises(HandshakeError, match="refused"):
        second.step_up(mfa=TotpProver(lambda: code))
    assert trader.authority.session(second.id).assurance == 1
    assert second.step_up(mfa=trader.prover).assurance == 2


def test_wrong_codes_leave_the_session_as_it_was_and_end_at_last(house: Any):
    """A wrong code changes nothing, can be put right, and cannot be tried for ever in one channel."""
    trader = Trader(house, mfa=False)
    point = house.point(trader.authority)
    session = trader.connect()
    orders = session.install(point, "orders")
    codes = iter(["000000", "000000"])
    stepped = session.step_up(mfa=TotpProver(lambda: next(codes, None) or trader.next_code()))
    assert stepped.assurance == 2
    refused = [entry for entry in audited(house) if entry["event"] == "handshake.refused"]
    assert len(refused) in (1, 2)
    assert point.verifier("orders.cancel")(orders.sign("orders.cancel", b"x"), b"x")
    with pytest.raises(HandshakeError):
        stepped.step_up(mfa=TotpProver(lambda: "000000"))
    assert trader.authority.session(stepped.id).mode == zts.Mode.NORMAL


def test_a_step_from_a_session_that_was_replaced_is_refused_at_once(house: Any):
    """There is one line from session to session: an old one cannot be gone on from."""
    trader = Trader(house, mfa=False)
    session = trader.connect()
    stepped = session.step_up(mfa=trader.prover)
    for step in (session.renew, session.reauthenticate, lambda: session.step_up(mfa=trader.prover)):
        with pytest.raises(SessionEnded, match="taken this one's place"):
            step()
    assert stepped.renew().assurance == 2


def test_H15_no_changed_byte_of_a_supplement_is_taken_for_evidence(house: Any):
    """A supplement that was altered on its way does not open, and the session stays what it was."""
    trader = Trader(house, mfa=False)
    flip = {"on": False}

    def change(message: bytes) -> bytes:
        return message[:40] + bytes([message[40] ^ 1]) + message[41:] if flip["on"] else message

    line = Line(trader.authority.connection(), change)
    session = trader.connect(transport=line)
    flip["on"] = True
    with pytest.raises(HandshakeError):
        session.step_up(mfa=trader.prover)
    assert trader.authority.session(session.id).assurance == 1


def test_a_stranger_on_the_same_connection_does_not_disturb_the_channel(house: Any):
    """What does not open in the channel is a first message, and leaves the channel as it was."""
    trader = Trader(house, mfa=False)
    connection = trader.authority.connection()
    session = trader.connect(transport=connection)
    connection.exchange(os.urandom(300))
    connection.exchange(b"")
    assert session.step_up(mfa=trader.prover).assurance == 2


def test_a_program_has_no_second_factor_to_show(house: Any):
    """A code that was enrolled for an algorithm is not taken from it: nobody reads it off a telephone."""
    authority = house.authority()
    factors = authority.enrolment.factors
    totp = pyotp.parse_uri(factors.enrol_totp("algo-7").uri)
    factors.confirm_totp("algo-7", totp.at(int(time.time()) - 30))
    connection = authority.connection()
    session = house.connect(authority, connection)
    channel = session._held.through.channel
    shown = Supplement(mfa=TotpEvidence(totp.now()).to_bytes())
    outcome = Outcome.from_bytes(channel.open(connection.exchange(channel.seal(shown.to_bytes()))))
    assert (outcome.status, session.factors) == ("refused", ())
    entry = audited(house)[-1]
    assert "not of this subject" in entry["cause"]
    assert entry["subject"] == "algo-7"


def test_a_channel_takes_so_many_wrong_answers_and_no_more(house: Any):
    """After five wrong pieces of evidence nothing more is taken in that channel; the session lives on."""
    trader = Trader(house, mfa=False)
    connection = trader.authority.connection()
    session = trader.connect(transport=connection)
    channel, answers = session._held.through.channel, []
    for _ in range(5):
        reply = connection.exchange(channel.seal(Supplement(mfa=b"no evidence").to_bytes()))
        answers.append(Outcome.from_bytes(channel.open(reply)))
    assert {answer.status for answer in answers} == {"refused"}
    assert [bool(answer.nonce) for answer in answers] == [True] * 4 + [False]
    assert len(connection.exchange(channel.seal(Supplement(mfa=b"again").to_bytes()))) < 128
    assert not connection.established
    assert trader.mode(session) == zts.Mode.NORMAL
    assert session.renew(trader.authority.connection())


def test_a_weaker_factor_takes_nothing_away(house: Any):
    """Whoever has shown an authenticator keeps its level when a code is shown afterwards."""
    (house.rules / "mfa.toml").write_text(f'rp_id = "{RP}"\norigins = ["{ORIGIN}"]\n')
    trader = Trader(house, mfa=False)
    factors, key = trader.authority.enrolment.factors, Authenticator()
    factors.complete_webauthn("trader-1", *key.create(factors.begin_webauthn("trader-1").challenge))
    session = trader.connect().step_up(mfa=WebAuthnProver(key.get))
    assert (session.assurance, session.factors) == (3, ("webauthn", "totp"))
    assert session.step_up(mfa=trader.prover).assurance == 3
    assert trader.connect().step_up(mfa=trader.prover).assurance == 2


def test_fresh_posture_that_is_asked_for_after_a_signal_answers_it_in_the_channel(house: Any):
    """A restricted session shows its device anew and is normal again; a code is no answer to that."""
    trader = Trader(house, mfa=False)
    session = trader.connect()
    trader.signal("posture-drift", device="host-1")
    assert trader.mode(session) == zts.Mode.RESTRICTED
    session = session.step_up(mfa=trader.prover)
    assert trader.mode(session) == zts.Mode.RESTRICTED
    device = zts.DevicePosture("host-1", house.device.signing_seed, measure=dict, clock=trader.clock)
    assert trader.mode(session.step_up(posture=device)) == zts.Mode.NORMAL


def test_a_code_answers_what_was_said_of_the_person_and_posture_does_not(house: Any):
    """Strange behaviour is answered by who sits there, not by what stands there, however often it renews."""
    trader = Trader(house, mfa=False)
    session = trader.connect()
    trader.signal("behaviour", session=session.id)
    for _ in range(2):
        session = session.renew()
        assert trader.mode(session) == zts.Mode.RESTRICTED
    device = zts.DevicePosture("host-1", house.device.signing_seed, measure=dict, clock=trader.clock)
    session = session.step_up(posture=device)
    assert trader.mode(session) == zts.Mode.RESTRICTED
    assert trader.mode(session.step_up(mfa=trader.prover)) == zts.Mode.NORMAL


# ---- Renewal


def test_a_renewal_takes_one_round_trip_and_fresh_keys(house: Any):
    """One message there and one back; the new session has another id, other keys, the same end."""
    authority = house.authority()
    point = house.point(authority)
    line = Line(authority.connection())
    session = house.connect(authority, line)
    before, old = len(line.said), session.install(point, "orders")
    renewed = session.renew()
    assert len(line.said) == before + 1
    new = renewed.install(point, "orders")
    assert renewed.id != session.id
    for orders in (old, new):
        assert point.verifier("orders.submit")(orders.sign("orders.submit", b"x"), b"x")
    assert authority.sessions()[0].expires_at == authority._store.get_session(session.id).expires_at
    assert [entry["event"] for entry in audited(house)] == ["session.granted"] * 2
    assert audited(house)[-1]["renewed"] is True


def test_the_old_keys_end_after_the_overlap_and_not_before(house: Any):
    """Messages under way arrive; after the overlap the old installation is over, and never comes back."""
    clock = FakeClock(unix_s=time.time())
    authority = house.authority(clock=clock.time)
    point = house.point(authority, manual_clock=True, wall_clock=clock.time)
    clock.follow(point.table)
    point.maintain()
    device = zts.DevicePosture("host-1", house.device.signing_seed, measure=dict, clock=clock.time)
    session = house.connect(authority, posture=device)
    grant, secret = session._secret_of("orders")
    ticket, machine_us = session.tickets["orders"], clock.machine_us
    old = install_ticket(point, grant, ticket, secret, manual_clock_us=machine_us)
    clock.follow(old.table)
    session.renew()
    call = point.verifier("orders.submit")
    clock.advance(OVERLAP_S - 1)
    point.maintain()
    assert call(old.sign("orders.submit", b"x"), b"x")
    clock.advance(1.1)
    with pytest.raises(Expired):
        call(old.sign("orders.submit", b"x"), b"x")
    with pytest.raises(InstallationError):
        session.install(point, "orders")


def test_R2_a_revocation_reaches_a_renewed_session_within_its_overlap(house: Any):
    """The overlap is for messages under way and no protection: a revocation ends it at once."""
    authority = house.authority()
    point = house.point(authority)
    session = house.connect(authority)
    old = session.install(point, "orders")
    session.renew()
    authority.revoke(session.id)
    with pytest.raises(Revoked):
        point.verifier("orders.submit")(old.sign("orders.submit", b"x"), b"x")


def test_a_signal_reaches_a_renewed_session_within_its_overlap(house: Any):
    """The old keys are as good as the new ones for a moment, so what restricts one restricts the other."""
    trader = Trader(house, mfa=False)
    point = house.point(trader.authority)
    session = trader.connect()
    old = session.install(point, "orders")
    renewed = session.renew()
    new = renewed.install(point, "orders")
    trader.authority.signal(zts.Signal("1", "threat", zts.Level.HIGH, "test", time.time(), device="host-1"))
    for orders in (old, new):
        with pytest.raises(zts.errors.ReauthRequired):
            point.verifier("orders.cancel")(orders.sign("orders.cancel", b"x"), b"x")


def test_a_session_that_was_renewed_is_no_live_session(house: Any):
    """Operators see the one that took its place."""
    authority = house.authority()
    session = house.connect(authority)
    renewed = session.renew()
    with pytest.raises(SessionEnded):
        authority.session(session.id)
    assert [record.id for record in authority.sessions()] == [renewed.id]


def test_K8_past_the_absolute_end_nothing_is_renewed(house: Any):
    """A second too late is too late, although everything about the session is still known."""
    trader = Trader(house, mfa=False)
    session = trader.connect()
    trader.clock.ahead_s += LIFETIME_S - 5
    session = session.renew()
    trader.clock.ahead_s += 6
    with pytest.raises(HandshakeError, match="did not renew"):
        session.renew()
    assert trader.authority.sessions() == []
    assert session.reauthenticate()


def test_K8_a_renewed_session_ends_at_the_point_when_the_first_would_have(house: Any):
    """What was renewed in the middle of its life is over at a point at the old end, to the second."""
    Trader(house, mfa=False).authority.close()
    clock = FakeClock(unix_s=time.time())
    authority = house.authority(clock=clock.time)
    house.enrol(house.identity)
    authority.reload()
    point = house.point(authority, manual_clock=True, wall_clock=clock.time)
    clock.follow(point.table)
    point.maintain()
    device = zts.DevicePosture("host-1", house.device.signing_seed, measure=dict, clock=clock.time)
    session = house.connect(authority, posture=device, scopes=["orders.*"])
    clock.advance(LIFETIME_S / 2)
    point.maintain()
    renewed = session.renew()
    grant, secret = renewed._secret_of("orders")
    ticket, machine_us = renewed.tickets["orders"], clock.machine_us
    orders = install_ticket(point, grant, ticket, secret, manual_clock_us=machine_us)
    clock.follow(orders.table)
    call = point.verifier("orders.cancel")
    clock.advance(LIFETIME_S / 2 - 2)
    point.maintain()
    assert call(orders.sign("orders.cancel", b"x"), b"x")
    clock.advance(3)
    with pytest.raises(Expired):
        call(orders.sign("orders.cancel", b"x"), b"x")


def test_K8_no_session_outlives_the_certificate_that_opened_it(house: Any):
    """The session, its tickets and its renewals all end with the credential."""
    root = x509_makers.Issuer.root()
    holder = root.leaf(x509_makers.uri("spiffe://firm.example/algo-7"), days=(-1, 0.02))
    (house.rules / "roots.pem").write_bytes(root.pem)
    (house.rules / "identity.toml").write_text(
        '[x509]\nroots = ["roots.pem"]\ntrust_domains = ["firm.example"]\n'
    )
    (house.rules / "subjects.toml").write_text(
        '[subjects."algo-7"]\nkind = "algorithm"\nroles = ["trading"]\ndesk = "rates"\n'
        'spiffe_id = "spiffe://firm.example/algo-7"\n'
    )
    clock = Clock()
    authority = house.authority(clock=clock)
    point = house.point(authority, wall_clock=clock)
    device = zts.DevicePosture("host-1", house.device.signing_seed, measure=dict, clock=clock)
    session = house.connect(authority, identity=holder.identity, posture=device)
    until = authority.session(session.id).expires_at
    assert until - time.time() <= 0.02 * 86400
    assert session.install(point, "orders")
    clock.ahead_s = until - time.time() + 1
    with pytest.raises(InstallationError):
        session.install(point, "orders")
    with pytest.raises(HandshakeError, match="did not renew"):
        session.renew()


def test_K8_a_renewal_moves_no_absolute_end(house: Any):
    """However often it is renewed, a session ends when the first one would have."""
    clock = Clock()
    authority = house.authority(clock=clock)
    device = zts.DevicePosture("host-1", house.device.signing_seed, measure=dict, clock=clock)
    session = house.connect(authority, posture=device)
    ends_at = authority.session(session.id).expires_at
    for _ in range(4):
        clock.ahead_s += session.lifetime_s / 5 if session.lifetime_s > 5 else 1
        session = session.renew()
        assert authority.session(session.id).expires_at == ends_at
    clock.ahead_s = ends_at - time.time() + 1
    with pytest.raises(HandshakeError):
        session.renew()
    assert authority.sessions() == []


def test_K9_a_renewal_raises_no_assurance_and_no_session_of_another(house: Any):
    """A factor that was not shown does not appear by renewing, and one's own key renews one's own session."""
    trader = Trader(house, mfa=False)
    session = trader.connect()
    assert session.renew().assurance == 1
    twin = zts.Ed25519Identity("trader-1", trader.identity.signing_seed, os.urandom(32))
    mine, other = trader.connect(), trader.connect(identity=twin)
    other._held.outcome.__dict__["session"] = mine.id
    with pytest.raises(HandshakeError, match="did not renew"):
        other.renew()
    assert mine.renew()


def test_K9_without_a_device_too_a_session_is_renewed_by_its_own_key_alone(house: Any):
    """Where no posture is shown, the handshake key alone says whose session it is."""
    authority = house.authority(posture_required=False)
    mine = house.connect(authority, posture=None)
    twin = zts.Ed25519Identity("algo-7", house.identity.signing_seed, os.urandom(32))
    other = house.connect(authority, identity=twin, posture=None)
    other._held.outcome.__dict__["session"] = mine.id
    with pytest.raises(HandshakeError, match="did not renew"):
        other.renew()
    assert "not this client's" in audited(house)[-1]["cause"]
    assert mine.renew()


def test_H3_a_replayed_renewal_makes_no_second_session(house: Any):
    """The first message of a renewal can be recorded; said again, it is refused, on any connection."""
    authority = house.authority()
    line = Line(authority.connection())
    session = house.connect(authority, line)
    renewed = session.renew()
    known = len(authority.sessions())
    for connection in (line.inner, authority.connection()):
        connection.exchange(line.said[-1])
    assert len(authority.sessions()) == known
    assert authority.session(renewed.id)
    assert renewed.renew()


class Bound:
    """A transport in a channel with a name, as a TLS connection has one."""

    def __init__(self, inner: Any, channel_binding: bytes) -> None:
        self.inner, self.channel_binding = inner, channel_binding

    def exchange(self, message: bytes) -> bytes:
        return bytes(self.inner.exchange(message))


def test_H22_a_renewal_that_is_relayed_between_two_channels_is_refused(house: Any):
    """A renewal is bound to the channel underneath like a handshake; in its own channel it passes."""
    authority = house.authority()
    session = house.connect(authority)
    relayed = Bound(authority.connection("", b"another channel"), b"this channel")
    with pytest.raises(HandshakeError):
        session.renew(relayed)
    with pytest.raises(HandshakeError):
        house.connect(authority, relayed)
    assert session.renew(Bound(authority.connection("", b"this channel"), b"this channel"))


def test_H5_a_renewal_for_our_own_static_key_is_not_begun():
    """Whoever is led in a circle to his own key stops before a word is said."""
    private = os.urandom(32)
    with pytest.raises(HandshakeError, match="our own static key"):
        start_renewal(private, DhKeyPair(private).public, b"")
    assert start_renewal(private, DhKeyPair(os.urandom(32)).public, b"")


def test_two_steps_at_once_from_one_session_are_one_too_many(house: Any):
    """While a step is under way a second is refused; both would otherwise claim to be the next session."""
    authority = house.authority()
    session, met = house.connect(authority), list[str]()

    class Meanwhile:
        def exchange(self, message: bytes) -> bytes:
            with pytest.raises(SessionEnded) as refused:
                session.renew(authority.connection())
            met.append(str(refused.value))
            return authority.connection().exchange(message)

    assert session.renew(Meanwhile())
    assert met == ["another step from this session is under way"]


def test_H15_no_changed_byte_of_a_renewal_renews_anything(house: Any):
    """Whatever byte of a renewal is changed, nothing is renewed and the session goes on."""
    authority = house.authority()
    line = Line(authority.connection())
    session = house.connect(authority, line)
    copy = Line(authority.connection(), lambda message: b"")
    with pytest.raises(HandshakeError):
        session.renew(copy)
    (message,) = copy.said
    for position in range(0, len(message), 7):
        changed = bytearray(message)
        changed[position] ^= 1
        authority.connection().exchange(bytes(changed))
        assert [record.id for record in authority.sessions()] == [session.id]
    assert session.renew()


@pytest.mark.parametrize("mode", [zts.Level.HIGH, zts.Level.CRITICAL])
def test_a_suspended_session_cannot_be_renewed(house: Any, mode: zts.Level):
    """Whoever is suspended proves everything anew; posture alone is no way around it."""
    authority = house.authority()
    session = house.connect(authority)
    authority.signal(zts.Signal("1", "posture-drift", mode, "test", time.time(), session=session.id))
    with pytest.raises(HandshakeError, match="did not renew"):
        session.renew()
    assert session.reauthenticate()


def test_H21_posture_asked_for_before_a_signal_does_not_answer_it(house: Any):
    """A restricted session renews restricted; a step-up with posture asked for afterwards lifts it."""
    authority = house.authority()
    session = house.connect(authority)
    authority.signal(zts.Signal("1", "posture-drift", zts.Level.MEDIUM, "t", time.time(), session=session.id))
    renewed = session.renew()
    assert authority.session(renewed.id).mode == zts.Mode.RESTRICTED
    lifted = renewed.step_up(posture=house.device)
    assert authority.session(lifted.id).mode == zts.Mode.NORMAL
    authority.signal(zts.Signal("2", "posture-drift", zts.Level.MEDIUM, "t", time.time(), session=lifted.id))
    assert authority.session(lifted.step_up(posture=house.device).id).mode == zts.Mode.NORMAL


def test_H20_another_device_cannot_go_on_with_a_session(house: Any):
    """A session stays on its device: an enrolled one, but another, neither renews it nor steps it up."""
    other = zts.DevicePosture("host-2", os.urandom(32), measure=dict)
    with (house.rules / "devices.toml").open("a") as file:
        file.write("\n" + other.registry_entry())
    authority = house.authority()
    session = house.connect(authority)
    with pytest.raises(HandshakeError, match="refused"):
        session.step_up(posture=other)
    object.__setattr__(session._subject, "posture", other)
    with pytest.raises(HandshakeError, match="did not renew"):
        session.renew()
    assert house.connect(authority, posture=other)


def test_H19_a_renewal_needs_posture_made_for_its_nonce(house: Any):
    """Evidence for another nonce, or none at all, does not renew a session that began with a device."""
    authority = house.authority()
    session = house.connect(authority)
    subject = session._subject
    for posture in (None, _Stale(house.device)):
        object.__setattr__(subject, "posture", posture)
        with pytest.raises(HandshakeError, match="did not renew"):
            session.renew()
    object.__setattr__(subject, "posture", house.device)
    assert session.renew()


def ages(house: Any, max_age_s: int) -> None:
    """The operator says how old posture may be."""
    with (house.rules / "devices.toml").open("a") as file:
        file.write(f"\n[posture]\nmax_age_s = {max_age_s}\n")


def test_H19_posture_that_has_become_old_is_shown_again_with_a_step_up(house: Any):
    """A code gives no wider grant to a device last seen longer ago than the operator allows."""
    ages(house, 120)
    trader = Trader(house, mfa=False)
    session = trader.connect()
    object.__setattr__(session._subject, "posture", None)
    trader.clock.ahead_s += 150
    with pytest.raises(StepUpRequired, match="posture"):
        session.step_up(mfa=trader.prover)
    assert [record.id for record in trader.authority.sessions()] == [session.id]
    session = trader.connect()
    trader.signal("behaviour", session=session.id)
    trader.clock.ahead_s += 150
    stepped = session.step_up(mfa=trader.prover)
    assert (stepped.assurance, trader.mode(stepped)) == (2, zts.Mode.NORMAL)


def test_H19_a_client_that_waits_long_with_its_factor_shows_its_posture_again(house: Any):
    """Between the handshake and the code that it demands, posture grows old as at any other time."""
    ages(house, 120)
    trader = Trader(house, mfa=True)

    def late() -> str:
        trader.clock.ahead_s += 150
        return trader.code()

    shown: list[int] = []

    def measure() -> dict[str, str]:
        shown.append(len(shown))
        return {}

    device = zts.DevicePosture("host-1", house.device.signing_seed, measure=measure, clock=trader.clock)
    assert trader.connect(posture=device, mfa=TotpProver(trader.next_code)).assurance == 2
    assert len(shown) == 1
    assert trader.connect(posture=device, mfa=TotpProver(late)).assurance == 2
    assert len(shown) == 3


class _Stale:
    def __init__(self, device: Any) -> None:
        self._device = device

    def prove(self, binding: bytes, nonce: bytes) -> bytes:
        return bytes(self._device.prove(binding, bytes(32)))


def test_H14_a_subject_taken_out_cannot_renew(house: Any):
    """Whoever is no longer enrolled, or with another key, does not go on with the session of before."""
    authority = house.authority()
    session = house.connect(authority)
    house.enrol(zts.Ed25519Identity.generate("algo-7"))
    authority.reload()
    with pytest.raises(HandshakeError, match="did not renew"):
        session.renew()
    house.enrol(house.identity)
    authority.reload()
    with pytest.raises(HandshakeError, match="did not renew"):
        session.renew()
    assert session.reauthenticate().renew()


def test_a_renewal_after_the_authority_restarted_goes_on(house: Any):
    """What a renewal rests on is in the store, not in the process."""
    authority = house.authority()
    session = house.connect(authority)
    authority.close()
    again = house.authority()
    assert again.session(session.renew(again.connection()).id)


def test_a_client_that_holds_an_expired_certificate_authenticates_in_full(house: Any):
    """A renewal trusts the static key as the certificate did, and no longer."""
    authority = house.authority()
    session = house.connect(authority)
    object.__setattr__(session._held.through.known, "authority_until", int(time.time()) - 1)
    with pytest.raises(EvidenceError, match="expired"):
        session.renew()
    assert session.reauthenticate()


def test_orders_flow_without_one_refusal_while_the_session_renews(house: Any):
    """Under load from another thread, renewing and swapping refuses not a single call."""
    authority = house.authority()
    point = house.point(authority)
    session = house.connect(authority)
    current = [session.install(point, "orders")]
    call, stop, counts = point.verifier("orders.submit"), threading.Event(), [0, 0]

    def trade() -> None:
        while not stop.is_set():
            token = current[0].sign("orders.submit", b"x")
            try:
                call(token, b"x")
                counts[0] += 1
            except zts.Denied:
                counts[1] += 1

    thread = threading.Thread(target=trade)
    thread.start()
    try:
        for _ in range(20):
            session = session.renew()
            current[0] = session.install(point, "orders")
    finally:
        stop.set()
        thread.join()
    assert counts[1] == 0
    assert counts[0] > 100


def test_supersession_by_full_evidence_still_ends_the_old_session_at_once(house: Any):
    """Re-authentication has no overlap: the old keys may be in bad hands."""
    authority = house.authority()
    point = house.point(authority)
    session = house.connect(authority)
    old = session.install(point, "orders")
    drive(handshake(session._subject, supersedes=session.id), authority.connection())
    with pytest.raises(Revoked):
        point.verifier("orders.submit")(old.sign("orders.submit", b"x"), b"x")


def test_a_renewal_that_would_not_fit_leaves_the_session_as_it_is(house: Any):
    """What a message cannot carry is refused before anything is written, in a renewal as in a handshake."""
    segments = [f"segment-{number:02}" for number in range(40)]
    rows = [
        f'[segments.{name}.operations.op-{op:02}]\neffect = "read"\n' for name in segments for op in range(64)
    ]
    (house.rules / "catalog.toml").write_text("version = 1\n" + "".join(rows))
    for path in house.rules.glob("*.cedar"):
        path.unlink()
    (house.rules / "all.cedar").write_text(POLICY)
    authority = house.authority()
    scopes = [f"{name}.*" for name in segments]
    refused_at = None
    for count in range(2, 20):
        session = house.connect(authority, scopes=scopes[:1])
        try:
            assert len(session.renew(scopes=scopes[:count]).segments) == count
        except HandshakeError:
            refused_at = count
            assert "do not fit one message" in audited(house)[-1]["cause"]
            assert authority.session(session.id)
            assert session.renew(scopes=scopes[:1])
            break
    assert refused_at is not None
