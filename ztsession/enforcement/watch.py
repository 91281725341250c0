"""Detectors at work: a pass over the point's counters every so often; what is found goes to the Authority.

    Watch(point, StandardDetectors(), report=authority.signal)

Nothing of this is on the path of a call. The pass reads what calls have counted, with the GIL released; what
follows is about the few sessions that crossed a threshold.

A finding is reported once for as long as it lasts. What could not be reported is not lost: it waits here, the
worst first, and is said again with the next pass, until it is no longer true. A detector that fails takes
nobody else with it, and a kind of findings that is not taken no other kind.

What was counted before the watch began is nobody's burst now: it starts from there.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Final, Self

from ztsession.enforcement.point import EnforcementPoint
from ztsession.errors import AuditError, StoreError, TransportError
from ztsession.risk.detectors.protocol import Detector, Finding
from ztsession.risk.detectors.settings import LOCAL, DetectorSettings
from ztsession.risk.levels import Level
from ztsession.risk.signals import Signal

__all__ = ["Watch"]

#: Findings that are remembered; a point with more of them at once has other worries than saying one twice.
FINDINGS_MAX: Final = 1 << 17
#: Whoever takes longer than that to say nothing is not asked again in the same pass.
_PATIENCE_S: Final = 1.0
#: What :attr:`Finding.about` gives.
_About = tuple[str, Level, str, bytes, str]

_log = logging.getLogger("ztsession.enforcement")


class Watch:
    """Watches one point for as long as that lives; ``close()`` it, or use it as a context manager."""

    def __init__(
        self,
        point: EnforcementPoint,
        detectors: Iterable[Detector],
        *,
        report: Callable[[Signal], object],
        settings: DetectorSettings | None = None,
        every_s: float | None = None,
        source: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``report``: ``Authority.signal``, or what stands for it here; StoreError and TransportError mean
        that it is to be tried again. ``every_s``: as in ``settings`` if not given; 0: only when :meth:`once`
        is called. ``source``: who says so, "point:" and the segment if not given. ``clock``: Unix seconds.
        """
        chosen = settings or DetectorSettings()
        self._detectors, self._report, self._clock = list(detectors), report, clock
        self._segment = point.segment
        self._source = source or f"{LOCAL}{point.segment}"
        self._scan = chosen.scan(point.table)
        self._scan.take()
        self._lock, self._stopping = threading.Lock(), threading.Event()
        #: Since when, and for how many seconds, each finding is the same one.
        self._known: dict[_About, tuple[float, float]] = {}
        self._waiting: dict[_About, Signal] = {}
        self._failing: set[int] = set()
        self._silent = False
        pause_s = chosen.every_ms / 1000 if every_s is None else every_s
        if pause_s:
            # The point itself is held weakly: a dropped one must not live for ever.
            arguments = (weakref.ref(point), pause_s)
            name = f"ztsession-watch-{point.segment}"
            threading.Thread(target=self._run, args=arguments, name=name, daemon=True).start()

    def once(self) -> list[Signal]:
        """One pass now; the signals that were reported with it."""
        with self._lock:
            now = self._clock()
            self._forget(now)
            self._scan.take()
            for detector in self._detectors:
                self._ask(detector, now)
            return self._deliver()

    @property
    def waiting(self) -> int:
        """How many signals could not be reported yet."""
        return len(self._waiting)

    def close(self) -> None:
        """Watch no more; what is waiting is given up."""
        self._stopping.set()

    def __enter__(self) -> Self:
        """The watch itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    # ---- Inside

    def _run(self, reference: weakref.ReferenceType[EnforcementPoint], pause_s: float) -> None:
        while not self._stopping.wait(pause_s):
            point = reference()
            if point is None or point.closed:
                return
            del point
            try:
                self.once()
            except Exception:
                # Whatever it was, an attack would go unseen from now on.
                _log.exception("a pass over segment %s failed", self._segment)

    def _ask(self, detector: Detector, now: float) -> None:
        try:
            for finding in detector.look(self._scan):
                self._take(finding, now)
        except Exception:
            if id(detector) not in self._failing:
                _log.exception("%s failed at segment %s", type(detector).__name__, self._segment)
            self._failing.add(id(detector))
        else:
            self._failing.discard(id(detector))

    def _take(self, finding: Finding, now: float) -> None:
        if finding.about in self._known:
            return
        if len(self._known) >= FINDINGS_MAX:
            _log.error("segment %s has more findings than can be kept; one is dropped", self._segment)
            return
        self._waiting[finding.about] = finding.signal(self._source, now, segment=self._segment)
        self._known[finding.about] = now, finding.lasts_s

    def _forget(self, now: float) -> None:
        # What is from the future was found by a clock that has been set back since.
        over = [about for about, (at, lasts_s) in self._known.items() if not 0 <= now - at < lasts_s]
        for about in over:
            del self._known[about]
            if self._waiting.pop(about, None) is not None:
                _log.error("segment %s could not report a finding of kind %s", self._segment, about[0])

    def _deliver(self) -> list[Signal]:
        delivered: list[Signal] = []
        not_taken: set[tuple[str, Level]] = set()
        until = time.monotonic() + _PATIENCE_S
        for about, signal in sorted(self._waiting.items(), key=lambda each: -each[1].level):
            if (signal.kind, signal.level) in not_taken:
                continue
            try:
                self._report(signal)
            except (StoreError, TransportError) as error:
                self._log_silence(error)
                if time.monotonic() > until:
                    return delivered
                # A refusal looks like silence, as it is nobody's signature; but it comes at once, and is of
                # one kind. What may not be said from here must not keep back what may.
                not_taken.add((signal.kind, signal.level))
                continue
            except AuditError as error:
                # In force, and that it is not in the log is known to whoever keeps it.
                _log.error("segment %s: a signal is not in the audit log: %s", self._segment, error)
            except Exception:
                # Another try would fail as well, and hold up all the others.
                _log.exception("segment %s: a signal of kind %s was not taken", self._segment, signal.kind)
                del self._waiting[about]
                continue
            del self._waiting[about]
            delivered.append(signal)
        self._silent = bool(not_taken)
        return delivered

    def _log_silence(self, error: Exception) -> None:
        # Once, and not with each pass.
        level = logging.DEBUG if self._silent else logging.WARNING
        _log.log(
            level, "segment %s cannot report %d signals yet: %s", self._segment, len(self._waiting), error
        )
        self._silent = True
