"""How cheaply a flood of first messages is met: a demand for a cookie, beside a full answer.

Each first message is a real one, and each comes from an address of its own. A demand must cost less than any
operation with a public key would, or it would be no defence: so one X25519 exchange alone, the cheapest of
those that a full answer takes, is measured in the same rounds.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Collection, Mapping, Sequence

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from benchmarks.firm import Firm
from benchmarks.measure import Loop, Series, round_robin
from benchmarks.plan import Plan
from benchmarks.result import Findings, Row
from ztsession.authority import Authority
from ztsession.authority.connection import Connection
from ztsession.authority.gate import Gate
from ztsession.handshake.messages import Hello, demanded_cookie
from ztsession.handshake.refusal import raise_if_refused
from ztsession.handshake.states import start_initiator

__all__ = ["measure"]

DEMAND, FULL = "a first message met with a demand for a cookie", "a first message answered in full"
EXCHANGE = "one X25519 exchange alone (cryptography)"
#: Always under load: a bound that one handshake alone is over.
ALWAYS_BUSY_PER_S = 0.5
#: Of a full answer or an exchange, one for so many demands.
SHARE = 20
FIRST_ADDRESS = int(ipaddress.ip_address("198.18.0.0"))

_Arrivals = Sequence[tuple[Connection, bytes]]


def measure(plan: Plan, wanted: Collection[str], say: Callable[[str], None]) -> Findings:
    """Time on the wall per message, on one processor, without the sockets in front of it."""
    few = plan.first_messages // SHARE
    with Firm(gate=Gate(busy_per_s=ALWAYS_BUSY_PER_S)) as firm:
        flood = _Flood(firm.authority, few)
        sizes = flood.check()
        subjects = [
            Loop(DEMAND, plan.first_messages, flood.from_everywhere, _exchange),
            Loop(FULL, few, flood.from_here, _exchange),
            Loop(EXCHANGE, few, _key_pairs, _agree),
        ]
        found = round_robin(subjects, plan.rounds, say)
    what = "a first message is met with a cookie; how much dearer a full answer is"
    note = _note(found, *sizes)
    return Findings(
        [Row("flood", what, found[DEMAND], found[FULL], inverse=True, note=note)], [*found.values()]
    )


class _Flood:
    """First messages, and the connections on which they arrive."""

    def __init__(self, authority: Authority, messages: int) -> None:
        self._authority = authority
        hello = Hello(["orders.*"]).to_bytes()
        self._messages = [start_initiator(os.urandom(32), hello)[0] for _ in range(messages)]

    def from_everywhere(self, count: int) -> _Arrivals:
        """Each from another address, and so a stranger's."""
        addresses = (str(ipaddress.ip_address(FIRST_ADDRESS + number)) for number in range(count))
        return [(self._authority.connection(each), self._of(at)) for at, each in enumerate(addresses)]

    def from_here(self, count: int) -> _Arrivals:
        """Each from this process, of which nobody asks a cookie."""
        return [(self._authority.connection(), self._of(at)) for at in range(count)]

    def check(self) -> tuple[int, int]:
        """The lengths of a first message and of the demand that answers it; that both answers are what they
        are taken for.
        """
        (stranger, message), (known, _) = *self.from_everywhere(1), *self.from_here(1)
        demand, full = stranger.exchange(message), known.exchange(message)
        raise_if_refused(full)
        if demanded_cookie(demand) is None or demanded_cookie(full) is not None:
            raise RuntimeError("a flood was not met with cookies, or a friend was")
        return len(message), len(demand)

    def _of(self, at: int) -> bytes:
        return self._messages[at % len(self._messages)]


def _exchange(arrivals: _Arrivals) -> None:
    for connection, message in arrivals:
        connection.exchange(message)


def _key_pairs(count: int) -> Sequence[tuple[X25519PrivateKey, X25519PublicKey]]:
    return [(X25519PrivateKey.generate(), X25519PrivateKey.generate().public_key()) for _ in range(count)]


def _agree(pairs: Sequence[tuple[X25519PrivateKey, X25519PublicKey]]) -> None:
    for private, public in pairs:
        private.exchange(public)


def _note(found: Mapping[str, Series], message_bytes: int, demand_bytes: int) -> str:
    per_s = {name: f"{1e9 / series.median:,.0f}" for name, series in found.items()}
    return (
        f"{per_s[DEMAND]} demands a second on one processor, {per_s[FULL]} full answers; "
        f"one X25519 exchange alone takes {found[EXCHANGE].median:,.0f} ns; "
        f"a demand of {demand_bytes} bytes answers a message of {message_bytes:,}"
    )
