"""A host that shows an EAT gets a session from a real Authority, decided by what the token says."""

from __future__ import annotations

import time
from typing import Any

import pytest
from eat_makers import cwt, entry, healthy, jwt, p256

from ztsession.errors import HandshakeError
from ztsession.posture.eat_prover import EatPosture

FORMS = {"cwt": cwt, "jwt": jwt}
TRUSTED = """permit (principal, action, resource)
when { context.trust.configuration == "affirming" && context.trust.instance_identity == "affirming" };
"""


class Attester:
    """Stands for the platform: it signs what it is told to, and keeps what it gave."""

    def __init__(self, form: str, **claims: Any) -> None:
        self.form, self.claims = form, claims
        self.given: list[Any] = []

    def __call__(self, nonce: bytes) -> Any:
        claims = healthy(**{"eat_nonce": nonce, "iat": int(time.time()), **self.claims})
        self.given.append(FORMS[self.form](p256("host-1"), claims))
        return self.given[-1]


def posture(attester: Attester, attest: Any = None) -> EatPosture:
    return EatPosture("host-1", attest or attester, attester.form)  # type: ignore[arg-type]


@pytest.fixture(params=FORMS)
def form(request):
    return request.param


@pytest.fixture
def authority(house):
    """Policies that ask for the trust vector, and a device that has a key for EATs alone."""
    for file in house.rules.glob("*.cedar"):
        file.unlink()
    (house.rules / "trust.cedar").write_text(TRUSTED)
    devices = entry("host-1", p256("host-1")) + "[posture]\nsecure_boot = true\n"
    (house.rules / "devices.toml").write_text(devices)
    return house.authority()


def test_an_EAT_makes_a_session(house, authority, form):
    """With Secure Boot on and debugging off the policies allow, and the session names the device."""
    session = house.connect(authority, posture=posture(Attester(form)))
    record = authority.session(session.id)
    assert (record.device, record.assurance) == ("host-1", 2)
    assert set(session.segments) == {"md", "orders"}


@pytest.mark.parametrize("claims", [{"dbgstat": 0}, {"dbgstat": None}, {"oemboot": False}, {"oemboot": None}])
def test_L1_what_the_token_does_not_show_is_not_granted(house, authority, form, claims):
    """A true token of a host that is open to debugging, or says nothing of it, gets no session."""
    with pytest.raises(HandshakeError, match="refused"):
        house.connect(authority, posture=posture(Attester(form, **claims)))
    assert authority.sessions() == []


def test_H19_H20_a_token_serves_one_handshake(house, authority, form):
    """A token that made a session makes no second one, nor for another client key; a fresh one does."""
    attester = Attester(form)
    first = house.connect(authority, posture=posture(attester))
    with pytest.raises(HandshakeError, match="refused"):
        house.connect(authority, posture=posture(attester, lambda _: attester.given[0]))
    assert [record.id for record in authority.sessions()] == [first.id]
    house.connect(authority, posture=posture(attester))
    assert len(authority.sessions()) == 2


def test_H19_a_stale_token_makes_no_session(house, authority, form):
    """A token for this very handshake whose time is long past is refused."""
    with pytest.raises(HandshakeError, match="refused"):
        house.connect(authority, posture=posture(Attester(form, iat=int(time.time()) - 700)))
    assert house.connect(authority, posture=posture(Attester(form, iat=int(time.time()) - 500))).segments
