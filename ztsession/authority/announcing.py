"""Telling others what was decided, in the transaction that decides it.

The Authority calls one of these where it writes a decision. Each puts rows into the outboxes of the streams
that it is for, in that same transaction: both are kept or neither. Without a stream, or without the
operator's word for it, nothing is written. Nobody is waited for and no key is used: signing and sending are
done elsewhere, later.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from ztsession.audit.sink import AuditSink
from ztsession.authority.keys import AuthorityKeys
from ztsession.authority.outbox import Outbox
from ztsession.authority.set_keys import SetKeys
from ztsession.authority.streams import Streams
from ztsession.risk.engine import ModeChange
from ztsession.risk.levels import Mode
from ztsession.risk.ssf.outgoing import (
    Event,
    assurance_level_change,
    credential_change,
    device_compliance_change,
    risk_level_change,
    session_established,
    session_revoked,
)
from ztsession.risk.ssf.outgoing_settings import TransmitterSettings
from ztsession.risk.ssf.outgoing_subjects import complex_subject
from ztsession.store.records import SessionRecord
from ztsession.store.sqlite import SqliteStore
from ztsession.store.streams import SqliteStreams

__all__ = ["Announcer"]

#: Why a session ends that no signal ended, by who ends it.
_REASONS: Final = {"admin": "OPERATOR", "user": "REPLACED", "policy": "POLICY"}


class Announcer:
    """Puts events into outboxes. Call inside the store's transaction of what they tell of."""

    def __init__(
        self,
        settings: TransmitterSettings | None,
        keys: AuthorityKeys,
        store: SqliteStore,
        audit: AuditSink,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``settings``: what the operator said of the transmitter; without it nobody is ever told."""
        self._clock, self._store, self._rows = clock, store, SqliteStreams(store)
        self._outbox: Outbox | None = None
        self._issuer = ""
        #: The keys that SETs are signed with, and their rotation.
        self.keys = SetKeys(keys, store, audit, clock=clock)
        #: The streams, for whoever delivers on them; None without settings.
        self.streams: Streams | None = None
        if settings is not None:
            self._issuer = settings.issuer
            self._outbox = Outbox(self._rows, settings, self.keys, clock=clock)
            sealing_key = keys.sealing("ssf streams")
            self.streams = Streams(self._rows, self._outbox, settings, audit, sealing_key, clock=clock)

    def established(self, record: SessionRecord, renews: SessionRecord | None = None) -> None:
        """A session was granted; ``renews``: the one that it goes on from, as it was."""
        if not self._is_heard:
            return
        subject, now = self._subject(record), self._now()
        before = b"" if renews is None else renews.id
        self._put(session_established(subject, now, assurance=record.assurance, renews=before))
        if renews is not None and renews.assurance != record.assurance:
            self._put(assurance_level_change(subject, now, before=renews.assurance, after=record.assurance))
        mode = Mode.NORMAL if renews is None else Mode(renews.mode)
        if mode != record.mode:
            # What was in doubt was answered, or something stands against whoever begins.
            self.mode_changed(ModeChange(record.id, mode, Mode(record.mode), ""), record)

    def mode_changed(
        self, change: ModeChange, record: SessionRecord, *, kind: str = "", against: str = "session"
    ) -> None:
        """A session's mode was changed by a signal of ``kind`` against its "subject", "device", "session" or
        "network"; ``record`` is the session as it was.
        """
        if self._outbox is None:
            return  # one signal may change a hundred thousand sessions
        by, subject = "admin" if kind == "operator" else "policy", self._subject(record)
        if change.after is Mode.REVOKED:
            self._put(session_revoked(subject, self._now(), by=by, reason=kind))
            return
        self._put(
            risk_level_change(
                subject,
                self._now(),
                before=change.before,
                after=change.after,
                against=against,
                by=by,
                reason=kind,
            )
        )

    def revoked(self, session: bytes, *, by: str) -> None:
        """A session (16-byte id), known or not, is about to be revoked; nothing if it was before. ``by``:
        an "admin", the "user" himself with a new session, or the "policy".
        """
        record = self._store.get_session(session) if self._is_heard else None
        if record is not None and record.mode == Mode.REVOKED:
            return
        subject = complex_subject(self._issuer, session=session) if record is None else self._subject(record)
        self._put(session_revoked(subject, self._now(), by=by, reason=_REASONS[by]))

    def compliance_changed(self, device: str, *, compliant: bool) -> None:
        """A device is as it should be, or is not; what was told already is not told again."""
        if not self._is_heard or not self._rows.set_compliant(device, compliant):
            return
        subject = complex_subject(self._issuer, device=device)
        self._put(device_compliance_change(subject, self._now(), compliant=compliant))

    def credentials_changed(self, subject: str, before: Sequence[str], after: Sequence[str]) -> None:
        """The enrolment of a subject has other credentials than before, or more, or fewer."""
        named, now = complex_subject(self._issuer, user=subject), self._now()
        changes = [("delete", each) for each in before if each not in after]
        changes += [("create", each) for each in after if each not in before]
        for change, credential in changes:
            self._put(credential_change(named, now, credential=credential, change=change))

    @property
    def _is_heard(self) -> bool:
        return self._outbox is not None and self._rows.any()

    def _put(self, event: Event) -> None:
        if self._outbox is not None:
            self._outbox.put(event)

    def _subject(self, record: SessionRecord) -> dict[str, object]:
        return complex_subject(self._issuer, session=record.id, user=record.subject, device=record.device)

    def _now(self) -> int:
        return int(self._clock())
