"""Proof of possession of a certificate's key: which keys count, and how each signs.

There is no algorithm field anywhere: the key alone says how it signs, so nobody can talk a verifier into a
weaker scheme or into reading one key as another's kind. ECDSA lets anybody turn a signature (r, s) into a
second valid one (r, n - s); of the two only the one with the smaller s is taken, and only in DER.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.x509.oid import PublicKeyAlgorithmOID

from ztsession.errors import EvidenceError
from ztsession.wire import signature as ed25519_signature

__all__ = ["CURVES", "PrivateKey", "PublicKey", "key_of", "sign", "verify"]

PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey
PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey

#: The curves and what is hashed with on each (FIPS 186-5; SP 800-57 part 1, table 3).
CURVES: dict[str, tuple[ec.EllipticCurve, hashes.HashAlgorithm]] = {
    "secp256r1": (ec.SECP256R1(), hashes.SHA256()),
    "secp384r1": (ec.SECP384R1(), hashes.SHA384()),
}
RSA_BITS_MIN, RSA_BITS_MAX = 2048, 8192
#: FIPS 186-5, A.1.1, from below; from above so that a stranger's key cannot make verifying slow.
_RSA_EXPONENT_MIN, _RSA_EXPONENT_MAX = 2**16 + 1, 2**32 - 1
_PSS = padding.PSS(padding.MGF1(hashes.SHA256()), salt_length=32)


def key_of(certificate: x509.Certificate) -> PublicKey:
    """Return the certificate's key: P-256, P-384, Ed25519 or RSA of 2048 to 8192 bits; EvidenceError else."""
    key = certificate.public_key()
    if isinstance(key, ec.EllipticCurvePublicKey):
        if key.curve.name not in CURVES:
            raise EvidenceError("a certificate's key is on another curve than P-256 or P-384")
        return key
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    # A key for PSS alone carries parameters that could ask for another hash than ours.
    if isinstance(key, rsa.RSAPublicKey) and (
        certificate.public_key_algorithm_oid != PublicKeyAlgorithmOID.RSASSA_PSS
    ):
        _check_rsa(key)
        return key
    raise EvidenceError("a certificate's key is of a kind that is not taken here")


def sign(key: PrivateKey, message: bytes) -> bytes:
    """Sign ``message``: ECDSA (SHA-256 on P-256, SHA-384 on P-384, lower s, DER), Ed25519, or RSASSA-PSS
    (SHA-256, MGF1 with SHA-256, 32 bytes of salt; RFC 8017, section 8.1).
    """
    if isinstance(key, ec.EllipticCurvePrivateKey):
        curve, digest = CURVES[key.curve.name]
        r, s = decode_dss_signature(key.sign(message, ec.ECDSA(digest)))
        return encode_dss_signature(r, min(s, curve.group_order - s))
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(message, _PSS, hashes.SHA256())
    return key.sign(message)


def verify(key: PublicKey, message: bytes, signature: bytes) -> None:
    """Raise ``EvidenceError`` unless this is the signature of :func:`sign`, in its one form."""
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            _verify_ecdsa(key, message, signature)
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, message, _PSS, hashes.SHA256())
        else:
            raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
            ed25519_signature.verify(raw, message, signature)
    except InvalidSignature:
        raise EvidenceError("the signature does not hold") from None


def _check_rsa(key: rsa.RSAPublicKey) -> None:
    if not RSA_BITS_MIN <= key.key_size <= RSA_BITS_MAX:
        raise EvidenceError(f"an RSA key of {key.key_size} bits, expected {RSA_BITS_MIN} to {RSA_BITS_MAX}")
    if not _RSA_EXPONENT_MIN <= key.public_numbers().e <= _RSA_EXPONENT_MAX:
        raise EvidenceError("an RSA key whose exponent is not from 65537 to 2^32")


def _verify_ecdsa(key: ec.EllipticCurvePublicKey, message: bytes, signature: bytes) -> None:
    curve, digest = CURVES[key.curve.name]
    try:
        _, s = decode_dss_signature(signature)
    except (ValueError, OverflowError):
        raise EvidenceError("the signature does not hold") from None
    if s > curve.group_order // 2:
        raise EvidenceError("the signature is malleable: its s is the larger of two")
    key.verify(signature, message, ec.ECDSA(digest))
