"""The worst that a compromised service can do to its neighbour: everything, with everything it holds.

It holds its segment's private key, the tickets that were presented to it, the segment secrets inside them,
all calls and states that passed through it, and a tap on the line to the gateway. What it does not hold is
any key of the orders segment, and there is nothing else that would help: its own keys derive from other
grants, and what it recorded is spent.

What it could still do is lie about prices to its own subscribers. No session stops that; a second feed does.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import ztsession as zts
from ztsession.client.installed import InstalledSession
from ztsession.demo.messages import CancelOrder, NewOrder, Side, decode, encode, join, split
from ztsession.demo.tap import Tapped
from ztsession.errors import ZtsError
from ztsession.hazmat import sha256
from ztsession.integrations.stream import SocketTransport
from ztsession.policy.catalog import Segment
from ztsession.policy.grant import Grant
from ztsession.tickets import InstallAnswer, InstallRequest, SegmentKey, open_ticket
from ztsession.tickets.secrets import answer_key, request_key

__all__ = ["Attacker", "Loot", "forged_orders"]

#: Orders forged with each key, and tags guessed.
FORGED_PER_KEY, GUESSED = 64, 2000
_FRAME_ORDERS = 400

_Pair = tuple[bytes, bytes]


@dataclass(frozen=True)
class Loot:
    """What falls into the hands of whoever takes over the market-data process."""

    key: SegmentKey
    ticket_key: bytes
    orders: Segment
    installations: Sequence[bytes]
    requests: Sequence[_Pair]
    states: Sequence[_Pair]


class Attacker:
    """``attacks``: by name, what carries it out and returns the number of attempts."""

    def __init__(
        self,
        loot: Loot,
        tapped: Tapped,
        *,
        gateway: tuple[str, int],
        authority: tuple[str, int],
        root: bytes,
    ) -> None:
        self._loot, self._tapped = loot, tapped
        self._gateway, self._authority, self._root = gateway, authority, root
        self._recorded = [pair for frame in tapped.orders for pair in split(frame)]
        self.attacks: dict[str, Callable[[], int]] = {
            "replay-orders": partial(self._throw, lambda: self._recorded),
            "replay-orders-of-earlier-sessions": partial(self._throw, self._old_orders),
            "forge-with-every-key": partial(self._throw, self._forged),
            "forge-by-guessing": partial(self._throw, self._guessed),
            "alter-recorded-orders": partial(self._throw, self._altered),
            "redirect-subscribers-calls": partial(self._throw, lambda: loot.requests),
            "redirect-under-the-order-handle": partial(self._throw, self._rehandled),
            "redirect-own-signed-states": partial(self._throw, lambda: loot.states),
            "redirect-the-gateways-replies": partial(self._throw, self._replies),
            "install-own-segments-ticket": partial(self._present, self._own_tickets),
            "install-again-what-was-recorded": partial(self._present, lambda: tapped.installation[:1]),
            "install-the-order-ticket-with-own-secrets": partial(self._present, self._stolen_ticket),
            "pose-as-the-algorithm": self._pose,
        }

    # ---- Throwing things at the gateway

    def _throw(self, pairs: Callable[[], Iterable[_Pair]]) -> int:
        thrown = list(pairs())
        with SocketTransport.connect(self._gateway) as line:
            for at in range(0, len(thrown), _FRAME_ORDERS):
                line.exchange(join(thrown[at : at + _FRAME_ORDERS]))
        return len(thrown)

    def _present(self, requests: Callable[[], Iterable[bytes]]) -> int:
        presented = list(requests())
        with SocketTransport.connect(self._gateway) as line:
            for request in presented:
                line.exchange(request)
        return len(presented)

    # ---- Orders

    def _old_orders(self) -> list[_Pair]:
        return [pair for frame in self._tapped.before for pair in split(frame)]

    def _forged(self) -> Iterator[_Pair]:
        answer = InstallAnswer.from_bytes(self._tapped.installation[1])
        now_us = max(int.from_bytes(token[24:32], "little") for token, _ in self._recorded)
        for secret in self._keys():
            yield from forged_orders(
                self._guessed_grant(), answer, secret, now_us=now_us, count=FORGED_PER_KEY
            )

    def _guessed(self) -> Iterator[_Pair]:
        token, _ = self._recorded[-1]
        order = _worst_order(self._recorded)
        sequence = int.from_bytes(token[16:24], "little")
        for ahead in range(1, GUESSED + 1):
            header = token[:16] + (sequence + ahead).to_bytes(8, "little") + token[24:32]
            yield header + os.urandom(16), order

    def _altered(self) -> Iterator[_Pair]:
        for token, body in self._recorded:
            order = decode(body)
            if not isinstance(order, CancelOrder):
                yield token, encode(order._replace(quantity=1_000_000))  # type: ignore[call-arg]

    # ---- What belongs elsewhere

    def _rehandled(self) -> list[_Pair]:
        handle = self._recorded[-1][0][8:16]
        return [(token[:8] + handle + token[16:], body) for token, body in self._loot.requests]

    def _replies(self) -> list[_Pair]:
        return [pair for frame in self._tapped.replies for pair in split(frame)]

    # ---- Tickets

    def _own_tickets(self) -> Iterator[bytes]:
        for ticket, secret in self._tickets():
            yield InstallRequest.make(ticket, secret).to_bytes()

    def _stolen_ticket(self) -> Iterator[bytes]:
        stolen = InstallRequest.from_bytes(self._tapped.installation[0]).ticket
        for secret in self._keys():
            yield InstallRequest.make(stolen, secret).to_bytes()

    def _pose(self) -> int:
        """Claim to be the algorithm, with keys that are the market-data service's."""
        with SocketTransport.connect(self._authority) as line, contextlib.suppress(ZtsError):
            zts.connect(
                line,
                identity=zts.Ed25519Identity("algo-1", self._loot.key.seed[:32], self._loot.key.x25519),
                posture=zts.DevicePosture("trading-host-1", self._loot.key.seed[32:]),
                root=self._root,
                scopes=["orders.*"],
            )
        return 1

    # ---- Keys

    def _tickets(self) -> Iterator[tuple[bytes, bytes]]:
        """Each ticket that was presented here, with the secret inside it."""
        for request in self._loot.installations:
            ticket = InstallRequest.from_bytes(request).ticket
            _, body = open_ticket(ticket, [self._loot.key], [self._loot.ticket_key], time.time())
            yield ticket, body.secret

    def _keys(self) -> list[bytes]:
        """Everything of 32 bytes here that is, or was made from, a secret; and two for luck."""
        key = self._loot.key
        keys = [key.seed[:32], key.seed[32:], key.x25519, sha256(key.seed), bytes(32)]
        for _, secret in self._tickets():
            keys += [secret, request_key(secret), answer_key(secret)]
        return keys

    def _guessed_grant(self) -> Grant:
        # Grants are no secret: everything in them can be guessed, and what cannot is not in what a token
        # carries.
        request = InstallRequest.from_bytes(self._loot.installations[-1])
        grant, _ = open_ticket(request.ticket, [self._loot.key], [self._loot.ticket_key], time.time())
        segment = self._loot.orders
        everything = [sum(o.bit for o in segment.operations), 0, 0]
        return replace(
            grant,
            segment=segment.name,
            catalog=segment.digest,
            operations={
                o.full_name: [o.index, o.max_age_us, o.stale_ms, int(o.ordered)] for o in segment.operations
            },
            allowed=everything,
            lasting=everything,
        )


def forged_orders(
    grant: Grant, answer: InstallAnswer, secret: bytes, *, now_us: int, count: int
) -> list[_Pair]:
    """Orders signed as the holder of ``secret`` (32 bytes) would; they pass if, and only if, it is the
    right one.

    ``answer``: the installation's, off the wire: handle, nonce and clock are all public. ``now_us``: the
    session time.
    """
    forger = InstalledSession(grant, secret, answer, manual_clock_us=0)
    # The coarse clock of now may lag behind the fine one that the installation was stamped with.
    forger.table.set_manual_clock(max(0, now_us - answer.now_us))
    # Far above what the algorithm has used, so that no sequence stands in the way.
    forger.table.set_sent_for_testing_only(forger.handle, 1 << 30)
    body = encode(NewOrder(Side.BID, 1, 10**9, 1_000_000, b"DEMO", b"market-making-1", b"forged"))
    return [(forger.sign("orders.submit", body), body) for _ in range(count)]


def _worst_order(recorded: Sequence[_Pair]) -> bytes:
    orders = (decode(body) for _, body in recorded)
    order = next(order for order in orders if isinstance(order, NewOrder))
    return encode(order._replace(quantity=1_000_000))
