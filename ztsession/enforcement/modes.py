"""Which sessions are in another mode than NORMAL, also those that are not installed here yet (R16).

It must not be forgotten while a ticket of the session could still be presented, and must be at some time, or
the memory of a point would grow with every session that ever ended (D6). So there are two generations: what
was heard goes into the younger, and when that is older than any session can get, the elder is dropped.
"""

from __future__ import annotations

from ztsession.bus.taken import GENERATION_US
from ztsession.risk.levels import Mode

__all__ = ["KnownModes"]


class KnownModes:
    """Modes by session id. Not thread-safe."""

    def __init__(self) -> None:
        self._younger: dict[bytes, Mode] = {}
        self._elder: dict[bytes, Mode] = {}
        self._began_us: int | None = None

    def __len__(self) -> int:
        """How many sessions are remembered."""
        return len(self._younger) + len(self._elder)

    def get(self, session: bytes) -> Mode:
        """The mode of a session (16-byte id)."""
        return self._younger.get(session) or self._elder.get(session, Mode.NORMAL)

    def put(self, session: bytes, mode: Mode) -> None:
        """Remember a session's mode."""
        self._elder.pop(session, None)
        if mode is Mode.NORMAL:
            self._younger.pop(session, None)
        else:
            self._younger[session] = mode

    def age(self, now_us: int) -> None:
        """Let time pass; ``now_us`` is session time, which no wall clock can turn."""
        if self._began_us is None:
            self._began_us = now_us
        elif now_us - self._began_us >= GENERATION_US:
            self._elder, self._younger, self._began_us = self._younger, {}, now_us
