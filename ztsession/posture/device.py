"""The client's side of posture: a device's name, its key, and the way to measure it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ztsession.errors import ConfigurationError
from ztsession.posture.collector import collect
from ztsession.posture.statement import PostureStatement, sign_statement
from ztsession.wire.names import is_name
from ztsession.wire.operator_file import read_private_toml, write_private
from ztsession.wire.signature import public_key

__all__ = ["DevicePosture"]


@dataclass(frozen=True)
class DevicePosture:
    """Measures this host and signs what it found, anew for each handshake.

    ``signing_seed`` is the device's Ed25519 seed, 32 bytes. ``measure`` returns the measurements as text
    by item; ``clock`` gives Unix seconds.
    """

    device: str
    signing_seed: bytes = field(repr=False)
    measure: Callable[[], Mapping[str, str]] = field(default=collect, repr=False)
    clock: Callable[[], float] = field(default=time.time, repr=False)

    def __post_init__(self) -> None:
        if not is_name(self.device):
            raise ConfigurationError("device: expected 1 to 128 characters from A-Z a-z 0-9 . _ : / @ -")
        if len(self.signing_seed) != 32:
            raise ConfigurationError("the device's private key has 32 bytes")

    @classmethod
    def generate(cls, device: str) -> DevicePosture:
        """Return a device with a fresh key."""
        return cls(device, os.urandom(32))

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> DevicePosture:
        """Read a device that :meth:`to_file` wrote; refuses a file that others may read."""
        table = read_private_toml(path)
        table.allow_only("device", "signing_seed")
        return cls(table.name("device"), table.octets("signing_seed", 32))

    def to_file(self, path: str | os.PathLike[str]) -> None:
        """Write the private key to a new file of mode 0600; never over an existing one."""
        write_private(path, f'device = "{self.device}"\nsigning_seed = "{self.signing_seed.hex()}"\n')

    @property
    def public_key(self) -> bytes:
        """The device's Ed25519 public key, 32 bytes."""
        return public_key(self.signing_seed)

    def registry_entry(self) -> str:
        """Return the TOML text that enrols this device in a ``PostureAppraiser`` file."""
        return f'[devices."{self.device}"]\npublic_key = "{self.public_key.hex()}"\n'

    def prove(self, binding: bytes, nonce: bytes) -> bytes:
        """Measure now, and return evidence for this binding and nonce (32 bytes each)."""
        measurements = dict(self.measure())
        statement = PostureStatement(self.device, int(self.clock()), nonce, measurements)
        return sign_statement(statement, self.signing_seed, binding)
