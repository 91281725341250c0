"""The order gateway's process: verifies each order message, keeps the book, and answers with a signed reply.

A connection proves nothing here and is asked nothing: any frame may come over any of them, and each message
stands or falls with its own token. All that a connection is remembered for is whom to sign refusals for, so
that the algorithm can tell the gateway's no from anybody else's.
"""

from __future__ import annotations

import time
from array import array
from collections import Counter
from collections.abc import Callable
from typing import Any

from ztsession import SessionView, Verifier
from ztsession.demo.book import Book
from ztsession.demo.control import Control
from ztsession.demo.cost import CostMeter
from ztsession.demo.latency import summarise, timer_cost_ns
from ztsession.demo.messages import REASONS, Kind, OrderReply, Status, encode, is_signed, join, split
from ztsession.demo.service import handle_in, open_watched_point
from ztsession.demo.watching import Watching
from ztsession.enforcement import EnforcementPoint
from ztsession.errors import Denied, SessionEnded
from ztsession.server import StreamServer

__all__ = ["UNSIGNED", "Gateway", "GatewayRole"]

#: Stands where a reply's token would, towards peers that have no session: there is no key to sign it with.
UNSIGNED = bytes(48)

_OPERATIONS = {
    Kind.NEW_ORDER: "orders.submit",
    Kind.REPLACE_ORDER: "orders.replace",
    Kind.CANCEL_ORDER: "orders.cancel",
    Kind.LOOK_ORDER: "orders.look",
    Kind.OVERRIDE_ORDER: "orders.override",
    Kind.SETTLE_ORDER: "orders.settle",
}

#: What refusals are signed as: an operation that every session is granted, whatever else it is not.
_REFUSAL = "orders.refusal"


class Gateway:
    """Orders in, signed replies out. Serves frames of any number of connections."""

    def __init__(
        self, point: EnforcementPoint, refused: Callable[[str, bytes, Denied], None] = lambda *_: None
    ) -> None:
        """``refused(peer, token, why)`` is told of every call that is refused."""
        self.point, self.book, self._refused = point, Book(), refused
        self.verdicts: Counter[tuple[str, str]] = Counter()
        self.installations: Counter[str] = Counter()
        #: Accepted calls by handle: whose keys did the work is the gateway's to say.
        self.accepted: Counter[int] = Counter()
        self.samples_ns = array("Q")
        self.meter: CostMeter | None = None
        book = self.book
        handlers = (book.submit, book.replace, book.cancel, book.look, book.override, book.settle)
        self._routes: dict[int, tuple[str, Verifier, Callable[[SessionView, bytes], bytes]]] = {
            kind: (name, point.verifier(name), handler)
            for (kind, name), handler in zip(_OPERATIONS.items(), handlers, strict=True)
        }

    def serve(self, frame: bytes, caller: int | None, peer: str = "") -> bytes:
        """Answer a frame of order messages; ``caller`` is the handle that was installed over this
        connection, ``peer`` the address that it comes from.
        """
        pairs = split(frame)
        if self.meter is not None:
            return self.meter.measure(pairs)
        return join([self._answer(token, body, caller, peer) for token, body in pairs])

    def install(self, request: bytes) -> tuple[bytes, int | None]:
        """Take a ticket; the answer, and the new session's handle."""
        answer = self.point.exchange(request)
        handle = handle_in(answer)
        self.installations["REFUSED" if handle is None else "OK"] += 1
        return answer, handle

    def _answer(self, token: bytes, body: bytes, caller: int | None, peer: str) -> tuple[bytes, bytes]:
        # What is no order at all is held against the strictest operation, and fails there.
        operation, verify, handler = self._routes.get(body[0]) or self._routes[Kind.NEW_ORDER]
        began_ns = time.perf_counter_ns()
        try:
            session = verify(token, body)
        except Denied as denied:
            self.verdicts[operation, denied.verdict] += 1
            self._refused(peer, token, denied)
            return self._refusal(token, denied.reason, caller)
        self.samples_ns.append(time.perf_counter_ns() - began_ns)
        self.verdicts[operation, "OK"] += 1
        self.accepted[session.handle] += 1
        reply = handler(session, body)
        return self.point.sign_reply(session, reply), reply

    def _refusal(self, token: bytes, reason: str, caller: int | None) -> tuple[bytes, bytes]:
        claimed = int.from_bytes(token[16:24], "little")
        body = encode(OrderReply(Status.REFUSED, REASONS.index(reason), 0, claimed, 0, 0))
        if caller is not None:
            try:
                return self.point.signer(caller, _REFUSAL)(body), body
            except SessionEnded:
                pass
        return UNSIGNED, encode(OrderReply(Status.REFUSED, REASONS.index("refused"), 0, 0, 0, 0))


class _Conversation:
    """One connection."""

    def __init__(self, gateway: Gateway, peer: str) -> None:
        self._gateway, self._peer = gateway, peer
        self._caller: int | None = None

    def exchange(self, message: bytes) -> bytes:
        """A frame of signed messages, or a ticket to install."""
        if is_signed(message):
            return self._gateway.serve(message, self._caller, self._peer)
        answer, caller = self._gateway.install(message)
        self._caller = caller or self._caller
        return answer


class GatewayRole:
    """Commands: prepare, open, counts, meter, latency, close."""

    def __init__(self) -> None:
        self._watching = Watching("order-gateway")

    def prepare(self) -> dict[str, str]:
        """What an operator needs to believe what is reported from here."""
        return self._watching.entry("orders")

    def open(self, **where: Any) -> dict[str, object]:
        """Make the enforcement point and listen; the arguments of ``open_watched_point``."""
        point = open_watched_point("orders", self._watching, **where)
        self._gateway = Gateway(point, self._watching.refused)
        self._server = StreamServer(
            ("127.0.0.1", 0), lambda source: _Conversation(self._gateway, source), silence_s=120.0
        )
        return {"address": self._server.address}

    def counts(self) -> dict[str, object]:
        """Verdicts by operation, accepted calls by handle, installations, the core's own count of refusals,
        and the state of the book.
        """
        by_operation: dict[str, dict[str, int]] = {name: {} for name in _OPERATIONS.values()}
        for (operation, verdict), count in self._gateway.verdicts.items():
            by_operation[operation][verdict] = count
        return {
            "verdicts": by_operation,
            "accepted": {f"{handle:016x}": n for handle, n in self._gateway.accepted.items()},
            "installations": dict(self._gateway.installations),
            "core": {name: n for name, n in self._gateway.point.refused().items() if n},
            "book": self._gateway.book.fingerprint(),
        }

    def meter(self, on: bool) -> dict[str, object]:
        """Measure what the next orders cost, or stop and tell."""
        meter, self._gateway.meter = self._gateway.meter, CostMeter(self._gateway.point) if on else None
        return {} if meter is None else meter.summary()

    def latency(self) -> dict[str, object]:
        """How long single verify calls took."""
        return {**summarise(self._gateway.samples_ns), "timer": timer_cost_ns()}

    def close(self) -> None:
        """Stop."""
        self._server.close()
        self._watching.close()
        self._gateway.point.close()


if __name__ == "__main__":
    role = GatewayRole()
    Control().serve(
        {
            "prepare": role.prepare,
            "open": role.open,
            "counts": role.counts,
            "meter": role.meter,
            "latency": role.latency,
            "close": role.close,
        }
    )
