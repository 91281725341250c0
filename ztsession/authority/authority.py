"""The Authority: decides who gets a session and what it may do, and changes its mind the moment it must.

    authority = Authority.open("state/", policy="policy/")

``policy/`` is the operator's: ``catalog.toml``, ``*.cedar``, ``subjects.toml``, ``devices.toml``. ``state/``
is the Authority's own: keys, a SQLite database, the audit log. Everything that changes goes the same way:
decide, record (audit and store, durably), publish. What cannot be recorded is not granted.

Taking rights away is the exception to that: whoever fills the audit log's disk must not thereby keep a
session alive. So a revocation or a signal is in force even when its audit entry could not be written, and the
caller hears of that afterwards.
"""

from __future__ import annotations

import heapq
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from ztsession.audit.jsonlines import JsonLinesAudit
from ztsession.audit.sink import AuditSink
from ztsession.authority.afterwards import Afterwards
from ztsession.authority.changes import ChangeLog
from ztsession.authority.connection import Connection, Presented
from ztsession.authority.decision import Decider, Judged
from ztsession.authority.keys import AuthorityKeys
from ztsession.bus.change import Change
from ztsession.errors import (
    ConfigurationError,
    EvidenceError,
    HandshakeError,
    SessionEnded,
    WireError,
    ZtsError,
)
from ztsession.handshake.messages import Offer, Outcome
from ztsession.identity.enrolments import Enrolments
from ztsession.identity.subjects import AllSubjects, FileSubjects, StoredSubjects
from ztsession.identity.verifiers import IdentityVerifiers
from ztsession.policy.catalog import Segment
from ztsession.policy.engine import PolicyEngine
from ztsession.policy.grant import Grant
from ztsession.posture.appraisal import PostureAppraiser
from ztsession.risk.engine import ModeChange, RiskEngine
from ztsession.risk.levels import Mode
from ztsession.risk.signals import Signal
from ztsession.store.enrolments import SqliteEnrolments
from ztsession.store.records import SessionRecord
from ztsession.store.sqlite import SqliteStore
from ztsession.tickets.secrets import segment_secret
from ztsession.tickets.segment_key import SegmentKey
from ztsession.tickets.ticket import TicketBody, seal_ticket

__all__ = ["Authority"]

_STANDING = "standing-risk"
#: The certificate lives for thirty days and an Authority may run for longer.
_CERTIFY_AGAIN_S = 86400
#: Between two clearings of what can matter to nobody any more.
_PRUNE_S = 3600


