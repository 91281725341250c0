"""The costs of all ways side by side, as Markdown to paste into a page and as numbers for bench.json."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.handshakes.costs import Costs
from benchmarks.measure import Series
from benchmarks.result import Listing

__all__ = ["listing"]

_HEAD = (
    "way to a session",
    "Authority's CPU, ms (middle half)",
    "client's CPU, ms",
    "bytes up / down",
    "messages",
    "wall, ms (the Authority's, fsyncs included)",
)


def listing(costs: Sequence[Costs], state: Path) -> Listing:
    """``state``: where the Authority's store is, for the name of the file system under it."""
    lines = ["| " + " | ".join(_HEAD) + " |", "|" + "---|" * len(_HEAD)]
    lines += ["| " + " | ".join(_cells(each)) + " |" for each in costs]
    notes = [f"{each.name}: {each.note}." for each in costs if each.note]
    count, under = len(costs[0].wall.values), _filesystem(state)
    head = f"Medians of {count} conversations each; store and audit log on {under}."
    return Listing(
        "handshakes", "\n".join([*lines, "", " ".join([head, *notes])]), [c.as_json() for c in costs]
    )


def _cells(costs: Costs) -> tuple[str, ...]:
    low, high = costs.authority.quartiles
    return (
        costs.name,
        f"{costs.authority.median:.2f} ({low:.2f} to {high:.2f})",
        f"{costs.client.median:.2f}",
        f"{_whole(costs.up)} / {_whole(costs.down)}",
        _whole(costs.messages),
        f"{costs.wall.median:.2f} ({costs.authority_wall.median:.2f})",
    )


def _whole(series: Series) -> str:
    return f"{round(series.median):,}"


def _filesystem(path: Path) -> str:
    """What an fsync means there: on a tmpfs, nothing."""
    try:
        mounts = [line.split() for line in Path("/proc/self/mounts").read_text("utf-8").splitlines()]
    except OSError:
        return "an unknown file system"
    under = [(len(at), kind) for _, at, kind, *_ in mounts if path.is_relative_to(at)]
    return max(under, default=(0, "an unknown file system"))[1]
