"""The public keys that devices are enrolled with: read from PEM, once, and compared by what they are.

A key that is weak, of an odd curve, or written in a second way would be found out only when evidence comes
in, or never. So it is refused when it is enrolled, and the text of a PEM never counts: two texts of one key
have one fingerprint.
"""

from __future__ import annotations

import functools

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from ztsession.errors import ConfigurationError, EvidenceError
from ztsession.wire.digest import digest
from ztsession.wire.signature import check_public_key

__all__ = [
    "PEM_MAX_BYTES",
    "EatKey",
    "PublicKey",
    "attestation_key",
    "eat_key",
    "fingerprint",
    "load_public",
    "statement_key",
]

PEM_MAX_BYTES = 2048
_RSA_MIN_BITS, _RSA_MAX_BITS = 2048, 4096

EatKey = Ed25519PublicKey | EllipticCurvePublicKey
PublicKey = EatKey | RSAPublicKey


@functools.lru_cache(maxsize=4096)
def load_public(pem: str) -> PublicKey:
    """Return the public key of a PEM text (RFC 7468, section 13); ``ConfigurationError`` if there is none.

    EC keys are on P-256, RSA keys have 2048 to 4096 bits, Ed25519 keys are in their one form.
    """
    if len(pem) > PEM_MAX_BYTES:
        raise ConfigurationError(f"expected a public key in PEM of at most {PEM_MAX_BYTES} bytes")
    try:
        key = load_pem_public_key(pem.encode("ascii"))
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ConfigurationError("expected a public key in PEM, -----BEGIN PUBLIC KEY-----") from None
    if isinstance(key, Ed25519PublicKey):
        return statement_key(key.public_bytes_raw())
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return key
    if isinstance(key, RSAPublicKey) and _RSA_MIN_BITS <= key.key_size <= _RSA_MAX_BITS:
        return key
    raise ConfigurationError("expected a key of EC P-256, Ed25519, or RSA of 2048 to 4096 bits")


def statement_key(raw: bytes) -> Ed25519PublicKey:
    """Return the Ed25519 key of its 32 bytes; ``ConfigurationError`` unless it is in its one form."""
    try:
        check_public_key(raw)
    except EvidenceError as error:
        raise ConfigurationError(f"expected an Ed25519 public key: {error}") from None
    return Ed25519PublicKey.from_public_bytes(raw)


def eat_key(pem: str) -> EatKey:
    """Return the key that signs a device's EATs: EC P-256 or Ed25519; ``ConfigurationError`` otherwise."""
    key = load_public(pem)
    if isinstance(key, RSAPublicKey):
        raise ConfigurationError("expected a key of EC P-256 or Ed25519")
    return key


def attestation_key(pem: str) -> EllipticCurvePublicKey | RSAPublicKey:
    """Return a TPM's attestation key, EC P-256 or RSA; ``ConfigurationError`` otherwise."""
    key = load_public(pem)
    if isinstance(key, Ed25519PublicKey):
        raise ConfigurationError("expected a TPM's attestation key, EC P-256 or RSA")
    return key


def fingerprint(key: PublicKey) -> str:
    """Return 64 hexadecimal digits by which to see that two keys are one, in whatever way they came."""
    return digest("device key", key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hex()
