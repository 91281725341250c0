"""A catalog as an operator writes it: TOML, read strictly.

A misspelt limit must not silently become a default, so unknown keys are refused as loudly as wrong values,
and every complaint names file, line and key.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import Final

from ztsession.policy.catalog import (
    DATA_CLASSES,
    EFFECTS,
    RISKS,
    STALE_ALLOW,
    STALE_DENY,
    Catalog,
    Operation,
    Segment,
)
from ztsession.posture.items import ITEMS
from ztsession.wire.operator_file import Table

__all__ = ["OPERATIONS_MAX", "SEGMENTS_MAX", "read_catalog"]

SEGMENTS_MAX: Final = 256
OPERATIONS_MAX: Final = 64
ENVIRONMENTS_MAX: Final = 16

#: Of segments, operations and environments.
_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_STALE_MAX_MS: Final = 24 * 60 * 60 * 1000
_STALE_DEFAULT: Final = {"read": "30s", "risk-reducing": "allow", "risk-increasing": "deny"}
_STALE_UNIT_MS: Final = {"ms": 1, "s": 1000, "m": 60_000}
_STALE_EXPECTED: Final = "'deny', 'allow' or a time like '30s' up to 24 h"
_STALE: Final = re.compile(r"([1-9][0-9]{0,8})(ms|s|m)")
_HIGHEST_RISK_DEFAULT: Final = {"read": "medium", "risk-reducing": "medium", "risk-increasing": "low"}


def read_catalog(root: Table) -> Catalog:
    """Read the root table of a catalog; raises ConfigurationError naming file, line and key."""
    root.allow_only("version", "environments", "segments")
    root.integer("version", 0, low=1, high=1)
    order = _environments(root)
    segments = {name: _segment(name, table, order) for name, table in _tables(root, "segments", SEGMENTS_MAX)}
    named = order or tuple(sorted({segment.environment for segment in segments.values()}))
    return Catalog(MappingProxyType(segments), named)


def _environments(root: Table) -> tuple[str, ...]:
    order = root.texts("environments")
    for name in order:
        if not _NAME.fullmatch(name) or order.count(name) > 1:
            raise root.error(f"expected different names like 'prod', found {name!r}", "environments")
    if len(order) > ENVIRONMENTS_MAX or (root.has("environments") and not order):
        raise root.error(f"expected 1 to {ENVIRONMENTS_MAX} names, in the order of promotion", "environments")
    return tuple(order)


def _segment(name: str, table: Table, order: tuple[str, ...]) -> Segment:
    table.allow_only("environment", "epoch_length_s", "lifetime_s", "idle_s", "operations")
    environment = table.text("environment", "prod")
    if not _NAME.fullmatch(environment):
        raise table.error(f"expected a name like 'prod', found {environment!r}", "environment")
    if order and environment not in order:
        raise table.error(f"expected one of environments: {', '.join(order)}", "environment")
    epoch_length_s = table.integer("epoch_length_s", 30, low=1, high=3600)
    lifetime_s = table.integer("lifetime_s", 43_200, low=1, high=86_400)
    idle_s = table.integer("idle_s", min(900, lifetime_s), low=1, high=lifetime_s)
    # A token older than its epoch could not be checked: its key may be gone already.
    age_limit_ms = min(60_000, epoch_length_s * 1000)
    before = order[order.index(environment) - 1] if environment in order[1:] else ""
    operations = tuple(
        _Row(row).operation(name, index, short, age_limit_ms, before)
        for index, (short, row) in enumerate(_tables(table, "operations", OPERATIONS_MAX))
    )
    return Segment(name, environment, epoch_length_s, lifetime_s, idle_s, operations)


def _tables(table: Table, key: str, most: int) -> list[tuple[str, Table]]:
    below = table.table(key)
    rows = list(below.tables())
    if not 1 <= len(rows) <= most:
        raise table.error(f"expected 1 to {most} tables", key)
    for name, row in rows:
        if not _NAME.fullmatch(name):
            raise row.error(f"expected a name of 1 to 32 characters a-z, 0-9, _ and -, found {name!r}")
    return rows


class _Row:
    """One operation's table."""

    def __init__(self, row: Table) -> None:
        self._row = row

    def operation(self, segment: str, index: int, name: str, age_limit_ms: int, before: str) -> Operation:
        row = self._row
        row.allow_only(*_KEYS)
        effect = row.word("effect", EFFECTS) if row.has("effect") else ""
        if not effect:
            raise row.error(f"expected one of {', '.join(EFFECTS)}", "effect")
        max_age_ms = row.integer("max_age_ms", min(2000, age_limit_ms), low=1, high=age_limit_ms)
        return Operation(
            segment=segment,
            name=name,
            index=index,
            effect=effect,
            data_class=self._word("data_class", "internal", DATA_CLASSES),
            max_age_us=max_age_ms * 1000,
            assurance=row.integer("assurance", 1, low=1, high=3),
            highest_risk=self._highest_risk(effect),
            posture=self._posture(),
            ordered=row.flag("ordered", False),
            stale_ms=self._stale(row.text("stale", _STALE_DEFAULT[effect], expected=_STALE_EXPECTED)),
            promotes_from=self._promotes_from(before),
        )

    def _word(self, key: str, default: str, words: tuple[str, ...]) -> str:
        return self._row.word(key, words) if self._row.has(key) else default

    def _highest_risk(self, effect: str) -> str:
        always = self._row.flag("always_allowed", False)
        risk = self._word("highest_risk", RISKS[-1] if always else _HIGHEST_RISK_DEFAULT[effect], RISKS)
        if always and risk != RISKS[-1]:
            raise self._row.error(f"expected {RISKS[-1]!r}, as always_allowed says the same", "highest_risk")
        if effect == "risk-increasing" and risk == RISKS[-1]:
            key = "always_allowed" if always else "highest_risk"
            message = f"expected {'false' if always else 'low or medium'}: "
            raise self._row.error(
                f"{message}a risk-increasing operation cannot run in a suspended session", key
            )
        return risk

    def _posture(self) -> tuple[str, ...]:
        items = self._row.texts("posture")
        for item in items:
            if item not in ITEMS or items.count(item) > 1:
                raise self._row.error(
                    f"expected different items of {', '.join(ITEMS)}, found {item!r}", "posture"
                )
        return tuple(item for item in ITEMS if item in items)

    def _promotes_from(self, before: str) -> str:
        source = self._row.text("promotes_from", "")
        if source != before and self._row.has("promotes_from"):
            expected = f"expected {before!r}, which comes before" if before else "expected no promotion into"
            message = f"{expected} this segment's environment in the catalog's environments, found {source!r}"
            raise self._row.error(message, "promotes_from")
        return source

    def _stale(self, value: str) -> int:
        if value == "deny":
            return STALE_DENY
        if value == "allow":
            return STALE_ALLOW
        match = _STALE.fullmatch(value)
        stale_ms = int(match.group(1)) * _STALE_UNIT_MS[match.group(2)] if match else 0
        if not 1 <= stale_ms <= _STALE_MAX_MS:
            raise self._row.error(f"expected {_STALE_EXPECTED}, found {value!r}", "stale")
        return stale_ms


_KEYS: Final = (
    "effect",
    "data_class",
    "max_age_ms",
    "assurance",
    "highest_risk",
    "always_allowed",
    "posture",
    "ordered",
    "stale",
    "promotes_from",
)
