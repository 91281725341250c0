"""Notices, on the device itself, that something has happened which the last posture does not tell of.

Evidence is a picture of one moment. Between two pictures the host may have slept in somebody's hands, the
program's file may have been exchanged, or a debugger may sit in the process. Whoever looks often sees it
soon, so looking has to be cheap: files are looked at by what the directory says of them, and only what
differs there is read and hashed.

What is noticed is no evidence and convinces nobody; it is a reason to show fresh evidence now and not in five
minutes. A host whose kernel is in bad hands notices nothing, which is why silence counts, too.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ztsession.posture.collector import kernel_release, program_digest, running_program
from ztsession.posture.debugger import tracer
from ztsession.posture.packages import DATABASES, package_set

__all__ = ["CHANGES", "DEBUGGER", "KERNEL", "PACKAGES", "PROGRAM", "WOKEN", "DeviceWatch"]

WOKEN, PROGRAM, DEBUGGER, PACKAGES, KERNEL = "woken", "program", "debugger", "packages", "kernel"
#: What can be noticed.
CHANGES: Final = (WOKEN, PROGRAM, DEBUGGER, PACKAGES, KERNEL)

#: No suspension is as short; clocks that are read one after the other differ by less.
SLEPT_MIN_S: Final = 1.0

#: What changes when a file is written or exchanged; None where there is no such file.
_Look = tuple[int, int, int, int, int] | None


class DeviceWatch:
    """Looks at this host when asked to. Not thread-safe."""

    def __init__(
        self,
        root: Path = Path("/"),
        *,
        program: tuple[Path, ...] | None = None,
        boottime: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
        monotonic: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_MONOTONIC),
    ) -> None:
        """Take what is there now as known. ``program``: the files that make up the running program, as for
        :func:`~ztsession.posture.collector.collect`; the two clocks give seconds, one of them while the host
        sleeps as well.
        """
        self._root = root
        self._boottime, self._monotonic = boottime, monotonic
        files = running_program() if program is None else program
        self._program = _Hashed(files, lambda: program_digest(*files))
        databases = tuple(root / name for name in DATABASES)
        self._packages = _Hashed(databases, lambda: package_set(root))
        self._kernel, self._debugged = kernel_release(root), self._is_debugged()
        self._slept_s = self._sleep()

    def look(self) -> tuple[str, ...]:
        """What has happened since the last look, out of ``CHANGES``; a debugger that let go is no news."""
        happened = {
            WOKEN: self._has_slept(),
            PROGRAM: self._program.differs(),
            DEBUGGER: self._has_debugger(),
            PACKAGES: self._packages.differs(),
            KERNEL: self._has_kernel(),
        }
        return tuple(name for name in CHANGES if happened[name])

    def _has_slept(self) -> bool:
        slept_s = self._sleep()
        woken = slept_s - self._slept_s >= SLEPT_MIN_S
        self._slept_s = max(self._slept_s, slept_s)
        return woken

    def _sleep(self) -> float:
        # In this order: whoever is held up between the two looks at less sleep than there was, never at more.
        awake_and_asleep = self._boottime()
        return awake_and_asleep - self._monotonic()

    def _has_debugger(self) -> bool:
        before, self._debugged = self._debugged, self._is_debugged()
        return self._debugged and not before

    def _is_debugged(self) -> bool:
        return bool(tracer(self._root))

    def _has_kernel(self) -> bool:
        before, self._kernel = self._kernel, kernel_release(self._root)
        return self._kernel != before


@dataclass
class _Hashed:
    """Files, and the digest of what is in them."""

    files: tuple[Path, ...]
    hash: Callable[[], str]

    def __post_init__(self) -> None:
        self._seen = self._look()
        self._digest = self.hash()

    def differs(self) -> bool:
        """Whether the digest is another than the last time."""
        seen = self._look()
        if seen == self._seen:
            return False
        # Looked at before it is hashed: what changes in between is hashed again at the next look.
        before, self._seen, self._digest = self._digest, seen, self.hash()
        return self._digest != before

    def _look(self) -> tuple[_Look, ...]:
        return tuple(map(_look, self.files))


def _look(file: Path) -> _Look:
    try:
        at = os.stat(file)
    except OSError:
        return None
    # The last of them cannot be set by who writes the file, and makes good for the others.
    return at.st_dev, at.st_ino, at.st_size, at.st_mtime_ns, at.st_ctime_ns
