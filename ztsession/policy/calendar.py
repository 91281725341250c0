"""Time as policies see it: the clock of one place, and the phases of its trading day.

Policies compare time with what is written in them and nothing else, so between two of those moments no answer
can change. :meth:`Calendar.changes` gives the moments. That is how a decision that depends on time gets an
end, to the second, instead of being asked again with every call.

    timezone = "America/New_York"
    closed_on = ["sat", "sun", "2026-12-25"]

    [phases]
    pre-open = "04:00"
    continuous = "09:30"
    closed = "16:00"

    [days."2026-11-27"]
    continuous = "09:30"
    closed = "13:00"

A phase lasts until the next one begins, and never past midnight: a day begins in the phase "closed".
"""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from ztsession.policy.mentions import Mentions
from ztsession.wire import canonical
from ztsession.wire.operator_file import Table, read_toml

__all__ = ["CALENDAR_FILE", "CLOSED", "WEEKDAYS", "Calendar", "Moment"]

#: The calendar's name inside a policy directory.
CALENDAR_FILE: Final = "calendar.toml"
#: The phase in which every day begins.
CLOSED: Final = "closed"
WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

PHASES_MAX: Final = 32
DAYS_MAX: Final = 1024

_PHASE: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_TIME: Final = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")
_DAY: Final = timedelta(days=1)

#: The phases of a day in order: when each begins, and its name.
Plan = tuple[tuple[time, str], ...]


@dataclass(frozen=True, slots=True)
class Moment:
    """What policies see of one moment: ``hhmm`` 0 to 2359, ``weekday`` "mon" to "sun", ``date`` YYYYMMDD."""

    hhmm: int
    weekday: str
    date: int
    phase: str


