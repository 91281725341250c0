"""What is fixed so that a vector can be made twice: secrets, random bytes, and what cannot be made twice.

Nobody may choose the randomness of an ML-KEM encapsulation or of HPKE here, so their outputs are recorded:
they are inputs of the next run, which checks that they open to what it expects.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import patch

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey

from ztsession.handshake import noise
from ztsession.handshake.keys import KEM_CIPHERTEXT_BYTES, KemKeyPair, encapsulate
from ztsession.handshake.noise import NoiseHandshake
from ztsession.handshake.symmetric import SymmetricState, hkdf

#: The moment of the conversation, in Unix seconds: 15 January 2027.
NOW = 1_800_000_000


def fixed(name: str, size_bytes: int = 32) -> bytes:
    """Bytes that are always the same, for each name others."""
    blocks = (hashlib.sha256(f"ztsession test vector {name} {n}".encode()).digest() for n in range(4))
    return b"".join(blocks)[:size_bytes]


@contextmanager
def urandom_of(module: ModuleType, octets: bytes) -> Iterator[None]:
    """Let a module draw these bytes and no others."""

    def urandom(size_bytes: int) -> bytes:
        assert size_bytes == len(octets)
        return octets

    with patch.object(module, "os", SimpleNamespace(urandom=urandom)):
        yield


class Recorded:
    """Outputs of an earlier run that this one takes in; ``fresh`` makes them anew."""

    def __init__(self, known: dict[str, str], *, fresh: bool = False) -> None:
        self._known, self._fresh = known, fresh
        self.taken: dict[str, str] = {}

    def take(self, name: str, fits: Callable[[bytes], bool], make: Callable[[], bytes]) -> bytes:
        """What was recorded under this name, if it fits."""
        known = bytes.fromhex(self._known.get(name, ""))
        if self._fresh:
            known = make()
        if not fits(known):
            raise SystemExit(f"{name}: what is recorded does not fit any more; run with --fresh")
        self.taken[name] = known.hex()
        return known


# ---- Handshakes


class FixedKem(KemKeyPair):
    """An ML-KEM-768 key pair from a seed of 64 bytes."""

    def __init__(self, seed: bytes) -> None:
        self._key = MLKEM768PrivateKey.from_seed_bytes(seed)
        self.public = self._key.public_key().public_bytes_raw()


class RecordingState(SymmetricState):
    """A symmetric state whose present key can be seen."""

    key: bytes | None = None

    def mix_key(self, secret: bytes) -> None:
        self.key = hkdf(self._chaining_key, secret)[1]
        super().mix_key(secret)


class RecordingNoise(NoiseHandshake):
    """A handshake that keeps, after each token, its hash, its chaining key and its key."""

    def __init__(self, pattern: str, **given: Any) -> None:
        with patch.object(noise, "SymmetricState", RecordingState):
            super().__init__(pattern, **given)
        self.steps: list[dict[str, str | None]] = []

    def write_message(self, payload: bytes) -> bytes:
        message = super().write_message(payload)
        self._note("payload")
        return message

    def read_message(self, message: bytes) -> bytes:
        payload = super().read_message(message)
        self._note("payload")
        return payload

    @property
    def chaining_key(self) -> bytes:
        """ck, as it is now."""
        return self._symmetric._chaining_key

    def _write_step(self, step: str) -> bytes:
        sent = super()._write_step(step)
        self._note(step)
        return sent

    def _read_step(self, step: str, source: Any) -> None:
        super()._read_step(step, source)
        self._note(step)

    def _note(self, token: str) -> None:
        state = self._symmetric
        assert isinstance(state, RecordingState)
        key = None if state.key is None else state.key.hex()
        self.steps.append(
            {"token": token, "h": state.handshake_hash.hex(), "ck": self.chaining_key.hex(), "k": key}
        )


@contextmanager
def kem_of(seed: bytes, recorded: Callable[[Callable[[], bytes]], bytes]) -> Iterator[None]:
    """Let handshakes use this KEM key pair, and encapsulate to it with the recorded ciphertext."""
    pair = FixedKem(seed)

    def encapsulated(public: bytes) -> tuple[bytes, bytes]:
        assert public == pair.public
        ciphertext = recorded(lambda: encapsulate(public)[0])
        return ciphertext, pair.decapsulate(ciphertext)

    with patch.object(noise, "KemKeyPair", lambda: pair), patch.object(noise, "encapsulate", encapsulated):
        yield


def is_ciphertext(octets: bytes) -> bool:
    """Whether these could be an ML-KEM-768 ciphertext: any of this size open, to something."""
    return len(octets) == KEM_CIPHERTEXT_BYTES
