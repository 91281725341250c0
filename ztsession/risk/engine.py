"""All sessions' risk, and what outlives them: who is hit by a signal, and what a new session starts with.

A signal against a subject, a device or a network hits every session of it, those that live and those to come.
Without the second half, an attacker with a stolen credential would only have to connect again, and a host
that drifts while its evidence is being judged would be believed. So signals stand against their target until
their source or an operator takes them back, and a session is opened with all that stands and that its own
evidence did not answer. Who is quarantined gets no session at all until an operator releases them.

Evidence answers only signals that arrived before it was asked for. The order is that of arrival at this
engine, counted and not timed: take :meth:`RiskEngine.mark` when the challenge (the posture nonce) is made,
and give it back when the evidence holds. Time takes points off a score and has no other part in this. It is
read off one clock, which here never goes back, and everything that is decided can be decided again from the
events and their times alone.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from itertools import islice

from ztsession.errors import WireError
from ztsession.risk.actions import Action
from ztsession.risk.levels import Level, Mode
from ztsession.risk.rules import RiskRules
from ztsession.risk.session import FULL_EVIDENCE, Received, SessionRisk
from ztsession.risk.signals import Signal
from ztsession.risk.standing import Quarantine, Standing, Target
from ztsession.risk.watched import Watched

__all__ = ["ModeChange", "Reaction", "RiskEngine"]

#: How many names of past signals are remembered here; the store remembers them all.
SEEN_MAX = 65_536
#: Characters of a change's reason.
WHY_MAX = 512
#: Sessions that one :meth:`RiskEngine.tick` looks at.
TICK_MAX = 2_000


@dataclass(frozen=True, slots=True)
class ModeChange:
    """One session's mode changed from ``before`` to ``after``; ``why`` is for the log, not for the peer."""

    session: bytes
    before: Mode
    after: Mode
    why: str


@dataclass(frozen=True, slots=True)
class Reaction:
    """What one event has caused: ``modes`` that changed, who was ``quarantined``, the worst ``action``, the
    targets ``standing`` against whom something is to be kept, or not any more, and the ``sessions`` whose
    state is another now, whether or not their mode is.
    """

    modes: list[ModeChange] = field(default_factory=list)
    quarantined: list[Target] = field(default_factory=list)
    standing: list[Target] = field(default_factory=list)
    action: Action = Action.NONE
    sessions: list[bytes] = field(default_factory=list)
    #: It had arrived before.
    duplicate: bool = False


