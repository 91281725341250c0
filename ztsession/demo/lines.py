"""The algorithm's two lines: market data comes in over one, orders go out over the other.

Nothing that arrives is used before it was verified: not a price, and not a reply either, or somebody on the
wire could tell the algorithm that its order was cancelled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import ztsession as zts
from ztsession.demo.messages import (
    REASONS,
    CancelOrder,
    Message,
    NewOrder,
    OrderReply,
    Quote,
    Status,
    Subscribe,
    decode,
    encode,
    join,
    split,
)
from ztsession.demo.strategy import OrderMessage
from ztsession.demo.tap import Tap
from ztsession.errors import Denied, TransportError, WireError
from ztsession.integrations.stream import SocketTransport

__all__ = ["CREDIT", "MarketDataLine", "OrderLine", "operation_of"]

#: States asked for at a time; two such requests are always on their way.
CREDIT = 256
_AHEAD = 2

_SUBSCRIBE = "market-data.subscribe"


def operation_of(order: Message) -> str:
    """Which operation an order message asks for."""
    if isinstance(order, NewOrder):
        return "orders.submit"
    return "orders.cancel" if isinstance(order, CancelOrder) else "orders.replace"


class MarketDataLine:
    """Verified top-of-book states, in order."""

    def __init__(self, address: tuple[str, int], instrument: bytes, account: bytes) -> None:
        self._transport = SocketTransport.connect(address)
        self._instrument, self._account = instrument, account
        self.verdicts: Counter[str] = Counter()

    def install(self, session: zts.Session) -> None:
        """Use this session from here on."""
        self._installed = session.install(self._transport, "market-data")

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
        self._transport.send(self._installed.sign(_SUBSCRIBE, body) + body)
        return first + credit

    def _verified(self, pairs: Sequence[tuple[bytes, bytes]]) -> list[Quote]:
        states = []
        for token, body in pairs:
            try:
                self._installed.open_reply(token, body)
            except Denied as denied:
                self.verdicts[denied.verdict] += 1
                continue
            self.verdicts["OK"] += 1
            state = decode(body)
            if isinstance(state, Quote):
                states.append(state)
        return states


class OrderLine:
    """Signed orders out, verified replies back."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.tap = Tap(SocketTransport.connect(address))
        self.verdicts: Counter[str] = Counter()

    def install(self, session: zts.Session) -> zts.InstalledSession:
        """Use this session from here on; also returned, for those who want to see what becomes of an old
        one.
        """
        self._installed = session.install(self.tap, "orders")
        return self._installed

    def send(
        self,
        orders: Sequence[OrderMessage],
        *,
        operation: str = "",
        session: zts.InstalledSession | None = None,
    ) -> list[str]:
        """Send orders in one frame; for each "done", "no-such-order" or the reason why it was refused.

        ``operation`` signs for another operation than the order's own, and ``session`` with another session
        than the present one: both for those who want to see it refused.
        """
        signer, bodies = session or self._installed, [encode(order) for order in orders]
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
            (caller if handle == caller.handle else self._installed).open_reply(token, body)
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
