"""Key agreement with nothing weak let through: X25519 and ML-KEM-768, and the randomness behind them.

Curve25519 has a few points whose product with any secret is zero, and bytes that name a point in a second
way. With the first, a stranger fixes the shared secret; with the second, two transcripts stand for one
key. Both are refused by looking, before any arithmetic (RFC 7748 section 6.1; Noise section 12.1 allows
it, we demand it).

The random source is treated as something that can fail: an error, a short answer, a constant, or the same
answer twice stops the handshake before anything is sent, because a repeated ephemeral key undoes forward
secrecy.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import os
import threading

from cryptography.hazmat.primitives.asymmetric import mlkem
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from ztsession.errors import HandshakeError

__all__ = [
    "DH_BYTES",
    "KEM_CIPHERTEXT_BYTES",
    "KEM_PUBLIC_BYTES",
    "DhKeyPair",
    "KemKeyPair",
    "check_point",
    "draw_random",
    "encapsulate",
]

DH_BYTES = 32
#: FIPS 203, table 3, ML-KEM-768.
KEM_PUBLIC_BYTES = 1184
KEM_CIPHERTEXT_BYTES = 1088
_KEM_SEED_BYTES = 64

_FIELD_PRIME = 2**255 - 19

# The u-coordinates below the prime of the points whose order divides 8, on the curve and on its twist.
_LOW_ORDER = frozenset(
    u.to_bytes(DH_BYTES, "little")
    for u in (
        0,
        1,
        _FIELD_PRIME - 1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
    )
)


class DhKeyPair:
    """An X25519 key pair: a static key from its 32 private bytes, or a fresh ephemeral one."""

    def __init__(self, private: bytes) -> None:
        if len(private) != DH_BYTES:
            raise HandshakeError(f"an X25519 private key has {DH_BYTES} bytes, not {len(private)}")
        self._private = private

    @classmethod
    def generate(cls) -> DhKeyPair:
        """Return a fresh pair; :class:`HandshakeError` if the random source fails."""
        return cls(draw_random(DH_BYTES))

    @functools.cached_property
    def public(self) -> bytes:
        """The 32 public bytes."""
        return self._key.public_key().public_bytes_raw()

    def agree(self, public: bytes) -> bytes:
        """Return the 32-byte shared secret with ``public``; :class:`HandshakeError` for a bad point."""
        check_point(public)
        try:
            secret = self._key.exchange(X25519PublicKey.from_public_bytes(public))
        except ValueError:
            raise HandshakeError("X25519 gave an all-zero shared secret") from None
        return secret

    @functools.cached_property
    def _key(self) -> X25519PrivateKey:
        # Loading costs a scalar multiplication, which a flood of first messages must not be able to demand.
        return X25519PrivateKey.from_private_bytes(self._private)


class KemKeyPair:
    """A fresh ML-KEM-768 key pair, for one handshake (FIPS 203)."""

    def __init__(self) -> None:
        self._key = mlkem.MLKEM768PrivateKey.from_seed_bytes(draw_random(_KEM_SEED_BYTES))
        self.public = self._key.public_key().public_bytes_raw()

    def decapsulate(self, ciphertext: bytes) -> bytes:
        """Return the 32-byte shared secret; a ciphertext that was tampered with gives an unrelated one."""
        try:
            return self._key.decapsulate(ciphertext)
        except ValueError:
            raise HandshakeError("the ML-KEM-768 ciphertext has the wrong size") from None


def encapsulate(public: bytes) -> tuple[bytes, bytes]:
    """Return (ciphertext, shared secret) for an ML-KEM-768 encapsulation key; refuses a malformed key."""
    try:
        secret, ciphertext = mlkem.MLKEM768PublicKey.from_public_bytes(public).encapsulate()
    except ValueError:
        raise HandshakeError("the ML-KEM-768 encapsulation key is malformed") from None
    return ciphertext, secret


def check_point(public: bytes) -> None:
    """Raise :class:`HandshakeError` unless ``public`` is a canonical X25519 point of large order."""
    if len(public) != DH_BYTES:
        raise HandshakeError(f"an X25519 public key has {DH_BYTES} bytes, not {len(public)}")
    # X25519 itself would drop the top bit and reduce the rest: one point, several names.
    if int.from_bytes(public, "little") >= _FIELD_PRIME:
        raise HandshakeError("the X25519 public key is not in canonical form")
    if public in _LOW_ORDER:
        raise HandshakeError("the X25519 public key is of low order")


def draw_random(size_bytes: int) -> bytes:
    """Return 16 or more random bytes of the system; :class:`HandshakeError` if they cannot be trusted."""
    try:
        octets = os.urandom(size_bytes)
    except (OSError, NotImplementedError) as error:
        raise HandshakeError(f"the random source failed: {error}") from None
    if len(octets) != size_bytes:
        raise HandshakeError("the random source gave too few bytes")
    if octets.count(octets[0]) == size_bytes:
        raise HandshakeError("the random source gives a constant")
    _last_draw.refuse_repetition(octets)
    return octets


class _LastDraw:
    """Remembers the digest of the latest draw of the process, to notice a source that is stuck."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._digest = b""
        # A fork while another thread holds the lock would leave the child's copy locked for ever.
        os.register_at_fork(after_in_child=self._unlock)

    def refuse_repetition(self, octets: bytes) -> None:
        current = hashlib.sha256(octets).digest()
        with self._lock:
            repeated = hmac.compare_digest(current, self._digest)
            self._digest = current
        if repeated:
            raise HandshakeError("the random source gave the same bytes twice")

    def _unlock(self) -> None:
        self._lock = threading.Lock()


_last_draw = _LastDraw()
