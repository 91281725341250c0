"""Sockets: frames in and out, and whatever a peer does, the server goes on serving the others."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import ztsession as zts
from ztsession.errors import TransportError, WireError
from ztsession.integrations.stream import SocketTransport
from ztsession.server import StreamServer
from ztsession.wire.framing import MAX_FRAME_BYTES, frame


class Echo:
    def __init__(self, source: str = "") -> None:
        self.source = source

    def exchange(self, message: bytes) -> bytes:
        if message == b"bug":
            raise TypeError("a mistake in the conversation")
        if message == b"wire":
            raise WireError("not understood")
        return message


class Source(Echo):
    """Answers where the peer is."""

    def exchange(self, message: bytes) -> bytes:
        return self.source.encode()


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def serve(opened: ExitStack, tmp_path: Path) -> Callable[..., StreamServer]:
    def start(address: Any = ("127.0.0.1", 0), conversation: Any = Echo, **options: Any) -> StreamServer:
        return opened.enter_context(StreamServer(address, conversation, **options))

    return start


def dial(server: StreamServer, **options: Any) -> SocketTransport:
    return SocketTransport.connect(server.address, **options)


def raw(server: StreamServer) -> socket.socket:
    return socket.create_connection(server.address, timeout=10)


def peers() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "ztsession-peer"}


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


# ---- Addresses


def test_messages_come_back_over_ipv4(serve: Any):
    """Each exchange is answered in order, up to the largest message there is."""
    with dial(serve()) as peer:
        for message in (b"", b"x", os.urandom(MAX_FRAME_BYTES)):
            assert peer.exchange(message) == message
        with pytest.raises(WireError, match="over the limit"):
            peer.exchange(bytes(MAX_FRAME_BYTES + 1))


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_messages_come_back_over_ipv6(serve: Any):
    """An address with colons is IPv6."""
    with dial(serve(("::1", 0))) as peer:
        assert peer.exchange(b"x") == b"x"


def test_a_unix_socket_is_private_and_goes_with_its_server(serve: Any, tmp_path: Path):
    """The socket file has mode 0600 from its first moment, whatever the umask, and is removed by close()."""
    path, before = tmp_path / "s", os.umask(0)
    try:
        server = serve(str(path))
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with dial(server) as peer:
        assert peer.exchange(b"x") == b"x"
    server.close()
    assert not path.exists()


def test_a_socket_file_of_a_dead_process_is_taken_over(serve: Any, tmp_path: Path):
    """What nobody listens on any more is replaced."""
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(path)
    with dial(serve(path)) as peer:
        assert peer.exchange(b"x") == b"x"


def test_a_socket_file_in_use_and_other_files_are_left_alone(serve: Any, tmp_path: Path):
    """A second server at one path is refused and the first goes on; a file that is no socket is not
    removed.
    """
    server, file = serve(str(tmp_path / "s")), tmp_path / "f"
    with pytest.raises(TransportError, match="cannot listen on"):
        StreamServer(str(tmp_path / "s"), Echo)
    with dial(server) as peer:
        assert peer.exchange(b"x") == b"x"
    file.write_text("precious")
    with pytest.raises(TransportError, match="cannot listen on"):
        StreamServer(str(file), Echo)
    assert file.read_text() == "precious"


def test_close_does_not_remove_the_socket_of_another_server(serve: Any, tmp_path: Path):
    """If the path was taken over meanwhile, it belongs to who took it."""
    path = tmp_path / "s"
    first = serve(str(path))
    path.rename(tmp_path / "moved")
    second = serve(str(path))
    first.close()
    with dial(second) as peer:
        assert peer.exchange(b"x") == b"x"


def test_a_port_in_use_and_a_server_that_is_not_there_are_transport_errors(serve: Any, tmp_path: Path):
    """Both ends say which address it was."""
    server = serve()
    with pytest.raises(TransportError, match="cannot listen on"):
        StreamServer(server.address, Echo)
    address = server.address
    server.close()
    with pytest.raises(TransportError, match="cannot connect to"):
        SocketTransport.connect(address, timeout_s=5)
    with pytest.raises(TransportError, match="cannot connect to"):
        SocketTransport.connect(str(tmp_path / "nothing"))


# ---- What peers do


def test_a_length_over_the_limit_closes_the_connection_and_no_other(serve: Any):
    """The length is judged before a byte of the body is kept."""
    server = serve()
    with dial(server) as other, raw(server) as bad:
        bad.sendall((MAX_FRAME_BYTES + 1).to_bytes(4, "big") + b"x")
        with contextlib.suppress(ConnectionResetError):
            assert bad.recv(1) == b""
        assert other.exchange(b"x") == b"x"


def test_frames_may_come_in_any_pieces(serve: Any):
    """Byte by byte or three at once, every message gets its answer in order."""
    with raw(serve()) as peer:
        for byte in frame(b"one"):
            peer.sendall(bytes([byte]))
        peer.sendall(frame(b"two") + frame(b"") + frame(b"three"))
        expected = b"".join(map(frame, (b"one", b"two", b"", b"three")))
        heard = b""
        while len(heard) < len(expected):
            heard += peer.recv(100)
        assert heard == expected


@pytest.mark.parametrize("trickle", [False, True])
def test_D4_a_peer_that_does_not_finish_its_message_is_closed(serve: Any, trickle: bool):
    """Silence ends a connection, and so does a byte now and then: the time is for the whole message."""
    with raw(serve(silence_s=0.3)) as peer, contextlib.suppress(ConnectionResetError, BrokenPipeError):
        peer.settimeout(0.05)
        for byte in frame(bytes(400)):
            if trickle:
                peer.sendall(bytes([byte]))
            with contextlib.suppress(TimeoutError):
                assert peer.recv(1) == b""
                return
        pytest.fail("the connection stayed open")


def test_D4_beyond_the_limit_newcomers_wait_their_turn(serve: Any):
    """No more conversations than places; the next peer is served when one is free."""
    server = serve(connections_max=2, connections_per_source_max=2)
    first, second = dial(server), dial(server)
    assert first.exchange(b"1") == second.exchange(b"1") == b"1"
    with dial(server, timeout_s=0.2) as third, pytest.raises(TransportError):
        third.exchange(b"3")
    waiting = dial(server, timeout_s=20)
    waiting.send(b"4")
    first.close()
    assert waiting.receive() == b"4"
    assert len(server._open) <= 2
    second.close()
    waiting.close()


def dial_from(address: str, server: StreamServer) -> socket.socket:
    return socket.create_connection(server.address, source_address=(address, 0), timeout=20)


def is_closed(connected: socket.socket) -> bool:
    with contextlib.suppress(ConnectionResetError):
        return connected.recv(1) == b""
    return True


def test_D4_three_hundred_slow_connections_of_one_source_leave_room_for_another(
    serve: Any, opened: ExitStack
):
    """One source fills its share and no more: what is over it is closed, and others are served at once."""
    server = serve(conversation=Source)
    slow = [opened.enter_context(dial_from("127.0.0.1", server)) for _ in range(300)]
    for each in slow[:64]:
        each.sendall(frame(b"never finished")[:5])
    with SocketTransport(dial_from("127.0.0.2", server)) as peer:
        assert peer.exchange(b"") == b"127.0.0.2"
    assert all(is_closed(each) for each in slow[64:])
    assert len(server._open) <= 65
    with SocketTransport(dial_from("127.0.0.1", server)) as over, pytest.raises(TransportError):
        over.exchange(b"")


def test_D4_a_share_that_was_given_back_can_be_taken_again(serve: Any):
    """A source that closes a connection may open another at once."""
    server = serve(connections_per_source_max=1)
    for _ in range(20):
        with dial(server) as peer:
            assert peer.exchange(b"x") == b"x"
            with dial(server) as over, pytest.raises(TransportError):
                over.exchange(b"x")
        # The server hears of the end a moment later than we do.
        for _ in range(1000):
            with contextlib.suppress(TransportError), dial(server) as again:
                assert again.exchange(b"y") == b"y"
                break
        else:
            pytest.fail("the share was not given back")
        while len(server._shares):
            threading.Event().wait(0.001)


def test_D4_a_unix_socket_has_no_shares(serve: Any, tmp_path: Path):
    """Who may open the socket file is this machine's, and has every place there is."""
    server = serve(str(tmp_path / "s"), Source, connections_max=4)
    with dial(server) as one, dial(server) as two, dial(server) as three, dial(server) as four:
        for peer in (one, two, three, four):
            assert peer.exchange(b"x") == b""


