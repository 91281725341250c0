"""Very many live sessions at one table, each called in turn in random order.

Every session is installed by ``Table.install`` and has its own keys and slot; they share one profile and one
record. The secret and the nonce are the same for all: keys still differ by handle, and no verify can tell.
Epochs are made as long as they go, so that every session stays in its first: what a change of keys costs is
another question.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.calls import BATCH
from benchmarks.measure import Loop
from benchmarks.native import library
from ztsession import VERDICTS
from ztsession._batch import verify_batch
from ztsession._calls import Verifier
from ztsession._core import Table
from ztsession._limits import LIMITS
from ztsession._records import Installation, Profile

__all__ = ["Fleet"]

TOKEN_BYTES, SECRET_BYTES = LIMITS["TOKEN_BYTES"], LIMITS["SECRET_BYTES"]

OPERATION = "orders.submit"
BODY_BYTES = 64
EPOCH_LENGTH_US = 1 << 48


class Fleet:
    """``sessions`` live sessions, and tokens of theirs."""

    def __init__(self, sessions: int, say: Callable[[str], None] = lambda _: None) -> None:
        self.sessions = sessions
        self.table = Table(operations=[OPERATION], capacity=sessions)
        self._random = np.random.default_rng()
        self._secret, self._nonce = os.urandom(SECRET_BYTES), os.urandom(SECRET_BYTES)
        self._sequence = 0
        say(f"installing {sessions:,} sessions")
        self._handles = self._install()
        say("deriving the clients' keys")
        self._keys = self._derive()
        self._body = os.urandom(BODY_BYTES)
        self._bodies = os.urandom(sessions * BODY_BYTES)

    def single(self) -> Loop:
        """``verify`` once for each session; tokens lie in memory in the order of the calls."""
        verify, body = Verifier(self.table, OPERATION), self._body

        def run(tokens: Sequence[bytes]) -> None:
            for token in tokens:
                verify(token, body)

        return Loop(f"verify, {self.sessions:,} sessions in random order", self.sessions, self._tokens, run)

    def batch(self) -> Loop:
        """``verify_batch`` over as many sessions, each token with a body of its own."""
        table, expected = self.table, VERDICTS.index("OK")

        def run(batches: Sequence[tuple[bytes, bytes]]) -> None:
            for tokens, bodies in batches:
                codes = verify_batch(table, OPERATION, tokens, bodies)
                if codes.count(expected) != len(codes):
                    raise RuntimeError("a batch of the fleet was not accepted throughout")

        return Loop(
            f"verify_batch, {self.sessions:,} sessions in random order", self.sessions, self._batches, run
        )

    # ---- Fresh tokens, one of each session

    def _tokens(self, _: int) -> list[bytes]:
        joined = self._sign(self._body, stride=0)
        return [joined[i : i + TOKEN_BYTES] for i in range(0, len(joined), TOKEN_BYTES)]

    def _batches(self, _: int) -> list[tuple[bytes, bytes]]:
        joined = self._sign(self._bodies, stride=BODY_BYTES)
        return [
            (
                joined[i * TOKEN_BYTES : (i + BATCH) * TOKEN_BYTES],
                self._bodies[i * BODY_BYTES : (i + BATCH) * BODY_BYTES],
            )
            for i in range(0, self.sessions, BATCH)
        ]

    def _sign(self, bodies: bytes, *, stride: int) -> bytes:
        order = self._random.permutation(self.sessions).astype(np.uint32)
        tokens = np.empty(self.sessions * TOKEN_BYTES, np.uint8)
        self._sequence += 1
        library().fleet_sign(
            self._keys.ctypes.data,
            self._handles.ctypes.data,
            order.ctypes.data,
            self.sessions,
            self._epoch(),
            self._sequence,
            self.table.now_us(),
            0,
            bodies,
            BODY_BYTES,
            stride,
            tokens.ctypes.data,
        )
        return tokens.tobytes()

    # ---- Sessions

    def _install(self) -> NDArray[np.uint64]:
        profile = Profile(
            os.urandom(32),
            allowed=[1, 0, 0],
            limits={0: (LIMITS["MAX_AGE_MAX_US"], 0)},
            epoch_length_us=EPOCH_LENGTH_US,
        )
        record = Installation(bytes(16), "algo-1", "host-1", 2, bytes(32))
        install = self.table.install
        made = (
            install(profile, self._secret, self._nonce, record, lifetime_us=1 << 46)[0]
            for _ in range(self.sessions)
        )
        return np.fromiter(made, np.uint64, self.sessions)

    def _derive(self) -> NDArray[np.uint8]:
        c = library()
        keys = np.empty(self.sessions * c.fleet_key_bytes(), np.uint8)
        c.fleet_keys(
            self._secret,
            self._nonce,
            self._epoch(),
            self._handles.ctypes.data,
            self.sessions,
            keys.ctypes.data,
        )
        return keys

    def _epoch(self) -> int:
        return self.table.now_us() // EPOCH_LENGTH_US
