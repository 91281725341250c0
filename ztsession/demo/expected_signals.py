"""What must have come of the device management's events, and of those that only look like its own."""

from __future__ import annotations

from functools import partial
from typing import Final

from ztsession.demo.believing import MANAGEMENT
from ztsession.demo.findings import Expectation
from ztsession.demo.refusals import Facts, counted

__all__ = ["FALSE_SIGNALS", "TAKEN_BACK"]

#: What an event that was pushed is answered with (RFC 8935, section 2.2).
_TAKEN: Final = 202
_SOURCE: Final = f"ssf:{MANAGEMENT}"


def _taken_back(facts: Facts) -> bool:
    put_right = facts["put_right"]
    return (
        put_right["status"] == _TAKEN and _SOURCE in put_right["stood"] and _SOURCE not in put_right["stands"]
    )


def _taken_back_seen(facts: Facts) -> str:
    put_right = facts["put_right"]
    stood, stands = (", ".join(put_right[when]) or "nobody" for when in ("stood", "stands"))
    return f"answered {put_right['status']}; against the device spoke {stood}, and then {stands}"


def _changed_nothing(how: str, outcomes: frozenset[str], facts: Facts) -> bool:
    """Each was looked at, and neither the log nor what stands against the device shows that it came."""
    seen = facts[f"{how}_signals"]
    events = seen["events"]
    return bool(
        seen["attempts"] > 0
        and sum(events.values()) == seen["attempts"]
        and events.keys() <= outcomes
        and seen["authority"] == {}
        and seen["stands"][0] == seen["stands"][1]
        and _SOURCE not in seen["stands"][1]
    )


def _changed_seen(how: str, facts: Facts) -> str:
    seen = facts[f"{how}_signals"]
    outcomes = {"known already" if name == "applied" else name: n for name, n in seen["events"].items()}
    return f"of {seen['attempts']}: {counted(outcomes)}; new in the audit log: {counted(seen['authority'])}"


TAKEN_BACK: Final = Expectation(
    "put right, the device is called compliant: what its management had said against it stands no longer",
    _taken_back,
    _taken_back_seen,
)

#: An event that came before is in force already, or was taken back since; it is acknowledged all the same.
FALSE_SIGNALS: Final = (
    Expectation(
        "events that are forged in the device management's name are refused, and change nothing",
        partial(_changed_nothing, "forged", frozenset({"refused"})),
        partial(_changed_seen, "forged"),
    ),
    Expectation(
        "its own events, pushed once more by somebody else, change nothing",
        partial(_changed_nothing, "replayed", frozenset({"applied", "outdated"})),
        partial(_changed_seen, "replayed"),
    ),
)
