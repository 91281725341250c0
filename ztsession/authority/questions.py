"""From a question of another tool to a decision, by the same policies that sessions are granted by.

A question says who would do what where, and in what circumstances. What is known of the subject is looked up
here and never taken from the question, or whoever asks could give anybody a role; so is what stands against
the subject and the device, or he could call a stolen credential a good one. The other circumstances are the
asker's word, and the answer is worth as much as that: it tells what a session in these circumstances may do.
Only a question about a live session has all of them from this Authority, and its answer is what an
enforcement point would say to that session now.

An answer is "permitted" for one reason alone: everything was found, evaluated without an error and allowed.
Nothing is locked while policies are evaluated, and whoever asks several things at once is answered by one
version of the rules, whatever is reloaded meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final, NamedTuple

from ztsession.authority.authority import Authority
from ztsession.authority.hearing import Heard
from ztsession.authority.judged import Basis
from ztsession.errors import ConfigurationError, SessionEnded, ZtsError
from ztsession.identity.subjects import Subject
from ztsession.policy.attributes import SubjectAttributes
from ztsession.policy.catalog import RISKS, Operation, Segment
from ztsession.policy.compile import ASSURANCE_MAX, Case
from ztsession.policy.grant import Grant
from ztsession.posture.devices import NO_DEVICE
from ztsession.posture.items import ITEMS, UNKNOWN
from ztsession.risk.levels import Mode
from ztsession.store.records import SessionRecord
from ztsession.wire.names import is_name

__all__ = [
    "DENIED",
    "FAILED",
    "OUTCOMES",
    "PERMITTED",
    "REAUTHENTICATE",
    "SEGMENT",
    "STEP_UP",
    "SUBJECT",
    "AccessQuestion",
    "Circumstances",
    "Entity",
    "Questions",
    "Ruling",
]

#: The types of what is asked about; there are no others.
SUBJECT, SEGMENT = "subject", "segment"

PERMITTED, DENIED, FAILED = "permitted", "denied", "failed"
#: Not now; more assurance or fresh evidence, or all evidence anew, would help.
STEP_UP, REAUTHENTICATE = "step-up", "reauthenticate"
OUTCOMES: Final = (PERMITTED, STEP_UP, REAUTHENTICATE, DENIED, FAILED)

WHY_MAX: Final = 512
_STANDING: Final = "a signal stands against the subject or the device"
_UNKNOWN_POSTURE: Final = MappingProxyType(dict.fromkeys(ITEMS, UNKNOWN))

Rule = Callable[["AccessQuestion"], "Ruling"]


class Entity(NamedTuple):
    """What a question names: a type, and which one of it."""

    type: str
    id: str


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What is assumed where no session says it. ``assurance``: 1 to 3; ``posture``: a word for each item;
    ``risk``: at least, a word of ``RISKS``; ``at``: Unix seconds, None for now.
    """

    assurance: int = 1
    device: str = NO_DEVICE
    posture: Mapping[str, str] = field(default_factory=lambda: _UNKNOWN_POSTURE)
    risk: str = RISKS[0]
    at: float | None = None


@dataclass(frozen=True, slots=True)
class AccessQuestion:
    """May ``subject`` do ``action`` (short or full name of an operation) in ``resource``?

    ``session``: the 16-byte id of the session that would do it; the circumstances are then its own.
    """

    subject: Entity
    resource: Entity
    action: str
    circumstances: Circumstances = field(default_factory=Circumstances)
    session: bytes = b""


@dataclass(frozen=True, slots=True)
class Ruling:
    """The answer: one of ``OUTCOMES``, and exactly why, for operators and not for the subject.

    ``assurance``: the level that a step-up has to reach, 0 where that is not known.
    """

    outcome: str
    why: str = ""
    assurance: int = 0

    @property
    def permitted(self) -> bool:
        """Whether it may be done now."""
        return self.outcome == PERMITTED


