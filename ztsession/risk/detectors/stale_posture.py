"""A session that goes on calling while nothing has been heard of its device for too long.

A client that keeps its session renews it, and shows its posture each time; each renewal is a session of its
own, so one that has lived for much longer than that has stopped showing. Either its agent was stopped, or
it does not want to be looked at.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final

from ztsession._records import Installation
from ztsession._scan import Scan
from ztsession.posture.devices import NO_DEVICE
from ztsession.risk.detectors.protocol import Finding
from ztsession.risk.levels import Level

__all__ = ["StalePosture"]

#: Each may cost a look into the Authority's database.
_SESSIONS_PER_LOOK: Final = 256


class StalePosture:
    """Finds sessions with a device whose evidence is too old; signals of kind ``posture-silence``."""

    def __init__(
        self,
        *,
        max_age_s: int = 1200,
        shown_at: Callable[[bytes], float | None] | None = None,
        level: Level = Level.MEDIUM,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``shown_at``: when a session (16-byte id) last showed its device (Unix seconds), None if nobody
        knows. Without it a session is as old as its installation here is known, which a client can make
        younger by presenting its ticket again, up to 16 times.
        """
        self._max_age_s, self._shown_at = max_age_s, shown_at
        self._level, self._clock, self._next = level, clock, 0

    def look(self, scan: Scan) -> Iterator[Finding]:
        """One finding for each session that has called since the last pass, with evidence that is too old."""
        rows, self._next = scan.active(self._next, _SESSIONS_PER_LOOK)
        for row in rows:
            record = scan.record(row)
            if record is None or record.device == NO_DEVICE:
                continue
            age_s = self._age_s(record, scan.known_us[row] / 1e6)
            if age_s > self._max_age_s:
                evidence = {"age_s": f"{age_s:.0f}", "device": record.device}
                yield Finding("posture-silence", self._level, session=record.session, evidence=evidence)

    def _age_s(self, record: Installation, known_s: float) -> float:
        shown = None if self._shown_at is None else self._shown_at(record.session)
        return known_s if shown is None else self._clock() - shown
