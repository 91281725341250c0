"""The sessions that are watched, found by whatever a signal can name.

A signal must not cost a look at a hundred thousand sessions when it is against one subject. Only a signal
against a whole network looks through the addresses that sessions come from.
"""

from __future__ import annotations

from collections.abc import Collection

from ztsession.errors import SessionEnded
from ztsession.risk.networks import is_in
from ztsession.risk.session import SessionRisk

__all__ = ["Watched"]


class Watched:
    """Sessions by id, subject, device and address. Not thread-safe."""

    def __init__(self) -> None:
        self._sessions: dict[bytes, SessionRisk] = {}
        #: Without the sessions themselves, whose ids name them.
        self._by: dict[tuple[str, str], dict[bytes, None]] = {}
        self._with_signals: dict[bytes, None] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def __contains__(self, session: bytes) -> bool:
        return session in self._sessions

    def of(self, session: bytes) -> SessionRisk:
        """One session by its 16-byte id; SessionEnded if it is not watched."""
        try:
            return self._sessions[session]
        except KeyError:
            raise SessionEnded("no such session is watched") from None

    def put(self, risk: SessionRisk) -> None:
        """Watch a session, or have its new state."""
        if risk.session not in self._sessions:
            for target in risk.targets[1:]:
                self._by.setdefault(target, {})[risk.session] = None
        self._sessions[risk.session] = risk
        if risk.unresolved:
            self._with_signals[risk.session] = None
        else:
            self._with_signals.pop(risk.session, None)

    def remove(self, session: bytes) -> None:
        """Watch it no more."""
        risk = self._sessions.pop(session, None)
        self._with_signals.pop(session, None)
        for target in risk.targets[1:] if risk is not None else ():
            here = self._by[target]
            del here[session]
            if not here:
                del self._by[target]

    def with_signals(self) -> list[SessionRisk]:
        """The sessions that something speaks against."""
        return [self._sessions[session] for session in self._with_signals]

    def hit(self, target: tuple[str, str], line: Collection[bytes]) -> list[SessionRisk]:
        """The sessions that a signal against ``target`` hits, and those of ``line``; each once."""
        kind, name = target
        found = dict.fromkeys(line)
        if kind == "session":
            found |= {bytes.fromhex(name): None}
        elif kind == "network" and "/" in name:
            for (what, address), sessions in self._by.items():
                if what == "network" and is_in(address, name):
                    found |= sessions
        else:
            found |= self._by.get(target, {})
        return [self._sessions[session] for session in found if session in self._sessions]
