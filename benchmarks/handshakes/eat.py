"""Posture by an Entity Attestation Token: an attester in software that signs a CWT for each handshake."""

from __future__ import annotations

import time

from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from benchmarks.firm import Enrolment
from benchmarks.handshakes.kind import Kind, NotHere, connecting
from benchmarks.handshakes.operations import Operations
from ztsession.posture.eat_prover import EatPosture

__all__ = ["attestation_token"]

UEID = b"\x01" + bytes(range(16))
#: The COSE tag of a single signature, and the header that says ES256 (RFC 9052, RFC 9053).
_SIGN1, _ES256 = 18, {1: -7}


def attestation_token() -> Kind:
    """ES256 in place of the statement's Ed25519."""
    try:
        import cbor2  # noqa: F401
    except ImportError:
        raise NotHere("cbor2 is not installed (extra: authority)") from None
    key = generate_private_key(SECP256R1())
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")
    enrolment = Enrolment(
        devices=f"[devices.\"host-eat\"]\neat_key = '''\n{pem}'''\nueid = \"{UEID.hex()}\"\n"
    )
    posture = EatPosture("host-eat", lambda nonce: _token(key, nonce))
    least = Operations(ed25519=1, p256=1)
    return Kind("Ed25519, EAT-CWT (ES256)", "P11 EAT", connecting(posture=posture), least, enrolment)


def _token(key: EllipticCurvePrivateKey, nonce: bytes) -> bytes:
    import cbor2

    # RFC 9711, section 7: iat, eat_nonce, ueid, oemboot, and debugging disabled.
    claims = {6: int(time.time()), 10: nonce, 256: UEID, 262: True, 263: 2}
    payload, protected = cbor2.dumps(claims), cbor2.dumps(_ES256)
    signed = cbor2.dumps(["Signature1", protected, b"", payload])
    r, s = decode_dss_signature(key.sign(signed, ECDSA(SHA256())))
    signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    return cbor2.dumps(cbor2.CBORTag(_SIGN1, [protected, {}, payload, signature]))
