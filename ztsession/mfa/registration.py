"""How an authenticator is enrolled (W3C Web Authentication Level 3, section 7.1).

The challenge is the Authority's own, drawn at random, kept for a few minutes and taken away by the first
answer, good or bad. No attestation is asked for, and what a client sends of it all the same is not looked
at: who may enrol is decided by the operator who starts it, not by the make of the key.

A public key is kept as its bare coordinates after they were found to be on the curve, so that nothing of the
CBOR it came in is ever parsed again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ztsession.errors import EvidenceError, WireError
from ztsession.mfa.settings import MfaSettings
from ztsession.mfa.webauthn import (
    EDDSA,
    ES256,
    Credential,
    authenticator_data,
    check_client_data,
    check_flags,
)
from ztsession.wire.digest import digest
from ztsession.wire.signature import check_public_key

if TYPE_CHECKING:
    from fido2.webauthn import PublicKeyCredentialCreationOptions

__all__ = ["ATTESTATION_MAX_BYTES", "creation_options", "registered"]

ATTESTATION_MAX_BYTES: Final = 8192


def creation_options(
    subject: str, challenge: bytes, settings: MfaSettings, known: list[Credential]
) -> PublicKeyCredentialCreationOptions:
    """Return what a WebAuthn client is asked; ``dict()`` of it is the JSON form for a browser."""
    from fido2 import webauthn as w

    key = w.PublicKeyCredentialType.PUBLIC_KEY
    return w.PublicKeyCredentialCreationOptions(
        rp=w.PublicKeyCredentialRpEntity(name=settings.issuer, id=settings.rp_id),
        # The handle stands readable in the authenticator, so the name is not in it.
        user=w.PublicKeyCredentialUserEntity(
            id=digest("webauthn user", settings.rp_id.encode(), subject.encode()),
            name=subject,
            display_name=subject,
        ),
        challenge=challenge,
        pub_key_cred_params=[w.PublicKeyCredentialParameters(type=key, alg=alg) for alg in (ES256, EDDSA)],
        exclude_credentials=[w.PublicKeyCredentialDescriptor(type=key, id=c.credential_id) for c in known],
        authenticator_selection=w.AuthenticatorSelectionCriteria(
            resident_key=w.ResidentKeyRequirement.REQUIRED,
            user_verification=w.UserVerificationRequirement.REQUIRED,
        ),
        attestation=w.AttestationConveyancePreference.NONE,
    )


def registered(
    attestation_object: bytes, client_data: bytes, challenge: bytes, settings: MfaSettings
) -> Credential:
    """Return the credential made for ``challenge``; ``EvidenceError`` if the answer does not hold."""
    check_client_data(client_data, "webauthn.create", challenge, settings)
    data = authenticator_data(_authenticator_data_in(attestation_object))
    check_flags(data, settings)
    made = data.credential_data
    if made is None:
        raise EvidenceError("the answer attests no credential")
    algorithm, key = _public_key(made.public_key)
    try:
        return Credential(
            bytes(made.credential_id), algorithm, key, data.counter, data.is_backup_eligible(), [challenge]
        )
    except WireError as error:
        raise EvidenceError(f"the credential is out of bounds: {error}") from None


def _authenticator_data_in(attestation_object: bytes) -> bytes:
    from fido2 import cbor

    if len(attestation_object) > ATTESTATION_MAX_BYTES:
        raise EvidenceError("the attestation object is too long")
    try:
        found: Any = cbor.decode(attestation_object)
        data = found["authData"]
    except Exception as error:
        raise EvidenceError(f"the attestation object is malformed ({type(error).__name__})") from None
    if type(data) is not bytes:
        raise EvidenceError("the attestation object holds no authenticator data")
    return data


def _public_key(cose: dict[Any, Any]) -> tuple[int, bytes]:
    algorithm, x, y = cose.get(3), cose.get(-2), cose.get(-3)
    if type(x) is bytes and len(x) == 32:
        if algorithm == EDDSA and _is(cose, {1: 1, 3: EDDSA, -1: 6, -2: x}):
            check_public_key(x)
            return EDDSA, x
        if type(y) is bytes and len(y) == 32 and _is(cose, {1: 2, 3: ES256, -1: 1, -2: x, -3: y}):
            _check_p256(x + y)
            return ES256, x + y
    raise EvidenceError("the credential's key is neither an ES256 nor an EdDSA key")


def _is(found: dict[Any, Any], expected: dict[int, Any]) -> bool:
    # Types too: to Python, True equals 1.
    return found == expected and all(type(found[key]) is type(value) for key, value in expected.items())


def _check_p256(point: bytes) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + point)
    except ValueError:
        raise EvidenceError("the credential's key is not a point of P-256") from None
