"""``ztsession demo``: a trading desk's processes on loopback, a device that its management calls bad, a
person who steps up, an intruder who goes from door to door, a service that turns against its neighbour, a
host that was booted with something else, and a package on its way from test into production.
"""

from __future__ import annotations

import json
import signal
from pathlib import Path

import click

from ztsession.cli.failing import telling
from ztsession.demo.director import MESSAGES_DEFAULT, Options, run
from ztsession.demo.quotes import STATES_MAX, STATES_MIN

__all__ = ["demo"]


@click.command()
@click.option(
    "--quotes",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE.csv[.gz]",
    help="Top-of-book states: ask price, ask size, bid price, bid size; no header, prices in dollars x "
    "10,000. Without it they are generated.",
)
@click.option(
    "--messages",
    type=click.IntRange(STATES_MIN, STATES_MAX),
    help=f"Take at most so many states.  [default: all of the file, or {MESSAGES_DEFAULT:,} generated ones]",
)
@click.option("--seed", default=1, show_default=True, help="Of the generator.")
@click.option(
    "--json", "summary", type=click.Path(dir_okay=False, path_type=Path), help="Write the facts to a file."
)
def demo(quotes: Path | None, messages: int | None, seed: int, summary: Path | None) -> None:
    """Show a session from handshake to attack. Exit status 0 only if everything happened as it should."""
    from ztsession.demo.report import ConsoleWatch, console, show

    # Told to terminate, it still ends its processes and clears up.
    signal.signal(signal.SIGTERM, lambda *_: _terminate())
    out = console()
    with telling(), ConsoleWatch(out) as watch:
        outcome = run(Options(quotes, messages, seed), watch)
    show(outcome, out)
    if summary is not None:
        findings = [finding._asdict() for finding in outcome.findings]
        told = {"ok": outcome.ok, "findings": findings, **outcome.facts}
        summary.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    if not outcome.ok:
        raise SystemExit(1)


def _terminate() -> None:
    raise SystemExit(143)
