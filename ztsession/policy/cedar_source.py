"""Cedar text cut into single statements, each with the line that it starts on.

The evaluator's complaints carry no positions and its policy names are mere counters. Parsing statement by
statement lets every error, and every decision in the audit log, be traced to a line in a file. Cutting needs
to know only three things about Cedar: strings, ``//`` comments, and that a statement ends with ``;``.

How deep a statement can be nested is bounded here, before anything parses it: Cedar's parser recurses, and
when it runs out of stack it ends the process and not only the reading.

Outside comments the text must be ASCII, and no text may contain invisible direction marks: a policy that
reads one way to a reviewer and another to the machine is an attack (CVE-2021-42574).
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Final

from ztsession.errors import PolicyError

__all__ = ["DEPTH_MAX", "LINKS_MAX", "Statement", "statements"]

#: Brackets within each other.
DEPTH_MAX: Final = 64
#: Brackets and operators in one statement: also without brackets it is nested no deeper than that.
LINKS_MAX: Final = 500

_TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*|;|[^";/]+|.', re.DOTALL)
_LINK = re.compile(r"[][(){}.+*-]|&&|\|\||\bif\b")


@dataclass(frozen=True, slots=True)
class Statement:
    """One policy: its text without surrounding space, its file and 1-based first line."""

    file: str
    line: int
    text: str

    @property
    def place(self) -> str:
        """``file:line``, as errors and explanations name it."""
        return f"{self.file}:{self.line}"

    def line_of(self, word: str) -> int:
        """The line on which ``word`` first stands in this statement, else its first line."""
        at = re.search(rf"(?<![A-Za-z0-9_]){re.escape(word)}(?![A-Za-z0-9_])", self.text) if word else None
        return self.line + (self.text.count("\n", 0, at.start()) if at else 0)


def statements(file: str, text: str) -> list[Statement]:
    """Cut ``text``; raises PolicyError naming file and line for characters that policies may not hold."""
    found: list[Statement] = []
    line = 1
    start, parts = 0, list[str]()
    for match in _TOKEN.finditer(text):
        piece = match.group()
        comment = piece.startswith("//")
        _check_characters(file, line, piece, comment=comment)
        if not comment and (parts or piece.strip()):
            if not parts:
                start = line + piece[: len(piece) - len(piece.lstrip())].count("\n")
                piece = piece.lstrip()
            parts.append(piece)
            if piece == ";":
                found.append(Statement(file, start, "".join(parts)))
                parts = []
        line += match.group().count("\n")
    if parts:
        found.append(Statement(file, start, "".join(parts).rstrip()))
    for statement in found:
        _check_nesting(statement)
    return found


def _check_nesting(statement: Statement) -> None:
    depth = links = 0
    for piece in _TOKEN.findall(statement.text):
        for link in () if piece.startswith('"') else _LINK.findall(piece):
            closing = link in ")]}"
            links += not closing
            depth += (link in "([{") - closing
            if depth > DEPTH_MAX or links > LINKS_MAX:
                message = (
                    f"expected at most {LINKS_MAX} brackets and operators in one policy, and no more than "
                    f"{DEPTH_MAX} brackets within each other"
                )
                raise PolicyError(message, file=statement.file, line=statement.line)


def _check_characters(file: str, line: int, piece: str, *, comment: bool) -> None:
    for character in piece:
        hidden = unicodedata.category(character) in ("Cf", "Cc") and character not in "\t\r\n"
        if hidden or (not comment and not character.isascii()):
            where = line + piece.count("\n", 0, piece.index(character))
            message = f"unexpected character U+{ord(character):04X}; expected ASCII outside comments"
            raise PolicyError(message, file=file, line=where)
