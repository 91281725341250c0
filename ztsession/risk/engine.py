"""All sessions' risk, and what outlives them: who is hit by a signal, and what a new session starts with.

A signal against a subject or a device hits every session of it, those that live and those to come. Without
the second half, an attacker with a stolen credential would only have to connect again, and a host that drifts
while its evidence is being judged would be believed. So signals stand against their target until an operator
resolves them, and a session is opened with all that stands and that its own evidence did not answer.

Evidence answers only signals that arrived before it was asked for. The order is that of arrival at this
engine, counted and not timed: take :meth:`RiskEngine.mark` when the challenge (the posture nonce) is made,
and give it back when the evidence holds. No clock takes part in any decision here, so the same events always
give the same modes.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final

from ztsession.errors import SessionEnded, WireError
from ztsession.risk.levels import Level, Mode
from ztsession.risk.session import (
    RECEIVED,
    Received,
    SessionRisk,
    kept,
    received_from_rows,
    received_rows,
)
from ztsession.risk.signals import ANSWERED_BY_EVIDENCE, KINDS, Signal
from ztsession.wire.schema import Integer, ListOf, Message

__all__ = ["ModeChange", "RiskEngine"]

#: How many names of past signals are remembered here; the store remembers them all.
SEEN_MAX: Final = 65_536
STANDING_MAX_BYTES: Final = 1 << 26


@dataclass(frozen=True, slots=True)
class ModeChange:
    """One session's mode changed from ``before`` to ``after``; ``why`` is for the log, not for the peer."""

    session: bytes
    before: Mode
    after: Mode
    why: str


