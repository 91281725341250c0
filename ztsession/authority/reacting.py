"""From a signal to the next call: decide, record, publish; and the same for what time and operators do.

What takes rights away does not wait for the audit log, see :mod:`ztsession.authority.afterwards`; what an
operator gives back does, and so does what a source takes back of its own. The engine has decided before
anything is written, and would not say it twice: so what could not be written is owed, and is written with
whatever comes next.
"""

from __future__ import annotations

import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ztsession.audit.sink import AuditSink
from ztsession.authority.afterwards import Afterwards
from ztsession.authority.announcing import Announcer
from ztsession.authority.changes import ChangeLog
from ztsession.bus.change import Change
from ztsession.errors import AuditError, ConfigurationError, StoreError, WireError
from ztsession.risk.actions import Action
from ztsession.risk.alert import Alert
from ztsession.risk.alerts import Alerts
from ztsession.risk.engine import ModeChange, Reaction, RiskEngine
from ztsession.risk.levels import Level, Mode
from ztsession.risk.networks import network_of
from ztsession.risk.rules import RiskRules
from ztsession.risk.signals import Signal
from ztsession.risk.ssf.outgoing import POSTURE_KINDS
from ztsession.risk.standing import TARGETS, Quarantine, Target
from ztsession.store.sqlite import SqliteStore
from ztsession.wire import canonical
from ztsession.wire.names import is_name
from ztsession.wire.schema import Integer, Row

__all__ = ["Reacting", "restored_engine"]

_CLOCK = "risk-clock"
#: How many signals have arrived, and the latest moment that was seen (microseconds).
_CLOCK_FORM = Row((Integer(0, 2**63 - 1), Integer(0, 2**53)))
_OPERATOR = "operator"
_UNWRITTEN_MAX = 4096
#: Between two looks at what time has changed.
_TICK_S = 1.0


@dataclass(frozen=True, slots=True)
class _Owed:
    """A change of a session's mode, the kind of signal that caused it, and what that was against."""

    change: ModeChange
    kind: str
    against: str


