"""Writes the tables of what becomes of a call in docs/policy.md by ztsession.policy.matrix: `make matrix`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from pages import ROOT

from ztsession.policy.matrix import tables

PAGE = ROOT / "docs/policy.md"
BEGIN, END = "<!-- matrix:begin -->\n", "<!-- matrix:end -->\n"


def written() -> str:
    """What stands between the markers now."""
    return PAGE.read_text("utf-8").split(BEGIN)[1].split(END)[0]


def generated() -> str:
    """What `make matrix` puts there."""
    return f"\n{tables()}\n"


def write() -> None:
    """Put the tables of today between the markers."""
    head, rest = PAGE.read_text("utf-8").split(BEGIN)
    PAGE.write_text(head + BEGIN + generated() + END + rest.split(END)[1], "utf-8")


if __name__ == "__main__":
    write()
