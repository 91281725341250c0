"""What people see of the demo: how it is getting on, then counts, times, and what was expected.

On a terminal the progress moves; into a file or a pipe the same goes as plain lines.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from ztsession import VERDICTS
from ztsession.demo.director import Outcome
from ztsession.demo.expectations import Facts
from ztsession.demo.latency import EDGES_NS
from ztsession.demo.lines import CREDIT
from ztsession.demo.release_act import SCENES
from ztsession.demo.strategy import CANCEL_EVERY, QUIET_STATES

__all__ = ["ConsoleWatch", "console", "show"]

_PLAIN_WIDTH = 150
_BAR_WIDTH = 48

#: The acts, by what they are about.
_GATEWAY_COLUMNS = {
    "trading": (
        "trading",
        "trading again",
        "going on",
        "after",
        "orders to look at",
        "orders to watch",
        "orders to settle",
        "orders to cancel",
    ),
    "bad device": ("device bad", "still bad", "put right"),
    "intruder": (
        "probing",
        "intruder's session",
        "proven anew",
        "what he took",
    ),
    "attack": ("attack", "false signals"),
    "people": (
        "trader meanwhile",
        "release manager at risk",
        "trader by key",
        "trader after a wrong code",
        "trader stepped up",
        "trader under the old key",
        "trader with a used code",
    ),
    "clearing": ("clearing", "clearing, tampered", "clearing, as before"),
}


def console() -> Console:
    """Standard output; wide enough for the tables where it is no terminal."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=_PLAIN_WIDTH)


class ConsoleWatch:
    """Shows the acts as they come, and a bar of the states that were traded on."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._quarter = 0
        if out.is_terminal:
            columns = (TextColumn("  states"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self._bar = Progress(*columns, console=out, transient=True)

    def __enter__(self) -> Self:
        """Begin to draw."""
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task("states", total=None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.stop()

    def act(self, title: str) -> None:
        """Another act begins."""
        self._out.print(f"[bold]>[/] {escape(title)}")

    def progress(self, done: int, total: int) -> None:
        """So many states of the market have been traded on."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total)
        elif 4 * done // total > self._quarter:
            self._quarter = 4 * done // total
            self._out.print(f"  {done:,} of {total:,} states")


def show(outcome: Outcome, out: Console) -> None:
    """Everything there is to tell at the end."""
    facts = outcome.facts
    out.print()
    out.print(_done_how(facts), highlight=False)
    out.print()
    out.print("[bold]Messages by verdict[/]", _verdicts(facts), sep="\n")
    out.print(_latency_title(facts["latency"]), _histogram(facts["latency"]), sep="\n")
    out.print(_cost_title(facts), _cost(facts["cost"]), sep="\n")
    out.print(
        "[bold]What else takes time[/], each measured once, by who asked for it", _times(facts), sep="\n"
    )
    out.print(_reactions(facts), highlight=False)
    out.print("[bold]What was expected, and what was seen[/]", _expectations(outcome), sep="\n")
    for act, why in outcome.skipped.items():
        out.print(f"[yellow]Skipped[/]: the act of the {escape(act)} service; {escape(why)}.")
    out.print(_in_the_end(outcome))


def _done_how(facts: Facts) -> str:
    trades = (facts["trade_1"], facts["trade_2"])
    orders = sum(sum(trade["sent"].values()) for trade in trades)
    frames, seconds = sum(trade["frames"] for trade in trades), sum(trade["seconds"] for trade in trades)
    return escape(
        f"{facts['states']:,} top-of-book states ({facts['source']}), each a signed message of its own, "
        f"up to {CREDIT} to a frame, and verified one by one before use. {orders:,} orders: a side is quoted "
        f"when its price has moved, at most every {QUIET_STATES + 1} states, every {CANCEL_EVERY}th time by "
        "cancel and new order instead of replace. Those of one market-data frame share a frame to the "
        f"gateway ({frames:,}), which verifies each and signs each reply. {facts['states'] / seconds:,.0f} "
        f"states and {orders / seconds:,.0f} orders a second, through three processes."
    )


def _verdicts(facts: Facts) -> Table:
    acts = facts["gateway"]
    columns = {
        f"gateway:\n{title}": _summed(counts for act in of for counts in acts.get(act, {}).values())
        for title, of in _GATEWAY_COLUMNS.items()
        if title not in facts["skipped"]
    }
    columns["release gate:\npromotions"] = _summed(facts["release"][scene]["verdicts"] for scene in SCENES)
    columns["market data:\ncalls"] = facts["market_data"]["verdicts"]
    columns["algorithm:\nstates"] = facts["algorithm"]["market_data"]
    columns["algorithm:\nreplies"] = facts["algorithm"]["replies"]
    table = Table()
    table.add_column("verdict", no_wrap=True)
    for title in columns:
        table.add_column(title, justify="right")
    for verdict in VERDICTS:
        counts = [column.get(verdict, 0) for column in columns.values()]
        if any(counts):
            table.add_row(verdict, *(f"{count:,}" if count else "" for count in counts))
    return table


