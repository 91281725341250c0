"""``ztsession risk``: decisions about risk, looked at again by what the audit log has of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click

from ztsession.audit.reading import read_entries
from ztsession.cli.failing import telling
from ztsession.errors import SessionEnded
from ztsession.risk.replay import Replay
from ztsession.risk.rules import RiskRules

__all__ = ["risk"]

_DIRECTORY = click.Path(exists=True, file_okay=False, path_type=Path)
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
#: Differences that are printed; the rest is counted.
_SHOWN_MAX: Final = 20
_DIFFERS: Final = 3


@click.group()
def risk() -> None:
    """Look at decisions about risk again."""


@risk.command()
@click.argument("directory", type=_DIRECTORY)
@click.argument("audit", type=_FILE, nargs=-1, required=True)
def replay(directory: Path, audit: tuple[Path, ...]) -> None:
    """Decide once more, by risk.toml in DIRECTORY, all that the AUDIT logs (the oldest first) tell of, and
    compare.

    Exit status: 0 every mode is the one that was recorded, 3 some are not; 1 for errors.
    """
    with telling():
        again = _led(directory, audit)
    for each in again.differences[:_SHOWN_MAX]:
        replayed = each.replayed or "not known"
        click.echo(
            f"entry {each.entry}: session {each.session} recorded {each.recorded}, replayed {replayed}"
        )
    if len(again.differences) > _SHOWN_MAX:
        click.echo(f"and {len(again.differences) - _SHOWN_MAX} more")
    told = f"{again.signals} signals, {again.modes} modes, {len(again.differences)} of them differ"
    click.echo(told + (f"; {again.skipped} entries tell too little" if again.skipped else ""))
    if again.differences:
        raise SystemExit(_DIFFERS)


@risk.command()
@click.argument("directory", type=_DIRECTORY)
@click.argument("audit", type=_FILE, nargs=-1, required=True)
@click.option("--session", required=True, metavar="ID", help="16 bytes in hexadecimal.")
@click.option("--entry", type=int, metavar="N", help="As it was after the entry of this number.")
def explain(directory: Path, audit: tuple[Path, ...], session: str, entry: int | None) -> None:
    """Say why a session was in its mode, by risk.toml in DIRECTORY and what the AUDIT logs tell."""
    try:
        name = bytes.fromhex(session)
    except ValueError:
        raise click.BadParameter("expected 32 digits of hexadecimal", param_hint="--session") from None
    with telling():
        again = _led(directory, audit, entry)
        try:
            click.echo(again.engine.explain(name))
        except SessionEnded:
            raise click.ClickException("the log tells of no live session of this id") from None


def _led(directory: Path, audit: tuple[Path, ...], until: int | None = None) -> Replay:
    again = Replay(RiskRules.from_directory(directory))
    for entry in _entries(audit):
        if until is not None and entry["n"] > until:
            break
        again.take(entry)
    return again


def _entries(audit: tuple[Path, ...]) -> Iterator[dict[str, Any]]:
    return (entry for path in audit for entry in read_entries(path) if entry is not None)
