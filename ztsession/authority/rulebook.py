"""The rules in force, and how others take their place: as a whole, or not at all.

New rules are read and checked in full first. Then every live session is held against them, and what they take
away is written, with the number of the new version, before anything is decided by them. A version that does
not load is refused, out loud, and the old one stays.

The version is part of every grant. So a decision under today's rules never looks like one of before, and what
was taken from sessions of before is not taken from those that are granted under rules that allow it again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
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
        self._reloading = threading.Lock()
        self._version, self._digest = _stored(store)
        self.decider = decider
        decider.version = max(1, self._version)

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
        this process. StoreError: nothing has changed. AuditError: they are in force, and the log does not
        say so.
        """
        if self._load is None:
            raise ConfigurationError("this Authority was not opened from a directory")
        # From reading on: what was read first must not take the place of what was read after it.
        with self._reloading:
            try:
                fresh = self._load()
            except ConfigurationError as error:
                self._refuse(error)
                raise
            with self._lock, Afterwards(self._audit) as audit:
                found = self._adopt(fresh)
                audit.record("policy.reloaded", policy=fresh.policies.current.digest, version=self.version)
                self._follow(found, audit)

    def review(self) -> int:
        """Hold live sessions against the rules in force: those of before may have lost something with an
        enrolment, or while nobody was running. How many ended.
        """
        with self._lock, Afterwards(self._audit) as audit:
            found = self._adopt(self.decider)
            return self._follow(found, audit)

    def _adopt(self, decider: Decider) -> Review:
        found = review(self._live, decider, self._clock())
        digest = decider.policies.current.digest
        version = max(1, self._version + (bool(found.tightened) or digest != self._digest))
        with self._store.transaction():
            if (version, digest) != (self._version, self._digest):
                self._store.put_state(_STATE, canonical.encode({"version": version, "digest": digest}))
            changes = [self._changes.write_tighten(tightening) for tightening in found.tightened]
        self._version, self._digest = version, digest
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
        ended = 0
        for session, why in found.ended:
            # One that was renewed ends together with those that follow it.
            if session in self._live:
                self._end(session, why[:512])
                ended += 1
        return ended

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
