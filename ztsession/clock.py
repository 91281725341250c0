"""Time for tests: one hand moves every clock.

Production reads the machine's monotonic clock inside the core and the wall clock only where certificates and
tickets expire. A FakeClock stands in for both, so that a test can sleep for an hour in no time.
"""

from __future__ import annotations

from typing import Protocol

__all__ = ["FakeClock"]


class _ManualClock(Protocol):
    def set_manual_clock(self, machine_us: int) -> None: ...


class FakeClock:
    """The machine's clock in microseconds and the wall clock in Unix seconds, moved by :meth:`advance`."""

    def __init__(self, *, machine_us: int = 1_000_000_000, unix_s: float = 1_900_000_000.0) -> None:
        self.machine_us, self._unix_s = machine_us, unix_s
        self._tables: list[_ManualClock] = []

    def time(self) -> float:
        """Unix seconds, for whatever takes a wall clock."""
        return self._unix_s

    def follow(self, table: _ManualClock) -> None:
        """Let a table made with ``manual_clock=True`` read this clock from now on."""
        self._tables.append(table)
        table.set_manual_clock(self.machine_us)

    def advance(self, seconds: float) -> None:
        """Move both clocks; negative values move them back, as a stepped clock would."""
        self._unix_s += seconds
        self.machine_us += round(seconds * 1_000_000)
        for table in self._tables:
            table.set_manual_clock(self.machine_us)
