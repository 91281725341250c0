"""The risk of one session: the signals that nothing has answered yet, and the mode they amount to.

The worst unanswered signal decides, alone. A sum or an average would let a flood of harmless signals suspend
a desk, or a long quiet time outweigh a stolen credential. The state is a value: each event gives a new one,
so a failed step leaves the old state as it was.

A flood must not cost memory either. Of the signals of one kind against one target, only those are kept that
could still decide something: a signal is dropped when a later one is at least as bad. That leaves at most
four of each, whatever is sent.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final

from ztsession.errors import WireError
from ztsession.risk.levels import MODE_OF, Level, Mode
from ztsession.risk.signals import ANSWERED_BY_EVIDENCE, SIGNAL_MAX_BYTES, Signal
from ztsession.wire.schema import Integer, ListOf, Message, Name, Octets, Row

__all__ = ["RECEIVED", "Received", "SessionRisk", "kept", "received_from_rows", "received_rows"]

STATE_MAX_BYTES: Final = 1 << 18
_KEPT_MAX: Final = 60
#: One row of [arrival number, signal bytes].
RECEIVED: Final = Row((Integer(1, 2**63 - 1), Octets(SIGNAL_MAX_BYTES, 1)))


@dataclass(frozen=True, slots=True)
class Received:
    """A signal and its number in the order of arrival, which no clock can shift."""

    number: int
    signal: Signal


@dataclass(frozen=True, slots=True)
class SessionRisk:
    """What is known against one session; ``session`` is its 16-byte id."""

    session: bytes
    subject: str
    device: str
    unresolved: tuple[Received, ...] = ()

    @property
    def level(self) -> Level:
        """The worst unresolved level; LOW when there is none."""
        return max((each.signal.level for each in self.unresolved), default=Level.LOW)

    @property
    def mode(self) -> Mode:
        """The mode that the level puts the session in."""
        return MODE_OF[self.level]

    def concerns(self, signal: Signal) -> bool:
        """Tell whether a signal's target is this session, its subject or its device."""
        return signal.target in (
            ("session", self.session.hex()),
            ("subject", self.subject),
            ("device", self.device),
        )

    def with_signal(self, received: Received) -> SessionRisk:
        """The state after one more signal, never better than before."""
        return replace(self, unresolved=kept((*self.unresolved, received)))

    def stepped_up(self, mark: int, answers: frozenset[str] = ANSWERED_BY_EVIDENCE) -> SessionRisk:
        """The state after a step-up: answers signals up to MEDIUM, of the kinds that ``answers`` names, that
        arrived no later than ``mark``.
        """
        return self._answered(Level.MEDIUM, mark, answers & ANSWERED_BY_EVIDENCE)

    def reauthenticated(self, mark: int) -> SessionRisk:
        """The state after full evidence: answers signals up to HIGH that arrived no later than ``mark``."""
        return self._answered(Level.HIGH, mark, ANSWERED_BY_EVIDENCE)

    def without(self, kind: str, target: tuple[str, str]) -> SessionRisk:
        """The state after an operator resolved a kind against a target; a revoked session stays so."""
        if self.mode is Mode.REVOKED:
            return self
        left = [r for r in self.unresolved if (r.signal.kind, r.signal.target) != (kind, target)]
        return replace(self, unresolved=tuple(left))

    def explain(self) -> str:
        """One sentence in ASCII: "HIGH because posture-drift ..."."""
        deciding = [each.signal for each in self.unresolved if each.signal.level == self.level]
        causes = "; ".join(_told(signal) for signal in deciding) or "no signal is unresolved"
        return f"{self.level.name} because {causes}"

    def to_bytes(self) -> bytes:
        """The canonical form, for the store."""
        return _SessionRiskForm(
            self.session, self.subject, self.device, received_rows(self.unresolved)
        ).to_bytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> SessionRisk:
        """Read the canonical form; WireError for anything else."""
        form = _SessionRiskForm.from_bytes(data)
        return cls(form.session, form.subject, form.device, received_from_rows(form.unresolved))

    def _answered(self, most: Level, mark: int, kinds: frozenset[str]) -> SessionRisk:
        def answers(received: Received) -> bool:
            signal = received.signal
            answerable = signal.kind in kinds and signal.level <= most
            # Evidence made before a signal says nothing about it.
            return answerable and received.number <= mark

        if self.mode is Mode.REVOKED:
            return self
        return replace(self, unresolved=tuple(r for r in self.unresolved if not answers(r)))


def kept(received: Iterable[Received]) -> tuple[Received, ...]:
    """Drop each signal that a later one of its kind and target is at least as bad as; sorted by arrival."""
    result: list[Received] = []
    for each in sorted(received, key=lambda r: r.number):
        about = (each.signal.kind, each.signal.target)
        result = [
            r
            for r in result
            if (r.signal.kind, r.signal.target) != about or r.signal.level > each.signal.level
        ]
        result.append(each)
    return tuple(result)


def received_rows(received: Iterable[Received]) -> list[Any]:
    """As rows of [arrival number, signal bytes]."""
    return [[each.number, each.signal.to_bytes()] for each in received]


def received_from_rows(rows: Iterable[Any]) -> tuple[Received, ...]:
    """The inverse of ``received_rows``; WireError for what is no signal or not in order of arrival."""
    received = tuple(Received(number, Signal.from_bytes(data)) for number, data in rows)
    numbers = [each.number for each in received]
    if numbers != sorted(set(numbers)):
        raise WireError("risk: signals are not in order of arrival")
    return received


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
    unresolved: Annotated[list[Any], ListOf(RECEIVED, _KEPT_MAX)]
