"""What must have happened, each in a sentence that can turn out false.

Those of the acts that have a file of their own stand beside them, in ``expected_...``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from ztsession.demo.expected_clearing import CLEARING
from ztsession.demo.expected_lateral import LATERAL
from ztsession.demo.expected_release import RELEASE
from ztsession.demo.expected_signals import FALSE_SIGNALS, TAKEN_BACK
from ztsession.demo.expected_trader import TRADER
from ztsession.demo.findings import Expectation, Finding, judge, told
from ztsession.demo.refusals import ATTACKS, Attack, Facts, counted, was_refused, what_was_seen
from ztsession.demo.release_act import SCENES

__all__ = ["EXPECTATIONS", "Expectation", "Facts", "Finding", "judge"]

_OPERATIONS: Final = ("orders.submit", "orders.replace", "orders.cancel")
_STEP_UP: Final = "step-up-required"


# ---- Trading


def _all_done(name: str, facts: Facts) -> bool:
    """Some of each operation, and nothing but "done"."""
    outcomes = facts[name]
    return set(outcomes) == set(_OPERATIONS) and all(set(counts) == {"done"} for counts in outcomes.values())


def _traded(name: str, facts: Facts) -> bool:
    traded = facts[name]
    sent = sum(traded["sent"].values())
    return sent > 0 and traded["outcomes"] == {"done": sent} and _all_done(f"{name}_orders", facts)


def _orders_seen(name: str, facts: Facts) -> str:
    outcomes = facts[name]
    if "sent" in outcomes:
        return f"{sum(outcomes['sent'].values()):,} sent: {counted(outcomes['outcomes'])}"
    return told(outcomes)


def _states_verified(facts: Facts) -> bool:
    verified, states = facts["algorithm"]["market_data"], facts["states"]
    return bool(verified == {"OK": states} and _published(facts) == states)


def _published(facts: Facts) -> int:
    return int(facts["market_data"]["published"])


def _replies_verified(facts: Facts) -> bool:
    return set(facts["algorithm"]["replies"]) == {"OK"}


# ---- Renewal


def _renewed_in_passing(facts: Facts) -> bool:
    """The gateway has taken orders under two keys, one after the other, and has refused none."""
    verdicts = facts["gateway"]["trading"]
    accepted = facts["accepted"]["trading"]
    passed = all(verdicts[operation].keys() == {"OK"} for operation in _OPERATIONS)
    return (
        passed
        and all(counts.keys() <= {"OK"} for counts in verdicts.values())
        and len(accepted) == 2
        and facts["installed"]["trading"] == {"OK": 1}
        and facts["renewed"].count(True) == 1
    )


def _renewal_seen(facts: Facts) -> str:
    orders, renewed = list(facts["accepted"]["trading"].values()), facts["trade_1"]["renewed"]
    keys = " and then ".join(f"{count:,}" for count in orders)
    return (
        f"{keys} accepted under one key each, none refused; renewed in {renewed['took_ns'] / 1e6:.1f} ms, "
        f"with {renewed['during']:,} orders sent meanwhile"
    )


# ---- The bad device


def _refused_in_time(facts: Facts) -> bool:
    drift = facts["drift"]
    in_time = 0 < drift["reaction_s"] <= 5.0 and drift["passed_ns"] < drift["refused_ns"]
    taken = drift["status"] == 202
    # The session, and the one that it was renewed from, for as long as that one's keys are good.
    restricted = set(drift["modes"]) == {"RESTRICTED"} and len(drift["modes"]) <= 2
    return bool(taken and in_time and drift["passed"] > 0 and restricted)


def _only(outcome: str, operations: Sequence[str], facts: Facts) -> bool:
    drift = facts["drift"]
    wanted = {outcome: drift["live"]}
    every = all(drift["outcomes"][operation] == wanted for operation in operations)
    return bool(drift["live"] > 0 and every)


def _gateway_agrees(facts: Facts) -> bool:
    """What the algorithm was told, and what the gateway counted, are the same story."""
    bad, drift = facts["gateway"]["device bad"], facts["drift"]
    submitted = {"OK": drift["passed"], "STEP_UP_REQUIRED": drift["live"] + 1}
    replaced = {"STEP_UP_REQUIRED": drift["live"]}
    # Cancels that passed before the event came are counted too.
    cancels = bad["orders.cancel"]
    submitted["WRONG_OPERATION"] = drift["live"]
    return (
        bad["orders.submit"] == submitted
        and bad["orders.replace"] == replaced
        and set(cancels) == {"OK"}
        and cancels["OK"] >= drift["live"]
    )


def _bad_device_may_only_cancel(facts: Facts) -> bool:
    verdicts = facts["gateway"]["still bad"]
    return (
        set(verdicts["orders.submit"]) == {"NOT_PERMITTED"}
        and set(verdicts["orders.replace"]) == {"NOT_PERMITTED"}
        and set(verdicts["orders.cancel"]) == {"OK"}
    )


# ---- The attack


def _every_attack(facts: Facts) -> bool:
    return set(facts["attacks"]) == set(ATTACKS)


def _attack_accepted_nothing(facts: Facts) -> bool:
    during = facts["gateway"]["attack"]
    return sum(map(len, during.values())) > 0 and all("OK" not in verdicts for verdicts in during.values())


# ---- At the end


def _core_agrees(facts: Facts) -> bool:
    """At the order gateway, and at the release gate."""
    at_gateway = [verdicts for act in facts["gateway"].values() for verdicts in act.values()]
    at_gate = [facts["release"][scene]["verdicts"] for scene in SCENES]
    return bool(
        _refused(at_gateway) == facts["core_refusals"] and _refused(at_gate) == facts["release"]["core"]
    )


def _refused(parts: Sequence[dict[str, int]]) -> dict[str, int]:
    refused: Counter[str] = Counter()
    for verdicts in parts:
        refused.update(verdicts)
    refused.pop("OK")
    return refused


def _audited(facts: Facts) -> bool:
    audit, clearing = facts["audit"], 0 if "clearing" in facts["skipped"] else 2
    # The algorithm's first session, its renewal and three re-authentications; the intruder's; the trader's
    # two, and a step-up. One of test, and the release manager's with a step-up.
    granted = 5 + 1 + 3 + clearing + 3
    # Each of two hosts was called bad, and good again; and the appraiser says of each device that has shown
    # something worse that it has: of the algorithm's, and of the clearing service's.
    signals = 4 + 1 + clearing // 2
    wanted = {"session.granted": granted, "signal": signals, "session.mode": _mode_changes(facts)}
    # Who posed as the algorithm, a wrong code, and a used one; the algorithm's two ways into production; and
    # while they were suspended, it and the intruder.
    wanted |= {"handshake.refused": 7, "signal.resolved": 1}
    return all(audit[event] == count for event, count in wanted.items())


def _mode_changes(facts: Facts) -> int:
    lateral, release = facts["lateral"], facts["release"]
    changes = (
        *(facts[act]["modes"] for act in ("drift", "tampered", "put_right")),
        [] if "clearing" in facts["skipped"] else facts["clearing"]["modes"],
        *(lateral["modes"], lateral["modes_settled"]),
        *(release["modes"], release["modes_put_right"]),
    )
    return sum(map(len, changes))


def _all_ended(facts: Facts) -> bool:
    roles = {"authority", "gateway", "market-data", "algorithm", "trader"}
    roles |= {"lab", "release-gate", "release-manager", "device-management"}
    with_tpm = set() if "clearing" in facts["skipped"] else {"clearing", "tpm"}
    statuses = facts["exit_statuses"]
    return statuses.keys() == roles | with_tpm and not any(statuses.values())


def _attack_expectation(name: str, attack: Attack) -> Expectation:
    return Expectation(
        f"attack: {attack.sentence}: all refused", partial(was_refused, name), partial(what_was_seen, name)
    )


def _fact(path: str) -> Callable[[Facts], str]:
    def tell(facts: Facts) -> str:
        value: Any = facts
        for key in path.split("/"):
            value = value[key]
        return counted(value) if isinstance(value, dict) else str(value)

    return tell


EXPECTATIONS: Final[tuple[Expectation, ...]] = (
    Expectation(
        "every market-data message was signed, arrived in order, and was verified before use",
        _states_verified,
        lambda facts: f"{_published(facts):,} published; {counted(facts['algorithm']['market_data'])}",
    ),
    Expectation(
        "first half: every new order, replace and cancel passed",
        partial(_traded, "trade_1"),
        partial(_orders_seen, "trade_1"),
    ),
    Expectation(
        "its session is renewed in the middle of that, and not one order is refused for it",
        _renewed_in_passing,
        _renewal_seen,
    ),
    Expectation(
        "after the device management's event new orders are refused, within the lease",
        _refused_in_time,
        lambda facts: (
            f"{facts['drift']['reaction_s'] * 1e3:.1f} ms after it, {facts['drift']['passed']:,} before"
        ),
    ),
    Expectation(
        "from then on no new order and no replace passes: step up required",
        partial(_only, _STEP_UP, ("orders.submit", "orders.replace")),
        lambda facts: told(facts["drift"]["outcomes"]),
    ),
    Expectation(
        "cancels still pass, every one",
        partial(_only, "done", ("orders.cancel",)),
        lambda facts: counted(facts["drift"]["outcomes"]["orders.cancel"]),
    ),
    Expectation(
        "a new order signed as a cancel is refused",
        partial(_only, "refused", ("orders.submit as orders.cancel",)),
        lambda facts: counted(facts["drift"]["outcomes"]["orders.submit as orders.cancel"]),
    ),
    Expectation(
        "the gateway counted the same as the algorithm was told",
        _gateway_agrees,
        lambda facts: told(facts["gateway"]["device bad"]),
    ),
    Expectation(
        "re-authenticated on the bad device, it may cancel and nothing else",
        _bad_device_may_only_cancel,
        lambda facts: told(facts["gateway"]["still bad"]),
    ),
    TAKEN_BACK,
    Expectation(
        "re-authenticated on the good device, the superseded session is refused",
        lambda facts: facts["old_session"]["outcome"] == "reauth-required",
        lambda facts: (
            f"{facts['old_session']['passed']:,} cancels before, then {facts['old_session']['outcome']}"
        ),
    ),
    Expectation(
        "second half: every new order, replace and cancel passed",
        partial(_traded, "trade_2"),
        partial(_orders_seen, "trade_2"),
    ),
    *TRADER,
    *LATERAL,
    Expectation(
        "every attack was carried out", _every_attack, lambda facts: f"{len(facts['attacks'])} kinds"
    ),
    *(_attack_expectation(name, attack) for name, attack in ATTACKS.items()),
    Expectation(
        "the gateway accepted nothing during the attack",
        _attack_accepted_nothing,
        lambda facts: told(facts["gateway"]["attack"]),
    ),
    *FALSE_SIGNALS,
    Expectation(
        "the algorithm's session is unharmed by it",
        partial(_all_done, "afterwards"),
        partial(_orders_seen, "afterwards"),
    ),
    *CLEARING,
    *RELEASE,
    Expectation(
        "every reply that the algorithm used was verified", _replies_verified, _fact("algorithm/replies")
    ),
    Expectation(
        "the core counted every refusal",
        _core_agrees,
        lambda facts: f"{counted(facts['core_refusals'])}; release gate: {counted(facts['release']['core'])}",
    ),
    Expectation("the audit log tells the story", _audited, _fact("audit")),
    Expectation(
        "every process ended by itself",
        _all_ended,
        _fact("exit_statuses"),
    ),
)
