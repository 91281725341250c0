"""Writes the table of kinds of signals in docs/continuous-verification.md by what is built in."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from pages import ROOT

from ztsession.risk.kinds import DEFAULT_KINDS, Kind

PAGE = ROOT / "docs/continuous-verification.md"
BEGIN, END = "<!-- kinds:begin -->\n", "<!-- kinds:end -->\n"
HEAD = "| kind | LOW | MEDIUM | HIGH | CRITICAL | answered by | half-life | cap |\n" + "|---" * 8 + "|\n"
ANSWERED = {
    "posture": "fresh posture",
    "factor": "a second factor",
    "everything": "everything anew",
    "nothing": "its source, an operator",
}


def written() -> str:
    """What stands between the markers now."""
    return PAGE.read_text("utf-8").split(BEGIN)[1].split(END)[0]


def generated() -> str:
    """What stands there by the code of today."""
    return "\n" + HEAD + "".join(_row(name, kind) for name, kind in DEFAULT_KINDS.items()) + "\n"


def write() -> None:
    """Put it between the markers."""
    head, rest = PAGE.read_text("utf-8").split(BEGIN)
    PAGE.write_text(head + BEGIN + generated() + END + rest.split(END)[1], "utf-8")


def _row(name: str, kind: Kind) -> str:
    actions = " | ".join(action.word for action in kind.actions)
    hours = f"{kind.half_life_s // 3600} h"
    return f"| `{name}` | {actions} | {ANSWERED[kind.answered_by]} | {hours} | {kind.cap} |\n"


if __name__ == "__main__":
    write()
