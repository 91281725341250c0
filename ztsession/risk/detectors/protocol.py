"""What a detector is: it looks at what was counted, and says what it finds against whom.

The call path counts and decides nothing (a detector there would be a branch in every call). So a detector
looks from beside, some moments later, at all sessions at once; what it finds goes the way of every signal,
to the Authority, whose answer changes the very next call. It must be cheap where nothing is wrong: of a
hundred thousand sessions it is given the few that crossed a threshold.

A detector sees what is counted for a session only after its token was authentic. What strangers send is
charged to nobody here (D10).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ztsession._records import Installation
from ztsession._scan import Scan
from ztsession.risk.levels import Level
from ztsession.risk.signals import Signal
from ztsession.wire.digest import digest

__all__ = ["Detector", "Finding", "crossing"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found, against exactly one of ``subject``, ``session`` (16 bytes) or ``network``.

    ``kind``: of signals. ``evidence``: short texts for people. ``lasts_s``: for so long the same finding is
    one finding, and whoever has answered it is not asked again.
    """

    kind: str
    level: Level
    subject: str = ""
    session: bytes = b""
    network: str = ""
    evidence: Mapping[str, str] = field(default_factory=dict)
    lasts_s: int = 300

    @property
    def about(self) -> tuple[str, Level, str, bytes, str]:
        """What makes two findings the same one; a worse level is news."""
        return self.kind, self.level, self.subject, self.session, self.network

    def signal(self, source: str, now: float, **told: str) -> Signal:
        """The signal that says so, found by ``source`` at ``now`` (Unix seconds).

        Its id is the same for as long as the finding is, also after a restart, so that it counts once.
        ``told`` joins the evidence.
        """
        parts = (self.subject.encode(), self.session, self.network.encode())
        name = digest("finding", *parts)[:12].hex()
        return Signal(
            id=f"{self.kind}.{int(self.level)}.{name}.{int(now // self.lasts_s)}",
            kind=self.kind,
            level=self.level,
            source=source,
            time=now,
            subject=self.subject,
            session=self.session,
            network=self.network,
            evidence={**self.evidence, **told},
        )


class Detector(Protocol):
    """Anything that finds something. Called by one thread at a time."""

    def look(self, scan: Scan) -> Iterable[Finding]:
        """What is found now; ``scan`` has just made a pass, and its columns are overwritten by the next."""


def crossing(scan: Scan, why: int) -> Iterator[tuple[int, Installation]]:
    """(row, whose it is) of each session on the short list for this reason, that is not over by now."""
    for row, reasons in scan.crossed:
        if reasons & why:
            record = scan.record(row)
            if record is not None:
                yield row, record
