"""Somebody inside the algorithm's process: all that is in its memory is his, its sessions and its keys.

No token that he signs is forged, and no check of a single call can tell him from the algorithm. What gives
him away is that he does not know what it may do, and tries.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import cycle
from typing import Any

import ztsession as zts
from ztsession.demo.lines import OrderLine
from ztsession.demo.messages import (
    CorrectQuote,
    LookOrder,
    NewOrder,
    OverrideOrder,
    SettleOrder,
    Side,
    Subscribe,
    encode,
)
from ztsession.errors import HandshakeError
from ztsession.integrations.stream import SocketTransport

__all__ = ["Intruder"]

_INSTRUMENT, _ACCOUNT, _NAME = b"DEMO", b"market-making-1", b"intruder"
#: Far from what anybody gives an order.
_ORDER = 1 << 48
_PRICE, _QUANTITY = 5_850_000, 1_000_000


class Intruder:
    """Signs with what is installed in the process that he is in."""

    def __init__(
        self,
        orders: OrderLine,
        market_data: tuple[str, int],
        installed: Callable[[], zts.InstalledSession],
        connect: Callable[[], zts.Session],
    ) -> None:
        """``installed``: the algorithm's installation at market data; ``connect`` proves what the algorithm
        would.
        """
        self._orders, self._installed, self._connect = orders, installed, connect
        self._market_data = SocketTransport.connect(market_data)
        self._doors = cycle(
            (
                self._at_orders(LookOrder(_ORDER, _INSTRUMENT, _ACCOUNT)),
                self._at_market_data("market-data.correct", CorrectQuote(0, 1, 1, _INSTRUMENT, _ACCOUNT)),
                self._at_orders(
                    OverrideOrder(Side.BID, _ORDER, _PRICE, _QUANTITY, _INSTRUMENT, _ACCOUNT, _NAME)
                ),
                self._at_orders(SettleOrder(_ORDER, _INSTRUMENT, _ACCOUNT)),
            )
        )
        self.probes = 0
        #: When the first of them had been refused: monotonic nanoseconds, and Unix microseconds.
        self.refused_ns = self.refused_at_us = 0

    def open_session(self, gateway: tuple[str, int]) -> str:
        """Connect as the algorithm, beside it, and install that at the gateway; the session's id."""
        session = self._connect()
        self._own = OrderLine(gateway)
        self._own.install(session)
        return session.id.hex()

    def probe(self) -> None:
        """Try one more door."""
        opened = next(self._doors)()
        self.probes += 1
        if not opened and not self.refused_ns:
            self.refused_ns, self.refused_at_us = time.monotonic_ns(), time.time_ns() // 1000

    def order(self) -> str:
        """Send an order by the session that he has opened; its outcome."""
        return self._own.send([NewOrder(Side.BID, _ORDER, _PRICE, 1, _INSTRUMENT, _ACCOUNT, _NAME)])[0]

    def subscribe(self) -> None:
        """Ask market data for nothing, by the algorithm's session."""
        self._at_market_data("market-data.subscribe", Subscribe(0, 0, _INSTRUMENT, _ACCOUNT))()

    def connect_again(self) -> bool:
        """Whether he gets another session."""
        try:
            self._connect()
        except HandshakeError:
            return False
        return True

    def _at_orders(self, message: Any) -> Callable[[], bool]:
        return lambda: self._orders.send([message])[0] in ("done", "no-such-order")

    def _at_market_data(self, operation: str, message: Any) -> Callable[[], bool]:
        body = encode(message)
        return lambda: bool(self._market_data.exchange(self._installed().sign(operation, body) + body))
