"""The Authority: decides who gets a session and what it may do, and changes its mind the moment it must.

    authority = Authority.open("state/", policy="policy/")

``policy/`` is the operator's: ``catalog.toml``, ``*.cedar``, ``subjects.toml``, ``devices.toml``. ``state/``
is the Authority's own: keys, a SQLite database, the audit log. Everything that changes goes the same way:
decide, record (audit and store, durably), publish. What cannot be recorded is not granted.

Taking rights away is the exception to that: whoever fills the audit log's disk must not thereby keep a
session alive. So a revocation or a signal is in force even when its audit entry could not be written, and the
caller hears of that afterwards.

Long because it is the one face of all its parts: what is here puts them together, and hands on.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from ztsession.audit.jsonlines import JsonLinesAudit
from ztsession.audit.sink import AuditSink
from ztsession.authority.afterwards import Afterwards
from ztsession.authority.announcing import Announcer
from ztsession.authority.attesting import Attesting
from ztsession.authority.changes import ChangeLog
from ztsession.authority.connection import Connection
from ztsession.authority.decision import Decider
from ztsession.authority.desk import FrontDesk
from ztsession.authority.ending import OPERATOR, Ending
from ztsession.authority.enrolment import Enrolment
from ztsession.authority.gate import Gate
from ztsession.authority.granting import Granting
from ztsession.authority.judged import Basis
from ztsession.authority.keys import AuthorityKeys
from ztsession.authority.live import LiveGrants
from ztsession.authority.reacting import Reacting, restored_engine
from ztsession.authority.reports import Reports
from ztsession.authority.rotation import Rotation
from ztsession.authority.rulebook import RuleBook
from ztsession.authority.rules import read_rules
from ztsession.authority.threats import Threats
from ztsession.authority.watching import ListWatcher, PolicyWatcher
from ztsession.authority.why import explain_session
from ztsession.bus.change import Change
from ztsession.errors import ConfigurationError, SessionEnded, WireError
from ztsession.limits import OVERLAP_S
from ztsession.policy.catalog import RISKS, Segment
from ztsession.policy.explanation import Explanation
from ztsession.policy.grant import Grant
from ztsession.risk.alerts import Alerts
from ztsession.risk.engine import ModeChange
from ztsession.risk.levels import Mode
from ztsession.risk.signals import Signal
from ztsession.risk.ssf.outgoing_settings import TransmitterSettings
from ztsession.risk.standing import Quarantine, Target
from ztsession.risk.threats.lists import ThreatLists
from ztsession.store.enrolments import SqliteEnrolments
from ztsession.store.records import SessionRecord
from ztsession.store.sqlite import SqliteStore
from ztsession.tickets.segment_key import SegmentKey
from ztsession.wire.sealed_file import Unlock
from ztsession.wire.signature import Signer

__all__ = ["Authority"]

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
        gate: Gate | None = None,
        alerts: Alerts | None = None,
        transmitter: TransmitterSettings | None = None,
        name: str = "authority",
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Compose an Authority from its parts; :meth:`open` is what most programs want.

        ``load`` makes a fresh decider for :meth:`reload`; ``gate`` bounds what strangers can cause;
        ``alerts`` are for people, and stay the caller's to close; ``transmitter``: which other systems are
        told what happens here.
        """
        self.keys, self._store, self._audit, self._clock = keys, store, audit, clock
        self._lock = threading.RLock()
        #: Where people are told at once.
        self.alerts = alerts or Alerts()
        self._changes = ChangeLog(store, keys.signing, clock=clock)
        #: Replacing this Authority's own keys, with overlap.
        self.rotation = Rotation(keys, self._changes, audit, clock=clock)
        #: Puts what is decided where others are told of it from.
        self.announcer = Announcer(transmitter, keys, store, audit, clock=clock)
        # The keys of a session in its overlap are as good as any.
        overlapping = store.renewed_sessions(int(clock()) - OVERLAP_S)
        live = self._live()
        watched = [record.risk for record in (*live, *overlapping) if record.risk]
        self.risk = restored_engine(store, watched, decider.risk_rules, clock)
        self._live_grants = LiveGrants()
        self._granting = Granting(
            name, keys, store, audit, self._changes, self.risk, self._live_grants, self.announcer, clock=clock
        )
        self._ending = Ending(
            store,
            audit,
            self._changes,
            self.risk,
            self._live_grants,
            self.announcer,
            line=self._granting.line,
            lock=self._lock,
            clock=clock,
        )
        self._reacting = Reacting(
            self.risk,
            store,
            self._changes,
            audit,
            self.alerts,
            self.announcer,
            line=self._granting.line,
            lock=self._lock,
            clock=clock,
        )
        #: The rules in force, and how others take their place.
        self.rules = RuleBook(
            decider,
            store,
            self._changes,
            audit,
            self._live_grants,
            load=load,
            end=self._ending.revoke,
            lock=self._lock,
            clock=clock,
        )
        self._reports = Reports(
            self._reacting.signal,
            keys.signing,
            settings=lambda: self.rules.decider.detectors,
            session=self._gone_on,
            segment=self.segment,
            clock=clock,
        )
        self._desk = FrontDesk(
            name,
            keys,
            store,
            audit,
            self.risk,
            self._granting,
            decider=lambda: self.rules.decider,
            feed=self.feed,
            report=self._reports.answer,
            sweep=self._sweep,
            lock=self._lock,
            gate=gate or Gate(),
            clock=clock,
        )
        #: Lists of what others know to be bad.
        self.threats = Threats(
            store,
            audit,
            signal=self.signal,
            device_keys=lambda device: self.decider.device_keys(device),
            lock=self._lock,
            clock=clock,
        )
        self._attesting = Attesting(
            store,
            self.risk,
            signal=self.signal,
            max_age_s=lambda: self.decider.posture_max_age_s,
            lock=self._lock,
            clock=clock,
        )
        self._live_grants.followers += [self.threats, self._attesting]
        self._granting.before += [self.threats.before, self._attesting.before]
        self._opened_at, self._prune_at = clock(), 0.0
        self._owned: list[Callable[[], None]] = []
        self._directory: Path | None = None
        for record in live:
            self._remember(record)

    @classmethod
    def open(
        cls,
        state: str | os.PathLike[str],
        *,
        policy: str | os.PathLike[str],
        posture_required: bool = True,
        gate: Gate | None = None,
        unlock: Unlock | None = None,
        signers: Sequence[Signer] = (),
        root_signer: Signer | None = None,
        alerts: Alerts | None = None,
        name: str = "authority",
        clock: Callable[[], float] = time.time,
    ) -> Self:
        """Open the state directory (made on first use) with the policy directory. ``alerts`` stay the
        caller's to close.

        ``unlock``, ``signers`` and ``root_signer`` are for the keys, see :meth:`AuthorityKeys.open`.
        ConfigurationError names the file and line that is wrong; StoreError or AuditError when the state
        cannot be used.
        """
        directory, rules = Path(state), Path(policy)

        load = partial(read_rules, rules, posture_required=posture_required, clock=clock)
        load()  # a mistake in the rules is told before any state is made
        transmitter = TransmitterSettings.from_directory(rules)
        lists = ThreatLists.read(rules, now=clock())
        keys = AuthorityKeys.open(
            directory, unlock=unlock, signers=signers, root_signer=root_signer, clock=clock
        )
        with ExitStack() as opened:
            store = opened.enter_context(SqliteStore(directory / "authority.sqlite"))
            again = partial(load, SqliteEnrolments(store), keys.sealing("mfa"))
            decider = again()
            audit = opened.enter_context(JsonLinesAudit(directory / "audit.jsonl", clock=clock))
            authority = cls(
                keys,
                store,
                audit,
                decider,
                load=again,
                gate=gate,
                alerts=alerts,
                transmitter=transmitter,
                name=name,
                clock=clock,
            )
            authority._catch_up()
            authority.threats.begin(rules, lists)
            authority._owned, authority._directory = [opened.pop_all().close], rules
        return authority

    @property
    def audit(self) -> AuditSink:
        """The audit log; points of this process write there, too."""
        return self._audit

    @property
    def decider(self) -> Decider:
        """The rules in force."""
        return self.rules.decider

    # ---- For clients

    @property
    def root(self) -> bytes:
        """The public key that clients pin, 32 bytes of Ed25519."""
        return self.keys.root_public

    def connection(self, source: str = "", channel_binding: bytes = b"") -> Connection:
        """A fresh connection to this Authority: a ``Transport`` in this process, or what a server runs for
        a peer.

        ``source``: the peer's address as text, by which floods are told apart; "" for this process.
        ``channel_binding``: what names the TLS connection underneath on both ends (RFC 9266), if anything.
        """
        return Connection(self._desk, source, channel_binding)

    def certificate(self) -> bytes:
        """The root's certificate over the static key, never older than a day."""
        return self._desk.certificate()

    @property
    def strangers_refused(self) -> int:
        """How many peers were refused before they proved anything; these are not audited."""
        return self._desk.strangers_refused

    # ---- For enforcement points

    @property
    def ticket_key(self) -> bytes:
        """The public key that enforcement points pin, 32 bytes of Ed25519."""
        return self.keys.signing_public

    @property
    def ticket_keys(self) -> Sequence[bytes]:
        """All that tickets and feed answers may be signed with: also the key before, and the next one."""
        return [key.public for key in self.keys.ring.signing]

    #: Changes are pushed into every point of this process as they are made.
    pushes = True

    def segment(self, name: str) -> Segment:
        """One segment of the catalog in force."""
        return self.decider.policies.current.catalog.segment(name)

    def segment_key(self, name: str) -> SegmentKey:
        """The private key of one segment, for an enforcement point in this process."""
        self.segment(name)
        return self.keys.segment(name)

    def segment_keys(self, name: str) -> Sequence[SegmentKey]:
        """All private keys that a segment's tickets may be sealed to, likewise."""
        self.segment(name)
        return self.keys.segment_keys(name)

    def segment_key_file(self, name: str) -> Path:
        """The file to hand to the enforcement points of a segment that run elsewhere."""
        self.segment_key(name)
        return self.keys.export_segment(name)

    def subscribe(self, receiver: Callable[[Change], None]) -> Callable[[], None]:
        """Push every change to ``receiver`` as it happens; returns the way to stop."""
        return self._changes.subscribe(receiver)

    def feed(self, request: bytes) -> bytes:
        """Answer an enforcement point's encoded FeedRequest."""
        # Should this fail, there is no answer and no longer lease: what the hour takes is lost in any case.
        self.rules.keep_hours()
        self.tick()
        return self._changes.answer(request)

    # ---- For operators and detectors

    def signal(self, signal: Signal) -> list[ModeChange]:
        """Take a signal; every session that it hits is in its new mode, everywhere in this process, on
        return. What it does is in ``risk.toml``, see :class:`~ztsession.risk.rules.RiskRules`.

        WireError: there is no such kind. StoreError: nothing of it is durable, send it again; or it takes
        something back, and could not be recorded. AuditError: it is in force and not in the log.
        """
        return self._reports.take(signal)

    def resolve(self, kind: str, target: Target) -> list[ModeChange]:
        """An operator settled all signals of ``kind`` against a target, as :attr:`Signal.target` has it;
        the sessions whose mode that lifts. One that is revoked stays so.

        AuditError: it could not be recorded, and nothing has changed. StoreError: call again.
        """
        changes = self._reacting.resolve(kind, target)
        self._reports.settled(kind, target)
        return changes

    def quarantine(self, target: Target, *, why: str = OPERATOR) -> list[ModeChange]:
        """Shut out a ("subject" | "device" | "network", name): every session of it ends at once, and none
        begins until :meth:`release`. StoreError and AuditError as for :meth:`signal`.
        """
        return self._reacting.quarantine(target, why)

    def release(self, target: Target) -> bool:
        """Let them in again, with new sessions; False if they were not quarantined.

        AuditError or StoreError: they stay shut out.
        """
        return self._reacting.release(target)

    @property
    def quarantines(self) -> list[Quarantine]:
        """Who is shut out, and why."""
        return self._reacting.quarantines()

    def tick(self) -> None:
        """Let time take effect: on scores, and on devices that were not heard of for long. Points that ask
        for changes do it; call it where there are none.
        """
        self._reacting.tick()
        self._attesting.tick()

    def revoke(self, session: bytes, *, why: str = OPERATOR) -> None:
        """End one session (16-byte id) for good, known or not yet; points refuse it from the next call on.

        If it was renewed meanwhile, what renewed it ends, and so do keys of before that are in their overlap.

        AuditError: it is over, and the log does not say so.
        """
        self._ending.revoke(session, why)

    def narrow(self, profile: bytes, allowed: Sequence[int]) -> None:
        """Take operations away from every session with this profile (32-byte digest), at once and for good.

        AuditError: they are gone, and the log does not say so.
        """
        Change.narrow(profile, list(allowed))  # refuses what is no profile or no bitmap
        with self._lock, Afterwards(self._audit) as audit:
            audit.record("profile.narrowed", profile=profile, allowed=list(allowed))
            self._changes.publish([self._changes.write_narrow(profile, allowed)])

    def sessions(self, *, subject: str = "", device: str = "") -> list[SessionRecord]:
        """Every live session; with a name, those of this subject, on this device alone."""
        return self._store.live_sessions(int(self._clock()), subject=subject, device=device)

    def knows(self, session: bytes) -> bool:
        """Whether a session of this id (16 bytes) was granted here and has not expired; it may be over."""
        return self._store.get_session(session) is not None

    def session(self, session: bytes) -> SessionRecord:
        """One session by its 16-byte id; SessionEnded when it is not live."""
        record = self._store.get_session(session)
        over = record is None or record.mode == Mode.REVOKED or record.superseded_by is not None
        if record is None or over or record.expires_at <= self._clock():
            raise SessionEnded("the Authority knows no live session of this id")
        return record

    def explain(self, session: bytes) -> str:
        """Why a session is in its mode, in one line."""
        return self.risk.explain(session)

    def explain_operation(self, session: bytes, operation: str) -> Explanation:
        """Why a session (16-byte id) may or may not do ``operation`` by the rules in force, and what would
        help; what it holds of rules of before, less of it perhaps, is in its grants.

        SessionEnded when it is not live, ConfigurationError for an operation that there is not.
        """
        record = self.session(session)
        risk = RISKS[record.mode]
        return explain_session(self.decider, record, record.basis, operation, risk=risk, now=self._clock())

    def reload(self) -> None:
        """Read policies, subjects and devices again; on any error all the old ones stay and the error names
        the place. Live sessions lose at once what the new rules do not allow them; those of subjects,
        credentials and devices that are gone from the files end. StoreError and AuditError as
        :meth:`RuleBook.reload`.
        """
        version = self.rules.version
        self.threats.check()
        self.rules.reload()
        self._reacting.adopt(self.decider.risk_rules)
        self.threats.reload()
        if self.rules.version != version and self._clock() < self._opened_at + OVERLAP_S:
            self._ending.end_overlapping()

    def watch(self, *, every_s: float = 1.0, after: Callable[[], None] = lambda: None) -> None:
        """From now on :meth:`reload` whenever the policy directory has changed, until :meth:`close`;
        ``after`` is called when that was done.

        What is refused is told in the log and in the audit log, and tried again when it has changed; what
        cannot be stored is tried again by itself.
        """
        if self._directory is None:
            raise ConfigurationError("this Authority was not opened from a directory")

        def take() -> None:
            self.reload()
            after()

        policies = PolicyWatcher(self._directory, take, every_s=every_s)
        lists = ListWatcher(self.threats.look, self.threats.reload, every_s=every_s)
        self._owned[:0] = [policies.close, lists.close]

    @property
    def enrolment(self) -> Enrolment:
        """Subjects, devices and second factors that are enrolled while this Authority runs."""
        return Enrolment(
            SqliteEnrolments(self._store),
            self._audit,
            self.announcer,
            decider=lambda: self.rules.decider,
            end_unenrolled=self.rules.review,
        )

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
        return self.sessions()

    def _gone_on(self, session: bytes) -> SessionRecord | None:
        record = self._store.get_session(session)
        while record is not None and record.superseded_by is not None:
            record = self._store.get_session(record.superseded_by)
        return record

    def _remember(self, record: SessionRecord) -> None:
        try:
            grants = [Grant.from_bytes(grant) for grant in record.grants]
            self._live_grants.add(record, Basis.from_bytes(record.basis), grants)
        except WireError as error:
            # What it rests on cannot be read, so nothing speaks for it.
            self._ending.revoke(record.id, str(error)[:512])

    def _catch_up(self) -> None:
        # What was changed while nobody was running holds for the sessions of before, too.
        changed, version = not self.rules.unchanged, self.rules.version
        if changed:
            self._ending.end_overlapping()
        self._reacting.adopt(self.decider.risk_rules)
        self.rules.review()
        if not changed and self.rules.version != version:
            # The policies are the same, but somebody was enrolled with less.
            self._ending.end_overlapping()

    def _sweep(self) -> None:
        now = self._clock()
        self._granting.end_expired(now)
        self.rules.keep_hours()
        self.tick()
        if now >= self._prune_at:
            self._changes.prune(int(now))
            self._prune_at = now + _PRUNE_S
