"""What happens between two steps of one client: enrolments, signals and revocations come at any moment."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest
from test_going_on import Trader

import ztsession as zts
from ztsession.errors import HandshakeError, ZtsError
from ztsession.identity.subjects import Subject, ed25519_credential
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
