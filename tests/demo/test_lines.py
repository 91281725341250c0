"""The clients' lines: what was asked for before a renewal is still answered after it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ztsession.demo.book import Book
from ztsession.demo.gateway_role import Gateway
from ztsession.demo.lines import MarketDataLine, OrderLine
from ztsession.demo.market_data_role import MarketData
from ztsession.demo.messages import (
    CorrectQuote,
    LookOrder,
    NewOrder,
    OverrideOrder,
    Quote,
    SettleOrder,
    Side,
    Subscribe,
    encode,
)
from ztsession.demo.service import address_of
from ztsession.enforcement import EnforcementPoint
from ztsession.errors import WireError
from ztsession.policy.catalog import Catalog
from ztsession.server import StreamServer
from ztsession.testing import TestAuthority

MARKET_DATA = "version = 1\n" + "".join(
    f'[segments.market-data.operations.{name}]\neffect = "read"\n' for name in ("subscribe", "correct")
)
OPERATIONS = ("submit", "replace", "cancel", "refusal", "look", "override", "settle")
ORDERS = "version = 1\n" + "".join(
    f'[segments.orders.operations.{name}]\neffect = "read"\n' for name in OPERATIONS
)


@pytest.fixture
def market() -> Iterator[tuple[TestAuthority, MarketData, MarketDataLine]]:
    """1,000 states, a service that publishes them, and a line to it."""
    authority = TestAuthority(Catalog.from_text(MARKET_DATA).segment("market-data"))
    bodies = [encode(Quote(number, 2, 1, 1, 1, b"DEMO")) for number in range(1000)]
    service = MarketData(EnforcementPoint("market-data", authority=authority, capacity=8), bodies)
    server = StreamServer(("127.0.0.1", 0), lambda source: service)
    line = MarketDataLine(address_of(server.address), b"DEMO", b"account")
    yield authority, service, line
    line._transport.close()
    server.close()
    service.point.close()


def test_states_under_way_are_opened_with_the_keys_that_asked_for_them(
    market: tuple[TestAuthority, MarketData, MarketDataLine],
) -> None:
    """Keys that change between question and answer cost no state, and the next question has the new ones."""
    authority, service, line = market
    current = [authority.connect(service.point)]
    line.follow(lambda: current[0])
    states = line.states(0, 1000)
    seen = len(next(states))
    current[0] = authority.connect(service.point)
    seen += sum(map(len, states))
    assert seen == 1000
    assert line.verdicts == {"OK": 1000}
    assert service.verdicts == {"OK": 4}


def test_a_correction_is_published_from_then_on(
    market: tuple[TestAuthority, MarketData, MarketDataLine],
) -> None:
    """A state that was corrected has its new prices and its old sizes; one that there is not cannot be."""
    authority, service, _ = market
    client = authority.connect(service.point)

    def correct(number: int) -> bytes:
        body = encode(CorrectQuote(number, 12, 11, b"DEMO", b"account"))
        return service.exchange(client.sign("market-data.correct", body) + body)

    reply = correct(7)
    client.open_reply(reply[:48], reply[48:])
    corrected = encode(Quote(7, 12, 11, 1, 1, b"DEMO"))
    assert reply[48:] == corrected
    neighbours = [encode(Quote(number, 2, 1, 1, 1, b"DEMO")) for number in (6, 8)]
    assert service._states[6:9] == [neighbours[0], corrected, neighbours[1]]
    with pytest.raises(WireError, match="of a state that there is"):
        correct(1000)


def test_refusals_are_told_with_their_address(
    market: tuple[TestAuthority, MarketData, MarketDataLine],
) -> None:
    """Who watches beside market data hears of each refusal, and of nothing else."""
    authority, service, _ = market
    client, told = authority.connect(service.point), []
    service._refused = lambda *what: told.append(what)
    body = encode(Subscribe(0, 0, b"DEMO", b"account"))
    token = client.sign("market-data.subscribe", body)
    frame = token + body
    service.exchange(frame, "192.0.2.1")
    assert told == []
    service.exchange(frame, "192.0.2.1")
    [(peer, refused, denied)] = told
    assert (peer, refused, denied.verdict) == ("192.0.2.1", token, "REPLAYED")


def test_the_gateway_does_what_each_message_asks_for() -> None:
    """A look tells what is there, an override puts it there, and what was settled is gone."""
    authority = TestAuthority(Catalog.from_text(ORDERS).segment("orders"))
    gateway = Gateway(EnforcementPoint("orders", authority=authority, capacity=8))
    client = authority.connect(gateway.point)

    class Line:
        def exchange(self, frame: bytes) -> bytes:
            return gateway.serve(frame, client.handle)

    server = StreamServer(("127.0.0.1", 0), lambda source: Line())
    line = OrderLine(address_of(server.address))
    line.follow(lambda: client)
    look, settle = LookOrder(7, b"DEMO", b"account"), SettleOrder(7, b"DEMO", b"account")
    override = OverrideOrder(Side.ASK, 7, 100, 5, b"DEMO", b"account", b"desk")
    assert line.send([look, settle]) == ["no-such-order"] * 2
    assert line.send([override, look]) == ["done"] * 2
    assert gateway.book.orders == {7: (Side.ASK, 100, 5)}
    assert line.send([settle, look]) == ["done", "no-such-order"]
    assert gateway.accepted == {client.handle: 6}
    line.tap._line.close()
    server.close()
    gateway.point.close()


def test_each_handler_takes_its_own_message_alone() -> None:
    """A verified call whose body is another message changes nothing: the operation decides what it may be."""
    book = Book()
    order = encode(NewOrder(Side.BID, 1, 1, 1, b"DEMO", b"account", b"maker"))
    for handler in (book.look, book.override, book.settle):
        with pytest.raises(WireError, match="takes a"):
            handler(None, order)  # type: ignore[arg-type]
    assert not book.orders
