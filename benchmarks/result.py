"""What a row says, and the targets it is held against."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import Any, Literal

from benchmarks.measure import Series

__all__ = ["TARGETS", "Findings", "Listing", "Row", "Target"]


@dataclass(frozen=True)
class Target:
    """At most or at least ``limit``, of the ratio to the neighbour or of the figure itself."""

    sense: Literal["<=", ">="]
    limit: float
    of: Literal["ratio", "figure"]
    text: str

    def met_by(self, value: float) -> bool:
        """Whether a median keeps it. Told, never enforced: a benchmark reports."""
        return value <= self.limit if self.sense == "<=" else value >= self.limit


def _ratio(sense: Literal["<=", ">="], limit: float) -> Target:
    return Target(sense, limit, "ratio", f"{sense} {limit:g} x")


#: One for each line of the table that has one; a requirement with two figures has two.
TARGETS: dict[str, Target] = {
    "P1": _ratio("<=", 1.6),
    "P2": _ratio("<=", 1.6),
    "P3": _ratio("<=", 1.5),
    "P4": _ratio("<=", 1.6),
    "P5 single": _ratio("<=", 3.8),
    "P5 batch": _ratio("<=", 1.9),
    "P6 table": Target("<=", 1024, "figure", "<= 1024 B"),
    "P6 tickets": Target("<=", 1024, "figure", "<= 1024 B"),
    "P8": Target("<=", 1000, "figure", "<= 1000 ns"),
    "P9 PyJWT": _ratio(">=", 120),
    "P9 itsdangerous": _ratio(">=", 28),
    "P9 hmac.digest": _ratio(">=", 7),
    "P10 bad tag": _ratio("<=", 1.0),
    "P10 unknown": Target("<=", 15, "figure", "<= 15 ns"),
    **{
        f"P11 {way}": Target("<=", 1.5, "figure", "<= 1.5 ms")
        for way in ("first", "again", "X.509", "EAT", "TPM", "TOTP", "renewal")
    },
    "P12": Target("<=", 1, "figure", "the next call"),
    "P13": Target("<=", 1000, "figure", "<= 1000 ms"),
    "P14": Target("<=", 60, "figure", "<= 60 ms"),
    "detection scan": Target("<=", 20, "figure", "<= 20 ms"),
    "renewal refused": Target("<=", 0, "figure", "none"),
}


@dataclass(frozen=True)
class Row:
    """One line: ours, its neighbour in the same run, and the target between them."""

    key: str
    what: str
    ours: Series
    beside: Series | None = None
    #: The neighbour is the one that should be slower: the ratio is beside / ours.
    inverse: bool = False
    note: str = ""

    @property
    def target(self) -> Target | None:
        """What performance.md asks for; None where it asks for nothing."""
        return TARGETS.get(self.key)

    @property
    def ratio(self) -> float | None:
        """The ratio of the medians."""
        return None if self.beside is None else self._over(self.beside.median, self.ours.median)

    @property
    def ratio_by_round(self) -> float | None:
        """The median of the ratios within each round; None where the rounds do not correspond."""
        if self.beside is None or len(self.beside.values) != len(self.ours.values):
            return None
        pairs = zip(self.beside.values, self.ours.values, strict=True)
        return statistics.median(self._over(beside, ours) for beside, ours in pairs)

    @property
    def judged(self) -> float:
        """The number that the target is about."""
        of_ratio = self.target is not None and self.target.of == "ratio"
        return self.ratio if of_ratio and self.ratio is not None else self.ours.median

    @property
    def met(self) -> bool | None:
        """Whether the target is kept in this run; None without a target."""
        return None if self.target is None else self.target.met_by(self.judged)

    def _over(self, beside: float, ours: float) -> float:
        return beside / ours if self.inverse else ours / beside

    def as_json(self) -> dict[str, Any]:
        """For bench.json."""
        low, high = self.ours.quartiles
        return {
            "row": self.key,
            "what": self.what,
            "unit": self.ours.unit,
            "median": self.ours.median,
            "quartiles": [low, high],
            "beside": None if self.beside is None else self.beside.name,
            "beside_median": None if self.beside is None else self.beside.median,
            "ratio": self.ratio,
            "ratio_by_round": self.ratio_by_round,
            "target": None if self.target is None else self.target.text,
            "met": self.met,
            "note": self.note,
        }


@dataclass(frozen=True)
class Listing:
    """A table of its own: as text, and its figures for bench.json under ``name``."""

    name: str
    text: str
    figures: list[dict[str, Any]]


@dataclass
class Findings:
    """What one group of rows found: its lines, every series beside them, and raw samples for the picture."""

    rows: list[Row] = field(default_factory=list)
    series: list[Series] = field(default_factory=list)
    samples: dict[str, list[int]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    listings: list[Listing] = field(default_factory=list)

    @property
    def distinct(self) -> list[Series]:
        """Every name once, as the first group measured it."""
        return list({series.name: series for series in reversed(self.series)}.values())[::-1]

    def add(self, other: Findings) -> None:
        """Append another group's findings."""
        self.rows += other.rows
        self.series += other.series
        self.samples.update(other.samples)
        self.notes += other.notes
        self.listings += other.listings
