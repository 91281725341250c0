"""The key that an access token is bound to: its holder signs with it, the Authority checks that.

A signature has one form here. The other s of an ECDSA signature, or another encoding of the same point, would
let whoever saw one piece of evidence make a second one that also holds.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from typing import Any, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from ztsession.errors import ConfigurationError, EvidenceError
from ztsession.identity.jose import base64url, thumbprint
from ztsession.wire import signature as ed25519

__all__ = ["POINT_BYTES", "PROOF_ALGORITHMS", "ProofKey", "check_confirmation", "check_proof", "proof_key"]

#: What the holder of a token signs with.
PROOF_ALGORITHMS = ("ES256", "EdDSA")
#: An uncompressed point of P-256 (SEC 1, section 2.3.3).
POINT_BYTES = 65
#: Group order of P-256 (NIST SP 800-186, section 3.2.1.3).
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@dataclass(frozen=True)
class ProofKey:
    """The key that tokens are bound to. Ask for a token with its :attr:`jkt` or a :meth:`dpop_proof`."""

    _private: ec.EllipticCurvePrivateKey | Ed25519PrivateKey = field(repr=False)

    @classmethod
    def generate(cls, algorithm: str = "ES256") -> Self:
        """Return a fresh key for "ES256" or "EdDSA"."""
        if algorithm not in PROOF_ALGORITHMS:
            raise ConfigurationError(f"algorithm: expected one of {', '.join(PROOF_ALGORITHMS)}")
        return cls(
            ec.generate_private_key(ec.SECP256R1()) if algorithm == "ES256" else Ed25519PrivateKey.generate()
        )

    @classmethod
    def from_pem(cls, pem: bytes, password: bytes | None = None) -> Self:
        """Read a PEM private key; ``ConfigurationError`` unless it is one on P-256 or Ed25519."""
        try:
            key = load_pem_private_key(pem, password)
        except Exception:
            raise ConfigurationError("the proof key cannot be read: expected a PEM private key") from None
        if isinstance(key, Ed25519PrivateKey) or (
            isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1)
        ):
            return cls(key)
        raise ConfigurationError("the proof key must be on P-256 or Ed25519")

    def to_pem(self) -> bytes:
        """Return the private key as unencrypted PEM (PKCS #8), for a file of mode 0600."""
        return self._private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def algorithm(self) -> str:
        """ "ES256" or "EdDSA"."""
        return "EdDSA" if isinstance(self._private, Ed25519PrivateKey) else "ES256"

    @property
    def public(self) -> bytes:
        """The public key as in the evidence: a point of 65 bytes, or 32 bytes."""
        public = self._private.public_key()
        if isinstance(public, ec.EllipticCurvePublicKey):
            return public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        return public.public_bytes(Encoding.Raw, PublicFormat.Raw)

    @property
    def jwk(self) -> dict[str, str]:
        """The public key as a JWK with its required members only (RFC 7517)."""
        return _jwk(self.algorithm, self.public)

    @property
    def jkt(self) -> str:
        """The key's thumbprint (RFC 7638), for ``dpop_jkt`` (RFC 9449 section 10) or ``cnf.jkt``."""
        return thumbprint(self.jwk)

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte JWA signature of ``message``, in its one form."""
        if isinstance(self._private, Ed25519PrivateKey):
            return self._private.sign(message)
        r, s = decode_dss_signature(self._private.sign(message, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + min(s, _P256_ORDER - s).to_bytes(32, "big")

    def dpop_proof(self, method: str, url: str, *, nonce: str = "") -> str:
        """Return a DPoP proof (RFC 9449 section 4.2) for the request to the token endpoint at ``url``.

        ``nonce`` is the endpoint's ``DPoP-Nonce``, when it asked for one.
        """
        header = {"typ": "dpop+jwt", "alg": self.algorithm, "jwk": self.jwk}
        claims: dict[str, Any] = {"jti": base64url(os.urandom(16)), "htm": method, "htu": url}
        claims |= {"iat": int(time.time())} | ({"nonce": nonce} if nonce else {})
        signed = ".".join(base64url(json.dumps(part).encode()) for part in (header, claims))
        return f"{signed}.{base64url(self.sign(signed.encode('ascii')))}"


def check_proof(algorithm: str, key: bytes, signature: bytes, message: bytes) -> None:
    """Raise ``EvidenceError`` unless ``key`` (as :attr:`ProofKey.public`) made ``signature`` of ``message``,
    in the one form that :meth:`ProofKey.sign` gives it.
    """
    if algorithm == "EdDSA":
        ed25519.verify(key, message, signature)
        return
    r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
    if s > _P256_ORDER // 2:
        raise EvidenceError("the signature is malleable: its s is in the upper half")
    if len(key) != POINT_BYTES or key[0] != 4:
        raise EvidenceError("a P-256 key is an uncompressed point of 65 bytes")
    try:
        point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), key)
        point.verify(encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))
    except ValueError:
        raise EvidenceError("the key is not a point of P-256") from None
    except InvalidSignature:
        raise EvidenceError("the signature does not hold") from None


def proof_key(algorithm: str, key: bytes) -> ec.EllipticCurvePublicKey | Ed25519PublicKey:
    """Return a key that :func:`check_proof` has seen to be one."""
    if algorithm == "EdDSA":
        return Ed25519PublicKey.from_public_bytes(key)
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), key)


def check_confirmation(confirmation: object, algorithm: str, key: bytes) -> None:
    """Raise ``EvidenceError`` unless a token's ``cnf`` names this key and nothing besides.

    As ``jkt`` (RFC 9449 section 6.1) or ``jwk`` (RFC 7800 section 3.2).
    """
    jwk = _jwk(algorithm, key)
    if not isinstance(confirmation, dict) or len(confirmation) != 1:
        # A bearer token; or one with a further condition, which must not be passed over.
        raise EvidenceError("the token is not bound to a key by exactly one of cnf.jkt and cnf.jwk")
    named = confirmation.get("jwk")
    if isinstance(named, dict) and "d" not in named:
        holds = {name: named.get(name) for name in jwk} == jwk
    else:
        holds = confirmation.get("jkt") == thumbprint(jwk)
    if not holds:
        raise EvidenceError("the token is bound to another key")


def _jwk(algorithm: str, public: bytes) -> dict[str, str]:
    if algorithm == "EdDSA":
        return {"kty": "OKP", "crv": "Ed25519", "x": base64url(public)}
    return {"kty": "EC", "crv": "P-256", "x": base64url(public[1:33]), "y": base64url(public[33:])}
