"""The handshake inside TLS knows which connection it is in, and whoever relays between two is found out."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest
from OpenSSL import SSL

from ztsession.client.transport import binding_of
from ztsession.errors import HandshakeError, TransportError, ZtsError
from ztsession.handshake.states import start_initiator, start_responder
from ztsession.integrations.stream import SocketTransport
from ztsession.integrations.tls import over_tls, tls_exporter
from ztsession.server.stream import BoundStreamServer
from ztsession.wire.framing import MAX_FRAME_BYTES


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def secure(certificates: Any) -> Callable[[socket.socket], SocketTransport]:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_certificate_file(str(certificates.certificate))
    context.use_privatekey_file(str(certificates.key))
    return partial(over_tls, context, server_side=True)


def client_context(certificates: Any) -> SSL.Context:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.load_verify_locations(str(certificates.certificate))
    context.set_verify(SSL.VERIFY_PEER, lambda *given: bool(given[-1]))
    return context


@pytest.fixture
def dial(certificates: Any, opened: ExitStack) -> Callable[[Any], SocketTransport]:
    def to(server: Any) -> SocketTransport:
        connected = socket.create_connection(server.address, timeout=20)
        return opened.enter_context(
            over_tls(client_context(certificates), connected, server_name="authority.test")
        )

    return to


class Responder:
    """Answers a first message within the channel that it is told of, and says its name when asked."""

    def __init__(self, source: str, channel_binding: bytes) -> None:
        self.source, self.channel_binding = source, channel_binding

    def exchange(self, message: bytes) -> bytes:
        if message == b"name":
            return self.channel_binding
        if len(message) < 100 or len(message) == MAX_FRAME_BYTES:
            return message
        received = start_responder(b"r" * 32, message, channel_binding=self.channel_binding)
        return received.write(b"offer")[0]


def shake_hands(transport: Any) -> bytes:
    message1, awaiting = start_initiator(b"i" * 32, b"hello", channel_binding=binding_of(transport))
    return awaiting.read(transport.exchange(message1)).payload


def test_H22_both_ends_of_a_connection_know_it_by_one_name(opened: ExitStack, secure: Any, dial: Any):
    """32 bytes that client and server derive alike, and that are others for each connection."""
    server = opened.enter_context(BoundStreamServer(("127.0.0.1", 0), Responder, secure))
    names = set()
    for _ in range(3):
        peer = dial(server)
        assert peer.exchange(b"name") == binding_of(peer)
        names.add(binding_of(peer))
    assert sorted(map(len, names)) == [32, 32, 32]


def test_H22_a_handshake_relayed_between_two_tls_connections_fails(opened: ExitStack, secure: Any, dial: Any):
    """Directly it passes; through a man in the middle, who has a TLS connection with each, message 2 does
    not open.
    """
    server = opened.enter_context(BoundStreamServer(("127.0.0.1", 0), Responder, secure))
    assert shake_hands(dial(server)) == b"offer"

    class Relay:
        def __init__(self, source: str, channel_binding: bytes) -> None:
            self.onward = dial(server)

        def exchange(self, message: bytes) -> bytes:
            return self.onward.exchange(message)

    relay = opened.enter_context(BoundStreamServer(("127.0.0.1", 0), Relay, secure))
    relayed = dial(relay)
    assert relayed.exchange(b"short") == b"short"
    with pytest.raises(HandshakeError):
        shake_hands(relayed)


def test_H22_the_whole_handshake_is_bound_to_its_tls_connection(
    opened: ExitStack, secure: Any, dial: Any, house: Any
):
    """An Authority in a bound channel grants a session to who is at its other end, and none through a
    relay.
    """
    authority = house.authority()
    server = opened.enter_context(BoundStreamServer(("127.0.0.1", 0), authority.connection, secure))

    class Relay:
        def __init__(self, source: str, channel_binding: bytes) -> None:
            self.onward = dial(server)

        def exchange(self, message: bytes) -> bytes:
            return self.onward.exchange(message)

    relay = opened.enter_context(BoundStreamServer(("127.0.0.1", 0), Relay, secure))
    with pytest.raises(ZtsError):
        house.connect(authority, dial(relay))
    assert authority.sessions() == []
    session = house.connect(authority, dial(server))
    assert [record.id for record in authority.sessions()] == [session.id]


def test_large_messages_pass_through_tls(opened: ExitStack, secure: Any, dial: Any):
    """Longer than any TLS record, both ways, several times."""
    server = opened.enter_context(BoundStreamServer(("127.0.0.1", 0), Responder, secure))
    peer = dial(server)
    for _ in range(3):
        assert peer.exchange(bytes(MAX_FRAME_BYTES)) == bytes(MAX_FRAME_BYTES)


def test_older_versions_of_tls_have_no_name(certificates: Any, secure: Any):
    """Before TLS 1.3 an exporter does not name a connection for certain, so both ends refuse."""
    ours, theirs = socket.socketpair()
    old = client_context(certificates)
    old.set_max_proto_version(SSL.TLS1_2_VERSION)
    told = list[BaseException]()

    def accept() -> None:
        try:
            secure(theirs)
        except TransportError as error:
            told.append(error)

    for each in (ours, theirs):
        each.settimeout(20)
    thread = threading.Thread(target=accept)
    thread.start()
    with pytest.raises(TransportError, match=r"expected version 1\.3"):
        over_tls(old, ours)
    thread.join()
    assert len(told) == 1
    assert ours.fileno() == theirs.fileno() == -1


def test_before_the_tls_handshake_there_is_no_name(certificates: Any):
    """Nothing is exported from a connection that is not established."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        connection = SSL.Connection(client_context(certificates), ours)
        with pytest.raises(TransportError):
            tls_exporter(connection)


def test_a_tls_handshake_that_fails_or_stalls_is_a_transport_error(certificates: Any):
    """A peer that says nothing, something else or good-bye; the socket is closed."""
    for said, told in ((None, "timed out"), (b"HTTP/1.1 400\r\n\r\n", "TLS"), (b"", "TLS")):
        ours, theirs = socket.socketpair()
        with theirs:
            ours.settimeout(0.1)
            if said is not None:
                theirs.sendall(said)
                theirs.shutdown(socket.SHUT_WR)
            with pytest.raises(TransportError, match=told):
                over_tls(client_context(certificates), ours)
        assert ours.fileno() == -1


def test_a_silent_peer_in_tls_is_a_timeout(opened: ExitStack, secure: Any, dial: Any):
    """A message that is not answered in time ends the transport."""
    waiting = threading.Event()

    class Silent(Responder):
        def exchange(self, message: bytes) -> bytes:
            waiting.wait(20)
            return message

    server = opened.enter_context(BoundStreamServer(("127.0.0.1", 0), Silent, secure))
    peer = dial(server)
    peer._timeout_s = 0.1
    with pytest.raises(TransportError, match="timed out"):
        peer.exchange(b"x")
    waiting.set()
    with pytest.raises(TransportError):
        peer.exchange(b"x")
