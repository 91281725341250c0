"""``ztsession policy simulate`` and ``graph``, with logs and states of a real Authority."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ztsession.cli.commands import ztsession


def run(*arguments: object) -> Result:
    return CliRunner().invoke(ztsession, ["policy", *map(str, arguments)])


@pytest.fixture
def firm(house: Any) -> Any:
    """A house with two sessions in its log and state; ``house.new`` is a copy of its policies, to edit."""
    authority = house.authority()
    house.authority_open = authority
    house.connect(authority)
    house.connect(authority)
    house.new = house.rules.parent / "new"
    shutil.copytree(house.rules, house.new)
    return house


def ease(directory: Path) -> None:
    """Let block-trade run at assurance 2: a gain."""
    file = directory / "catalog.toml"
    file.write_text(file.read_text().replace("assurance = 3", "assurance = 2"))


def tighten(directory: Path) -> None:
    """Take market data from the desk's algorithms: a loss."""
    file = directory / "trading.cedar"
    file.write_text(file.read_text().replace('[Action::"orders.*", Action::"md.*"]', 'Action::"orders.*"'))


@pytest.mark.parametrize(
    ("edits", "fail_on", "status"),
    [
        ([], "change", 0),
        ([ease], "change", 3),
        ([ease], "gain", 3),
        ([ease], "loss", 0),
        ([tighten], "change", 4),
        ([tighten], "loss", 4),
        ([tighten], "gain", 0),
        ([ease, tighten], "change", 5),
        ([ease, tighten], "gain", 3),
        ([ease, tighten], "loss", 4),
        ([ease, tighten], "never", 0),
    ],
)
def test_the_exit_status_is_for_a_gate(firm: Any, edits: list[Any], fail_on: str, status: int):
    """0, 3, 4 and 5 say what changes of what is asked for; from a log, a running state, and an old policy."""
    for edit in edits:
        edit(firm.new)
    log, state = ("--audit", firm.state / "audit.jsonl"), ("--state", firm.state)
    for given in (
        log,
        state,
        (*log, *state),
        (*log, "--against", firm.rules),
        (*state, "--against", firm.rules),
    ):
        assert run("simulate", firm.new, *given, "--fail-on", fail_on).exit_code == status
    # What counts by default is any change.
    if fail_on == "change":
        assert run("simulate", firm.new, *log).exit_code == status


def test_the_json_holds_all_that_is_told(firm: Any):
    """Every difference with its reason and number of sessions, and what was read and left out."""
    ease(firm.new)
    tighten(firm.new)
    log = firm.state / "audit.jsonl"
    with log.open("ab") as file:
        file.write(b"torn\n")
    ran = run("simulate", firm.new, "--audit", log, "--json")
    told = json.loads(ran.stdout)
    assert told == {
        "sessions": 2,
        "cases": 1,
        "broken": 1,
        "older": 0,
        "gains": [
            {
                "subject": "algo-7",
                "operation": "orders.block-trade",
                "before": "step-up",
                "after": "NORMAL",
                "because": "permitted by trading.cedar:2",
                "sessions": 2,
            }
        ],
        "losses": [
            {
                "subject": "algo-7",
                "operation": f"md.{name}",
                "before": "RESTRICTED",
                "after": "nothing",
                "because": "no policy permits it",
                "sessions": 2,
            }
            for name in ("snapshot", "subscribe")
        ],
        "failures": [],
    }
    assert (
        run("simulate", firm.new, "--audit", log, "--audit", log, "--json").stdout.count('"sessions": 4') == 4
    )


def test_the_table_says_who_gains_and_who_loses(firm: Any):
    """One row a difference, then how much was looked at and what was left out, whatever is in the names."""
    ease(firm.new)
    tighten(firm.new)
    (firm.state / "more.jsonl").write_bytes(b"torn\n")
    ran = run(
        "simulate", firm.new, "--audit", firm.state / "audit.jsonl", "--audit", firm.state / "more.jsonl"
    )
    rows = [line for line in ran.stdout.splitlines() if "gains" in line or "loses" in line]
    assert [("gains" in row, "loses" in row) for row in rows] == [(False, True), (False, True), (True, False)]
    assert "algo-7" in rows[0]
    assert all(
        word in rows[2] for word in ("orders.block-trade", "step-up", "NORMAL", "trading.cedar:2", "2")
    )
    assert ran.stdout.endswith(
        "sessions: 2, of 1 different cases\nsubjects: 1 gain, 1 lose\n"
        "left out: 1 broken, 0 of an older version\n"
    )


