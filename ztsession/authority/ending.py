"""How sessions end before their time, for good: decided by an operator, by rules, or by what cannot be read.

A session is not alone: what renewed it lives by the same evidence, and keys of before it was renewed are good
for a while. Whoever ends one ends them all, or a renewal would be a way out.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from ztsession.audit.sink import AuditSink
from ztsession.authority.afterwards import Afterwards
from ztsession.authority.announcing import Announcer
from ztsession.authority.changes import ChangeLog
from ztsession.authority.live import LiveGrants
from ztsession.bus.change import Change
from ztsession.limits import OVERLAP_S
from ztsession.risk.engine import RiskEngine
from ztsession.risk.levels import Mode
from ztsession.store.sqlite import KEEP_S, SqliteStore

__all__ = ["OPERATOR", "Ending"]

OPERATOR = "operator"


class Ending:
    """Ends sessions. Thread-safe: it holds the Authority's lock."""

    def __init__(
        self,
        store: SqliteStore,
        audit: AuditSink,
        changes: ChangeLog,
        risk: RiskEngine,
        live: LiveGrants,
        announcer: Announcer,
        *,
        line: Callable[[bytes], Sequence[bytes]],
        lock: threading.RLock,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``line``: all sessions that live by the same evidence as one; ``lock`` is the Authority's own."""
        self._store, self._audit, self._changes, self._risk = store, audit, changes, risk
        self._live, self._announcer, self._line = live, announcer, line
        self._lock, self._clock = lock, clock

    def revoke(self, session: bytes, why: str) -> None:
        """End one session (16-byte id), known or not yet, and all of its line; see
        :meth:`Authority.revoke`.
        """
        Change.revoke(session)  # refuses what is no session's id
        with self._lock, Afterwards(self._audit) as audit:
            line = self._line(session)
            for each in line:
                audit.record("session.revoked", session=each, why=why)
            changes = self._write(line, by="admin" if why == OPERATOR else "policy")
            for each in line:
                self._risk.close(each)
                self._live.remove(each)
            self._changes.publish(changes)

    def end_overlapping(self) -> None:
        """End those that are in their overlap: what they hold is not kept, and rules that are new might not
        allow it.
        """
        renewed = self._store.renewed_sessions(int(self._clock()) - OVERLAP_S)
        with self._lock, Afterwards(self._audit) as audit:
            overlapping = [record.id for record in renewed if record.id not in self._live]
            for each in overlapping:
                audit.record("session.revoked", session=each, why="rules changed in its overlap")
            changes = self._write(overlapping, by="policy")
            for each in overlapping:
                self._risk.close(each)
            self._changes.publish(changes)

    def _write(self, sessions: Sequence[bytes], *, by: str) -> list[Change]:
        with self._store.transaction():
            return [self._write_one(session, by) for session in sessions]

    def _write_one(self, session: bytes, by: str) -> Change:
        self._store.revoke(session, int(self._clock()) + KEEP_S)
        self._announcer.revoked(session, by=by)
        if self._store.get_session(session) is not None:
            self._store.set_mode(session, Mode.REVOKED)
        return self._changes.write_mode(session, Mode.REVOKED)