class Questions:
    """Answers questions in an Authority's name. Thread-safe; ``close()`` it."""

    def __init__(self, authority: Authority, *, clock: Callable[[], float] = time.time) -> None:
        """For an Authority of this process; ``clock`` gives Unix seconds."""
        self._authority, self._clock = authority, clock
        self._heard = Heard(authority)

    def now(self) -> Rule:
        """The rules that are in force now, as they are at this moment, to put any number of questions to."""
        return _Sitting(self._authority, self._heard, self._clock()).rule

    def close(self) -> None:
        """Stop listening to the Authority."""
        self._heard.close()


class _Sitting:
    """One version of the rules, and one moment."""

    def __init__(self, authority: Authority, heard: Heard, now: float) -> None:
        self._authority, self._heard, self._now = authority, heard, now
        self._decider = authority.decider
        self._policies = self._decider.policies.current

    def rule(self, question: AccessQuestion) -> Ruling:
        try:
            ruling = self._rule(question)
        except SessionEnded as error:
            ruling = Ruling(DENIED, str(error))
        except ZtsError as error:
            ruling = Ruling(FAILED, f"could not be decided, so it is denied: {error}")
        return replace(ruling, why=ruling.why[:WHY_MAX])

    def _rule(self, question: AccessQuestion) -> Ruling:
        subject = self._subject(question.subject)
        if subject is None:
            return Ruling(DENIED, "no such subject is enrolled")
        segment = self._segment(question.resource)
        if segment is None:
            return Ruling(DENIED, "the catalog has no such segment")
        operation = _operation(segment, question.action)
        if operation is None:
            return Ruling(DENIED, f"segment {segment.name} has no such operation")
        if question.session:
            record = self._authority.session(question.session)
            return self._of_session(record, subject, segment, operation)
        return self._of_circumstances(subject, segment, operation, question.circumstances)

    # ---- What is named. Nothing of a name that is not known is told again: it may be long, and anything.

    def _subject(self, asked: Entity) -> Subject | None:
        known = asked.type == SUBJECT and is_name(asked.id)
        return self._decider.subject(asked.id) if known else None

    def _segment(self, asked: Entity) -> Segment | None:
        return self._policies.catalog.segments.get(asked.id) if asked.type == SEGMENT else None

    # ---- In circumstances that are the asker's word

    def _of_circumstances(
        self, subject: Subject, segment: Segment, operation: Operation, given: Circumstances
    ) -> Ruling:
        standing = Mode(self._authority.risk.standing(subject.name, given.device))
        if standing is Mode.REVOKED:
            return Ruling(DENIED, f"{_STANDING}: there would be no session")
        risk = max(RISKS.index(given.risk), standing)
        ruling = self._at_risk(subject, segment, operation, replace(given, risk=RISKS[risk]))
        known_worse = not ruling.permitted and risk > RISKS.index(given.risk)
        return replace(ruling, why=f"{ruling.why}; {_STANDING}") if known_worse else ruling

    def _at_risk(
        self, subject: Subject, segment: Segment, operation: Operation, given: Circumstances
    ) -> Ruling:
        at = self._now if given.at is None else given.at
        case = self._case(subject, operation, given, given.assurance)
        # What a session would be granted, and no second reading of the rules beside it.
        compiled = case.compiled(segment, at)
        ready, *worse = compiled.allowed
        if operation.bit & (ready & ~compiled.step_up, *worse)[RISKS.index(given.risk)]:
            return Ruling(PERMITTED)
        if operation.bit & compiled.step_up and given.risk == RISKS[0]:
            needed = self._needed(subject, segment, operation, given, at)
            why = f"{operation.full_name} needs assurance {needed}, and this is {given.assurance}"
            return Ruling(STEP_UP, why, needed)
        return self._refusal(case, segment, operation, given.risk, at)

    def _case(self, subject: Subject, operation: Operation, given: Circumstances, assurance: int) -> Case:
        attributes = SubjectAttributes(subject.name, subject.kind, subject.roles, subject.desk)
        scopes = [operation.full_name]
        return Case(self._policies, attributes, given.device, given.posture, assurance, scopes)

    def _needed(
        self, subject: Subject, segment: Segment, operation: Operation, given: Circumstances, at: float
    ) -> int:
        for assurance in range(given.assurance + 1, ASSURANCE_MAX):
            compiled = self._case(subject, operation, given, assurance).compiled(segment, at)
            if operation.bit & compiled.allowed[0] & ~compiled.step_up:
                return assurance
        return ASSURANCE_MAX

    def _refusal(self, case: Case, segment: Segment, operation: Operation, risk: str, at: float) -> Ruling:
        what = operation.full_name
        if lacking := operation.lacks(case.posture):
            return Ruling(DENIED, f"{what} needs a device that is good in {', '.join(lacking)}")
        if not operation.runs_at(risk):
            return Ruling(DENIED, f"{what} runs at risk {operation.highest_risk} at most, and this is {risk}")
        # Each level of risk allows no more than the one before: the first that refuses says why.
        for level in RISKS[: RISKS.index(risk) + 1]:
            [decision] = self._policies.decide(
                case.identity,
                segment,
                [operation],
                device=case.device,
                posture=case.posture,
                assurance=case.assurance,
                risk=level,
                at=at,
            )
            if decision.errors:
                return Ruling(FAILED, f"a policy failed, and a failure denies: {'; '.join(decision.errors)}")
            if not decision.allowed:
                by = (
                    f"forbidden by {', '.join(decision.reasons)}"
                    if decision.reasons
                    else "nothing permits it"
                )
                return Ruling(DENIED, f"{what} at risk {level}: {by}")
        return Ruling(DENIED, f"{what} needs assurance {operation.assurance}, and risk {risk} has no step-up")

    # ---- In a session

    def _of_session(
        self, record: SessionRecord, subject: Subject, segment: Segment, operation: Operation
    ) -> Ruling:
        if record.subject != subject.name:
            return Ruling(DENIED, "the session is another subject's")
        grant = _grant_in(record, segment.name)
        if grant is None or operation.full_name not in grant.operations:
            return Ruling(DENIED, f"the session has no grant for {operation.full_name}")
        if self._now >= _ends_at(record, grant):
            return Ruling(DENIED, f"the session is over in segment {segment.name}")
        risk = self._authority.risk.session(record.id)
        # The record is written before the engine knows, or after: what is worse is true already.
        mode = max(Mode(record.mode), risk.mode)
        ruling = self._in_mode(grant, operation, mode)
        return (
            ruling
            if ruling.permitted
            else replace(ruling, why=f"{ruling.why}; {self._authority.risk.explain(record.id)}")
        )

    def _in_mode(self, grant: Grant, operation: Operation, mode: Mode) -> Ruling:
        """What an enforcement point says, in the same order."""
        what = operation.full_name
        if mode is Mode.REVOKED:
            return Ruling(DENIED, "the session is revoked")
        bit = 1 << grant.operations[what][0]
        left = self._heard.left_of(grant, self._now)
        if not left.allowed[mode] & bit:
            helps = {Mode.RESTRICTED: STEP_UP, Mode.SUSPENDED: REAUTHENTICATE}.get(mode, DENIED)
            why = f"the session may not do {what} while it is {mode.name}"
            return Ruling(helps if left.allowed[Mode.NORMAL] & bit else DENIED, why)
        if left.step_up & bit:
            needed = operation.assurance if operation.assurance > grant.assurance else 0
            return Ruling(STEP_UP, f"{what} needs more assurance than {grant.assurance}", needed)
        return Ruling(PERMITTED)


def _operation(segment: Segment, name: str) -> Operation | None:
    try:
        return segment.operation(name)
    except ConfigurationError:
        return None


def _grant_in(record: SessionRecord, segment: str) -> Grant | None:
    grants = map(Grant.from_bytes, record.grants)
    return next((grant for grant in grants if grant.segment == segment), None)


def _ends_at(record: SessionRecord, grant: Grant) -> int:
    # The record ends with the last of its segments, and one of them may be over before.
    basis = Basis.from_bytes(record.basis)
    ends = (record.expires_at, basis.authenticated_at + grant.lifetime_s, basis.until)
    return min(at for at in ends if at)
