"""What was taken from sessions since their grants were made.

A grant is written once and says what was decided then. What is taken later is told to the enforcement points
as changes, and the points hold it against their sessions. Whoever answers in a point's place from the grant
alone would go on allowing what every point refuses by now; so it has to listen, too.

Changes of this kind only ever take away, and taking the same away twice does no harm. That is why the order
here is simple: first listen, then read up what was said before.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from typing import Final, NamedTuple

from ztsession.authority.authority import Authority
from ztsession.bus.change import Change
from ztsession.bus.feed import FeedRequest, read_answer
from ztsession.policy.grant import Grant
from ztsession.policy.tighten import narrower

__all__ = ["Left", "Taken"]

#: A session lives for a day at most; an hour for clocks that are put back.
KEPT_US: Final = 25 * 3600 * 1_000_000
#: What is held of single rules' changes before it is worth a look at which of it is over.
_SPARE: Final = 1024
_NAME: Final = "questions"
_ALL: Final = (2**64 - 1,) * 3


class Left(NamedTuple):
    """What is left of a grant: bitmaps for NORMAL, RESTRICTED and SUSPENDED, and what wants a step-up
    first.
    """

    allowed: tuple[int, ...]
    step_up: int


@dataclass(frozen=True, slots=True)
class _Loss:
    allowed: tuple[int, ...] = _ALL
    step_up: int = 0
    #: Unix microseconds after which no session is left that it could be about; 0 for never.
    until: int = 0

    def with_change(self, change: Change) -> _Loss:
        allowed = tuple(narrower(self.allowed, change.allowed))
        # A profile that was narrowed stays so for sessions to come; changed rules give them another profile.
        lasting = change.what == "narrow" or (self != _Loss() and not self.until)
        until = 0 if lasting else max(self.until, change.sent_at + KEPT_US)
        return _Loss(allowed, self.step_up | change.step_up, until)


class Taken:
    """Hears an Authority of this process. Thread-safe; ``close()`` it."""

    def __init__(self, authority: Authority) -> None:
        """Begin to listen, and read up what is still said of the past; StoreError if that cannot be read."""
        self._lock = threading.Lock()
        #: By a session's id (16 bytes) or a profile's digest (32 bytes).
        self._losses: dict[bytes, _Loss] = {}
        self._look_at = _SPARE
        self.close = authority.subscribe(self._take)
        self._read_up(authority)

    def left_of(self, grant: Grant) -> Left:
        """What its session may still do by a grant."""
        left = _Loss(tuple(grant.allowed), grant.step_up)
        with self._lock:
            losses = [self._losses.get(key) for key in (grant.profile_digest(), grant.session)]
        for loss in losses:
            if loss is not None:
                left = _Loss(tuple(narrower(left.allowed, loss.allowed)), left.step_up | loss.step_up)
        return Left(left.allowed, left.step_up)

    def __len__(self) -> int:
        """Of how many profiles and sessions something is remembered."""
        return len(self._losses)

    def _read_up(self, authority: Authority) -> None:
        after, complete = 0, False
        while not complete:
            request = FeedRequest(_NAME, os.urandom(32), after)
            news = read_answer(authority.feed(request.to_bytes()), request, authority.ticket_keys)
            for change in news.changes:
                self._take(change)
            after, complete = news.after + len(news.changes), news.complete

    def _take(self, change: Change) -> None:
        with self._lock:
            if change.what in ("narrow", "tighten"):
                key = change.session or change.profile
                self._losses[key] = self._losses.get(key, _Loss()).with_change(change)
                self._forget_before(change.sent_at)
            elif change.what in ("revoke", "retire"):
                # Over, and no grant of it is asked about any more.
                self._losses.pop(change.session, None)

    def _forget_before(self, now_us: int) -> None:
        if len(self._losses) < self._look_at:
            return
        self._losses = {
            key: loss for key, loss in self._losses.items() if not loss.until or loss.until > now_us
        }
        self._look_at = 2 * len(self._losses) + _SPARE
