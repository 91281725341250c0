"""The algorithm's idea of a market: one order on each side, a cent outside the best prices.

It decides nothing about trust. What reaches it was verified, and what it returns is signed elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import Final

from ztsession.demo.messages import CancelOrder, NewOrder, Quote, ReplaceOrder, Side
from ztsession.demo.quotes import TICK

__all__ = ["CANCEL_EVERY", "QUIET_STATES", "OrderMessage", "Orders", "Quoter"]

#: States to let pass after a side was quoted, before it is quoted again.
QUIET_STATES: Final = 4
#: Each so many-th move of a side is a cancel and a new order instead of a replace.
CANCEL_EVERY: Final = 8

OrderMessage = NewOrder | ReplaceOrder | CancelOrder


class Orders:
    """Makes order messages of one account, each new order with an id of its own."""

    def __init__(self, instrument: bytes, account: bytes) -> None:
        self._instrument, self._account = instrument, account
        self._ids = count(1)

    def new(self, side: Side, price: int, quantity: int = 100) -> NewOrder:
        """A new order; price in dollars x 10,000."""
        return NewOrder(side, next(self._ids), price, quantity, self._instrument, self._account, b"maker")

    def replace(self, order_id: int, price: int, quantity: int = 100) -> ReplaceOrder:
        """Another price for a live one."""
        return ReplaceOrder(order_id, price, quantity, self._instrument, self._account)

    def cancel(self, order_id: int) -> CancelOrder:
        """Its end."""
        return CancelOrder(order_id, self._instrument, self._account)


@dataclass
class _Quoted:
    """One side's live order, if there is one."""

    order_id: int = 0
    price: int = 0
    moves: int = 0
    quiet: int = 0


@dataclass
class Quoter:
    """Top-of-book states in, order messages out."""

    orders: Orders
    _sides: dict[Side, _Quoted] = field(default_factory=lambda: {side: _Quoted() for side in Side})

    def on_state(self, state: Quote) -> list[OrderMessage]:
        """What to send now that the market is so."""
        wanted = ((Side.BID, state.bid - TICK), (Side.ASK, state.ask + TICK))
        return [message for side, price in wanted for message in self._move(side, self._sides[side], price)]

    def withdraw(self) -> list[OrderMessage]:
        """Cancels of everything that is live."""
        live = [quoted for quoted in self._sides.values() if quoted.order_id]
        self._sides = {side: _Quoted() for side in Side}
        return [self.orders.cancel(quoted.order_id) for quoted in live]

    def _move(self, side: Side, quoted: _Quoted, price: int) -> list[OrderMessage]:
        if quoted.quiet:
            quoted.quiet -= 1
            return []
        if price == quoted.price:
            return []
        quoted.price, quoted.quiet, quoted.moves = price, QUIET_STATES, quoted.moves + 1
        if quoted.order_id and quoted.moves % CANCEL_EVERY:
            return [self.orders.replace(quoted.order_id, price)]
        messages: list[OrderMessage] = [self.orders.cancel(quoted.order_id)] if quoted.order_id else []
        new = self.orders.new(side, price)
        quoted.order_id = new.order_id
        return [*messages, new]
