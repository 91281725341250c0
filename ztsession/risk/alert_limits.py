"""How many alerts people are told: enough to act on, and not so many that nobody looks.

Alerts of one kind at one level have a window. The first opens it and is told at once. In it, others are told
until there are too many of the kind, or of all kinds together; repetitions are counted, and so are those past
the bounds. When it ends, what was counted is told, each repetition with its count and the rest as one number,
which opens the next window; or nothing was, and the kind is forgotten.

That is all by a clock that is handed in, so that the same alerts at the same times are told in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from ztsession.errors import ConfigurationError
from ztsession.risk.alert import Alert
from ztsession.risk.levels import Level

__all__ = ["AlertLimits"]

WINDOW_S: Final = 60.0
PER_KIND: Final = 10
PER_WINDOW: Final = 30
#: Windows that are open at once; kinds past that share one.
WINDOWS_MAX: Final = 64

#: What a window is for: a kind of alert at one level. A worse one is not held up by many that are less bad.
_For = tuple[str, Level]
_OTHERS: Final[_For] = ("", Level.LOW)


@dataclass
class _Window:
    """What was told since it was opened, with the repetitions of each, and what was not told by itself."""

    until_s: float
    told: dict[tuple[str, tuple[str, str]], Alert | None] = field(default_factory=dict)
    rest: Alert | None = None


class AlertLimits:
    """Decides which alerts are told, when. Not thread-safe; memory is bounded by the limits."""

    def __init__(
        self, *, window_s: float = WINDOW_S, per_kind: int = PER_KIND, per_window: int = PER_WINDOW
    ) -> None:
        """``per_kind``: different alerts of one kind and level in ``window_s``; ``per_window``: of all kinds,
        not counting the first of each.
        """
        if window_s <= 0 or per_kind < 1 or per_window < 0:
            raise ConfigurationError("alert limits: expected a window of some seconds and at least one alert")
        self._window_s, self._per_kind, self._per_window = window_s, per_kind, per_window
        self._windows: dict[_For, _Window] = {}
        self._count, self._count_until_s = 0, 0.0

    def admit(self, alert: Alert, now_s: float) -> list[Alert]:
        """Take one alert in; what is to be told now, of it and of what has become due."""
        due = self.due(now_s)
        window = self._window_of(alert, now_s)
        return due + self._taken(window, alert, now_s)

    def due(self, now_s: float) -> list[Alert]:
        """What was counted in windows that are over."""
        over = [kind for kind, window in self._windows.items() if window.until_s <= now_s]
        return [alert for kind in over for alert in self._ended(kind, now_s)]

    def next_s(self) -> float | None:
        """When to ask for :meth:`due` again; None when nothing is counted."""
        return min((window.until_s for window in self._windows.values()), default=None)

    def rest(self) -> list[Alert]:
        """All that was counted, now, without regard to the bounds; forgets every window."""
        windows, self._windows = self._windows, {}
        counted = [[*window.told.values(), window.rest] for window in windows.values()]
        return [alert for alerts in counted for alert in alerts if alert is not None]

    def _window_of(self, alert: Alert, now_s: float) -> _Window:
        kind = (alert.what, alert.level)
        if kind not in self._windows and len(self._windows) >= WINDOWS_MAX:
            kind = _OTHERS
        return self._windows.setdefault(kind, _Window(now_s + self._window_s))

    def _taken(self, window: _Window, alert: Alert, now_s: float) -> list[Alert]:
        if alert.key in window.told:
            window.told[alert.key] = _repeated(window.told[alert.key], alert)
            return []
        if not window.told or (len(window.told) < self._per_kind and self._has_room(now_s)):
            window.told[alert.key] = None
            return [alert]
        window.rest = _several(window.rest, alert)
        return []

    def _ended(self, kind: _For, now_s: float) -> list[Alert]:
        old = self._windows.pop(kind)
        counted = [alert for alert in old.told.values() if alert is not None]
        if not counted and old.rest is None:
            return []
        fresh = self._windows[kind] = _Window(now_s + self._window_s)
        told = [] if old.rest is None else [old.rest]
        for alert in counted:
            told += self._taken(fresh, alert, now_s)
        return told

    def _has_room(self, now_s: float) -> bool:
        if self._count_until_s <= now_s:
            self._count, self._count_until_s = 0, now_s + self._window_s
        self._count += 1
        return self._count <= self._per_window


def _repeated(before: Alert | None, alert: Alert) -> Alert:
    if before is None:
        return alert
    return replace(alert, level=max(before.level, alert.level), count=before.count + alert.count)


def _several(before: Alert | None, alert: Alert) -> Alert:
    kind, name = alert.about
    why = f"too many to be told one by one, the last of them about {kind} {name}: {alert.why}"
    return _repeated(before, replace(alert, about=("several", ""), why=why))