def test_what_could_not_be_asked_is_a_loss_and_told(firm: Any):
    """Policies that cannot answer are told, and fail the gate that watches over losses."""
    file = firm.new / "catalog.toml"
    file.write_text(file.read_text().replace('environment = "prod"', 'environment = "test"'))
    ran = run("simulate", firm.new, "--audit", firm.state / "audit.jsonl")
    assert ran.exit_code == 4
    assert "algo-7: new policies could not be asked: segments of several environments" in ran.stdout
    old = run("simulate", firm.rules, "--audit", firm.state / "audit.jsonl", "--against", firm.new)
    assert (old.exit_code, "old policies could not be asked" in old.stdout) == (3, True)


def test_who_is_no_longer_enrolled_is_told(firm: Any):
    """A subject that the new directory leaves out loses its live session; a log stays as it was."""
    (firm.new / "subjects.toml").write_text("")
    ran = run("simulate", firm.new, "--state", firm.state, "--json")
    assert ran.exit_code == 4
    assert {each["because"] for each in json.loads(ran.stdout)["losses"]} == {
        "not enrolled with this credential"
    }
    assert run("simulate", firm.new, "--audit", firm.state / "audit.jsonl").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["{new}"], 2, "--audit, --state or both"),
        (["{new}", "--state", "{none}"], 2, "does not exist"),
        (["{new}", "--audit", "{none}"], 2, "does not exist"),
        (["{new}", "--audit", "{log}", "--fail-on", "anything"], 2, "'gain', 'loss', 'change', 'never'"),
        (["{new}", "--state", "{new}"], 1, "expected the state of an Authority"),
        (["{state}", "--audit", "{log}"], 1, "catalog.toml"),
        (["{new}", "--audit", "{log}", "--against", "{state}"], 1, "catalog.toml"),
    ],
)
def test_wrong_usage_and_errors_are_told_apart_from_findings(
    firm: Any, arguments: list[str], status: int, says: str
):
    """1 is an error and 2 wrong usage: a gate must not take either for an answer."""
    places = {
        "new": firm.new,
        "none": firm.new / "none",
        "state": firm.state,
        "log": firm.state / "audit.jsonl",
    }
    ran = run("simulate", *(argument.format(**places) for argument in arguments))
    assert ran.exit_code == status
    assert says in ran.output


# ---- graph


def test_the_graph_goes_to_files_and_to_standard_output(firm: Any, tmp_path: Path):
    """The flowchart is printed or written, the picture drawn, and both at once if asked."""
    pytest.importorskip("matplotlib")
    ran = run("graph", firm.new, "--mermaid", "-")
    assert ran.exit_code == 0
    assert ran.stdout.startswith("flowchart LR\n")
    assert '|"any human, trading"|' in ran.stdout
    both = run("graph", firm.new, "--mermaid", tmp_path / "g.mmd", "--png", tmp_path / "g.png")
    assert (both.exit_code, both.stdout) == (0, "")
    assert (tmp_path / "g.mmd").read_text() == ran.stdout
    assert (tmp_path / "g.png").read_bytes().startswith(b"\x89PNG")


def test_the_graph_fails_with_one_sentence(firm: Any, tmp_path: Path):
    """Without a place to write to it is wrong usage; a place that cannot be written is an error."""
    assert run("graph", firm.new).exit_code == 2
    for option in ("--mermaid", "--png"):
        ran = run("graph", firm.new, option, tmp_path / "none" / "g")
        assert (ran.exit_code, "cannot be written" in ran.output) == (1, True)
    assert run("graph", firm.state, "--mermaid", "-").exit_code == 1