@dataclass(frozen=True)
class Calendar:
    """One place's clock and trading days; without a file: UTC, and no phases."""

    timezone: str = "UTC"
    plan: Plan = ()
    closed_on: frozenset[str] = frozenset()
    days: Mapping[str, Plan] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def load(cls, path: Path) -> Calendar:
        """Read a calendar file, if there is one; ConfigurationError naming file, line and what was
        expected.
        """
        # A link that leads nowhere is a file that ought to be there.
        return _read(read_toml(path)) if path.exists() or path.is_symlink() else cls()

    @property
    def phases(self) -> tuple[str, ...]:
        """All phases that a day can have; none if nothing declares any."""
        plans = [plan for plan in (self.plan, *self.days.values()) if plan]
        return tuple(dict.fromkeys([CLOSED, *(name for plan in plans for _, name in plan)])) if plans else ()

    def at(self, unix_s: float) -> Moment:
        """What policies see at ``unix_s`` (Unix seconds)."""
        local = datetime.fromtimestamp(unix_s, UTC).astimezone(self._zone)
        return Moment(
            local.hour * 100 + local.minute,
            WEEKDAYS[local.weekday()],
            local.year * 10_000 + local.month * 100 + local.day,
            self._phase(local),
        )

    def changes(self, after: float, before: float, mentioned: Mentions) -> Iterator[float]:
        """Every moment in ``after < t < before`` (Unix seconds) at which an answer of policies that mention
        ``mentioned`` can change, in order; more of them do no harm.
        """
        if not mentioned.time:
            return
        day = datetime.fromtimestamp(after, UTC).astimezone(self._zone).date()
        while True:
            for at in sorted(self._changes_of(day, mentioned)):
                if at >= before:
                    return
                if at > after:
                    yield at
            day += _DAY

    def canonical(self) -> dict[str, Any]:
        """All of it, for a digest."""
        return {
            "timezone": self.timezone,
            "plan": _rows(self.plan),
            "closed_on": sorted(self.closed_on),
            "days": {day: _rows(plan) for day, plan in self.days.items()},
        }

    @property
    def digest_part(self) -> bytes:
        """The canonical bytes of :meth:`canonical`."""
        return canonical.encode(self.canonical())

    @property
    def _zone(self) -> tzinfo:
        return _zone(self.timezone)

    def _plan_of(self, day: date) -> Plan:
        own = self.days.get(day.isoformat())
        if own is not None:
            return own
        closed = not self.closed_on.isdisjoint((day.isoformat(), WEEKDAYS[day.weekday()]))
        return () if closed else self.plan

    def _phase(self, local: datetime) -> str:
        begun = [name for at, name in self._plan_of(local.date()) if at <= local.time()]
        return begun[-1] if begun else CLOSED

    def _changes_of(self, day: date, mentioned: Mentions) -> set[float]:
        times = {time(0)} | {time(hhmm // 100, hhmm % 100) for hhmm in mentioned.minutes}
        if mentioned.phase:
            times |= {at for at, _ in self._plan_of(day)}
        # Both readings of an hour that comes twice or never: one of them is the right one, or none is needed.
        local = [datetime.combine(day, at, self._zone).replace(fold=fold) for at in times for fold in (0, 1)]
        return {moment.timestamp() for moment in local} | self._clock_changes(day)

    def _clock_changes(self, day: date) -> set[float]:
        """When the clocks are put forward or back on ``day``: what is compared then jumps."""
        midnight = datetime.combine(day, time(0), self._zone).timestamp()
        hours = [midnight + 3600 * hour for hour in range(26)]
        offsets = [datetime.fromtimestamp(at, self._zone).utcoffset() for at in hours]
        jumps = [pair[0] for pair, (a, b) in zip(pairwise(hours), pairwise(offsets), strict=True) if a != b]
        # Clocks change on a quarter of an hour, everywhere and always since there are time zones.
        return {at + 900 * quarter for at in jumps for quarter in range(5)}


def _zone(name: str) -> tzinfo:
    # UTC is known also where no time zone database is.
    return UTC if name == "UTC" else zoneinfo.ZoneInfo(name)


def _rows(plan: Plan) -> list[list[str]]:
    return [[at.isoformat("minutes"), name] for at, name in plan]


# ---- The file


def _read(root: Table) -> Calendar:
    root.allow_only("timezone", "closed_on", "phases", "days")
    timezone = root.text("timezone", "UTC")
    try:
        _zone(timezone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        # A region alone ("Europe") is a directory of the database, and no zone.
        message = f"expected a time zone like 'Europe/London', found {timezone[:64]!r}"
        raise root.error(message, "timezone") from None
    if not root.has("phases"):
        raise root.error("expected the phases of a trading day", "phases")
    rows = dict(root.table("days").tables())
    if len(rows) > DAYS_MAX:
        raise root.error(f"expected at most {DAYS_MAX} days", "days")
    for day, row in rows.items():
        if not _is_date(day):
            raise row.error("expected a date like 2026-12-24")
    days = {day: _plan(row) for day, row in rows.items()}
    closed_on = root.texts("closed_on")
    for day in closed_on:
        if day not in WEEKDAYS and not _is_date(day):
            raise root.error(f"expected {', '.join(WEEKDAYS)} or dates, found {day!r}", "closed_on")
        if day in days:
            raise root.error(f"{day} is closed and has phases of its own", "closed_on")
    return Calendar(timezone, _plan(root.table("phases")), frozenset(closed_on), MappingProxyType(days))


def _plan(table: Table) -> Plan:
    names = table.keys()
    plan = tuple(sorted((_time(table, name), name) for name in names))
    if not 1 <= len(plan) <= PHASES_MAX:
        raise table.error(f"expected 1 to {PHASES_MAX} phases")
    for (earlier, one), (later, other) in pairwise(plan):
        if earlier == later:
            raise table.error(f"expected a time of its own, {one} begins then, too", other)
    return plan


def _time(table: Table, name: str) -> time:
    if not _PHASE.fullmatch(name):
        raise table.error("expected a phase's name of 1 to 32 characters a-z, 0-9, _ and -", name)
    found = _TIME.fullmatch(table.text(name, expected="a time like '09:30'"))
    if not found:
        raise table.error("expected a time like '09:30'", name)
    return time(int(found.group(1)), int(found.group(2)))


def _is_date(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
