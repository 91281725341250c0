"""The catalog: every segment and every operation that can be asked of it, with its limits.

Nothing can be allowed that is not listed here. An operation's place in its segment's table is the number that
travels in each token, so the order of declaration is part of the contract: inserting a line in the middle
changes the meaning of every later number. That is why a segment has a digest over the whole table, and why
every grant carries it: a service and an Authority that read different tables hold different keys and cannot
misunderstand each other.

The file is TOML, read strictly. A misspelt limit must not silently become a default, so unknown keys are
refused as loudly as wrong values.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from ztsession.errors import ConfigurationError
from ztsession.policy.tomllines import line_of
from ztsession.wire import canonical
from ztsession.wire.digest import digest

__all__ = ["EFFECTS", "STALE_ALLOW", "STALE_DENY", "Catalog", "Operation", "Segment"]

#: Effects, by what an operation does to the firm's exposure.
EFFECTS: Final = ("read", "risk-reducing", "risk-increasing")

#: ``stale_ms`` of an operation that stops when the lease has run out.
STALE_DENY: Final = 0
#: ``stale_ms`` of an operation that outlives the lease, until its session ends.
STALE_ALLOW: Final = 0xFFFF_FFFF

CATALOG_MAX_BYTES: Final = 1 << 20
SEGMENTS_MAX: Final = 256
OPERATIONS_MAX: Final = 64

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_STALE_MAX_MS: Final = 24 * 60 * 60 * 1000
_STALE_DEFAULT: Final = {"read": "30s", "risk-reducing": "allow", "risk-increasing": "deny"}
_STALE_UNIT_MS: Final = {"ms": 1, "s": 1000, "m": 60_000}
_STALE = re.compile(r"([1-9][0-9]{0,8})(ms|s|m)")


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that can be asked of a segment; ``index`` (0..63) is its number in tokens and bitmaps."""

    segment: str
    name: str
    index: int
    effect: str
    max_age_us: int
    assurance: int
    ordered: bool
    stale_ms: int
    always_allowed: bool

    @property
    def full_name(self) -> str:
        """``segment.name``, the form used in scopes, policies and grants."""
        return f"{self.segment}.{self.name}"

    @property
    def bit(self) -> int:
        """The operation's bit in a u64 bitmap of its segment."""
        return 1 << self.index


@dataclass(frozen=True)
class Segment:
    """One micro-perimeter: its operations in declaration order, and the timers of its sessions."""

    name: str
    environment: str
    epoch_length_s: int
    lifetime_s: int
    idle_s: int
    operations: tuple[Operation, ...]

    @cached_property
    def digest(self) -> bytes:
        """32 bytes over everything here: equal digests mean equal tables."""
        return digest("catalog", canonical.encode(self._canonical()))

    def operation(self, name: str) -> Operation:
        """Find an operation by its full or its short name; raises ConfigurationError when there is none."""
        for operation in self.operations:
            if name in (operation.full_name, operation.name):
                return operation
        raise ConfigurationError(f"segment {self.name!r} has no operation {name!r}")

    def _canonical(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "environment": self.environment,
            "epoch_length_s": self.epoch_length_s,
            "lifetime_s": self.lifetime_s,
            "idle_s": self.idle_s,
            "operations": [
                [o.name, o.effect, o.max_age_us, o.assurance, o.ordered, o.stale_ms, o.always_allowed]
                for o in self.operations
            ],
        }


@dataclass(frozen=True)
class Catalog:
    """All segments, by name."""

    segments: Mapping[str, Segment]

    @classmethod
    def load(cls, path: str | Path) -> Catalog:
        """Read a catalog file of at most 1 MiB; raises ConfigurationError naming file, line and key."""
        try:
            with open(path, "rb") as file:
                data = file.read(CATALOG_MAX_BYTES + 1)
        except OSError as error:
            raise ConfigurationError(f"cannot be read: {error.strerror}", file=str(path)) from error
        if len(data) > CATALOG_MAX_BYTES:
            raise ConfigurationError(f"expected at most {CATALOG_MAX_BYTES} bytes", file=str(path))
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise ConfigurationError("expected UTF-8 text", file=str(path), line=line) from error
        return cls.from_text(text, file=str(path))

    @classmethod
    def from_text(cls, text: str, *, file: str = "<catalog>") -> Catalog:
        """Read a catalog from TOML text; raises ConfigurationError naming ``file``, line and key."""
        import tomllib

        try:
            document = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            at = re.search(r"at line (\d+)", str(error))
            line = int(at.group(1)) if at else text.count("\n") + 1
            raise ConfigurationError(f"not valid TOML: {error}", file=file, line=line) from error
        return _Reader(text, file).catalog(document)

    def segment(self, name: str) -> Segment:
        """Find a segment; raises ConfigurationError when there is none of this name."""
        try:
            return self.segments[name]
        except KeyError:
            raise ConfigurationError(f"the catalog has no segment {name!r}") from None

    @cached_property
    def digest(self) -> bytes:
        """32 bytes over all segments, sorted by name."""
        return digest("catalogs", *(self.segments[name].digest for name in sorted(self.segments)))


