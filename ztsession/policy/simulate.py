"""A policy set is tried on what really was asked, before it is in force.

Sessions that were recorded, or that live, are put to the new policies once more: the same subject on the same
device in the same posture, for the same scopes, at the same time. What each operation comes to is compared
with what it came to before. So it is seen who gains and who loses while nobody yet has.

Sessions with equal questions are asked for once. Time and risk are among what makes a question, as far as the
policies mention them: a year's log of a desk comes to a few dozen cases.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ztsession.errors import ConfigurationError, PolicyError
from ztsession.policy.attributes import SubjectAttributes
from ztsession.policy.because import NOT_ENROLLED, because
from ztsession.policy.catalog import RISKS, Segment
from ztsession.policy.compile import Case
from ztsession.policy.engine import PolicySet
from ztsession.policy.outcome import Outcome, outcomes
from ztsession.policy.question import Question

__all__ = ["CASES_MAX", "Difference", "Failure", "Held", "Recorded", "Simulation", "simulate"]

#: Different cases that are kept apart in one simulation.
CASES_MAX: Final = 100_000


@dataclass(frozen=True)
class Held:
    """What a session was granted in one segment: bitmaps for NORMAL, RESTRICTED and SUSPENDED, and what of
    NORMAL wants a step-up.

    ``numbers``: the name and bit of each operation, where they are known; else the catalog's are taken.
    """

    segment: str
    allowed: tuple[int, int, int]
    step_up: int
    numbers: tuple[tuple[str, int], ...] | None = None


@dataclass(frozen=True)
class Recorded:
    """One session: who asked for what, on what, at ``at`` (Unix seconds), and what was ``held`` then.

    ``identity`` and ``identity_before``: the subject as the new and the old directory know it; None if it is
    not enrolled there.
    """

    subject: str
    identity: SubjectAttributes | None
    identity_before: SubjectAttributes | None
    device: str
    posture: Mapping[str, str]
    assurance: int
    scopes: tuple[str, ...]
    at: float
    held: tuple[Held, ...]


@dataclass(frozen=True, order=True)
class Difference:
    """What changes for a subject in one operation, and for how many of its sessions."""

    subject: str
    operation: str
    before: Outcome
    after: Outcome
    because: str
    sessions: int

    @property
    def gain(self) -> bool:
        """Whether it is more than before, and not less."""
        return self.after > self.before


@dataclass(frozen=True, order=True)
class Failure:
    """Sessions about which policies could not be asked, so that they get nothing; ``of``: "new" or "old"."""

    subject: str
    of: str
    error: str
    sessions: int


@dataclass(frozen=True)
class Simulation:
    """All differences and failures, in the order of subjects and operations, and how much was looked at."""

    differences: tuple[Difference, ...]
    failures: tuple[Failure, ...]
    sessions: int
    cases: int

    @property
    def gains(self) -> tuple[Difference, ...]:
        """The differences that are gains."""
        return tuple(each for each in self.differences if each.gain)

    @property
    def losses(self) -> tuple[Difference, ...]:
        """The differences that are losses."""
        return tuple(each for each in self.differences if not each.gain)


def simulate(new: PolicySet, sessions: Iterable[Recorded], old: PolicySet | None = None) -> Simulation:
    """Compare what ``new`` answers to ``sessions`` with the answers of ``old``, or else with what they hold.

    ConfigurationError for more than ``CASES_MAX`` different cases.
    """
    cases, counts = _cases(new, sessions, old)
    differences: Counter[tuple[str, str, Outcome, Outcome, str]] = Counter()
    failures: Counter[tuple[str, str, str]] = Counter()
    for key, session in cases.items():
        answered = _answered(new, session, old)
        for difference in _differences(new, session, answered):
            differences[difference] += counts[key]
        for side in answered:
            if side.error:
                failures[session.subject, side.of, side.error] += counts[key]
    return Simulation(
        tuple(sorted(Difference(*each, sessions=number) for each, number in differences.items())),
        tuple(sorted(Failure(*each, sessions=number) for each, number in failures.items())),
        sum(counts.values()),
        len(cases),
    )


def _cases(
    new: PolicySet, sessions: Iterable[Recorded], old: PolicySet | None
) -> tuple[dict[Any, Recorded], Counter[Any]]:
    """One session of each case, and how many there are of it."""
    cases: dict[Any, Recorded] = {}
    counts: Counter[Any] = Counter()
    for session in sessions:
        before = session.held if old is None else _question(old, session.identity_before, session)
        key = (session.subject, session.scopes, before, _question(new, session.identity, session))
        cases.setdefault(key, session)
        counts[key] += 1
        if len(cases) > CASES_MAX:
            raise ConfigurationError(f"more than {CASES_MAX} different cases: simulate a part of them")
    return cases, counts


def _question(policy: PolicySet, who: SubjectAttributes | None, session: Recorded) -> Question | None:
    if who is None:
        return None
    return Question.ask(
        who,
        device=session.device,
        posture=session.posture,
        assurance=session.assurance,
        risk=RISKS[0],
        moment=policy.calendar.at(session.at) if policy.mentions.time else None,
        mentioned=policy.mentions,
    )


@dataclass(frozen=True)
class _Side:
    """The outcomes of one session's operations by one policy set."""

    of: str
    outcomes: Mapping[str, Outcome]
    error: str = ""


