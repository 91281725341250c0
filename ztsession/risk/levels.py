"""How bad a signal is, and what that makes of a session.

The mapping is a table and not a formula: who is woken by a suspended desk must be able to say why from the
table alone, and two Authorities with the same signals must come to the same mode.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

__all__ = ["MODE_OF", "Level", "Mode"]


class Level(IntEnum):
    """How much a signal says against a session; LOW is noted and changes nothing."""

    LOW = 0
    MEDIUM = 1
    HIGH = 2
    CRITICAL = 3


class Mode(IntEnum):
    """What a session may do right now (protocol, Session modes); the values are those on the wire."""

    NORMAL = 0
    RESTRICTED = 1
    SUSPENDED = 2
    REVOKED = 3


#: RESTRICTED asks for a step-up, SUSPENDED for re-authentication; REVOKED is the end of the session.
MODE_OF: Final = {
    Level.LOW: Mode.NORMAL,
    Level.MEDIUM: Mode.RESTRICTED,
    Level.HIGH: Mode.SUSPENDED,
    Level.CRITICAL: Mode.REVOKED,
}
