"""Alerts: what people are told, at once, and never at the cost of what is being protected.

Whoever raises an alert is in the middle of a decision, often with a lock held. So raising one neither blocks
nor raises: it is counted, put down in a place of bounded size, and told by other threads, one for each sink,
so that a webhook that nobody answers delays no line of the log.

An attacker who can cause alerts would like to cause so many that nobody reads them, or that the one about him
is lost among them (D8). What is the same is told once with a count, each kind has a bound of its own, and the
first of a kind at its level is told whatever the others do. What was not told one by one is told as a number.

Alerts are kept in memory alone: what was not told when the process is killed is lost. The audit log has what
they were about.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from types import TracebackType
from typing import Final, Protocol, Self

from ztsession.risk.alert import Alert
from ztsession.risk.alert_limits import AlertLimits
from ztsession.risk.levels import Level

__all__ = ["AlertSink", "Alerts"]

#: Alerts that wait for one sink; the first of a kind is taken beyond that.
WAITING_MAX: Final = 256
CLOSE_S: Final = 5.0

_log = logging.getLogger("ztsession.alerts")


class AlertSink(Protocol):
    """Somewhere that alerts are told, each sink from a thread of its own."""

    @property
    def name(self) -> str:
        """What the log calls it."""

    @property
    def least(self) -> Level:
        """What is below this level is not told here."""

    def tell(self, alert: Alert) -> None:
        """Tell one alert; whatever it raises is logged, and counted as an alert that was not told."""

    def close(self) -> None:
        """Give up what is being told, at once: :meth:`tell` returns or raises soon."""


class Alerts:
    """Takes alerts from anywhere and has them told. Thread-safe."""

    def __init__(
        self,
        sinks: Iterable[AlertSink] = (),
        *,
        limits: AlertLimits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start a thread for each sink. ``clock`` gives seconds that never go back, for ``limits``."""
        self._limits, self._clock = limits or AlertLimits(), clock
        self._news = threading.Condition()
        self._closed = False
        self._raised = 0
        self._lines = [_Line(sink) for sink in sinks]
        self._threads = [
            threading.Thread(target=self._run, args=(line,), name=f"ztsession-{line.sink.name}", daemon=True)
            for line in self._lines
        ]
        for thread in self._threads:
            thread.start()

    @property
    def raised(self) -> int:
        """How many alerts were raised."""
        return self._raised

    @property
    def told(self) -> dict[str, int]:
        """How many were told, by the name of the sink."""
        return {line.sink.name: line.told for line in self._lines}

    @property
    def lost(self) -> dict[str, int]:
        """How many did not reach a sink, because it failed or was too slow, by its name."""
        return {line.sink.name: line.lost for line in self._lines}

    def raise_alert(self, alert: Alert) -> None:
        """Have an alert told; returns at once, and raises nothing."""
        with self._news:
            self._raised += 1
            if self._closed or not self._lines:
                return
            self._hand_over(self._limits.admit(alert, self._clock()))

    def flush(self, timeout_s: float = CLOSE_S) -> bool:
        """Tell all that waits, repetitions too; whether it was told, or failed, within ``timeout_s``."""
        with self._news:
            self._hand_over(self._limits.rest())
            return self._news.wait_for(self._idle, timeout_s)

    def close(self, timeout_s: float = CLOSE_S) -> None:
        """Tell what waits, as :meth:`flush`, and stop; closing twice is harmless."""
        with self._news:
            self._hand_over(self._limits.rest())
            self._closed = True
            self._news.wait_for(self._idle, timeout_s)
            given_up = sum(line.give_up() for line in self._lines)
            self._news.notify_all()
        if given_up:
            _log.warning("%d alerts were not told before the end", given_up)
        for line in self._lines:
            line.sink.close()

    def __enter__(self) -> Self:
        """The alerts themselves."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    # ---- With the lock held

    def _hand_over(self, alerts: Iterable[Alert]) -> None:
        for alert in alerts:
            for line in self._lines:
                line.put(alert)
        self._news.notify_all()

    def _idle(self) -> bool:
        return not any(line.waiting or line.telling for line in self._lines)

    # ---- In a sink's thread

    def _run(self, line: _Line) -> None:
        while (alert := self._next(line)) is not None:
            failed = _told(line.sink, alert)
            with self._news:
                line.done(alert, failed)
                self._news.notify_all()

    def _next(self, line: _Line) -> Alert | None:
        with self._news:
            while not line.waiting:
                if self._closed:
                    return None
                self._hand_over_due()
                if not line.waiting:
                    self._news.wait(self._pause_s())
            return line.take()

    def _hand_over_due(self) -> None:
        due = self._limits.due(self._clock())
        if due:
            self._hand_over(due)

    def _pause_s(self) -> float | None:
        next_s = self._limits.next_s()
        return None if next_s is None else max(0.0, next_s - self._clock())


class _Line:
    """What waits for one sink; only used with the lock held."""

    def __init__(self, sink: AlertSink) -> None:
        self.sink = sink
        self.waiting = deque[Alert]()
        self.telling = False
        self.told = self.lost = 0
        self._untold = 0

    def put(self, alert: Alert) -> None:
        if alert.level < self.sink.least:
            return
        if len(self.waiting) >= WAITING_MAX and any(alert.what == each.what for each in self.waiting):
            self._lose(alert)
        else:
            self.waiting.append(alert)

    def take(self) -> Alert:
        self.telling = True
        alert = self.waiting.popleft()
        return replace(alert, untold=self._untold) if self._untold else alert

    def done(self, alert: Alert, failed: bool) -> None:
        self.telling = False
        if failed:
            self._lose(alert)
        else:
            self.told += 1
            # What was lost while this one was told is for the next.
            self._untold -= alert.untold

    def give_up(self) -> int:
        left = len(self.waiting) + self.telling
        self.lost += len(self.waiting)
        self.waiting.clear()
        return left

    def _lose(self, alert: Alert) -> None:
        self.lost += 1
        self._untold += alert.count


def _told(sink: AlertSink, alert: Alert) -> bool:
    """Tell it; whether that failed."""
    try:
        sink.tell(alert)
    except BaseException as error:
        # Whatever it raises, SystemExit too: without this thread nobody would be told any more.
        _log.warning("an alert (%s) did not reach %s: %.200a", alert.what, sink.name, str(error))
        return True
    return False