class _Reader:
    """Turns a parsed document into a Catalog, knowing where each key stands for the sake of errors."""

    def __init__(self, text: str, file: str) -> None:
        self._text, self._file = text, file

    def catalog(self, document: dict[str, Any]) -> Catalog:
        self._known(document, (), ("version", "segments"))
        version = document.get("version")
        if type(version) is not int or version != 1:
            raise self._wrong(("version",), "expected version = 1")
        tables = self._tables(document, ("segments",), SEGMENTS_MAX)
        return Catalog(MappingProxyType({name: self._segment(name, row) for name, row in tables.items()}))

    def _segment(self, name: str, table: dict[str, Any]) -> Segment:
        path = ("segments", name)
        self._known(table, path, ("environment", "epoch_length_s", "lifetime_s", "idle_s", "operations"))
        environment = table.get("environment", "prod")
        if not isinstance(environment, str) or not _NAME.fullmatch(environment):
            raise self._wrong((*path, "environment"), f"expected a name like 'prod', found {environment!r}")
        epoch_length_s = self._integer(table, path, "epoch_length_s", 30, 1, 3600)
        lifetime_s = self._integer(table, path, "lifetime_s", 43_200, 1, 86_400)
        idle_s = self._integer(table, path, "idle_s", min(900, lifetime_s), 1, lifetime_s)
        rows = self._tables(table, (*path, "operations"), OPERATIONS_MAX)
        operations = tuple(
            self._operation(name, index, short, row, epoch_length_s)
            for index, (short, row) in enumerate(rows.items())
        )
        return Segment(name, environment, epoch_length_s, lifetime_s, idle_s, operations)

    def _operation(self, segment: str, index: int, name: str, row: dict[str, Any], epoch_s: int) -> Operation:
        path = ("segments", segment, "operations", name)
        self._known(row, path, ("effect", "max_age_ms", "assurance", "ordered", "stale", "always_allowed"))
        effect = row.get("effect")
        if effect not in EFFECTS:
            raise self._wrong((*path, "effect"), f"expected one of {', '.join(EFFECTS)}, found {effect!r}")
        # A token older than its epoch could not be checked: its key may be gone already.
        max_age_limit_ms = min(60_000, epoch_s * 1000)
        max_age_ms = self._integer(row, path, "max_age_ms", min(2000, max_age_limit_ms), 1, max_age_limit_ms)
        always_allowed = self._boolean(row, path, "always_allowed")
        if always_allowed and effect == "risk-increasing":
            message = "expected false: a risk-increasing operation cannot run in a suspended session"
            raise self._wrong((*path, "always_allowed"), message)
        return Operation(
            segment=segment,
            name=name,
            index=index,
            effect=effect,
            max_age_us=max_age_ms * 1000,
            assurance=self._integer(row, path, "assurance", 1, 1, 3),
            ordered=self._boolean(row, path, "ordered"),
            stale_ms=self._stale(row.get("stale", _STALE_DEFAULT[effect]), (*path, "stale")),
            always_allowed=always_allowed,
        )

    def _stale(self, value: object, path: tuple[str, ...]) -> int:
        if value == "deny":
            return STALE_DENY
        if value == "allow":
            return STALE_ALLOW
        match = _STALE.fullmatch(value) if isinstance(value, str) else None
        stale_ms = int(match.group(1)) * _STALE_UNIT_MS[match.group(2)] if match else 0
        if not 1 <= stale_ms <= _STALE_MAX_MS:
            raise self._wrong(
                path, f"expected 'deny', 'allow' or a time like '30s' up to 24 h, found {value!r}"
            )
        return stale_ms

    def _tables(self, table: dict[str, Any], path: tuple[str, ...], most: int) -> dict[str, dict[str, Any]]:
        rows = table.get(path[-1])
        if not isinstance(rows, dict) or not 1 <= len(rows) <= most:
            raise self._wrong(path, f"expected 1 to {most} tables")
        for name, row in rows.items():
            if not _NAME.fullmatch(name):
                message = f"expected a name of 1 to 32 characters a-z, 0-9, _ and -, found {name!r}"
                raise self._wrong((*path, name), message)
            if not isinstance(row, dict):
                raise self._wrong((*path, name), f"expected a table, found {row!r}")
        return rows

    def _integer(
        self, table: dict[str, Any], path: tuple[str, ...], key: str, default: int, low: int, high: int
    ) -> int:
        value = table.get(key, default)
        # bool is an int to Python, but `max_age_ms = true` is a mistake.
        if type(value) is not int or not low <= value <= high:
            raise self._wrong((*path, key), f"expected an integer from {low} to {high}, found {value!r}")
        return value

    def _boolean(self, table: dict[str, Any], path: tuple[str, ...], key: str) -> bool:
        value = table.get(key, False)
        if not isinstance(value, bool):
            raise self._wrong((*path, key), f"expected true or false, found {value!r}")
        return value

    def _known(self, table: dict[str, Any], path: tuple[str, ...], keys: tuple[str, ...]) -> None:
        for key in table:
            if key not in keys:
                raise self._wrong((*path, key), f"unknown key; expected one of {', '.join(keys)}")

    def _wrong(self, path: tuple[str, ...], message: str) -> ConfigurationError:
        where = ".".join(path)
        return ConfigurationError(f"{where}: {message}", file=self._file, line=line_of(self._text, *path))