class Reacting:
    """What an Authority does about risk. Thread-safe: it holds the Authority's lock."""

    def __init__(
        self,
        engine: RiskEngine,
        store: SqliteStore,
        changes: ChangeLog,
        audit: AuditSink,
        alerts: Alerts,
        announcer: Announcer,
        *,
        line: Callable[[bytes], Sequence[bytes]],
        lock: threading.RLock,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``line``: all sessions that live by the same evidence as one; ``lock`` is the Authority's own."""
        self._engine, self._store, self._changes, self._audit = engine, store, changes, audit
        self._alerts, self._announcer = alerts, announcer
        self._line, self._lock, self._clock = line, lock, clock
        #: What was decided and is not written yet: sessions whose state is another, with the change of their
        #: mode if that is; and targets.
        self._owed_sessions: dict[bytes, _Owed | None] = {}
        self._owed_standing: dict[Target, None] = {}
        #: What signals caused that could not be written, by their names; they come again.
        self._unwritten: OrderedDict[tuple[str, str], tuple[Reaction, Sequence[bytes]]] = OrderedDict()
        self._tick_at = 0.0

    def signal(self, signal: Signal) -> list[ModeChange]:
        """Take a signal, see :meth:`Authority.signal`."""
        with self._lock, Afterwards(self._audit) as audit:
            with self._store.transaction():
                now, data = int(self._clock()), signal.to_bytes()
                if not self._store.record_signal(signal.source, signal.id, data, now=now):
                    return []
                if signal.withdraws:
                    self._record_withdrawal(signal)
                reaction, line = self._decide(signal)
                if not signal.withdraws:
                    self._record_signal(signal, reaction, line, audit)
                written = self._write()
            del self._unwritten[signal.name]
            changes = self._publish(written, audit)
            self._tell(signal, reaction, len(changes))
            return changes

    def resolve(self, kind: str, target: Target) -> list[ModeChange]:
        """An operator settled what is said of ``kind`` against a target, whoever said it."""
        with self._lock:
            self._engine.check_kind(kind)
            at_us = self._engine.look_at_clock()
            self._audit.record("signal.resolved", about=kind, target=target[0], name=target[1], at_us=at_us)
            return self._settle(self._engine.resolve(kind, target), by=(_OPERATOR, target[0]))

    def quarantine(self, target: Target, why: str) -> list[ModeChange]:
        """Shut a subject, a device or a network out."""
        target = _checked(target)
        with self._lock, Afterwards(self._audit) as audit:
            reaction = self._engine.quarantine(target, why)
            changes = self._settle(reaction, audit, by=(_OPERATOR, target[0]))
            self._alert("quarantine", Level.CRITICAL, target, why)
            return changes

    def release(self, target: Target) -> bool:
        """Let them in again; False if they were not shut out."""
        target = _checked(target)
        with self._lock:
            if target not in [each.target for each in self._engine.quarantines()]:
                return False
            self._audit.record("quarantine.released", target=target[0], name=target[1])
            self._store.put_standing(*target, self._engine.standing_bytes(target, released=True))
            return self._engine.release(target)

    def quarantines(self) -> list[Quarantine]:
        """Who is shut out."""
        return self._engine.quarantines()

    def adopt(self, rules: RiskRules) -> None:
        """Put other rules of risk in force, for live sessions, too."""
        with self._lock:
            self._settle(self._engine.adopt(rules))

    def tick(self) -> None:
        """Let time take effect, once a second; does not wait while something else is being decided."""
        # Points ask, also while a change is told to them: to wait for who tells it could be for ever.
        if self._clock() < self._tick_at or not self._lock.acquire(blocking=False):
            return
        try:
            self._tick_at = self._clock() + _TICK_S
            self._settle(self._engine.tick())
        finally:
            self._lock.release()

    # ---- Inside

    def _settle(
        self, reaction: Reaction, audit: Afterwards | None = None, *, by: tuple[str, str] = ("", "session")
    ) -> list[ModeChange]:
        self._owe(reaction, by)
        if not self._owed_sessions and not self._owed_standing:
            return []
        with Afterwards(self._audit) as own:
            with self._store.transaction():
                self._record_quarantines(reaction, audit or own)
                written = self._write()
            return self._publish(written, audit or own)

    def _decide(self, signal: Signal) -> tuple[Reaction, Sequence[bytes]]:
        known = self._unwritten.get(signal.name)
        if known is None:
            line = self._line(signal.session) if signal.session else ()
            reaction = self._engine.signal(signal, line)
            self._owe(reaction, (signal.kind, signal.target[0]))
            self._unwritten[signal.name] = reaction, line
        if len(self._unwritten) > _UNWRITTEN_MAX:
            self._unwritten.popitem(last=False)
        return known or (reaction, line)

    def _owe(self, reaction: Reaction, by: tuple[str, str]) -> None:
        for session in reaction.sessions:
            self._owed_sessions.setdefault(session)
        for change in reaction.modes:
            # Points, others and the log are told what came of it, and not by which way.
            owed = self._owed_sessions.get(change.session)
            before = change.before if owed is None else owed.change.before
            self._owed_sessions[change.session] = _Owed(replace(change, before=before), *by)
        self._owed_standing |= dict.fromkeys(reaction.standing)

    def _write(self) -> list[tuple[ModeChange, Change]]:
        for target in self._owed_standing:
            self._store.put_standing(*target, self._engine.standing_bytes(target))
            if target[0] == "device":
                drifted = self._engine.standing_kinds(target) & POSTURE_KINDS
                self._announcer.compliance_changed(target[1], compliant=not drifted)
        self._store.put_state(_CLOCK, canonical.encode(list(self._engine.clock)))
        written = [self._write_session(*owed) for owed in self._owed_sessions.items()]
        return [each for each in written if each is not None]

    def _write_session(self, session: bytes, owed: _Owed | None) -> tuple[ModeChange, Change] | None:
        record = self._store.get_session(session)
        if record is None or record.mode == Mode.REVOKED or not self._engine.watches(session):
            return None  # over, and one ended session must not hold up the change of all the others
        risk = self._engine.session(session)
        self._store.set_mode(session, risk.mode, risk.to_bytes())
        if owed is None or owed.change.after is owed.change.before:
            return None
        self._announcer.mode_changed(owed.change, record, kind=owed.kind, against=owed.against)
        return owed.change, self._changes.write_mode(session, risk.mode)

    def _publish(self, written: Sequence[tuple[ModeChange, Change]], audit: Afterwards) -> list[ModeChange]:
        self._owed_sessions, self._owed_standing = {}, {}
        _, at_us = self._engine.clock
        self._changes.publish([change for _, change in written])
        # Their calls are refused already; but the lock is held, and the next signal waits.
        audit.record_all(
            "session.mode",
            [
                {"session": each.session, "mode": each.after.name, "why": each.why, "at_us": at_us}
                for each, _ in written
            ],
        )
        return [change for change, _ in written]

    def _record_withdrawal(self, signal: Signal) -> None:
        self._engine.look_at_clock()
        try:
            self._record_signal(signal, Reaction(), (), self._audit)
        except AuditError as error:
            # Whoever sends signals takes an AuditError for "in force", and this is not.
            raise StoreError(f"nothing is taken back that is not on record: {error}") from error

    def _record_signal(
        self, signal: Signal, reaction: Reaction, line: Sequence[bytes], audit: Afterwards | AuditSink
    ) -> None:
        kind, name = signal.target
        _, at_us = self._engine.clock
        audit.record(
            "signal",
            about=signal.kind,
            level=signal.level.name,
            source=signal.source,
            id=signal.id,
            happened_us=round(signal.time * 1e6),
            withdraws=signal.withdraws,
            action=reaction.action.word,
            at_us=at_us,
            line=list(line),
            # As pairs: what a sensor calls its findings is no name of a field.
            evidence=[list(pair) for pair in sorted(signal.evidence.items())],
            **{kind: name},
        )
        self._record_quarantines(reaction, audit)

    def _record_quarantines(self, reaction: Reaction, audit: Afterwards | AuditSink) -> None:
        _, at_us = self._engine.clock
        for each in self._shut_out(reaction):
            target, name = each.target
            audit.record("quarantine", target=target, name=name, why=each.why, at_us=at_us)

    def _tell(self, signal: Signal, reaction: Reaction, hit: int) -> None:
        if reaction.action >= Action.ALERT:
            why = f"{reaction.action.word}, {hit} sessions changed; from {signal.source}, signal {signal.id}"
            self._alert(f"signal.{alert_word(signal.kind)}", signal.level, signal.target, why)
        for each in self._shut_out(reaction):
            self._alert("quarantine", Level.CRITICAL, each.target, each.why)

    def _alert(self, what: str, level: Level, about: Target, why: str) -> None:
        self._alerts.raise_alert(Alert(what, level, about, why, self._clock()))

    def _shut_out(self, reaction: Reaction) -> list[Quarantine]:
        if not reaction.quarantined:
            return []
        # What could not be written at first may have been let in again before it is.
        return [each for each in self._engine.quarantines() if each.target in reaction.quarantined]


def alert_word(kind: str) -> str:
    """A kind of signals as an alert can call it."""
    return re.sub(r"[^a-z0-9]+", "-", kind.lower()).strip("-")[:32].strip("-") or "other"


def restored_engine(
    store: SqliteStore, sessions: Sequence[bytes], rules: RiskRules, clock: Callable[[], float]
) -> RiskEngine:
    """The engine as it was when the store was last written; ``sessions``: the risk of each. StoreError if
    some of it is damaged: what is not known of risk must not pass for none.
    """
    data = store.get_state(_CLOCK)
    try:
        at = canonical.decode(data, max_bytes=64) if data else [0, 0]
        _CLOCK_FORM.check(at, _CLOCK)
        return RiskEngine.restore(store.standing(), sessions, rules, clock=clock, at=(at[0], at[1]))
    except WireError as error:
        raise StoreError(f"the risk that is kept is damaged: {error}") from None


def _checked(target: Target) -> Target:
    kind, name = target
    if kind not in TARGETS:
        raise ConfigurationError(f"target: expected one of {', '.join(TARGETS)}, not {kind!a}")
    if kind == "network":
        try:
            return kind, network_of(name)
        except ValueError:
            raise ConfigurationError(
                "target: expected an address or a network such as 192.0.2.0/24"
            ) from None
    if not is_name(name):
        raise ConfigurationError(f"target: expected the name of a {kind}")
    return kind, name
