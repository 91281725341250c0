"""Evidence that does not hold: a coarse word to the peer, the exact cause in log and audit, nothing left."""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import ztsession as zts
from ztsession.errors import HandshakeError
from ztsession.identity.oidc import OidcIdentity, ProofKey
from ztsession.wire import encode

for room in ("identity", "posture"):
    sys.path.append(str(Path(__file__).parents[1] / room))

import eat_makers  # noqa: E402
import oidc_makers  # noqa: E402
import x509_makers  # noqa: E402

SPIFFE = "spiffe://firm.example/algo-7"


@dataclass
class Says:
    """A prover that shows whatever it is told to; ``make`` gets what it should have been bound to."""

    make: Callable[..., bytes]
    subject: str = "algo-7"
    static_private: bytes = os.urandom(32)

    def prove(self, *bound: Any) -> bytes:
        return self.make(*bound)


class Firm:
    """An Authority that takes every kind of identity and posture, and all makers of evidence."""

    def __init__(self, house: Any) -> None:
        self.house, self.now = house, int(time.time())
        self.root, self.issuer = x509_makers.Issuer.root(), oidc_makers.Issuer()
        self.holder = self.root.leaf(x509_makers.uri(SPIFFE))
        self.proof = ProofKey.generate()
        key = house.identity.public_key.hex()
        (house.rules / "subjects.toml").write_text(
            f'[subjects."algo-7"]\nkind = "algorithm"\nroles = ["trading"]\ndesk = "rates"\n'
            f'public_key = "{key}"\nspiffe_id = "{SPIFFE}"\n'
            f'oidc_issuer = "{oidc_makers.FIRM}"\noidc_subject = "00u1x8"\n'
        )
        (house.rules / "roots.pem").write_bytes(self.root.pem)
        (house.rules / "jwks.json").write_bytes(oidc_makers.jwks(self.issuer))
        (house.rules / "identity.toml").write_text(
            '[x509]\nroots = ["roots.pem"]\ntrust_domains = ["firm.example"]\n'
            f'[oidc."{oidc_makers.FIRM}"]\naudience = "ztsession"\njwks = "jwks.json"\n'
        )
        with (house.rules / "devices.toml").open("a") as file:
            file.write("\n" + eat_makers.entry("host-2", eat_makers.p256("host-2")))
        self.authority = house.authority()

    def token(self, **changed: Any) -> str:
        return self.issuer.token(self.proof, iat=self.now - 60, exp=self.now + 3600, **changed)

    def oidc(self, token: str, binding: bytes) -> bytes:
        return oidc_makers.shown(token, self.proof, binding)

    def eat(self, binding: bytes, nonce: bytes, **changed: Any) -> bytes:
        honest = {"eat_nonce": eat_makers.expected_nonce(binding, nonce), "iat": int(time.time())}
        claims = {**eat_makers.healthy(ueid=None), **honest, **changed}
        labelled = {eat_makers.LABELS[name]: value for name, value in claims.items() if value is not None}
        return eat_makers.evidence(eat_makers.cwt(eat_makers.p256("host-2"), labelled), "host-2")

    # ---- Bad identities, by what is wrong with them

    def identities(self) -> dict[str, Callable[[bytes], bytes]]:
        thief = zts.Ed25519Identity("algo-7", os.urandom(32), os.urandom(32))
        wrong_use = self.root.leaf(x509_makers.uri(SPIFFE), purposes=(x509_makers.SERVER,))
        two_names = self.root.leaf(x509_makers.uri(SPIFFE), x509_makers.uri("spiffe://firm.example/x"))
        foreign = x509_makers.Issuer.root("other", number=3).leaf(x509_makers.uri(SPIFFE))
        return {
            "nothing at all": lambda _: b"",
            "garbage": lambda _: os.urandom(400),
            "of a kind that nobody knows": lambda _: encode({"v": 1, "kind": "identity.magic"}),
            "too long": lambda _: bytes(24576),
            "a key of somebody else": thief.prove,
            "for another handshake": lambda _: self.house.identity.prove(bytes(32)),
            "a certificate for another use": wrong_use.evidence,
            "a certificate of two names": two_names.evidence,
            "a certificate of another root": foreign.evidence,
            "a certificate without its key": lambda _: self.holder.evidence(bytes(32)),
            "a token for another audience": lambda b: self.oidc(self.token(aud="payments"), b),
            "a token without a key": lambda b: self.oidc(self.token(cnf=None), b),
            "a token of nobody here": lambda b: self.oidc(self.token(sub="stranger"), b),
        }

    def postures(self) -> dict[str, Callable[[bytes, bytes], bytes]]:
        foreign = zts.DevicePosture("host-1", os.urandom(32), measure=dict)
        stale = zts.DevicePosture(
            "host-1", self.house.device.signing_seed, measure=dict, clock=lambda: time.time() - 3600
        )
        return {
            "garbage": lambda b, n: os.urandom(400),
            "of a kind that nobody knows": lambda b, n: encode({"v": 1, "kind": "posture.magic"}),
            "of another device's key": foreign.prove,
            "collected an hour ago": stale.prove,
            "for another nonce": lambda b, n: self.house.device.prove(b, bytes(32)),
            "a token for another handshake": lambda b, n: self.eat(bytes(32), n),
            "a token of an hour ago": lambda b, n: self.eat(b, n, iat=int(time.time()) - 3600),
            "a token under another name": lambda b, n: self.eat(b, n).replace(b"host-2", b"host-1"),
            "a quote that is none": lambda b, n: encode({"v": 1, "kind": "posture.tpm", "device": "host-1"}),
        }

    def state(self) -> tuple[Any, ...]:
        """Everything that a half-made session would show in: database, risk, open places."""
        with sqlite3.connect(self.house.state / "authority.sqlite") as database:
            dump = tuple(database.iterdump())
        database.close()
        return dump, dict(self.authority.risk._sessions._sessions), self.authority._desk._gate.half_open

    def last_cause(self) -> dict[str, Any]:
        lines = (self.house.state / "audit.jsonl").read_text().splitlines()
        return dict(json.loads(lines[-1]))