def _answered(new: PolicySet, session: Recorded, old: PolicySet | None) -> tuple[_Side, _Side]:
    after = _answers("new", new, session.identity, session)
    if old is not None:
        return _answers("old", old, session.identity_before, session), after
    held = {name: outcome for each in session.held for name, outcome in _held(new, each).items()}
    return _Side("old", held), after


def _answers(of: str, policy: PolicySet, who: SubjectAttributes | None, session: Recorded) -> _Side:
    if who is None:
        return _Side(of, {})
    case = Case(policy, who, session.device, session.posture, session.assurance, session.scopes)
    found: dict[str, Outcome] = {}
    try:
        for segment in _asked_for(policy, session):
            compiled = case.compiled(segment, session.at)
            found |= outcomes(_numbers(segment), compiled.allowed, compiled.step_up)
    except PolicyError as error:
        return _Side(of, {}, str(error))
    return _Side(of, found)


def _asked_for(policy: PolicySet, session: Recorded) -> list[Segment]:
    names = sorted({scope.partition(".")[0] for scope in session.scopes} & set(policy.catalog.segments))
    segments = [policy.catalog.segment(name) for name in names]
    environments = sorted({segment.environment for segment in segments})
    if len(environments) > 1:
        # As the Authority would: no session is of two environments.
        raise PolicyError(f"segments of several environments are asked for: {', '.join(environments)}")
    return segments


def _numbers(segment: Segment) -> dict[str, int]:
    return {operation.full_name: operation.index for operation in segment.operations}


def _held(new: PolicySet, held: Held) -> dict[str, Outcome]:
    numbers = dict(held.numbers or ())
    if held.numbers is None:
        segment = new.catalog.segments.get(held.segment)
        numbers = _numbers(segment) if segment else {}
        # What the table has no name for any more was held all the same.
        unnamed = set(range(64)) - set(numbers.values())
        numbers |= {f"{held.segment}.#{number}": number for number in unnamed}
    return outcomes(numbers, held.allowed, held.step_up)


def _differences(
    new: PolicySet, session: Recorded, answered: tuple[_Side, _Side]
) -> Iterator[tuple[str, str, Outcome, Outcome, str]]:
    before, after = answered
    for name in sorted({*before.outcomes, *after.outcomes}):
        was, is_now = (side.outcomes.get(name, Outcome.NOTHING) for side in answered)
        if was != is_now:
            why = after.error or _why(new, session, name, is_now, gain=is_now > was)
            yield session.subject, name, was, is_now, why


def _why(new: PolicySet, session: Recorded, name: str, outcome: Outcome, *, gain: bool) -> str:
    if session.identity is None:
        return NOT_ENROLLED
    case = Case(new, session.identity, session.device, session.posture, session.assurance, session.scopes)
    return because(case, name, session.at, outcome, gain=gain)
