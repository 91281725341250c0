"""An Authority in another process: what it decides arrives, and its silence closes what needs it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

import ztsession as zts
from ztsession.errors import ConfigurationError, Revoked, Stale, TransportError, ZtsError
from ztsession.integrations.stream import SocketTransport
from ztsession.policy.catalog import Catalog
from ztsession.server import StreamServer
from ztsession.tickets import SegmentKey

#: Short, so that a lease runs out within a test.
LEASE_US = 400_000


def remote(house: Any, authority: Any, key_file: Any, dial: Callable[[], Any]) -> zts.RemoteAuthority:
    segment = Catalog.load(house.rules / "catalog.toml").segment("orders")
    key = SegmentKey.from_file(key_file)
    return zts.RemoteAuthority(dial, segment=segment, segment_key=key, ticket_key=authority.ticket_key)


def refusals(verify: Any, orders: Any, operation: str = "orders.submit") -> type[ZtsError] | None:
    try:
        verify(orders.sign(operation, b"x"), b"x")
    except ZtsError as error:
        return type(error)
    return None


class Site:
    """A point and its Authority, with a real socket between them."""

    def __init__(self, house: Any) -> None:
        self.house, self.authority = house, house.authority()
        self.address = str(house.rules.parent / "authority.sock")
        self.serve()
        self.remote = remote(
            house,
            self.authority,
            self.authority.segment_key_file("orders"),
            lambda: SocketTransport.connect(self.address, timeout_s=2.0),
        )
        self.point = house.point(self.remote, lease_us=LEASE_US)
        self.orders = house.connect(self.authority).install(self.point, "orders")
        self.submit, self.cancel = self.point.verifier("orders.submit"), self.point.verifier("orders.cancel")

    def serve(self) -> None:
        self.server = StreamServer(self.address, self.authority.connection)

    def close(self) -> None:
        self.point.close()
        self.remote.close()
        self.server.close()


@pytest.fixture
def site(house: Any) -> Any:
    opened = Site(house)
    yield opened
    opened.close()


def test_a_revocation_reaches_a_remote_point_while_it_waits(site: Site):
    """The point's open question is answered when there is news."""
    reached, failures = threading.Event(), list[Exception]()

    def call() -> None:
        verify, orders = site.submit, site.orders
        while True:
            try:
                verify(orders.sign("orders.submit", b"x"), b"x")
            except Stale:
                continue  # the test's lease is short, and this machine may be busy
            except Exception as error:
                failures.append(error)
                reached.set()
                return

    caller = threading.Thread(target=call)
    caller.start()
    site.authority.revoke(site.orders.grant.session)
    assert reached.wait(20)
    caller.join()
    assert [type(error) for error in failures] == [Revoked]


def test_R7_a_stopped_server_closes_what_needs_the_authority_until_it_is_back(
    site: Site, eventually: Callable[..., None]
):
    """Connections and listener gone: submit is STALE after the lease, cancel goes on, and all is well again
    later.
    """
    eventually(lambda: refusals(site.submit, site.orders) is None)
    site.server.close()
    eventually(lambda: refusals(site.submit, site.orders) is Stale)
    deadline = site.point.table.lease_deadline_us
    assert refusals(site.cancel, site.orders, "orders.cancel") is None
    site.serve()
    eventually(lambda: refusals(site.submit, site.orders) is None)
    assert site.point.table.lease_deadline_us > deadline


def test_R11_an_authority_that_lost_its_changes_is_not_believed(site: Site, eventually: Callable[..., None]):
    """A feed that knows less than the point has heard prolongs no lease."""
    site.authority.revoke(b"u" * 16)
    eventually(lambda: site.point._listener._applied == 1)
    site.server.close()
    site.authority._store.execute("DELETE FROM changes")
    site.authority._store.execute("DELETE FROM sqlite_sequence")
    site.serve()
    eventually(lambda: refusals(site.submit, site.orders) is Stale)
    deadline = site.point.table.lease_deadline_us
    assert not site.point.maintain()
    assert site.point.table.lease_deadline_us == deadline


