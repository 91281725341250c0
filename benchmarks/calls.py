"""Ours, one message of 64 bytes at a time and in batches, as scenarios that the tables and pytest-benchmark
share.

A session is made by ``ztsession.testing``: real ticket, real installation, real table; the point's
housekeeping thread runs as it would in a service. Every token is fresh: signed before the loop, verified in
it, and never seen again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.measure import Loop
from ztsession.client import InstalledSession
from ztsession.enforcement import EnforcementPoint
from ztsession.limits import TOKEN_BYTES
from ztsession.testing import pair

__all__ = ["BATCH", "Calls"]

OPERATION = "orders.submit"
BODY_BYTES = 64
#: Tokens of one verify_batch: what a busy service finds waiting, and enough to forget the call around it.
BATCH = 1024


class Calls:
    """One session at one point, and the loops over it."""

    def __init__(self) -> None:
        self.client: InstalledSession
        self.point: EnforcementPoint
        self.client, self.point = pair(operations=[OPERATION], capacity=1024)
        self.body = os.urandom(BODY_BYTES)

    def close(self) -> None:
        """Let the point's thread go."""
        self.client.close()
        self.point.close()

    def tokens(self, count: int) -> list[bytes]:
        """``count`` fresh tokens for the body."""
        joined = self.client.sign_batch(OPERATION, self.body * count, count=count)
        return [joined[i : i + TOKEN_BYTES] for i in range(0, len(joined), TOKEN_BYTES)]

    # ---- One at a time

    def empty(self, calls: int) -> Loop:
        """The loop with nothing in it."""
        return Loop("the empty loop", calls, self.tokens, _pass_over)

    def verify(self, calls: int) -> Loop:
        """``verify(token, body)``, everything checked."""
        return Loop("verify", calls, self.tokens, _each_with(self.point.verifier(OPERATION), self.body))

    def plain(self, calls: int) -> Loop:
        """The handler called as it is."""
        return Loop("plain call of a handler", calls, self.tokens, _each_with(_handler, self.body))

    def protected(self, calls: int) -> Loop:
        """The same handler behind ``@point.protect``."""
        submit = self.point.protect(OPERATION)(_handler)
        return Loop("decorated call of a handler", calls, self.tokens, _each_with(submit, self.body))

    def sign(self, calls: int) -> Loop:
        """``sign(body)``."""
        return Loop("sign", calls, self._bodies, _each(self.client.signer(OPERATION)))

    def _bodies(self, count: int) -> list[bytes]:
        return [self.body] * count

    # ---- In batches

    def batches(self, calls: int) -> list[tuple[bytes, bytes]]:
        """(tokens, bodies) of whole batches, every body its own."""
        found = []
        for _ in range(calls // BATCH):
            bodies = os.urandom(BATCH * BODY_BYTES)
            found.append((self.client.sign_batch(OPERATION, bodies, count=BATCH), bodies))
        return found

    def verify_batch(self, calls: int) -> Loop:
        """``verify_batch`` of good tokens."""
        return Loop("verify_batch", _whole(calls), self.batches, self._run_batches("OK"))

    def refuse_bad_tags(self, calls: int) -> Loop:
        """``verify_batch`` of tokens with one bit of the tag turned."""
        return Loop("verify_batch, bad tags", _whole(calls), self._spoiled(47), self._run_batches("BAD_TAG"))

    def refuse_unknown(self, calls: int) -> Loop:
        """``verify_batch`` of tokens whose handle lives nowhere: the right slot, other random bits."""
        run = self._run_batches("UNKNOWN_SESSION")
        return Loop("verify_batch, unknown handles", _whole(calls), self._spoiled(12), run)

    def sign_batch(self, calls: int) -> Loop:
        """``sign_batch``."""
        sign = self.client.sign_batch

        def run(batches: Sequence[tuple[bytes, bytes]]) -> None:
            for _, bodies in batches:
                sign(OPERATION, bodies, count=BATCH)

        return Loop("sign_batch", _whole(calls), self.batches, run)

    def _spoiled(self, at: int) -> Callable[[int], list[tuple[bytes, bytes]]]:
        def prepare(calls: int) -> list[tuple[bytes, bytes]]:
            spoiled = []
            for tokens, bodies in self.batches(calls):
                turned = bytearray(tokens)
                turned[at::TOKEN_BYTES] = bytes(byte ^ 1 for byte in turned[at::TOKEN_BYTES])
                spoiled.append((bytes(turned), bodies))
            return spoiled

        return prepare

    def _run_batches(self, verdict: str) -> Callable[[Sequence[tuple[bytes, bytes]]], None]:
        verify_batch, expected = self.point.verify_batch, _all(verdict)

        def run(batches: Sequence[tuple[bytes, bytes]]) -> None:
            for tokens, bodies in batches:
                if verify_batch(OPERATION, tokens, bodies) != expected:
                    raise RuntimeError(f"a batch that should have been {verdict} throughout was not")

        return run


def _whole(calls: int) -> int:
    return max(calls // BATCH, 1) * BATCH


def _all(verdict: str) -> bytes:
    from ztsession import VERDICTS

    return bytes([VERDICTS.index(verdict)]) * BATCH


def _handler(session: object, body: bytes) -> None:
    return None


def _pass_over(items: Sequence[object]) -> None:
    for _ in items:
        pass


def _each(call: Callable[[Any], object]) -> Callable[[Sequence[Any]], None]:
    def run(items: Sequence[Any]) -> None:
        for item in items:
            call(item)

    return run


def _each_with(call: Callable[[Any, bytes], object], body: bytes) -> Callable[[Sequence[Any]], None]:
    def run(items: Sequence[Any]) -> None:
        for item in items:
            call(item, body)

    return run
