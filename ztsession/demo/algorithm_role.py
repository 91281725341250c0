"""The algorithm's process: a subject on a device, with a session in each of two segments.

It makes its keys itself and shows the operator the public halves only. What it measures of its host is the
real host; "posture turns bad" is a program digest that nobody approved.

A keeper holds its session and can renew it at any time, from another thread, while orders flow.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import ztsession as zts
from ztsession.client.transport import Transport
from ztsession.demo.control import Control
from ztsession.demo.developing import Developing
from ztsession.demo.intruder import Intruder
from ztsession.demo.lines import MarketDataLine, OrderLine, operation_of
from ztsession.demo.messages import Side
from ztsession.demo.renewing import Renewing
from ztsession.demo.service import address_of
from ztsession.demo.strategy import OrderMessage, Orders, Quoter
from ztsession.errors import HandshakeError
from ztsession.integrations.stream import SocketTransport
from ztsession.posture.collector import collect

__all__ = ["AlgorithmRole"]

SUBJECT, DEVICE = "algo-1", "trading-host-1"
_INSTRUMENT, _ACCOUNT = b"DEMO", b"market-making-1"

#: Orders of each kind in an act that counts them.
SOME = 32
_PROGRESS_S = 0.2


class AlgorithmRole:
    """Commands: prepare, connect, trade, some_orders, press_on, reauthenticate, probe_old, rest,
    many_orders, counts, tapped; those of ``developing``; and intrude, probe, intruders_order,
    intruder_subscribes and prove_anew, once somebody is inside.
    """

    def __init__(self, control: Control) -> None:
        self._control = control
        self._identity = zts.Ed25519Identity.generate(SUBJECT)
        device = zts.DevicePosture.generate(DEVICE)
        self._device = zts.DevicePosture(DEVICE, device.signing_seed, measure=self._measure)
        self.developing = Developing(self._identity, self._device)
        self._tampered = False
        self._orders = Orders(_INSTRUMENT, _ACCOUNT)
        self._quoter = Quoter(self._orders)
        self._price = 5_850_000

    def prepare(self) -> dict[str, object]:
        """What an operator needs to enrol this subject and device, while all is well."""
        return {
            "subject": self._identity.registry_entry("algorithm", roles=("market-making",)),
            "device": self._device.registry_entry(),
            "measured": self._measure(),
        }

    def connect(
        self, authority: list[Any], gateway: list[Any], market_data: list[Any], root: str
    ) -> dict[str, object]:
        """The handshake, and an installation in each segment."""
        self._authority, self._root = address_of(authority), bytes.fromhex(root)
        self._order_line = OrderLine(address_of(gateway))
        self._data_line = MarketDataLine(address_of(market_data), _INSTRUMENT, _ACCOUNT)
        began_ns = time.perf_counter_ns()
        session = self._connect()
        took_ns = time.perf_counter_ns() - began_ns
        return {**self._install(session), "took_ns": took_ns}

    def trade(self, first: int, count: int, renew: bool) -> dict[str, object]:
        """Quote around ``count`` market-data states; what was sent, and what came of it. Half way through
        the session is renewed, if so wished.
        """
        sent: Counter[str] = Counter()
        outcomes: Counter[str] = Counter()
        told_s, done, frames, renewal = time.monotonic(), 0, 0, Renewing(self._keeper)
        for states in self._data_line.states(first, count):
            orders = [order for state in states for order in self._quoter.on_state(state)]
            if orders:
                renewal.counts(len(orders))
                sent.update(map(operation_of, orders))
                outcomes.update(self._order_line.send(orders))
                frames += 1
            done, self._price = done + len(states), states[-1].bid
            if renew and 2 * done >= count:
                renewal.begin()
            if time.monotonic() - told_s > _PROGRESS_S:
                told_s = time.monotonic()
                self._control.progress(done=first + done)
        renewed = renewal.end()
        withdrawn = self._quoter.withdraw()
        sent.update(map(operation_of, withdrawn))
        outcomes.update(self._order_line.send(withdrawn))
        return {"states": done, "sent": sent, "outcomes": outcomes, "frames": frames, "renewed": renewed}

    def some_orders(self, count: int = SOME) -> dict[str, dict[str, int]]:
        """``count`` new orders, replaces and cancels, each in a frame of its own; outcomes by operation."""
        tally = _Tally(self._order_line)
        orders = [self._orders.new(Side.BID, self._price) for _ in range(count)]
        for order in orders:
            tally.send(order)
            tally.send(self._orders.replace(order.order_id, self._price - 100))
            tally.send(self._orders.cancel(order.order_id))
        return tally.outcomes

    def press_on(self, seconds: float, meanwhile: Callable[[], None] = lambda: None) -> dict[str, object]:
        """Send orders without a pause until one is refused, and have ``meanwhile`` between them; then try
        everything. Outcomes by operation, and when.
        """
        live, passed_ns, refused_ns, before = list[int](), 0, 0, 0
        deadline_s = time.monotonic() + seconds
        while not refused_ns and time.monotonic() < deadline_s:
            meanwhile()
            order = self._orders.new(Side.BID, self._price)
            outcome = self._order_line.send([order])[0]
            if outcome != "done":
                refused_ns = time.monotonic_ns()
                break
            passed_ns, before = time.monotonic_ns(), before + 1
            live.append(order.order_id)
            if before == SOME:
                self._control.progress(passed=before)
            if len(live) > SOME:
                self._order_line.send([self._orders.cancel(live.pop(0))])
        tally = _Tally(self._order_line)
        for order_id in live:
            tally.send(self._orders.new(Side.BID, self._price))
            tally.send(self._orders.replace(order_id, self._price + 100))
            # A new order in the clothes of a cancel.
            tally.send(self._orders.new(Side.BID, self._price), operation="orders.cancel")
            tally.send(self._orders.cancel(order_id))
        return {
            "passed": before,
            "passed_ns": passed_ns,
            "refused_ns": refused_ns,
            "live": len(live),
            "outcomes": tally.outcomes,
        }

    def reauthenticate(self, tampered: bool) -> dict[str, object]:
        """Prove everything again, on a host that is or is not as approved."""
        self._tampered = tampered
        self._old = self._keeper.installed("orders")
        began_ns = time.perf_counter_ns()
        with SocketTransport.connect(self._authority) as line:
            session = self._keeper.session.reauthenticate(line)
        return {**self._install(session), "took_ns": time.perf_counter_ns() - began_ns}

    def probe_old(self, seconds: float) -> dict[str, object]:
        """Go on with the session that was superseded until it is refused, with cancels of orders that do
        not exist.
        """
        deadline_s, passed = time.monotonic() + seconds, 0
        while time.monotonic() < deadline_s:
            outcome = self._order_line.send([self._orders.cancel(0)], session=self._old)[0]
            if outcome != "no-such-order":
                return {"passed": passed, "outcome": outcome}
            passed += 1
        return {"passed": passed, "outcome": "never refused"}

    def rest(self, count: int) -> list[int]:
        """Put orders into the book and leave them there; their ids."""
        orders = [self._orders.new(Side.BID, self._price) for _ in range(count)]
        self._order_line.send(orders)
        return [order.order_id for order in orders]

    def many_orders(self, frames: int, orders: int) -> dict[str, int]:
        """Frames full of new orders, for the gateway to measure; outcomes."""
        outcomes: Counter[str] = Counter()
        for _ in range(frames):
            outcomes.update(
                self._order_line.send([self._orders.new(Side.BID, self._price) for _ in range(orders)])
            )
        return outcomes

    # ---- With somebody inside

    def intrude(self, gateway: list[Any], market_data: list[Any]) -> str:
        """Somebody gets in, and opens a session beside the algorithm's own; its id."""
        self._intruder = Intruder(
            self._order_line,
            address_of(market_data),
            lambda: self._keeper.installed("market-data"),
            self._connect,
        )
        return self._intruder.open_session(address_of(gateway))

    def probe(self, seconds: float) -> dict[str, object]:
        """Press on while the intruder tries one door after the other; what came of both."""
        pressed, intruder = self.press_on(seconds, self._intruder.probe), self._intruder
        return {
            **pressed,
            "probes": intruder.probes,
            "probe_refused_ns": intruder.refused_ns,
            "probe_refused_at_us": intruder.refused_at_us,
        }

    def intruders_order(self) -> str:
        """An order by the session that the intruder has opened."""
        return self._intruder.order()

    def intruder_subscribes(self) -> None:
        """One more question of his for market data, by the algorithm's session."""
        self._intruder.subscribe()

    def prove_anew(self) -> list[bool]:
        """Whether the algorithm gets another session by proving everything anew, and whether he does."""
        try:
            self.reauthenticate(tampered=False)
            proven = True
        except HandshakeError:
            proven = False
        return [proven, self._intruder.connect_again()]

    # ---- What it knows

    def counts(self) -> dict[str, dict[str, int]]:
        """What the algorithm itself verified: market data, and replies."""
        return {"market_data": dict(self._data_line.verdicts), "replies": dict(self._order_line.verdicts)}

    def tapped(self) -> dict[str, list[str]]:
        """What somebody on the wire to the gateway has seen."""
        return self._order_line.tap.as_text()

    def _connect(self) -> zts.Session:
        with SocketTransport.connect(self._authority) as line:
            return zts.connect(
                line,
                identity=self._identity,
                posture=self._device,
                root=self._root,
                scopes=["orders.*", "market-data.*"],
            )

    def _install(self, session: zts.Session) -> dict[str, object]:
        points: dict[str, Callable[[], Transport]] = {
            "orders": lambda: self._order_line.tap,
            "market-data": self._data_line.door,
        }
        keeper = zts.SessionKeeper(session, points, dial=lambda: SocketTransport.connect(self._authority))
        self._order_line.follow(lambda: keeper.installed("orders"))
        self._data_line.follow(lambda: keeper.installed("market-data"))
        self._keeper = keeper
        return {"session": session.id.hex(), "segments": list(session.segments)}

    def _measure(self) -> Mapping[str, str]:
        return {**collect(), "program": "0" * 64} if self._tampered else collect()


