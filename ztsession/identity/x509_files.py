"""Certificates and keys in PEM files, as an operator lays them down.

A root file decides who may vouch for whom, so each of its certificates is looked at when it is read: one that
no path could lead over would otherwise be noticed only when nobody gets in.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from ztsession.errors import ConfigurationError, EvidenceError
from ztsession.identity.chain import check_authority, untrusted
from ztsession.identity.x509_signature import PrivateKey
from ztsession.wire.operator_file import MAX_FILE_BYTES

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
    data = _read(path, private=False)
    try:
        return x509.load_pem_x509_certificates(data)
    except ValueError:
        raise ConfigurationError("expected certificates in PEM", file=os.fspath(path)) from None


def read_private_key(path: str | os.PathLike[str]) -> PrivateKey:
    """Return the unencrypted key of a PEM file that others may not read; ``ConfigurationError`` otherwise."""
    data = _read(path, private=True)
    try:
        key = load_pem_private_key(data, None)
    except Exception:
        # No word of the cause, which may quote the key.
        raise ConfigurationError("expected an unencrypted private key in PEM", file=os.fspath(path)) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey):
        raise ConfigurationError("expected a key for ECDSA, Ed25519 or RSA", file=os.fspath(path))
    return key


def _read(path: str | os.PathLike[str], *, private: bool) -> bytes:
    try:
        with Path(path).open("rb") as source:
            # Of the open file, so that it cannot be exchanged between the look and the reading.
            mode = stat.S_IMODE(os.fstat(source.fileno()).st_mode)
            data = source.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"cannot be read: {error.strerror}", file=os.fspath(path)) from None
    if private and mode & 0o077:
        raise ConfigurationError(
            f"holds a private key: expected mode 0600, not {mode:04o}", file=os.fspath(path)
        )
    if len(data) > MAX_FILE_BYTES:
        raise ConfigurationError(f"expected at most {MAX_FILE_BYTES} bytes", file=os.fspath(path))
    return data
