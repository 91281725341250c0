"""A client's lines: market data comes in over one, orders go out over the other.

Nothing that arrives is used before it was verified: not a price, and not a reply either, or somebody on the
wire could tell the algorithm that its order was cancelled.

The session may be renewed while messages are under way, so both lines sign with whatever installation is in
force at that moment, and open each answer with the one that its question was signed with.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import ztsession as zts
from ztsession.demo.messages import (
    REASONS,
    CancelOrder,
    LookOrder,
    Message,
    NewOrder,
    OrderReply,
    OverrideOrder,
    Quote,
    ReplaceOrder,
    SettleOrder,
    Status,
    Subscribe,
    decode,
    encode,
    join,
    split,
)
from ztsession.demo.tap import Tap
from ztsession.errors import Denied, TransportError, WireError
from ztsession.integrations.stream import SocketTransport

__all__ = ["CREDIT", "MarketDataLine", "OrderLine", "operation_of"]

#: States asked for at a time; two such requests are always on their way.
CREDIT = 256
_AHEAD = 2

_SUBSCRIBE = "market-data.subscribe"


_OPERATIONS: Final[dict[type[Message], str]] = {
    NewOrder: "orders.submit",
    ReplaceOrder: "orders.replace",
    CancelOrder: "orders.cancel",
    LookOrder: "orders.look",
    OverrideOrder: "orders.override",
    SettleOrder: "orders.settle",
}

#: Tells which installation is in force.
InForce = Callable[[], zts.InstalledSession]


def operation_of(order: Message) -> str:
    """Which operation an order message asks for."""
    return _OPERATIONS[type(order)]


class MarketDataLine:
    """Verified top-of-book states, in order."""

    def __init__(self, address: tuple[str, int], instrument: bytes, account: bytes) -> None:
        self._address, self._transport = address, SocketTransport.connect(address)
        self._instrument, self._account = instrument, account
        self.verdicts: Counter[str] = Counter()
        self._known: dict[int, zts.InstalledSession] = {}
        self._door: SocketTransport | None = None

    def door(self) -> SocketTransport:
        """A connection to install over: on the line itself, states are under way at any time."""
        if self._door is not None:
            self._door.close()
        self._door = SocketTransport.connect(self._address)
        return self._door

    def follow(self, in_force: InForce) -> None:
        """Ask by what is in force from here on."""
        self._in_force = in_force
        self._known.clear()

    def states(self, first: int, count: int) -> Iterator[list[Quote]]:
        """States ``first`` .. ``first + count - 1``, as many at a time as came together.

        WireError when one is missing or out of order; what does not verify is counted and never returned.
        """
        end, asked, expected = first + count, first, first
        while expected < end:
            while asked < min(end, expected + _AHEAD * CREDIT):
                asked = self._ask(asked, end)
            states = self._verified(split(self._transport.receive()))
            if [state.number for state in states] != list(
                range(expected, expected + len(states))
            ) or not states:
                raise WireError(f"market data: expected states from number {expected} on, in order")
            expected += len(states)
            yield states

    def _ask(self, first: int, end: int) -> int:
        credit = min(CREDIT, end - first)
        body = encode(Subscribe(credit, first, self._instrument, self._account))
        installed = self._in_force()
        self._known[installed.handle] = installed
        self._transport.send(installed.sign(_SUBSCRIBE, body) + body)
        return first + credit

    def _verified(self, pairs: Sequence[tuple[bytes, bytes]]) -> list[Quote]:
        states = []
        installed = self._asked_with(pairs)
        for token, body in pairs:
            try:
                installed.open_reply(token, body)
            except Denied as denied:
                self.verdicts[denied.verdict] += 1
                continue
            self.verdicts["OK"] += 1
            state = decode(body)
            if isinstance(state, Quote):
                states.append(state)
        return states

    def _asked_with(self, pairs: Sequence[tuple[bytes, bytes]]) -> zts.InstalledSession:
        # A claim, like all of a header: with another's keys nothing verifies.
        handle = int.from_bytes(pairs[0][0][8:16], "little") if pairs else 0
        return self._known.get(handle) or self._in_force()


class OrderLine:
    """Signed orders out, verified replies back."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.tap = Tap(SocketTransport.connect(address))
        self.verdicts: Counter[str] = Counter()

    def install(self, session: zts.Session) -> zts.InstalledSession:
        """Use this session from here on; also returned, for those who want to see what becomes of an old
        one.
        """
        installed = session.install(self.tap, "orders")
        self.follow(lambda: installed)
        return installed

    @property
    def installed(self) -> zts.InstalledSession:
        """What is in force."""
        return self._in_force()

    def follow(self, in_force: InForce) -> None:
        """Sign by what is in force from here on."""
        self._in_force = in_force

    def send(
        self,
        orders: Sequence[Message],
        *,
        operation: str = "",
        session: zts.InstalledSession | None = None,
    ) -> list[str]:
        """Send orders in one frame; for each "done", "no-such-order" or the reason why it was refused.

        ``operation`` signs for another operation than the order's own, and ``session`` with another session
        than the present one: both for those who want to see it refused.
        """
        signer, bodies = session or self._in_force(), [encode(order) for order in orders]
        signed = [
            (signer.sign(operation or operation_of(order), body), body)
            for order, body in zip(orders, bodies, strict=True)
        ]
        replies = split(self.tap.exchange(join(signed)))
        if len(replies) != len(signed):
            raise TransportError(f"the gateway gave {len(replies)} replies to {len(signed)} orders")
        return [
            self._outcome(signer, int.from_bytes(token[16:24], "little"), *reply)
            for (token, _), reply in zip(signed, replies, strict=True)
        ]

    def _outcome(self, caller: zts.InstalledSession, sequence: int, token: bytes, body: bytes) -> str:
        # Accepted calls are answered under the session that they came with, refusals under the connection's.
        handle = int.from_bytes(token[8:16], "little")
        try:
            (caller if handle == caller.handle else self._in_force()).open_reply(token, body)
        except Denied as denied:
            self.verdicts[denied.verdict] += 1
            return "unverified"
        self.verdicts["OK"] += 1
        reply = decode(body)
        # A reply that is genuine but to another order is no reply to this one.
        if not isinstance(reply, OrderReply) or reply.answers != sequence:
            return "unrelated"
        if reply.status == Status.REFUSED:
            return REASONS[reply.reason]
        return "done" if reply.status == Status.DONE else "no-such-order"
