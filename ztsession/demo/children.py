"""The roles' processes, as the director holds them: started, asked, and ended whatever happens.

Each role is a Python process of its own, so that what one of them knows another can only learn over a
socket. All are ended on the way out of :class:`Children`, be it success, failure, Ctrl-C or a request to
terminate.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import ztsession
from ztsession.errors import TransportError, ZtsError

__all__ = ["Child", "Children"]

#: A role that says nothing for so long has hung.
SILENCE_S = 20.0
_FAREWELL_S = 5.0


class Child:
    """One role's process; one command at a time."""

    def __init__(self, role: str, log: Path) -> None:
        """Start ``python -m ztsession.demo.<role>``; what it prints goes to ``log``."""
        self.role, self._log = role.removesuffix("_role").replace("_", "-"), log
        with log.open("wb") as errors:
            # Out of the terminal's process group: Ctrl-C is the director's business, who then ends everybody.
            self.process = subprocess.Popen(
                [sys.executable, "-m", f"ztsession.demo.{role}"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=_environment(),
                start_new_session=True,
            )
        self._said: queue.Queue[bytes] = queue.Queue()
        threading.Thread(target=self._listen, name=f"demo-{role}", daemon=True).start()

    def ask(self, do: str, **arguments: object) -> Any:
        """Give a command and wait for its result."""
        self.tell(do, **arguments)
        return self.answer()

    def tell(self, do: str, **arguments: object) -> None:
        """Give a command; :meth:`answer` has its result."""
        assert self.process.stdin is not None  # noqa: S101
        try:
            self.process.stdin.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
            self.process.stdin.flush()
        except OSError:
            raise self._died() from None

    def answer(self, on_progress: Callable[[dict[str, Any]], None] = lambda _: None) -> Any:
        """The result of the last command; ZtsError when it failed, TransportError when its process did."""
        while "progress" in (said := self._next()):
            on_progress(said["progress"])
        return said["done"]

    def first_progress(self) -> Any:
        """Wait until the last command has got going; errors as :meth:`answer`."""
        said = self._next()
        if "progress" not in said:
            raise TransportError(f"{self.role} was done before it had begun")
        return said["progress"]

    def hang_up(self, *, at_once: bool = False) -> None:
        """Tell it to end, without waiting for that."""
        assert self.process.stdin is not None  # noqa: S101
        if at_once:
            self.process.terminate()
        # What could not be written any more is nothing that it would still read.
        with suppress(OSError):
            self.process.stdin.close()

    def end(self) -> int:
        """Hang up, wait, and insist if it must be; the exit status."""
        self.hang_up()
        try:
            return self.process.wait(_FAREWELL_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def _next(self) -> dict[str, Any]:
        try:
            line = self._said.get(timeout=SILENCE_S)
        except queue.Empty:
            raise TransportError(f"{self.role} said nothing for {SILENCE_S:.0f} s") from None
        if not line:
            raise self._died()
        said: dict[str, Any] = json.loads(line)
        if "failed" in said:
            raise ZtsError(f"{self.role}: {said['failed']}")
        return said

    def _listen(self) -> None:
        assert self.process.stdout is not None  # noqa: S101
        with self.process.stdout as said:
            for line in said:
                self._said.put(line)
        self._said.put(b"")

    def _died(self) -> TransportError:
        last = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
        return TransportError(f"{self.role} ended before its time: {' / '.join(last) or 'it left no word'}")


class Children:
    """All roles of one run, as a context manager."""

    def __init__(self, logs: Path) -> None:
        """``logs``: a directory for what they print."""
        self._logs = logs
        self._children: list[Child] = []

    def start(self, role: str) -> Child:
        """Start one more."""
        child = Child(role, self._logs / f"{role}.log")
        self._children.append(child)
        return child

    def end(self, *, at_once: bool = False) -> dict[str, int]:
        """End all at the same time; exit status by role."""
        statuses = {}
        for child in self._children:
            child.hang_up(at_once=at_once)
        while self._children:
            child = self._children[-1]
            statuses[child.role] = child.end()
            self._children.pop()
        return statuses

    def __enter__(self) -> Self:
        """The children themselves."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End whoever still runs."""
        self.end(at_once=error is not None)


def _environment() -> dict[str, str]:
    # The roles run this very package, wherever it was imported from.
    home = str(Path(ztsession.__file__).parent.parent)
    paths = [home, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
