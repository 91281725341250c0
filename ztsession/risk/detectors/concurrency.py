"""One identity that is live on two devices at once.

A person sits in front of one machine, and an algorithm runs on one host; a second place means a second holder
of the credential, or a colleague who was lent it. Services run on several hosts and are not judged, unless
the operator says so. Whoever shows no device is somewhere, too: "none" beside a device is two places.

After a failover the session of the host that is gone lives on until it ends. The first finding restricts
both; the host that lives proves itself anew and goes on, and the other one never does. From then on this is
worth a note, and no reason to stop the one that works every five minutes.

Which sessions live only the Authority knows, so this looks at its list and not at a point's counters.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Final, Protocol

from ztsession._scan import Scan
from ztsession.risk.detectors.protocol import Finding
from ztsession.risk.levels import Level, Mode

__all__ = ["Concurrency", "LiveSession", "at_once"]

#: Listing every session reads the Authority's database, which is not for each pass.
_EVERY_S: Final = 30.0


class LiveSession(Protocol):
    """A row of ``Authority.sessions()``, as far as it is needed here."""

    @property
    def subject(self) -> str:
        """Whose it is."""

    @property
    def device(self) -> str:
        """Where, "none" if no device was shown."""

    @property
    def mode(self) -> int:
        """Its mode, as a :class:`~ztsession.risk.levels.Mode`."""


def at_once(
    sessions: Iterable[LiveSession], judged: Callable[[str], bool], level: Level = Level.MEDIUM
) -> Iterator[Finding]:
    """One finding for each subject that is ``judged`` and lives on several devices; kind ``concurrency``. LOW
    if it is NORMAL on one of them at most.
    """
    places: dict[str, dict[str, bool]] = {}
    for session in sessions:
        devices = places.setdefault(session.subject, {})
        devices[session.device] = devices.get(session.device, False) or session.mode == Mode.NORMAL
    for subject, devices in places.items():
        if len(devices) > 1 and judged(subject):
            evidence = {"devices": " ".join(sorted(devices))[:256]}
            worst = level if sum(devices.values()) > 1 else Level.LOW
            yield Finding("concurrency", worst, subject=subject, evidence=evidence)


class Concurrency:
    """Looks for it every half minute."""

    def __init__(
        self,
        sessions: Callable[[], Iterable[LiveSession]],
        *,
        kind_of: Callable[[str], str],
        kinds: Collection[str] = ("human", "algorithm"),
        level: Level = Level.MEDIUM,
        every_s: float = _EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``sessions``: ``Authority.sessions``; ``kind_of``: a subject's kind; ``kinds``: those judged."""
        self._sessions, self._kind_of, self._kinds = sessions, kind_of, frozenset(kinds)
        self._level, self._every_s, self._clock = level, every_s, clock
        self._at: float | None = None

    def look(self, scan: Scan) -> Iterator[Finding]:
        """What :func:`at_once` finds, if it is time."""
        now = self._clock()
        if self._at is not None and 0 <= now - self._at < self._every_s:
            return
        self._at = now
        yield from at_once(self._sessions(), lambda who: self._kind_of(who) in self._kinds, self._level)
