"""The client's side: what is asked of a person, and what is sent."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from fido2.client import ClientError, DefaultClientDataCollector, WebAuthnClient
from fido2.webauthn import AuthenticationResponse, RegistrationResponse
from soft_authenticator import ORIGIN, RP, Authenticator

from ztsession.errors import EvidenceError
from ztsession.mfa.protocol import FactorShown, MfaProver
from ztsession.mfa.prover import AnyOf, RecoveryProver, TotpProver, WebAuthnProver

BINDING = bytes(range(32))
ALL = ("webauthn", "totp", "recovery")


def never() -> str:
    raise AssertionError("nobody should have been asked")


class Client(WebAuthnClient):
    """A fido2 client whose authenticator is in software; it answers in fido2's own types."""

    def __init__(self, authenticator: Authenticator) -> None:
        self.authenticator, self.asked = authenticator, []
        self.collector = DefaultClientDataCollector(ORIGIN)
        self.failing: ClientError.ERR | None = None

    def make_credential(self, options, event=None):
        self.collector.collect_client_data(options)
        made, said = self.authenticator.create(options.challenge)
        answer = {"attestationObject": made, "clientDataJSON": said}
        return RegistrationResponse.from_dict(
            {"rawId": self.authenticator.credential_id, "response": answer, "type": "public-key"}
        )

    def get_assertion(self, options, event=None):
        if self.failing is not None:
            raise self.failing()
        _, rp_id = self.collector.collect_client_data(options)
        self.asked.append((rp_id, options.user_verification, options.allow_credentials))
        shown = self.authenticator.get(options.challenge)
        answer = {
            "clientDataJSON": shown.client_data,
            "authenticatorData": shown.authenticator_data,
            "signature": shown.signature,
        }
        self.response = AuthenticationResponse.from_dict(
            {"rawId": shown.credential_id, "response": answer, "type": "public-key"}
        )
        return self

    def get_response(self, index: int) -> AuthenticationResponse:
        assert index == 0
        return self.response


def test_a_typed_code_is_taken(factors, app, clock):
    """As people type it, with blanks; what cannot be a code is told before it is sent."""
    typed = app.at(clock.time())
    prover: MfaProver = TotpProver(lambda: f" {typed[:3]} {typed[3:]}\n")
    assert factors.verify("ada", prover.prove(BINDING, ALL), BINDING) == FactorShown("totp", 2)
    with pytest.raises(EvidenceError, match="6 or 8 digits"):
        TotpProver(lambda: "12345x").prove(BINDING, ALL)


def test_a_typed_recovery_code_is_taken(factors):
    """In capitals, with or without hyphens; what cannot be a code is told before it is sent."""
    first, second, *_ = factors.recovery_codes("ada")
    for typed in (first.upper(), second.replace("-", " ")):
        shown = RecoveryProver(lambda typed=typed: typed).prove(BINDING, ALL)
        assert factors.verify("ada", shown, BINDING) == FactorShown("recovery", 2)
    with pytest.raises(EvidenceError, match="24 characters"):
        RecoveryProver(lambda: "abcd").prove(BINDING, ALL)


def test_nobody_is_asked_for_what_the_subject_has_not(factors):
    """Each prover shows and asks nothing when its factor is not wanted, and shows nothing to who declines."""
    for prover in (TotpProver(never), RecoveryProver(never), WebAuthnProver(lambda _: never())):
        assert prover.prove(BINDING, ()) == b""
        assert prover.prove(BINDING, ("sms",)) == b""
    for prover in (TotpProver(str), RecoveryProver(str), WebAuthnProver(lambda _: None)):
        assert prover.prove(BINDING, ALL) == b""


def test_the_first_prover_that_can_is_taken(factors):
    """Preferences are kept, declined factors passed over, and nothing further is asked."""
    chosen = AnyOf(WebAuthnProver(lambda _: None), TotpProver(lambda: "123456"), RecoveryProver(never))
    assert b"123456" in chosen.prove(BINDING, ALL)
    codes = AnyOf(TotpProver(never), RecoveryProver(lambda: "a" * 24))
    assert b"a" * 24 in codes.prove(BINDING, ("recovery",))
    assert AnyOf().prove(BINDING, ALL) == AnyOf(TotpProver(str)).prove(BINDING, ALL) == b""


def test_a_fido2_client_registers_and_signs(factors):
    """A client of the fido2 package is asked to verify its user, and its answers hold."""
    client = Client(Authenticator())
    answer = client.make_credential(factors.begin_webauthn("ada")).response
    factors.complete_webauthn("ada", answer.attestation_object, answer.client_data)
    known = client.authenticator.credential_id
    for credentials in ((), (known,)):
        binding = bytes([len(credentials)]) * 32
        shown = WebAuthnProver.from_client(client, RP, credentials).prove(binding, ALL)
        assert factors.verify("ada", shown, binding) == FactorShown("webauthn", 3)
    assert client.asked[0] == (RP, "required", None)
    assert [each.id for each in client.asked[1][2]] == [known]


def test_a_callable_signs(factors):
    """Whoever has another kind of client gives the parts of the assertion."""
    key = Authenticator()
    factors.complete_webauthn("ada", *key.create(factors.begin_webauthn("ada").challenge))
    shown = WebAuthnProver(key.get).prove(BINDING, ALL)
    assert factors.verify("ada", shown, BINDING) == FactorShown("webauthn", 3)


def test_an_answer_out_of_bounds_is_told_to_the_client():
    """A client that answers with too much is refused where it runs."""
    parts = SimpleNamespace(authenticator_data=bytes(37), client_data=b"{}", signature=bytes(64))
    for size, fits in ((1023, True), (1024, False)):
        prover = WebAuthnProver(lambda _, size=size: SimpleNamespace(raw_id=bytes(size), response=parts))
        if fits:
            assert prover.prove(BINDING, ALL)
        else:
            with pytest.raises(EvidenceError, match="out of bounds"):
                prover.prove(BINDING, ALL)


@pytest.mark.parametrize(
    ("code", "declines"), [("TIMEOUT", True), ("DEVICE_INELIGIBLE", True), ("BAD_REQUEST", False)]
)
def test_an_untouched_authenticator_declines(code, declines):
    """Then the next factor is asked for; a mistake in what was asked is told instead."""
    client = Client(Authenticator())
    client.failing = ClientError.ERR[code]
    either = AnyOf(WebAuthnProver.from_client(client, RP), TotpProver(lambda: "123456"))
    if declines:
        assert b"123456" in either.prove(BINDING, ALL)
    else:
        with pytest.raises(EvidenceError, match="no assertion: BAD_REQUEST"):
            either.prove(BINDING, ALL)
