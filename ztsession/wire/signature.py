"""Ed25519 signatures with one reading each, and the envelope that carries a signed message.

RFC 8032 leaves verifiers room: some accept an S above the group order (then every signature has a second
form), or public keys of small order (under which one signature fits every message). Anything here that is
accepted has exactly one form.

Whoever signs is a :class:`Signer`: a key that need not be in this process, because one that never left its
token cannot be copied out of a core dump. :class:`SeedSigner` is the one in memory.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Protocol

from nacl import bindings
from nacl.exceptions import BadSignatureError

from ztsession.errors import EvidenceError
from ztsession.wire.digest import digest
from ztsession.wire.schema import Message, Octets

__all__ = [
    "PUBLIC_KEY_BYTES",
    "SEED_BYTES",
    "SIGNATURE_BYTES",
    "SeedSigner",
    "Signed",
    "Signer",
    "check_public_key",
    "public_key",
    "sign",
    "verify",
    "verify_any",
]

SEED_BYTES = 32
PUBLIC_KEY_BYTES = 32
SIGNATURE_BYTES = 64

# The order of the base point (RFC 8032, section 5.1).
_GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493


class Signer(Protocol):
    """An Ed25519 key that signs, wherever it is kept. Thread-safe."""

    @property
    def public_key(self) -> bytes:
        """The public key, 32 bytes."""

    def sign(self, message: bytes) -> bytes:
        """Return the signature, 64 bytes (RFC 8032, section 5.1.6); StoreError when the key is out of
        reach.
        """


@dataclass(frozen=True)
class SeedSigner:
    """A signing key in memory, as its seed of 32 bytes; ValueError for another size."""

    seed: bytes = field(repr=False)

    def __post_init__(self) -> None:
        """Size first: a short seed must not wait for the first signature to be found out."""
        _keypair(self.seed)

    @cached_property
    def public_key(self) -> bytes:
        """The public key, 32 bytes."""
        return public_key(self.seed)

    def sign(self, message: bytes) -> bytes:
        """Return the signature, 64 bytes."""
        return sign(self.seed, message)


@dataclass(frozen=True)
class Signed(Message, kind="signed", max_bytes=32768):
    """A message as bytes, with a signature over its labelled digest."""

    body: Annotated[bytes, Octets(32000)]
    signature: Annotated[bytes, Octets.exactly(SIGNATURE_BYTES)]

    @classmethod
    def make(cls, signer: Signer, label: str, body: bytes, *context: bytes) -> Signed:
        """Sign ``digest(label, *context, body)``; ``context`` is what both sides know and need not send."""
        return cls(body, signer.sign(digest(label, *context, body)))

    def check(self, key: bytes, label: str, *context: bytes) -> bytes:
        """Return the body if ``key`` signed it so; :class:`EvidenceError` if not."""
        return self.check_any((key,), label, *context)

    def check_any(self, keys: Sequence[bytes], label: str, *context: bytes) -> bytes:
        """Return the body if one of ``keys`` signed it so; :class:`EvidenceError` if none did."""
        verify_any(keys, digest(label, *context, self.body), self.signature)
        return self.body


def public_key(seed: bytes) -> bytes:
    """Return the 32-byte public key of a 32-byte ``seed``."""
    return _keypair(seed)[0]


def sign(seed: bytes, message: bytes) -> bytes:
    """Return the 64-byte Ed25519 signature of ``message`` (RFC 8032, section 5.1.6)."""
    return bindings.crypto_sign(message, _keypair(seed)[1])[:SIGNATURE_BYTES]


def verify(key: bytes, message: bytes, signature: bytes) -> None:
    """Raise :class:`EvidenceError` unless this is ``key``'s signature of ``message``, in its one form."""
    check_public_key(key)
    if len(signature) != SIGNATURE_BYTES:
        raise EvidenceError(f"an Ed25519 signature has {SIGNATURE_BYTES} bytes, not {len(signature)}")
    if int.from_bytes(signature[32:], "little") >= _GROUP_ORDER:
        raise EvidenceError("the signature is malleable: its S is not below the group order")
    try:
        bindings.crypto_sign_open(signature + message, key)
    except BadSignatureError:
        raise EvidenceError("the signature does not hold") from None


def verify_any(keys: Sequence[bytes], message: bytes, signature: bytes) -> None:
    """Raise :class:`EvidenceError` unless this is the signature of ``message`` by one of a few ``keys``."""
    refused = EvidenceError("there is no key to verify with")
    for key in keys:
        try:
            verify(key, message, signature)
        except EvidenceError as error:
            refused = error
        else:
            return
    if len(keys) > 1:
        refused = EvidenceError(f"none of {len(keys)} keys fits: {refused}")
    raise refused


def check_public_key(key: bytes) -> None:
    """Raise :class:`EvidenceError` unless ``key`` is a canonical point of the prime-order group."""
    if len(key) != PUBLIC_KEY_BYTES:
        raise EvidenceError(f"an Ed25519 public key has {PUBLIC_KEY_BYTES} bytes, not {len(key)}")
    if not _in_prime_order_group(bytes(key)):
        raise EvidenceError("the public key is of small order, off the curve, or not in canonical form")


def _keypair(seed: bytes) -> tuple[bytes, bytes]:
    if len(seed) != SEED_BYTES:
        raise ValueError(f"an Ed25519 seed has {SEED_BYTES} bytes, not {len(seed)}")
    return bindings.crypto_sign_seed_keypair(seed)


@functools.lru_cache(maxsize=4096)
def _in_prime_order_group(key: bytes) -> bool:
    # The group check costs as much as a verification, and registered keys come again and again.
    return bindings.crypto_core_ed25519_is_valid_point(key)
