"""Lists in plain text and in CSV: one entry a line, and no line that could be read in two ways.

A list that is cut short, was mixed with another or is an error page with a friendly text looks like a shorter
list to a reader that skips what it does not understand. So nothing is skipped but blank lines and comments,
and a line that is no entry refuses the file.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Final

from ztsession.errors import ConfigurationError
from ztsession.risk.threats.entries import Entries

__all__ = ["LINE_MAX_CHARACTERS", "read_csv", "read_text"]

LINE_MAX_CHARACTERS: Final = 4096


def read_text(data: bytes, of: str, *, file: str) -> Entries:
    """Read one entry a line; ``#`` begins a comment, also after an entry.

    ConfigurationError names file, line and what was expected; also for a file without any entry.
    """
    entries = Entries()
    for number, line in _lines(data, file):
        text = line.partition("#")[0].strip()
        if text:
            entries.add_line(of, text, file=file, line=number)
    return _not_empty(entries, file)


def read_csv(data: bytes, of: str, column: str, *, file: str) -> Entries:
    """Read the column of this name of a file (RFC 4180) whose first line is its header; lines that begin with
    ``#`` are comments.

    Every row is one line, with as many fields as the header. ConfigurationError as :func:`read_text`.
    """
    entries, header, at = Entries(), list[str](), 0
    for number, line in _lines(data, file):
        if not line.strip() or line.startswith("#"):
            continue
        row = _row(line, file, number)
        if not header:
            header, at = row, _place(row, column, file, number)
            continue
        if len(row) != len(header):
            raise ConfigurationError(
                f"expected {len(header)} fields, as in the header, not {len(row)}", file=file, line=number
            )
        entries.add_line(of, row[at].strip(), file=file, line=number)
    return _not_empty(entries, file)


def _lines(data: bytes, file: str) -> Iterator[tuple[int, str]]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        at = data.count(b"\n", 0, error.start) + 1
        raise ConfigurationError("expected UTF-8 text", file=file, line=at) from None
    # Not splitlines: what it also takes for the end of a line, the program that wrote the list may not.
    for number, line in enumerate(text.split("\n"), 1):
        if len(line) > LINE_MAX_CHARACTERS:
            raise ConfigurationError(
                f"expected a line of at most {LINE_MAX_CHARACTERS} characters", file=file, line=number
            )
        yield number, line.removesuffix("\r")


def _row(line: str, file: str, number: int) -> list[str]:
    try:
        [row] = csv.reader([line], strict=True)
    except (csv.Error, ValueError):
        raise ConfigurationError("expected one row of CSV on one line", file=file, line=number) from None
    return row


def _place(header: list[str], column: str, file: str, number: int) -> int:
    names = [name.strip() for name in header]
    if names.count(column) != 1:
        raise ConfigurationError(
            f"expected a header with one column {column!a}, not {', '.join(map(ascii, names))[:512]}",
            file=file,
            line=number,
        )
    return names.index(column)


def _not_empty(entries: Entries, file: str) -> Entries:
    # What a download leaves that failed; taking it would withdraw everything that the list has said.
    if not len(entries):
        raise ConfigurationError("expected at least one entry", file=file)
    return entries
