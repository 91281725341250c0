"""The tables of the operator's pages say what the code says: commands, events, items, claims and levels."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from howto_steps import write
from pages import ROOT, blocks

from ztsession.authority.assurance import assurance_of
from ztsession.identity.protocol import VerifiedIdentity
from ztsession.mfa.protocol import FactorShown
from ztsession.mfa.throttle import FAILURES_MAX, FREE_FAILURES
from ztsession.posture.appraisal import Appraisal
from ztsession.posture.items import ITEMS
from ztsession.posture.trust import TRUST_ROWS

HOWTO = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs/howto").glob("*.md"))


def table(page: str, *heads: str) -> list[list[str]]:
    """The cells of the page's one table with these heads."""
    text = (ROOT / page).read_text("utf-8")
    [found] = re.findall(rf"^\| {re.escape(' | '.join(heads))} \|\n.*?\n((?:\|.*\n)+)", text, re.M)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in found.splitlines()]


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


# ---- docs/policy.md


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """The policy directory of the page, with the two root files that it names."""
    sys.path.append(str(ROOT / "tests/identity"))
    from x509_makers import Issuer

    files = {block.caption: block.text for block in blocks("docs/tutorial.md") if block.caption}
    files |= {block.caption: block.text for block in blocks("docs/policy.md") if block.caption}
    for name, text in files.items():
        write(str(tmp_path / name), text)
    for name in ("roots", "partner"):
        (tmp_path / f"policy/{name}.pem").write_bytes(Issuer.root(name).pem)
    return tmp_path / "policy"


def test_the_examples_of_the_policy_page_load_together(rules: Path) -> None:
    """An Authority takes all files as the page shows them, and each of them is really read."""
    pytest.importorskip("cedarpy", reason="policies need ztsession[authority]")
    pytest.importorskip("httpx", reason="jwks_url needs ztsession[http]")
    from ztsession.authority.rules import read_rules
    from ztsession.errors import ConfigurationError

    read_rules(rules)
    for name in ("subjects", "devices", "identity", "mfa"):
        path = rules / f"{name}.toml"
        kept = path.read_text()
        path.write_text(f"strange = true\n{kept}")
        with pytest.raises(ConfigurationError, match="strange"):
            read_rules(rules)
        path.write_text(kept)


def test_the_policy_page_has_every_item_and_claim() -> None:
    """The tables of posture items and of trust claims are those that appraisals are made by."""
    items = [row[0].strip("`") for row in table("docs/policy.md", "item", "good when", "measured by")]
    assert tuple(items) == ITEMS
    claims = table("docs/policy.md", "claim", "affirming when these are good")
    told = {
        claim.strip("`"): tuple(
            tuple(quoted(alternative)) for alternative in re.split(", or ", told) if quoted(alternative)
        )
        for claim, told in claims
    }
    assert told == dict(TRUST_ROWS)


def test_the_levels_of_the_policy_page_are_those_that_are_computed() -> None:
    """Each row of the table of assurance is what comes out for such evidence."""

    def level(kind: Any, shown: int = 1, device: str = "", factor: int = 0, **vector: str) -> int:
        identity = VerifiedIdentity("x", kind, (), "", shown)
        given = FactorShown("any", factor) if factor else None
        return assurance_of(identity, Appraisal(vector, device), given)

    computed = [level("human", device="host-1", hardware="good"), level("human", 3), level("human", factor=2)]
    computed += [level("human", factor=3), level("algorithm"), level("service", device="host-1")]
    computed += [level("algorithm", device="host-1", hardware="good")]
    said = [row[2] for row in table("docs/policy.md", "who", "shows", "level")]
    assert [int(each) if each.isdigit() else 3 for each in said] == computed
    assert said[1] == "what `assurance` says of its `acr`, else 1"


# ---- docs/operations.md


def recorded() -> Iterator[tuple[str, set[str]]]:
    """Every event that the package writes to the audit log, with the names of its fields."""
    for path in sorted((ROOT / "ztsession").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
                first, fields = node.args[0], {each.arg for each in node.keywords if each.arg}
                if node.func.attr != "record" or not fields:
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
    told["signal"] -= {"subject", "device", "session"}  # one of them, named by what was hit
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
