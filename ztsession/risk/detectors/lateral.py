"""One subject that is turned away at several doors: lateral movement.

A single segment sees some refusals and nothing more. Together they show somebody who looks around with a
session that is not his: that is seen only where the reports of all segments meet, with the Authority. It is
held against the subject, because whoever has the credential would go on in the next session.

Segments are counted, and operations where they are known. Memory is bounded, whatever is reported (D6).
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final

from ztsession.risk.detectors.protocol import Finding
from ztsession.risk.levels import Level

__all__ = ["LateralMovement"]

_SUBJECTS_MAX: Final = 65_536
#: Doors that are remembered of one subject: more than any threshold.
_DOORS_MAX: Final = 256
#: Not longer: whom an operator lets go on and who goes on like that is found again.
_LASTS_S: Final = 60


class LateralMovement:
    """Correlates refusals; signals of kind ``lateral-movement``. Thread-safe."""

    def __init__(
        self,
        *,
        segments: int = 2,
        operations: int = 8,
        within_s: int = 600,
        level: Level = Level.HIGH,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``segments`` or ``operations``: how many different ones within ``within_s`` seconds are too
        many.
        """
        self._segments, self._operations, self._within_s = segments, operations, within_s
        self._level, self._clock, self._lock = level, clock, threading.Lock()
        self._doors: OrderedDict[str, dict[tuple[str, str], float]] = OrderedDict()

    def __len__(self) -> int:
        """Of how many subjects something is remembered."""
        return len(self._doors)

    def denied(
        self, subject: str, segment: str, operations: Iterable[str] = (), *, at: float | None = None
    ) -> Finding | None:
        """``subject`` asked for what it may not have in ``segment``, for ``operations`` if that is known; at
        that time (Unix seconds) if not now, so that what is said twice happened once.
        """
        now = self._clock()
        with self._lock:
            doors = self._doors_of(subject)
            for door in (("segment", segment), *(("operation", name) for name in operations)):
                doors[door] = max(doors.pop(door, 0.0), now if at is None else at)
            self._forget(doors, now)
            tried = {
                kind: sorted(name for k, name in doors if k == kind) for kind in ("segment", "operation")
            }
        if len(tried["segment"]) < self._segments and len(tried["operation"]) < self._operations:
            return None
        evidence = {"segments": " ".join(tried["segment"])[:256], "operations": str(len(tried["operation"]))}
        return Finding("lateral-movement", self._level, subject=subject, evidence=evidence, lasts_s=_LASTS_S)

    def _doors_of(self, subject: str) -> dict[tuple[str, str], float]:
        self._doors[subject] = self._doors.pop(subject, {})
        if len(self._doors) > _SUBJECTS_MAX:
            self._doors.popitem(last=False)
        return self._doors[subject]

    def _forget(self, doors: dict[tuple[str, str], float], now: float) -> None:
        for door in [door for door, at in doors.items() if abs(now - at) > self._within_s]:
            del doors[door]
        while len(doors) > _DOORS_MAX:
            del doors[next(iter(doors))]
