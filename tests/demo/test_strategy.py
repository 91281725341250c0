"""The algorithm's quoting."""

from __future__ import annotations

from ztsession.demo.messages import CancelOrder, NewOrder, Quote, ReplaceOrder, Side
from ztsession.demo.quotes import TICK, generated_states
from ztsession.demo.strategy import QUIET_STATES, OrderMessage, Orders, Quoter


def quote(number: int, bid: int, ask: int) -> Quote:
    return Quote(number, ask, bid, 100, 100, b"DEMO")


def test_it_quotes_outside_the_best_prices() -> None:
    """The first state brings a bid below the best bid and an ask above the best ask."""
    bid, ask = Quoter(Orders(b"DEMO", b"account")).on_state(quote(0, 10_000, 10_200))
    assert isinstance(bid, NewOrder)
    assert isinstance(ask, NewOrder)
    assert (bid.side, bid.price) == (Side.BID, 10_000 - TICK)
    assert (ask.side, ask.price) == (Side.ASK, 10_200 + TICK)


def test_it_moves_only_when_prices_move_and_not_too_often() -> None:
    """An unchanged market is answered by nothing, a wild one by at most one move a side in five states."""
    quoter = Quoter(Orders(b"DEMO", b"account"))
    quoter.on_state(quote(0, 10_000, 10_200))
    assert not any(quoter.on_state(quote(number, 10_000, 10_200)) for number in range(1, 50))
    wild = [
        quoter.on_state(quote(n, 10_000 + n * TICK, 20_000 + n * TICK))
        for n in range(50, 50 + 10 * (QUIET_STATES + 1))
    ]
    assert sum(1 for messages in wild if messages) == 10


def test_every_message_is_about_an_order_that_lives() -> None:
    """Over a long walk replaces and cancels name live orders, ids are used once, and nothing is left over."""
    quoter = Quoter(Orders(b"DEMO", b"account"))
    live: set[int] = set()
    seen: set[int] = set()
    kinds: set[type[OrderMessage]] = set()
    states = enumerate(generated_states(1, 5000))
    messages = [m for number, s in states for m in quoter.on_state(quote(number, s.bid, s.ask))]
    for message in [*messages, *quoter.withdraw()]:
        kinds.add(type(message))
        if isinstance(message, NewOrder):
            assert message.order_id not in seen
            live.add(message.order_id)
            seen.add(message.order_id)
        else:
            assert message.order_id in live
        if isinstance(message, CancelOrder):
            live.remove(message.order_id)
    assert kinds == {NewOrder, ReplaceOrder, CancelOrder}
    assert not live
