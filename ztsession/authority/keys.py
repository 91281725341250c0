"""The Authority's own keys, made when its state is first opened and kept in files that only it may read.

root       signs certificates; clients pin its public half
static     X25519 of the handshake, certified by the root
signing    Ed25519 over tickets and feed answers; enforcement points pin its public half
segments/  one HPKE key pair for each segment, to be handed to that segment's enforcement points
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from pathlib import Path

from ztsession.errors import ConfigurationError, StoreError
from ztsession.handshake.keys import DhKeyPair
from ztsession.identity import certificate
from ztsession.tickets.segment_key import SegmentKey
from ztsession.wire.operator_file import read_private_toml, write_private
from ztsession.wire.signature import SeedSigner

__all__ = ["AuthorityKeys"]

CERTIFICATE_S = 30 * 86400
_SEEDS = ("root", "static", "signing")


@dataclass(frozen=True)
class AuthorityKeys:
    """Three seeds of 32 bytes and the place of the segments' keys."""

    directory: Path
    root: SeedSigner = field(repr=False)
    static: bytes = field(repr=False)
    signing: SeedSigner = field(repr=False)
    _segments: dict[str, SegmentKey] = field(default_factory=dict, repr=False, compare=False)
    _making: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @classmethod
    def open(cls, directory: Path) -> AuthorityKeys:
        """Read the keys, or make them on first use; ConfigurationError for a file that is damaged or
        readable by others.
        """
        path = directory / "keys.toml"
        try:
            (directory / "segments").mkdir(mode=0o700, parents=True, exist_ok=True)
            if not path.exists():
                write_private(path, "".join(f'{name} = "{os.urandom(32).hex()}"\n' for name in _SEEDS))
        except OSError as error:
            raise StoreError(f"{directory}: cannot be written: {error.strerror}") from error
        table = read_private_toml(path)
        table.allow_only(*_SEEDS)
        root, static, signing = (table.octets(name, 32) for name in _SEEDS)
        return cls(directory, SeedSigner(root), static, SeedSigner(signing))

    @property
    def root_public(self) -> bytes:
        """What clients pin, 32 bytes."""
        return self.root.public_key

    @property
    def signing_public(self) -> bytes:
        """What enforcement points pin, 32 bytes."""
        return self.signing.public_key

    def certificate(self, name: str, now: float) -> bytes:
        """A certificate over the static key, valid from one hour before ``now`` (Unix seconds)."""
        static_public = DhKeyPair(self.static).public
        return certificate.issue(self.root, static_public, name, int(now) - 3600, int(now) + CERTIFICATE_S)

    def segment(self, name: str) -> SegmentKey:
        """The key pair of a segment, made on first use and then kept in memory."""
        with self._making:
            if name not in self._segments:
                self._segments[name] = self._read_segment(name)
            return self._segments[name]

    def segment_path(self, name: str) -> Path:
        """The file to hand to that segment's enforcement points."""
        return self.directory / "segments" / f"{name}.toml"

    def _read_segment(self, name: str) -> SegmentKey:
        path = self.segment_path(name)
        if not path.exists():
            SegmentKey.generate(name).to_file(path)
        key = SegmentKey.from_file(path)
        if key.segment != name:
            raise ConfigurationError(
                f"is the key of segment {key.segment!r}, expected {name!r}", file=str(path)
            )
        return key
