"""Writes the tables of attacks in docs/threat-model.md from the names of the tests: `make attacks`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from attacks import ATTACKS, GROUPS
from pages import ROOT

PAGE = ROOT / "docs/threat-model.md"
BEGIN, END = "<!-- attacks:begin -->\n", "<!-- attacks:end -->\n"

_TEST = re.compile(r"^\s*(?:async )?def (test_\w+)", re.M)
_ID = re.compile(r"(?<=_)([A-Z][0-9]{1,2})(?=_|$)")


def ids_in_names() -> dict[str, list[str]]:
    """Each id that stands in a test's name, and the tests (file::name) whose name it is in."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        where = path.relative_to(ROOT)
        for name in _TEST.findall(path.read_text("utf-8")):
            for attack in _ID.findall(name):
                found.setdefault(attack, []).append(f"{where}::{name}")
    return found


def tables() -> str:
    """The text between the markers."""
    tested = ids_in_names()
    parts = []
    for letter, title in GROUPS.items():
        ids = [attack for attack in ATTACKS if attack[0] == letter]
        rows = [
            f"| {attack} | {ATTACKS[attack]} | {'<br>'.join(f'`{t}`' for t in tested[attack])} |"
            for attack in ids
            if attack in tested
        ]
        missing = [f"{attack} ({ATTACKS[attack]})" for attack in ids if attack not in tested]
        if rows:
            parts.append(
                "\n".join([f"### {title}\n", "| id | attack | test |", "|---|---|---|", *rows]) + "\n"
            )
        else:
            parts.append(f"### {title}\n")
        if missing:
            parts.append(f"No test of its own yet: {'; '.join(missing)}.\n")
    return "\n" + "\n".join(parts) + "\n"


def written() -> str:
    """What stands between the markers now."""
    return PAGE.read_text("utf-8").split(BEGIN)[1].split(END)[0]


def write() -> None:
    """Put the tables of today between the markers."""
    head, rest = PAGE.read_text("utf-8").split(BEGIN)
    PAGE.write_text(head + BEGIN + tables() + END + rest.split(END)[1], "utf-8")


if __name__ == "__main__":
    write()
