"""The findings as text."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.measure import Series
from benchmarks.result import Findings, Row

__all__ = ["render"]

_HEAD = ("row", "what", "median", "middle half", "beside", "ratio", "by round", "target", "met")


def render(findings: Findings) -> str:
    """The rows, their notes, the tables of their own, and everything that was measured beside them."""
    parts = [_columns([_HEAD, *(_line(row) for row in findings.rows)])] if findings.rows else []
    notes = [f"  {row.key}: {row.note}" for row in findings.rows if row.note]
    if notes:
        parts.append("\n".join(notes))
    parts += [listing.text for listing in findings.listings]
    parts.append(
        _columns([("all that was measured", "median", "middle half"), *map(_series, findings.distinct)])
    )
    if findings.notes:
        parts.append("\n".join(findings.notes))
    return "\n\n".join(parts)


def _line(row: Row) -> tuple[str, ...]:
    beside = "" if row.beside is None else f"{amount(row.beside.median, row.beside.unit)}  {row.beside.name}"
    return (
        row.key,
        row.what,
        amount(row.ours.median, row.ours.unit),
        _spread(row.ours),
        beside,
        _times(row.ratio),
        _times(row.ratio_by_round),
        "" if row.target is None else row.target.text,
        {None: "", True: "yes", False: "NO"}[row.met],
    )


def _series(series: Series) -> tuple[str, ...]:
    return series.name, amount(series.median, series.unit), _spread(series)


def _spread(series: Series) -> str:
    if len(series.values) < 2:
        return ""
    low, high = series.quartiles
    return f"{_number(low)} to {_number(high)}"


def amount(value: float, unit: str) -> str:
    """A value with its unit, no more digits than mean anything."""
    return f"{_number(value)} {unit}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _times(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f} x" if ratio < 100 else f"{ratio:.0f} x"


def _columns(lines: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    rule = "  ".join("-" * width for width in widths)
    text = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    return "\n".join([text[0], rule, *text[1:]])
