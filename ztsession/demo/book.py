"""The gateway's order handlers: what there is to do once a call is known to be good.

They take what every protected handler takes, the session and the body, and know nothing of tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ztsession import SessionView
from ztsession.demo.messages import (
    CancelOrder,
    LookOrder,
    NewOrder,
    OrderReply,
    OverrideOrder,
    ReplaceOrder,
    SettleOrder,
    Status,
    decode,
    encode,
)
from ztsession.errors import WireError
from ztsession.wire.digest import digest

__all__ = ["Book"]

_NO_REASON = 0


@dataclass
class Book:
    """Live orders by id: (side, price, quantity). Each handler returns the body of its reply."""

    orders: dict[int, tuple[int, int, int]] = field(default_factory=dict)

    def submit(self, session: SessionView, body: bytes) -> bytes:
        """Put an order into the book."""
        order = decode(body)
        if not isinstance(order, NewOrder):
            raise WireError("orders.submit takes a NewOrder")
        return self._put(session, order)

    def override(self, session: SessionView, body: bytes) -> bytes:
        """Put an order into the book that is past the desk's limits."""
        order = decode(body)
        if not isinstance(order, OverrideOrder):
            raise WireError("orders.override takes an OverrideOrder")
        return self._put(session, order)

    def replace(self, session: SessionView, body: bytes) -> bytes:
        """Give a live order another price and quantity."""
        order = decode(body)
        if not isinstance(order, ReplaceOrder):
            raise WireError("orders.replace takes a ReplaceOrder")
        live = self.orders.get(order.order_id)
        if live is not None:
            self.orders[order.order_id] = (live[0], order.price, order.quantity)
        status = Status.DONE if live is not None else Status.NO_SUCH_ORDER
        return encode(
            OrderReply(status, _NO_REASON, order.order_id, session.sequence, order.price, order.quantity)
        )

    def cancel(self, session: SessionView, body: bytes) -> bytes:
        """Take an order out."""
        order = decode(body)
        if not isinstance(order, CancelOrder):
            raise WireError("orders.cancel takes a CancelOrder")
        live = self.orders.pop(order.order_id, None)
        status = Status.DONE if live is not None else Status.NO_SUCH_ORDER
        return encode(OrderReply(status, _NO_REASON, order.order_id, session.sequence, 0, 0))

    def look(self, session: SessionView, body: bytes) -> bytes:
        """Tell what a live order is like."""
        order = decode(body)
        if not isinstance(order, LookOrder):
            raise WireError("orders.look takes a LookOrder")
        return self._told(session, order.order_id, self.orders.get(order.order_id))

    def settle(self, session: SessionView, body: bytes) -> bytes:
        """Take an order out for good."""
        order = decode(body)
        if not isinstance(order, SettleOrder):
            raise WireError("orders.settle takes a SettleOrder")
        return self._told(session, order.order_id, self.orders.pop(order.order_id, None))

    def fingerprint(self) -> str:
        """Hexadecimal digest of every live order: equal before and after what must change nothing."""
        rows = sorted((order_id, *order) for order_id, order in self.orders.items())
        return digest("book", repr(rows).encode()).hex()

    def _put(self, session: SessionView, order: NewOrder | OverrideOrder) -> bytes:
        self.orders[order.order_id] = (order.side, order.price, order.quantity)
        return encode(
            OrderReply(Status.DONE, _NO_REASON, order.order_id, session.sequence, order.price, order.quantity)
        )

    def _told(self, session: SessionView, order_id: int, order: tuple[int, int, int] | None) -> bytes:
        status = Status.NO_SUCH_ORDER if order is None else Status.DONE
        _, price, quantity = order or (0, 0, 0)
        return encode(OrderReply(status, _NO_REASON, order_id, session.sequence, price, quantity))
