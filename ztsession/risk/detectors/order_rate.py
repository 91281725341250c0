"""A session that suddenly calls many times as often as it used to.

Each session is its own measure: what is a flood for one algorithm is another's quiet hour. Whoever raises the
rate slowly is not found here, as the average goes along; that is what limits in the catalog's policies and at
the venue are for.
"""

from __future__ import annotations

from collections.abc import Iterator

from ztsession._scan import RATE, Scan
from ztsession.risk.detectors.protocol import Finding, crossing
from ztsession.risk.levels import Level

__all__ = ["OrderRate"]


class OrderRate:
    """Finds what the scan's own thresholds for rates let through; signals of kind ``order-rate``."""

    def __init__(self, level: Level = Level.MEDIUM) -> None:
        self._level = level

    def look(self, scan: Scan) -> Iterator[Finding]:
        """One finding for each session whose rate has jumped."""
        for row, record in crossing(scan, RATE):
            evidence = {
                "per_second": f"{scan.rates[row]:.1f}",
                "usually": f"{scan.expected[row]:.1f}",
            }
            yield Finding("order-rate", self._level, session=record.session, evidence=evidence)
