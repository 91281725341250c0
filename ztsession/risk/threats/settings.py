"""Which lists there are, what each is of, and how bad it is to be in one: ``threats.toml`` of the operator.

    [lists.scanners]
    file = "lists/scanners.txt"     # below the policy directory, or from the root
    format = "text"                 # one entry a line
    of = "addresses"                # addresses, keys, programs or packages
    level = "MEDIUM"

    [lists.stolen-keys]
    file = "/var/lib/feeds/keys.csv"
    format = "csv"
    of = "keys"
    column = "sha256"               # by its name in the header
    level = "HIGH"

    [lists.vendor]
    file = "lists/vendor.json"
    format = "stix"                 # a STIX 2.1 bundle, which says what it is of
    level = "HIGH"

The file may be missing: then there are no lists.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ztsession.risk.levels import Level
from ztsession.risk.threats.entries import OF
from ztsession.wire.names import is_name
from ztsession.wire.operator_file import Table, read_toml

__all__ = ["SETTINGS_FILE", "ListSettings", "read_settings"]

SETTINGS_FILE: Final = "threats.toml"
LISTS_MAX: Final = 32
NAME_MAX_BYTES: Final = 64
FORMATS: Final = ("text", "csv", "stix")
LEVEL_WORDS: Final = tuple(level.name for level in Level)


@dataclass(frozen=True, slots=True)
class ListSettings:
    """One list as the operator describes it; ``of`` is "" for STIX, ``column`` for all but CSV."""

    name: str
    path: Path
    format: str
    of: str
    column: str
    level: Level

    @property
    def source(self) -> str:
        """The name that signals of this list come under."""
        return f"list:{self.name}"


def read_settings(directory: Path) -> Mapping[str, ListSettings]:
    """The lists of a policy directory, by name; ConfigurationError names file, line and what was expected."""
    if not (directory / SETTINGS_FILE).exists():
        return {}
    root = read_toml(directory / SETTINGS_FILE)
    root.allow_only("lists")
    found = {name: _read(name, table, directory) for name, table in root.table("lists").tables()}
    if len(found) > LISTS_MAX:
        raise root.error(f"expected at most {LISTS_MAX} lists", "lists")
    return found


def _read(name: str, table: Table, directory: Path) -> ListSettings:
    table.allow_only("file", "format", "of", "level", "column")
    if not is_name(name) or len(name) > NAME_MAX_BYTES:
        raise table.error(f"expected a name of 1 to {NAME_MAX_BYTES} characters from A-Z a-z 0-9 . _ : / @ -")
    kind = table.word("format", FORMATS)
    if kind == "stix" and table.has("of"):
        raise table.error("a STIX bundle says itself what it is of: leave this out", "of")
    if kind != "csv" and table.has("column"):
        raise table.error("only CSV has columns: leave this out", "column")
    return ListSettings(
        name=name,
        path=directory / table.text("file", expected="a path"),
        format=kind,
        of="" if kind == "stix" else table.word("of", OF),
        column=table.text("column", expected="a column's name") if kind == "csv" else "",
        level=Level(LEVEL_WORDS.index(table.word("level", LEVEL_WORDS))),
    )
