"""A WebAuthn authenticator and its browser in software, with one ES256 credential."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from base64 import urlsafe_b64encode

import cbor2
import fido2  # noqa: F401  # the Authority's side needs it
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256

from ztsession.mfa.webauthn import WebAuthnEvidence

__all__ = ["Authenticator"]

#: Flags of authenticator data (W3C Web Authentication Level 3, section 6.1): user present, user verified,
#: credential attested.
_PRESENT, _VERIFIED, _ATTESTED = 0x01, 0x04, 0x40


class Authenticator:
    """Registers with :meth:`create` and asserts with :meth:`get`; its counter grows by one each time."""

    def __init__(self, rp_id: str, origin: str) -> None:
        self._rp_hash, self._origin = hashlib.sha256(rp_id.encode()).digest(), origin
        self._id, self._key, self._counter = os.urandom(32), generate_private_key(SECP256R1()), 0

    def create(self, challenge: bytes) -> tuple[bytes, bytes]:
        """An attestation object without attestation, and its client data."""
        at = self._key.public_key().public_numbers()
        public = {1: 2, 3: -7, -1: 1, -2: at.x.to_bytes(32, "big"), -3: at.y.to_bytes(32, "big")}
        attested = bytes(16) + struct.pack(">H", len(self._id)) + self._id + cbor2.dumps(public)
        made = {"fmt": "none", "attStmt": {}, "authData": self._data(_ATTESTED) + attested}
        return cbor2.dumps(made), self._client_data("webauthn.create", challenge)

    def get(self, challenge: bytes) -> WebAuthnEvidence:
        """An assertion."""
        self._counter += 1
        data, said = self._data(), self._client_data("webauthn.get", challenge)
        signature = self._key.sign(data + hashlib.sha256(said).digest(), ECDSA(SHA256()))
        return WebAuthnEvidence(self._id, data, said, signature)

    def _data(self, more: int = 0) -> bytes:
        return self._rp_hash + struct.pack(">BI", _PRESENT | _VERIFIED | more, self._counter)

    def _client_data(self, kind: str, challenge: bytes) -> bytes:
        text = urlsafe_b64encode(challenge).rstrip(b"=").decode("ascii")
        said = {"type": kind, "challenge": text, "origin": self._origin, "crossOrigin": False}
        return json.dumps(said, separators=(",", ":")).encode()
