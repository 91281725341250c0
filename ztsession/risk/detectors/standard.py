"""The detectors of one enforcement point, as ``detectors.toml`` has them."""

from __future__ import annotations

import time
from collections.abc import Callable

from ztsession.policy.calendar import Calendar
from ztsession.risk.detectors.denials import Denials
from ztsession.risk.detectors.off_hours import OffHours
from ztsession.risk.detectors.order_rate import OrderRate
from ztsession.risk.detectors.protocol import Detector
from ztsession.risk.detectors.replays import Replays
from ztsession.risk.detectors.settings import DetectorSettings
from ztsession.risk.detectors.stale_posture import StalePosture
from ztsession.risk.detectors.strangers import Strangers

__all__ = ["StandardDetectors"]


class StandardDetectors(list[Detector]):
    """All that a point can find by itself, for :class:`ztsession.enforcement.watch.Watch`.

    ``denials`` and ``strangers`` are those among them that a server tells of refusals.
    """

    def __init__(
        self,
        settings: DetectorSettings | None = None,
        *,
        kind_of: Callable[[str], str] = lambda subject: "",
        calendar: Calendar | None = None,
        shown_at: Callable[[bytes], float | None] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``kind_of``: a subject's kind, for the hours; ``shown_at``: see :class:`StalePosture`; ``clock``:
        Unix seconds.
        """
        chosen = settings or DetectorSettings()
        self.denials = Denials(chosen.denials_level)
        self.strangers = Strangers(count=chosen.strangers, within_s=chosen.strangers_within_s)
        super().__init__(
            [
                OrderRate(chosen.rate_level),
                self.denials,
                Replays(chosen.replay_level),
                self.strangers,
                OffHours(
                    chosen.hours, kind_of=kind_of, calendar=calendar, level=chosen.hours_level, clock=clock
                ),
                StalePosture(
                    max_age_s=chosen.posture_max_age_s,
                    shown_at=shown_at,
                    level=chosen.posture_level,
                    clock=clock,
                ),
            ]
        )
