"""Whether somebody holds this process by ptrace, and can read its keys and change what it does."""

from __future__ import annotations

from pathlib import Path

__all__ = ["tracer"]

_TASKS = "proc/self/task"
_TRACER = "TracerPid:"


def tracer(root: Path = Path("/")) -> int | None:
    """The process id of who traces any thread of this process (ptrace(2)), 0 if nobody does; None where that
    cannot be read.

    A tracer in another container has no id here, and looks like nobody.
    """
    # Each thread has a tracer of its own: to look at the first one only would overlook who took another.
    try:
        tasks = list((root / _TASKS).iterdir())
        return max(_tracer_of(task) for task in tasks)
    except (OSError, ValueError):
        return None


def _tracer_of(task: Path) -> int:
    try:
        lines = (task / "status").read_text("ascii", "replace").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0  # this thread ended meanwhile
    [found] = [line.removeprefix(_TRACER) for line in lines if line.startswith(_TRACER)]
    return int(found)
