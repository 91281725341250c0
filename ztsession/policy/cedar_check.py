"""What a policy must pass before it may decide anything, with every error traced to its line.

Statements are checked one by one, because Cedar reports neither lines nor, for a syntax error, which policy
it was in. Two mistakes pass Cedar's own validator and would open a ``forbid`` without a sound, so they are
refused here: a test for an attribute that does not exist (``context has postur``) is simply false to Cedar,
and so is a comparison of a posture item or a trust claim with a word that no appraisal ever gives (``==
"Bad"``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Final

from ztsession.errors import PolicyError
from ztsession.policy.cedar_schema import CONTEXT_WORDS, POSTURE_ITEMS, TRUST_CLAIMS
from ztsession.policy.cedar_source import Statement

if TYPE_CHECKING:
    import cedarpy

__all__ = ["check_statements"]

_QUOTED = re.compile(r"`([^`]+)`")
_ATTRIBUTES: Final = (
    "principal.roles, principal.desk, principal.kind, resource.environment, context.assurance, "
    f"context.device, context.posture.({' | '.join(POSTURE_ITEMS)}) or "
    f"context.trust.({' | '.join(TRUST_CLAIMS)})"
)
_EXPECTED: Final = {
    "attribute ": _ATTRIBUTES,
    "unrecognized action": 'an operation of the catalog, or a group: "segment.*" or "effect:..."',
    "unrecognized entity type": "Subject, Segment or Action",
    "unable to find an applicable action": "a Subject, an action of the catalog and a Segment",
}


def check_statements(policies: Sequence[Statement], schema: cedarpy.Schema) -> None:
    """Raise PolicyError, naming file, line and what was expected, for the first statement that may not
    decide.
    """
    for statement in policies:
        parsed = _parsed(statement)
        _check_schema(statement, schema)
        _check_silent_mistakes(statement, parsed)


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


def _check_silent_mistakes(statement: Statement, parsed: cedarpy.PolicySet) -> None:
    from cedarpy import pst

    try:
        root = parsed.to_pst()
    except ValueError as error:
        raise PolicyError(f"not supported: {error}", file=statement.file, line=statement.line) from error
    for node in _nodes(root):
        if isinstance(node, pst.HasAttr):
            message = "`has` is false for a misspelt name; expected none, as every attribute is always there"
            raise PolicyError(message, file=statement.file, line=statement.line_of("has"))
        if isinstance(node, pst.BinaryOp):
            _check_word(statement, node.left, node.right)
            _check_word(statement, node.right, node.left)


def _check_word(statement: Statement, item: object, words: object) -> None:
    from cedarpy import pst

    if not (isinstance(item, pst.GetAttr) and isinstance(item.base, pst.GetAttr)):
        return
    record = item.base.attr
    expected = CONTEXT_WORDS.get(record)
    if expected is None:
        return
    for word in words.elements if isinstance(words, pst.Set) else (words,):
        if isinstance(word, pst.StringLit) and word.value not in expected:
            message = f"{word.value!r} is never true of {record}; expected one of {', '.join(expected)}"
            raise PolicyError(message, file=statement.file, line=statement.line_of(word.value))


def _nodes(node: object) -> Iterator[object]:
    """Every node at and below ``node``; nodes are dataclasses that hold nodes, tuples and maps of nodes."""
    yield node
    if is_dataclass(node) and not isinstance(node, type):
        children: Sequence[object] = [getattr(node, field.name) for field in fields(node)]
    elif isinstance(node, dict):
        children = list(node.values())
    else:
        children = list(node) if isinstance(node, (tuple, list, frozenset, set)) else []
    for child in children:
        yield from _nodes(child)
