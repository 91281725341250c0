"""What stands against subjects, devices and networks, whether or not anybody of that name is connected."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Final

from ztsession.risk.networks import is_in
from ztsession.risk.rules import RiskRules
from ztsession.risk.session import RECEIVED, Received, SessionRisk, kept, received_from_rows, received_rows
from ztsession.wire.schema import Integer, ListOf, Message, OneOf, Text

__all__ = ["TARGETS", "Quarantine", "Standing", "Target"]

#: As Signal.target has it.
Target = tuple[str, str]

TARGETS: Final = ("subject", "device", "network")
_WHY_MAX: Final = 256
_STANDING_MAX: Final = 1024


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Somebody who gets no session: since when (Unix microseconds), and why."""

    target: Target
    why: str
    since_us: int

    @property
    def told(self) -> str:
        """In ASCII, as the middle of a sentence."""
        kind, name = self.target
        return f"{kind} {name} is quarantined: {self.why}"


class Standing:
    """By target, what stands against it. Not thread-safe."""

    def __init__(self) -> None:
        self._signals: dict[Target, tuple[Received, ...]] = {}
        self._quarantines: dict[Target, Quarantine] = {}
        #: Networks of more than one address: these have to be looked through.
        self._wide: dict[Target, None] = {}

    # ---- Signals

    def add(self, received: Received, rules: RiskRules) -> list[Target]:
        """Let a signal stand, unless it is against one session alone; its target if it does."""
        target = received.signal.target
        if target[0] == "session":
            return []
        self._signals[target] = kept((*self._signals.get(target, ()), received), rules)
        self._note_width(target)
        return [target]

    def remove(self, kind: str, target: Target, source: str, until: float) -> bool:
        """Take back what ``source`` ("" for all) said of a kind against a target ``until`` then (Unix
        seconds); whether there was any.
        """
        held = self._signals.get(target, ())
        left = tuple(r for r in held if r.signal.kind != kind or not r.signal.is_of(source, until))
        if left:
            self._signals[target] = left
        else:
            self._signals.pop(target, None)
            self._note_width(target)
        return len(left) < len(held)

    def kinds(self, target: Target) -> frozenset[str]:
        """The kinds of all signals that stand against a target."""
        return frozenset(received.signal.kind for received in self._signals.get(target, ()))

    def against(self, risk: SessionRisk) -> list[Received]:
        """All that stands against a session that is to begin, in the order of arrival."""
        found = {r.number: r for target in self._targets_of(risk) for r in self._signals.get(target, ())}
        return [found[number] for number in sorted(found)]

    def signals(self) -> Iterator[Received]:
        """All that stands."""
        return (received for held in self._signals.values() for received in held)

    # ---- Quarantines

    def quarantine(self, target: Target, why: str, now_us: int) -> Quarantine:
        """Shut a target out; one that is shut out already stays so for its first reason."""
        told = ascii(why)[1:-1][:_WHY_MAX]
        quarantine = self._quarantines.setdefault(target, Quarantine(target, told, now_us))
        self._note_width(target)
        return quarantine

    def release(self, target: Target) -> bool:
        """Let a target in again; False if it was not shut out."""
        was = self._quarantines.pop(target, None)
        self._note_width(target)
        return was is not None

    def quarantine_of(self, risk: SessionRisk) -> Quarantine | None:
        """What shuts a session out, if anything."""
        found = (self._quarantines.get(target) for target in self._targets_of(risk))
        return next((quarantine for quarantine in found if quarantine is not None), None)

    def quarantines(self) -> list[Quarantine]:
        """All of them, sorted by target."""
        return [self._quarantines[target] for target in sorted(self._quarantines)]

    # ---- Storing

    def to_bytes(self, target: Target, *, released: bool = False) -> bytes:
        """What stands against a target in canonical form, or would once it was ``released``; b"" if
        nothing does.
        """
        signals = self._signals.get(target, ())
        quarantine = None if released else self._quarantines.get(target)
        if not signals and quarantine is None:
            return b""
        why, since_us = ("", 0) if quarantine is None else (quarantine.why, quarantine.since_us)
        return _StandingForm(*target, received_rows(signals), since_us, why).to_bytes()

    def restore(self, data: bytes) -> tuple[Received, ...]:
        """Take in what :meth:`to_bytes` gave; the signals in it. WireError for anything else."""
        form = _StandingForm.from_bytes(data)
        target, signals = (form.target, form.name), received_from_rows(form.signals)
        if signals:
            self._signals[target] = signals
        if form.since_us:
            self._quarantines[target] = Quarantine(target, form.why, form.since_us)
        self._note_width(target)
        return signals

    def _note_width(self, target: Target) -> None:
        if target[0] != "network" or "/" not in target[1]:
            return
        if target in self._signals or target in self._quarantines:
            self._wide[target] = None
        else:
            self._wide.pop(target, None)

    def _targets_of(self, risk: SessionRisk) -> Iterator[Target]:
        yield from risk.targets[1:]
        yield from (target for target in self._wide if is_in(risk.network, target[1]))


@dataclass(frozen=True)
class _StandingForm(Message, kind="standing-risk", max_bytes=1 << 22):
    target: Annotated[str, OneOf(TARGETS)]
    name: Annotated[str, Text(128, min_bytes=1)]
    signals: Annotated[list[Any], ListOf(RECEIVED, _STANDING_MAX)]
    since_us: Annotated[int, Integer(0, 2**53)]
    why: Annotated[str, Text(_WHY_MAX)]
