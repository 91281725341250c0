"""From a signal to the next call: decide, record, publish; and the same for what time and operators do.

What takes rights away does not wait for the audit log, see :mod:`ztsession.authority.afterwards`; what gives
them back does. The engine has decided before anything is written, and would not say it twice: so what could
not be written is owed, and is written with whatever comes next.
"""

from __future__ import annotations

import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ztsession.audit.sink import AuditSink
from ztsession.authority.afterwards import Afterwards
from ztsession.authority.announcing import Announcer
from ztsession.authority.changes import ChangeLog
from ztsession.bus.change import Change
from ztsession.errors import ConfigurationError
from ztsession.risk.actions import Action
from ztsession.risk.alerts import Alert, Alerts
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

__all__ = ["Reacting", "restored_engine"]

_CLOCK = "risk-clock"
_WHY_MAX = 512
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
        #: Modes and targets that were decided and could not be written yet.
        self._owed: list[_Owed] = []
        self._owed_standing: dict[Target, None] = {}
        #: What signals caused that could not be written, by their names; they come again.
        self._unwritten: OrderedDict[tuple[str, str], tuple[Reaction, Sequence[bytes]]] = OrderedDict()
        self._tick_at = 0.0

    def signal(self, signal: Signal) -> list[ModeChange]:
        """Take a signal, see :meth:`Authority.signal`."""
        # A kind that there is not must not become durable.
        self._engine.rules.check(signal)
        with self._lock, Afterwards(self._audit) as audit:
            with self._store.transaction():
                now, data = int(self._clock()), signal.to_bytes()
                if not self._store.record_signal(signal.source, signal.id, data, now=now):
                    return []
                reaction, line = self._decide(signal)
                self._record_signal(signal, reaction, line, audit)
                written = self._write()
            del self._unwritten[signal.name]
            changes = self._publish(written, audit)
            self._tell(signal, reaction, len(changes))
            return changes

    def resolve(self, kind: str, target: Target) -> list[ModeChange]:
        """An operator settled what is said of ``kind`` against a target, whoever said it."""
        with self._lock:
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
            self._settle(Reaction(self._engine.adopt(rules)))

    def tick(self) -> None:
        """Let time take effect, once a second; does not wait while something else is being decided."""
        # Points ask, also while a change is told to them: to wait for who tells it could be for ever.
        if self._clock() < self._tick_at or not self._lock.acquire(blocking=False):
            return
        try:
            self._tick_at = self._clock() + _TICK_S
            self._settle(Reaction(self._engine.tick()))
        finally:
            self._lock.release()

    # ---- Inside

    def _settle(
        self, reaction: Reaction, audit: Afterwards | None = None, *, by: tuple[str, str] = ("", "session")
    ) -> list[ModeChange]:
        with Afterwards(self._audit) as own:
            with self._store.transaction():
                for target in reaction.quarantined:
                    self._record_quarantine(target, audit or own)
                self._owe(reaction, by)
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
        self._owed += [_Owed(change, *by) for change in reaction.modes]
        self._owed_standing |= dict.fromkeys(reaction.standing)

    def _write(self) -> list[Change]:
        for target in self._owed_standing:
            self._store.put_standing(*target, self._engine.standing_bytes(target))
            if target[0] == "device":
                drifted = self._engine.standing_kinds(target) & POSTURE_KINDS
                self._announcer.compliance_changed(target[1], compliant=not drifted)
        self._store.put_state(_CLOCK, canonical.encode(list(self._engine.clock)))
        return [change for owed in self._owed for change in self._write_mode(owed)]

    def _write_mode(self, owed: _Owed) -> list[Change]:
        change = owed.change
        record = self._store.get_session(change.session)
        if record is None or record.mode == Mode.REVOKED or not self._engine.watches(change.session):
            return []  # over, and one ended session must not hold up the change of all the others
        self._store.set_mode(change.session, change.after, self._engine.session(change.session).to_bytes())
        self._announcer.mode_changed(change, record, kind=owed.kind, against=owed.against)
        return [self._changes.write_mode(change.session, change.after)]

    def _publish(self, written: Sequence[Change], audit: Afterwards) -> list[ModeChange]:
        changes = [owed.change for owed in self._owed]
        self._owed, self._owed_standing = [], {}
        _, at_us = self._engine.clock
        self._changes.publish(written)
        # One entry for each session takes time, and their calls are refused already.
        for change in changes:
            audit.record(
                "session.mode",
                session=change.session,
                mode=change.after.name,
                why=change.why[:_WHY_MAX],
                at_us=at_us,
            )
        return changes

    def _record_signal(
        self, signal: Signal, reaction: Reaction, line: Sequence[bytes], audit: Afterwards
    ) -> None:
        kind, name = signal.target
        _, at_us = self._engine.clock
        audit.record(
            "signal",
            about=signal.kind,
            level=signal.level.name,
            source=signal.source,
            id=signal.id,
            withdraws=signal.withdraws,
            action=reaction.action.word,
            at_us=at_us,
            line=list(line),
            # As pairs: what a sensor calls its findings is no name of a field.
            evidence=[list(pair) for pair in sorted(signal.evidence.items())],
            **{kind: name},
        )
        for target in reaction.quarantined:
            self._record_quarantine(target, audit)

    def _record_quarantine(self, target: Target, audit: Afterwards) -> None:
        _, at_us = self._engine.clock
        audit.record("quarantine", target=target[0], name=target[1], why=self._why(target), at_us=at_us)

    def _tell(self, signal: Signal, reaction: Reaction, hit: int) -> None:
        if reaction.action >= Action.ALERT:
            why = f"{reaction.action.word}, {hit} sessions changed; from {signal.source}, signal {signal.id}"
            self._alert(f"signal.{alert_word(signal.kind)}", signal.level, signal.target, why)
        for target in reaction.quarantined:
            self._alert("quarantine", Level.CRITICAL, target, self._why(target))

    def _alert(self, what: str, level: Level, about: Target, why: str) -> None:
        self._alerts.raise_alert(Alert(what, level, about, why, self._clock()))

    def _why(self, target: Target) -> str:
        return next(each.why for each in self._engine.quarantines() if each.target == target)


def alert_word(kind: str) -> str:
    """A kind of signals as an alert can call it."""
    return re.sub(r"[^a-z0-9]+", "-", kind.lower()).strip("-")[:32].strip("-") or "other"


def restored_engine(
    store: SqliteStore, sessions: Sequence[bytes], rules: RiskRules, clock: Callable[[], float]
) -> RiskEngine:
    """The engine as it was when the store was last written; ``sessions``: the risk of each."""
    data = store.get_state(_CLOCK)
    arrived, latest_us = canonical.decode(data, max_bytes=64) if data else (0, 0)
    return RiskEngine.restore(store.standing(), sessions, rules, clock=clock, at=(arrived, latest_us))


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