def _summed(parts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for part in parts:
        for verdict, count in part.items():
            total[verdict] = total.get(verdict, 0) + count
    return total


def _latency_title(latency: dict[str, Any]) -> str:
    return (
        f"[bold]Latency of verify at the gateway[/], each of {latency['count']:,} accepted calls on its own: "
        f"p50 {latency['p50']} ns, p90 {latency['p90']} ns, p99 {latency['p99']} ns, "
        f"p99.9 {latency['p99.9']} ns, "
        f"max {latency['max'] / 1000:,.1f} us, the timer's own {latency['timer']:.0f} ns included"
    )


def _histogram(latency: dict[str, Any]) -> Table:
    table = Table(show_header=False, box=None)
    most = max(latency["bars"])
    for below, count in zip([*EDGES_NS, None], latency["bars"], strict=True):
        name = f"< {below:,} ns" if below is not None else f">= {EDGES_NS[-1]:,} ns"
        # Whatever is there at all is to be seen.
        bar = "#" * max(round(_BAR_WIDTH * count / most), 1 if count else 0)
        table.add_row(name, f"{count:,}", bar)
    table.columns[0].justify = table.columns[1].justify = "right"
    return table


def _cost_title(facts: Facts) -> str:
    orders, rounds = sum(facts["metered"].values()), facts["cost"]["rounds"]
    return (
        "[bold]What a new order costs at the gateway[/], with and without verification "
        f"({orders:,} orders, medians of {rounds} rounds)"
    )


def _cost(cost: dict[str, Any]) -> Table:
    table = Table()
    table.add_column("")
    table.add_column("ns an order", justify="right")
    table.add_row("without: the handler alone (decode, book, encode the reply)", f"{cost['without']:,.0f}")
    table.add_row("with: the same handler behind protect", f"{cost['with']:,.0f}")
    table.add_row("the difference: verification", f"{cost['with'] - cost['without']:,.0f}")
    table.add_row("besides: signing the reply", f"{cost['reply']:,.0f}")
    return table


def _times(facts: Facts) -> Table:
    rows = {
        "the algorithm connects: a key, its device's signed statement, two segments": facts["connected"],
        "its session is renewed while it trades: one round trip, installed at both services": facts[
            "trade_1"
        ]["renewed"],
        "the trader connects: a key, a desktop; installed at the gateway": facts["trader"]["connected"],
        "the trader steps up: a one-time code in the channel, two round trips": facts["trader"]["step_up"],
        "a package is tried in the lab, in a process of its own": facts["release"]["tried"],
        "it is promoted: verified, held against its test, logged and put into prod": facts["release"][
            "promotion"
        ],
    }
    if "clearing" not in facts["skipped"]:
        rows["clearing connects: an X.509-SVID, a quote of its TPM in software"] = facts["clearing"][
            "connected"
        ]
    table = Table()
    table.add_column("")
    table.add_column("ms", justify="right")
    for what, took in rows.items():
        table.add_row(what, f"{took['took_ns'] / 1e6:,.1f}")
    return table


def _reactions(facts: Facts) -> str:
    lateral, pushed_ms = facts["lateral"], facts["drift"]["reaction_s"] * 1e3
    contained_ms, found_ms = lateral["contained_s"] * 1e3, lateral["found_s"] * 1e3
    return (
        "[bold]How long until the first order is refused[/]: after an event that the device management "
        f"pushes over HTTP, {pushed_ms:,.1f} ms. After the first door that stayed shut for an intruder, "
        f"{contained_ms:,.1f} ms, in which he tried {lateral['probed']['probes']:,}; the services look every "
        f"{lateral['every_ms']} ms, and both had looked and reported after {found_ms:,.1f} ms."
    )


def _in_the_end(outcome: Outcome) -> str:
    held, of = sum(finding.held for finding in outcome.findings), len(outcome.findings)
    word = "[green]Everything" if outcome.ok else "[red]Not everything"
    acts = len(outcome.skipped)
    skipped = f", {acts} act{'s' * (acts > 1)} skipped" if acts else ""
    seconds = outcome.facts["seconds"]
    return f"{word} happened as it should[/]: {held} of {of} expectations held{skipped}, in {seconds:.1f} s."


def _expectations(outcome: Outcome) -> Table:
    table = Table()
    table.add_column("")
    table.add_column("expected", ratio=2)
    table.add_column("seen", ratio=3)
    for finding in outcome.findings:
        mark = "[green]\N{CHECK MARK}[/]" if finding.held else "[red]\N{BALLOT X}[/]"
        table.add_row(mark, escape(finding.sentence), escape(finding.saw))
    return table
