"""The operator's say in risk: ``risk.toml``, what it says, and what holds where it says nothing.

    [levels]
    MEDIUM = { enter = 40, leave = 25, action = "restrict" }
    HIGH = { enter = 80, leave = 50, action = "suspend" }

    [kinds.order-rate]
    answered_by = "factor"
    half_life_s = 900
    cap = 60
    points = { MEDIUM = 20 }
    actions = { LOW = "alert", MEDIUM = "restrict" }

A kind that is named there and not built in is a new one. A kind that was taken out again is answered by
nothing: signals of it that still stand must not turn harmless because nobody knows them any more.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from ztsession.errors import WireError
from ztsession.risk.actions import ACTION_NAMES, Action, action_named
from ztsession.risk.kinds import ANSWERED_BY, DEFAULT_KINDS, Kind
from ztsession.risk.levels import Level
from ztsession.risk.score import SCALE, decayed
from ztsession.risk.signals import Signal
from ztsession.wire.names import is_name
from ztsession.wire.operator_file import Table, read_toml

__all__ = ["FILE", "RiskRules", "Threshold"]

FILE: Final = "risk.toml"
POINTS_MAX: Final = 1000
KINDS_MAX: Final = 64
_HALF_LIFE_MAX_S: Final = 30 * 86_400
_LEVELS: Final = tuple(level.name for level in Level)
_UNKNOWN: Final = Kind()


@dataclass(frozen=True, slots=True)
class Threshold:
    """A level of scores: from ``enter`` points on, until below ``leave``; what is done at it.

    The distance between the two keeps a score that moves about one number from switching a desk on and off.
    """

    enter: int
    leave: int
    action: Action


@dataclass(frozen=True)
class RiskRules:
    """What signals do. Without a file, the defaults."""

    kinds: Mapping[str, Kind] = field(default_factory=lambda: DEFAULT_KINDS)
    medium: Threshold = Threshold(40, 25, Action.RESTRICT)
    high: Threshold = Threshold(80, 50, Action.SUSPEND)

    @classmethod
    def from_directory(cls, directory: str | os.PathLike[str]) -> RiskRules:
        """Read ``risk.toml`` if there is one; ConfigurationError names file, line and what was expected."""
        path = Path(directory) / FILE
        # A link that leads nowhere is a file that ought to be there.
        return _read(read_toml(path)) if path.exists() or path.is_symlink() else cls()

    def check(self, signal: Signal) -> None:
        """WireError unless the signal is of a kind that there is."""
        if signal.kind not in self.kinds:
            raise WireError(f"signal.kind: expected one of {', '.join(self.kinds)}; others go into {FILE}")

    def kind(self, name: str) -> Kind:
        """What a kind means."""
        return self.kinds.get(name, _UNKNOWN)

    def action(self, signal: Signal) -> Action:
        """What one signal causes by itself."""
        return self.kind(signal.kind).actions[signal.level]

    def points(self, signal: Signal) -> int:
        """What one signal adds when it arrives, in thousandths."""
        return SCALE * self.kind(signal.kind).points[signal.level]

    def left(self, kind: str, points: int, age_us: int) -> int:
        """What is left of a kind's points, in thousandths."""
        return decayed(points, age_us, self.kind(kind).half_life_s * 1_000_000)

    def capped(self, kind: str, points: int) -> int:
        """No more than what a kind may amount to, in thousandths."""
        return min(points, SCALE * self.kind(kind).cap)

    def scores(self, held: Iterable[tuple[str, int, int]]) -> dict[str, int]:
        """What (kind, points, age in microseconds) come to for each kind, in thousandths."""
        sums: dict[str, int] = {}
        for kind, points, age_us in held:
            sums[kind] = sums.get(kind, 0) + self.left(kind, points, age_us)
        return {kind: self.capped(kind, points) for kind, points in sums.items() if points}

    def rated(self, score: int, before: Level) -> Level:
        """LOW, MEDIUM or HIGH by a score in thousandths, seen from the level it had ``before``."""
        for level, at in ((Level.HIGH, self.high), (Level.MEDIUM, self.medium)):
            if score >= SCALE * (at.leave if before >= level else at.enter):
                return level
        return Level.LOW

    def action_at(self, rated: Level) -> Action:
        """What is done about a session whose score is at this level."""
        return {Level.HIGH: self.high.action, Level.MEDIUM: self.medium.action}.get(rated, Action.NONE)


# ---- Reading


def _read(root: Table) -> RiskRules:
    root.allow_only("levels", "kinds")
    rules = RiskRules()
    levels = root.table("levels")
    levels.allow_only("MEDIUM", "HIGH")
    medium, high = (
        _threshold(levels.table(name), default)
        for name, default in (("MEDIUM", rules.medium), ("HIGH", rules.high))
    )
    if not medium.enter <= high.enter:
        raise levels.error(
            f"expected HIGH to begin at {medium.enter} points or more, where MEDIUM does", "HIGH"
        )
    kinds = {**DEFAULT_KINDS, **{name: _kind(name, table) for name, table in root.table("kinds").tables()}}
    if len(kinds) > KINDS_MAX:
        raise root.error(
            f"expected at most {KINDS_MAX} kinds in all, {len(DEFAULT_KINDS)} are built in", "kinds"
        )
    return RiskRules(kinds, medium, high)


def _threshold(table: Table, default: Threshold) -> Threshold:
    table.allow_only("enter", "leave", "action")
    enter = table.integer("enter", default.enter, low=1, high=POINTS_MAX)
    leave = table.integer("leave", min(default.leave, enter), low=1, high=enter)
    return Threshold(enter, leave, _action(table, "action", default.action))


def _kind(name: str, table: Table) -> Kind:
    if not is_name(name):
        raise table.error("expected a name of 1 to 128 characters from A-Z a-z 0-9 . _ : / @ -")
    table.allow_only("answered_by", "actions", "points", "half_life_s", "cap")
    default = DEFAULT_KINDS.get(name, _UNKNOWN)
    answered_by = table.word("answered_by", ANSWERED_BY) if table.has("answered_by") else default.answered_by
    actions, points = table.table("actions"), table.table("points")
    actions.allow_only(*_LEVELS)
    points.allow_only(*_LEVELS)
    return replace(
        default,
        answered_by=answered_by,
        actions=tuple(map(lambda level, was: _action(actions, level, was), _LEVELS, default.actions)),
        points=tuple(
            points.integer(level, was, low=0, high=POINTS_MAX)
            for level, was in zip(_LEVELS, default.points, strict=True)
        ),
        half_life_s=table.integer("half_life_s", default.half_life_s, low=1, high=_HALF_LIFE_MAX_S),
        cap=table.integer("cap", default.cap, low=0, high=POINTS_MAX),
    )


def _action(table: Table, key: str, default: Action) -> Action:
    return action_named(table.word(key, ACTION_NAMES)) if table.has(key) else default