@pytest.fixture
def firm(house: Any) -> Firm:
    return Firm(house)


def test_every_kind_of_evidence_passes_when_it_is_good(firm: Firm):
    """The positive twin of all that follows: each identity, and each posture, gets a session."""
    oidc = OidcIdentity("algo-7", firm.token(), firm.proof)
    for identity in (firm.house.identity, firm.holder.identity, oidc):
        assert firm.house.connect(firm.authority, identity=identity)
    assert firm.house.connect(firm.authority, posture=Says(firm.eat)).grants["orders"].device == "host-2"


@pytest.mark.parametrize("kind", ["identities", "postures"])
def test_H23_bad_evidence_is_one_word_outside_and_exact_inside(
    firm: Firm, kind: str, caplog: pytest.LogCaptureFixture
):
    """Whatever is wrong, the peer hears the same, log and audit tell the cause, and nothing is left."""
    caplog.set_level(logging.INFO)
    firm.house.connect(firm.authority)
    before, told, causes = firm.state(), set(), {}
    for name, make in getattr(firm, kind)().items():
        caplog.clear()
        changed = {"identity" if kind == "identities" else "posture": Says(make)}
        with pytest.raises(HandshakeError) as refused:
            firm.house.connect(firm.authority, **changed)
        told.add(str(refused.value))
        entry = firm.last_cause()
        assert entry["event"] == "handshake.refused", name
        assert entry["cause"] in caplog.text, name
        causes[name] = entry["cause"]
        assert firm.state() == before, name
    assert told == {"the Authority refused: refused"}
    assert len(set(causes.values())) >= len(causes) - 4, causes
    assert firm.house.connect(firm.authority)


def test_bad_evidence_in_a_renewal_and_a_step_up_leaves_the_session_as_it_was(firm: Firm):
    """A session that shows bad posture goes on as before; nothing of the attempt is kept."""
    session = firm.house.connect(firm.authority)
    point = firm.house.point(firm.authority)
    orders = session.install(point, "orders")
    before = firm.state()
    for name, make in firm.postures().items():
        object.__setattr__(session._subject, "posture", Says(make))
        with pytest.raises(HandshakeError, match="did not renew the session: refused"):
            session.renew()
        with pytest.raises(HandshakeError):
            session.step_up(posture=Says(make))
        assert firm.state() == before, name
        # A channel takes so many tries and no more; the next one is tried from a new session.
        session = firm.house.connect(firm.authority)
        before = firm.state()
    assert point.verifier("orders.submit")(orders.sign("orders.submit", b"x"), b"x")


def test_evidence_in_the_wrong_place_is_no_evidence(firm: Firm):
    """Good posture shown as identity, and good identity shown as posture, are refused alike."""
    device, identity = firm.house.device, firm.house.identity
    with pytest.raises(HandshakeError, match=r"refused$"):
        firm.house.connect(firm.authority, identity=Says(lambda binding: device.prove(binding, bytes(32))))
    with pytest.raises(HandshakeError, match=r"refused$"):
        firm.house.connect(firm.authority, posture=Says(lambda binding, nonce: identity.prove(binding)))


def test_K8_a_token_in_its_leeway_opens_no_session_that_is_over(firm: Firm):
    """A clock's leeway lets a token be read a little later, and no session outlives what opened it."""
    for exp, holds in ((firm.now + 60, True), (firm.now - 5, False)):
        token = firm.issuer.token(firm.proof, iat=firm.now - 60, exp=exp)
        identity = OidcIdentity("algo-7", token, firm.proof)
        if holds:
            session = firm.house.connect(firm.authority, identity=identity)
            assert firm.authority.session(session.id).expires_at == exp
        else:
            with pytest.raises(HandshakeError, match=r"refused$"):
                firm.house.connect(firm.authority, identity=identity)
            assert "past its absolute end" in firm.last_cause()["cause"]
