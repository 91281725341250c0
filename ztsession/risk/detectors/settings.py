"""What counts as too much: ``detectors.toml`` in the policy directory; and who else may report.

Without the file the defaults hold, each with its reason beside it. A detector that wakes somebody without a
cause is switched off by the third time, so they are set where normal trading does not come near.

    [order-rate]
    factor = 20

    [off-hours.human]
    from = "07:00"
    until = "19:00"
    days = ["mon", "tue", "wed", "thu", "fri"]

    [sources.orders-gateway]
    public_key = "..."          # Ed25519, in hexadecimal
    kinds = ["order-rate", "replay", "behaviour"]
    highest = "MEDIUM"
    segments = ["orders"]
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

from ztsession._core import Table as SessionTable
from ztsession._scan import Scan
from ztsession.identity.subjects import KINDS
from ztsession.limits import POSTURE_MAX_AGE_S
from ztsession.policy.calendar import WEEKDAYS
from ztsession.risk.detectors.off_hours import UsualHours
from ztsession.risk.levels import Level
from ztsession.risk.signals import Signal
from ztsession.wire.operator_file import Table, read_toml

__all__ = ["DETECTORS_FILE", "LOCAL", "DetectorSettings", "Source"]

#: The file's name inside a policy directory; may be absent.
DETECTORS_FILE: Final = "detectors.toml"

#: How names of points begin that are in the Authority's own process, and need no key.
LOCAL: Final = "point:"

SOURCES_MAX: Final = 1024
_DAY_S: Final = 86_400
_LEVELS: Final = tuple(level.name for level in Level)
_TIME: Final = re.compile(r"([01][0-9]|2[0-4]):([0-5][0-9])")
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,32}", re.ASCII)
_SECTIONS: Final = (
    "scan",
    "order-rate",
    "denials",
    "replay",
    "strangers",
    "off-hours",
    "concurrency",
    "posture-silence",
    "lateral-movement",
    "sources",
)


@dataclass(frozen=True, slots=True)
class Source:
    """Who may report from another process: its Ed25519 key (32 bytes), the kinds of signals, the worst level,
    and the segments that it speaks for.
    """

    name: str
    public_key: bytes
    kinds: tuple[str, ...]
    highest: Level
    segments: tuple[str, ...]

    def allows(self, signal: Signal) -> bool:
        """Whether it may say this; the segment stands in the evidence. It may take back what it has said.

        It may speak of sessions. Subjects and devices are at work in other segments, too, and at an address
        there are others than its own sessions: of that it may say LOW, and of the rest nothing.
        """
        about_a_session = bool(signal.session)
        return (
            signal.source == self.name
            and signal.kind in self.kinds
            and signal.level <= (self.highest if about_a_session else Level.LOW)
            and (about_a_session or bool(signal.network))
            and signal.evidence.get("segment") in self.segments
        )


@dataclass(frozen=True)
class DetectorSettings:
    """All of the file; names are those of its sections and keys."""

    #: Between two passes: how long an attack goes on before anybody looks.
    every_ms: int = 1000
    #: One refusal is a mistake and its repetition makes two; a minute later that is forgotten.
    burst_s: int = 60
    #: A busy quarter of an hour has several times the calls of a quiet one, and not ten times.
    rate_factor: int = 10
    #: Below this the venue's own limits are far, and a handful of calls would be "ten times as many".
    rate_min_per_s: int = 20
    #: Several scans' worth: fewer calls would make a rate of chance.
    rate_window_ms: int = 1000
    #: Long enough that a minute's rush moves the average by a fifth, short enough to follow the day.
    rate_memory_s: int = 300
    #: A session that has just begun has no habits, and opens with what was waiting.
    rate_warm_up_s: int = 60
    rate_level: Level = Level.MEDIUM
    #: A program does not ask three times in a minute for what it may not have.
    denials: int = 3
    #: LOW: noted for the correlation, and nobody is asked for anything.
    denials_level: Level = Level.LOW
    #: A queue that stood still for a moment delivers some messages too late, or twice.
    replays: int = 20
    replay_level: Level = Level.MEDIUM
    #: A client that is confused after a restart is refused some times, not twice a second.
    strangers: int = 100
    strangers_within_s: int = 60
    hours: Mapping[str, UsualHours] = field(default_factory=lambda: MappingProxyType({}))
    hours_level: Level = Level.MEDIUM
    #: Services run on several hosts.
    concurrency_kinds: tuple[str, ...] = ("human", "algorithm")
    concurrency_level: Level = Level.MEDIUM
    #: Twice what evidence may be old at most: one renewal may fail, and be tried again.
    posture_max_age_s: int = 2 * POSTURE_MAX_AGE_S
    posture_level: Level = Level.MEDIUM
    #: In one segment it may be a release with a menu too many. In two it is the same subject, twice.
    lateral_segments: int = 2
    #: As many as a careful look around takes, and no menu.
    lateral_operations: int = 8
    lateral_within_s: int = 600
    lateral_level: Level = Level.HIGH
    sources: Mapping[str, Source] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def from_directory(cls, directory: Path) -> DetectorSettings:
        """Read ``detectors.toml``; ``ConfigurationError`` names file, line and what was expected."""
        path = directory / DETECTORS_FILE
        # A link that leads nowhere is a file that ought to be there.
        if not (path.exists() or path.is_symlink()):
            return cls()
        return _read(read_toml(path))

    def scan(self, table: SessionTable) -> Scan:
        """A scan of this table with these thresholds."""
        return Scan(
            table,
            rate_factor=self.rate_factor,
            rate_min_per_s=self.rate_min_per_s,
            rate_window_ms=self.rate_window_ms,
            rate_memory_s=self.rate_memory_s,
            rate_warm_up_s=self.rate_warm_up_s,
            denials=self.denials,
            replays=self.replays,
            burst_s=self.burst_s,
        )


# ---- The file


def _read(root: Table) -> DetectorSettings:
    root.allow_only(*_SECTIONS)
    default = DetectorSettings()
    scan, rate, posture = root.table("scan"), root.table("order-rate"), root.table("posture-silence")
    denials, replay, strangers = root.table("denials"), root.table("replay"), root.table("strangers")
    lateral, concurrency = root.table("lateral-movement"), root.table("concurrency")
    scan.allow_only("every_ms", "burst_s")
    rate.allow_only("factor", "min_per_s", "window_ms", "memory_s", "warm_up_s", "level")
    denials.allow_only("count", "level")
    replay.allow_only("count", "level")
    strangers.allow_only("count", "within_s")
    concurrency.allow_only("kinds", "level")
    posture.allow_only("max_age_s", "level")
    lateral.allow_only("segments", "operations", "within_s", "level")
    hours, hours_level = _hours(root.table("off-hours"), default.hours_level)
    return DetectorSettings(
        every_ms=scan.integer("every_ms", default.every_ms, low=10, high=60_000),
        burst_s=scan.integer("burst_s", default.burst_s, low=1, high=_DAY_S),
        rate_factor=rate.integer("factor", default.rate_factor, low=2, high=10_000),
        rate_min_per_s=rate.integer("min_per_s", default.rate_min_per_s, low=1, high=10**9),
        rate_window_ms=rate.integer("window_ms", default.rate_window_ms, low=100, high=600_000),
        rate_memory_s=rate.integer("memory_s", default.rate_memory_s, low=1, high=_DAY_S),
        rate_warm_up_s=rate.integer("warm_up_s", default.rate_warm_up_s, low=0, high=_DAY_S),
        rate_level=_level(rate, "level", default.rate_level),
        denials=denials.integer("count", default.denials, low=1, high=10**6),
        denials_level=_level(denials, "level", default.denials_level),
        replays=replay.integer("count", default.replays, low=1, high=10**6),
        replay_level=_level(replay, "level", default.replay_level),
        strangers=strangers.integer("count", default.strangers, low=1, high=10**9),
        strangers_within_s=strangers.integer("within_s", default.strangers_within_s, low=1, high=_DAY_S),
        hours=hours,
        hours_level=hours_level,
        concurrency_kinds=_kinds_of_subjects(concurrency, default.concurrency_kinds),
        concurrency_level=_level(concurrency, "level", default.concurrency_level),
        posture_max_age_s=posture.integer("max_age_s", default.posture_max_age_s, low=10, high=_DAY_S),
        posture_level=_level(posture, "level", default.posture_level),
        lateral_segments=lateral.integer("segments", default.lateral_segments, low=2, high=64),
        lateral_operations=lateral.integer("operations", default.lateral_operations, low=2, high=128),
        lateral_within_s=lateral.integer("within_s", default.lateral_within_s, low=1, high=_DAY_S),
        lateral_level=_level(lateral, "level", default.lateral_level),
        sources=_sources(root.table("sources")),
    )


def _level(table: Table, key: str, default: Level) -> Level:
    return Level(_LEVELS.index(table.word(key, _LEVELS))) if table.has(key) else default


def _kinds_of_subjects(table: Table, default: tuple[str, ...]) -> tuple[str, ...]:
    if not table.has("kinds"):
        return default
    kinds = table.texts("kinds")
    if not set(kinds) <= set(KINDS):
        raise table.error(f"expected some of {', '.join(KINDS)}", "kinds")
    return tuple(kinds)


def _hours(table: Table, default: Level) -> tuple[Mapping[str, UsualHours], Level]:
    table.allow_only(*KINDS, "level")
    found: dict[str, UsualHours] = {kind: _usual(table.table(kind)) for kind in KINDS if table.has(kind)}
    return MappingProxyType(found), _level(table, "level", default)


def _usual(table: Table) -> UsualHours:
    table.allow_only("from", "until", "days", "phases")
    begins, ends = _time(table, "from", "00:00"), _time(table, "until", "24:00")
    if begins == ends:
        raise table.error("expected another time than from", "until")
    days = table.texts("days") if table.has("days") else list(WEEKDAYS)
    if not days or not set(days) <= set(WEEKDAYS):
        raise table.error(f"expected some of {', '.join(WEEKDAYS)}", "days")
    phases = table.texts("phases")
    if not all(map(_NAME.fullmatch, phases)):
        raise table.error("expected phases of calendar.toml", "phases")
    return UsualHours(begins, ends, tuple(days), tuple(phases))


def _time(table: Table, key: str, default: str) -> int:
    found = _TIME.fullmatch(table.text(key, default, expected="a time like '09:30'"))
    hhmm = 0 if found is None else int(found.group(1)) * 100 + int(found.group(2))
    if found is None or hhmm > (2400 if key == "until" else 2359):
        raise table.error("expected a time like '09:30'", key)
    return hhmm


def _sources(table: Table) -> Mapping[str, Source]:
    found = {name: _source(name, row) for name, row in table.holders()}
    if len(found) > SOURCES_MAX:
        raise table.error(f"expected at most {SOURCES_MAX} sources")
    return MappingProxyType(found)


def _source(name: str, table: Table) -> Source:
    if name.startswith((LOCAL, "authority:")):
        raise table.error("expected another name, this one is for what is in the Authority's own process")
    table.allow_only("public_key", "kinds", "highest", "segments")
    kinds, segments = table.texts("kinds"), table.texts("segments")
    for where, names in (("kinds", kinds), ("segments", segments)):
        if not names or not all(map(_NAME.fullmatch, names)):
            raise table.error("expected at least one name of A-Z a-z 0-9 _ -", where)
    highest, public_key = _level(table, "highest", Level.MEDIUM), table.public_key("public_key")
    return Source(name, public_key, tuple(kinds), highest, tuple(segments))
