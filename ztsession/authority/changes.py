"""The Authority's mouth: every change is numbered and durable before anybody hears of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from ztsession.bus.change import Change
from ztsession.bus.feed import CHANGES_MAX, FeedAnswer, FeedRequest
from ztsession.bus.inprocess import InProcessBus
from ztsession.risk.levels import Mode
from ztsession.store.sqlite import SqliteStore

__all__ = ["ChangeLog"]


class ChangeLog:
    """Numbers changes in the store, pushes them on the bus, and answers points that ask. Thread-safe."""

    def __init__(
        self, store: SqliteStore, signing_seed: bytes, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._store, self._signing_seed, self._clock = store, signing_seed, clock
        self._bus = InProcessBus()
        self._made = threading.Condition()
        self._last = store.last_change()
        self.subscribe = self._bus.subscribe

    def write_mode(self, session: bytes, mode: Mode) -> Change:
        """Record a session's mode; call inside the store's transaction that changes it, then
        :meth:`publish`.
        """
        return self._append(
            Change.revoke(session) if mode is Mode.REVOKED else Change.set_mode(session, mode)
        )

    def write_narrow(self, profile: bytes, allowed: Sequence[int]) -> Change:
        """Record that a profile (32-byte digest) is narrowed to these bitmaps; then :meth:`publish`."""
        return self._append(Change.narrow(profile, list(allowed)))

    def publish(self, changes: Sequence[Change]) -> None:
        """Push what is durable by now: to this process at once, to those who wait at their sockets."""
        for change in changes:
            self._bus.publish(change)
        with self._made:
            self._last = max([self._last, *(change.number for change in changes)])
            self._made.notify_all()

    def answer(self, data: bytes) -> bytes:
        """Answer an encoded FeedRequest; WireError for anything else, StoreError when its place is not kept
        any more.
        """
        request = FeedRequest.from_bytes(data)
        if request.wait_ms:
            with self._made:
                self._made.wait_for(lambda: self._last > request.after, request.wait_ms / 1000)
        stored = self._store.changes_after(request.after, limit=CHANGES_MAX + 1)
        answer = FeedAnswer(
            segment=request.segment,
            nonce=request.nonce,
            after=request.after,
            changes=[change.data for change in stored[:CHANGES_MAX]],
            complete=len(stored) <= CHANGES_MAX,
        )
        return answer.sign(self._signing_seed)

    def _append(self, change: Change) -> Change:
        now = self._clock()
        with self._store.transaction():
            numbered = change.numbered(self._store.last_change() + 1, sent_at=int(now * 1e6))
            self._store.append_change("", numbered.to_bytes(), now=int(now))
            return numbered
