"""The attacker's tools: they would succeed, if only they had the key."""

from __future__ import annotations

import os

from ztsession.client.installing import install_ticket
from ztsession.demo.attacker import forged_orders
from ztsession.demo.gateway_role import UNSIGNED, Gateway
from ztsession.demo.messages import NewOrder, OrderReply, Quote, Side, Status, decode, encode, join, split
from ztsession.demo.tap import Tap, Tapped
from ztsession.enforcement import EnforcementPoint
from ztsession.policy.catalog import Catalog
from ztsession.testing import TestAuthority
from ztsession.tickets import InstallAnswer

CATALOG = """
version = 1
[segments.orders.operations.submit]
effect = "risk-increasing"
[segments.orders.operations.replace]
effect = "risk-increasing"
[segments.orders.operations.cancel]
effect = "risk-reducing"
[segments.orders.operations.refusal]
effect = "read"
[segments.orders.operations.look]
effect = "read"
[segments.orders.operations.override]
effect = "risk-increasing"
[segments.orders.operations.settle]
effect = "risk-increasing"
"""

_Pairs = list[tuple[bytes, bytes]]


def forged(authority: TestAuthority, point: EnforcementPoint, secret: bytes | None) -> _Pairs:
    """Orders forged for a session whose installation was tapped; with its own secret if None is given."""
    grant, right, tap = authority.grant(), os.urandom(32), Tap(point)
    install_ticket(tap, grant, authority.ticket(grant, right), right)
    answer = InstallAnswer.from_bytes(Tapped.from_text(tap.as_text()).installation[1])
    return forged_orders(grant, answer, secret or right, now_us=point.table.now_us(), count=3)


def gateway() -> tuple[TestAuthority, Gateway]:
    authority = TestAuthority(Catalog.from_text(CATALOG).segment("orders"))
    return authority, Gateway(EnforcementPoint("orders", authority=authority, capacity=8))


def test_T24_orders_forged_with_the_right_secret_pass() -> None:
    """The forger speaks the protocol: with the one secret that it never gets, its orders are accepted."""
    authority, served = gateway()
    answers = split(served.serve(join(forged(authority, served.point, None)), None))
    assert served.verdicts == {("orders.submit", "OK"): 3}
    assert len(served.book.orders) == 1
    assert all(token != UNSIGNED for token, _ in answers)
    served.point.close()


def test_T24_orders_forged_with_any_other_secret_are_refused() -> None:
    """With another secret the same orders are refused for their tag, and the book is as it was."""
    authority, served = gateway()
    before = served.book.fingerprint()
    answers = split(served.serve(join(forged(authority, served.point, os.urandom(32))), None))
    assert served.verdicts == {("orders.submit", "BAD_TAG"): 3}
    assert served.book.fingerprint() == before
    replies = [decode(body) for _, body in answers]
    assert all(isinstance(reply, OrderReply) and reply.status == Status.REFUSED for reply in replies)
    assert all(token == UNSIGNED for token, _ in answers)
    served.point.close()


def test_T25_what_is_no_order_meets_the_strictest_operation() -> None:
    """A message of another kind, signed as a cancel, is refused as an order; an order passes."""
    authority, served = gateway()
    client = authority.connect(served.point)
    state, order = encode(Quote(1, 2, 1, 1, 1, b"DEMO")), encode(NewOrder(Side.BID, 1, 100, 1, b"", b"", b""))
    served.serve(join([(client.sign("orders.cancel", state), state)]), client.handle)
    assert served.verdicts == {("orders.submit", "WRONG_OPERATION"): 1}
    assert not served.book.orders
    served.serve(join([(client.sign("orders.submit", order), order)]), client.handle)
    assert served.verdicts["orders.submit", "OK"] == 1
    assert served.book.orders == {1: (Side.BID, 100, 1)}
    served.point.close()


def test_refusals_are_signed_for_whom_the_connection_belongs_to() -> None:
    """A client that was refused can verify that it was the gateway who refused."""
    authority, served = gateway()
    client = authority.connect(served.point)
    order = encode(NewOrder(Side.BID, 1, 100, 1, b"DEMO", b"", b""))
    ((token, body),) = split(
        served.serve(join([(client.sign("orders.cancel", order), order)]), client.handle)
    )
    assert served.verdicts == {("orders.submit", "WRONG_OPERATION"): 1}
    assert client.open_reply(token, body).operation == "orders.refusal"
    served.point.close()


def test_the_tap_keeps_sessions_apart() -> None:
    """What was recorded before the last installation is told as of earlier sessions."""
    authority, served = gateway()
    tap = Tap(served.point)
    grant, secret = authority.grant(), os.urandom(32)
    frame = join([(bytes([1]) + bytes(47), encode(NewOrder(Side.BID, 1, 100, 1, b"DEMO", b"", b"")))])
    install_ticket(tap, grant, authority.ticket(grant, secret), secret)
    tap.exchange(frame)
    first = Tapped.from_text(tap.as_text())
    assert (list(first.orders), list(first.before)) == ([frame], [])
    install_ticket(tap, grant, authority.ticket(grant, secret), secret)
    second = Tapped.from_text(tap.as_text())
    assert (list(second.orders), list(second.before)) == ([], [frame])
    assert second.installation != first.installation
    served.point.close()
