"""Certificates of TPMs: an endorsement key by its maker, or an attestation key by a CA that activated it.

General verifiers stumble over these certificates (their subject is empty, so the alternative name is critical
and holds a directory name), and what is asked of them is little: one chain to a root that the operator names.
So the walk is done here, by hand and strictly. A certificate must be for its purpose by extended key usage:
otherwise any web server's certificate of the same CA would enrol a software key as hardware.

There is no revocation here; a device is taken out by its enrolment. RFC 5280, section 6; TCG EK Credential
Profile; TCG AK certificates by the key purpose 2.23.133.8.3.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID

from ztsession.errors import ConfigurationError, EvidenceError

__all__ = ["AK_PURPOSE", "CERTIFICATE_MAX_BYTES", "CHAIN_MAX", "EK_PURPOSE", "certified_key", "read_roots"]

EK_PURPOSE = x509.ObjectIdentifier("2.23.133.8.1")
AK_PURPOSE = x509.ObjectIdentifier("2.23.133.8.3")
#: The longest certificate, in DER, and the most of them below a root.
CERTIFICATE_MAX_BYTES = 4096
CHAIN_MAX = 3
_ROOTS_MAX_BYTES = 1 << 20

_Kind = TypeVar("_Kind", bound=x509.ExtensionType)

_UNDERSTOOD = {
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.EXTENDED_KEY_USAGE,
    # Names and policies decide nothing here: the key is what is certified.
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    ExtensionOID.CERTIFICATE_POLICIES,
}


def certified_key(
    chain: Sequence[bytes], roots: Sequence[bytes], now: float, purpose: x509.ObjectIdentifier
) -> ec.EllipticCurvePublicKey | RSAPublicKey:
    """Return the key of the first certificate, if the chain holds; ``EvidenceError`` otherwise.

    ``chain``: DER, the device's own first, then up to two issuers, without the root. ``roots``: DER, of whom
    the operator trusts. ``now``: Unix seconds. ``purpose``: the extended key usage that must be there.
    """
    if not 1 <= len(chain) <= CHAIN_MAX or any(len(each) > CERTIFICATE_MAX_BYTES for each in chain):
        raise EvidenceError(
            f"expected 1 to {CHAIN_MAX} certificates of at most {CERTIFICATE_MAX_BYTES} bytes"
        )
    try:
        return _walk(chain, roots, datetime.fromtimestamp(now, UTC), purpose)
    except EvidenceError:
        raise
    except Exception as error:
        # The parser is lazy, and its errors on hostile input are of many kinds.
        raise EvidenceError(f"the certificate chain is malformed ({type(error).__name__})") from None


def read_roots(path: str | os.PathLike[str]) -> list[bytes]:
    """Return the certificates of an operator's PEM file, in DER; ``ConfigurationError`` if there are none."""
    try:
        with open(path, "rb") as source:
            found = x509.load_pem_x509_certificates(source.read(_ROOTS_MAX_BYTES))
    except OSError as error:
        raise ConfigurationError(f"cannot be read: {error.strerror}", file=os.fspath(path)) from None
    except ValueError:
        raise ConfigurationError("expected certificates in PEM", file=os.fspath(path)) from None
    return [each.public_bytes(Encoding.DER) for each in found]


def _walk(
    chain: Sequence[bytes], roots: Sequence[bytes], now: datetime, purpose: x509.ObjectIdentifier
) -> ec.EllipticCurvePublicKey | RSAPublicKey:
    path = [x509.load_der_x509_certificate(each) for each in chain]
    anchors = [x509.load_der_x509_certificate(each) for each in roots]
    path.append(_root_of(path[-1], anchors))
    for certificate in path:
        _check_valid(certificate, now)
    for depth, (issued, issuer) in enumerate(pairwise(path)):
        _check_issuer(issuer, depth)
        if not _is_issued_by(issued, issuer):
            raise EvidenceError("a certificate of the chain is not signed by the next one")
    return _check_leaf(path[0], purpose)


def _root_of(last: x509.Certificate, anchors: Sequence[x509.Certificate]) -> x509.Certificate:
    for anchor in anchors:
        if _is_issued_by(last, anchor):
            return anchor
    raise EvidenceError("the certificate chain ends at none of the given roots")


def _is_issued_by(issued: x509.Certificate, issuer: x509.Certificate) -> bool:
    if not isinstance(issued.signature_hash_algorithm, SHA256 | SHA384 | SHA512):
        raise EvidenceError("a certificate of the chain is signed with another hash than SHA-256, 384 or 512")
    try:
        issued.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def _check_valid(certificate: x509.Certificate, now: datetime) -> None:
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise EvidenceError("a certificate of the chain is not yet or no longer valid")
    for extension in certificate.extensions:
        if extension.critical and extension.oid not in _UNDERSTOOD:
            raise EvidenceError(f"a certificate has a critical extension {extension.oid.dotted_string}")
    _strong(certificate)


def _check_issuer(issuer: x509.Certificate, below: int) -> None:
    constraints = _extension(issuer, x509.BasicConstraints)
    if constraints is None or not constraints.ca:
        raise EvidenceError("a certificate of the chain was issued by one that is no CA")
    if constraints.path_length is not None and constraints.path_length < below:
        raise EvidenceError("the certificate chain is longer than one of its CAs allows")
    usage = _extension(issuer, x509.KeyUsage)
    if usage is not None and not usage.key_cert_sign:
        raise EvidenceError("a certificate of the chain was issued by a key that is for something else")


def _check_leaf(
    leaf: x509.Certificate, purpose: x509.ObjectIdentifier
) -> ec.EllipticCurvePublicKey | RSAPublicKey:
    constraints = _extension(leaf, x509.BasicConstraints)
    if constraints is not None and constraints.ca:
        raise EvidenceError("a CA's certificate is none of a TPM's key")
    usage = _extension(leaf, x509.ExtendedKeyUsage)
    if usage is None or purpose not in usage:
        raise EvidenceError(f"the certificate is not for the purpose {purpose.dotted_string}")
    return _strong(leaf)


def _extension(certificate: x509.Certificate, kind: type[_Kind]) -> _Kind | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _strong(certificate: x509.Certificate) -> ec.EllipticCurvePublicKey | RSAPublicKey:
    key = certificate.public_key()
    if isinstance(key, RSAPublicKey) and key.key_size >= 2048:
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and key.key_size >= 256:
        return key
    raise EvidenceError("a certificate of the chain has a weak key: expected RSA of 2048 bits or EC P-256")
