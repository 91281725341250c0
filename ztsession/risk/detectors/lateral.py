"""One subject that is turned away at several doors: lateral movement.

A single segment sees some refusals and nothing more. Together they show somebody who looks around with a
session that is not his: that is seen only where the reports of all segments meet, with the Authority. It is
held against the subject, because whoever has the credential would go on in the next session.

Segments are counted, and operations where they are known. Memory is bounded, whatever is reported (D6).

Correlation must not become promotion. Who took over one point could tell of eight operations that nobody has
asked for, and have anybody suspended by that. So what one source alone has told amounts to no more than what
that source might have said in so many words.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from ztsession.risk.detectors.protocol import Finding
from ztsession.risk.levels import Level

__all__ = ["LateralMovement"]

_SUBJECTS_MAX: Final = 65_536
#: Doors that are remembered of one subject: more than any threshold.
_DOORS_MAX: Final = 256
#: Not longer: whom an operator lets go on and who goes on like that is found again.
_LASTS_S: Final = 60

#: (kind of door, its name, who told of it).
_Door = tuple[str, str, str]


class _Knock(NamedTuple):
    """When somebody was refused at a door, and the worst that who told of it may say."""

    at: float
    most: Level


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
        self._doors: OrderedDict[str, dict[_Door, _Knock]] = OrderedDict()

    def __len__(self) -> int:
        """Of how many subjects something is remembered."""
        return len(self._doors)

    def forget(self, subject: str) -> None:
        """Somebody has looked into it: from here on ``subject`` is seen afresh."""
        with self._lock:
            self._doors.pop(subject, None)

    def denied(
        self,
        subject: str,
        segment: str,
        operations: Iterable[str] = (),
        *,
        at: float | None = None,
        by: str = "",
        most: Level = Level.CRITICAL,
    ) -> Finding | None:
        """``subject`` asked for what it may not have in ``segment``, for ``operations`` if that is known; at
        that time (Unix seconds) if not now, so that what is said twice happened once. ``by``: who tells of
        it, and ``most``: the worst that this one may say.
        """
        now = self._clock()
        with self._lock:
            doors = self._doors_of(subject)
            for kind, name in (("segment", segment), *(("operation", each) for each in operations)):
                door = (kind, name, by)
                known = doors.pop(door, None)
                when = now if at is None else at
                doors[door] = _Knock(max(known.at, when) if known else when, most)
            self._forget(doors, now)
            tried = {kind: sorted({n for k, n, _ in doors if k == kind}) for kind in ("segment", "operation")}
            tellers = {who: knock.most for (_, _, who), knock in doors.items()}
        if len(tried["segment"]) < self._segments and len(tried["operation"]) < self._operations:
            return None
        level = self._level if len(tellers) > 1 else min(self._level, *tellers.values())
        evidence = {"segments": " ".join(tried["segment"])[:256], "operations": str(len(tried["operation"]))}
        return Finding("lateral-movement", level, subject=subject, evidence=evidence, lasts_s=_LASTS_S)

    def _doors_of(self, subject: str) -> dict[_Door, _Knock]:
        self._doors[subject] = self._doors.pop(subject, {})
        if len(self._doors) > _SUBJECTS_MAX:
            self._doors.popitem(last=False)
        return self._doors[subject]

    def _forget(self, doors: dict[_Door, _Knock], now: float) -> None:
        for door in [door for door, knock in doors.items() if abs(now - knock.at) > self._within_s]:
            del doors[door]
        while len(doors) > _DOORS_MAX:
            del doors[next(iter(doors))]
