"""What must have happened to the intruder: found, contained, and nobody else disturbed."""

from __future__ import annotations

from typing import Any, Final

from ztsession.demo.findings import Expectation, told
from ztsession.demo.lateral_act import SOME, SUBJECT
from ztsession.demo.refusals import Facts, counted

__all__ = ["LATERAL"]

_LEASE_S: Final = 5.0
_DOORS: Final = ("orders.look", "orders.override", "orders.settle")
_SERVICES: Final = ("market-data-service", "order-gateway")
_KIND: Final = "lateral-movement"
#: A session that is suspended is asked to prove everything anew.
_SUSPENDED: Final = "REAUTH_REQUIRED"


def _lateral(facts: Facts) -> dict[str, Any]:
    lateral: dict[str, Any] = facts["lateral"]
    return lateral


def _verdicts(act: str, facts: Facts) -> dict[str, dict[str, int]]:
    """What the gateway counted in an act, without the operations that nobody called."""
    return {operation: counts for operation, counts in facts["gateway"][act].items() if counts}


# ---- Found


def _every_door_shut(facts: Facts) -> bool:
    probing, at_market_data = _verdicts("probing", facts), _lateral(facts)["market_data"]["probing"]
    tried = [probing[door] for door in _DOORS]
    refused = sum(sum(counts.values()) for counts in (*tried, at_market_data))
    return bool(
        all(counts.keys() == {"NOT_PERMITTED"} for counts in (*tried, at_market_data))
        and refused == _lateral(facts)["probed"]["probes"]
    )


def _doors_seen(facts: Facts) -> str:
    probing = _verdicts("probing", facts)
    at_orders = told({door: probing[door] for door in _DOORS})
    return f"{at_orders}; market-data.correct: {counted(_lateral(facts)['market_data']['probing'])}"


def _put_together(facts: Facts) -> bool:
    reported = _lateral(facts)["reported"]
    by_services = {(each["source"], each["level"]) for each in reported if each["about"] == "behaviour"}
    found = [each for each in reported if each["about"] == _KIND]
    return bool(
        by_services == {(service, "LOW") for service in _SERVICES}
        and len(found) == 1
        and (found[0]["source"], found[0]["level"]) == ("authority:lateral-movement", "HIGH")
        and (found[0]["subject"], found[0]["action"]) == (SUBJECT, "suspend")
        and ["segments", "market-data orders"] in found[0]["evidence"]
    )


def _reports_seen(facts: Facts) -> str:
    return "; ".join(
        f"{each['source']}: {each['about']} {each['level']}" for each in _lateral(facts)["reported"]
    )


# ---- Contained


def _contained(facts: Facts) -> bool:
    lateral = _lateral(facts)
    probed = lateral["probed"]
    in_time = 0 < lateral["contained_s"] <= _LEASE_S and probed["passed_ns"] < probed["refused_ns"]
    return bool(in_time and probed["passed"] > 0 and probed["probes"] > 0)


def _contained_seen(facts: Facts) -> str:
    lateral = _lateral(facts)
    return (
        f"{lateral['contained_s'] * 1e3:.1f} ms after the first door had stayed shut, in which he tried "
        f"{lateral['probed']['probes']:,} and {lateral['probed']['passed']:,} orders passed"
    )


def _suspended(facts: Facts) -> bool:
    lateral, live = _lateral(facts), _lateral(facts)["probed"]["live"]
    probing = _verdicts("probing", facts)
    submitted = {"OK": lateral["probed"]["passed"], _SUSPENDED: live + 1, "WRONG_OPERATION": live}
    return bool(
        lateral["modes"] == ["SUSPENDED"] * 2
        and [mode for _, _, mode in lateral["standing"]] == ["SUSPENDED"] * 2
        and live > 0
        and (probing["orders.submit"], probing["orders.replace"]) == (submitted, {_SUSPENDED: live})
        and _verdicts("intruder's session", facts) == {"orders.submit": {_SUSPENDED: 1}}
        and _SUSPENDED in lateral["market_data"]["suspended"]
    )


def _suspended_seen(facts: Facts) -> str:
    lateral = _lateral(facts)
    return (
        f"{told(_verdicts('probing', facts))}; his own session: {told(_verdicts(_HIS, facts))}; market data: "
        f"{counted(lateral['market_data']['suspended'])}"
    )


def _cancels(facts: Facts) -> bool:
    probed = _lateral(facts)["probed"]
    cancelled = probed["outcomes"]["orders.cancel"]
    at_gateway = _verdicts("probing", facts)["orders.cancel"]
    return bool(
        probed["live"] > 0
        and cancelled == {"done": probed["live"]}
        and at_gateway.keys() == {"OK"}
        and at_gateway["OK"] >= probed["live"]
    )


