"""One alert: what somebody is told, in a form that can do no harm in any log or on any screen."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Final

from ztsession.errors import WireError
from ztsession.risk.levels import Level
from ztsession.wire.names import is_name

__all__ = ["ABOUT", "WHY_MAX_BYTES", "Alert"]

#: What an alert can be about: a signal's target, a segment, the Authority itself, or more than one of them.
ABOUT: Final = ("subject", "device", "session", "network", "segment", "authority", "several")
WHY_MAX_BYTES: Final = 256

_WHAT: Final = re.compile(r"[a-z][a-z0-9]*(?:[.-][a-z0-9]+)*", re.ASCII)
_WHAT_MAX_BYTES: Final = 48
_TIME_MAX_S: Final = 2**33


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that somebody should know of now.

    ``what``: a short word such as "session.suspended". ``about``: (one of ``ABOUT``, its name or ""), as
    :attr:`Signal.target` gives it. ``why``: one sentence for people; what is not printable ASCII in it is
    escaped, what is over 256 bytes is cut off. ``time``: unix seconds when it happened. ``count``: how often
    it was raised since it was told the last time. ``untold``: how many alerts before this one did not reach
    the sink that gets it. WireError names the field that does not fit.
    """

    what: str
    level: Level
    about: tuple[str, str]
    why: str
    time: float
    count: int = 1
    untold: int = 0

    def __post_init__(self) -> None:
        """Check every field, and make the sentence harmless in any log."""
        if len(self.what) > _WHAT_MAX_BYTES or not _WHAT.fullmatch(self.what):
            raise WireError(f"alert.what: expected up to {_WHAT_MAX_BYTES} of a-z 0-9 in words with . or -")
        kind, name = self.about
        if kind not in ABOUT or not (name == "" or is_name(name)):
            raise WireError(f"alert.about: expected one of {', '.join(ABOUT)}, and a name")
        if not (math.isfinite(self.time) and 0 <= self.time < _TIME_MAX_S):
            raise WireError("alert.time: expected unix seconds")
        if self.count < 1 or self.untold < 0:
            raise WireError("alert.count: expected at least 1, and of untold ones at least 0")
        object.__setattr__(self, "level", Level(self.level))
        object.__setattr__(self, "why", _harmless(self.why))

    @property
    def key(self) -> tuple[str, tuple[str, str]]:
        """(what, about): alerts with the same are repetitions."""
        return self.what, self.about

    def form(self) -> dict[str, Any]:
        """As it is told to machines, ready for JSON: all texts are printable ASCII."""
        kind, name = self.about
        return {
            "what": self.what,
            "level": self.level.name,
            "about": {"kind": kind, "name": name},
            "why": self.why,
            "time": round(self.time, 6),
            "count": self.count,
            "untold": self.untold,
        }


def _harmless(text: str) -> str:
    shown = "".join(
        each if " " <= each <= "~" else each.encode("unicode_escape").decode("ascii")
        for each in text[:WHY_MAX_BYTES]
    )
    return shown[:WHY_MAX_BYTES]
