"""What happens between two steps of one client: enrolments, signals and revocations come at any moment."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest
from test_going_on import Trader

import ztsession as zts
from ztsession.errors import HandshakeError, Revoked, TransportError, ZtsError
from ztsession.identity.subjects import Subject, ed25519_credential
from ztsession.limits import OVERLAP_S
from ztsession.mfa.prover import TotpProver

ROLE_POLICY = 'permit (principal, action, resource) when { principal.roles.contains("trading") };\n'


def causes(house: Any) -> list[str]:
    """Why the Authority refused somebody, as audited."""
    entries = [json.loads(line) for line in (house.state / "audit.jsonl").read_text().splitlines()]
    return [entry["cause"] for entry in entries if entry["event"] == "handshake.refused"]


# ---- Enrolment between two steps


def test_H14_who_is_taken_out_between_key_and_code_is_granted_nothing(house: Any):
    """Taken out while a second factor is awaited, a subject gets no session, with the code or without it."""
    trader = Trader(house, mfa=True)
    assert trader.connect(mfa=trader.prover)
    file = house.rules / "subjects.toml"
    enrolled = file.read_text()

    def code() -> str:
        house.enrol(zts.Ed25519Identity.generate("somebody-else"))
        trader.authority.reload()
        return trader.next_code()

    with pytest.raises(HandshakeError):
        trader.connect(mfa=TotpProver(code))
    assert any("no longer enrolled" in cause for cause in causes(house))
    assert trader.authority.sessions() == []
    file.write_text(enrolled)
    trader.authority.reload()
    assert trader.connect(mfa=trader.prover)


def test_H14_a_role_that_was_taken_away_comes_back_by_no_step_up(house: Any):
    """More evidence in an old channel is judged by what the subject is now, not by what it was then."""
    trader = Trader(house, mfa=False)
    (house.rules / "all.cedar").write_text(ROLE_POLICY)
    file = house.rules / "subjects.toml"
    file.write_text(trader.identity.registry_entry("human", roles=("trading",), desk="rates"))
    trader.authority.reload()
    session = trader.connect().step_up(mfa=trader.prover)
    file.write_text(trader.identity.registry_entry("human", desk="rates"))
    trader.authority.reload()
    with pytest.raises(HandshakeError):
        session.step_up(mfa=trader.prover)
    assert any("the policies allow trader-1 none of" in cause for cause in causes(house))


def test_H14_who_is_taken_out_while_being_judged_is_granted_nothing(house: Any):
    """A subject removed after its evidence held and before the session is written gets none."""
    authority, leaver = house.authority(), zts.Ed25519Identity.generate("algo-9")
    credential = ed25519_credential(leaver.public_key)
    authority.enrolment.subject(Subject("algo-9", "algorithm", ("trading",), "rates", (credential,)))
    assert house.connect(authority, identity=leaver)
    came = list[object]()

    def connect() -> None:
        try:
            came.append(house.connect(authority, identity=leaver))
        except ZtsError as error:
            came.append(error)

    with authority._lock:
        thread = threading.Thread(target=connect)
        thread.start()
        time.sleep(0.3)  # it is judged, and waits for its turn to be decided
        authority.enrolment.remove_subject("algo-9")
    thread.join()
    assert isinstance(came[0], HandshakeError)
    assert authority.sessions() == []


# ---- Signals between two steps


def drift(trader: Trader, level: zts.Level) -> None:
    """Something happened to the trader's host."""
    trader.signals += 1
    name = f"drift-{trader.signals}"
    trader.authority.signal(zts.Signal(name, "posture-drift", level, "test", time.time(), device="host-1"))


def test_H21_a_code_does_not_answer_what_happened_after_posture_was_asked_for(house: Any):
    """A signal that comes while evidence is made stands against the session, although a factor follows it."""
    trader = Trader(house, mfa=True)
    seed, told = house.device.signing_seed, list[zts.Level]()

    def measure() -> dict[str, Any]:
        for level in told:
            drift(trader, level)
        return {}

    device = zts.DevicePosture("host-1", seed, measure=measure, clock=trader.clock)
    assert trader.mode(trader.connect(posture=device, mfa=trader.prover)) is zts.Mode.NORMAL
    told = [zts.Level.MEDIUM]
    assert trader.mode(trader.connect(posture=device, mfa=trader.prover)) is zts.Mode.RESTRICTED
    told = [zts.Level.HIGH]
    with pytest.raises(HandshakeError):
        trader.connect(posture=device, mfa=trader.prover)
    assert "would begin SUSPENDED" in causes(house)[-1]


