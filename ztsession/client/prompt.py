"""Asking somebody at a terminal for a one-time code.

The code is not shown while it is typed, what was typed before the question is thrown away, and nobody is
waited for without end: a program that trades must not hang on an empty chair. Nothing that is typed is kept
or logged here.
"""

from __future__ import annotations

import logging
import os
import re
import select
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ztsession.errors import ConfigurationError

__all__ = ["CodePrompt"]

_CODE: Final = re.compile(r"[0-9]{6}|[0-9]{8}", re.ASCII)
_LINE_MAX_BYTES: Final = 256

_log = logging.getLogger("ztsession.client")


class CodePrompt:
    """The call ``() -> str`` for :class:`TotpProver`: what was typed, "" for nobody, nothing or no code."""

    def __init__(
        self,
        *,
        tries: int = 3,
        timeout_s: float = 60.0,
        terminal: str = "/dev/tty",
        text: str = "One-time code",
    ) -> None:
        """``tries`` and ``timeout_s`` are for all calls of this prompt together."""
        if tries < 1 or not 0 < timeout_s < float("inf"):
            raise ConfigurationError("a prompt: expected at least one try, and some seconds for it")
        self._left, self._timeout_s, self._until = tries, timeout_s, 0.0
        self._terminal, self._text = terminal, text

    def __call__(self) -> str:
        """Ask until a code of 6 or 8 digits is typed; an empty line declines."""
        self._until = self._until or time.monotonic() + self._timeout_s
        try:
            handle = os.open(self._terminal, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError as error:
            _log.warning("nobody can be asked for a one-time code: %s: %s", self._terminal, error.strerror)
            return ""
        try:
            with _unseen(handle):
                return self._ask(handle)
        finally:
            os.close(handle)

    def _ask(self, handle: int) -> str:
        while self._left > 0:
            self._left -= 1
            os.write(handle, f"{self._text}: ".encode())
            typed = self._line(handle)
            os.write(handle, b"\n")
            if not typed or _CODE.fullmatch(typed):
                return typed
            os.write(handle, b"A one-time code has 6 or 8 digits.\n")
        return ""

    def _line(self, handle: int) -> str:
        ready, _, _ = select.select([handle], [], [], max(0.0, self._until - time.monotonic()))
        line = os.read(handle, _LINE_MAX_BYTES) if ready else b""
        return re.sub(r"\s", "", line.decode("ascii", "replace"))


@contextmanager
def _unseen(handle: int) -> Iterator[None]:
    before = termios.tcgetattr(handle)
    quiet = [*before[:3], before[3] & ~termios.ECHO | termios.ICANON, *before[4:]]
    termios.tcsetattr(handle, termios.TCSAFLUSH, quiet)
    try:
        yield
    finally:
        termios.tcsetattr(handle, termios.TCSAFLUSH, before)