class RiskEngine:
    """Deterministic risk of all live sessions. Thread-safe; nothing here does I/O."""

    def __init__(self, rules: RiskRules | None = None, *, clock: Callable[[], float] = time.time) -> None:
        """``clock``: Unix seconds."""
        self._rules, self._clock = rules or RiskRules(), clock
        self._lock = threading.RLock()
        self._arrived, self._latest_us = 0, 0
        self._sessions = Watched()
        self._standing = Standing()
        self._seen: OrderedDict[tuple[str, str], None] = OrderedDict()
        #: Sessions whose score time alone can lower, the one that was looked at longest ago first.
        self._cooling: OrderedDict[bytes, None] = OrderedDict()

    @property
    def rules(self) -> RiskRules:
        """The rules in force."""
        return self._rules

    # ---- Sessions

    def open(
        self,
        session: bytes,
        subject: str,
        device: str,
        *,
        mark: int,
        network: str = "",
        more: tuple[int, frozenset[str]] = (0, frozenset()),
    ) -> SessionRisk:
        """Begin to watch a session (16 bytes) whose evidence was asked for at ``mark``; ``more``: what was
        shown since, and the mark of that, see :meth:`SessionRisk.stepped_up`.

        Its mode may be SUSPENDED or REVOKED from the start: then nothing may be granted.
        """
        with self._lock:
            now_us = self._now_us()
            risk = self._against(SessionRisk(session, subject, device, network), mark, now_us)
            return self._begin(risk.stepped_up(*more, self._rules, now_us))

    def renew(
        self, session: bytes, old: bytes, *, mark: int, shown: frozenset[str], network: str = ""
    ) -> SessionRisk:
        """Begin to watch the session that renews ``old``, with all that stands against that one but what the
        evidence answers, see :meth:`SessionRisk.stepped_up`. SessionEnded if unknown.
        """
        with self._lock:
            risk, now_us = replace(self._sessions.of(old), session=session), self._now_us()
            if network != risk.network:
                # What stands against where it comes from now was not looked at before, and a renewal shows
                # too little for any of it to be taken as answered.
                risk = self._against(replace(risk, network=network), 0, now_us)
            return self._begin(risk.stepped_up(mark, shown, self._rules, now_us))

    def close(self, session: bytes) -> None:
        """Forget a session that is over; what stands against its subject, device and network stays."""
        with self._lock:
            self._sessions.remove(session)
            self._cooling.pop(session, None)

    def __len__(self) -> int:
        """How many sessions are watched."""
        return len(self._sessions)

    def watches(self, session: bytes) -> bool:
        """Whether this session is watched."""
        return session in self._sessions

    def session(self, session: bytes) -> SessionRisk:
        """The present risk of a session; SessionEnded when it is not watched."""
        with self._lock:
            return self._sessions.of(session)

    def explain(self, session: bytes) -> str:
        """Why a session is in its mode, in one line; SessionEnded when it is not watched."""
        with self._lock:
            return self._sessions.of(session).explain(self._rules, self._peek_us())

    def standing(self, subject: str, device: str, network: str = "") -> Level:
        """The level that a new session of this subject on this device would begin with at best."""
        with self._lock:
            nobody = SessionRisk(b"\0" * 16, subject, device, network)
            return self._against(nobody, self._arrived, self._peek_us()).level

    def standing_kinds(self, target: Target) -> frozenset[str]:
        """The kinds of signals that stand against a target, whether or not anybody is connected."""
        with self._lock:
            return self._standing.kinds(target)

    # ---- Events

    def signal(self, signal: Signal, line: Collection[bytes] = ()) -> Reaction:
        """Take one signal in. A duplicate changes nothing; WireError for a kind that there is not.

        ``line``: sessions that go on from the one that the signal is against, and are hit with it. What a
        withdrawal leaves is seen as by :meth:`resolve`.
        """
        with self._lock:
            self._rules.check(signal)
            if signal.name in self._seen:
                return Reaction(duplicate=True)
            self._remember(signal)
            self._arrived += 1
            if signal.withdraws:
                return self._take_back(signal.kind, signal.target, signal.source, signal.time)
            return self._take_in(signal, line)

    def mark(self) -> int:
        """How many signals have arrived: to be taken when a challenge is made, see the module's text."""
        with self._lock:
            return self._arrived

    def reauthenticated(self, session: bytes, mark: int) -> list[ModeChange]:
        """Full fresh evidence held: lifts what it answers, up to HIGH; SessionEnded if unknown."""
        with self._lock:
            risk = self._sessions.of(session)
            return self._replace([(risk, risk.reauthenticated(mark, self._rules, self._now_us()))]).modes

    def resolve(self, kind: str, target: Target) -> Reaction:
        """An operator settled ``kind`` against a Signal.target; sessions that are revoked stay revoked. Seen
        from the latest moment that :meth:`look_at_clock` or an event saw.
        """
        with self._lock:
            self.check_kind(kind)
            return self._take_back(kind, target)

    def check_kind(self, kind: str) -> None:
        """WireError unless there is such a kind, or was when something was said that stands."""
        with self._lock:
            if kind not in self._rules.kinds and kind not in self._kinds_held():
                raise WireError(f"signal kind: expected one of {', '.join(self._rules.kinds)}")

    def quarantine(self, target: Target, why: str) -> Reaction:
        """Shut a subject, a device or a network out: every session ends, and none begins until release."""
        with self._lock:
            self._now_us()
            ended = self._shut_out(target, why)
            return replace(ended, quarantined=[target], standing=[target], action=Action.QUARANTINE_SUBJECT)

    def release(self, target: Target) -> bool:
        """An operator lets them in again; False if they were not quarantined. What stands, stands."""
        with self._lock:
            return self._standing.release(target)

    def quarantines(self) -> list[Quarantine]:
        """Who is shut out."""
        with self._lock:
            return self._standing.quarantines()

    def tick(self) -> Reaction:
        """Let time take effect on some of the sessions whose score it lowers, in turn."""
        with self._lock:
            some = list(islice(self._cooling, TICK_MAX))
            for session in some:
                self._cooling.move_to_end(session)
            return self._judge_again(some)

    def look_again(self, session: bytes) -> list[ModeChange]:
        """Let time take effect on one session; SessionEnded if unknown."""
        with self._lock:
            return self._judge_again([session]).modes

    def adopt(self, rules: RiskRules) -> Reaction:
        """Put other rules in force, and look at every session by them."""
        with self._lock:
            self._rules = rules
            return self._judge_again([risk.session for risk in self._sessions.with_signals()])

    # ---- Storing

    def standing_bytes(self, target: Target, *, released: bool = False) -> bytes:
        """What stands against a target in canonical form, or would once it was ``released``; b"" if
        nothing does.
        """
        with self._lock:
            return self._standing.to_bytes(target, released=released)

    def look_at_clock(self) -> int:
        """See the present moment (microseconds), and go by it."""
        with self._lock:
            return self._now_us()

    @property
    def clock(self) -> tuple[int, int]:
        """How many signals have arrived, and the latest moment that was seen (microseconds)."""
        return self._arrived, self._latest_us

    @classmethod
    def restore(
        cls,
        standing: Iterable[bytes],
        sessions: Iterable[bytes],
        rules: RiskRules | None = None,
        *,
        clock: Callable[[], float] = time.time,
        at: tuple[int, int] = (0, 0),
    ) -> RiskEngine:
        """Rebuild from every ``standing_bytes()``, every ``SessionRisk.to_bytes()`` and :attr:`clock`;
        WireError if damaged.
        """
        engine = cls(rules, clock=clock)
        engine._arrived, engine._latest_us = at
        held = [each for data in standing for each in engine._standing.restore(data)]
        for data in sessions:
            risk = SessionRisk.from_bytes(data)
            engine._watch(risk)
            held += risk.unresolved
        for received in sorted(held, key=lambda each: each.number):
            engine._remember(received.signal)
            engine._arrived = max(engine._arrived, received.number)
        return engine

    # ---- Inside

    def _now_us(self) -> int:
        self._latest_us = self._peek_us()
        return self._latest_us

    def _peek_us(self) -> int:
        # Whoever only asks must not move the clock: what is recorded of an event is the moment that it saw.
        return max(self._latest_us, round(self._clock() * 1e6))

    def _take_in(self, signal: Signal, line: Collection[bytes]) -> Reaction:
        now_us, action = self._now_us(), self._rules.action(signal)
        received = Received(self._arrived, now_us, self._rules.points(signal), signal)
        if action.mode is Mode.NORMAL and not received.points:
            return Reaction(action=action)  # said, and nothing follows from it
        standing = self._standing.add(received, self._rules)
        # What has ended is not judged again: its signals may be settled by now, and must cause nothing more.
        hit = [risk for risk in self._sessions.hit(signal.target, line) if risk.mode < Mode.REVOKED]
        pairs = [(risk, risk.with_signal(received, self._rules, now_us)) for risk in hit]
        changed = self._replace(pairs)
        worst = max([action, *(after.action(self._rules) for _, after in pairs)])
        shut_out = self._to_shut_out(signal, pairs) if worst >= Action.QUARANTINE_SUBJECT else []
        ended = [self._shut_out(target, why) for target, why in shut_out]
        targets = [target for target, _ in shut_out]
        return Reaction(
            [change for each in (changed, *ended) for change in each.modes],
            targets,
            [*standing, *targets],
            worst,
            [session for each in (changed, *ended) for session in each.sessions],
        )

    def _to_shut_out(
        self, signal: Signal, pairs: Iterable[tuple[SessionRisk, SessionRisk]]
    ) -> list[tuple[Target, str]]:
        found: dict[Target, str] = {}
        own = self._rules.action(signal)
        # The signal's own target, also when nobody of that name is connected.
        if own >= Action.QUARANTINE_SUBJECT and signal.target[0] in (_quarantined_by(own), "network"):
            found[signal.target] = f"{signal.kind} from {signal.source} (signal {signal.id})"
        for _, risk in pairs:
            action = risk.action(self._rules)
            # An action against a network is none against all who come from it; what their scores cause is.
            if action >= Action.QUARANTINE_SUBJECT and (signal.target[0] != "network" or action > own):
                kind = _quarantined_by(action)
                name = risk.subject if kind == "subject" else risk.device
                found.setdefault((kind, name), risk.explain(self._rules, self._latest_us))
        return list(found.items())

    def _shut_out(self, target: Target, why: str) -> Reaction:
        quarantine = self._standing.quarantine(target, why, self._latest_us)
        hit = self._sessions.hit(target, ())
        return self._replace((risk, risk.over(quarantine.told)) for risk in hit if risk.mode < Mode.REVOKED)

    def _take_back(self, kind: str, target: Target, source: str = "", until: float = math.inf) -> Reaction:
        now_us = self._latest_us
        changed = self._standing.remove(kind, target, source, until)
        # Not only those that it concerns by now: a session may have come from elsewhere before.
        pairs = [
            (risk, risk.without(kind, target, self._rules, now_us, source=source, until=until))
            for risk in self._sessions.with_signals()
        ]
        return replace(self._replace(pairs), standing=[target] if changed else [])

    def _against(self, risk: SessionRisk, mark: int, now_us: int) -> SessionRisk:
        if quarantine := self._standing.quarantine_of(risk):
            return risk.over(quarantine.told)
        known = {received.number for received in risk.unresolved}
        for received in self._standing.against(risk):
            if received.number in known:
                continue
            answerable = self._rules.kind(received.signal.kind).answered_by in FULL_EVIDENCE
            # A new session's evidence is as good as evidence gets: it answers every level, CRITICAL too.
            if received.number > mark or not answerable:
                risk = risk.with_signal(received, self._rules, now_us)
        return risk

    def _kinds_held(self) -> set[str]:
        of_sessions = (each for risk in self._sessions.with_signals() for each in risk.unresolved)
        return {each.signal.kind for each in (*of_sessions, *self._standing.signals())}

    def _begin(self, risk: SessionRisk) -> SessionRisk:
        self._watch(risk)
        return risk

    def _watch(self, risk: SessionRisk) -> None:
        self._sessions.put(risk)
        if risk.rated > Level.LOW and risk.mode < Mode.REVOKED:
            self._cooling[risk.session] = None
        else:
            self._cooling.pop(risk.session, None)

    def _judge_again(self, sessions: Iterable[bytes]) -> Reaction:
        now_us = self._now_us()
        risks = [self._sessions.of(session) for session in sessions]
        return self._replace((risk, risk.judged(self._rules, now_us)) for risk in risks)

    def _replace(self, pairs: Iterable[tuple[SessionRisk, SessionRisk]]) -> Reaction:
        result = Reaction()
        for old, new in pairs:
            if new == old:
                continue
            self._watch(new)
            result.sessions.append(new.session)
            if new.mode is not old.mode:
                # For each of very many sessions, with all that sensors wrote, it would be too much to keep.
                why = new.explain(self._rules, self._latest_us)[:WHY_MAX]
                result.modes.append(ModeChange(new.session, old.mode, new.mode, why))
        return result

    def _remember(self, signal: Signal) -> None:
        self._seen[signal.name] = None
        if len(self._seen) > SEEN_MAX:
            self._seen.popitem(last=False)


def _quarantined_by(action: Action) -> str:
    return "device" if action is Action.QUARANTINE_DEVICE else "subject"
