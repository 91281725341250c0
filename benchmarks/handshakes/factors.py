"""A second factor after identity and posture: the Authority asks for it, the client goes on in the channel.

Counted is the whole: the handshake that ends in the question, and the supplement that answers it.
"""

from __future__ import annotations

import time
from base64 import b32decode
from collections.abc import Callable
from functools import partial

import ztsession
from benchmarks.firm import Enrolment, Firm
from benchmarks.handshakes.kind import Kind, NotHere, connecting
from benchmarks.handshakes.operations import Operations
from ztsession.mfa.protocol import MfaProver

__all__ = ["one_time_code", "webauthn"]

RP_ID, ORIGIN = "trading.example", "https://desk.trading.example"


def one_time_code() -> Kind:
    """TOTP. A code works once in 30 seconds, so there is a fresh secret for each handshake, enrolled
    beforehand.
    """
    try:
        import pyotp  # noqa: F401
    except ImportError:
        raise NotHere("pyotp is not installed (extra: authority)") from None
    person, enrolment = _person("ada")
    start = connecting(person, mfa=lambda firm: partial(_fresh_code, firm, person.subject))
    return Kind("Ed25519, statement, then TOTP", "P11 TOTP", start, enrolment=enrolment)


def webauthn() -> Kind:
    """An assertion (ES256) by an authenticator in software, enrolled once."""
    try:
        from benchmarks.handshakes.authenticator import Authenticator
    except ImportError:
        raise NotHere("fido2 and cbor2 are not installed (extra: authority)") from None
    person, enrolment = _person("grace", mfa=f'rp_id = "{RP_ID}"\norigins = ["{ORIGIN}"]\n')
    authenticator = Authenticator(RP_ID, ORIGIN)

    def mfa(firm: Firm) -> Callable[[], MfaProver]:
        from ztsession.mfa.prover import WebAuthnProver

        asked = firm.factors.begin_webauthn(person.subject)
        firm.factors.complete_webauthn(person.subject, *authenticator.create(asked.challenge))
        return lambda: WebAuthnProver(authenticator.get)

    start, least = connecting(person, mfa=mfa), Operations(p256=1)
    return Kind("Ed25519, statement, then WebAuthn", "handshakes WebAuthn", start, least, enrolment)


def _person(name: str, mfa: str = "") -> tuple[ztsession.Ed25519Identity, Enrolment]:
    identity = ztsession.Ed25519Identity.generate(name)
    entry = identity.registry_entry("human", roles=("trading",), desk="rates")
    return identity, Enrolment(subjects=f"{entry}mfa = true\n", mfa=mfa)


def _fresh_code(firm: Firm, subject: str) -> MfaProver:
    from ztsession.mfa.prover import TotpProver
    from ztsession.mfa.totp import STEP_S, code_at

    secret = b32decode(firm.factors.enrol_totp(subject).secret)
    step = int(time.time()) // STEP_S
    firm.factors.confirm_totp(subject, code_at(secret, "sha1-6", step))
    # The next one, which the window allows: that of now is used up by confirming.
    code = code_at(secret, "sha1-6", step + 1)
    return TotpProver(lambda: code)
