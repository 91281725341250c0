"""What was taken from sessions since their grants were made, for whoever answers in a point's place.

A grant is written once and says what was decided then. What is taken later is told to the enforcement points
as changes, and the points hold it against their sessions. An answer from the grant alone would go on allowing
what every point refuses by now; so whoever gives one has to listen, too.

Changes of this kind only ever take away, and taking the same away twice does no harm. That is why the order
here is simple: first listen, then read up what was said before.
"""

from __future__ import annotations

import os
import threading
from typing import Final

from ztsession.authority.authority import Authority
from ztsession.bus.change import Change
from ztsession.bus.feed import FeedRequest, read_answer
from ztsession.bus.taken import Taken
from ztsession.policy.grant import Grant
from ztsession.policy.tighten import Less

__all__ = ["Heard"]

_NAME: Final = "questions"


class Heard:
    """Hears an Authority of this process. Thread-safe; ``close()`` it."""

    def __init__(self, authority: Authority) -> None:
        """Begin to listen, and read up what is still said of the past; StoreError if that cannot be read."""
        self._lock = threading.Lock()
        self._taken = Taken()
        self.close = authority.subscribe(self._take)
        self._read_up(authority)

    def __len__(self) -> int:
        """Of how many profiles and sessions something is remembered."""
        return len(self._taken)

    def left_of(self, grant: Grant, now: float) -> Less:
        """What its session may still do by a grant at ``now`` (Unix seconds)."""
        profile, left = grant.profile_digest(), Less.of(grant.allowed, grant.step_up)
        if 0 < grant.until <= now:
            left &= Less.of(grant.lasting)
        with self._lock:
            return left & self._taken.of_profile(profile) & self._taken.of_session(profile, grant.session)

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
            self._taken.take(change)
            self._taken.age(change.sent_at)
