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
from collections.abc import Callable

from ztsession._core import Profile, Table
from ztsession.enforcement.presented import PresentedTickets
from ztsession.errors import InstallationError
from ztsession.policy.catalog import Segment
from ztsession.policy.grant import Grant
from ztsession.tickets.installation import InstallAnswer, InstallRequest
from ztsession.tickets.profile import profile_of
from ztsession.tickets.record import Installation
from ztsession.tickets.segment_key import SegmentKey
from ztsession.tickets.ticket import open_ticket

__all__ = ["Installer"]

_log = logging.getLogger("ztsession.enforcement")


class Installer:
    """Turns install requests into sessions of one table. Thread-safe."""

    def __init__(
        self,
        table: Table,
        segment: Segment,
        key: SegmentKey,
        authority_key: bytes,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._table, self._segment, self._key, self._authority_key = table, segment, key, authority_key
        self._clock = clock
        self._lock = threading.Lock()
        self._presented = PresentedTickets(table.capacity)
        self._profiles: dict[bytes, Profile] = {}
        self._handles: dict[bytes, int] = {}

    def install(self, data: bytes, mode_of: Callable[[bytes], str]) -> InstallAnswer:
        """Install what an encoded InstallRequest presents.

        ``mode_of(session)`` says in which mode it starts, "REVOKED" for none. Raises InstallationError or
        WireError with the exact cause.
        """
        request = InstallRequest.from_bytes(data)
        now = self._clock()
        grant, body = open_ticket(request.ticket, self._key, self._authority_key, now)
        request.check(body.secret)
        remaining_s = body.started_at + grant.lifetime_s - now
        self._check(grant, remaining_s)
        with self._lock:
            self._presented.take(request.ticket, request.nonce, body.started_at + grant.lifetime_s)
            answer = self._fill(request, grant, body.secret, remaining_s)
        self._settle(grant.session, answer.handle, mode_of)
        return answer

    def handle_of(self, session: bytes) -> int | None:
        """The live handle of a session, if it is installed here."""
        return self._handles.get(session)

    def forget(self, session: bytes) -> int | None:
        """Take a session that is over off the books; its last handle."""
        with self._lock:
            return self._handles.pop(session, None)

    def sweep(self) -> None:
        """Drop what can no longer matter: expired tickets, sessions that the table has ended, unused
        profiles.
        """
        now = self._clock()
        with self._lock:
            self._presented.sweep(now)
            # A copy: sessions end in other threads while we look.
            live = dict(self._table.records)
            self._handles = {s: h for s, h in self._handles.items() if h in live}
            used = {record.profile for record in live.values()}
            self._profiles = {d: p for d, p in self._profiles.items() if d in used}

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
        nonce = os.urandom(32)
        digest_ = grant.profile_digest()
        profile = self._profiles.get(digest_) or self._profiles.setdefault(digest_, profile_of(grant))
        record = Installation(grant.session, grant.subject, grant.device, grant.assurance, profile.digest)
        lifetime_us = int(min(remaining_s, grant.lifetime_s) * 1_000_000)
        handle, now_us = self._table.install(
            profile, secret, nonce, record, lifetime_us=lifetime_us, idle_s=grant.idle_s
        )
        before = self._handles.get(grant.session)
        self._handles[grant.session] = handle
        if before is not None:
            self._table.end(before, revoked=False)
        _log.debug("installed %s on %s as %#x", grant.subject, grant.device, handle)
        return InstallAnswer.make(request, secret, handle, nonce, now_us, grant.epoch_length_us)
