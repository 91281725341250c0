"""Noise handshakes (revision 34) for XX and IK, and with the ML-KEM-768 hybrid for XXhfs and IKhfs.

A pattern is a table of tokens, and one small interpreter runs all four tables. That is deliberate: the
plain patterns exist so that the interpreter can be held against published vectors and foreign
implementations, and the hybrid ones then differ by two table entries and nothing else. Which pattern runs
is fixed by the caller and hashed with the name; there is no negotiation to attack.

The interpreter is sans-I/O. A step either completes, or leaves the handshake dead: nothing is ever half
advanced. A handshake belongs to the process that began it, because a forked copy would send other
messages under the same ephemeral key and nonces.
"""

from __future__ import annotations

import os
from typing import NoReturn, TypeVar

from ztsession.errors import HandshakeError
from ztsession.handshake.keys import (
    DH_BYTES,
    KEM_CIPHERTEXT_BYTES,
    KEM_PUBLIC_BYTES,
    DhKeyPair,
    KemKeyPair,
    check_point,
    encapsulate,
)
from ztsession.handshake.symmetric import MAX_MESSAGE_BYTES, CipherState, SymmetricState

__all__ = ["PATTERNS", "NoiseHandshake", "Unforkable", "protocol_name"]

#: Messages alternate, the initiator's first. In IK the initiator knows the responder's static key beforehand.
PATTERNS: dict[str, tuple[tuple[str, ...], ...]] = {
    "XX": (("e",), ("e", "ee", "s", "es"), ("s", "se")),
    "IK": (("e", "es", "s", "ss"), ("e", "ee", "se")),
    "XXhfs": (("e", "e1"), ("e", "ee", "ekem1", "s", "es"), ("s", "se")),
    "IKhfs": (("e", "es", "e1", "s", "ss"), ("e", "ee", "ekem1", "se")),
}


def protocol_name(pattern: str) -> bytes:
    """Return the full Noise name of one of :data:`PATTERNS`."""
    agreement = "25519+MLKEM768" if pattern.endswith("hfs") else "25519"
    return f"Noise_{pattern}_{agreement}_ChaChaPoly_SHA256".encode("ascii")


class Unforkable:
    """What must exist once: it works in the process that made it, and cannot be copied or pickled."""

    def __init__(self) -> None:
        self._process = os.getpid()

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise HandshakeError("this state was made in another process; a fork may not go on with it")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise HandshakeError("a state with ephemeral keys cannot be copied")


