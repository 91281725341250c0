"""A segment's key pair: tickets are sealed to it, and only the segment's own enforcement points can open
them.

HPKE (RFC 9180) with X25519 + ML-KEM-768, so that a ticket recorded today stays closed to a later quantum
computer.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from ztsession.errors import ConfigurationError, InstallationError
from ztsession.wire import durable
from ztsession.wire.digest import digest
from ztsession.wire.operator_file import read_private_toml

__all__ = ["MATERIAL_BYTES", "PUBLIC_BYTES", "SegmentKey", "SegmentPublicKey"]

KEY_ID_BYTES = 8
PUBLIC_BYTES = 1184 + 32
_SEED_BYTES, _X25519_BYTES = 64, 32
MATERIAL_BYTES = _SEED_BYTES + _X25519_BYTES

_SUITE = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)


@dataclass(frozen=True)
class SegmentPublicKey:
    """What the Authority seals tickets with: ML-KEM-768 (1184 bytes), then X25519 (32 bytes)."""

    octets: bytes

    @cached_property
    def name(self) -> bytes:
        """32 bytes that name this key and no other; what a retired key is called in the change feed."""
        return digest("segment key", self.octets)

    @property
    def key_id(self) -> bytes:
        """The first 8 bytes of the name, that say which key a ticket was sealed to."""
        return self.name[:KEY_ID_BYTES]

    def seal(self, plaintext: bytes, context: bytes) -> bytes:
        """Encrypt so that only the segment can read; ``context`` must be given again to open."""
        return _SUITE.encrypt(plaintext, self._key, context)

    @cached_property
    def _key(self) -> hpke.MLKEM768X25519PublicKey:
        kem = MLKEM768PublicKey.from_public_bytes(self.octets[:-_X25519_BYTES])
        return hpke.MLKEM768X25519PublicKey(
            kem, X25519PublicKey.from_public_bytes(self.octets[-_X25519_BYTES:])
        )


@dataclass(frozen=True)
class SegmentKey:
    """The private half, held by the enforcement points of one segment; ``seed`` 64 bytes, ``x25519`` 32
    bytes.
    """

    segment: str
    seed: bytes = field(repr=False)
    x25519: bytes = field(repr=False)

    def __post_init__(self) -> None:
        """Sizes first: a short key must not reach the primitives."""
        if (len(self.seed), len(self.x25519)) != (_SEED_BYTES, _X25519_BYTES):
            raise ConfigurationError("a segment key is a seed of 64 bytes and an X25519 key of 32")

    @classmethod
    def generate(cls, segment: str) -> SegmentKey:
        """A fresh key pair."""
        return cls(segment, os.urandom(_SEED_BYTES), os.urandom(_X25519_BYTES))

    @classmethod
    def of(cls, segment: str, material: bytes) -> SegmentKey:
        """The key pair whose :attr:`material` this is, 96 bytes."""
        return cls(segment, material[:_SEED_BYTES], material[_SEED_BYTES:])

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> SegmentKey:
        """Read what :meth:`to_file` wrote; refuses a file that others may read."""
        table = read_private_toml(path)
        table.allow_only("segment", "seed", "x25519")
        return cls(
            table.name("segment"), table.octets("seed", _SEED_BYTES), table.octets("x25519", _X25519_BYTES)
        )

    def to_file(self, path: str | os.PathLike[str]) -> None:
        """Write to a new file of mode 0600, in full or not at all; never over an existing one."""
        text = f'segment = "{self.segment}"\nseed = "{self.seed.hex()}"\nx25519 = "{self.x25519.hex()}"\n'
        try:
            durable.create(Path(path), text.encode())
        except OSError as error:
            raise ConfigurationError(f"cannot be written: {error.strerror}", file=os.fspath(path)) from None

    @property
    def material(self) -> bytes:
        """The whole private half as 96 bytes, for a file that is sealed."""
        return self.seed + self.x25519

    @cached_property
    def public(self) -> SegmentPublicKey:
        """The half that the Authority needs."""
        kem = self._kem.public_key().public_bytes_raw()
        return SegmentPublicKey(kem + self._dh.public_key().public_bytes_raw())

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """Decrypt; InstallationError when it was not sealed to this key with this context."""
        try:
            return _SUITE.decrypt(sealed, self._key, context)
        except (InvalidTag, ValueError):
            raise InstallationError("the ticket does not open with this segment's key") from None

    @cached_property
    def _kem(self) -> MLKEM768PrivateKey:
        return MLKEM768PrivateKey.from_seed_bytes(self.seed)

    @cached_property
    def _dh(self) -> X25519PrivateKey:
        return X25519PrivateKey.from_private_bytes(self.x25519)

    @cached_property
    def _key(self) -> hpke.MLKEM768X25519PrivateKey:
        return hpke.MLKEM768X25519PrivateKey(self._kem, self._dh)
