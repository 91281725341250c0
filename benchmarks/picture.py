"""One picture: how much of each target is used up, how verify's latency is spread, and where the peers
are.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.result import Findings, Row, Target
from benchmarks.rows.latency import CLOCK, VERIFY, percentile

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw"]

_MET, _MISSED, _OURS, _OTHERS, _LINE = "#2a7f62", "#c44536", "#2a7f62", "#8d99ae", "#22223b"
_PLAIN = {"facecolor": "white", "edgecolor": "none", "pad": 1}
#: Longer samples are drawn here.
LONGEST_NS = 100_000
#: Series that are one message each and belong side by side.
_FLOOR, _VERIFY = "single floor", "verify"
_PEERS = ("hmac", "cryptography", "hashlib", "itsdangerous", "pyseto", "joserfc", "PyJWT", "PyNaCl")


def draw(findings: Findings, head: str, to: Path) -> None:
    """Write the picture as a PNG; panels for which nothing was measured are left out, but for the targets."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    panels = {"targets": _targets}
    if VERIFY in findings.samples:
        panels["latency"] = _latency
    if len(_one_message(findings)) > 2:
        panels["messages"] = _messages
    beside = [name for name in panels if name != "targets"]
    mosaic = "\n".join(f"t{name[0]}" for name in beside) or "t"
    figure, axes = plt.subplot_mosaic(mosaic, figsize=(14.5 if beside else 7.5, 9), layout="constrained")
    for name, panel in panels.items():
        panel(findings, axes[name[0]])
        axes[name[0]].spines[["top", "right"]].set_visible(False)
        axes[name[0]].title.set_fontsize(11)
    figure.suptitle(head, fontsize=8, color=_LINE, x=0.01, ha="left")
    figure.savefig(to, dpi=130)
    plt.close(figure)


def _targets(findings: Findings, axis: Axes) -> None:
    # What is counted in calls has no scale to be drawn on.
    judged = [(row, row.target) for row in findings.rows[::-1] if row.target is not None]
    rows = [(row, target) for row, target in judged if target.of == "ratio" or row.ours.unit != "call"]
    used = [_used(row, target) for row, target in rows]
    axis.barh(range(len(rows)), used, color=[_MET if row.met else _MISSED for row, _ in rows], height=0.66)
    axis.axvline(1, color=_LINE, linewidth=1.2)
    widest = max([*used, 1.0])
    for at, (row, target) in enumerate(rows):
        axis.text(
            used[at] + widest * 0.012,
            at,
            f"{_judged(row, target)}  ({target.text})",
            va="center",
            fontsize=8,
            bbox=_PLAIN,
        )
    axis.set_yticks(range(len(rows)), [row.key for row, _ in rows], fontsize=9)
    axis.set_xlim(0, widest * 1.42)
    axis.set_xlabel("share of the target that is used up: at most 1 is kept")
    axis.set_title("Targets")


def _used(row: Row, target: Target) -> float:
    share = row.judged / target.limit
    return share if target.sense == "<=" else 1 / share


def _judged(row: Row, target: Target) -> str:
    if target.of == "ratio":
        return f"{row.judged:.2f} x" if row.judged < 100 else f"{row.judged:.0f} x"
    return f"{row.judged:,.0f} {row.ours.unit}" if row.judged >= 100 else f"{row.judged:.2f} {row.ours.unit}"


def _latency(findings: Findings, axis: Axes) -> None:
    # The clock ticks in steps of about 10 ns: finer bins would show the clock.
    edges = [*map(float, range(15, 405, 10)), *map(float, np.geomspace(405, LONGEST_NS, 40))]
    samples = findings.samples[VERIFY]
    for name, colour in ((CLOCK, _OTHERS), (VERIFY, _OURS)):
        axis.hist(
            np.clip(findings.samples[name], 20, LONGEST_NS - 1), edges, color=colour, alpha=0.85, label=name
        )
    axis.axvline(1_000, color=_MISSED, linewidth=1.2, label="P8: p99.9 at most 1 µs")
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_ylim(bottom=0.7)
    percentiles = [
        f"p{percent:<5g} {percentile(samples, percent):>7,} ns" for percent in (50, 99, 99.9, 99.99)
    ]
    text = "\n".join([*percentiles, f"longest {max(samples):>6,} ns"])
    axis.text(
        0.98, 0.97, text, transform=axis.transAxes, ha="right", va="top", fontsize=9, family="monospace"
    )
    axis.set_xlabel("nanoseconds, the clock's own reading included")
    axis.set_ylabel("calls")
    axis.legend(fontsize=8, loc="center right", frameon=False)
    axis.set_title(f"One verify among other work, {len(samples):,} calls")


def _messages(findings: Findings, axis: Axes) -> None:
    lines = sorted(_one_message(findings), key=lambda line: line[1], reverse=True)
    colours = [
        _OURS if name == _VERIFY else _LINE if name.startswith(_FLOOR) else _OTHERS for name, _ in lines
    ]
    axis.barh(range(len(lines)), [value for _, value in lines], color=colours, height=0.66)
    ours = next(value for name, value in lines if name == _VERIFY)
    for at, (name, value) in enumerate(lines):
        times = "" if name == _VERIFY or name.startswith(_FLOOR) else f"   {value / ours:.1f} x"
        axis.text(value * 1.08, at, f"{value:,.0f} ns{times}", va="center", fontsize=8)
    axis.set_yticks(range(len(lines)), [name.split(":")[0] for name, _ in lines], fontsize=8)
    axis.set_xscale("log")
    axis.set_xlim(30, lines[0][1] * 12)
    axis.set_xlabel("nanoseconds for one message of 64 bytes; x: how much longer than verify")
    axis.set_title("One message: the floor, ztsession and its peers")


def _one_message(findings: Findings) -> Sequence[tuple[str, float]]:
    return [
        (series.name, series.median)
        for series in findings.distinct
        if series.name == _VERIFY or series.name.startswith((_FLOOR, *_PEERS))
    ]
