"""The Cedar schema, generated from the catalog so that the two can never disagree.

Cedar skips a ``forbid`` whose condition fails to evaluate. A misspelt attribute in a forbid would therefore
open, silently, what it was meant to close. The schema is what turns that misspelling into an error when the
policy is loaded, so it is not optional anywhere in this package.

Each operation is an action of its full name. Groups make policies short and keep them true when an operation
is added: ``Action::"orders.*"`` holds a segment's operations, ``Action::"effect:risk-reducing"`` all of one
effect.
"""

from __future__ import annotations

from typing import Final

from ztsession.policy.catalog import EFFECTS, Catalog, Operation

__all__ = ["POSTURE_ITEMS", "POSTURE_VALUES", "schema_text"]

#: The items of a posture vector, in the order of the schema.
POSTURE_ITEMS: Final = ("kernel", "secure_boot", "disk_encryption", "packages", "program", "device")
#: What an appraisal can say of an item.
POSTURE_VALUES: Final = ("good", "bad", "unknown")

_ENTITIES: Final = """\
entity Subject = { roles: Set<String>, desk: String, kind: String };
entity Segment = { environment: String };
"""
_APPLIES_TO: Final = (
    "appliesTo { principal: [Subject], resource: [Segment], "
    "context: { posture: Posture, assurance: Long, device: String } }"
)


def schema_text(catalog: Catalog) -> str:
    """Write the schema for ``catalog`` in Cedar's own syntax; equal catalogs give equal texts."""
    posture = ", ".join(f"{item}: String" for item in POSTURE_ITEMS)
    segments = [catalog.segments[name] for name in sorted(catalog.segments)]
    lines = [f'action "effect:{effect}";' for effect in EFFECTS]
    lines += [f'action "{segment.name}.*";' for segment in segments]
    lines += [_action(operation) for segment in segments for operation in segment.operations]
    return _ENTITIES + f"type Posture = {{ {posture} }};\n" + "\n".join(lines) + "\n"


def _action(operation: Operation) -> str:
    groups = f'"{operation.segment}.*", "effect:{operation.effect}"'
    return f'action "{operation.full_name}" in [{groups}] {_APPLIES_TO};'
