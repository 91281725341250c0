from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import pytest

from ztsession.bus.change import Change
from ztsession.bus.inprocess import InProcessBus

ONE, TWO, THREE = (Change.revoke(b"s" * 16, number=number) for number in (1, 2, 3))


def test_change_reaches_every_subscriber_before_publish_returns() -> None:
    """Delivery is synchronous, to all, in the order of subscribing."""
    bus = InProcessBus()
    got: list[tuple[str, int]] = []
    bus.subscribe(lambda change: got.append(("a", change.number)))
    bus.subscribe(lambda change: got.append(("b", change.number)))
    assert bus.publish(ONE) == []
    assert bus.publish(TWO) == []
    assert got == [("a", 1), ("b", 1), ("a", 2), ("b", 2)]


def test_R13_failing_subscriber_stops_neither_the_others_nor_the_publisher(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The failure is reported with its change and logged; the next change is offered again."""
    bus = InProcessBus()
    got: list[int] = []

    def failing(change: Change) -> None:
        raise RuntimeError("secret detail")

    bus.subscribe(failing)
    bus.subscribe(lambda change: got.append(change.number))
    with caplog.at_level(logging.WARNING, logger="ztsession.bus"):
        [failure] = bus.publish(ONE)
    assert (failure.subscriber, failure.change, str(failure.error)) == (failing, ONE, "secret detail")
    assert "RuntimeError" in caplog.text
    assert "secret detail" not in caplog.text
    assert len(bus.publish(TWO)) == 1
    assert got == [1, 2]


def test_unsubscribed_callable_hears_nothing_more() -> None:
    """Unsubscribing ends one subscription and only that, and may be repeated."""
    bus = InProcessBus()
    got: list[int] = []

    def take(change: Change) -> None:
        got.append(change.number)

    first, second = bus.subscribe(take), bus.subscribe(take)
    bus.publish(ONE)
    first()
    first()
    bus.publish(TWO)
    second()
    bus.publish(THREE)
    assert got == [1, 1, 2]


def test_unsubscribing_during_a_delivery_takes_effect_at_once() -> None:
    """A subscriber that an earlier one has removed is not called any more."""
    bus = InProcessBus()
    got: list[str] = []
    stops: list[Callable[[], None]] = []

    def stop_others(change: Change) -> None:
        for stop in stops:
            stop()

    bus.subscribe(stop_others)
    stops.append(bus.subscribe(lambda change: got.append("removed")))
    bus.subscribe(lambda change: got.append("kept"))
    bus.publish(ONE)
    assert got == ["kept"]


def test_R3_change_published_during_a_delivery_does_not_overtake() -> None:
    """Every subscriber sees the outer change before the one that it caused."""
    bus = InProcessBus()
    got: list[tuple[str, int]] = []

    def echo(change: Change) -> None:
        got.append(("a", change.number))
        if change.number == 1:
            assert bus.publish(TWO) == []

    bus.subscribe(echo)
    bus.subscribe(lambda change: got.append(("b", change.number)))
    bus.publish(ONE)
    assert got == [("a", 1), ("b", 1), ("a", 2), ("b", 2)]


def test_R3_threads_publish_in_one_order_for_all() -> None:
    """With several publishers, all subscribers see the same sequence, each change once."""
    bus = InProcessBus()
    seen: list[list[int]] = [[], []]
    for got in seen:
        bus.subscribe(lambda change, got=got: got.append(change.number))  # type: ignore[misc]

    def publish(first: int) -> None:
        for number in range(first, first + 200):
            bus.publish(Change.heartbeat(number=number))

    threads = [threading.Thread(target=publish, args=(1000 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen[0] == seen[1]
    assert sorted(seen[0]) == sorted(n for f in range(4) for n in range(1000 * f, 1000 * f + 200))


def test_interrupt_during_a_delivery_leaves_the_bus_usable() -> None:
    """An interrupt passes through to the publisher, and the next publish still delivers."""
    bus = InProcessBus()
    got: list[int] = []

    def interrupted(change: Change) -> None:
        got.append(change.number)
        if change.number == 1:
            raise KeyboardInterrupt

    bus.subscribe(interrupted)
    with pytest.raises(KeyboardInterrupt):
        bus.publish(ONE)
    assert bus.publish(TWO) == []
    assert got == [1, 2]
