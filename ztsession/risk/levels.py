"""How bad a signal is, and what a session may do."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["Level", "Mode"]


class Level(IntEnum):
    """How much a signal says against a session, or a session's score does; the latter is never CRITICAL."""

    LOW = 0
    MEDIUM = 1
    HIGH = 2
    CRITICAL = 3


class Mode(IntEnum):
    """What a session may do right now (protocol, Session modes); the values are those on the wire.

    RESTRICTED asks for a step-up, SUSPENDED for re-authentication; REVOKED is the end of the session.
    """

    NORMAL = 0
    RESTRICTED = 1
    SUSPENDED = 2
    REVOKED = 3