def _nothing_gained(facts: Facts) -> bool:
    lateral, after = _lateral(facts), _verdicts("proven anew", facts)
    begin = f"the session would begin SUSPENDED: HIGH because {_KIND}"
    return bool(
        lateral["proven"] == [False, False]
        and len(lateral["causes"]) == 2
        and all(cause.startswith(begin) for cause in lateral["causes"])
        and {operation: counts.keys() for operation, counts in after.items()}
        == {"orders.submit": {_SUSPENDED}, "orders.replace": {_SUSPENDED}, "orders.cancel": {"OK"}}
    )


def _was_told(facts: Facts) -> bool:
    alerts = [each for each in _lateral(facts)["alerts"] if each["what"] == f"signal.{_KIND}"]
    about = {"kind": "subject", "name": SUBJECT}
    return [(each["level"], each["about"]) for each in alerts] == [("HIGH", about)]


def _alert_seen(facts: Facts) -> str:
    alerts = [each for each in _lateral(facts)["alerts"] if each["what"] == f"signal.{_KIND}"]
    return "; ".join(
        f"{each['level']} about {each['about']['name']}: {each['why'].partition(';')[0]}" for each in alerts
    )


def _untouched(facts: Facts) -> bool:
    before, after = _lateral(facts)["trader"]
    wanted = {"orders.look": {"OK": SOME}, "orders.cancel": {"OK": SOME}}
    return bool(
        before == after
        and {mode for _, _, mode in after} == {"NORMAL"}
        and _verdicts("trader meanwhile", facts) == wanted
    )


# ---- Settled


def _goes_on(facts: Facts) -> bool:
    """The operator has lifted the mode of the one session that was left."""
    lateral = _lateral(facts)
    outcomes = lateral["afterwards"]
    return bool(
        lateral["modes_settled"] == ["NORMAL"]
        and outcomes.keys() == {"orders.submit", "orders.replace", "orders.cancel"}
        and all(counts.keys() == {"done"} for counts in outcomes.values())
        and all(counts.keys() == {"OK"} for counts in _verdicts("going on", facts).values())
    )


def _worth_nothing(facts: Facts) -> bool:
    verdicts = _verdicts(_TAKEN, facts)
    cancelled = dict(verdicts["orders.cancel"])
    # Until the gateway has heard of it a few may pass.
    cancelled.pop("OK", 0)
    return bool(cancelled == {"REVOKED": 1} and verdicts["orders.submit"] == {"REVOKED": 1})


_HIS, _TAKEN = "intruder's session", "what he took"

LATERAL: Final = (
    Expectation(
        "until somebody gets in the services have reported nobody, neither on the bad device nor the trader",
        lambda facts: _lateral(facts)["reported_before"] == [],
        lambda facts: f"{len(_lateral(facts)['reported_before'])} reports",
    ),
    Expectation(
        "an intruder in the algorithm's process finds every other door shut, at both services",
        _every_door_shut,
        _doors_seen,
    ),
    Expectation(
        "both services report it, each by a key of its own, and the Authority puts it together",
        _put_together,
        _reports_seen,
    ),
    Expectation("from then on new orders are refused, within the lease", _contained, _contained_seen),
    Expectation(
        "every session of the subject is suspended, at both services, also the one that the intruder opened",
        _suspended,
        _suspended_seen,
    ),
    Expectation(
        "the algorithm's orders can still be cancelled, every one",
        _cancels,
        lambda facts: counted(_lateral(facts)["probed"]["outcomes"]["orders.cancel"]),
    ),
    Expectation(
        "to prove everything anew gets neither of them another session",
        _nothing_gained,
        lambda facts: "; ".join(cause.partition(" (")[0] for cause in _lateral(facts)["causes"]),
    ),
    Expectation("the operator is told of it, once", _was_told, _alert_seen),
    Expectation(
        "another subject does not notice",
        _untouched,
        lambda facts: f"the trader: {told(_verdicts('trader meanwhile', facts))}",
    ),
    Expectation(
        "once the operator has settled it, the algorithm proves everything anew and trades",
        _goes_on,
        lambda facts: told(_lateral(facts)["afterwards"]),
    ),
    Expectation(
        "the intruder's session, and the keys that he took, are over",
        _worth_nothing,
        lambda facts: told(_verdicts(_TAKEN, facts)),
    ),
)