class NoiseHandshake(Unforkable):
    """One side of one handshake.

    ``static_private`` is 32 bytes, or the pair made of them. ``remote_static`` (32 bytes) is needed by an
    initiator of IK, and by nobody else. ``ephemeral_private_for_testing_only`` makes the exchange
    predictable; it exists to run published vectors.
    """

    def __init__(
        self,
        pattern: str,
        *,
        initiator: bool,
        static_private: bytes | DhKeyPair,
        prologue: bytes = b"",
        remote_static: bytes | None = None,
        ephemeral_private_for_testing_only: bytes | None = None,
    ) -> None:
        super().__init__()
        self._messages = PATTERNS[pattern]
        self._position = 0
        self._initiator = initiator
        self._dead = False
        # A pair that is used again has its public half already, which costs as much as an agreement.
        self._static = static_private if isinstance(static_private, DhKeyPair) else DhKeyPair(static_private)
        self._ephemeral: DhKeyPair | None = None
        self._kem: KemKeyPair | None = None
        self._remote_ephemeral: bytes | None = None
        self._remote_kem: bytes | None = None
        self.remote_static = remote_static
        self._fixed_ephemeral = ephemeral_private_for_testing_only
        self._symmetric = SymmetricState(protocol_name(pattern))
        self._symmetric.mix_hash(prologue)
        self._mix_known_static(pattern)

    @property
    def handshake_hash(self) -> bytes:
        """h after the messages so far: 32 bytes that bind every byte exchanged."""
        return self._symmetric.handshake_hash

    @property
    def finished(self) -> bool:
        """Whether every message of the pattern has been exchanged."""
        return not self._dead and self._position == len(self._messages)

    def write_message(self, payload: bytes) -> bytes:
        """Return the next message with ``payload`` in it; on any error the handshake is dead."""
        steps = self._begin(writing=True)
        if len(payload) > MAX_MESSAGE_BYTES:
            raise HandshakeError(f"the payload is over {MAX_MESSAGE_BYTES} bytes")
        parts = [self._write_step(step) for step in steps]
        parts.append(self._symmetric.encrypt_and_hash(payload))
        message = b"".join(parts)
        if len(message) > MAX_MESSAGE_BYTES:
            raise HandshakeError(f"the message is over {MAX_MESSAGE_BYTES} bytes")
        self._advance()
        return message

    def read_message(self, message: bytes) -> bytes:
        """Take the peer's next message and return its payload; on any error the handshake is dead."""
        steps = self._begin(writing=False)
        if len(message) > MAX_MESSAGE_BYTES:
            raise HandshakeError(f"the message is over {MAX_MESSAGE_BYTES} bytes")
        source = _Cursor(bytes(message))
        for step in steps:
            self._read_step(step, source)
        payload = self._symmetric.decrypt_and_hash(source.rest())
        self._advance()
        return payload

    def split(self) -> tuple[CipherState, CipherState]:
        """Return the ciphers (to send, to receive) of a finished handshake."""
        self._check_finished()
        first, second = self._symmetric.split()
        return (first, second) if self._initiator else (second, first)

    def export(self, label: bytes) -> bytes:
        """Return 32 secret bytes that both sides share under ``label``."""
        self._check_finished()
        return self._symmetric.export(label)

    @property
    def local_static(self) -> bytes:
        """Our own static public key, 32 bytes."""
        return self._static.public

    def _mix_known_static(self, pattern: str) -> None:
        if not pattern.startswith("IK"):
            if self.remote_static is not None:
                raise HandshakeError(f"{pattern} learns the remote static key, and is not told it")
            return
        if not self._initiator:
            self._symmetric.mix_hash(self._static.public)
            return
        if self.remote_static is None:
            raise HandshakeError(f"{pattern} needs the responder's static key")
        check_point(self.remote_static)
        self._symmetric.mix_hash(self.remote_static)

    def _begin(self, *, writing: bool) -> tuple[str, ...]:
        self._check_process()
        if self._dead:
            raise HandshakeError("this handshake has failed; start a new one")
        # Dead until the step is complete: whatever goes wrong in between, there is no second try.
        self._dead = True
        if self._position == len(self._messages):
            raise HandshakeError("this handshake is finished")
        if writing != ((self._position % 2 == 0) == self._initiator):
            raise HandshakeError("it is the other side's turn")
        return self._messages[self._position]

    def _advance(self) -> None:
        self._position += 1
        self._dead = False

    def _check_finished(self) -> None:
        self._check_process()
        if not self.finished:
            raise HandshakeError("the handshake is not finished")

    def _write_step(self, step: str) -> bytes:
        if step == "e":
            fixed = self._fixed_ephemeral
            self._ephemeral = DhKeyPair.generate() if fixed is None else DhKeyPair(fixed)
            self._symmetric.mix_hash(self._ephemeral.public)
            return self._ephemeral.public
        if step == "s":
            return self._symmetric.encrypt_and_hash(self._static.public)
        if step == "e1":
            self._kem = KemKeyPair()
            return self._symmetric.encrypt_and_hash(self._kem.public)
        if step == "ekem1":
            ciphertext, secret = encapsulate(_present(self._remote_kem))
            sent = self._symmetric.encrypt_and_hash(ciphertext)
            self._symmetric.mix_key(secret)
            return sent
        self._mix_agreement(step)
        return b""

    def _read_step(self, step: str, source: _Cursor) -> None:
        if step == "e":
            self._remote_ephemeral = source.take(DH_BYTES)
            check_point(self._remote_ephemeral)
            if self._ephemeral is not None and self._ephemeral.public == self._remote_ephemeral:
                raise HandshakeError("our own ephemeral key came back: the message is a reflection")
            self._symmetric.mix_hash(self._remote_ephemeral)
        elif step == "s":
            self.remote_static = self._read_encrypted(source, DH_BYTES)
            check_point(self.remote_static)
        elif step == "e1":
            self._remote_kem = self._read_encrypted(source, KEM_PUBLIC_BYTES)
        elif step == "ekem1":
            ciphertext = self._read_encrypted(source, KEM_CIPHERTEXT_BYTES)
            self._symmetric.mix_key(_present(self._kem).decapsulate(ciphertext))
        else:
            self._mix_agreement(step)

    def _read_encrypted(self, source: _Cursor, size_bytes: int) -> bytes:
        return self._symmetric.decrypt_and_hash(
            source.take(size_bytes + self._symmetric.cipher.overhead_bytes)
        )

    def _mix_agreement(self, step: str) -> None:
        # The first letter is the initiator's key, the second the responder's.
        first, second = step[0], step[1]
        ours, theirs = (first, second) if self._initiator else (second, first)
        pair = self._ephemeral if ours == "e" else self._static
        public = self._remote_ephemeral if theirs == "e" else self.remote_static
        self._symmetric.mix_key(_present(pair).agree(_present(public)))


class _Cursor:
    """Takes fields off the front of a message."""

    def __init__(self, message: bytes) -> None:
        self._message = message
        self._position = 0

    def take(self, size_bytes: int) -> bytes:
        end = self._position + size_bytes
        if end > len(self._message):
            raise HandshakeError("the message is cut short")
        field = self._message[self._position : end]
        self._position = end
        return field

    def rest(self) -> bytes:
        return self._message[self._position :]


T = TypeVar("T")


def _present(value: T | None) -> T:
    if value is None:
        raise HandshakeError("the pattern uses a key before it was exchanged")
    return value
