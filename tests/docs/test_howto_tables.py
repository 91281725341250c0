"""The tables of the operator's pages say what the code says: commands, events and limits."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

import pytest
from pages import ROOT, blocks, quoted, table

from ztsession.errors import Denied
from ztsession.mfa.throttle import FAILURES_MAX, FREE_FAILURES

HOWTO = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs/howto").glob("*.md"))


# ---- docs/operations.md


def recorded() -> Iterator[tuple[str, set[str]]]:
    """Every event that the package writes to the audit log, with the names of its fields; the demo's services
    have events of their own.
    """
    paths = sorted((ROOT / "ztsession").rglob("*.py"))
    for path in (each for each in paths if each.parent.name != "demo"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
                first, fields = node.args[0], {each.arg for each in node.keywords if each.arg}
                if node.func.attr == "record_all":
                    fields = {
                        str(ast.literal_eval(key))
                        for each in ast.walk(node)
                        if isinstance(each, ast.Dict)
                        for key in each.keys
                        if key is not None
                    }
                if not node.func.attr.startswith("record") or not fields:
                    continue
                if isinstance(first, ast.Constant):
                    yield str(first.value), fields
                elif isinstance(first, ast.JoinedStr):
                    start = first.values[0]
                    assert isinstance(start, ast.Constant)
                    yield str(start.value) + "*", fields


def test_the_audit_events_are_all_told() -> None:
    """The table of events has each that is written, with its fields, and none besides."""
    told = {quoted(row[0])[0]: set(quoted(row[1])) for row in table("docs/operations.md", "event", "fields")}
    told["signal"] -= {"subject", "device", "session", "network"}  # one of them, named by what was hit
    steps = {name: told.pop(name) for name in list(told) if re.fullmatch(r"rotation\.segment\.\w+ed", name)}
    assert set(map(frozenset, steps.values())) == {frozenset({"segment", "id"})}
    written = dict(recorded())
    assert written.pop("rotation.segment.*") == written.pop("rotation.segment.retired") == {"segment", "id"}
    assert told == written


def commands() -> Iterator[tuple[str, Any]]:
    """Every command of the command line by its words."""
    click = pytest.importorskip("click", reason="the command line needs ztsession[cli]")
    from ztsession.cli.commands import ztsession

    def below(words: str, command: Any) -> Iterator[tuple[str, Any]]:
        if isinstance(command, click.Group):
            for name, each in command.commands.items():
                yield from below(f"{words} {name}", each)
        else:
            yield words, command

    yield from below("ztsession", ztsession)


def test_the_commands_are_all_told() -> None:
    """The table of commands has each that there is, with every option that must be given."""
    page = (ROOT / "docs/operations.md").read_text("utf-8")
    told = re.findall(r"^\| `(ztsession [^`]+)` \|", page, re.M)
    for words, command in commands():
        rows = [row for row in told if row == words or row.startswith(f"{words} ")]
        assert len(rows) == 1, f"{words}: {rows}"
        needed = {each.opts[0] for each in command.params if each.required and each.opts[0].startswith("--")}
        shown = set(re.findall(r"--[a-z-]+", rows[0]))
        assert needed <= shown <= {opt for each in command.params for opt in each.opts}, words
        told.remove(rows[0])
    assert told == []


def test_commands_that_are_shown_and_not_run_are_understood() -> None:
    """Lines that start a server or ask a person are at least parsed by the command line itself."""
    lines = [
        line
        for page in [*HOWTO, "docs/operations.md"]
        for block in blocks(page)
        if block.kind == "sh"
        for line in block.text.splitlines()
    ]
    known = dict(commands())
    assert lines != []
    for line in lines:
        [words] = [words for words in known if line == words or line.startswith(f"{words} ")]
        arguments = line.removeprefix(words).split()
        known[words].make_context(words, arguments, resilient_parsing=True)
        unknown = set(re.findall(r"--[a-z-]+", line)) - {o for each in known[words].params for o in each.opts}
        assert unknown == set(), line


def test_the_guess_limits_are_those_in_force() -> None:
    """The page on second factors counts as the throttle does."""
    counts = [row[0] for row in table("docs/howto/second-factors.md", "wrong codes in a row", "what happens")]
    assert counts == [f"1 to {FREE_FAILURES - 1}", f"{FREE_FAILURES} and more", str(FAILURES_MAX)]


def test_what_helps_against_each_verdict_is_told() -> None:
    """The page on refusals has every verdict that a client can do something about, with the same word."""
    rows = table("docs/howto/re-authentication.md", "verdict", "`helps`", "what a guarded call does")
    helps = {kind.verdict: [kind.helps] for kind in Denied.__subclasses__() if kind.helps}
    assert {row[0]: quoted(row[1]) for row in rows} == helps
