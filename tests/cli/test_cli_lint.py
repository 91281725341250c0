"""``ztsession policy lint``: findings as lines and as JSON, and its exit status."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ztsession.cli.commands import ztsession
from ztsession.identity.subjects import StoredSubjects, Subject
from ztsession.store.enrolments import SqliteEnrolments
from ztsession.store.sqlite import SqliteStore

CATALOG = """\
version = 1
[segments.orders.operations.submit]
effect = "risk-increasing"
[segments.md.operations.subscribe]
effect = "read"
"""
CLEAN = """\
permit (principal, action in Action::"orders.*", resource) when { principal.roles.contains("trading") };
permit (principal, action in Action::"md.*", resource) when { principal.roles.contains("reading") };
"""
SUBJECTS = """\
[subjects."algo-7"]
kind = "algorithm"
roles = ["trading"]
spiffe_id = "spiffe://firm.example/algo-7"
[subjects."algo-8"]
kind = "algorithm"
roles = ["reading"]
spiffe_id = "spiffe://firm.example/algo-8"
"""


@pytest.fixture
def firm(tmp_path: Path) -> Path:
    """A directory in which there is nothing to find."""
    directory = tmp_path / "clean"
    directory.mkdir()
    (directory / "catalog.toml").write_text(CATALOG)
    (directory / "trading.cedar").write_text(CLEAN)
    (directory / "subjects.toml").write_text(SUBJECTS)
    return directory


def run(*arguments: object) -> Result:
    return CliRunner().invoke(ztsession, ["policy", "lint", *map(str, arguments)])


def test_nothing_to_find_is_status_0(firm: Path):
    """A clean directory prints that nothing was found."""
    ran = run(firm)
    assert (ran.exit_code, ran.stdout) == (0, "findings: 0\n")
    assert json.loads(run(firm, "--json").stdout) == {"findings": []}


def test_findings_are_status_3_with_place_severity_and_kind(firm: Path):
    """A line for each finding begins with its place, as compilers do it, and ends with its kind."""
    (firm / "trading.cedar").write_text(
        CLEAN + "\npermit (principal, action, resource)\nwhen { context.assurance > 3 };\n"
    )
    ran = run(firm)
    assert ran.exit_code == 3
    first, last = ran.stdout.splitlines()
    assert first.startswith("trading.cedar:4: error: this permit never holds: ")
    assert first.endswith("(assurance); correct or delete it [never-holds]")
    assert last == "findings: 1"
    [told] = json.loads(run(firm, "--json").stdout)["findings"]
    assert (told["kind"], told["severity"], told["place"]) == ("never-holds", "error", "trading.cedar:4")
    assert told["text"] in first


def test_kinds_that_are_meant_can_be_left_out_and_errors_cannot(firm: Path):
    """Whoever knows of a path between segments can say so; contradictions and doubts stay."""
    (firm / "trading.cedar").write_text(CLEAN.replace("reading", "trading"))
    ran = run(firm)
    assert ran.exit_code == 3
    assert "md -- orders: notice: trading: alone reaches both" in ran.stdout
    ignored = ("--ignore", "joins-segments", "--ignore", "has-everything")
    assert (run(firm, *ignored).exit_code, run(firm, *ignored).stdout) == (0, "findings: 0\n")
    for kind in ("never-holds", "not-decided", "nonsense"):
        assert run(firm, "--ignore", kind).exit_code == 2


def test_who_is_enrolled_in_a_state_counts_beside_the_file(firm: Path, house: Any):
    """With --state, subjects that were enrolled at run time are known; the file is right where both are."""
    (firm / "subjects.toml").write_text(SUBJECTS.partition('[subjects."algo-8"]')[0])
    assert "md.subscribe: warning: no enrolled subject can be granted it" in run(firm).stdout
    house.authority()
    with SqliteStore(house.state / "authority.sqlite") as store:
        stored = StoredSubjects(SqliteEnrolments(store))
        stored.enrol(Subject("algo-9", "algorithm", ("reading",), "", ("spiffe://firm.example/algo-9",)))
        stored.enrol(Subject("algo-7", "algorithm", ("reading",), "", ("spiffe://firm.example/other",)))
    ran = run(firm, "--state", house.state)
    assert (ran.exit_code, ran.stdout) == (0, "findings: 0\n")


def test_a_directory_that_does_not_load_is_status_1(firm: Path, tmp_path: Path):
    """An error is no finding, and is told as check tells it; nor is wrong usage."""
    (firm / "trading.cedar").write_text("permit (principal, action, resource) when { context.mood };")
    ran = run(firm)
    assert ran.exit_code == 1
    assert "trading.cedar:1" in ran.output
    assert run(tmp_path / "none").exit_code == 2
    (firm / "trading.cedar").write_text(CLEAN)
    assert run(firm, "--state", firm).exit_code == 1
    (firm / "subjects.toml").unlink()
    assert run(firm).exit_code == 1
