"""What is done about a signal, from nothing to shutting somebody out, and what each makes of a session.

The order is that of harm to whoever is hit: of several actions the last in the list is done. SUSPEND leaves
what reduces risk, where the catalog allows it to; REVOKE and the two quarantines leave nothing.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from ztsession.risk.levels import Mode

__all__ = ["ACTION_NAMES", "Action", "action_named"]


class Action(IntEnum):
    """What a signal, or a session's score, causes."""

    NONE = 0
    #: Somebody is told.
    ALERT = 1
    #: Told, and RESTRICTED until something answers it: a step-up is asked for.
    RESTRICT = 2
    #: Told, and SUSPENDED: everything is to be proven anew.
    SUSPEND = 3
    #: Told, and the end of the session.
    REVOKE = 4
    #: REVOKE for every session of the subject or the device, and no new one until an operator releases it.
    QUARANTINE_SUBJECT = 5
    QUARANTINE_DEVICE = 6

    @property
    def mode(self) -> Mode:
        """The mode that it puts a session in."""
        return _MODES.get(self, Mode.REVOKED)

    @property
    def word(self) -> str:
        """As it stands in ``risk.toml``: "quarantine-subject"."""
        return self.name.lower().replace("_", "-")


_MODES: Final = {
    Action.NONE: Mode.NORMAL,
    Action.ALERT: Mode.NORMAL,
    Action.RESTRICT: Mode.RESTRICTED,
    Action.SUSPEND: Mode.SUSPENDED,
}
ACTION_NAMES: Final = tuple(action.word for action in Action)


def action_named(word: str) -> Action:
    """The action of this word out of ``ACTION_NAMES``."""
    return Action(ACTION_NAMES.index(word))
