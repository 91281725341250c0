"""The tables of what becomes of a call, read off docs/policy.md as a reader would."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ztsession.policy.matrix import REFUSED_AT_LOAD, Cell

ROOT = Path(__file__).resolve().parents[2]
Row = dict[str, list[str]]


@dataclass(frozen=True)
class Told:
    """What stands between the markers: by row and column, the words of each cell."""

    holding: list[Row]
    over: list[Row]

    @classmethod
    def read(cls, text: str) -> Told:
        holding, over = (rows(part) for part in text.strip().split("\n\n"))
        return cls(holding, over)

    def said(self, cell: Cell) -> str:
        """The word for a cell, by exactly one row of each table."""
        [after] = [row for row in self.over if cell.stale in row["stale"] and cell.lease in row["lease"]]
        key = {"highest risk": cell.highest_risk, "effect": cell.effect, "permitted": cell.permitted}
        [before] = [row for row in self.holding if all(word in row[column] for column, word in key.items())]
        [above], [word] = before[cell.mode], after[cell.mode]
        return above if word == "as above" or above == REFUSED_AT_LOAD else word


def rows(table: str) -> list[Row]:
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    head, ruler, *body = lines
    assert set(ruler) == {"---"}
    assert all(len(line) == len(head) for line in body)
    columns = [column.strip("`").partition(" (risk")[0] for column in head]
    return [dict(zip(columns, map(words, line), strict=True)) for line in body]


def words(cell: str) -> list[str]:
    return [word.strip("`") for word in cell.split(", ")]


PAGE = (ROOT / "docs/policy.md").read_text("utf-8")
[BETWEEN] = re.findall(r"<!-- matrix:begin -->\n(.*?)<!-- matrix:end -->\n", PAGE, re.S)
TOLD = Told.read(BETWEEN)
said = cache(TOLD.said)


def altered() -> Iterator[tuple[str, str]]:
    """The tables with another word in one of their cells, and which."""
    lines = BETWEEN.split("\n")
    for number, line in enumerate(lines):
        if not line.startswith("|") or line.startswith("|---") or " lease | " in line or "permitted" in line:
            continue
        for column, cell in enumerate(line.split(" | ")):
            other = "OK" if "OK" not in cell else "STALE"
            word = cell.strip("| ").split(", ")[-1]
            changed = line.split(" | ")
            changed[column] = cell.replace(word, other)
            yield "\n".join([*lines[:number], " | ".join(changed), *lines[number + 1 :]]), f"{line}: {word}"
