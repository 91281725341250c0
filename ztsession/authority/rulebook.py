"""The rules in force, and how others take their place: as a whole, or not at all.

New rules are read and checked in full first. Then every live session is held against them, and what they take
away is written, with the number of the new version, before anything is decided by them. A version that does
not load is refused, out loud, and the old one stays.

The version is part of every grant. So a decision under today's rules never looks like one of before, and what
was taken from sessions of before is not taken from those that are granted under rules that allow it again.

A grant knows the hours of the rules that it was made by, and of no others. So whenever time alone may have
changed what the rules say, live sessions are held against them again, before a point's lease is prolonged.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from ztsession.audit.sink import AuditSink
from ztsession.authority.afterwards import Afterwards
from ztsession.authority.changes import ChangeLog
from ztsession.authority.decision import Decider
from ztsession.authority.live import LiveGrants
from ztsession.authority.reviewing import Review, review
from ztsession.errors import AuditError, ConfigurationError, StoreError
from ztsession.store.sqlite import SqliteStore
from ztsession.wire import canonical

__all__ = ["RuleBook"]

_STATE: Final = "rules"
#: How far to look for the next moment at which an answer can change: rules over time have one a day at least.
_LOOK_S: Final = 2 * 86_400

_log = logging.getLogger("ztsession.authority")


class RuleBook:
    """Holds the decider in force. Thread-safe."""

    def __init__(
        self,
        decider: Decider,
        store: SqliteStore,
        changes: ChangeLog,
        audit: AuditSink,
        live: LiveGrants,
        *,
        load: Callable[[], Decider] | None,
        end: Callable[[bytes, str], None],
        lock: threading.RLock,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``load`` makes a fresh decider; ``end`` ends a session for a reason; ``lock`` is the Authority's
        own.
        """
        self._store, self._changes, self._audit, self._live = store, changes, audit, live
        self._load, self._end, self._lock, self._clock = load, end, lock, clock
        self._version, self._digest = _stored(store)
        self.decider = decider
        decider.version = max(1, self._version)
        self._review_at = math.inf
        #: How many reloads have begun to read, and which of them is in force.
        self._begun = self._taken = 0

    @property
    def version(self) -> int:
        """How often the rules have changed, from 1; every grant says it."""
        return self.decider.version

    @property
    def unchanged(self) -> bool:
        """Whether the policies are those of the last version."""
        return self.decider.policies.current.digest == self._digest

    def reload(self) -> None:
        """Read everything again; on any error all the old ones stay and the error names the place.

        On return the new rules decide, and what they take from live sessions is in force at every point of
        this process. StoreError: nothing has changed, or some session could not be ended, which is tried
        again before any lease is prolonged. AuditError: they are in force, and the log does not say so.
        """
        if self._load is None:
            raise ConfigurationError("this Authority was not opened from a directory")
        with self._lock:
            self._begun += 1
            began = self._begun
        try:
            fresh = self._load()
        except ConfigurationError as error:
            self._refuse(error)
            raise
        with self._lock, Afterwards(self._audit) as audit:
            if began < self._taken:
                return  # what was read later is in force already
            found = self._adopt(fresh)
            self._taken = began
            audit.record("policy.reloaded", policy=fresh.policies.current.digest, version=self.version)
            self._follow(found, audit)

    def review(self) -> int:
        """Hold live sessions against the rules in force: those of before may have lost something with an
        enrolment, or while nobody was running. How many ended.
        """
        with self._lock, Afterwards(self._audit) as audit:
            # Should it fail, it is done again before any lease is prolonged.
            self._review_at = -math.inf
            found = self._adopt(self.decider)
            return self._follow(found, audit)

    def keep_hours(self) -> None:
        """:meth:`review`, if time alone may have changed what the rules in force say. Does not wait: while
        something else is being decided, it is left to the next call.
        """
        # Points ask, also while a change is told to them: to wait for who tells it could be for ever.
        if self._clock() < self._review_at or not self._lock.acquire(blocking=False):
            return
        try:
            if self._clock() >= self._review_at:
                self.review()
        finally:
            self._lock.release()

    def _adopt(self, decider: Decider) -> Review:
        now, policies = self._clock(), decider.policies.current
        self._live.pass_hours(now)
        found = review(self._live, decider, now)
        digest = policies.digest
        version = max(1, self._version + (bool(found.tightened) or digest != self._digest))
        with self._store.transaction():
            if (version, digest) != (self._version, self._digest):
                self._store.put_state(_STATE, canonical.encode({"version": version, "digest": digest}))
            changes = [self._changes.write_tighten(tightening) for tightening in found.tightened]
        self._version, self._digest = version, digest
        self._review_at = next(policies.calendar.changes(now, now + _LOOK_S, policies.mentions), math.inf)
        decider.version = version
        self.decider = decider
        self._live.took(found.tightened)
        self._changes.publish(changes)
        return found

    def _follow(self, found: Review, audit: Afterwards) -> int:
        if found.tightened:
            profiles = {tightening.profile for tightening in found.tightened}
            alone = {tightening.session for tightening in found.tightened} - {b""}
            audit.record(
                "policy.tightened", version=self.version, profiles=len(profiles), sessions=len(alone)
            )
        for cause in found.failed:
            _log.error("a policy failed, and a failure denies: %s", cause)
            audit.record("policy.failed", cause=cause[:512])
        for cause in self.decider.policies.current.take_failures():
            audit.record("policy.failed", cause=cause[:512])
        return self._end_all(found.ended)

    def _end_all(self, ended: Sequence[tuple[bytes, str]]) -> int:
        count, failed = 0, list[StoreError | AuditError]()
        for session, why in ended:
            # One that was renewed ends together with those that follow it.
            if session in self._live:
                try:
                    self._end(session, why[:512])
                    count += 1
                except (StoreError, AuditError) as error:
                    failed.append(error)  # the others end all the same
        unended = [each for each in failed if isinstance(each, StoreError)]
        if unended:
            # Reviewed again before any lease is prolonged.
            self._review_at = -math.inf
        if failed:
            raise [*unended, *failed][0]
        return count

    def _refuse(self, error: ConfigurationError) -> None:
        try:
            self._audit.record("policy.refused", cause=str(error)[:512])
        except AuditError as unrecorded:
            _log.error("that rules were refused is not in the audit log: %s", unrecorded)


def _stored(store: SqliteStore) -> tuple[int, bytes]:
    data = store.get_state(_STATE)
    if data is None:
        return 0, b""
    state = canonical.decode(data, max_bytes=256)
    match state:
        case {"version": int(version), "digest": bytes(digest)} if version >= 1:
            return version, digest
    raise StoreError("the state of the rules is damaged")
