"""What must have happened with the clearing service, its certificate and its TPM."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from ztsession.demo.clearing_act import SOME
from ztsession.demo.clearing_role import SPIFFE_ID
from ztsession.demo.findings import Expectation, told
from ztsession.demo.refusals import Facts

__all__ = ["CLEARING"]

_ACT: Final = "clearing"
_LOOK, _SETTLE = "orders.look", "orders.settle"


def _verdicts(act: str, facts: Facts) -> dict[str, dict[str, int]]:
    return {operation: counts for operation, counts in facts["gateway"][act].items() if counts}


def _granted(nth: int, facts: Facts) -> dict[str, Any]:
    granted: dict[str, Any] = facts["clearing"]["granted"][nth]
    return granted


def _attested(nth: int, boot: str, facts: Facts) -> bool:
    granted = _granted(nth, facts)
    posture = granted["posture"]
    return bool(
        granted["credential"] == SPIFFE_ID
        and granted["assurance"] == 3
        and (posture["hardware"], posture["boot"]) == ("good", boot)
    )


def _attestation_seen(nth: int, facts: Facts) -> str:
    granted = _granted(nth, facts)
    items = ", ".join(f"{item} {granted['posture'][item]}" for item in ("hardware", "boot"))
    return f"{granted['credential']}, assurance {granted['assurance']}; {items}"


def _settles(facts: Facts) -> bool:
    return _verdicts("clearing", facts) == {_LOOK: {"OK": SOME}, _SETTLE: {"OK": SOME}}


def _looks_only(facts: Facts) -> bool:
    wanted = {_LOOK: {"OK": SOME}, _SETTLE: {"NOT_PERMITTED": SOME}}
    return _verdicts("clearing, tampered", facts) == wanted


def _old_is_over(facts: Facts) -> bool:
    verdicts = dict(_verdicts("clearing, as before", facts)[_SETTLE])
    # Until the gateway has heard of it a few may pass.
    verdicts.pop("OK", 0)
    return verdicts == {"REVOKED": 1}


CLEARING: Final = (
    Expectation(
        "a service is known by its SPIFFE certificate, and its host by a quote of an enrolled TPM",
        partial(_attested, 0, "good"),
        partial(_attestation_seen, 0),
        _ACT,
    ),
    Expectation(
        "what policies allow on attested hardware alone is accepted",
        _settles,
        lambda facts: told(_verdicts("clearing", facts)),
        _ACT,
    ),
    Expectation(
        "booted with something else, the quote says so: boot is bad, by the same certificate and TPM",
        partial(_attested, 1, "bad"),
        partial(_attestation_seen, 1),
        _ACT,
    ),
    Expectation(
        "from then on it may look, and settles nothing",
        _looks_only,
        lambda facts: told(_verdicts("clearing, tampered", facts)),
        _ACT,
    ),
    Expectation(
        "its session from before the reboot is over",
        _old_is_over,
        lambda facts: told(_verdicts("clearing, as before", facts)),
        _ACT,
    ),
)