def test_H21_a_wrong_code_does_not_make_older_evidence_newer(house: Any):
    """What happens while a factor is awaited stands, however often another nonce is given out meanwhile."""
    trader = Trader(house, mfa=True)
    codes = list[str]()

    def code() -> str:
        if codes:
            return trader.next_code()
        drift(trader, zts.Level.HIGH)
        codes.append("000000" if trader.code() != "000000" else "000001")
        return codes[0]

    with pytest.raises(HandshakeError):
        trader.connect(mfa=TotpProver(code))
    assert any("would begin SUSPENDED" in cause for cause in causes(house))
    assert trader.authority.sessions() == []
    assert trader.connect(mfa=trader.prover)


# ---- Revocations and signals between two renewals


def test_R18_whoever_renews_does_not_slip_away_from_a_revocation(house: Any):
    """A revocation that names a session which was renewed meanwhile ends all that goes on from it."""
    authority = house.authority()
    point, session = house.point(authority), house.connect(authority)
    call = point.verifier("orders.submit")
    renewed = session.renew().renew()
    orders, other = renewed.install(point, "orders"), house.connect(authority)
    assert call(orders.sign("orders.submit", b"x"), b"x")
    authority.revoke(session.id)
    with pytest.raises(Revoked):
        call(orders.sign("orders.submit", b"x"), b"x")
    with pytest.raises(HandshakeError):
        renewed.renew()
    assert [record.id for record in authority.sessions()] == [other.id]


def test_R18_the_keys_of_before_a_renewal_end_with_the_session_that_renewed_them(house: Any):
    """The overlap is no refuge: revoking the new session, or removing the subject, ends the old keys too."""
    authority, leaver = house.authority(), zts.Ed25519Identity.generate("algo-9")
    credential = ed25519_credential(leaver.public_key)
    authority.enrolment.subject(Subject("algo-9", "algorithm", ("trading",), "rates", (credential,)))
    point = house.point(authority)
    call = point.verifier("orders.submit")
    mine, his = house.connect(authority), house.connect(authority, identity=leaver)
    old = [session.install(point, "orders") for session in (mine, his)]
    new = mine.renew()
    his.renew().renew()
    for orders in old:
        assert call(orders.sign("orders.submit", b"x"), b"x")
    authority.revoke(new.id)
    assert authority.enrolment.remove_subject("algo-9") == 1
    for orders in old:
        with pytest.raises(Revoked):
            call(orders.sign("orders.submit", b"x"), b"x")


def test_R18_whoever_renews_does_not_slip_away_from_a_signal(house: Any):
    """A detector names the session that it saw: what it says holds for the one that renewed it, once."""
    trader = Trader(house, mfa=False)
    session = trader.connect()
    renewed = session.renew()
    signal = zts.Signal("1", "behaviour", zts.Level.HIGH, "test", time.time(), session=session.id)
    assert {change.session for change in trader.authority.signal(signal)} == {session.id, renewed.id}
    assert trader.mode(renewed) is zts.Mode.SUSPENDED
    assert trader.authority.signal(signal) == []
    with pytest.raises(HandshakeError):
        renewed.renew()
    again = renewed.reauthenticate()
    assert trader.mode(again) is zts.Mode.NORMAL
    trader.signal("behaviour", session=renewed.id)
    assert trader.mode(again) is zts.Mode.NORMAL


def test_K9_full_evidence_ends_what_a_thief_renewed(house: Any):
    """Who finds his session renewed by somebody else proves everything anew, and that other one is out."""
    authority = house.authority()
    point, session = house.point(authority), house.connect(authority)
    thief = zts.client.Session.of(session._subject, session._held, authority.connection())
    stolen = thief.renew()
    orders = stolen.install(point, "orders")
    with pytest.raises(HandshakeError):
        session.renew()
    mine = session.reauthenticate()
    with pytest.raises(Revoked):
        point.verifier("orders.submit")(orders.sign("orders.submit", b"x"), b"x")
    with pytest.raises(HandshakeError):
        stolen.renew()
    assert [record.id for record in authority.sessions()] == [mine.id]


