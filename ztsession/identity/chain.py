"""Whether a chain of certificates leads to a trusted root, and whether each certificate in it is good enough.

The path is built and checked by ``cryptography`` (RFC 5280, section 6). That verifier is made for the web and
leaves open what the web leaves open: it takes a leaf of RSA-1024 or without any stated usage, and two names
on it. What it leaves open is closed here, before it is asked, so that it only ever sees keys whose
verification is cheap and a chain that can be put together in one way.

A revoked certificate is known by its fingerprint, and that is a hash over more than its issuer signed: an
ECDSA signature (r, s) is as good as (r, n - s), so the holder of a revoked certificate could give it a fresh
fingerprint at will. Both forms therefore count as the same certificate.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import pairwise
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, SignatureAlgorithmOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from ztsession.errors import EvidenceError, ZtsError
from ztsession.identity.x509_signature import CURVES, key_of

__all__ = [
    "CERTIFICATE_MAX_BYTES",
    "CHAIN_MAX",
    "check_authority",
    "fingerprints",
    "path_of",
    "read_certificates",
    "untrusted",
]

CHAIN_MAX = 6
CERTIFICATE_MAX_BYTES = 4096

_ECDSA = (
    SignatureAlgorithmOID.ECDSA_WITH_SHA256,
    SignatureAlgorithmOID.ECDSA_WITH_SHA384,
    SignatureAlgorithmOID.ECDSA_WITH_SHA512,
)
_RSA = (
    SignatureAlgorithmOID.RSA_WITH_SHA256,
    SignatureAlgorithmOID.RSA_WITH_SHA384,
    SignatureAlgorithmOID.RSA_WITH_SHA512,
    SignatureAlgorithmOID.RSASSA_PSS,
)
_HASHES = ("sha256", "sha384", "sha512")
_Kind = TypeVar("_Kind", bound=x509.ExtensionType)


@contextmanager
def untrusted(what: str) -> Iterator[None]:
    """Turn whatever a parser raises over a stranger's bytes into an ``EvidenceError`` beginning ``what``."""
    try:
        yield
    except ZtsError:
        raise
    except Exception as error:
        raise EvidenceError(f"{what} ({type(error).__name__})") from None
    except BaseException as error:
        # A panic in the parser's Rust code is no Exception, and must not end a server's thread.
        if type(error).__module__ != "pyo3_runtime":
            raise
        raise EvidenceError(f"{what} (the parser gave up)") from None


def read_certificates(encoded: Sequence[bytes]) -> tuple[x509.Certificate, ...]:
    """Read DER; ``EvidenceError`` unless each is one certificate in the one encoding it has."""
    with untrusted("a certificate cannot be read"):
        chain = tuple(map(x509.load_der_x509_certificate, encoded))
        # The parser lets bits of the signature be called unused: a holder could write it anew.
        if any(_signed_as(one, one.signature) != der for one, der in zip(chain, encoded, strict=True)):
            raise EvidenceError("a certificate is not in DER")
        return chain


def path_of(chain: Sequence[x509.Certificate], roots: Store, now: float) -> tuple[x509.Certificate, ...]:
    """Return every certificate that vouches for ``chain[0]``: the chain and the root that it leads to.

    ``chain``: leaf first, each certified by the next; ``now``: Unix seconds. ``EvidenceError`` unless all of
    them hold now, and the leaf is one for clients and no authority.
    """
    moment = datetime.fromtimestamp(now, UTC)
    _check_leaf(chain[0])
    _check_order(chain)
    for certificate in chain[1:]:
        check_authority(certificate)
    _check_strength(chain[0])
    for certificate in chain:
        _check_time(certificate, moment)
    return tuple(dict.fromkeys((*chain, *_verified(chain, roots, moment))))


def check_authority(certificate: x509.Certificate) -> None:
    """Raise ``EvidenceError`` unless this is a CA's certificate that a path can lead over."""
    if isinstance(certificate.public_key(), ed25519.Ed25519PublicKey):
        raise EvidenceError("a CA with an Ed25519 key; only leaf certificates may have one")
    _check_strength(certificate)
    if not _is_authority(certificate):
        raise EvidenceError("a certificate that certifies others is none of a CA with keyCertSign")
    limits = _extension(certificate, x509.NameConstraints)
    subtrees = (
        () if limits is None else (*(limits.permitted_subtrees or ()), *(limits.excluded_subtrees or ()))
    )
    if any(isinstance(each, x509.UniformResourceIdentifier) for each in subtrees):
        raise EvidenceError("a CA with name constraints over URIs, which cannot be checked")


