"""How far somebody can get: every operation that a subject is granted when everything else is at its best.

A stolen session is worth what its subject can be granted, not what it happened to ask for. So here the
device, the hour, the assurance and the posture are whatever suits the policies: if there is any question at
all that gets a yes, the operation is within reach. The yes is always that of the policies themselves. A no is
given when nothing that could get a yes is left to ask, and what could not be settled within ``TRIES_MAX``
questions is named as undecided.

Two segments that one role reaches are joined: whoever takes over a holder of it in one of them is in the
other, too. That is lateral movement, and the micro-perimeters are there against it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, Final

from ztsession.identity.subjects import KINDS
from ztsession.policy.attributes import SubjectAttributes
from ztsession.policy.catalog import RISKS, Operation, Segment
from ztsession.policy.conditions import PRINCIPAL, TARGET, Clauses, Rule, rules_of, topics
from ztsession.policy.domain import Asked, covers, named_in, nearest_first
from ztsession.policy.engine import PolicySet
from ztsession.policy.holds import Holding, as_known
from ztsession.posture.items import GOOD, ITEMS

if TYPE_CHECKING:
    from cedarpy import pst

__all__ = ["TRIES_MAX", "Joined", "Paths", "Reach", "Reachable", "joined_segments"]

#: Questions that are asked about one subject in one segment before what is left of it is given up.
TRIES_MAX: Final = 20_000

#: Stands for a subject, a desk or a device that no policy names.
_ANY: Final = "none.in.particular"


@dataclass(frozen=True)
class Reachable:
    """Full names of operations: those that a subject can be granted, and those that were not decided."""

    granted: frozenset[str]
    undecided: frozenset[str]

    @property
    def segments(self) -> frozenset[str]:
        """The segments in which anything is granted."""
        return frozenset(name.partition(".")[0] for name in self.granted)


class Reach:
    """What subjects can be granted by one policy set; remembers what it has found out."""

    def __init__(self, policy: PolicySet, holding: Holding | None = None) -> None:
        self._policy = policy
        self._holding = holding or Holding(policy)
        self._segments = tuple(policy.catalog.segments.values())
        self._rules = [_Scoped(rule, self._holding) for rule in rules_of(policy)]
        self._found: dict[Any, tuple[set[str], set[str]]] = {}

    def of(self, identity: SubjectAttributes) -> Reachable:
        """What ``identity`` can be granted, with anything that is not its own at its best."""
        # What a better risk refuses no worse one gets: only the best is asked about.
        known = {**as_known(identity), "risk": RISKS[0]}
        rules = [rule for rule in self._rules if rule.may_hold_for(known)]
        each = [self._in(segment, identity, rules, known) for segment in self._segments]
        granted, undecided = (frozenset[str]().union(*names) for names in zip(*each, strict=True))
        return Reachable(granted, undecided)

    def _in(
        self, segment: Segment, identity: SubjectAttributes, rules: Sequence[_Scoped], known: Asked
    ) -> tuple[set[str], set[str]]:
        about = tuple(rule for rule in rules if not rule.targets.isdisjoint(segment.operations))
        # Two subjects that the same rules are about get the same, unless a rule goes on to ask who they are.
        who = identity if any(rule.asks_further_who for rule in about) else None
        key = (segment.name, about, who)
        if key not in self._found:
            self._found[key] = self._find(segment, identity, about, known)
        return self._found[key]

    def _find(
        self, segment: Segment, identity: SubjectAttributes, rules: Sequence[_Scoped], known: Asked
    ) -> tuple[set[str], set[str]]:
        """The names of what is granted, and of what was not decided."""
        left = [o for o in segment.operations if _may_be_granted(o, rules, known)]
        about = _circumstances(rule for rule in rules if not rule.targets.isdisjoint(left))
        axes = self._holding.domain.axes(about, known.keys() | {TARGET})
        granted: set[str] = set()
        for tried, circumstances in enumerate(nearest_first(axes)):
            if not left or tried * len(segment.operations) >= TRIES_MAX:
                break
            now = self._granted(segment, left, identity, circumstances)
            granted |= {o.full_name for o in now}
            left = [o for o in left if o not in now]
        else:
            left = [] if covers(about, known.keys()) else left
        return granted, {o.full_name for o in left}

    def _granted(
        self, segment: Segment, left: Sequence[Operation], identity: SubjectAttributes, given: Asked
    ) -> list[Operation]:
        posture = {item: given.get(f"posture.{item}", GOOD) for item in ITEMS}
        assurance = given.get("assurance", 3)
        asked = [o for o in left if not o.lacks(posture) and o.assurance <= assurance]
        decisions = self._policy.decide(
            identity,
            segment,
            asked,
            device=given.get("device", _ANY),
            posture=posture,
            assurance=assurance,
            at=given.get("moment", 0.0),
        )
        return [o for o, decision in zip(asked, decisions, strict=True) if decision.allowed]


def _may_be_granted(operation: Operation, rules: Sequence[_Scoped], known: Asked) -> bool:
    about = [rule for rule in rules if operation in rule.targets]
    if any(rule.forbids_always for rule in about):
        return False
    known = {**known, TARGET: operation}
    return any(rule.permits and not rule.never(known) for rule in about)


def _circumstances(rules: Iterable[_Scoped]) -> Clauses:
    return tuple(dict.fromkeys(clause for rule in rules for clause in rule.circumstances))


class _Scoped:
    """A rule with its clauses sorted: who asks, what for, and all others."""

    def __init__(self, rule: Rule, holding: Holding) -> None:
        self._holding = holding
        self.permits: Final = rule.effect == "permit"
        self._who: Clauses = tuple(c for c in rule.clauses if _is_about(c, PRINCIPAL))
        what = [c for c in rule.clauses if _is_about(c, {TARGET})]
        #: What is asked about neither of these alone.
        self.circumstances: Final[Clauses] = tuple(
            c for c in rule.clauses if c not in self._who and c not in what
        )
        #: Whether these depend on who asks, all the same.
        self.asks_further_who: Final = not PRINCIPAL.isdisjoint(topics(self.circumstances))
        self.targets: Final = holding.targets(what)

    @property
    def forbids_always(self) -> bool:
        """Whether it forbids its targets to whom it is about, whatever else is so."""
        return not self.permits and not self.circumstances

    def may_hold_for(self, known: Asked) -> bool:
        """Whether its conditions on who asks do not exclude this subject."""
        return not self._holding.possible(self._who, known).never

    def never(self, known: Asked) -> bool:
        """Whether what else it asks about excludes this subject and operation."""
        return self._holding.possible(self.circumstances, known).never


def _is_about(clause: pst.Clause, about: AbstractSet[str]) -> bool:
    asked = topics([clause])
    return bool(asked) and asked <= about


# ---- Segments that a role joins


@dataclass(frozen=True, order=True)
class Joined:
    """Two segments, in the order of their names, and the roles of which each alone reaches both.

    ``roles`` may hold "any human" and the like: that whoever is of this kind reaches both without a role.
    ``environments``: those of the two.
    """

    one: str
    other: str
    roles: tuple[str, ...]
    environments: tuple[str, str]

    @property
    def crosses(self) -> bool:
        """Whether the two are of different environments."""
        return len(set(self.environments)) > 1


@dataclass(frozen=True)
class Paths:
    """All pairs of segments that are joined; ``undecided``: roles for which there may be more."""

    joined: tuple[Joined, ...]
    undecided: tuple[str, ...]


def joined_segments(policy: PolicySet, reach: Reach | None = None) -> Paths:
    """Find the segments between which a role alone is enough to move, at any desk and of some kind.

    A role counts where it makes a difference: not for two segments that the same kind and desk reach without.
    """
    reach = reach or Reach(policy)
    found: dict[tuple[str, str], set[str]] = {}
    undecided: set[str] = set()
    roles = _named(policy, "roles")
    for kind, desk in _positions(policy):
        bare = reach.of(SubjectAttributes(_ANY, kind, (), desk))
        held = {f"any {kind}": bare}
        for role in roles:
            held[role] = reach.of(SubjectAttributes(_ANY, kind, (role,), desk))
        for label, reachable in held.items():
            pairs = set(combinations(sorted(reachable.segments), 2))
            pairs -= set(combinations(sorted(bare.segments), 2)) if reachable is not bare else set()
            for pair in pairs:
                found.setdefault(pair, set()).add(label)
            undecided |= {label} if reachable.undecided else set()
    return Paths(tuple(_joined(policy, found)), tuple(sorted(undecided)))


def _positions(policy: PolicySet) -> Iterator[tuple[str, str]]:
    return ((kind, desk) for kind in KINDS for desk in ("", _ANY, *_named(policy, "desk")))


def _named(policy: PolicySet, topic: str) -> tuple[str, ...]:
    clauses = [clause for rule in rules_of(policy) for clause in rule.clauses]
    return named_in(clauses, topic)


def _joined(policy: PolicySet, found: Mapping[tuple[str, str], set[str]]) -> Iterator[Joined]:
    segments = policy.catalog.segments
    for one, other in sorted(found):
        environments = (segments[one].environment, segments[other].environment)
        yield Joined(one, other, tuple(sorted(found[one, other])), environments)
