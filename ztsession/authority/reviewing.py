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
from ztsession.authority.judged import NO_DEVICE
from ztsession.authority.live import HeldProfile, LiveGrants, Rests, Tightening
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
    asking = _Asking(decider, now, found)
    outcomes: dict[bytes, dict[Less, list[bytes]]] = {}
    for session, rests, profiles in live.sessions():
        gone = asking.gone(rests)
        if gone:
            found.ended.append((session, gone))
            continue
        for digest in profiles:
            left = asking.left(rests, digest, live.profile(digest))
            outcomes.setdefault(digest, {}).setdefault(left, []).append(session)
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
    """One review's questions, each asked once."""

    def __init__(self, decider: Decider, now: float, review: Review) -> None:
        self._decider, self._now, self._review = decider, now, review
        self._policy = decider.policies.current
        self._subjects: dict[tuple[str, str], SubjectAttributes | str] = {}
        self._devices: dict[tuple[str, str], str] = {}
        self._compiled: dict[tuple[object, ...], Compiled] = {}
        self._left: dict[tuple[object, ...], Less] = {}

    def gone(self, rests: Rests) -> str:
        """Why whoever this is about has no session any more; "" while he has."""
        subject = self._subject(rests)
        return subject if isinstance(subject, str) else self._device_gone(rests)

    def left(self, rests: Rests, digest: bytes, profile: HeldProfile) -> Less:
        """What is left of a profile to a session that rests on this and is not gone."""
        subject = self._subject(rests)
        if isinstance(subject, str):
            return _NOTHING
        mentioned = self._policy.mentions
        assurance = _assurance(rests, subject.kind)
        question = (
            subject.subject if subject.subject in mentioned.subjects else "",
            subject.kind,
            subject.roles,
            subject.desk,
            rests.device if mentioned.device else "",
            assurance,
            rests.posture,
            rests.scopes,
        )
        left = self._left.get((digest, question))
        if left is None:
            posture = dict(zip(ITEMS, rests.posture, strict=True))
            case = Case(self._policy, subject, rests.device, posture, assurance, rests.scopes)
            segment = self._policy.catalog.segments.get(profile.segment)
            if segment is not None and segment.environment != profile.environment:
                segment = None
            compiled = self._compile((profile.segment, profile.environment, question), case, segment)
            left = self._left[digest, question] = _left(profile, segment, compiled)
        return left

    def _subject(self, rests: Rests) -> SubjectAttributes | str:
        key = rests.credential, rests.subject
        found = self._subjects.get(key)
        if found is None:
            try:
                holder = self._decider.holder(*key)
                found = SubjectAttributes(holder.name, holder.kind, holder.roles, holder.desk)
            except EvidenceError as error:
                found = str(error)
            self._subjects[key] = found
        return found

    def _device_gone(self, rests: Rests) -> str:
        key = rests.device, rests.device_key
        found = self._devices.get(key)
        if found is None:
            found = ""
            try:
                if rests.device != NO_DEVICE:
                    self._decider.check_device(*key)
            except EvidenceError as error:
                found = str(error)
            self._devices[key] = found
        return found

    def _compile(self, question: tuple[object, ...], case: Case, segment: Segment | None) -> Compiled:
        compiled = self._compiled.get(question)
        if compiled is None:
            compiled = _NO_ANSWER
            try:
                compiled = case.compiled(segment, self._now) if segment is not None else _NO_ANSWER
            except PolicyError as error:
                self._review.failed.append(str(error))
            self._compiled[question] = compiled
        return compiled


def _assurance(rests: Rests, kind: str) -> int:
    hardware = rests.posture[_HARDWARE] == GOOD
    device = rests.device != NO_DEVICE
    return level_of(kind, rests.identity_assurance, rests.factor_assurance, device=device, hardware=hardware)


def _left(profile: HeldProfile, segment: Segment | None, compiled: Compiled) -> Less:
    """A profile's bits that the new answer still holds, by name: the two tables may number differently."""
    allowed, step_up = [0, 0, 0], 0
    for operation in segment.operations if segment is not None else ():
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