def test_a_renewal_whose_answer_is_lost_leaves_nothing_behind(house: Any):
    """The client that never heard of its renewed session authenticates in full, and has that one alone."""
    authority = house.authority()
    session = house.connect(authority)

    class Deaf:
        def exchange(self, message: bytes) -> bytes:
            authority.connection().exchange(message)
            raise TransportError("the answer was lost")

    with pytest.raises(TransportError):
        session.renew(Deaf())
    with pytest.raises(HandshakeError):
        session.renew()
    mine = session.reauthenticate()
    assert [record.id for record in authority.sessions()] == [mine.id]


def test_R18_an_authority_that_restarts_in_an_overlap_still_reaches_the_keys_of_before(house: Any):
    """What was renewed a moment before a restart is hit by signals and ended by revocations after it."""
    authority = house.authority()
    session = house.connect(authority)
    middle = session.renew()
    renewed = middle.renew()
    authority.close()
    again = house.authority()
    signal = zts.Signal("1", "threat", zts.Level.MEDIUM, "test", time.time(), device="host-1")
    everything = {session.id, middle.id, renewed.id}
    assert {change.session for change in again.signal(signal)} == everything
    again.revoke(renewed.id)
    assert everything <= set(again._store.revocations(int(time.time())))
    again.close()
    later = house.authority(clock=lambda: time.time() + OVERLAP_S + 2)
    signal = zts.Signal("2", "threat", zts.Level.HIGH, "test", time.time(), device="host-1")
    assert later.signal(signal) == []


# ---- Segments with lifetimes of their own


def test_K8_no_renewal_hands_out_a_ticket_that_is_over(house: Any):
    """Past the end of one segment the session is renewed without that one, or everything is proven anew."""
    trader = Trader(house, mfa=False)
    with (house.rules / "catalog.toml").open("a") as file:
        file.write('[segments.md]\nlifetime_s = 3600\n[segments.md.operations.read]\neffect = "read"\n')
    trader.authority.reload()
    session = trader.connect(scopes=["orders.*", "md.*"])
    trader.clock.ahead_s += 601
    with pytest.raises(HandshakeError):
        session.renew()
    assert "past its absolute end in segment orders" in causes(house)[-1]
    less = session.renew(scopes=["md.*"])
    assert less.segments == ("md",)
    point = house.point(trader.authority, "orders", wall_clock=trader.clock)
    assert less.reauthenticate().install(point, "orders")


def test_D6_renewals_and_revocations_leave_little_behind(house: Any):
    """However often a session is renewed, and however many are revoked, what is held of them is bounded."""
    ahead_s = 0.0
    authority = house.authority(clock=lambda: time.time() + ahead_s)
    device = zts.DevicePosture(
        "host-1", house.device.signing_seed, measure=dict, clock=lambda: time.time() + ahead_s
    )
    session, other = house.connect(authority, posture=device), house.connect(authority, posture=device)
    first = session.id
    assert authority.session(first).grants
    for _ in range(400):
        ahead_s += OVERLAP_S + 1
        session = session.renew()
    for _ in range(100):
        authority.revoke(house.connect(authority, posture=device).id)
    assert len(authority._granting._ends) <= 300
    assert len(authority.risk) <= 3
    assert not authority._store.get_session(first).grants
    # The twin: those that live are watched, and end when their time is over.
    signal = zts.Signal("1", "threat", zts.Level.HIGH, "test", time.time(), device="host-1")
    assert {session.id, other.id} <= {change.session for change in authority.signal(signal)}
    ahead_s += 86_400
    authority._sweep()
    assert len(authority.risk) == len(authority._granting._ends) == 0


# ---- Handshakes on a connection with an open channel


def test_a_handshake_that_is_refused_leaves_the_open_channel_as_it_is(house: Any):
    """Who is refused on a connection takes nothing from the session that was opened on it."""
    trader = Trader(house, mfa=False)
    line = trader.authority.connection()
    session = trader.connect(transport=line)
    with pytest.raises(HandshakeError):
        trader.connect(transport=line, identity=zts.Ed25519Identity.generate("stranger"))
    assert session.step_up(mfa=trader.prover).assurance == 2
    assert trader.connect(transport=line).step_up(mfa=trader.prover).assurance == 2