def test_a_conversation_hears_that_its_peer_is_gone(serve: Any, eventually: Callable[..., None]):
    """However it ends, and once."""
    told = list[str]()

    class Listening(Echo):
        def hang_up(self) -> None:
            told.append("gone")

    server = serve(conversation=Listening)
    for number, message in enumerate((b"x", b"bug", b"wire"), 1):
        with dial(server) as peer, contextlib.suppress(TransportError):
            peer.exchange(message)
        eventually(lambda number=number: len(told) == number)


def test_any_error_in_a_conversation_ends_it_alone_and_frees_its_place(
    serve: Any, caplog: pytest.LogCaptureFixture
):
    """A bug that raises closes that connection and is logged; with one place the next peer is served all
    the same.
    """
    server = serve(connections_max=1)
    for message in (b"bug", b"wire", b"bug"):
        with dial(server) as peer:
            assert peer.exchange(b"x") == b"x"
            with pytest.raises(TransportError):
                peer.exchange(message)
    assert caplog.text.count("TypeError: a mistake in the conversation") == 2
    with dial(server) as peer:
        assert peer.exchange(b"x") == b"x"


def test_a_conversation_that_cannot_begin_is_a_closed_connection(
    serve: Any, caplog: pytest.LogCaptureFixture
):
    """What fails before the first message is no different."""

    def fails(source: str) -> Any:
        raise RuntimeError("no conversation today")

    server = serve(conversation=fails, connections_max=1)
    for _ in range(2):
        with dial(server) as peer, pytest.raises(TransportError):
            peer.exchange(b"x")
    assert caplog.text.count("RuntimeError: no conversation today") == 2


