"""What an order costs with and without verification, measured side by side on the same orders.

Both loops call the same handler on the same messages, one through ``protect`` and one bare, turn and turn
about, so that what differs is verification alone. The medians over all rounds are told.
"""

from __future__ import annotations

import statistics
import time

from ztsession import Protected, SessionView
from ztsession.demo.book import Book
from ztsession.demo.messages import join
from ztsession.enforcement import EnforcementPoint

__all__ = ["CostMeter"]

_Pairs = list[tuple[bytes, bytes]]


class CostMeter:
    """Takes frames of new orders; each is one round. The orders go to a book that nobody else sees."""

    def __init__(self, point: EnforcementPoint) -> None:
        self._point = point
        self._verify = point.verifier("orders.submit")
        self._rounds: list[dict[str, float]] = []

    def measure(self, pairs: _Pairs) -> bytes:
        """Run one round, and answer its orders."""
        book = Book()
        protected = self._point.protect("orders.submit")(book.submit)
        # The first order gives a session to show to the bare handler, and is not part of the round.
        session = self._verify(*pairs[0])
        first, rest = book.submit(session, pairs[0][1]), pairs[1:]
        if len(self._rounds) % 2:
            without_ns = _bare(book, session, rest)
            with_ns, replies = _verified(protected, rest)
        else:
            with_ns, replies = _verified(protected, rest)
            without_ns = _bare(book, session, rest)
        sign = self._point.signer(session, "orders.submit")
        began_ns = time.perf_counter_ns()
        answers = [(sign(reply), reply) for reply in (first, *replies)]
        signed_ns = (time.perf_counter_ns() - began_ns) / len(pairs)
        self._rounds.append({"without": without_ns, "with": with_ns, "reply": signed_ns})
        return join(answers)

    def summary(self) -> dict[str, object]:
        """Medians in nanoseconds an order: the bare handler, the protected one, and signing the reply."""
        # The first round also pays for code and memory that nobody has touched yet.
        rounds = self._rounds[1:]
        medians = (
            {name: statistics.median(one[name] for one in rounds) for name in rounds[0]} if rounds else {}
        )
        return {"rounds": len(rounds), **medians}


def _verified(protected: Protected, pairs: _Pairs) -> tuple[float, list[bytes]]:
    replies = []
    began_ns = time.perf_counter_ns()
    for token, body in pairs:
        replies.append(protected(token, body))
    return (time.perf_counter_ns() - began_ns) / len(pairs), replies


def _bare(book: Book, session: SessionView, pairs: _Pairs) -> float:
    handler, replies = book.submit, []
    began_ns = time.perf_counter_ns()
    for _token, body in pairs:
        replies.append(handler(session, body))
    return (time.perf_counter_ns() - began_ns) / len(pairs)
