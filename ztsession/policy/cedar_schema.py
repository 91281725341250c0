"""The Cedar schema, generated from the catalog so that the two can never disagree.

Cedar skips a ``forbid`` whose condition fails to evaluate. A misspelt attribute in a forbid would therefore
open, silently, what it was meant to close. The schema is what turns that misspelling into an error when the
policy is loaded, so it is not optional anywhere in this package.

Each operation is an action of its full name. Groups make policies short and keep them true when an operation
is added: ``Action::"orders.*"`` holds a segment's operations, ``Action::"effect:risk-reducing"`` all of one
effect, ``Action::"data:restricted"`` all of one class of data, ``Action::"promotion"`` all that moves
something into another environment.

The context has the posture item by item, and the same again in the eight claims of the trust vector. The
second follows from the first by one table, so no policy can see the two disagree.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from ztsession.identity.subjects import KINDS
from ztsession.policy.calendar import WEEKDAYS, Calendar
from ztsession.policy.catalog import DATA_CLASSES, EFFECTS, RISKS, Catalog, Operation, Segment
from ztsession.posture.items import ITEMS, WORDS
from ztsession.posture.trust import TRUST_CLAIMS, TRUST_WORDS

__all__ = ["POSTURE_ITEMS", "POSTURE_VALUES", "TRUST_CLAIMS", "TRUST_WORDS"]
__all__ += ["groups_of", "schema_text", "words_of"]

#: The items of a posture vector, in the order of the schema.
POSTURE_ITEMS: Final = ITEMS
#: What an appraisal can say of an item.
POSTURE_VALUES: Final = WORDS

_ENTITIES: Final = """\
entity Subject = { roles: Set<String>, desk: String, kind: String };
entity Segment = { environment: String };
type Time = { hhmm: Long, weekday: String, date: Long };
"""
_APPLIES_TO: Final = (
    "appliesTo { principal: [Subject], resource: [Segment], context: { posture: Posture, trust: Trust, "
    "assurance: Long, risk: String, device: String, phase: String, time: Time } }"
)


def schema_text(catalog: Catalog) -> str:
    """Write the schema for ``catalog`` in Cedar's own syntax; equal catalogs give equal texts."""
    types = _record("Posture", POSTURE_ITEMS) + _record("Trust", TRUST_CLAIMS)
    segments = [catalog.segments[name] for name in sorted(catalog.segments)]
    lines = [f'action "{group}";' for group in _groups(segments)]
    lines += [_action(operation) for segment in segments for operation in segment.operations]
    return _ENTITIES + types + "\n".join(lines) + "\n"


def _record(name: str, attributes: Iterable[str]) -> str:
    return f"type {name} = {{ {', '.join(f'{attribute}: String' for attribute in attributes)} }};\n"


def _groups(segments: Iterable[Segment]) -> Iterator[str]:
    yield from (f"effect:{effect}" for effect in EFFECTS)
    yield from (f"data:{data_class}" for data_class in DATA_CLASSES)
    yield "promotion"
    yield from (f"{segment.name}.*" for segment in segments)


def _action(operation: Operation) -> str:
    groups = ", ".join(f'"{name}"' for name in groups_of(operation))
    return f'action "{operation.full_name}" in [{groups}] {_APPLIES_TO};'


def groups_of(operation: Operation) -> list[str]:
    """The names of the groups that an operation's action is in."""
    return [
        f"{operation.segment}.*",
        f"effect:{operation.effect}",
        f"data:{operation.data_class}",
        *(["promotion"] if operation.promotes_from else []),
    ]


def words_of(catalog: Catalog, calendar: Calendar) -> dict[str, tuple[str, ...]]:
    """The words that attributes can have, by path; an attribute that is not here can have any."""
    return {
        **{f"context.posture.{item}": POSTURE_VALUES for item in POSTURE_ITEMS},
        **{f"context.trust.{claim}": TRUST_WORDS for claim in TRUST_CLAIMS},
        "context.risk": RISKS,
        "context.phase": calendar.phases,
        "context.time.weekday": WEEKDAYS,
        "principal.kind": KINDS,
        "resource.environment": catalog.environments,
    }
