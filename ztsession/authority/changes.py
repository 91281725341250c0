"""The Authority's mouth: every change is numbered and durable before anybody hears of it.

Changes are kept for longer than any session can live, and then forgotten: a point that starts anew, or was
away for so long, begins at the first change that is kept. What outlives sessions (a narrowed profile, a
signing key and its end) is said again before it would be forgotten.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from ztsession.authority.live import Tightening
from ztsession.bus.change import Change
from ztsession.bus.feed import CHANGES_MAX, FeedAnswer, FeedRequest
from ztsession.bus.inprocess import InProcessBus
from ztsession.risk.levels import Mode
from ztsession.store.sqlite import KEEP_S, SqliteStore
from ztsession.wire.signature import Signer

__all__ = ["ChangeLog"]

_FORGOTTEN = "changes-forgotten"


class ChangeLog:
    """Numbers changes in the store, pushes them on the bus, and answers points that ask. Thread-safe."""

    def __init__(self, store: SqliteStore, signer: Signer, *, clock: Callable[[], float] = time.time) -> None:
        self._store, self._signer, self._clock = store, signer, clock
        self._bus = InProcessBus()
        self._made = threading.Condition()
        self._last = store.last_change()
        #: No change up to this number is kept.
        self._forgotten = int.from_bytes(store.get_state(_FORGOTTEN) or b"", "big")
        self._latest_us = self._made_us(self._last)
        self.subscribe = self._bus.subscribe

    def write_mode(self, session: bytes, mode: Mode) -> Change:
        """Record a session's mode; call inside the store's transaction that changes it, then
        :meth:`publish`.
        """
        return self._append(
            Change.revoke(session) if mode is Mode.REVOKED else Change.set_mode(session, mode)
        )

    def write_retire(self, session: bytes) -> Change:
        """Record that a session was renewed and ends after the overlap; then :meth:`publish`."""
        return self._append(Change.retire(session))

    def write_narrow(self, profile: bytes, allowed: Sequence[int]) -> Change:
        """Record that a profile (32-byte digest) is narrowed to these bitmaps; then :meth:`publish`."""
        return self._append(Change.narrow(profile, list(allowed)))

    def write_tighten(self, tightening: Tightening) -> Change:
        """Record that the rules leave less of a profile, or of one session of it; then :meth:`publish`."""
        profile, session, less = tightening
        return self._append(Change.tighten(profile, list(less.allowed), less.step_up, session=session))

    def write_signing_key(self, public: bytes) -> Change:
        """Record that points are to believe this Ed25519 public key, too; then :meth:`publish`."""
        return self._append(Change.signing_key(public))

    def write_retired_key(self, name: bytes) -> Change:
        """Record that a key is over: a signing key's 32 bytes or a segment key's name; then
        :meth:`publish`.
        """
        return self._append(Change.retire_key(name))

    def has_ended(self, name: bytes) -> bool:
        """Whether :meth:`write_retired_key` was ever said of this key."""
        last = self._forgotten
        while stored := self._store.changes_after(last, limit=1000):
            last = stored[-1].number
            changes = [Change.from_bytes(row.data) for row in stored]
            if any((change.what, change.key) == ("retire-key", name) for change in changes):
                return True
        return False

    def publish(self, changes: Sequence[Change]) -> None:
        """Push what is durable by now: to this process at once, to those who wait at their sockets."""
        for change in changes:
            self._bus.publish(change)
        with self._made:
            self._last = max([self._last, *(change.number for change in changes)])
            self._made.notify_all()

    def answer(self, data: bytes) -> bytes:
        """Answer an encoded FeedRequest; WireError for anything else, StoreError for changes never made
        here.
        """
        request = FeedRequest.from_bytes(data)
        if request.wait_ms:
            with self._made:
                self._made.wait_for(lambda: self._last > request.after, request.wait_ms / 1000)
        after = max(request.after, self._forgotten)
        stored = self._store.changes_after(after, limit=CHANGES_MAX + 1)
        answer = FeedAnswer(
            segment=request.segment,
            nonce=request.nonce,
            after=after,
            changes=[change.data for change in stored[:CHANGES_MAX]],
            complete=len(stored) <= CHANGES_MAX,
        )
        return answer.sign(self._signer)

    def prune(self, now: int) -> None:
        """Delete what can matter to nobody at ``now`` (Unix seconds), here and in the rest of the store."""
        with self._store.transaction():
            last, lasting = self._outlived(now - KEEP_S)
            again = [self._append(change) for change in lasting.changes()]
            self._store.put_state(_FORGOTTEN, last.to_bytes(8, "big"))
            self._store.prune(now)
        self._forgotten = last
        self.publish(again)

    def _outlived(self, horizon: int) -> tuple[int, _Lasting]:
        last, lasting = self._forgotten, _Lasting()
        while stored := self._store.changes_after(last, limit=1000):
            for row in stored:
                change = Change.from_bytes(row.data)
                if change.sent_at // 1_000_000 > horizon:
                    return last, lasting
                last = row.number
                lasting.take(change)
        return last, lasting

    def _made_us(self, number: int) -> int:
        stored = self._store.changes_after(number - 1) if number > self._forgotten else []
        return Change.from_bytes(stored[0].data).sent_at if stored else 0

    def _append(self, change: Change) -> Change:
        with self._store.transaction():
            # Never back: were the later of two changes forgotten first, the feed would have a gap.
            self._latest_us = max(self._latest_us, int(self._clock() * 1e6))
            numbered = change.numbered(self._store.last_change() + 1, sent_at=self._latest_us)
            self._store.append_change("", numbered.to_bytes(), now=self._latest_us // 1_000_000)
            return numbered


class _Lasting:
    """What holds for longer than any session lives, summed up."""

    def __init__(self) -> None:
        self._narrowed: dict[bytes, list[int]] = {}
        #: The last word on each key: retired, once it was said, for good.
        self._keys: dict[bytes, str] = {}

    def take(self, change: Change) -> None:
        """Keep of a change what outlives it."""
        if change.what == "narrow":
            held = self._narrowed.get(change.profile, change.allowed)
            self._narrowed[change.profile] = [a & b for a, b in zip(held, change.allowed, strict=True)]
        elif change.key and self._keys.get(change.key) != "retire-key":
            self._keys[change.key] = change.what

    def changes(self) -> list[Change]:
        """All of it, to be said again."""
        narrowed = [Change.narrow(profile, allowed) for profile, allowed in self._narrowed.items()]
        said = {"signing-key": Change.signing_key, "retire-key": Change.retire_key}
        return narrowed + [said[what](key) for key, what in self._keys.items()]
