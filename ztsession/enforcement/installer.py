"""Tickets in, sessions out: everything that happens between a presented ticket and a filled slot.

A ticket may be presented again with a fresh proof (the client was silent for too long, or this process
restarted): the new installation then replaces the old one. The same *request* is never taken twice, or a
recorded one could throw the live session out.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence

from ztsession._core import Table
from ztsession._records import Profile
from ztsession.enforcement.believed import Believed
from ztsession.enforcement.compact import CompactMap
from ztsession.enforcement.hours import Hours
from ztsession.enforcement.presented import PresentedTickets
from ztsession.errors import InstallationError
from ztsession.policy.catalog import Segment
from ztsession.policy.grant import Grant
from ztsession.policy.tighten import Less
from ztsession.tickets.installation import InstallAnswer, InstallRequest
from ztsession.tickets.profile import profile_of
from ztsession.tickets.record import Installation
from ztsession.tickets.segment_key import SegmentKey
from ztsession.tickets.ticket import open_ticket

__all__ = ["Installer"]

#: Profiles that may be kept beyond those in use, before it is worth a look at which these are.
_PROFILES_SPARE = 64

_log = logging.getLogger("ztsession.enforcement")


class Installer:
    """Turns install requests into sessions of one table. Thread-safe."""

    def __init__(
        self,
        table: Table,
        segment: Segment,
        keys: Callable[[], Sequence[SegmentKey]],
        believed: Believed,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._table, self._segment, self._keys, self._believed = table, segment, keys, believed
        self._clock = clock
        self._lock = threading.Lock()
        self._presented = PresentedTickets(table.capacity)
        self._profiles: dict[bytes, Profile] = {}
        self._profiles_max = _PROFILES_SPARE
        self._hours = Hours()
        #: The slot of each session.
        self._places = CompactMap()

    def install(self, data: bytes, mode_of: Callable[[bytes], str]) -> InstallAnswer:
        """Install what an encoded InstallRequest presents.

        ``mode_of(session)`` says in which mode it starts, "REVOKED" for none. Raises InstallationError or
        WireError with the exact cause.
        """
        request = InstallRequest.from_bytes(data)
        now = self._clock()
        grant, body = open_ticket(request.ticket, self._live_keys(), self._believed.keys, now)
        request.check(body.secret)
        remaining_s = body.ends_at - now
        self._check(grant, remaining_s)
        with self._lock:
            self._presented.take(request.ticket, request.nonce, body.ends_at)
            answer = self._fill(request, grant, body.secret, remaining_s)
        self._settle(grant.session, answer.handle, mode_of)
        return answer

    def handle_of(self, session: bytes) -> int | None:
        """The live handle of a session, if it is installed here."""
        with self._lock:
            return self._handle_at(self._places.get(session), session)

    def profile(self, digest: bytes) -> Profile | None:
        """The decision of this digest (32 bytes), if a session of it is installed here."""
        with self._lock:
            return self._profiles.get(digest)

    def take_due(self) -> list[tuple[bytes, Less]]:
        """The profiles of which less is left from now on, because their hour is over."""
        with self._lock:
            return self._hours.take_due(self._table.now_us()) if self._hours else []

    def next_due_us(self) -> int | None:
        """The session time at which there is the next of them."""
        with self._lock:
            return self._hours.next_us()

    def forget(self, session: bytes) -> int | None:
        """Take a session that is over off the books; its last handle."""
        with self._lock:
            handle = self._handle_at(self._places.get(session), session)
            if handle is not None:
                self._places.pop(session)
            return handle

    def sweep(self) -> None:
        """Drop what can no longer matter: expired tickets, ended sessions, unused profiles."""
        with self._lock:
            self._presented.sweep(self._clock())
            ended = len(self._places) - self._table.live
            # Going through a million records takes a while: only when it gives something back.
            if 8 * ended <= self._table.live and len(self._profiles) <= self._profiles_max:
                return
            live = self._table.records()
            self._places = CompactMap()
            for handle, record in live.items():
                self._places.put(record.session, self._table.index_of(handle))
            used = {record.profile for record in live.values()}
            self._profiles = {d: p for d, p in self._profiles.items() if d in used}
            self._profiles_max = 2 * len(self._profiles) + _PROFILES_SPARE

    def _live_keys(self) -> list[SegmentKey]:
        # Asked with each ticket: keys are replaced while the point runs.
        return [key for key in self._keys() if not self._believed.is_retired(key.public.name)]

    def _is_taken_for_another(self, place: int, session: bytes) -> bool:
        record = self._table.record(self._table.handle_at(place))
        return (
            record is not None and record.session != session and self._places.alike(record.session, session)
        )

    def _handle_at(self, place: int | None, session: bytes) -> int | None:
        # The map knows hashes only: the slot's own record says whether it is this session.
        if place is None:
            return None
        handle = self._table.handle_at(place)
        record = self._table.record(handle)
        return handle if record is not None and record.session == session else None

    def _check(self, grant: Grant, remaining_s: float) -> None:
        if grant.catalog != self._segment.digest:
            raise InstallationError("the grant was compiled for another version of this segment's catalog")
        if not 0 < remaining_s <= grant.lifetime_s + 60:
            raise InstallationError("the session's lifetime is over, or begins in the future")

    def _settle(self, session: bytes, handle: int, mode_of: Callable[[bytes], str]) -> None:
        # Asked after the handle is on the books: a change that comes meanwhile finds either the handle or us
        # asking.
        mode = "NORMAL"
        while mode != mode_of(session):
            mode = mode_of(session)
            if mode == "REVOKED":
                self.forget(session)
                self._table.end(handle, revoked=True)
                raise InstallationError("the session was revoked before it was installed")
            self._table.set_mode(handle, mode)

    def _fill(
        self, request: InstallRequest, grant: Grant, secret: bytes, remaining_s: float
    ) -> InstallAnswer:
        place = self._places.get(grant.session)
        if place is not None and self._is_taken_for_another(place, grant.session):
            raise InstallationError("this session's name cannot be told from another's here: connect again")
        nonce = os.urandom(32)
        digest_ = grant.profile_digest()
        profile = self._profiles.get(digest_) or self._profiles.setdefault(digest_, profile_of(grant))
        record = Installation(grant.session, grant.subject, grant.device, grant.assurance, profile.digest)
        lifetime_us = int(min(remaining_s, grant.lifetime_s) * 1_000_000)
        handle, now_us = self._table.install(
            profile, secret, nonce, record, lifetime_us=lifetime_us, idle_s=grant.idle_s
        )
        # The clock is read after session time: what passes in between makes an hour earlier and never later.
        self._hours.add(profile.digest, grant, self._clock(), now_us)
        before = self._handle_at(place, grant.session)
        self._places.put(grant.session, self._table.index_of(handle))
        if before is not None:
            self._table.end(before, revoked=False)
        _log.debug("installed %s on %s as %#x", grant.subject, grant.device, handle)
        return InstallAnswer.make(request, secret, handle, nonce, now_us, grant.epoch_length_us)
