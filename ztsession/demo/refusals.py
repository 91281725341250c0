"""How each attack of the compromised service must end: the verdict that refuses it, and nothing else.

"Refused" alone would not do. An attack that fails for another reason than the one it was made to meet has
not tried what it claims to try.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

__all__ = ["ATTACKS", "Attack", "Facts", "counted", "was_refused", "what_was_seen"]

Facts = dict[str, Any]


class Attack(NamedTuple):
    """How an attack must end: with which verdicts, or with refused installations, or with a refused
    handshake.
    """

    sentence: str
    verdicts: frozenset[str] = frozenset()
    where: str = "verdicts"


def _by(*verdicts: str) -> frozenset[str]:
    return frozenset(verdicts)


#: Recorded calls may have grown too old meanwhile, which is checked before replay; never are they accepted.
ATTACKS: Final[Mapping[str, Attack]] = {
    "replay-orders": Attack("orders recorded off the wire are replayed", _by("REPLAYED", "TOO_OLD")),
    "replay-orders-of-earlier-sessions": Attack(
        "orders of superseded sessions are replayed",
        # A renewed session's old keys are good for ten seconds more. What was used under them stays used, and
        # the signal about the device has hit them too.
        _by("REVOKED", "UNKNOWN_SESSION", "REPLAYED", "TOO_OLD", "STEP_UP_REQUIRED", "EXPIRED"),
    ),
    "forge-with-every-key": Attack("orders are forged with every key it holds", _by("BAD_TAG")),
    "forge-by-guessing": Attack("orders are forged with guessed tags", _by("BAD_TAG")),
    "alter-recorded-orders": Attack("recorded orders are given another quantity", _by("BAD_TAG")),
    "redirect-subscribers-calls": Attack(
        "the algorithm's calls to market data are redirected to the gateway", _by("UNKNOWN_SESSION")
    ),
    "redirect-under-the-order-handle": Attack(
        "the same with the orders session's handle written in", _by("BAD_TAG", "BAD_EPOCH")
    ),
    "redirect-own-signed-states": Attack("states that it signed itself are sent as orders", _by("MALFORMED")),
    "redirect-the-gateways-replies": Attack("the gateway's replies are reflected to it", _by("MALFORMED")),
    "install-own-segments-ticket": Attack(
        "market-data tickets are presented at the gateway", where="installations"
    ),
    "install-again-what-was-recorded": Attack(
        "the algorithm's own installation is replayed", where="installations"
    ),
    "install-the-order-ticket-with-own-secrets": Attack(
        "the algorithm's orders ticket is presented with other secrets", where="installations"
    ),
    "pose-as-the-algorithm": Attack("it poses as the algorithm at the Authority", where="authority"),
}


def was_refused(name: str, facts: Facts) -> bool:
    """Whether every attempt ended as it must, and the book is as it was."""
    attack, seen = ATTACKS[name], facts["attacks"][name]
    if not seen["book_unchanged"] or seen["attempts"] <= 0:
        return False
    if attack.where == "installations":
        return bool(seen["installations"] == {"REFUSED": seen["attempts"]} and not seen["verdicts"])
    if attack.where == "authority":
        return bool(seen["authority"] == {"handshake.refused": seen["attempts"]})
    verdicts = seen["verdicts"]
    return sum(verdicts.values()) == seen["attempts"] and set(verdicts) <= attack.verdicts


def what_was_seen(name: str, facts: Facts) -> str:
    """Attempts, and how they ended."""
    seen = facts["attacks"][name]
    return f"of {seen['attempts']:,}: {counted(seen[ATTACKS[name].where])}"


def counted(counts: Mapping[str, int]) -> str:
    """Counts by name, for people."""
    return ", ".join(f"{count:,} {name}" for name, count in counts.items()) or "nothing"