class Authority:
    """The policy decision point. Thread-safe; ``close()`` it, or use it as a context manager."""

    def __init__(
        self,
        keys: AuthorityKeys,
        store: SqliteStore,
        audit: AuditSink,
        decider: Decider,
        *,
        load: Callable[[], Decider] | None = None,
        name: str = "authority",
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Compose an Authority from its parts; :meth:`open` is what most programs want.

        ``load`` makes a fresh decider for :meth:`reload`.
        """
        self.keys, self.decider, self._store, self._audit = keys, decider, store, audit
        self._load, self._name, self._clock = load, name, clock
        self._lock, self._counting = threading.RLock(), threading.Lock()
        #: How many peers were refused before they proved anything; these are not audited.
        self.strangers_refused = 0
        self._changes = ChangeLog(store, keys.signing, clock=clock)
        live = self._live()
        self.risk = RiskEngine.restore(store.get_state(_STANDING), [r.risk for r in live if r.risk])
        self._ends = [(record.expires_at, record.id) for record in live]
        heapq.heapify(self._ends)
        self._prune_at = 0.0
        #: Modes that were decided and could not be written yet.
        self._owed: list[ModeChange] = []
        self._certified = (clock(), keys.certificate(name, clock()))
        self._owned: list[Callable[[], None]] = []

    @classmethod
    def open(
        cls,
        state: str | os.PathLike[str],
        *,
        policy: str | os.PathLike[str],
        posture_required: bool = True,
        name: str = "authority",
        clock: Callable[[], float] = time.time,
    ) -> Self:
        """Open the state directory (made on first use) with the policy directory.

        ConfigurationError names the file and line that is wrong; StoreError or AuditError when the state
        cannot be used.
        """
        directory, rules = Path(state), Path(policy)

        def load(enrolments: Enrolments | None) -> Decider:
            stored = [] if enrolments is None else [StoredSubjects(enrolments)]
            subjects = AllSubjects(FileSubjects(rules / "subjects.toml"), *stored)
            return Decider(
                IdentityVerifiers.from_directory(rules, subjects, clock=clock),
                PostureAppraiser(rules / "devices.toml"),
                PolicyEngine(rules),
                posture_required=posture_required,
                clock=clock,
            )

        load(None)  # a mistake in the rules is told before any state is made
        keys = AuthorityKeys.open(directory)
        with ExitStack() as opened:
            store = opened.enter_context(SqliteStore(directory / "authority.sqlite"))
            again = partial(load, SqliteEnrolments(store))
            decider = again()
            audit = opened.enter_context(JsonLinesAudit(directory / "audit.jsonl", clock=clock))
            authority = cls(keys, store, audit, decider, load=again, name=name, clock=clock)
            authority._owned = [opened.pop_all().close]
        return authority

    # ---- For clients

    @property
    def root(self) -> bytes:
        """The public key that clients pin, 32 bytes of Ed25519."""
        return self.keys.root_public

    def connection(self) -> Connection:
        """A fresh connection to this Authority: a ``Transport`` in this process, or what a server runs for
        a socket.
        """
        return Connection(
            self.keys.static,
            offer=self._offer,
            admit=self.admit,
            feed=self.feed,
            refused=self._count_stranger,
        )

    def certificate(self) -> bytes:
        """The root's certificate over the static key, never older than a day."""
        now, (made, certificate) = self._clock(), self._certified
        if not made <= now < made + _CERTIFY_AGAIN_S:
            certificate = self.keys.certificate(self._name, now)
            self._certified = (now, certificate)
        return certificate

    def admit(self, presented: Presented) -> Outcome:
        """Decide a handshake whose message 3 has been read; raises for everything that is not granted.

        Granted means: audited and stored already.
        """
        try:
            while True:
                decider = self.decider
                judged = decider.judge(
                    presented.proof, presented.handshake_hash, presented.static_key, presented.nonce
                )
                with self._lock:
                    # Not by rules that were replaced while the evidence was looked at (L6).
                    if decider is self.decider:
                        return self._grant(judged, presented)
        except ZtsError as error:
            self._audit.record("handshake.refused", cause=str(error)[:512], client=presented.static_key)
            raise

    # ---- For enforcement points

    @property
    def ticket_key(self) -> bytes:
        """The public key that enforcement points pin, 32 bytes of Ed25519."""
        return self.keys.signing_public

    #: Changes are pushed into every point of this process as they are made.
    pushes = True

    def segment(self, name: str) -> Segment:
        """One segment of the catalog in force."""
        return self.decider.policies.current.catalog.segment(name)

    def segment_key(self, name: str) -> SegmentKey:
        """The private key of one segment, for an enforcement point in this process."""
        self.segment(name)
        return self.keys.segment(name)

    def segment_key_file(self, name: str) -> Path:
        """The file to hand to the enforcement points of a segment that run elsewhere."""
        self.segment_key(name)
        return self.keys.segment_path(name)

    def subscribe(self, receiver: Callable[[Change], None]) -> Callable[[], None]:
        """Push every change to ``receiver`` as it happens; returns the way to stop."""
        return self._changes.subscribe(receiver)

    def feed(self, request: bytes) -> bytes:
        """Answer an enforcement point's encoded FeedRequest."""
        return self._changes.answer(request)

    # ---- For operators and detectors

    def signal(self, signal: Signal) -> list[ModeChange]:
        """Take a signal; every session that it hits is in its new mode, everywhere in this process, on
        return.

        StoreError: nothing of it is durable, send it again. AuditError: it is in force and not in the log.
        """
        kind, target = signal.target
        with self._lock, Afterwards(self._audit) as audit:
            with self._store.transaction():
                if not self._store.record_signal(
                    signal.source, signal.id, signal.to_bytes(), now=int(self._clock())
                ):
                    return []
                audit.record("signal", about=signal.kind, level=signal.level.name, **{kind: target})
                # Should writing fail, the signal comes again, and the engine will not say these again.
                self._owed += self.risk.signal(signal)
                written = self._write_modes(self._owed)
            changes, self._owed = self._owed, []
            self._changes.publish(written)
            # One entry for each session takes time, and their calls are refused already.
            for change in changes:
                audit.record(
                    "session.mode", session=change.session, mode=change.after.name, why=change.why[:512]
                )
            return changes

    def revoke(self, session: bytes, *, why: str = "operator") -> None:
        """End one session (16-byte id) for good, known or not yet; points refuse it from the next call on.

        AuditError: it is over, and the log does not say so.
        """
        Change.revoke(session)  # refuses what is no session's id
        with self._lock, Afterwards(self._audit) as audit:
            audit.record("session.revoked", session=session, why=why)
            with self._store.transaction():
                self._store.revoke(session, int(self._clock()) + 2 * 86400)
                if self._store.get_session(session) is not None:
                    self._store.set_mode(session, Mode.REVOKED)
                change = self._changes.write_mode(session, Mode.REVOKED)
            self.risk.close(session)
            self._changes.publish([change])

    def narrow(self, profile: bytes, allowed: Sequence[int]) -> None:
        """Take operations away from every session with this profile (32-byte digest), at once and for good.

        AuditError: they are gone, and the log does not say so.
        """
        Change.narrow(profile, list(allowed))  # refuses what is no profile or no bitmap
        with self._lock, Afterwards(self._audit) as audit:
            audit.record("profile.narrowed", profile=profile, allowed=list(allowed))
            self._changes.publish([self._changes.write_narrow(profile, allowed)])

    def sessions(self) -> list[SessionRecord]:
        """Every live session."""
        return self._live()

    def session(self, session: bytes) -> SessionRecord:
        """One session by its 16-byte id; SessionEnded when it is not live."""
        record = self._store.get_session(session)
        if record is None or record.mode == Mode.REVOKED or record.expires_at <= self._clock():
            raise SessionEnded("the Authority knows no live session of this id")
        return record

    def explain(self, session: bytes) -> str:
        """Why a session is in its mode, in one line."""
        return self.risk.session(session).explain()

    def reload(self) -> None:
        """Read policies, subjects and devices again; on any error all the old ones stay and the error names
        the place.
        """
        if self._load is None:
            raise ConfigurationError("this Authority was not opened from a directory")
        fresh = self._load()
        with self._lock:
            self._audit.record("policy.reloaded", policy=fresh.policies.current.digest)
            self.decider = fresh

    def close(self) -> None:
        """Close store and audit log."""
        for close in self._owned:
            close()

    def __enter__(self) -> Self:
        """The Authority itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    # ---- Inside

    def _live(self) -> list[SessionRecord]:
        return self._store.live_sessions(int(self._clock()))

    def _offer(self, nonce: bytes) -> tuple[Offer, int]:
        return Offer(self.certificate(), self.decider.required, nonce), self.risk.mark()

    def _count_stranger(self) -> None:
        with self._counting:
            self.strangers_refused += 1

    def _grant(self, judged: Judged, presented: Presented) -> Outcome:
        self._sweep()
        hello, static_key = presented.hello, presented.static_key
        session = os.urandom(16)
        old = self._superseded(hello.supersedes, judged, static_key)
        grants = self.decider.grants(judged, session, hello.scopes)
        if not grants:
            raise HandshakeError(
                f"the policies allow {judged.identity.subject} none of {', '.join(hello.scopes)}"
            )
        risk = self.risk.open(session, judged.identity.subject, judged.device, mark=presented.mark)
        try:
            if risk.mode >= Mode.SUSPENDED:
                raise HandshakeError(f"the session would begin {risk.mode.name}: {risk.explain()}")
            record = self._record(session, judged, static_key, grants, risk.mode, risk.to_bytes())
            outcome = self._outcome(record, grants, presented.session_secret)
            self._audit.record(
                "session.granted",
                session=session,
                subject=record.subject,
                device=record.device,
                assurance=record.assurance,
                posture=dict(judged.appraisal.vector),
                policy=grants[0].policy,
                segments=[grant.segment for grant in grants],
                supersedes=hello.supersedes,
            )
            self._changes.publish(self._keep(record, old))
        except BaseException:
            self.risk.close(session)
            raise
        heapq.heappush(self._ends, (record.expires_at, session))
        if old is not None:
            self.risk.close(old.id)
        return outcome

    def _superseded(self, session: bytes, judged: Judged, static_key: bytes) -> SessionRecord | None:
        if not session:
            return None
        old = self._store.get_session(session)
        if old is None:
            return None  # expired so long ago that nothing is known of it
        # The same subject with the same handshake key: nobody can end another's session by claiming to renew
        # it.
        if (old.subject, old.static_key) != (judged.identity.subject, static_key):
            raise EvidenceError("the session to supersede is not this client's")
        return old if old.mode != Mode.REVOKED else None

    def _record(
        self,
        session: bytes,
        judged: Judged,
        static_key: bytes,
        grants: Iterable[Grant],
        mode: Mode,
        risk: bytes,
    ) -> SessionRecord:
        now, grants = int(self._clock()), list(grants)
        return SessionRecord(
            id=session,
            subject=judged.identity.subject,
            device=judged.device,
            static_key=static_key,
            assurance=judged.assurance,
            mode=mode,
            started_at=now,
            expires_at=now + max(grant.lifetime_s for grant in grants),
            grants=tuple(grant.encoded for grant in grants),
            risk=risk,
        )

    def _outcome(self, record: SessionRecord, grants: Sequence[Grant], session_secret: bytes) -> Outcome:
        try:
            outcome = Outcome(
                "granted",
                session=record.id,
                tickets=[self._ticket(grant, session_secret, record.started_at) for grant in grants],
                grants=list(record.grants),
                assurance=record.assurance,
                lifetime_s=record.expires_at - record.started_at,
            )
            _ = outcome.encoded
        except WireError as error:
            # Known before anything is written, or a session would exist that its client never hears of.
            raise HandshakeError(
                f"the grants do not fit one message, ask for less at once: {error}"
            ) from None
        return outcome

    def _ticket(self, grant: Grant, session_secret: bytes, started_at: int) -> bytes:
        secret = segment_secret(session_secret, grant.digest())
        body = TicketBody(grant.encoded, secret, started_at, self._name)
        to = self.keys.segment(grant.segment).public
        return seal_ticket(body, grant.segment, to, started_at + grant.lifetime_s, self.keys.signing)

    def _keep(self, record: SessionRecord, old: SessionRecord | None) -> list[Change]:
        changes = []
        with self._store.transaction():
            self._store.put_session(record)
            if record.mode != Mode.NORMAL:
                changes.append(self._changes.write_mode(record.id, Mode(record.mode)))
            if old is not None:
                self._store.set_mode(old.id, Mode.REVOKED)
                changes.append(self._changes.write_mode(old.id, Mode.REVOKED))
        return changes

    def _write_modes(self, changes: Sequence[ModeChange]) -> list[Change]:
        self._store.put_state(_STANDING, self.risk.standing_state())
        written = []
        for change in changes:
            record = self._store.get_session(change.session)
            if record is None or record.mode == Mode.REVOKED:
                continue  # over, and one ended session must not hold up the change of all the others
            self._store.set_mode(change.session, change.after, self.risk.session(change.session).to_bytes())
            written.append(self._changes.write_mode(change.session, change.after))
        return written

    def _sweep(self) -> None:
        now = self._clock()
        while self._ends and self._ends[0][0] <= now:
            self.risk.close(heapq.heappop(self._ends)[1])
        if now >= self._prune_at:
            self._changes.prune(int(now))
            self._prune_at = now + _PRUNE_S
