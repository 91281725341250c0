"""Reads what the documentation shows: examples, what they print, and the files that they need."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_BLOCK = re.compile(
    r"^```(?P<kind>[^\n`]*)\n(?P<options>(?::[a-z-]+:[^\n]*\n)*)\n?(?P<text>.*?)^```$", re.M | re.S
)


@dataclass(frozen=True)
class Block:
    """One fenced block; ``caption`` names the file that it is, or is empty."""

    kind: str
    caption: str
    text: str


def blocks(page: str) -> list[Block]:
    """Every fenced block of a page, in order."""
    text = (ROOT / page).read_text("utf-8")
    return [
        Block(m["kind"].removeprefix("{code-block}").strip(), _caption(m["options"]), m["text"])
        for m in _BLOCK.finditer(text)
    ]


def _caption(options: str) -> str:
    found = re.search(r"^:caption: (.+)$", options, re.M)
    return found.group(1) if found else ""


def tables(page: str, *heads: str) -> list[list[list[str]]]:
    """The cells of each table of the page with these heads."""
    text = (ROOT / page).read_text("utf-8")
    found = re.findall(rf"^\| {re.escape(' | '.join(heads))} \|\n.*?\n((?:\|.*\n)+)", text, re.M)
    return [
        [[cell.strip() for cell in line.strip("|").split("|")] for line in rows.splitlines()]
        for rows in found
    ]


def table(page: str, *heads: str) -> list[list[str]]:
    """The cells of the page's one table with these heads."""
    [found] = tables(page, *heads)
    return found


def quoted(cell: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def run(program: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run a program in a fresh interpreter, in ``directory``."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
