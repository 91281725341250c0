"""What cannot be saved: the asymmetric operations of a handshake on the Authority's side, called directly.

A floor for each way of getting a session, by how many of which it takes. Parsing, hashing, policies, the
store and the audit log are what stands above it.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from nacl.signing import SigningKey

__all__ = ["Bench", "Operations"]

_SUITE = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)
GRANT_BYTES = 800


@dataclass(frozen=True)
class Operations:
    """X25519 exchanges, Ed25519 and ECDSA P-256 signatures checked; and, always: a key pair, one ML-KEM-768
    encapsulation, one ticket sealed and signed.
    """

    x25519: int = 3
    ed25519: int = 2
    p256: int = 0

    @property
    def name(self) -> str:
        """What stands in the table."""
        ecdsa = f", {self.p256} P-256" if self.p256 else ""
        return f"the asymmetric operations alone: {self.x25519} X25519, {self.ed25519} Ed25519{ecdsa}"


class Bench:
    """The keys and messages to do it with."""

    def __init__(self) -> None:
        self._peer = X25519PrivateKey.generate().public_key().public_bytes_raw()
        self._kem = MLKEM768PrivateKey.generate().public_key()
        self._kem_bytes = self._kem.public_bytes_raw()
        self._message, self._grant = os.urandom(200), os.urandom(GRANT_BYTES)
        self._signing = SigningKey.generate()
        self._signature = self._signing.sign(self._message).signature
        p256 = ec.generate_private_key(ec.SECP256R1())
        self._p256, self._p256_signature = p256.public_key(), p256.sign(self._message, ec.ECDSA(SHA256()))
        self._segment = hpke.MLKEM768X25519PublicKey(self._kem, X25519PublicKey.from_public_bytes(self._peer))

    def once_ms(self, operations: Operations) -> float:
        """Processor time of this thread for all of them, once."""
        start = time.thread_time_ns()
        private = X25519PrivateKey.generate()
        for _ in range(operations.x25519):
            private.exchange(X25519PublicKey.from_public_bytes(self._peer))
        MLKEM768PublicKey.from_public_bytes(self._kem_bytes).encapsulate()
        for _ in range(operations.ed25519):
            self._signing.verify_key.verify(self._message, self._signature)
        for _ in range(operations.p256):
            self._p256.verify(self._p256_signature, self._message, ec.ECDSA(SHA256()))
        self._signing.sign(_SUITE.encrypt(self._grant, self._segment, b""))
        return (time.thread_time_ns() - start) / 1e6
