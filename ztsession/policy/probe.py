"""Which parts of each policy hold for a question: policies taken apart, and every part put to Cedar.

Cedar says which policies decided and nothing of why the others did not. So a policy is taken apart where
both sides must hold: at each ``&&``, and at each ``||`` of an ``unless``, which is the same thing said the
other way round. Each part becomes a policy of its own, and Cedar evaluates it for the same question. There is
no second evaluator here that could be of another opinion.

What is no conjunction (``||``, ``if``) stays whole, with the values of all attributes in it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Final

from ztsession.errors import PolicyError
from ztsession.policy.asked import Asked
from ztsession.policy.cedar_schema import schema_text
from ztsession.policy.cedar_text import text_of_clause
from ztsession.policy.cedar_tree import children, path_of
from ztsession.policy.engine import PolicySet
from ztsession.policy.explanation import Condition, Found, Source
from ztsession.policy.question import Question

if TYPE_CHECKING:
    import cedarpy
    from cedarpy import pst

__all__ = ["Part", "Probe", "conjuncts"]

_ERROR: Final = re.compile(r"policy `([0-9.]+)`: (.*)", re.DOTALL)


@dataclass(frozen=True)
class Part:
    """One policy whose head fits a question, with each of its conditions."""

    source: Source
    conditions: tuple[Condition, ...]
    tree: pst.Template

    @property
    def failing(self) -> tuple[Condition, ...]:
        """The conditions that do not hold or could not be evaluated."""
        return tuple(condition for condition in self.conditions if not condition.holds)

    @property
    def errs(self) -> bool:
        """Whether its evaluation failed; Cedar evaluates no condition after one that does not hold."""
        return bool(self.failing) and self.failing[0].holds is None


class Probe:
    """The policies taken apart, once for many questions."""

    def __init__(self, policy: PolicySet) -> None:
        self._policy = policy
        self._clauses = [tuple(_clauses(tree)) for tree in policy.trees]

    @staticmethod
    @lru_cache(maxsize=1)
    def of(policy: PolicySet) -> Probe:
        """The probe of ``policy``, made anew only if another one was asked for meanwhile."""
        return Probe(policy)

    def look(self, asked: Asked) -> list[Part]:
        """Put every part to Cedar, and return the policies whose heads fit, in the order of the statements.
        PolicyError if the question is not whole or could not be evaluated.
        """
        question = asked.question()
        held, errors = self._evaluate(question, asked)
        values = _values(question, asked)
        fitting = (number for number in range(len(self._clauses)) if _name(number, 0) in held)
        return [self._part(number, held, errors, values) for number in fitting]

    def _evaluate(self, question: Question, asked: Asked) -> tuple[set[str], dict[str, str]]:
        import cedarpy

        requests = question.requests(asked.segment, [asked.operation])
        try:
            entities = cedarpy.Entities.from_json_str(question.entities(asked.segment), self._schema)
            [result] = cedarpy.is_authorized_batch(requests, self._policies, entities, self._schema)
        except (ValueError, TypeError, RuntimeError) as error:
            raise PolicyError(f"could not be evaluated part by part: {error}") from error
        told = [_ERROR.search(error) for error in result.diagnostics.errors]
        return set(result.diagnostics.reasons), {match[1]: match[2] for match in told if match}

    def _part(
        self, number: int, held: set[str], errors: Mapping[str, str], values: Mapping[str, Found]
    ) -> Part:
        tree, statement = self._policy.trees[number], self._policy.statements[number]
        conditions = []
        for index, clause in enumerate(self._clauses[number], start=1):
            name = _name(number, index)
            error = errors.get(name, "")
            holds = None if error else name in held
            conditions.append(Condition(text_of_clause(clause), holds, _found(clause.expr, values), error))
        source = Source(statement.place, tree.effect, tree.annotations.get("id", ""))
        return Part(source, tuple(conditions), tree)

    @cached_property
    def _schema(self) -> cedarpy.Schema:
        import cedarpy

        return cedarpy.Schema.from_str(schema_text(self._policy.catalog))

    @cached_property
    def _policies(self) -> cedarpy.PolicySet:
        import cedarpy
        from cedarpy import pst

        parts = {}
        for number, (tree, clauses) in enumerate(zip(self._policy.trees, self._clauses, strict=True)):
            # All of them permits: then Cedar names each that holds, whatever the others say.
            head = replace(tree, id=_name(number, 0), effect="permit", clauses=(), annotations={})
            anything = replace(head, principal=pst.ScopeAny(), action=pst.ScopeAny(), resource=pst.ScopeAny())
            parts[head.id] = head
            for index, clause in enumerate(clauses, start=1):
                parts[_name(number, index)] = replace(anything, id=_name(number, index), clauses=(clause,))
        return cedarpy.PolicySet.from_pst(pst.PolicySet({}, parts, ()))


def _name(statement: int, part: int) -> str:
    # The head is part 0.
    return f"{statement}.{part}"


def conjuncts(expression: pst.Expr, *, negated: bool = False) -> Iterator[tuple[pst.Expr, bool]]:
    """The parts of an expression (or of its negation) that must all hold, in the order of evaluation, each
    with whether it is its negation that must hold.
    """
    from cedarpy import pst

    if isinstance(expression, pst.UnaryOp) and expression.op == "not":
        yield from conjuncts(expression.arg, negated=not negated)
    elif isinstance(expression, pst.BinaryOp) and expression.op == ("or" if negated else "and"):
        yield from conjuncts(expression.left, negated=negated)
        yield from conjuncts(expression.right, negated=negated)
    else:
        yield expression, negated


def _clauses(tree: pst.Template) -> Iterator[pst.Clause]:
    from cedarpy import pst

    for clause in tree.clauses:
        for part, negated in conjuncts(clause.expr, negated=isinstance(clause, pst.Unless)):
            yield pst.Unless(part) if negated else pst.When(part)


# ---- What was found


def _found(expression: object, values: Mapping[str, Found]) -> dict[str, Found]:
    paths = dict.fromkeys(_mentioned(expression))
    # Of a record that is mentioned as a whole, all that is in it.
    return {
        path: value
        for mentioned in paths
        for path, value in values.items()
        if path == mentioned or ("." in mentioned and path.startswith(f"{mentioned}."))
    }


def _mentioned(node: object) -> Iterator[str]:
    from cedarpy import pst

    path = path_of(node) or (node.name if isinstance(node, pst.Var) else "")
    if path:
        yield path
    else:
        for child in children(node):
            yield from _mentioned(child)


def _values(question: Question, asked: Asked) -> dict[str, Found]:
    """Every attribute of the question by its path, as it was put to Cedar."""
    [request] = question.requests(asked.segment, [asked.operation])
    subject, segment = json.loads(question.entities(asked.segment))
    values: dict[str, Found] = {name: _entity(request[name]) for name in ("principal", "action", "resource")}
    values |= _flat("principal", subject["attrs"])
    values |= _flat("resource", segment["attrs"])
    return values | _flat("context", json.loads(request["context"]))


def _entity(uid: Mapping[str, str]) -> str:
    return f'{uid["type"]}::"{uid["id"]}"'


def _flat(prefix: str, record: Mapping[str, Any]) -> dict[str, Found]:
    flat: dict[str, Found] = {}
    for name, value in record.items():
        path = f"{prefix}.{name}"
        flat |= (
            _flat(path, value)
            if isinstance(value, dict)
            else {path: tuple(value) if isinstance(value, list) else value}
        )
    return flat
