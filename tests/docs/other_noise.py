"""Another client's half of the handshakes, written from docs/protocol.md and Noise alone: the initiator's.

``ephemeral`` and ``kem_seed`` fix what is otherwise random, to follow a recorded handshake; ``trace`` then
has the hash, the chaining key and the key after each token.
"""

from __future__ import annotations

import hashlib
import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

TAG, POINT, KEM_KEY, KEM_CIPHERTEXT = 16, 32, 1184, 1088


class BrokenError(Exception):
    """The other side is not who it should be, or somebody altered what it said."""


def public_of(private: bytes) -> bytes:
    """The public half of an X25519 key."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def hkdf(key: bytes, material: bytes) -> tuple[bytes, bytes]:
    """Noise's HKDF with two outputs."""
    extracted = hmac.digest(key, material, "sha256")
    first = hmac.digest(extracted, b"\x01", "sha256")
    return first, hmac.digest(extracted, first + b"\x02", "sha256")


class Cipher:
    """A key and its counter."""

    def __init__(self, key: bytes) -> None:
        self.key, self.counter = key, 0

    def seal(self, plaintext: bytes, associated: bytes = b"") -> bytes:
        """Encrypt the next message."""
        sealed = ChaCha20Poly1305(self.key).encrypt(self._nonce(), plaintext, associated)
        self.counter += 1
        return sealed

    def open(self, sealed: bytes, associated: bytes = b"") -> bytes:
        """Decrypt the next message; BrokenError, and nothing changed, if it is another."""
        try:
            plaintext = ChaCha20Poly1305(self.key).decrypt(self._nonce(), sealed, associated)
        except InvalidTag:
            raise BrokenError("a message does not open") from None
        self.counter += 1
        return plaintext

    def _nonce(self) -> bytes:
        return bytes(4) + self.counter.to_bytes(8, "little")


class Channel:
    """The transport messages of a finished handshake."""

    def __init__(self, ck: bytes, h: bytes) -> None:
        sending, receiving = hkdf(ck, b"")
        self.sending, self.receiving, self.h = Cipher(sending), Cipher(receiving), h
        extracted = hmac.digest(bytes(32), ck, "sha256")
        self.session_secret = hmac.digest(extracted, b"ztsession v1 session\x01", "sha256")


class Initiator:
    """The client's side of XXhfs or, when it knows the Authority's static key, of IKhfs."""

    def __init__(
        self,
        private: bytes,
        *,
        authority: bytes | None = None,
        channel_binding: bytes = b"",
        ephemeral: bytes | None = None,
        kem_seed: bytes | None = None,
    ) -> None:
        self.private, self.remote_static = private, authority
        self.ephemeral = ephemeral or os.urandom(32)
        self.kem = MLKEM768PrivateKey.from_seed_bytes(kem_seed or os.urandom(64))
        self.remote_ephemeral = b""
        self.cipher: Cipher | None = None
        self.trace: list[dict[str, bytes | str | None]] = []
        pattern = "XXhfs" if authority is None else "IKhfs"
        self.ck = self.h = hashlib.sha256(
            f"Noise_{pattern}_25519+MLKEM768_ChaChaPoly_SHA256".encode()
        ).digest()
        purpose = b"handshake" if authority is None else b"renewal"
        self.mix_hash(b"ztsession v1 " + purpose + channel_binding)
        if authority is not None:
            self.mix_hash(checked(authority, self))

    # ---- The messages

    def xx_first(self, payload: bytes) -> bytes:
        """Message 1 of XXhfs."""
        return self._write(("e", "e1"), payload)

    def xx_second(self, message: bytes) -> bytes:
        """Read message 2 of XXhfs: its payload."""
        return self._read(("e", "ee", "ekem1", "s", "es"), message)

    def xx_third(self, payload: bytes) -> bytes:
        """Message 3 of XXhfs."""
        return self._write(("s", "se"), payload)

    def ik_first(self, payload: bytes) -> bytes:
        """Message 1 of IKhfs."""
        return self._write(("e", "es", "e1", "s", "ss"), payload)

    def ik_second(self, message: bytes) -> bytes:
        """Read message 2 of IKhfs: its payload."""
        return self._read(("e", "ee", "ekem1", "se"), message)

    def channel(self) -> Channel:
        """What the finished handshake leaves behind."""
        return Channel(self.ck, self.h)

    # ---- Noise

    def mix_hash(self, data: bytes) -> None:
        """Take public data in."""
        self.h = hashlib.sha256(self.h + data).digest()

    def _mix_key(self, secret: bytes) -> None:
        self.ck, key = hkdf(self.ck, secret)
        self.cipher = Cipher(key)

    def _encrypt_and_hash(self, plaintext: bytes) -> bytes:
        sealed = plaintext if self.cipher is None else self.cipher.seal(plaintext, self.h)
        self.mix_hash(sealed)
        return sealed

    def _decrypt_and_hash(self, sealed: bytes) -> bytes:
        plaintext = sealed if self.cipher is None else self.cipher.open(sealed, self.h)
        self.mix_hash(sealed)
        return plaintext

    def _write(self, tokens: tuple[str, ...], payload: bytes) -> bytes:
        message = b""
        for token in tokens:
            if token == "e":
                message += public_of(self.ephemeral)
                self.mix_hash(public_of(self.ephemeral))
            elif token == "s":
                message += self._encrypt_and_hash(public_of(self.private))
            elif token == "e1":
                message += self._encrypt_and_hash(self.kem.public_key().public_bytes_raw())
            else:
                self._agree(token)
            self._note(token)
        message += self._encrypt_and_hash(payload)
        self._note("payload")
        return message

    def _read(self, tokens: tuple[str, ...], message: bytes) -> bytes:
        tag = 0 if self.cipher is None else TAG
        for token in tokens:
            if token == "e":
                self.remote_ephemeral, message = checked(message[:POINT], self), message[POINT:]
                self.mix_hash(self.remote_ephemeral)
            elif token == "s":
                self.remote_static = checked(self._decrypt_and_hash(message[: POINT + tag]), self)
                message = message[POINT + tag :]
            elif token == "ekem1":
                ciphertext = self._decrypt_and_hash(message[: KEM_CIPHERTEXT + tag])
                self._mix_key(self.kem.decapsulate(ciphertext))
                message = message[KEM_CIPHERTEXT + tag :]
            else:
                self._agree(token)
                tag = TAG
            self._note(token)
        payload = self._decrypt_and_hash(message)
        self._note("payload")
        return payload

    def _agree(self, token: str) -> None:
        ours = self.ephemeral if token[0] == "e" else self.private
        theirs = self.remote_ephemeral if token[1] == "e" else self.remote_static
        assert theirs is not None
        try:
            secret = X25519PrivateKey.from_private_bytes(ours).exchange(
                X25519PublicKey.from_public_bytes(theirs)
            )
        except ValueError:
            raise BrokenError("a key of low order") from None
        self._mix_key(secret)

    def _note(self, token: str) -> None:
        key = None if self.cipher is None else self.cipher.key
        self.trace.append({"token": token, "h": self.h, "ck": self.ck, "k": key})


def checked(point: bytes, ours: Initiator) -> bytes:
    """A key of the other side; BrokenError if it has another form, or is one of our own."""
    if len(point) != POINT or int.from_bytes(point, "little") >= 2**255 - 19:
        raise BrokenError("no X25519 key in its one form")
    if point in (public_of(ours.private), public_of(ours.ephemeral)):
        raise BrokenError("our own key comes back")
    return point
