"""``python -m benchmarks``: measure, print, and leave bench.json and bench.png in benchmarks/out/.

The exit code tells whether everything ran, never how fast.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine, picture, table
from benchmarks.native import ROOT
from benchmarks.plan import FULL, QUICK, Plan
from benchmarks.result import Findings
from benchmarks.rows import (
    batch,
    detection,
    fleet,
    flood,
    handshake,
    imports,
    latency,
    memory,
    policy,
    renewal,
    revoke,
    single,
)

OUT = ROOT / "benchmarks" / "out"

Measure = Callable[[Plan, Collection[str], Callable[[str], None]], Findings]

#: Rows that share a run. The order matters: what needs a quiet process comes before what fills its memory.
GROUPS: tuple[tuple[frozenset[str], Measure], ...] = (
    (frozenset({"P1", "P2", "P3", "P9"}), single.measure),
    (frozenset({"P4", "P10"}), batch.measure),
    (frozenset({"P8"}), latency.measure),
    (frozenset({"P11", "handshakes"}), handshake.measure),
    (frozenset({"flood"}), flood.measure),
    (frozenset({"P12"}), revoke.measure),
    (frozenset({"renewal"}), renewal.measure),
    (frozenset({"detection"}), detection.measure),
    (frozenset({"P14"}), imports.measure),
    (frozenset({"P6"}), memory.measure),
    (frozenset({"P5"}), fleet.measure),
    (frozenset({"P13"}), policy.measure),
)
#: What --rows takes, the first word of each row's key: the requirements by number, then what has a name.
ROWS = sorted(
    frozenset[str]().union(*(rows for rows, _ in GROUPS)),
    key=lambda row: (row[0] != "P", int(row[1:]) if row[0] == "P" else 0, row),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; 0 unless a group of rows failed to run."""
    options = _parser().parse_args(arguments)
    plan = QUICK if options.quick else FULL
    pinned = machine.pin()
    described = machine.describe(pinned)
    print(machine.one_line(described), flush=True)
    if described["load_before"] > 0.5 and not options.quick:
        print(
            f"load is {described['load_before']:.2f}: other programs are running, absolute times will be off"
        )
    findings, failed = _measure(plan, options.rows)
    print("\n" + table.render(findings) if findings.series else "nothing was measured")
    written = _write(findings, described, plan, failed, options.out)
    print("\n" + "\n".join(str(path) for path in written))
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="small counts: shows that it works, in under a minute"
    )
    parser.add_argument(
        "--rows",
        type=_rows,
        default=frozenset(ROWS),
        metavar="P1,P4",
        help=f"only these rows of {', '.join(ROWS)}",
    )
    parser.add_argument("--out", type=Path, default=OUT, help="directory for bench.json and bench.png")
    return parser


def _rows(text: str) -> frozenset[str]:
    known = {row.lower(): row for row in ROWS}
    asked = [part.strip().lower() for part in text.split(",") if part.strip()]
    if not asked or not set(asked) <= set(known):
        raise argparse.ArgumentTypeError(f"expected some of {', '.join(ROWS)}, not {text!r}")
    return frozenset(known[row] for row in asked)


def _measure(plan: Plan, asked: frozenset[str]) -> tuple[Findings, list[str]]:
    findings, failed = Findings(), list[str]()
    for rows, measure in GROUPS:
        wanted = rows & asked
        if not wanted:
            continue
        name = " ".join(row for row in ROWS if row in wanted)
        progress = _Progress(name)
        try:
            found = measure(plan, wanted, progress)
            for series in found.series:
                series.run = name
            findings.add(found)
        except Exception:
            # One group that breaks must not cost the minutes of all others; the exit code still tells.
            traceback.print_exc()
            failed.append(name)
        progress.done()
    findings.rows.sort(key=lambda row: ROWS.index(row.key.split()[0]))
    return findings, failed


class _Progress:
    """One line on the terminal that changes; in a log, one line for each group."""

    def __init__(self, name: str) -> None:
        self._name, self._start, self._live = name, time.monotonic(), sys.stderr.isatty()

    def __call__(self, what: str) -> None:
        if self._live:
            print(f"\r\x1b[K{self._name}: {what}", end="", file=sys.stderr, flush=True)

    def done(self) -> None:
        start = "\r\x1b[K" if self._live else ""
        print(f"{start}{self._name}: {time.monotonic() - self._start:.1f} s", file=sys.stderr, flush=True)


def _write(
    findings: Findings, described: dict[str, object], plan: Plan, failed: Sequence[str], out: Path
) -> list[Path]:
    out.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {
        "machine": {**described, "load_after": os.getloadavg()[0]},
        "plan": {name: getattr(plan, name) for name in plan.__dataclass_fields__},
        "failed": list(failed),
        "rows": [row.as_json() for row in findings.rows],
        "series": [
            {"name": s.name, "run": s.run, "unit": s.unit, "values": s.values} for s in findings.series
        ],
        "latency_ns": {name: _percentiles(samples) for name, samples in findings.samples.items()},
        "notes": findings.notes,
        **{listing.name: listing.figures for listing in findings.listings},
    }
    written = [out / "bench.json"]
    written[0].write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if any(row.target is not None for row in findings.rows):
        written.append(out / "bench.png")
        picture.draw(findings, machine.one_line(described), written[1])
    return written


def _percentiles(samples: Sequence[int]) -> dict[str, int]:
    return {
        f"p{percent:g}": latency.percentile(samples, percent) for percent in (0, 50, 90, 99, 99.9, 99.99, 100)
    }


if __name__ == "__main__":
    sys.exit(main())
