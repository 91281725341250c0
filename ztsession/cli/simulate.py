"""``ztsession policy simulate``: who would gain and who would lose by new policies, before they are in force.

Made for a gate in front of a merge: what was recorded goes in, and the exit status says whether anything
changes in a direction that must not pass unseen.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ztsession.cli.failing import telling
from ztsession.cli.state import SUBJECTS_FILE, reading

if TYPE_CHECKING:
    from ztsession.authority.recorded import Tally
    from ztsession.identity.subjects import SubjectRegistry
    from ztsession.policy.simulate import Difference, Recorded, Simulation
    from ztsession.store.sqlite import SqliteStore

__all__ = ["simulate"]

_DIRECTORY = click.Path(exists=True, file_okay=False, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_GAINS: Final = 3
_LOSSES: Final = 4
_BOTH: Final = 5
_PLAIN_WIDTH: Final = 140


@click.command()
@click.argument("directory", type=_DIRECTORY)
@click.option("--against", type=_DIRECTORY, help="Compare with this directory's answers, not with the past.")
@click.option("--audit", type=_FILE, multiple=True, help="An audit log; may be given again.")
@click.option("--state", type=_DIRECTORY, help="An Authority's state directory, for the sessions that live.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--fail-on",
    type=click.Choice(["gain", "loss", "change", "never"]),
    default="change",
    show_default=True,
    help="What makes the exit status other than 0.",
)
def simulate(
    directory: Path,
    against: Path | None,
    audit: tuple[Path, ...],
    state: Path | None,
    as_json: bool,
    fail_on: str,
) -> None:
    """Put sessions of audit logs, and those that live, to the policies in DIRECTORY.

    Exit status: 0 nothing that --fail-on names, 3 gains, 4 losses, 5 both; 1 for errors, 2 for wrong usage.
    """
    if not audit and state is None:
        raise click.UsageError("expected --audit, --state or both: there is nothing to simulate with")
    from ztsession.authority.recorded import Tally
    from ztsession.policy.engine import PolicyEngine
    from ztsession.policy.simulate import simulate as simulated

    tally = Tally()
    with telling():
        new = PolicyEngine(directory).current
        old = PolicyEngine(against).current if against else None
        result = simulated(new, _sessions(directory, against, audit, state, tally), old)
    click.echo(_as_json(result, tally) if as_json else _as_text(result, tally), nl=False)
    raise SystemExit(_status(result, fail_on))


def _sessions(
    directory: Path, against: Path | None, audit: tuple[Path, ...], state: Path | None, tally: Tally
) -> Iterator[Recorded]:
    from ztsession.authority.recorded import live_sessions, logged_sessions

    yield from logged_sessions(audit, tally)
    if state is None:
        return
    with reading(state) as store:
        now = time.time()
        before = _subjects(against, store) if against else None
        yield from live_sessions(store, now, tally, _subjects(directory, store), before)


def _subjects(directory: Path, store: SqliteStore) -> SubjectRegistry:
    from ztsession.identity.subjects import AllSubjects, FileSubjects, StoredSubjects
    from ztsession.store.enrolments import SqliteEnrolments

    return AllSubjects(FileSubjects(directory / SUBJECTS_FILE), StoredSubjects(SqliteEnrolments(store)))


def _status(result: Simulation, fail_on: str) -> int:
    gains = bool(result.gains) and fail_on in ("gain", "change")
    failed = any(each.of == "new" for each in result.failures)
    losses = (bool(result.losses) or failed) and fail_on in ("loss", "change")
    return {(True, True): _BOTH, (True, False): _GAINS, (False, True): _LOSSES}.get((gains, losses), 0)


# ---- What is printed


def _as_json(result: Simulation, tally: Tally) -> str:
    told = {
        "sessions": result.sessions,
        "cases": result.cases,
        "broken": tally.broken,
        "older": tally.older,
        "gains": [_row(each) for each in result.gains],
        "losses": [_row(each) for each in result.losses],
        "failures": [
            {"subject": each.subject, "of": each.of, "error": each.error, "sessions": each.sessions}
            for each in result.failures
        ],
    }
    return json.dumps(told, indent=2) + "\n"


def _row(each: Difference) -> dict[str, Any]:
    return {
        "subject": each.subject,
        "operation": each.operation,
        "before": each.before.word,
        "after": each.after.word,
        "because": each.because,
        "sessions": each.sessions,
    }


def _as_text(result: Simulation, tally: Tally) -> str:
    from rich.console import Console

    out = Console(highlight=False)
    out = out if out.is_terminal else Console(highlight=False, width=_PLAIN_WIDTH)
    with out.capture() as captured:
        if result.differences:
            out.print(_table(result))
        for failure in result.failures:
            told = f"{failure.subject}: {failure.of} policies could not be asked: {failure.error}"
            out.print(f"{told} ({failure.sessions} sessions)", markup=False, soft_wrap=True)
        for line in _summary(result, tally):
            out.print(line, markup=False, soft_wrap=True)
    return captured.get()


def _table(result: Simulation) -> Any:
    from rich.markup import escape
    from rich.table import Table

    table = Table("subject", "", "operation", "before", "after", "because", title_justify="left")
    table.add_column("sessions", justify="right")
    for number, each in enumerate(result.differences):
        begins = number == 0 or result.differences[number - 1].subject != each.subject
        if begins and number:
            table.add_section()
        sign, colour = ("gains", "green") if each.gain else ("loses", "red")
        texts = (escape(each.operation), each.before.word, each.after.word, escape(each.because))
        subject = escape(each.subject) if begins else ""
        table.add_row(subject, f"[{colour}]{sign}[/]", *texts, str(each.sessions))
    return table


def _summary(result: Simulation, tally: Tally) -> Iterator[str]:
    gain, lose = ({each.subject for each in some} for some in (result.gains, result.losses))
    yield f"sessions: {result.sessions}, of {result.cases} different cases"
    yield f"subjects: {len(gain)} gain, {len(lose)} lose"
    if tally.broken or tally.older:
        yield f"left out: {tally.broken} broken, {tally.older} of an older version"
