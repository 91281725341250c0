"""Threads for what must not run on an event loop: handshakes, which wait for a disk, and long polls.

A decision is on disk before it is told, and one fsync on the loop would hold up every connection there is.
Polls have threads of their own: an enforcement point's question for changes may wait a minute for its answer,
and as many of them as there are workers would keep every client out. Whoever leaves before his answer leaves
a thread at work for him, which stays counted as his until it is done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from ztsession.bus.feed import FeedRequest
from ztsession.bus.report import SignalReport
from ztsession.errors import Overloaded, WireError
from ztsession.integrations.shares import Shares

__all__ = ["Workers", "feed_request", "is_report"]

WORKERS = 8
WAITING_MAX = 256
POLLS_MAX = 256


class Workers:
    """Runs blocking calls for one event loop, a bounded number at once and a bounded number in waiting."""

    def __init__(
        self,
        *,
        workers: int = WORKERS,
        waiting_max: int = WAITING_MAX,
        polls_max: int = POLLS_MAX,
        per_source_max: int = WAITING_MAX,
    ) -> None:
        """Threads are started as they are needed; ``close`` them."""
        self._work = _Pool("ztsession-worker", workers, workers + waiting_max)
        self._polls = _Pool("ztsession-poll", polls_max, polls_max)
        self._shares = Shares(per_source_max)

    async def exchange(self, exchange: Callable[[bytes], bytes], message: bytes, source: str = "") -> bytes:
        """Run ``exchange(message)`` where it belongs; Overloaded at once when there is no room for it, or
        ``source`` has its share under way.

        When the caller is cancelled the call goes on to its end, and its result is dropped.
        """
        asked = feed_request(message)
        pool = self._polls if asked is not None and asked.wait_ms else self._work
        if not self._shares.take(source):
            raise Overloaded("this source has enough to be done already")
        return await pool.run(exchange, message, partial(self._shares.give_back, source))

    def close(self) -> None:
        """Take no more work; what is under way ends by itself."""
        self._work.close()
        self._polls.close()


def feed_request(message: bytes) -> FeedRequest | None:
    """The message as a point's question for changes, None if it is anything else."""
    try:
        return FeedRequest.from_bytes(message)
    except WireError:
        return None


def is_report(message: bytes) -> bool:
    """Whether the message is what a point reports."""
    try:
        return bool(SignalReport.from_bytes(message))
    except WireError:
        return False


class _Pool:
    def __init__(self, name: str, threads: int, calls_max: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._calls_max, self._calls = calls_max, 0

    async def run(
        self, call: Callable[[bytes], bytes], message: bytes, afterwards: Callable[[], None]
    ) -> bytes:
        loop = asyncio.get_running_loop()
        try:
            if self._calls >= self._calls_max:
                raise Overloaded("too much is to be done already")
            future = self._executor.submit(call, message)
        except BaseException:
            afterwards()
            raise
        self._calls += 1
        future.add_done_callback(lambda _: afterwards())
        future.add_done_callback(lambda _: self._done(loop))
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _done(self, loop: asyncio.AbstractEventLoop) -> None:
        # In the thread that did the work, which may end after the loop did.
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._count_down)

    def _count_down(self) -> None:
        self._calls -= 1
