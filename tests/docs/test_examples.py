"""What the README and the tutorial show is what happens."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from pages import ROOT, blocks, run

README_LINES_MAX = 15


def test_readme_example_prints_what_the_readme_says(tmp_path: Path) -> None:
    """The README's first example, run as written in a fresh process, prints the text that follows it."""
    example, printed = next(pair for pair in pairwise(blocks("README.md")) if pair[0].kind == "python")
    assert printed.kind == "text"
    done = run(example.text, tmp_path)
    assert (done.stdout, done.stderr, done.returncode) == (printed.text, "", 0)
    assert len([line for line in example.text.splitlines() if line]) <= README_LINES_MAX


def test_readme_opens_with_the_two_commands() -> None:
    """The first things that the README shows are the demo and the tests, and the Makefile has both."""
    readme, makefile = (ROOT / "README.md").read_text(), (ROOT / "Makefile").read_text()
    commands = [line.split() for line in readme.splitlines() if line.startswith("    ")][:2]
    assert [words[:2] for words in commands] == [["make", "demo"], ["make", "test"]]
    assert "\ndemo:" in makefile
    assert "\ntest:" in makefile


def test_tutorial_runs_as_written(tmp_path: Path) -> None:
    """The tutorial's files and code, taken in order into one fresh process, print what the tutorial shows."""
    pytest.importorskip("cedarpy", reason="the tutorial runs an Authority: install ztsession[authority]")
    page = blocks("docs/tutorial.md")
    for file in (block for block in page if block.caption):
        (tmp_path / file.caption).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file.caption).write_text(file.text)
    program = "\n".join(block.text for block in page if block.kind == "python" and not block.caption)
    done = run(program, tmp_path)
    expected = "".join(block.text for block in page if block.kind == "text" and not block.caption)
    assert done.returncode == 0, done.stderr
    assert done.stdout == expected
    # A point that loses its Authority while everything closes says so; nothing else may be said.
    assert "Traceback" not in done.stderr
