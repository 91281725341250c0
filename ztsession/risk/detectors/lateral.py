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

    def denied(self, subject: str, segment: str, operations: Iterable[str] = ()) -> Finding | None:
        """``subject`` asked for what it may not have in ``segment``, for ``operations`` if that is known."""
        now = self._clock()
        with self._lock:
            doors = self._recent(subject, now)
            for door in (("segment", segment), *(("operation", name) for name in operations)):
                doors.pop(door, None)
                doors[door] = now
            while len(doors) > _DOORS_MAX:
                del doors[next(iter(doors))]
            tried = {
                kind: sorted(name for k, name in doors if k == kind) for kind in ("segment", "operation")
            }
        if len(tried["segment"]) < self._segments and len(tried["operation"]) < self._operations:
            return None
        evidence = {"segments": " ".join(tried["segment"])[:256], "operations": str(len(tried["operation"]))}
        return Finding(
            "lateral-movement", self._level, subject=subject, evidence=evidence, lasts_s=self._within_s
        )

    def _recent(self, subject: str, now: float) -> dict[tuple[str, str], float]:
        known = self._doors.pop(subject, {})
        self._doors[subject] = {door: at for door, at in known.items() if abs(now - at) <= self._within_s}
        if len(self._doors) > _SUBJECTS_MAX:
            self._doors.popitem(last=False)
        return self._doors[subject]
