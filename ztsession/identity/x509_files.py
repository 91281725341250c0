"""Certificates and keys in PEM files, as an operator lays them down.

A root file decides who may vouch for whom, so each of its certificates is looked at when it is read: one that
no path could lead over would otherwise be noticed only when nobody gets in.
"""

from __future__ import annotations

import os

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from ztsession.errors import ConfigurationError, EvidenceError
from ztsession.identity.chain import check_authority, untrusted
from ztsession.identity.x509_signature import PrivateKey
from ztsession.wire.operator_file import MAX_FILE_BYTES, read_bytes, read_private_bytes

__all__ = ["read_pem", "read_private_key", "read_roots"]


def read_roots(path: str | os.PathLike[str]) -> list[x509.Certificate]:
    """Read a PEM file of CA certificates, at least one; ``ConfigurationError`` says what is wrong with it."""
    found = read_pem(path)
    for number, certificate in enumerate(found, 1):
        try:
            with untrusted("it cannot be read"):
                check_authority(certificate)
        except EvidenceError as error:
            raise ConfigurationError(
                f"certificate {number} cannot be a root: {error}", file=os.fspath(path)
            ) from None
    return found


def read_pem(path: str | os.PathLike[str]) -> list[x509.Certificate]:
    """Return the certificates of a PEM file, at least one; ``ConfigurationError`` otherwise."""
    data = read_bytes(path, max_bytes=MAX_FILE_BYTES)
    try:
        return x509.load_pem_x509_certificates(data)
    except ValueError:
        raise ConfigurationError("expected certificates in PEM", file=os.fspath(path)) from None


def read_private_key(path: str | os.PathLike[str]) -> PrivateKey:
    """Return the unencrypted key of a PEM file that others may not read; ``ConfigurationError`` otherwise."""
    data = read_private_bytes(path, max_bytes=MAX_FILE_BYTES)
    try:
        key = load_pem_private_key(data, None)
    except Exception:
        # No word of the cause, which may quote the key.
        raise ConfigurationError("expected an unencrypted private key in PEM", file=os.fspath(path)) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey):
        raise ConfigurationError("expected a key for ECDSA, Ed25519 or RSA", file=os.fspath(path))
    return key
