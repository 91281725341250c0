"""Where in a TOML text a table or key was written, so that an error can point at it.

An operator who is told "max_age_ms is wrong" in a file of forty operations will fix the wrong one. The
standard parser keeps no positions, so this reads the text a second time, for its line numbers alone: nothing
that is decided depends on it, and where it finds nothing the nearest enclosing table is named.
"""

from __future__ import annotations

import re

__all__ = ["line_of"]

_HEADER = re.compile(r"^\s*\[{1,2}\s*([^\]]+?)\s*\]{1,2}\s*(?:#.*)?$")
_KEY = re.compile(
    r"""^\s*((?:"[^"]*"|'[^']*'|[A-Za-z0-9_-]+)(?:\s*\.\s*(?:"[^"]*"|'[^']*'|[A-Za-z0-9_-]+))*)\s*="""
)
_PART = re.compile(r""""([^"]*)"|'([^']*)'|([A-Za-z0-9_-]+)""")


def line_of(text: str, *path: str) -> int:
    """Give the 1-based line that declares ``path``, or its nearest enclosing table, or 1."""
    places = _places(text)
    for length in range(len(path), 0, -1):
        found = places.get(path[:length])
        if found is not None:
            return found
    return 1


def _places(text: str) -> dict[tuple[str, ...], int]:
    places: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), start=1):
        header = _HEADER.match(line)
        key = None if header else _KEY.match(line)
        if header:
            table = _parts(header.group(1))
            _note(places, table, number)
        elif key:
            _note(places, table + _parts(key.group(1)), number)
    return places


def _note(places: dict[tuple[str, ...], int], path: tuple[str, ...], number: int) -> None:
    for length in range(1, len(path) + 1):
        places.setdefault(path[:length], number)
    # A table's own header says more than the first child that happened to imply it.
    places[path] = number


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(a or b or c for a, b, c in _PART.findall(dotted))
