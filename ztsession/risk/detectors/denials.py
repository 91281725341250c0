"""A session that asks for what it may not have.

An honest program knows what it may do. One that was taken over tries what is behind each door. By itself that
is worth a note and no more, since a new release with a menu too many does the same; several segments that
see it of one subject are another matter, see :mod:`ztsession.risk.detectors.lateral`.

The counters say how often and not what for. A server that catches ``NotPermitted`` can tell.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

from ztsession._scan import DENIED, Scan
from ztsession.errors import Denied, NotPermitted
from ztsession.limits import OPERATIONS_MAX, TOKEN_BYTES
from ztsession.risk.detectors.protocol import Finding, crossing
from ztsession.risk.levels import Level

__all__ = ["DENIALS_KIND", "Denials"]

#: The kind of these signals, and what stands in their evidence.
DENIALS_KIND: Final = "behaviour"
OPERATIONS: Final = "operations"
#: Of so many sessions it is kept what they asked for; more than that ask at once in no honest firm.
_SESSIONS_MAX: Final = 4096
_TEXT_MAX: Final = 256


class Denials:
    """Finds bursts of NOT_PERMITTED; signals of kind ``behaviour``. :meth:`refused` may be called by any
    thread.
    """

    def __init__(self, level: Level = Level.LOW) -> None:
        self._level, self._lock = level, threading.Lock()
        self._asked: OrderedDict[int, int] = OrderedDict()

    def refused(self, token: bytes, error: Denied) -> None:
        """A call with this token was refused; what is not NOT_PERMITTED is let be.

        Only authentic tokens get that verdict, so what theirs say may be believed.
        """
        if not isinstance(error, NotPermitted) or len(token) != TOKEN_BYTES:
            return
        operation, handle = int.from_bytes(token[2:4], "little"), int.from_bytes(token[8:16], "little")
        if operation >= OPERATIONS_MAX:
            return
        with self._lock:
            self._asked[handle] = self._asked.pop(handle, 0) | 1 << operation
            if len(self._asked) > _SESSIONS_MAX:
                self._asked.popitem(last=False)

    def look(self, scan: Scan) -> Iterator[Finding]:
        """One finding for each session with such a burst."""
        for row, record in crossing(scan, DENIED):
            evidence = {"denied": str(scan.counted(row, "NOT_PERMITTED"))}
            with self._lock:
                asked = self._asked.pop(scan.handles[row], 0)
            names = [name for index, name in enumerate(scan.table.operations) if asked >> index & 1]
            if names:
                evidence[OPERATIONS] = _listed(names)
            yield Finding(DENIALS_KIND, self._level, session=record.session, evidence=evidence)


def _listed(names: list[str]) -> str:
    text = " ".join(names)
    # The last name only if it is whole: half a name would count as another operation.
    return text if len(text) <= _TEXT_MAX else text[: _TEXT_MAX + 1].rpartition(" ")[0]
