"""Tokens of a session that come again, or at the wrong time.

Each of them was authentic: somebody has what this session's client has signed, and uses it a second time,
later, or with a clock of his own. A few are a transport that repeats, or a queue that was slow. Whoever can
send a recorded token can bring this about; then the channel in which it was recorded is not the client's
alone, and that is what the session has to answer for.
"""

from __future__ import annotations

from collections.abc import Iterator

from ztsession._scan import REPLAYED, Scan
from ztsession.risk.detectors.protocol import Finding, crossing
from ztsession.risk.levels import Level

__all__ = ["Replays"]

_VERDICTS = ("REPLAYED", "TOO_OLD", "FROM_FUTURE")


class Replays:
    """Finds bursts of REPLAYED, TOO_OLD and FROM_FUTURE; signals of kind ``replay``."""

    def __init__(self, level: Level = Level.MEDIUM) -> None:
        self._level = level

    def look(self, scan: Scan) -> Iterator[Finding]:
        """One finding for each session with such a burst."""
        for row, record in crossing(scan, REPLAYED):
            evidence = {verdict.lower(): str(scan.counted(row, verdict)) for verdict in _VERDICTS}
            yield Finding("replay", self._level, session=record.session, evidence=evidence)
