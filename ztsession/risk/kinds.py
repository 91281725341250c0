"""Kinds of signals: what each does at each level, how it counts towards a score, and what answers it.

These are the defaults of ``risk.toml``, where each can be changed and others can be added. In every kind the
action follows the level alone unless there is a reason, which then stands beside it: who is woken by a
suspended desk should find one rule and few exceptions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from ztsession.risk.actions import Action

__all__ = ["ANSWERED_BY", "DEFAULT_KINDS", "Kind"]

#: What lifts a signal of a kind, beside its own source and an operator: fresh posture or a second factor
#: (each up to MEDIUM; everything proven anew does up to HIGH), everything proven anew alone, or nothing.
ANSWERED_BY: Final = ("posture", "factor", "everything", "nothing")

_BY_LEVEL: Final = (Action.NONE, Action.RESTRICT, Action.SUSPEND, Action.REVOKE)
_POINTS: Final = (0, 30, 70, 100)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind. ``actions`` and ``points``: by level, LOW to CRITICAL; ``half_life_s``: when half of its
    points are gone; ``cap``: the most points that all signals of the kind give one session.
    """

    answered_by: str = "nothing"
    actions: tuple[Action, ...] = _BY_LEVEL
    points: tuple[int, ...] = _POINTS
    half_life_s: int = 3600
    #: Below what makes HIGH by itself: a flood of one kind at MEDIUM must not suspend a desk.
    cap: int = 70


#: LOW of these is worth telling somebody.
_TOLD: Final = (Action.ALERT, *_BY_LEVEL[1:])
#: An account that is gone must not come back by connecting again. (One that is disabled does not either:
#: that stands until its source takes it back, and whoever would begin SUSPENDED does not begin.)
_GONE: Final = (*_BY_LEVEL[:3], Action.QUARANTINE_SUBJECT)

DEFAULT_KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        # The device.
        "posture-drift": Kind("posture"),
        "posture-silence": Kind("posture"),
        # The identity. A stolen credential authenticates as well as the original did.
        "credential-compromise": Kind(half_life_s=86_400),
        "credential-change": Kind("everything"),
        "claims-change": Kind("everything"),
        "assurance-change": Kind("factor"),
        "account": Kind(actions=_GONE, half_life_s=86_400),
        "session-revoked": Kind(),
        # What another engine thinks of it.
        "risk-level": Kind(actions=_TOLD),
        # What it does. What was recorded is worthless against fresh keys, and any step-up brings those.
        "replay": Kind("factor", actions=_TOLD),
        "behaviour": Kind("factor"),
        "order-rate": Kind("factor", actions=_TOLD),
        "off-hours": Kind("factor", actions=_TOLD),
        "concurrency": Kind("factor", actions=_TOLD),
        # Whoever is inside a program can step up with its keys, so what looks like him waits for an operator.
        "lateral-movement": Kind(actions=_TOLD),
        # What others know.
        "threat": Kind(actions=_TOLD, half_life_s=86_400),
        "operator": Kind(half_life_s=86_400),
    }
)