class RiskEngine:
    """Deterministic risk of all live sessions. Thread-safe; nothing here does I/O."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._arrived = 0
        self._sessions: dict[bytes, SessionRisk] = {}
        self._standing: dict[tuple[str, str], tuple[Received, ...]] = {}
        self._seen: OrderedDict[tuple[str, str], None] = OrderedDict()

    def open(self, session: bytes, subject: str, device: str, *, mark: int) -> SessionRisk:
        """Begin to watch a session (16 bytes) whose evidence was asked for at ``mark``.

        Its mode may be SUSPENDED or REVOKED from the start: then nothing may be granted.
        """
        with self._lock:
            risk = SessionRisk(session, subject, device, self._against(subject, device, mark))
            self._sessions[session] = risk
            return risk

    def renew(self, session: bytes, old: bytes, *, mark: int, answers: frozenset[str]) -> SessionRisk:
        """Begin to watch the session that renews ``old``, with all that stands against that one but what the
        evidence answers: signals of the kinds ``answers``, as by :meth:`stepped_up`. SessionEnded if unknown.
        """
        with self._lock:
            risk = replace(self._of(old), session=session).stepped_up(mark, answers)
            self._sessions[session] = risk
            return risk

    def close(self, session: bytes) -> None:
        """Forget a session that is over; what stands against its subject and device stays."""
        with self._lock:
            self._sessions.pop(session, None)

    def __len__(self) -> int:
        """How many sessions are watched."""
        return len(self._sessions)

    def watches(self, session: bytes) -> bool:
        """Whether this session is watched."""
        return session in self._sessions

    def session(self, session: bytes) -> SessionRisk:
        """The present risk of a session; SessionEnded when it is not watched."""
        with self._lock:
            return self._of(session)

    def standing(self, subject: str, device: str) -> Level:
        """The level that a new session of this subject on this device would begin with at best."""
        with self._lock:
            held = self._against(subject, device, self._arrived)
            return max((received.signal.level for received in held), default=Level.LOW)

    def signal(self, signal: Signal, line: Collection[bytes] = ()) -> list[ModeChange]:
        """Take one signal in; the sessions whose mode it changed. A duplicate changes nothing.

        ``line``: sessions that go on from the one that the signal is against, and are hit with it.
        """
        with self._lock:
            if signal.name in self._seen:
                return []
            self._remember(signal)
            self._arrived += 1
            received = Received(self._arrived, signal)
            self._stand(received)
            hit = [r for r in self._sessions.values() if r.concerns(signal) or r.session in line]
            return self._replace((risk, risk.with_signal(received)) for risk in hit)

    def mark(self) -> int:
        """How many signals have arrived: to be taken when a challenge is made, see the module's text."""
        with self._lock:
            return self._arrived

    def stepped_up(
        self, session: bytes, mark: int, answers: frozenset[str] = ANSWERED_BY_EVIDENCE
    ) -> list[ModeChange]:
        """More assurance or fresh posture held: lifts what it answers, to MEDIUM, of the kinds ``answers``;
        SessionEnded if unknown.
        """
        with self._lock:
            risk = self._of(session)
            return self._replace([(risk, risk.stepped_up(mark, answers))])

    def reauthenticated(self, session: bytes, mark: int) -> list[ModeChange]:
        """Full fresh evidence held: lifts what it answers, up to HIGH; SessionEnded if unknown."""
        with self._lock:
            risk = self._of(session)
            return self._replace([(risk, risk.reauthenticated(mark))])

    def resolve(self, kind: str, target: tuple[str, str]) -> list[ModeChange]:
        """An operator settled ``kind`` against a Signal.target; sessions that are revoked stay revoked."""
        if kind not in KINDS:
            raise WireError(f"signal kind: expected one of {', '.join(KINDS)}")
        with self._lock:
            left = tuple(r for r in self._standing.pop(target, ()) if r.signal.kind != kind)
            if left:
                self._standing[target] = left
            watched = list(self._sessions.values())
            return self._replace((risk, risk.without(kind, target)) for risk in watched)

    def standing_state(self) -> bytes:
        """What stands against subjects and devices, and the count of arrivals, in canonical form."""
        with self._lock:
            every = sorted((r for rows in self._standing.values() for r in rows), key=lambda r: r.number)
            return _StandingForm(self._arrived, received_rows(every)).to_bytes()

    @classmethod
    def restore(cls, standing: bytes | None, sessions: Iterable[bytes]) -> RiskEngine:
        """Rebuild from ``standing_state()`` and every ``SessionRisk.to_bytes()``; WireError if damaged."""
        engine = cls()
        if standing is not None:
            form = _StandingForm.from_bytes(standing)
            engine._arrived = form.arrived
            for received in received_from_rows(form.standing):
                engine._restored(received)
                engine._stand(received)
        for data in sessions:
            risk = SessionRisk.from_bytes(data)
            engine._sessions[risk.session] = risk
            for received in risk.unresolved:
                engine._restored(received)
        return engine

    def _restored(self, received: Received) -> None:
        self._remember(received.signal)
        self._arrived = max(self._arrived, received.number)

    def _of(self, session: bytes) -> SessionRisk:
        try:
            return self._sessions[session]
        except KeyError:
            raise SessionEnded("no such session is watched") from None

    def _replace(self, pairs: Iterable[tuple[SessionRisk, SessionRisk]]) -> list[ModeChange]:
        changes = []
        for old, new in pairs:
            self._sessions[new.session] = new
            if new.mode is not old.mode:
                changes.append(ModeChange(new.session, old.mode, new.mode, new.explain()))
        return changes

    def _against(self, subject: str, device: str, mark: int) -> tuple[Received, ...]:
        held = (
            *self._standing.get(("subject", subject), ()),
            *self._standing.get(("device", device), ()),
        )
        # A new session's evidence is as good as evidence gets: it answers every level, CRITICAL too.
        return kept(r for r in held if r.number > mark or r.signal.kind not in ANSWERED_BY_EVIDENCE)

    def _stand(self, received: Received) -> None:
        signal = received.signal
        if signal.session or signal.level is Level.LOW:
            return
        self._standing[signal.target] = kept((*self._standing.get(signal.target, ()), received))

    def _remember(self, signal: Signal) -> None:
        self._seen[signal.name] = None
        if len(self._seen) > SEEN_MAX:
            self._seen.popitem(last=False)


@dataclass(frozen=True)
class _StandingForm(Message, kind="standing-risk", max_bytes=STANDING_MAX_BYTES):
    arrived: Annotated[int, Integer(0, 2**63 - 1)]
    standing: Annotated[list[Any], ListOf(RECEIVED, 1 << 20)]
