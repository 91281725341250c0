"""Secrets at rest: what is kept of second factors, unreadable without the Authority's sealing key.

A one-time-code secret has to be known in clear to check a code, so it cannot be hashed like a password; a
copy of the database would be a copy of everybody's second factor. Rows are therefore encrypted and
authenticated. Each is tied to what it is and to whom it belongs: moved to another subject, or put in place
of another kind of row, it no longer opens. XChaCha20-Poly1305 has a nonce long enough (24 bytes) to be drawn
at random however many rows are written.

What this does not notice is a row, or the whole file, put back as it was earlier: whoever can write the
database and copy it over time can make a used code unused again.
"""

from __future__ import annotations

import os

from nacl import bindings
from nacl.exceptions import CryptoError

from ztsession.errors import ConfigurationError, StoreError
from ztsession.wire import canonical

__all__ = ["KEY_BYTES", "Sealer"]

KEY_BYTES = 32

_VERSION = b"\x01"
_NONCE_BYTES = 24
_TAG_BYTES = 16


class Sealer:
    """Encrypts rows under one 32-byte key; ``ConfigurationError`` for a key of another length."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ConfigurationError(f"a sealing key has {KEY_BYTES} bytes, not {len(key)}")
        self._key = bytes(key)

    def seal(self, kind: str, subject: str, data: bytes) -> bytes:
        """Return ``data`` encrypted for one kind of row and one subject; 41 bytes longer."""
        nonce = os.urandom(_NONCE_BYTES)
        owner = _owner(kind, subject)
        sealed = bindings.crypto_aead_xchacha20poly1305_ietf_encrypt(data, owner, nonce, self._key)
        return _VERSION + nonce + sealed

    def open(self, kind: str, subject: str, sealed: bytes) -> bytes:
        """Return what was sealed for this kind and subject; ``StoreError`` for anything else."""
        start = len(_VERSION) + _NONCE_BYTES
        if len(sealed) < start + _TAG_BYTES or not sealed.startswith(_VERSION):
            raise _unreadable(kind, subject)
        nonce, body = sealed[len(_VERSION) : start], sealed[start:]
        try:
            return bindings.crypto_aead_xchacha20poly1305_ietf_decrypt(
                body, _owner(kind, subject), nonce, self._key
            )
        except CryptoError:
            raise _unreadable(kind, subject) from None


def _owner(kind: str, subject: str) -> bytes:
    return canonical.encode(["ztsession v1 mfa sealed", kind, subject])


def _unreadable(kind: str, subject: str) -> StoreError:
    return StoreError(f"{kind} of {subject!r}: altered, moved, or sealed under another key")
