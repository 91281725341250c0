"""How often a code may be guessed: five times freely, then with waits that double, and never without end.

Six digits are a million, and three of them are right at any time. What makes such a code worth something is
that nobody may try them all (NIST SP 800-63B-4, section 3.2.2: at most 100 failures in a row). The count is
kept with the factor, so that neither a restart nor another process starts it anew, and whoever has to wait
is refused before the code is looked at: a right guess made too early tells nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ztsession.errors import EvidenceError

__all__ = ["FAILURES_MAX", "FREE_FAILURES", "WAIT_MAX_S", "Throttle"]

#: Wrong codes in a row after which each further try waits.
FREE_FAILURES = 5
#: No wait is longer, in seconds.
WAIT_MAX_S = 900
#: Wrong codes in a row after which only an operator can open the factor again.
FAILURES_MAX = 100


@dataclass(frozen=True)
class Throttle:
    """Failures in a row, and until when (Unix seconds) the next try has to wait."""

    failures: int = 0
    wait_until: int = 0

    @property
    def locked(self) -> bool:
        """Whether only an operator's reset helps."""
        return self.failures >= FAILURES_MAX

    def admit(self, now_s: float) -> None:
        """Let a try happen, or raise ``EvidenceError``; the code has not been looked at."""
        if self.locked:
            raise EvidenceError(f"the second factor is locked after {FAILURES_MAX} wrong codes in a row")
        # A longer wait than any was counted by a clock that was ahead, and is over (H24). Neither comparison
        # holds of a clock that reads nonsense (NaN): it admits nobody.
        if not (now_s >= self.wait_until or self.wait_until - now_s > WAIT_MAX_S + 1):
            raise EvidenceError("after several wrong codes the next one has to wait")

    def failed(self, now_s: float) -> Throttle:
        """Return what holds after one more wrong code."""
        failures = min(self.failures + 1, FAILURES_MAX)
        beyond = failures - FREE_FAILURES
        if beyond < 0:
            return Throttle(failures, self.wait_until)
        return Throttle(failures, math.ceil(now_s + min(2**beyond, WAIT_MAX_S)))
