"""Writes the table of events of others in docs/continuous-verification.md by what the code makes of them."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from pages import ROOT

from ztsession.risk.ssf.events import EVENTS, TABLE, Meaning
from ztsession.risk.ssf.names import RISC

PAGE = ROOT / "docs/continuous-verification.md"
BEGIN, END = "<!-- events:begin -->\n", "<!-- events:end -->\n"
HEAD = "| | event | when | signal | level | against |\n|---|---|---|---|---|---|\n"


def written() -> str:
    """What stands between the markers now."""
    return PAGE.read_text("utf-8").split(BEGIN)[1].split(END)[0]


def generated() -> str:
    """What stands there by the code of today."""
    return "\n" + HEAD + "".join(map(_row, TABLE)) + "\n"


def write() -> None:
    """Put it between the markers."""
    head, rest = PAGE.read_text("utf-8").split(BEGIN)
    PAGE.write_text(head + BEGIN + generated() + END + rest.split(END)[1], "utf-8")


def _row(row: Meaning) -> str:
    of = "RISC" if EVENTS[row.event].startswith(RISC) else "CAEP"
    when = ", ".join(f"`{name}` is `{value}`" for name, value in row.when.items())
    level = "taken back" if row.withdraws else row.level.name
    return f"| {of} | `{row.event}` | {when} | `{row.kind}` | {level} | {row.against} |\n"


if __name__ == "__main__":
    write()