def test_R9_a_paused_authority_closes_what_needs_it_and_recovers(
    house: Any, separate: Callable[[], Any], eventually: Callable[..., None]
):
    """A process that holds its connections and says nothing is as good as none, until it goes on."""
    with separate() as process, process.transport() as transport:
        source = remote(
            house,
            process,
            process.segment_key_file,
            lambda: SocketTransport.connect(process.address, timeout_s=0.5),
        )
        with house.point(source, lease_us=LEASE_US) as point:
            orders = house.connect(process, transport).install(point, "orders")
            submit, cancel = point.verifier("orders.submit"), point.verifier("orders.cancel")
            eventually(lambda: refusals(submit, orders) is None)
            process.send(signal.SIGSTOP)
            eventually(lambda: refusals(submit, orders) is Stale)
            assert refusals(cancel, orders, "orders.cancel") is None
            process.send(signal.SIGCONT)
            eventually(lambda: refusals(submit, orders) is None)
            process.tell("revoke", orders.grant.session.hex())
            eventually(lambda: refusals(cancel, orders, "orders.cancel") is Revoked)
        source.close()


def test_a_lease_longer_than_a_connection_waits_is_kept_up(house: Any, eventually: Callable[..., None]):
    """However long the lease, a question ends before the connection takes its silence for death."""
    authority = house.authority()
    asked: list[int] = []

    class Counting:
        def exchange(self, message: bytes) -> bytes:
            from ztsession.bus.feed import FeedRequest

            asked.append(FeedRequest.from_bytes(message).wait_ms)
            return authority.feed(message)

    source = remote(house, authority, authority.segment_key_file("orders"), Counting)
    point = house.point(source, lease_us=600_000_000)
    eventually(lambda: len(asked) >= 2)
    assert asked[0] == 0
    assert all(0 < wait_ms <= 2000 for wait_ms in asked[1:])
    point.close()
    # The answer to the question that is open now; then the thread is gone.
    authority.revoke(b"u" * 16)
    eventually(lambda: not [t for t in threading.enumerate() if t.name == "ztsession-orders"])


def test_a_point_may_start_before_its_authority(house: Any, eventually: Callable[..., None]):
    """Without an Authority the point is there and refuses; as soon as there is one it takes tickets."""
    authority = house.authority()
    address = str(house.rules.parent / "late.sock")
    source = remote(
        house, authority, authority.segment_key_file("orders"), lambda: SocketTransport.connect(address)
    )
    point, session = house.point(source, lease_us=LEASE_US), house.connect(authority)
    with pytest.raises(zts.errors.InstallationError, match="unavailable"):
        session.install(point, "orders")
    with StreamServer(address, authority.connection):
        eventually(lambda: point._listener.heard)
        assert session.install(point, "orders")
        point.close()
        source.close()


def test_a_remote_authority_enforces_its_one_segment(site: Site):
    """A process has the keys of its own segment and of no other."""
    assert site.remote.segment("orders").name == "orders"
    for ask in (site.remote.segment, site.remote.segment_keys):
        with pytest.raises(ConfigurationError, match="enforces segment 'orders', not 'md'"):
            ask("md")


def test_a_closed_remote_authority_asks_no_more(site: Site):
    """After close() there is no connection, and a question is an error."""
    site.point.close()
    site.remote.close()
    site.remote.close()
    with pytest.raises(TransportError, match="closed here"):
        site.remote.feed(b"")
    assert site.remote._questions._transport is None


def test_a_report_does_not_wait_for_the_question_that_is_open(house: Any):
    """A question is held open until there is news; what was found goes over a line of its own meanwhile."""
    asked, answered = threading.Event(), threading.Event()

    class Line:
        def exchange(self, message: bytes) -> bytes:
            if message == b"question":
                asked.set()
                assert answered.wait(20)
            return message

    segment = Catalog.load(house.rules / "catalog.toml").segment("orders")
    key = SegmentKey.generate("orders")
    remote = zts.RemoteAuthority(Line, segment=segment, segment_key=key, ticket_key=bytes(32))
    asking = threading.Thread(target=remote.feed, args=[b"question"])
    asking.start()
    assert asked.wait(20)
    assert remote.report(b"report") == b"report"
    answered.set()
    asking.join()
    remote.close()
    with pytest.raises(TransportError, match="closed here"):
        remote.report(b"report")
