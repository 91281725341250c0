"""What new rules take from sessions that live already.

Every live session is asked again whether it would still be granted what it has. What it would not be is taken
away at once, in place; what it would gain waits for its renewal. Asking costs little, because sessions that
rest on the same things are one question, and those with the same decision are one profile: a hundred thousand
sessions of a hundred kinds come to a hundred evaluations.

A question that cannot be evaluated leaves nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from ztsession.authority.assurance import level_of
from ztsession.authority.decision import Decider
from ztsession.authority.live import Bearer, HeldProfile, LiveGrants, Session, Tightening
from ztsession.errors import EvidenceError, PolicyError
from ztsession.policy.attributes import SubjectAttributes
from ztsession.policy.catalog import Operation, Segment
from ztsession.policy.compile import Case, Compiled
from ztsession.policy.tighten import Less, narrower
from ztsession.posture.items import GOOD, ITEMS

__all__ = ["Review", "review"]

_NO_ANSWER: Final = Compiled((0, 0, 0), 0)
_NOTHING: Final = Less((0, 0, 0))
_HARDWARE: Final = ITEMS.index("hardware")


@dataclass
class Review:
    """What has to follow: sessions that end, each with its reason, and rights that go; and what could not be
    evaluated.
    """

    ended: list[tuple[bytes, str]] = field(default_factory=list)
    tightened: list[Tightening] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def review(live: LiveGrants, decider: Decider, now: float) -> Review:
    """Ask ``decider`` about every live session at ``now`` (Unix seconds). Changes nothing."""
    found = Review()
    asking = _Asking(live, decider, now, found)
    outcomes: dict[bytes, dict[Less, list[bytes]]] = {}
    for name, session in live.sessions():
        gone = asking.gone(session)
        if gone:
            found.ended.append((name, gone))
            continue
        for digest in session.profiles:
            left = asking.left(session, digest)
            outcomes.setdefault(digest, {}).setdefault(left, []).append(name)
    for digest, lefts in outcomes.items():
        found.tightened += _tightenings(live, digest, lefts)
    return found


def _tightenings(live: LiveGrants, digest: bytes, lefts: Mapping[Less, list[bytes]]) -> Iterator[Tightening]:
    held = live.profile(digest).held
    # What none of them may keep goes from all at once; then each loses what it alone may not.
    common = Less.most(lefts)
    if held & common != held:
        yield Tightening(digest, b"", common)
    for left, sessions in lefts.items():
        for session in sessions if left != common else ():
            own = live.held(session, digest) & common
            if own & left != own:
                yield Tightening(digest, session, left)


class _Asking:
    """One review's questions, each asked once. What is done for every session is a look into a table."""

    def __init__(self, live: LiveGrants, decider: Decider, now: float, found: Review) -> None:
        self._live, self._decider, self._now, self._review = live, decider, now, found
        self._policy = decider.policies.current
        self._subjects: dict[int, SubjectAttributes | str] = {}
        self._devices: dict[tuple[str, str], str] = {}
        self._left: dict[tuple[int, str, bytes], Less] = {}
        self._compiled: dict[tuple[object, ...], Compiled] = {}

    def gone(self, session: Session) -> str:
        """Why whoever this is about has no session any more; "" while he has."""
        subject = self._subject(session.bearer)
        if isinstance(subject, str):
            return subject
        key = session.device, session.device_key
        found = self._devices.get(key)
        if found is None:
            found = self._devices[key] = self._device_gone(session)
        return found

    def left(self, session: Session, digest: bytes) -> Less:
        """What is left of a profile to a session that is not gone."""
        # By identity: bearers that are alike are one object.
        key = id(session.bearer), session.device if self._policy.mentions.device else "", digest
        left = self._left.get(key)
        if left is None:
            left = self._left[key] = self._ask(session, self._live.profile(digest))
        return left

    def _subject(self, bearer: Bearer) -> SubjectAttributes | str:
        found = self._subjects.get(id(bearer))
        if found is None:
            try:
                holder = self._decider.holder(bearer.credential, bearer.subject)
                found = SubjectAttributes(holder.name, holder.kind, holder.roles, holder.desk)
            except EvidenceError as error:
                found = str(error)
            self._subjects[id(bearer)] = found
        return found

    def _device_gone(self, session: Session) -> str:
        try:
            if session.bearer.has_device:
                self._decider.check_device(session.device, session.device_key)
        except EvidenceError as error:
            return str(error)
        return ""

    def _ask(self, session: Session, profile: HeldProfile) -> Less:
        bearer, subject = session.bearer, self._subject(session.bearer)
        if isinstance(subject, str):
            return _NOTHING
        posture, assurance = dict(zip(ITEMS, bearer.posture, strict=True)), _assurance(bearer, subject.kind)
        segment = self._policy.catalog.segments.get(profile.segment)
        if segment is None or segment.environment != profile.environment:
            return _NOTHING
        case = Case(self._policy, subject, session.device, posture, assurance, bearer.scopes)
        return _left(profile, segment, self._compile(case, segment))

    def _compile(self, case: Case, segment: Segment) -> Compiled:
        who, mentioned = case.identity, self._policy.mentions
        question = (
            segment.name,
            who.subject if who.subject in mentioned.subjects else "",
            (who.kind, who.roles, who.desk),
            case.device if mentioned.device else "",
            tuple(case.posture.values()),
            case.assurance,
            case.scopes,
        )
        compiled = self._compiled.get(question)
        if compiled is None:
            try:
                compiled = case.compiled(segment, self._now)
            except PolicyError as error:
                self._review.failed.append(str(error))
                compiled = _NO_ANSWER
            self._compiled[question] = compiled
        return compiled


def _assurance(bearer: Bearer, kind: str) -> int:
    return level_of(
        kind,
        bearer.identity_assurance,
        bearer.factor_assurance,
        device=bearer.has_device,
        hardware=bearer.posture[_HARDWARE] == GOOD,
    )


def _left(profile: HeldProfile, segment: Segment, compiled: Compiled) -> Less:
    """A profile's bits that the new answer still holds, by name: the two tables may number differently."""
    allowed, step_up = [0, 0, 0], 0
    for operation in segment.operations:
        row = profile.rows.get(operation.full_name)
        if row is None or _is_stricter(operation, row):
            continue
        for mode in range(3):
            allowed[mode] |= (compiled.allowed[mode] >> operation.index & 1) << row[0]
        step_up |= (compiled.step_up >> operation.index & 1) << row[0]
    # A demand for what is not allowed at all would say that it could be.
    kept = narrower(profile.held.allowed, allowed)
    return Less.of(kept, (step_up | profile.held.step_up) & kept[0])


def _is_stricter(operation: Operation, row: list[int]) -> bool:
    # Limits cannot be changed in place: what has stricter ones now must be granted anew.
    _, max_age_us, stale_ms, ordered = row
    shorter = operation.max_age_us < max_age_us or operation.stale_ms < stale_ms
    return shorter or (operation.ordered and not ordered)