def test_a_server_survives_running_out_of_descriptors(serve: Any, caplog: pytest.LogCaptureFixture):
    """While no connection can be accepted that is logged, and afterwards the waiting peer is served."""
    server = serve()
    waiting = dial(server)
    assert waiting.exchange(b"x") == b"x"
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    late = socket.socket()
    late.settimeout(20)
    used = os.open("/dev/null", os.O_RDONLY)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 1, hard))
        filler = fill_descriptors()
        late.connect(server.address)
        while "no connection can be accepted" not in caplog.text:
            threading.Event().wait(0.01)
    finally:
        for each in filler:
            os.close(each)
        os.close(used)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with SocketTransport(late) as peer:
        assert peer.exchange(b"late") == b"late"
    waiting.close()


def fill_descriptors() -> list[int]:
    filler = list[int]()
    while True:
        try:
            filler.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            return filler


# ---- The end


def test_close_ends_listener_connections_and_threads(serve: Any, eventually: Callable[..., None]):
    """Nothing is left of a server that was closed; closing it twice is harmless."""
    before, server = peers(), serve()
    connected = [dial(server) for _ in range(3)]
    assert all(peer.exchange(b"x") for peer in connected)
    server.close()
    server.close()
    for peer in connected:
        with pytest.raises(TransportError):
            peer.exchange(b"x")
    with pytest.raises(TransportError):
        dial(server)
    eventually(lambda: peers() <= before)
    assert server._open == set()


def test_close_ends_a_server_whose_places_are_all_taken(serve: Any):
    """A thread that waits for a place does not keep close() waiting, nor do peers that came and went."""
    server = serve(connections_max=1)
    with dial(server) as peer:
        assert peer.exchange(b"x") == b"x"
        server.close()
        with pytest.raises(TransportError):
            peer.exchange(b"x")


def test_close_races_with_connecting_peers(serve: Any, eventually: Callable[..., None]):
    """Peers that connect while the server closes are served or closed, and none is left open."""
    before = peers()
    for _ in range(10):
        server = serve()
        address, stop = server.address, threading.Event()

        def connect(address: Any = address, stop: threading.Event = stop) -> None:
            while not stop.is_set():
                with contextlib.suppress(TransportError), SocketTransport.connect(address) as peer:
                    peer.exchange(b"x")

        threads = [threading.Thread(target=connect) for _ in range(3)]
        for thread in threads:
            thread.start()
        server.close()
        stop.set()
        for thread in threads:
            thread.join()
        eventually(lambda: peers() <= before)
        assert server._open == set()


# ---- The client's end


def test_R17_an_answer_that_nobody_asked_for_is_not_taken_for_the_next_one():
    """A peer that says more than it was asked has broken the order for good."""
    ours, theirs = socket.socketpair()
    with theirs, SocketTransport(ours) as peer:
        theirs.sendall(frame(b"first") + frame(b"unasked"))
        assert peer.exchange(b"1") == b"first"
        with pytest.raises(TransportError, match="more than it was asked"):
            peer.exchange(b"2")
        with pytest.raises(TransportError):
            peer.exchange(b"3")


def test_R17_after_a_timeout_the_connection_is_over():
    """An answer that comes too late is never read by the next exchange."""
    ours, theirs = socket.socketpair()
    ours.settimeout(0.05)
    with theirs, SocketTransport(ours) as peer:
        with pytest.raises(TransportError, match="timed out"):
            peer.exchange(b"1")
        with contextlib.suppress(BrokenPipeError):
            theirs.sendall(frame(b"late"))
        with pytest.raises(TransportError):
            peer.exchange(b"2")


def test_a_peer_that_closes_or_breaks_the_rules_is_a_transport_error():
    """End of stream and an impossible length are told, and close our end."""
    for said, told in ((b"", "closed"), (b"\0\0", "closed"), (b"\xff\xff\xff\xff", "over the limit")):
        ours, theirs = socket.socketpair()
        with SocketTransport(ours) as peer:
            theirs.sendall(said)
            theirs.close()
            with pytest.raises(TransportError, match=told):
                peer.receive()
            assert ours.fileno() == -1


def test_an_authority_and_a_point_behind_sockets(house: Any, serve: Any, tmp_path: Path):
    """The whole way over real sockets: handshake at one server, installation at another, then calls."""
    authority = house.authority()
    point = house.point(authority)
    door = serve(("127.0.0.1", 0), authority.connection)
    desk = serve(str(tmp_path / "desk"), lambda source: point)
    with dial(door) as to_authority, dial(desk) as to_point:
        session = house.connect(authority, to_authority)
        orders = session.install(to_point, "orders")
        assert point.verifier("orders.submit")(orders.sign("orders.submit", b"x"), b"x").subject == "algo-7"
        renewed = session.reauthenticate().install(to_point, "orders")
        with pytest.raises(zts.errors.Revoked):
            point.verifier("orders.submit")(orders.sign("orders.submit", b"x"), b"x")
        assert point.verifier("orders.submit")(renewed.sign("orders.submit", b"x"), b"x")
