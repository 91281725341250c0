"""``ztsession risk``: what was decided, decided again from the log of a real Authority."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import ztsession as zts
from ztsession.cli.commands import ztsession


def run(*arguments: object) -> Result:
    return CliRunner().invoke(ztsession, ["risk", *map(str, arguments)])


@pytest.fixture
def firm(house: Any) -> Any:
    """A house whose log tells of a session that was restricted and then suspended."""
    authority = house.authority()
    house.session = house.connect(authority).id.hex()
    for number, level in enumerate((zts.Level.MEDIUM, zts.Level.HIGH)):
        authority.signal(zts.Signal(f"s-{number}", "threat", level, "feed", time.time(), subject="algo-7"))
    authority.close()
    house.log = house.state / "audit.jsonl"
    return house


def entries(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_a_replay_that_agrees_says_what_it_looked_at(firm: Any) -> None:
    """Status 0, and the numbers of what was compared; what is no entry is left out."""
    with firm.log.open("ab") as log:
        log.write(b"no entry\n" + b"x" * 70_000 + b'\n{"n": 9, "event": "signal"}\n' + b"torn")
    done = run("replay", firm.rules, firm.log)
    assert (done.exit_code, done.output) == (
        0,
        "2 signals, 2 modes, 0 of them differ; 1 entries tell too little\n",
    )


def test_a_log_may_be_in_several_files(firm: Any) -> None:
    """The oldest first, they are one log; a part without its beginning differs."""
    first, second = firm.rules.parent / "first", firm.rules.parent / "second"
    lines = firm.log.read_bytes().splitlines(keepends=True)
    first.write_bytes(b"".join(lines[:2]))
    second.write_bytes(b"".join(lines[2:]))
    assert run("replay", firm.rules, first, second).output == "2 signals, 2 modes, 0 of them differ\n"
    assert run("replay", firm.rules, second).exit_code == 3


def test_differences_are_told_one_by_one_and_then_counted(firm: Any) -> None:
    """Status 3; twenty are shown, with what was recorded and what it should have been."""
    lines = firm.log.read_text().splitlines(keepends=True)
    modes = [line for line in lines if '"event":"session.mode"' in line]
    firm.log.write_text("".join(lines) + modes[0])
    done = run("replay", firm.rules, firm.log)
    n = json.loads(modes[0])["n"]
    assert (done.exit_code, done.output.splitlines()) == (
        3,
        [
            f"entry {n}: session {firm.session} recorded RESTRICTED, replayed SUSPENDED",
            "2 signals, 3 modes, 1 of them differ",
        ],
    )
    for count, more in ((20, []), (21, ["and 1 more"])):
        firm.log.write_text(modes[0] * count)
        told = run("replay", firm.rules, firm.log).output.splitlines()
        unknown = f"entry {n}: session {firm.session} recorded RESTRICTED, replayed not known"
        assert told[:20] == [unknown] * 20
        assert told[20:] == [*more, f"0 signals, {count} modes, {count} of them differ"]


def test_why_a_session_was_in_its_mode_then_and_at_the_end(firm: Any) -> None:
    """The sentence is that of the Authority, at the entry that is named, or after the last."""
    then = next(entry["n"] for entry in entries(firm.log) if entry["event"] == "session.mode")
    asked = ("explain", firm.rules, firm.log, "--session", firm.session)
    assert run(*asked).output.startswith("HIGH because threat of subject algo-7 from feed (signal s-1)")
    assert run(*asked, "--entry", then).output.startswith("MEDIUM because threat of subject algo-7")
    signal = next(entry["n"] for entry in entries(firm.log) if entry["event"] == "signal")
    assert run(*asked, "--entry", signal).output.startswith("MEDIUM because")
    assert run(*asked, "--entry", signal - 1).output == "LOW because no signal is unresolved\n"


@pytest.mark.parametrize(
    ("session", "status", "told"),
    [("zz", 2, "expected 32 digits of hexadecimal"), ("00" * 16, 1, "tells of no live session of this id")],
)
def test_a_session_that_there_is_not_is_told(firm: Any, session: str, status: int, told: str) -> None:
    """A slip and a session that is over are an error and no answer."""
    done = run("explain", firm.rules, firm.log, "--session", session)
    assert done.exit_code == status
    assert told in done.output


def test_what_cannot_be_read_is_told_with_its_place(firm: Any) -> None:
    """A file of rules that does not load, and a log that may not be read, end it with status 1."""
    (firm.rules / "risk.toml").write_text("[kinds.threat]\ncap = -1\n")
    done = run("replay", firm.rules, firm.log)
    assert (done.exit_code, "risk.toml:2" in done.output) == (1, True)
