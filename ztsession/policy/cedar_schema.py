"""The Cedar schema, generated from the catalog so that the two can never disagree.

Cedar skips a ``forbid`` whose condition fails to evaluate. A misspelt attribute in a forbid would therefore
open, silently, what it was meant to close. The schema is what turns that misspelling into an error when the
policy is loaded, so it is not optional anywhere in this package.

Each operation is an action of its full name. Groups make policies short and keep them true when an operation
is added: ``Action::"orders.*"`` holds a segment's operations, ``Action::"effect:risk-reducing"`` all of one
effect.

The context has the posture item by item, and the same again in the eight claims of the trust vector. The
second follows from the first by one table, so no policy can see the two disagree.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ztsession.policy.catalog import EFFECTS, Catalog, Operation
from ztsession.posture.items import ITEMS, WORDS
from ztsession.posture.trust import TRUST_CLAIMS, TRUST_WORDS

__all__ = ["CONTEXT_WORDS", "POSTURE_ITEMS", "POSTURE_VALUES", "TRUST_CLAIMS", "TRUST_WORDS", "schema_text"]

#: The items of a posture vector, in the order of the schema.
POSTURE_ITEMS: Final = ITEMS
#: What an appraisal can say of an item.
POSTURE_VALUES: Final = WORDS
#: The records of the context, each with the words that its attributes can have.
CONTEXT_WORDS: Final = {"posture": POSTURE_VALUES, "trust": TRUST_WORDS}

_ENTITIES: Final = """\
entity Subject = { roles: Set<String>, desk: String, kind: String };
entity Segment = { environment: String };
"""
_APPLIES_TO: Final = (
    "appliesTo { principal: [Subject], resource: [Segment], "
    "context: { posture: Posture, trust: Trust, assurance: Long, device: String } }"
)


def schema_text(catalog: Catalog) -> str:
    """Write the schema for ``catalog`` in Cedar's own syntax; equal catalogs give equal texts."""
    types = _record("Posture", POSTURE_ITEMS) + _record("Trust", TRUST_CLAIMS)
    segments = [catalog.segments[name] for name in sorted(catalog.segments)]
    lines = [f'action "effect:{effect}";' for effect in EFFECTS]
    lines += [f'action "{segment.name}.*";' for segment in segments]
    lines += [_action(operation) for segment in segments for operation in segment.operations]
    return _ENTITIES + types + "\n".join(lines) + "\n"


def _record(name: str, attributes: Iterable[str]) -> str:
    return f"type {name} = {{ {', '.join(f'{attribute}: String' for attribute in attributes)} }};\n"


def _action(operation: Operation) -> str:
    groups = f'"{operation.segment}.*", "effect:{operation.effect}"'
    return f'action "{operation.full_name}" in [{groups}] {_APPLIES_TO};'
