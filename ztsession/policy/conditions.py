"""What a policy's conditions ask about, taken apart so that each part can be tried alone.

A policy holds when everything in it holds: its scope, each `when`, and the opposite of each `unless`. All of
these are written here as clauses, cut at every `&&`. Two clauses that ask about different things have nothing
to do with each other, so a policy can hold exactly if each group of clauses with something in common can.
That keeps the number of questions small: three words of kernel and three of assurance are six questions, and
not nine.

Cutting is exact with errors, too: `a && b` is true if and only if `a` is true and `b` is true, and a part
that fails to evaluate is not true.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from ztsession.errors import PolicyError
from ztsession.policy.cedar_tree import nodes, path_of
from ztsession.policy.engine import PolicySet
from ztsession.posture.items import ITEMS
from ztsession.posture.trust import TRUST_ROWS

if TYPE_CHECKING:
    from cedarpy import pst

__all__ = ["PRINCIPAL", "TARGET", "Clauses", "Rule", "negated", "parts", "rules_of", "topics"]

#: The topics that say who asks.
PRINCIPAL: Final = frozenset({"subject", "kind", "roles", "desk"})
#: The topic of what is asked for: an operation, and with it its segment and environment.
TARGET: Final = "target"

Clauses = tuple["pst.Clause", ...]

_TOPICS: Final = {
    "principal.kind": "kind",
    "principal.roles": "roles",
    "principal.desk": "desk",
    "context.assurance": "assurance",
    "context.risk": "risk",
    "context.device": "device",
    "context.phase": "moment",
    "context.time.hhmm": "moment",
    "context.time.weekday": "moment",
    "context.time.date": "moment",
}
_WHOLE: Final = ("context.posture", "context.trust")


@dataclass(frozen=True)
class Rule:
    """One policy as clauses that must all hold; ``place`` is "file:line", ``effect`` "permit" or "forbid"."""

    place: str
    effect: str
    clauses: Clauses


def rules_of(policy: PolicySet) -> tuple[Rule, ...]:
    """Every policy of a set, in its order."""
    pairs = zip(policy.statements, policy.trees, strict=True)
    return tuple(Rule(statement.place, tree.effect, _clauses(tree)) for statement, tree in pairs)


def topics(clauses: Iterable[pst.Clause]) -> frozenset[str]:
    """What clauses ask about: of ``PRINCIPAL``, ``TARGET``, "assurance", "risk", "device", "moment", and
    "posture.ITEM" for each item, also those that a claim of the trust vector is read off.
    """
    return frozenset(topic for clause in clauses for topic in _topics(clause))


def parts(clauses: Iterable[pst.Clause], known: AbstractSet[str] = frozenset()) -> list[Clauses]:
    """Group clauses so that no two groups have a topic in common, but for those that are ``known``."""
    groups: list[tuple[frozenset[str], Clauses]] = []
    for clause in clauses:
        about = topics([clause]) - known
        group: Clauses = (clause,)
        apart = [each for each in groups if about.isdisjoint(each[0])]
        for other in (each for each in groups if not about.isdisjoint(each[0])):
            about, group = about | other[0], (*other[1], *group)
        groups = [*apart, (about, group)]
    return [group for _, group in groups]


def negated(clause: pst.Clause) -> pst.Clause:
    """The clause that holds exactly where this one is false; neither holds where it fails to evaluate."""
    from cedarpy import pst

    return pst.Unless(clause.expr) if isinstance(clause, pst.When) else pst.When(clause.expr)


# ---- Into clauses


def _clauses(tree: pst.Template) -> Clauses:
    scopes = [*_scope("principal", tree.principal), *_action(tree.action), *_scope("resource", tree.resource)]
    return tuple(cut for clause in (*scopes, *tree.clauses) for cut in _cut(clause))


def _scope(name: pst.VarName, scope: pst.PrincipalOrResourceConstraint) -> list[pst.Clause]:
    from cedarpy import pst

    # `is` says nothing: every principal is a Subject, every resource a Segment.
    if not isinstance(scope, pst.ScopeEq | pst.ScopeIn | pst.ScopeIsIn):
        return []
    if not isinstance(scope.entity, pst.EntityUid):
        raise PolicyError("expected a policy without ?principal or ?resource slots")
    op: pst.BinaryOpName = "eq" if isinstance(scope, pst.ScopeEq) else "in"
    return [pst.When(pst.BinaryOp(op, pst.Var(name), pst.EntityLit(scope.entity)))]


def _action(scope: pst.ActionConstraint) -> list[pst.Clause]:
    from cedarpy import pst

    action = pst.Var("action")
    if isinstance(scope, pst.ScopeAny):
        return []
    if isinstance(scope, pst.ActionEq):
        return [pst.When(pst.BinaryOp("eq", action, pst.EntityLit(scope.entity)))]
    return [pst.When(pst.BinaryOp("in", action, pst.Set(tuple(map(pst.EntityLit, scope.entities)))))]


def _cut(clause: pst.Clause) -> Clauses:
    from cedarpy import pst

    # What must be true is cut at `&&`, what must be false at `||`.
    make, joint = (pst.When, "and") if isinstance(clause, pst.When) else (pst.Unless, "or")
    expr = clause.expr
    if isinstance(expr, pst.UnaryOp) and expr.op == "not":
        return _cut(negated(make(expr.arg)))
    if isinstance(expr, pst.BinaryOp) and expr.op == joint:
        return (*_cut(make(expr.left)), *_cut(make(expr.right)))
    return (clause,)


# ---- What a clause asks about


@lru_cache(maxsize=4096)
def _topics(clause: pst.Clause) -> frozenset[str]:
    from cedarpy import pst

    found = list(nodes(clause))
    paths = [path for node in found if (path := path_of(node))]
    named = {topic for path in paths for topic in _topics_of(path)}
    variables = [node.name for node in found if isinstance(node, pst.Var)]
    if variables.count("principal") > sum(path.startswith("principal.") for path in paths):
        named.add("subject")
    if not {"action", "resource"}.isdisjoint(variables):
        named.add(TARGET)
    for whole in _WHOLE:
        if paths.count(whole) > sum(path.startswith(f"{whole}.") for path in paths):
            named |= {f"posture.{item}" for item in ITEMS}
    return frozenset(named)


def _topics_of(path: str) -> Sequence[str]:
    if path.startswith("context.posture."):
        return [path.removeprefix("context.")]
    if path.startswith("context.trust."):
        rows = TRUST_ROWS[path.removeprefix("context.trust.")]
        return [f"posture.{item}" for row in rows for item in row]
    return [_TOPICS[path]] if path in _TOPICS else []
