"""Where alerts are told within the process: the log, and a function of the program's.

A line of the log is JSON, so that whatever reads it needs to guess nothing, and is printable ASCII, so that
no name in it ends the line and begins a forged one (A12).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Final

from ztsession.risk.alert import Alert
from ztsession.risk.levels import Level

__all__ = ["CallbackSink", "LogSink"]

#: How the log's own levels are called for ours.
_LOGGED: Final = {
    Level.LOW: logging.INFO,
    Level.MEDIUM: logging.WARNING,
    Level.HIGH: logging.ERROR,
    Level.CRITICAL: logging.CRITICAL,
}


class LogSink:
    """Writes each alert as one line of JSON to the logger ``ztsession.alerts``."""

    def __init__(self, *, least: Level = Level.LOW, logger: str = "ztsession.alerts") -> None:
        self.name, self.least = "log", least
        self._logger = logging.getLogger(logger)

    def tell(self, alert: Alert) -> None:
        """Write it."""
        line = json.dumps(alert.form(), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
        self._logger.log(_LOGGED[alert.level], "%s", line)

    def close(self) -> None:
        """Nothing is held up here."""


class CallbackSink:
    """Calls a function with each alert, in a thread that does nothing else."""

    def __init__(
        self, call: Callable[[Alert], object], *, least: Level = Level.LOW, name: str = "callback"
    ) -> None:
        self.name, self.least = name, least
        self._call = call

    def tell(self, alert: Alert) -> None:
        """Call it; whatever it raises is logged, and that is all."""
        self._call(alert)

    def close(self) -> None:
        """A function cannot be given up: should it never return, its thread ends with the process."""
