"""The risk of one session: the signals that nothing has answered yet, and the mode they amount to.

Two things decide, and the worse of them: what the worst signal causes by itself, and what all of them add up
to. The first is there because a stolen credential must not wait for company, the second because three odd
things at once are more than three times one. A flood of one kind is worth no more than that kind's cap.

Time forgets points, and so lifts what only a score did; but a suspension asks for everything to be proven
anew, and stays until it was. The state is a value: each event gives a new one, so a failed step leaves the
old state as it was.

A flood must not cost memory either. Of the signals that one source sends of one kind against one target, only
those are kept that could still decide something: a signal takes the place, and the points, of all before that
are no worse. That leaves at most four of each, whatever is sent. (Of one source, because each can withdraw
what it said, and must not take along what another did; only where very many sources speak of one session are
they taken together, and only where very many networks are around it, all of a kind.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final

from ztsession.errors import WireError
from ztsession.risk.actions import Action
from ztsession.risk.levels import Level, Mode
from ztsession.risk.networks import NETWORK_MAX_BYTES
from ztsession.risk.rules import RiskRules
from ztsession.risk.score import SCALE
from ztsession.risk.signals import SIGNAL_MAX_BYTES, Signal
from ztsession.wire.schema import Flag, Integer, ListOf, Message, Name, Octets, Row, Text

__all__ = [
    "FULL_EVIDENCE",
    "RECEIVED",
    "Received",
    "SessionRisk",
    "kept",
    "received_from_rows",
    "received_rows",
]

#: What was shown by who has proven everything anew.
FULL_EVIDENCE: Final = frozenset({"posture", "factor", "everything"})

STATE_MAX_BYTES: Final = 1 << 21
_WHY_MAX_BYTES: Final = 512
_KEPT_MAX: Final = 1024
#: From here on signals of different sources are taken together, and then those of different targets. Far
#: below what a state can hold: there are 64 kinds, and four levels of each.
_APART_MAX: Final = 256
_U53: Final = 2**53
#: One row of [arrival number, microseconds, points in thousandths, signal bytes].
RECEIVED: Final = Row(
    (Integer(1, 2**63 - 1), Integer(0, _U53), Integer(0, _U53), Octets(SIGNAL_MAX_BYTES, 1))
)


@dataclass(frozen=True, slots=True)
class Received:
    """A signal, its number in the order of arrival, which no clock can shift, when it arrived, and what it
    and those that it took the place of were worth then (thousandths of a point).
    """

    number: int
    at_us: int
    points: int
    signal: Signal


@dataclass(frozen=True, slots=True)
class SessionRisk:
    """What is known against one session; ``session`` is its 16-byte id, ``network`` the address that its
    client came from or "".
    """

    session: bytes
    subject: str
    device: str
    network: str = ""
    unresolved: tuple[Received, ...] = ()
    mode: Mode = Mode.NORMAL
    #: The level of the score alone, which is left later than it is entered.
    rated: Level = Level.LOW
    #: The score has suspended it, and not everything was proven since.
    suspended: bool = False
    #: Why it is over, if no signal says so.
    ended: str = ""

    @property
    def level(self) -> Level:
        """How bad it is, by what was made of it."""
        return Level(self.mode)

    @property
    def targets(self) -> tuple[tuple[str, str], ...]:
        """What a signal against it can name, but for networks around its address."""
        own = (("session", self.session.hex()), ("subject", self.subject), ("device", self.device))
        return (*own, ("network", self.network)) if self.network else own

    # ---- Events

    def with_signal(self, received: Received, rules: RiskRules, now_us: int) -> SessionRisk:
        """The state after one more signal, never better than before."""
        return replace(self, unresolved=kept((*self.unresolved, received), rules)).judged(rules, now_us)

    def stepped_up(self, mark: int, shown: frozenset[str], rules: RiskRules, now_us: int) -> SessionRisk:
        """The state after a step-up: answers signals up to MEDIUM, of the kinds that what was ``shown``
        ("posture", "factor") answers, that arrived no later than ``mark``.
        """
        return self._without(lambda r: _answers(r, Level.MEDIUM, mark, shown, rules)).judged(rules, now_us)

    def reauthenticated(self, mark: int, rules: RiskRules, now_us: int) -> SessionRisk:
        """The state after full evidence: answers signals up to HIGH that arrived no later than ``mark``."""
        left = self._without(lambda r: _answers(r, Level.HIGH, mark, FULL_EVIDENCE, rules))
        return replace(left, suspended=False).judged(rules, now_us)

    def without(
        self,
        kind: str,
        target: tuple[str, str],
        rules: RiskRules,
        now_us: int,
        *,
        source: str = "",
        until: float = math.inf,
    ) -> SessionRisk:
        """The state after an operator resolved a kind against a target, or ``source`` withdrew what it said
        of it ``until`` then (Unix seconds); a revoked session stays so.
        """

        def named(received: Received) -> bool:
            signal = received.signal
            return (signal.kind, signal.target) == (kind, target) and signal.is_of(source, until)

        left = self._without(named)
        if len(left.unresolved) == len(self.unresolved):
            return self
        return replace(left, suspended=False).judged(rules, now_us)

    def over(self, why: str) -> SessionRisk:
        """The state of a session that is shut out."""
        return replace(self, mode=Mode.REVOKED, ended=why)

    def judged(self, rules: RiskRules, now_us: int) -> SessionRisk:
        """The same signals, looked at by these rules at this time; a revoked session stays so."""
        if self.mode is Mode.REVOKED:
            return self
        rated = rules.rated(sum(self.scores(rules, now_us).values()), self.rated)
        by_score = rules.action_at(rated)
        suspended = self.suspended or by_score is Action.SUSPEND
        causes = [by_score, Action.SUSPEND if suspended else Action.NONE]
        worst = max([*causes, *(rules.action(each.signal) for each in self.unresolved)])
        return replace(self, mode=worst.mode, rated=rated, suspended=suspended)

    # ---- Telling

    def scores(self, rules: RiskRules, now_us: int) -> dict[str, int]:
        """What each kind counts at ``now_us``, in thousandths of a point."""
        return rules.scores((r.signal.kind, r.points, now_us - r.at_us) for r in self.unresolved)

    def action(self, rules: RiskRules) -> Action:
        """The worst that its signals and its score cause."""
        return max([rules.action_at(self.rated), *(rules.action(r.signal) for r in self.unresolved)])

    def explain(self, rules: RiskRules, now_us: int) -> str:
        """One sentence in ASCII: "HIGH because posture-drift ..."."""
        if self.ended:
            return f"{self.level.name} because {self.ended}"
        deciding = [r.signal for r in self.unresolved if rules.action(r.signal).mode is self.mode]
        causes = [_told(signal) for signal in deciding if self.mode is not Mode.NORMAL]
        nothing = "what is unresolved comes to no more" if self.unresolved else "no signal is unresolved"
        scores = self.scores(rules, now_us)
        if self.rated > Level.LOW or self.suspended:
            parts = ", ".join(f"{kind} {points // SCALE}" for kind, points in sorted(scores.items()))
            causes.append(
                f"the score is {sum(scores.values()) // SCALE} ({parts or 'nothing is left of it'})"
            )
        if self.suspended and self.rated < Level.HIGH:
            causes.append("a score suspended it, and not everything was proven since")
        return f"{self.level.name} because {'; '.join(causes) or nothing}"

    # ---- Storing

    def to_bytes(self) -> bytes:
        """The canonical form, for the store."""
        return _SessionRiskForm(
            self.session,
            self.subject,
            self.device,
            self.network,
            received_rows(self.unresolved),
            int(self.mode),
            int(self.rated),
            self.suspended,
            self.ended,
        ).to_bytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> SessionRisk:
        """Read the canonical form; WireError for anything else."""
        form = _SessionRiskForm.from_bytes(data)
        return cls(
            form.session,
            form.subject,
            form.device,
            form.network,
            received_from_rows(form.unresolved),
            Mode(form.mode),
            Level(form.rated),
            form.suspended,
            form.ended,
        )

    def _without(self, leaves: Callable[[Received], bool]) -> SessionRisk:
        left = tuple(r for r in self.unresolved if not leaves(r))
        if self.mode is Mode.REVOKED or len(left) == len(self.unresolved):
            return self
        # What is left is looked at afresh: what was answered must not hold up a level that it made.
        return replace(self, unresolved=left, rated=Level.LOW)


def kept(received: Iterable[Received], rules: RiskRules) -> tuple[Received, ...]:
    """Let each signal take the place of those of its source, kind and target that came before and are no
    worse; sorted by arrival.
    """
    result = sorted(received, key=lambda r: r.number)
    for places in (_by_source, _by_target, _by_kind):
        result = _merged(result, rules, places)
        if len(result) <= _APART_MAX:
            break
    return tuple(result)


def _by_source(signal: Signal) -> tuple[str, ...]:
    return (signal.kind, *signal.target, signal.source)


def _by_target(signal: Signal) -> tuple[str, ...]:
    return (signal.kind, *signal.target)


def _by_kind(signal: Signal) -> tuple[str, ...]:
    return (signal.kind,)


def _merged(
    received: Iterable[Received], rules: RiskRules, placed: Callable[[Signal], tuple[str, ...]]
) -> list[Received]:
    places: dict[tuple[str, ...], list[Received]] = {}
    for each in received:
        signal = each.signal
        place = places.setdefault(placed(signal), [])
        gone = [r for r in place if r.signal.level <= signal.level]
        if gone:
            before = sum(rules.left(signal.kind, r.points, each.at_us - r.at_us) for r in gone)
            # It may have been overtaken by them: what takes back all until it must not take those along.
            latest = max(signal.time, *(r.signal.time for r in gone))
            each = replace(
                each,
                points=rules.capped(signal.kind, each.points + before),
                signal=signal if latest == signal.time else replace(signal, time=latest),
            )
            place[:] = [r for r in place if r not in gone]
        place.append(each)
    return sorted((r for place in places.values() for r in place), key=lambda r: r.number)


def received_rows(received: Iterable[Received]) -> list[Any]:
    """As rows of [arrival number, microseconds, points, signal bytes]."""
    return [[each.number, each.at_us, each.points, each.signal.to_bytes()] for each in received]


def received_from_rows(rows: Iterable[Any]) -> tuple[Received, ...]:
    """The inverse of ``received_rows``; WireError for what is no signal or not in order of arrival."""
    received = tuple(
        Received(number, at_us, points, Signal.from_bytes(data)) for number, at_us, points, data in rows
    )
    numbers = [each.number for each in received]
    if numbers != sorted(set(numbers)):
        raise WireError("risk: signals are not in order of arrival")
    return received


def _answers(received: Received, most: Level, mark: int, shown: frozenset[str], rules: RiskRules) -> bool:
    signal = received.signal
    # Evidence made before a signal says nothing about it.
    return rules.kind(signal.kind).answered_by in shown and signal.level <= most and received.number <= mark


def _told(signal: Signal) -> str:
    # ASCII alone: what a sensor wrote must not be able to draw a second sentence on an operator's screen.
    evidence = ", ".join(f"{key!a}: {value!a}" for key, value in sorted(signal.evidence.items()))
    about = " ".join(signal.target)
    return f"{signal.kind} of {about} from {signal.source} (signal {signal.id}){evidence and ': ' + evidence}"


@dataclass(frozen=True)
class _SessionRiskForm(Message, kind="session-risk", max_bytes=STATE_MAX_BYTES):
    session: Annotated[bytes, Octets.exactly(16)]
    subject: Annotated[str, Name()]
    device: Annotated[str, Name()]
    network: Annotated[str, Text(NETWORK_MAX_BYTES)]
    unresolved: Annotated[list[Any], ListOf(RECEIVED, _KEPT_MAX)]
    mode: Annotated[int, Integer(0, 3)]
    rated: Annotated[int, Integer(0, 2)]
    suspended: Annotated[bool, Flag()]
    ended: Annotated[str, Text(_WHY_MAX_BYTES)]
