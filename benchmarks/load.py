"""Threads that call all the time, while something is decided about the sessions that they call with.

The threads share the interpreter with whoever decides, as the handlers of a service do. What they see is
certain and no matter of time: a call that began after a session's refusal was promised is refused, or it is
counted.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import ztsession

__all__ = ["Load"]

OPERATION = "orders.submit"
#: Threads take turns this often, so that whoever decides is not kept waiting for the interpreter.
SWITCH_S = 0.0002
#: A thread calls so often, and then rests, as one does that waits for its next request.
BURST, REST_S = 16, 0.0005


class Load:
    """``threads`` threads that call with ``sessions`` in turn, at random, until the end of the block."""

    def __init__(
        self,
        verify: Callable[[bytes, bytes], object],
        sessions: Sequence[ztsession.InstalledSession],
        threads: int,
    ) -> None:
        self._verify, self._sessions = verify, sessions
        #: By session: odd while its calls are to be refused, and another number each time.
        self._turns = [0] * len(sessions)
        self._hot, self._over = 0, threading.Event()
        self.accepted, self.refused, self.wrong = [0] * threads, [0] * threads, [0] * threads
        self._threads = [threading.Thread(target=self._run, args=[n], daemon=True) for n in range(threads)]

    def call(self, number: int) -> bool:
        """One call with a session; whether it was accepted."""
        body = b"an order"
        try:
            self._verify(self._sessions[number].sign(OPERATION, body), body)
        except ztsession.Denied:
            return False
        return True

    def aim(self, number: int) -> None:
        """Let half of all calls be this session's."""
        self._hot = number

    def promise(self, number: int) -> None:
        """From now on every call of this session is to be refused."""
        self._turns[number] += 1

    def release(self, number: int) -> None:
        """It may be accepted again."""
        self._turns[number] += 1

    def _run(self, me: int) -> None:
        choose = random.Random(me)
        while not self._over.is_set():
            self._burst(me, choose)
            time.sleep(REST_S)

    def _burst(self, me: int, choose: random.Random) -> None:
        for _ in range(BURST):
            number = self._hot if choose.random() < 0.5 else choose.randrange(len(self._sessions))
            before = self._turns[number]
            accepted = self.call(number)
            (self.accepted if accepted else self.refused)[me] += 1
            if accepted and before % 2 and self._turns[number] == before:
                self.wrong[me] += 1

    def __enter__(self) -> Self:
        """Begin to call."""
        self._switched = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_S)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop calling; RuntimeError if somebody had stopped before."""
        broken = not all(thread.is_alive() for thread in self._threads)
        self._over.set()
        for thread in self._threads:
            thread.join()
        sys.setswitchinterval(self._switched)
        if broken and error is None:
            raise RuntimeError("a thread of the load has failed")
