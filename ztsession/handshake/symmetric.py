"""The symmetric half of Noise: CipherState and SymmetricState (Noise revision 34, sections 5.1 and 5.2).

A nonce used twice under one key opens both messages and lets a stranger forge more. So the counter moves
on before the message that uses it leaves, never moves for a message that failed to open, and its end is
an error and no wrap.
"""

from __future__ import annotations

import hashlib
import hmac

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from ztsession.errors import HandshakeError

__all__ = ["MAX_MESSAGE_BYTES", "TAG_BYTES", "CipherState", "SymmetricState", "hkdf"]

#: Noise section 3: no message is longer.
MAX_MESSAGE_BYTES = 65535
TAG_BYTES = 16
KEY_BYTES = 32
HASH_BYTES = 32

# Noise section 5.1: the last value is reserved.
_NONCE_END = 2**64 - 1


class CipherState:
    """A ChaCha20-Poly1305 key and its counter; without a key it passes everything through."""

    def __init__(self, key: bytes | None = None) -> None:
        self._cipher = None if key is None else ChaCha20Poly1305(key)
        self._counter = 0

    @property
    def has_key(self) -> bool:
        """Whether messages are encrypted yet."""
        return self._cipher is not None

    @property
    def overhead_bytes(self) -> int:
        """How much longer an encrypted message is than its plaintext."""
        return TAG_BYTES if self.has_key else 0

    def encrypt(self, associated: bytes, plaintext: bytes) -> bytes:
        """Return the ciphertext and use up one counter value."""
        if self._cipher is None:
            return plaintext
        nonce = self._nonce()
        self._counter += 1
        return self._cipher.encrypt(nonce, plaintext, associated)

    def decrypt(self, associated: bytes, ciphertext: bytes) -> bytes:
        """Return the plaintext; an error, and the counter where it was, if it does not open."""
        if self._cipher is None:
            return ciphertext
        try:
            plaintext = self._cipher.decrypt(self._nonce(), ciphertext, associated)
        except InvalidTag:
            raise HandshakeError("a message does not authenticate") from None
        self._counter += 1
        return plaintext

    def _nonce(self) -> bytes:
        if self._counter >= _NONCE_END:
            raise HandshakeError("every nonce of this key has been used")
        return bytes(4) + self._counter.to_bytes(8, "little")


class SymmetricState:
    """The chaining key and the handshake hash, which grow with everything that is said."""

    def __init__(self, protocol_name: bytes) -> None:
        padded = protocol_name.ljust(HASH_BYTES, b"\0")
        self._hash = padded if len(padded) == HASH_BYTES else hashlib.sha256(protocol_name).digest()
        self._chaining_key = self._hash
        self.cipher = CipherState()

    @property
    def handshake_hash(self) -> bytes:
        """The 32 bytes that stand for everything said so far."""
        return self._hash

    def mix_key(self, secret: bytes) -> None:
        """Take a shared secret in: all that follows is encrypted under a key that needs it."""
        self._chaining_key, key = hkdf(self._chaining_key, secret)
        self.cipher = CipherState(key)

    def mix_hash(self, data: bytes) -> None:
        """Take public data in: both sides must have seen the same."""
        self._hash = hashlib.sha256(self._hash + data).digest()

    def encrypt_and_hash(self, plaintext: bytes) -> bytes:
        """Encrypt, if there is a key yet, and take the outcome in."""
        ciphertext = self.cipher.encrypt(self._hash, plaintext)
        self.mix_hash(ciphertext)
        return ciphertext

    def decrypt_and_hash(self, ciphertext: bytes) -> bytes:
        """Decrypt, if there is a key yet, and take the ciphertext in; nothing changes if it does not open."""
        plaintext = self.cipher.decrypt(self._hash, ciphertext)
        self.mix_hash(ciphertext)
        return plaintext

    def split(self) -> tuple[CipherState, CipherState]:
        """Return the ciphers of the initiator's and of the responder's transport messages."""
        first, second = hkdf(self._chaining_key, b"")
        return CipherState(first), CipherState(second)

    def export(self, label: bytes) -> bytes:
        """Return 32 bytes for another use: HKDF-SHA256 of the chaining key, info ``label`` (RFC 5869)."""
        extracted = hmac.digest(bytes(HASH_BYTES), self._chaining_key, "sha256")
        return hmac.digest(extracted, label + b"\x01", "sha256")


def hkdf(chaining_key: bytes, material: bytes) -> tuple[bytes, bytes]:
    """Return the two 32-byte outputs of Noise's HKDF (section 4.3)."""
    extracted = hmac.digest(chaining_key, material, "sha256")
    first = hmac.digest(extracted, b"\x01", "sha256")
    return first, hmac.digest(extracted, first + b"\x02", "sha256")
