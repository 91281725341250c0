"""Calls at an hour at which nobody of that kind should be there.

What is forbidden at night belongs into a policy, which decides before the call. This is for what is not
forbidden and still a surprise: a trader's session at three in the morning is asked for a second factor, and
the algorithm that hedges overnight is not. Hours are the operator's to say; without any, nothing is found.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from ztsession._scan import Scan
from ztsession.policy.calendar import WEEKDAYS, Calendar, Moment
from ztsession.risk.detectors.protocol import Finding
from ztsession.risk.levels import Level

__all__ = ["OffHours", "UsualHours"]

#: Sessions that are looked at with each pass: the others' turn comes with the next ones.
_SESSIONS_PER_LOOK: Final = 4096
#: Whoever has answered at night is not asked again before the shift is over.
_LASTS_S: Final = 4 * 3600


@dataclass(frozen=True, slots=True)
class UsualHours:
    """When subjects of a kind are at work: on ``days``, from ``begins`` until before ``ends`` (hours and
    minutes as 0 to 2359; past midnight if it ends before it begins), in one of ``phases`` of the trading day
    if any is named.
    """

    begins: int = 0
    ends: int = 2400
    days: tuple[str, ...] = WEEKDAYS
    phases: tuple[str, ...] = ()

    def hold(self, moment: Moment) -> bool:
        """Whether this is one of those hours; one that begins in the evening belongs to that day."""
        day, hour = moment.weekday, moment.hhmm
        if self.begins < self.ends:
            within = self.begins <= hour < self.ends
        else:
            within = not self.ends <= hour < self.begins
            if hour < self.ends:
                day = WEEKDAYS[WEEKDAYS.index(day) - 1]
        return within and day in self.days and (not self.phases or moment.phase in self.phases)


class OffHours:
    """Finds sessions that are used at an unusual hour; signals of kind ``off-hours``."""

    def __init__(
        self,
        hours: Mapping[str, UsualHours],
        *,
        kind_of: Callable[[str], str],
        calendar: Calendar | None = None,
        level: Level = Level.MEDIUM,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``hours``: by kind of subject; ``kind_of``: a subject's, "" if that is not known. ``calendar``:
        where the firm is, UTC without one; ``clock``: Unix seconds.
        """
        self._hours, self._kind_of, self._calendar = dict(hours), kind_of, calendar or Calendar()
        self._level, self._clock, self._next = level, clock, 0

    def look(self, scan: Scan) -> Iterator[Finding]:
        """One finding for each session that has called since the last pass, at an unusual hour for it."""
        moment = self._calendar.at(self._clock())
        off = {kind for kind, usual in self._hours.items() if not usual.hold(moment)}
        if not off:
            return
        rows, self._next = scan.active(self._next, _SESSIONS_PER_LOOK)
        for row in rows:
            record = scan.record(row)
            if record is not None and (kind := self._kind_of(record.subject)) in off:
                evidence = {"hhmm": f"{moment.hhmm:04d}", "weekday": moment.weekday, "kind": kind}
                yield Finding(
                    "off-hours", self._level, session=record.session, evidence=evidence, lasts_s=_LASTS_S
                )