def fingerprints(certificate: x509.Certificate) -> frozenset[bytes]:
    """Return the SHA-256 of the certificate in every form that its holder can give it, 32 bytes each."""
    forms = [certificate.public_bytes(Encoding.DER)]
    if certificate.signature_algorithm_oid in _ECDSA:
        r, s = decode_dss_signature(certificate.signature)
        orders = [curve.group_order for curve, _ in CURVES.values()]
        forms += [_signed_as(certificate, encode_dss_signature(r, n - s)) for n in orders if 0 < s < n]
    return frozenset(hashlib.sha256(form).digest() for form in forms)


def _check_leaf(leaf: x509.Certificate) -> None:
    constraints = _extension(leaf, x509.BasicConstraints)
    if constraints is not None and constraints.ca:
        raise EvidenceError("the leaf certificate is a CA's")
    usage = _extension(leaf, x509.KeyUsage)
    if usage is None or not usage.digital_signature or usage.key_cert_sign or usage.crl_sign:
        raise EvidenceError(
            "the leaf certificate's keyUsage: expected digitalSignature and no signing of others"
        )
    purposes = _extension(leaf, x509.ExtendedKeyUsage)
    if purposes is None or ExtendedKeyUsageOID.CLIENT_AUTH not in purposes:
        raise EvidenceError("the leaf certificate's extendedKeyUsage: expected clientAuth")


def _check_order(chain: Sequence[x509.Certificate]) -> None:
    if not 1 <= len(chain) <= CHAIN_MAX:
        raise EvidenceError(f"a chain has 1 to {CHAIN_MAX} certificates")
    if any(lower.issuer != upper.subject for lower, upper in pairwise(chain)):
        raise EvidenceError("the chain is not in order: each certificate is to be issued by the next")
    # With one name there is one way to put the chain together, and no search to keep a verifier busy with.
    if len({one.subject for one in chain[1:]}) != len(chain) - 1:
        raise EvidenceError("two CAs of the chain have one name")


def _check_strength(certificate: x509.Certificate) -> None:
    key_of(certificate)
    algorithm, digest = certificate.signature_algorithm_oid, certificate.signature_hash_algorithm
    if algorithm not in (*_ECDSA, *_RSA) or digest is None or digest.name not in _HASHES:
        raise EvidenceError("a certificate is not signed with ECDSA or RSA and SHA-256, SHA-384 or SHA-512")


def _check_time(certificate: x509.Certificate, moment: datetime) -> None:
    # Both ends belong to it (RFC 5280, section 4.1.2.5).
    if moment < certificate.not_valid_before_utc:
        raise EvidenceError("a certificate of the chain is not valid yet")
    if moment > certificate.not_valid_after_utc:
        raise EvidenceError("a certificate of the chain has expired")


def _verified(
    chain: Sequence[x509.Certificate], roots: Store, moment: datetime
) -> tuple[x509.Certificate, ...]:
    builder = PolicyBuilder().store(roots).time(moment).max_chain_depth(CHAIN_MAX - 1)
    try:
        return tuple(builder.build_client_verifier().verify(chain[0], list(chain[1:])).chain)
    except VerificationError as error:
        # It quotes names out of the certificates: ascii() keeps their newlines out of the log.
        raise EvidenceError(f"the chain leads to no trusted root: {ascii(str(error))[:300]}") from None


def _is_authority(certificate: x509.Certificate) -> bool:
    constraints = _extension(certificate, x509.BasicConstraints)
    usage = _extension(certificate, x509.KeyUsage)
    return constraints is not None and constraints.ca and usage is not None and usage.key_cert_sign


def _extension(certificate: x509.Certificate, kind: type[_Kind]) -> _Kind | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _signed_as(certificate: x509.Certificate, signature: bytes) -> bytes:
    """Return the DER of the certificate with another signature (RFC 5280, section 4.1)."""
    der, body = certificate.public_bytes(Encoding.DER), certificate.tbs_certificate_bytes
    start = der.index(body) + len(body)
    algorithm = der[start : len(der) - len(_bits(certificate.signature))]
    return _element(0x30, body + algorithm + _bits(signature))


def _bits(signature: bytes) -> bytes:
    return _element(0x03, b"\0" + signature)


def _element(tag: int, content: bytes) -> bytes:
    """Return one element of DER (X.690, section 8.1)."""
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content