class _Tally:
    """Sends orders one at a time and counts outcomes by operation."""

    def __init__(self, line: OrderLine) -> None:
        self._line = line
        self.outcomes: dict[str, dict[str, int]] = {}

    def send(self, order: OrderMessage, *, operation: str = "") -> None:
        outcome = self._line.send([order], operation=operation)[0]
        name = f"{operation_of(order)} as {operation}" if operation else operation_of(order)
        counts = self.outcomes.setdefault(name, {})
        counts[outcome] = counts.get(outcome, 0) + 1


if __name__ == "__main__":
    control = Control()
    role = AlgorithmRole(control)
    control.serve(
        {
            "prepare": role.prepare,
            "connect": role.connect,
            "trade": role.trade,
            "some_orders": role.some_orders,
            "press_on": role.press_on,
            "reauthenticate": role.reauthenticate,
            "probe_old": role.probe_old,
            "rest": role.rest,
            "many_orders": role.many_orders,
            "intrude": role.intrude,
            "probe": role.probe,
            "intruders_order": role.intruders_order,
            "intruder_subscribes": role.intruder_subscribes,
            "prove_anew": role.prove_anew,
            "counts": role.counts,
            "tapped": role.tapped,
            "write_package": role.developing.write_package,
            "try_package": role.developing.try_package,
            "ask_both": role.developing.ask_both,
            "knock_with_test": role.developing.knock_with_test,
            "ask_outright": role.developing.ask_outright,
        }
    )
