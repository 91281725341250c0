"""What must have happened when the human trader stepped up."""

from __future__ import annotations

from typing import Any, Final

from ztsession.demo.findings import Expectation, told
from ztsession.demo.refusals import Facts
from ztsession.demo.trader_act import SOME

__all__ = ["TRADER"]

_OVERRIDE: Final = "orders.override"
_REFUSED: Final = {_OVERRIDE: {"STEP_UP_REQUIRED": SOME}}


def _verdicts(act: str, facts: Facts) -> dict[str, dict[str, int]]:
    """What the gateway counted in an act, without the operations that nobody called."""
    return {operation: counts for operation, counts in facts["gateway"][act].items() if counts}


def _by_key(facts: Facts) -> bool:
    wanted = {"orders.look": {"OK": SOME}, "orders.cancel": {"OK": SOME}, **_REFUSED}
    return _verdicts("trader by key", facts) == wanted


def _wrong_code(facts: Facts) -> bool:
    seen = facts["trader"]["wrong_code"]
    return bool(
        seen["authority"] == {"handshake.refused": 1}
        and len(seen["causes"]) == 1
        and _assurances(seen["after"]) == [1]
        and seen["before"] == seen["after"]
        and _verdicts("trader after a wrong code", facts) == _REFUSED
    )


def _stepped_up(facts: Facts) -> bool:
    seen, granted = facts["trader"]["step_up"], facts["trader"]["granted"][1]
    return bool(
        seen["authority"] == {"session.granted": 1}
        and (granted["factor"], granted["assurance"], granted["renewed"]) == ("totp", 2, True)
        and _assurances(seen["after"]) == [2]
        and facts["installed"]["trader stepped up"] == {"OK": 1}
        and _verdicts("trader stepped up", facts) == {_OVERRIDE: {"OK": SOME}}
    )


def _old_key(facts: Facts) -> bool:
    return _verdicts("trader under the old key", facts) == _REFUSED


def _same_code(facts: Facts) -> bool:
    seen = facts["trader"]["same_code"]
    return bool(
        seen["authority"] == {"session.granted": 1, "handshake.refused": 1}
        and len(seen["causes"]) == 1
        and "used up" in seen["causes"][0]
        # The session that used the code has what it had, and the second one only what a key gives.
        and seen["before"][0] in seen["after"]
        and sorted(_assurances(seen["after"])) == [1, 2]
        and _verdicts("trader with a used code", facts) == _REFUSED
    )


def _assurances(standing: list[list[Any]]) -> list[int]:
    return [assurance for _, assurance, _ in standing]


def _causes(what: str, act: str, facts: Facts) -> str:
    causes = "; ".join(facts["trader"][what]["causes"])
    return f"{causes}; {told(_verdicts(act, facts))}"


TRADER: Final = (
    Expectation(
        "a trader with a key alone looks and cancels; an order past the limits is refused: step up required",
        _by_key,
        lambda facts: told(_verdicts("trader by key", facts)),
    ),
    Expectation(
        "a wrong code is refused and changes nothing",
        _wrong_code,
        lambda facts: _causes("wrong_code", "trader after a wrong code", facts),
    ),
    Expectation(
        "after a code in the channel, the wider grant under its new key is accepted",
        _stepped_up,
        lambda facts: (
            f"{told(_verdicts('trader stepped up', facts))}, assurance "
            f"{facts['trader']['granted'][1]['assurance']} by {facts['trader']['granted'][1]['factor']}"
        ),
    ),
    Expectation(
        "under the key from before the step-up, it is refused as before",
        _old_key,
        lambda facts: told(_verdicts("trader under the old key", facts)),
    ),
    Expectation(
        "the same code, shown again by a second session, is refused",
        _same_code,
        lambda facts: _causes("same_code", "trader with a used code", facts),
    ),
)
