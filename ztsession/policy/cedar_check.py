"""What a policy must pass before it may decide anything, with every error traced to its line.

Statements are checked one by one, because Cedar reports neither lines nor, for a syntax error, which policy
it was in. Some mistakes pass Cedar's own validator and would open a ``forbid`` without a sound, so they are
refused here: a test for an attribute that does not exist (``context has postur``) is simply false to Cedar,
and so is a comparison with a word that the attribute never has (``context.risk == "High"``) or with a time
that no clock shows.

Time may only be compared with what the policy itself says, never computed with: then it is known when the
answer can change, and a decision has an end instead of being asked again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Final

from ztsession.errors import PolicyError
from ztsession.policy.cedar_schema import POSTURE_ITEMS, TRUST_CLAIMS
from ztsession.policy.cedar_source import Statement
from ztsession.policy.cedar_tree import COMPARISONS, nodes, path_of
from ztsession.wire.names import is_name

if TYPE_CHECKING:
    import cedarpy
    from cedarpy import pst

__all__ = ["check_statements"]

_QUOTED = re.compile(r"`([^`]+)`")
_ATTRIBUTES: Final = (
    "principal.roles, principal.desk, principal.kind, resource.environment, context.assurance, context.risk, "
    "context.device, context.phase, context.time.(hhmm | weekday | date), "
    f"context.posture.({' | '.join(POSTURE_ITEMS)}) or context.trust.({' | '.join(TRUST_CLAIMS)})"
)
_EXPECTED: Final = {
    "attribute ": _ATTRIBUTES,
    "unrecognized action": 'an operation of the catalog, or a group: "segment.*", "effect:...", "data:..."',
    "unrecognized entity type": "Subject, Segment or Action",
    "unable to find an applicable action": "a Subject, an action of the catalog and a Segment",
}


def check_statements(
    policies: Sequence[Statement], schema: cedarpy.Schema, words: Mapping[str, Sequence[str]]
) -> list[pst.Template]:
    """Return each statement's syntax tree; PolicyError naming file, line and what was expected for the first
    that may not decide. ``words``: what attributes can be, by path.
    """
    trees = []
    for statement in policies:
        parsed = _parsed(statement)
        _check_schema(statement, schema)
        [tree] = _tree(statement, parsed).static_policies.values()
        _Silent(statement, words).check(tree)
        trees.append(tree)
    return trees


def _parsed(statement: Statement) -> cedarpy.PolicySet:
    import cedarpy

    try:
        parsed = cedarpy.PolicySet.from_str(statement.text)
    except ValueError as error:
        raise PolicyError(f"not valid Cedar: {error}", file=statement.file, line=statement.line) from error
    if parsed.templates() or len(parsed) != 1:
        # A template decides nothing until someone links it, and nothing here does.
        message = "expected a policy without ?principal or ?resource slots"
        raise PolicyError(message, file=statement.file, line=statement.line)
    return parsed


def _check_schema(statement: Statement, schema: cedarpy.Schema) -> None:
    import cedarpy

    result = cedarpy.validate_policies(statement.text, schema)
    if result.validation_passed and not result.errors:
        return
    texts = [re.sub(r"^for policy `policy\d+`, ", "", str(error.error)) for error in result.errors]
    # A complaint that names something says more than one about the policy as a whole.
    text = min(texts, key=lambda text: "`" not in text, default="no reason was given")
    expected = next((f"; expected {hint}" for start, hint in _EXPECTED.items() if text.startswith(start)), "")
    line = statement.line_of(_word_in_doubt(text))
    raise PolicyError(f"does not fit the catalog: {text}{expected}", file=statement.file, line=line)


def _word_in_doubt(error: str) -> str:
    """`posture.bogus` complains of bogus; `Action::"x.y"` of x.y."""
    quoted = _QUOTED.search(error)
    text = quoted.group(1) if quoted else ""
    return text.split("::")[-1].strip('"') if "::" in text else text.rsplit(".", 1)[-1]


def _tree(statement: Statement, parsed: cedarpy.PolicySet) -> pst.PolicySet:
    try:
        return parsed.to_pst()
    except ValueError as error:
        raise PolicyError(f"not supported: {error}", file=statement.file, line=statement.line) from error


class _Silent:
    """The mistakes of one statement that Cedar would not mention."""

    def __init__(self, statement: Statement, words: Mapping[str, Sequence[str]]) -> None:
        self._statement, self._words = statement, words

    def check(self, tree: pst.Template) -> None:
        from cedarpy import pst

        for node in nodes(tree):
            if isinstance(node, pst.HasAttr):
                message = (
                    "`has` is false for a misspelt name; expected none, as every attribute is always there"
                )
                raise self._error(message, "has")
            if isinstance(node, pst.EntityUid) and str(node.type) == "Subject" and not is_name(node.id):
                # Questions put such a name in the place of all that no policy mentions.
                message = f"no subject can have the name {node.id[:64]!r}; leave it out to mean everybody"
                raise self._error(message, "Subject")
            if isinstance(node, pst.BinaryOp):
                self._check_compared(node.left, node.right)
                self._check_compared(node.right, node.left)
        whole = sum(isinstance(node, pst.Var) and node.name == "context" for node in nodes(tree))
        named = [path_of(node) for node in nodes(tree) if isinstance(node, pst.GetAttr)]
        if whole != sum(path.count(".") == 1 and path.startswith("context.") for path in named):
            raise self._error("expected an attribute of context, not all of it at once", "context")
        self._check_time(tree, named)

    def _check_compared(self, item: object, other: object) -> None:
        from cedarpy import pst

        expected = self._words.get(path_of(item))
        if expected is None:
            return
        path = path_of(item).removeprefix("context.")
        for word in other.elements if isinstance(other, pst.Set) else (other,):
            if isinstance(word, pst.StringLit) and word.value not in expected:
                among = f"expected one of {', '.join(expected)}" if expected else "no phases in calendar.toml"
                raise self._error(f"{word.value!r} is never true of {path}; {among}", word.value)

    def _check_time(self, tree: pst.Template, named: Sequence[str]) -> None:
        compared = [
            path_of(item) for node in nodes(tree) for item, other in _sides(node) if _fits(item, other)
        ]
        for path, expected in _TIMES.items():
            if named.count(path) != compared.count(path):
                raise self._error(f"{path}: expected a comparison with {expected}", path.split(".")[-1])
        if named.count("context.time") != sum(path.startswith("context.time.") for path in named):
            raise self._error("context.time: expected hhmm, weekday or date of it", "time")

    def _error(self, message: str, word: str) -> PolicyError:
        return PolicyError(message, file=self._statement.file, line=self._statement.line_of(word))


_TIMES: Final = {
    "context.time.hhmm": "a time of day from 0 to 2359, like 930 or 1600",
    "context.time.date": "a date, like 20261231",
}


def _sides(node: object) -> list[tuple[object, object]]:
    from cedarpy import pst

    if not isinstance(node, pst.BinaryOp) or node.op not in COMPARISONS:
        return []
    return [(node.left, node.right), (node.right, node.left)]


def _fits(item: object, other: object) -> bool:
    from cedarpy import pst

    if path_of(item) not in _TIMES or not isinstance(other, pst.LongLit):
        return False
    value = other.value
    if path_of(item) == "context.time.hhmm":
        return 0 <= value <= 2359 and value % 100 < 60
    try:
        date(value // 10_000, value // 100 % 100, value % 100)
    except ValueError:
        return False
    return True
