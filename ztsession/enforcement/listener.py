"""The point's ear: applies the Authority's changes and keeps the lease.

The lease is the safety property and everything else only makes it fast: a change may be pushed within
microseconds, but only a signed, complete answer to the point's own question extends how long the point may
trust what it knows.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable

from ztsession._core import Table
from ztsession._records import Profile
from ztsession.bus.change import Change
from ztsession.bus.feed import FeedRequest, FeedSource, read_answer
from ztsession.bus.taken import Taken, name_of
from ztsession.enforcement.believed import Believed
from ztsession.enforcement.lease import LeaseKeeper
from ztsession.enforcement.modes import KnownModes
from ztsession.errors import TableFull, ZtsError
from ztsession.limits import OVERLAP_S
from ztsession.policy.tighten import EVERYTHING, Less
from ztsession.risk.levels import Mode

__all__ = ["Listener"]

_log = logging.getLogger("ztsession.enforcement")


class Listener:
    """Applies changes to one table, in the order of their numbers and without a gap. Thread-safe."""

    def __init__(
        self,
        segment: str,
        table: Table,
        source: FeedSource,
        believed: Believed,
        lease: LeaseKeeper,
        *,
        ended: Callable[[bytes], int | None],
        handle_of: Callable[[bytes], int | None],
        profile_of: Callable[[bytes], Profile | None],
    ) -> None:
        self._segment, self._table, self._source, self._believed = segment, table, source, believed
        self._ended, self._handle_of, self._profile_of = ended, handle_of, profile_of
        self._lease = lease
        self._lock = threading.RLock()
        self._applied = 0
        self._heard, self._deaf = False, False
        self._modes, self._retired = KnownModes(), KnownModes()
        self._taken = Taken()
        #: Names of the profiles with less in them that single sessions were given, by what they were made of.
        self._lesser: dict[bytes, set[bytes]] = {}

    def mode_of(self, session: bytes) -> str:
        """The mode that a session starts with when it is installed; none ("REVOKED") once it was renewed."""
        with self._lock:
            return max(self._modes.get(session), self._retired.get(session)).name

    @property
    def heard(self) -> bool:
        """Whether the Authority was heard out at least once: before that, no revocation is known here."""
        return self._heard

    def apply(self, change: Change) -> None:
        """Take one pushed change; one that comes too early is left for :meth:`ask`, which fills the gap."""
        with self._lock:
            # A push is unsigned, and who can push must not name the keys: of these a signed answer tells.
            if change.number == self._applied + 1 and not change.key:
                self._obey(change)
                self._applied = change.number
            elif change.number > self._applied:
                self._catch_up()

    def ask(self, wait_ms: int = 0) -> bool:
        """Ask the Authority what is new and extend the lease; False when it could not be had."""
        # A machine that slept must not think afterwards that its lease still holds, answer or none.
        self._table.fold_suspend()
        try:
            asked_us = self._catch_up(wait_ms)
        except ZtsError as error:
            self._log_silence(error)
            self._lease.check()
            return False
        self._table.fold_suspend()
        self._lease.extend(asked_us)
        if self._deaf:
            _log.warning("segment %s hears from its Authority again", self._segment)
        self._heard, self._deaf = True, False
        return True

    def sweep(self) -> None:
        """Forget modes that no session of today can have."""
        with self._lock:
            for memory in (self._modes, self._retired, self._taken):
                memory.age(self._table.now_us())
            self._lesser = {p: names for p, names in self._lesser.items() if self._profile_of(p) is not None}

    def settle(self, handle: int, session: bytes, profile: bytes) -> None:
        """A session (16-byte id) was installed: what was taken from it or its profile (32 bytes) before is
        missing from it, too.
        """
        with self._lock:
            less = self._taken.of_profile(profile)
            if less != EVERYTHING:
                self._table.narrow(profile, less.allowed, less.step_up)
            self._tighten_session(handle, session, profile)

    def _catch_up(self, wait_ms: int = 0) -> int:
        """Apply all there is; the session time at which the last, complete answer was asked for."""
        while True:
            asked_us = self._table.now_us()
            request = FeedRequest(self._segment, os.urandom(32), self._applied, wait_ms)
            answer = self._source.feed(request.to_bytes())
            news = read_answer(answer, request, self._believed.keys)
            with self._lock:
                self._applied = max(self._applied, news.after)
                for change in news.changes:
                    if change.number == self._applied + 1:
                        self._obey(change)
                        self._applied = change.number
            if news.complete:
                return asked_us
            wait_ms = 0

    def _log_silence(self, error: ZtsError) -> None:
        # Once, and not with each of ten tries a second.
        level = logging.DEBUG if self._deaf else logging.WARNING
        _log.log(level, "segment %s does not hear from its Authority: %s", self._segment, error)
        self._deaf = True

    def _obey(self, change: Change) -> None:
        if change.what == "narrow":
            self._narrow(change)
        elif change.what == "tighten":
            self._tighten(change)
        elif change.what in ("mode", "revoke"):
            self._set_mode(change.session, Mode(change.mode))
        elif change.what == "retire":
            self._retire(change.session)
        elif change.what == "signing-key":
            self._believed.announce(change.key)
        elif change.what == "retire-key":
            self._believed.retire(change.key)

    def _set_mode(self, session: bytes, mode: Mode) -> None:
        if self._modes.get(session) is Mode.REVOKED:
            return
        self._modes.put(session, mode)
        if mode is Mode.REVOKED:
            handle = self._ended(session)
            if handle is not None:
                self._table.end(handle, revoked=True)
            return
        handle = self._handle_of(session)
        if handle is not None:
            self._table.set_mode(handle, mode.name)

    def _retire(self, session: bytes) -> None:
        # Kept apart from the modes: until it is over, a revocation must still be able to end it at once.
        self._retired.put(session, Mode.REVOKED)
        handle = self._handle_of(session)
        if handle is not None:
            self._table.shorten(handle, OVERLAP_S * 1_000_000)

    def _narrow(self, change: Change) -> None:
        self.take(change.profile, self._taken.take(change))

    def _tighten(self, change: Change) -> None:
        less = self._taken.take(change)
        if not change.session:
            self.take(change.profile, less)
            return
        handle = self._handle_of(change.session)
        record = None if handle is None else self._table.record(handle)
        # Points of other segments hear of it, too: what the session has there is another decision.
        if handle is not None and record is not None and record.profile == change.profile:
            self._tighten_session(handle, change.session, change.profile)

    def take(self, profile: bytes, less: Less) -> None:
        """Every session of a profile (32 bytes) has less from now on, also those that have less already."""
        # A session that gets a decision of its own meanwhile would take along what is being taken.
        with self._lock:
            for each in (profile, *self._lesser.get(profile, ())):
                self._table.narrow(each, less.allowed, less.step_up)

    def _tighten_session(self, handle: int, session: bytes, profile: bytes) -> None:
        less = self._taken.of_session(profile, session)
        if less == EVERYTHING:
            return
        name, whole = name_of(profile, less), self._profile_of(profile)
        try:
            if whole is None:
                raise TableFull("its decision is not known here")
            self._lesser.setdefault(profile, set()).add(name)
            self._table.tighten(handle, whole.tightened(name, less.allowed, less.step_up))
        except TableFull as error:
            # It would go on with what it may not have: its client has to come again.
            _log.error("a session of segment %s ends, it cannot be given less: %s", self._segment, error)
            self._ended(session)
            self._table.end(handle, revoked=True)
