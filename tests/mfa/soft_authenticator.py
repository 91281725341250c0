"""An authenticator and its client in software, that can also be asked to misbehave."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from typing import Any

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from ztsession.mfa.webauthn import WebAuthnEvidence

UP, UV, BE, BS, AT, ED = 0x01, 0x04, 0x08, 0x10, 0x40, 0x80
RP, ORIGIN = "trading.example", "https://desk.trading.example"


def client_data(kind: str, asked: bytes, asking: str = ORIGIN, **more: Any) -> bytes:
    """What a browser would collect (Web Authentication Level 3, section 5.8.1)."""
    text = urlsafe_b64encode(asked).rstrip(b"=").decode()
    said = {"type": kind, "challenge": text, "origin": asking, "crossOrigin": False, **more}
    return json.dumps(said, separators=(",", ":")).encode()


@dataclass
class Authenticator:
    """One credential. ``step`` is how far its counter goes each time, 0 for one without a counter."""

    algorithm: int = -7
    flags: int = UP | UV
    rp: str = RP
    origin: str = ORIGIN
    counter: int = 0
    step: int = 1
    credential_id: bytes = field(default_factory=lambda: os.urandom(32))

    def __post_init__(self) -> None:
        self.private = (
            ec.generate_private_key(ec.SECP256R1())
            if self.algorithm == -7
            else ed25519.Ed25519PrivateKey.generate()
        )

    @property
    def cose(self) -> dict[int, Any]:
        public = self.private.public_key()
        if isinstance(public, ed25519.Ed25519PublicKey):
            return {1: 1, 3: -8, -1: 6, -2: public.public_bytes_raw()}
        at = public.public_numbers()
        return {1: 2, 3: -7, -1: 1, -2: at.x.to_bytes(32, "big"), -3: at.y.to_bytes(32, "big")}

    def data(self, flags: int | None = None, rest: bytes = b"") -> bytes:
        """Authenticator data (section 6.1)."""
        flags = self.flags if flags is None else flags
        return hashlib.sha256(self.rp.encode()).digest() + struct.pack(">BI", flags, self.counter) + rest

    def attested(self, cose: Any = None) -> bytes:
        """Attested credential data (section 6.5.1)."""
        key = cbor2.dumps(self.cose if cose is None else cose)
        return bytes(16) + struct.pack(">H", len(self.credential_id)) + self.credential_id + key

    def create(self, challenge: bytes, **more: Any) -> tuple[bytes, bytes]:
        """An attestation object of format "none", and its client data."""
        made = {"fmt": "none", "attStmt": {}, "authData": self.data(self.flags | AT, self.attested())}
        return cbor2.dumps(made), client_data("webauthn.create", challenge, self.origin, **more)

    def sign(self, message: bytes) -> bytes:
        """The credential's signature."""
        if isinstance(self.private, ed25519.Ed25519PrivateKey):
            return self.private.sign(message)
        return self.private.sign(message, ec.ECDSA(hashes.SHA256()))

    def get(
        self, challenge: bytes, *, saying: dict[str, Any] | bytes | None = None, rest: bytes = b""
    ) -> WebAuthnEvidence:
        """An assertion; ``saying`` is put over what the client would say, or in its place."""
        self.counter += self.step
        said = (
            saying
            if isinstance(saying, bytes)
            else client_data("webauthn.get", challenge, self.origin, **(saying or {}))
        )
        data = self.data(rest=rest)
        signature = self.sign(data + hashlib.sha256(said).digest())
        return WebAuthnEvidence(self.credential_id, data, said, signature)
