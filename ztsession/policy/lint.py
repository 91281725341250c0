"""What is wrong with policies that load: rules that do nothing, and rights that nobody meant.

Each finding was decided by asking Cedar, not by reading the text as a person would. What could not be decided
is a finding of its own: silence means that something was looked at and found right.

| kind | what |
|---|---|
| `never-holds` | a policy whose conditions hold for no question at all |
| `holds-for-nobody` | it could hold, but for nobody who is enrolled |
| `shadowed` | a permit that changes no answer: one other policy holds wherever it does |
| `never-granted` | an operation that no enrolled subject can be granted |
| `has-everything` | a subject that can be granted every operation of every segment |
| `joins-environments` | one role reaches segments of two environments |
| `joins-segments` | one role reaches two segments of one environment |
| `not-decided` | one of these questions, too large or too involved to answer |

A permit that only several others together make superfluous is not found.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ztsession.policy.attributes import SubjectAttributes
from ztsession.policy.catalog import Operation
from ztsession.policy.conditions import TARGET, Rule, negated, rules_of, topics
from ztsession.policy.engine import PolicySet
from ztsession.policy.holds import Holding, as_known
from ztsession.policy.reach import Joined, Paths, Reach, joined_segments

__all__ = ["KINDS_OF_FINDINGS", "Finding", "lint"]

#: The severity of each kind of finding.
KINDS_OF_FINDINGS: Final = {
    "never-holds": "error",
    "holds-for-nobody": "warning",
    "shadowed": "warning",
    "never-granted": "warning",
    "has-everything": "warning",
    "joins-environments": "warning",
    "joins-segments": "notice",
    "not-decided": "warning",
}

_SIMPLER: Final = "simplify the conditions that it depends on"


@dataclass(frozen=True)
class Finding:
    """One thing that is probably not as it was meant. ``kind``: of ``KINDS_OF_FINDINGS``; ``place``:
    "file:line", an operation, a subject, or two segments; ``text``: what it is, and what to do next.
    """

    kind: str
    place: str
    text: str

    @property
    def severity(self) -> str:
        """ "error", "warning" or "notice"."""
        return KINDS_OF_FINDINGS[self.kind]


def lint(policy: PolicySet, subjects: Sequence[SubjectAttributes]) -> tuple[Finding, ...]:
    """Look for everything of the table above, in its order; ``subjects``: all that are enrolled."""
    return tuple(_Lint(policy, subjects).findings())


class _Lint:
    def __init__(self, policy: PolicySet, subjects: Sequence[SubjectAttributes]) -> None:
        self._policy, self._subjects = policy, subjects
        self._holding = Holding(policy)
        self._reach = Reach(policy, self._holding)
        self._rules = rules_of(policy)

    def findings(self) -> Iterator[Finding]:
        found = [*self._of_rules(), *self._of_operations(), *self._of_subjects(), *self._of_paths()]
        order = list(KINDS_OF_FINDINGS)
        # Sorting keeps what is of one kind in the order of the files and the catalog.
        yield from sorted(found, key=lambda finding: order.index(finding.kind))

    # ---- Rules

    def _of_rules(self) -> Iterator[Finding]:
        for number, rule in enumerate(self._rules):
            possible = self._holding.possible(rule.clauses)
            if possible.never:
                yield Finding("never-holds", rule.place, f"{self._impossible(rule)}; correct or delete it")
            elif not possible.decided:
                yield _undecided(rule.place, "whether its conditions can hold", _SIMPLER)
            else:
                yield from self._for_nobody(rule)
                yield from self._shadowed(number, rule)

    def _impossible(self, rule: Rule) -> str:
        alone = [clause for clause in rule.clauses if self._holding.possible([clause]).never]
        about = ", ".join(sorted(topics(alone or rule.clauses))) or "nothing at all"
        together = "" if alone else " together"
        return f"this {rule.effect} never holds: no question satisfies its conditions{together} ({about})"

    def _for_nobody(self, rule: Rule) -> Iterator[Finding]:
        tried = [self._holding.possible(rule.clauses, as_known(subject)) for subject in self._subjects]
        if all(each.never for each in tried):
            hint = "enrol somebody for it, or correct the names in it"
            yield Finding("holds-for-nobody", rule.place, f"no enrolled subject is meant by it; {hint}")
        elif all(each.asked is None for each in tried):
            yield _undecided(rule.place, "whether it can hold for anybody enrolled", _SIMPLER)

    def _shadowed(self, number: int, rule: Rule) -> Iterator[Finding]:
        if rule.effect != "permit":
            return
        unsure = False
        for at, other in enumerate(self._rules):
            covered = at != number and self._covers(other, rule)
            # Of two that say the same only the later one is too many.
            if covered and not (other.effect == "permit" and at > number and self._covers(rule, other)):
                why = "forbids" if other.effect == "forbid" else "permits"
                text = f"this permit changes nothing: {other.place} {why} all that it permits; delete it"
                yield Finding("shadowed", rule.place, text)
                return
            unsure = unsure or covered is None
        if unsure:
            yield _undecided(rule.place, "whether it permits anything that others do not", "compare them")

    def _covers(self, other: Rule, rule: Rule) -> bool | None:
        """Whether ``other`` holds, or fails and so denies, wherever ``rule`` holds; None: not decided."""
        asked = [topics([clause]) for clause in rule.clauses]
        # Then it can hold for each of its operations, so the other must be about all of these.
        for_each = all(each == {TARGET} for each in asked if TARGET in each)
        if for_each and not self._holding.targets(rule.clauses) <= self._holding.targets(other.clauses):
            return False
        unsure = False
        for clause in other.clauses:
            apart = self._holding.possible([*rule.clauses, negated(clause)])
            if apart.asked is not None:
                return False
            unsure = unsure or not apart.decided
        return None if unsure else True

    # ---- Operations, subjects, and segments

    def _of_operations(self) -> Iterator[Finding]:
        reached = [self._reach.of(subject) for subject in self._subjects]
        for operation in self._holding.domain.targets:
            name = operation.full_name
            if any(name in each.granted for each in reached):
                continue
            if any(name in each.undecided for each in reached):
                yield _undecided(name, "whether any enrolled subject can be granted it", _SIMPLER)
            else:
                yield Finding("never-granted", name, self._never_granted(operation))

    def _never_granted(self, operation: Operation) -> str:
        text = "no enrolled subject can be granted it, whatever else is so"
        known = {TARGET: operation}
        about = [rule for rule in self._rules if not self._holding.possible(rule.clauses, known).never]
        permits = [rule.place for rule in about if rule.effect == "permit"]
        forbids = [rule.place for rule in about if rule.effect == "forbid"]
        if not permits:
            return f"{text}: no policy permits it; write one, or take it out of the catalog"
        against = f", and who forbids it: {', '.join(forbids)}" if forbids else ""
        return f"{text}; look at whom these permit it: {', '.join(permits)}{against}"

    def _of_subjects(self) -> Iterator[Finding]:
        every = {operation.full_name for operation in self._holding.domain.targets}
        for subject in self._subjects:
            if len(every) > 1 and self._reach.of(subject).granted == every:
                text = f"can be granted all {len(every)} operations; split its roles among several subjects"
                yield Finding("has-everything", subject.subject, text)

    def _of_paths(self) -> Iterator[Finding]:
        paths: Paths = joined_segments(self._policy, self._reach)
        yield from (_path(joined) for joined in paths.joined)
        for role in paths.undecided:
            yield _undecided(role, "whether it joins more segments than are named here", _SIMPLER)


def _path(joined: Joined) -> Finding:
    place = f"{joined.one} -- {joined.other}"
    who = ", ".join(joined.roles)
    if joined.crosses:
        text = f"{who}: alone reaches both, one in {joined.environments[0]}, one in {joined.environments[1]}"
        return Finding("joins-environments", place, f"{text}; give each environment roles of its own")
    text = f"{who}: alone reaches both, so whoever takes over one such subject can move between them"
    return Finding("joins-segments", place, f"{text}; split the role where nobody needs both")


def _undecided(place: str, what: str, hint: str) -> Finding:
    return Finding("not-decided", place, f"it was not decided {what}; {hint}")
