"""The event loop's client and server: answers go to who asked, and the loop never waits for a disk."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

import ztsession as zts
from ztsession.bus.feed import FeedRequest
from ztsession.errors import TransportError, WireError
from ztsession.integrations.aio import AsyncSocketTransport
from ztsession.integrations.stream import SocketTransport
from ztsession.server.aio import AsyncStreamServer, serve
from ztsession.server.stream import StreamServer
from ztsession.wire.framing import MAX_FRAME_BYTES, frame

pytestmark = pytest.mark.asyncio


class Echo:
    """Answers each message with itself, when it may."""

    def __init__(self, source: str = "") -> None:
        self.source, self.left = source, threading.Event()

    def exchange(self, message: bytes) -> bytes:
        if message == b"bug":
            raise TypeError("a mistake in the conversation")
        return self.source.encode() if message == b"source" else message

    def hang_up(self) -> None:
        self.left.set()


class Gated:
    """Answers "slow", and every question of a point, when the gate is opened, and all else at once."""

    def __init__(self) -> None:
        self.gate, self.waiting = threading.Event(), threading.Semaphore(0)

    def __call__(self, source: str) -> Gated:
        return self

    def exchange(self, message: bytes) -> bytes:
        if message == b"slow" or len(message) > 32:
            self.waiting.release()
            assert self.gate.wait(20)
        return message


Serve = Callable[..., Awaitable[AsyncStreamServer]]


@pytest_asyncio.fixture
async def start() -> AsyncIterator[Serve]:
    async with contextlib.AsyncExitStack() as opened:

        async def begin(
            conversation: Any = Echo, address: Any = ("127.0.0.1", 0), **options: Any
        ) -> AsyncStreamServer:
            return await opened.enter_async_context(await serve(conversation, address, **options))

        yield begin


async def dial(server: Any, **options: Any) -> AsyncSocketTransport:
    return await AsyncSocketTransport.connect(server.address, **options)


async def pair(**options: Any) -> tuple[AsyncSocketTransport, socket.socket]:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    return await AsyncSocketTransport.over(ours, **options), theirs


async def heard(theirs: socket.socket) -> bytes:
    return await asyncio.get_running_loop().sock_recv(theirs, 100_000)


def dial_from(address: str, server: Any) -> socket.socket:
    return socket.create_connection(server.address, source_address=(address, 0), timeout=20)


# ---- Messages


async def test_messages_come_back(start: Serve, tmp_path: Path):
    """Over TCP and Unix sockets, from nothing to the largest message there is."""
    for address, source in ((("127.0.0.1", 0), b"127.0.0.1"), (str(tmp_path / "s"), b"")):
        async with await dial(await start(Echo, address)) as peer:
            for message in (b"", b"x", os.urandom(MAX_FRAME_BYTES)):
                assert await peer.exchange(message) == message
            assert await peer.exchange(b"source") == source
            with pytest.raises(WireError, match="over the limit"):
                await peer.exchange(bytes(MAX_FRAME_BYTES + 1))
            assert await peer.exchange(b"y") == b"y"


async def test_both_kinds_of_clients_and_servers_understand_each_other(start: Serve):
    """Frames are frames, whoever writes them."""
    with StreamServer(("127.0.0.1", 0), Echo) as threaded:
        async with await dial(threaded) as peer:
            assert await peer.exchange(b"x") == b"x"
    server = await start()
    with await asyncio.to_thread(SocketTransport.connect, server.address) as blocking:
        assert await asyncio.to_thread(blocking.exchange, b"x") == b"x"


async def test_exchanges_of_many_tasks_take_turns(start: Serve):
    """Each task gets the answer to its own question."""
    async with await dial(await start()) as peer:
        questions = [os.urandom(40) for _ in range(50)]
        assert await asyncio.gather(*map(peer.exchange, questions)) == questions


async def test_an_authority_and_a_point_on_one_loop(start: Serve, house: Any, tmp_path: Path):
    """Client, Authority and point in one loop: handshake, installation, a call, and again when renewed."""
    authority = house.authority()
    point = house.point(authority)
    door, desk = await start(authority.connection), await start(lambda source: point, str(tmp_path / "desk"))
    async with await dial(door) as to_authority, await dial(desk) as to_point:
        given = {"identity": house.identity, "posture": house.device, "root": authority.root}
        session = await zts.connect_async(to_authority, **given, scopes=["orders.*"])
        call = point.verifier("orders.submit")
        for _ in range(3):
            orders = await session.install_async(to_point, "orders")
            assert call(orders.sign("orders.submit", b"x"), b"x").subject == "algo-7"
            session = await session.renew_async()


# ---- R17


async def test_R17_a_cancelled_exchange_leaves_nobody_else_its_answer():
    """The connection ends with the exchange: the next caller is refused, and never reads the late answer."""
    peer, theirs = await pair()
    with theirs:
        first = asyncio.create_task(peer.exchange(b"mine"))
        assert await heard(theirs) == frame(b"mine")
        waiting = asyncio.create_task(peer.exchange(b"yours"))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(TransportError):
            await waiting
        with pytest.raises(asyncio.CancelledError):
            await first
        # Nothing more was asked, so no answer can be taken for another.
        assert await heard_or_closed(theirs) == b""
        with pytest.raises(TransportError):
            await peer.exchange(b"yours")


async def test_R17_who_is_cancelled_before_his_turn_costs_nobody_the_connection():
    """The twin: nothing had been sent, so the one whose turn it is gets his answer, and so does the next."""
    peer, theirs = await pair()
    async with peer:
        with theirs:
            first = asyncio.create_task(peer.exchange(b"1"))
            assert await heard(theirs) == frame(b"1")
            second = asyncio.create_task(peer.exchange(b"2"))
            await asyncio.sleep(0)
            second.cancel()
            with pytest.raises(asyncio.CancelledError):
                await second
            theirs.sendall(frame(b"one"))
            assert await first == b"one"
            third = asyncio.create_task(peer.exchange(b"3"))
            assert await heard(theirs) == frame(b"3")
            theirs.sendall(frame(b"three"))
            assert await third == b"three"


@pytest.mark.parametrize("unasked", [frame(b"before"), b"\0"])
async def test_R17_what_nobody_asked_for_is_never_an_answer(unasked: bytes):
    """Bytes that come while no answer is due end the connection, a part of a frame like a whole one."""
    peer, theirs = await pair()
    with theirs:
        theirs.sendall(unasked)
        await asyncio.sleep(0.01)
        with pytest.raises(TransportError, match="more than it was asked"):
            await peer.exchange(b"1")


async def test_R17_two_answers_to_one_question_are_none():
    """A peer that says more than it was asked has broken the order for good."""
    peer, theirs = await pair()
    with theirs:
        asking = asyncio.create_task(peer.exchange(b"1"))
        await heard(theirs)
        theirs.sendall(frame(b"one") + frame(b"two"))
        with pytest.raises(TransportError, match="more than it was asked"):
            await asking


async def test_R17_after_a_timeout_the_connection_is_over():
    """An answer that comes too late is never read by the next exchange; the time is for the whole message."""
    peer, theirs = await pair(timeout_s=0.1)
    with theirs:
        asking = asyncio.create_task(peer.exchange(b"1"))
        for byte in frame(bytes(40)):
            with contextlib.suppress(OSError):
                theirs.sendall(bytes([byte]))
            await asyncio.sleep(0.01)
        with pytest.raises(TransportError, match="timed out"):
            await asking
        with pytest.raises(TransportError):
            await peer.exchange(b"2")


async def test_a_peer_that_closes_or_breaks_the_rules_is_a_transport_error(tmp_path: Path):
    """End of stream, an impossible length and nobody there are told."""
    for said, told in ((b"", "closed"), (b"\0\0", "closed"), (b"\xff\xff\xff\xff", "over the limit")):
        peer, theirs = await pair()
        asking = asyncio.create_task(peer.exchange(b"1"))
        await heard(theirs)
        theirs.sendall(said)
        theirs.close()
        with pytest.raises(TransportError, match=told):
            await asking
    with pytest.raises(TransportError, match="cannot connect to"):
        await AsyncSocketTransport.connect(str(tmp_path / "nothing"))


# ---- The server


async def test_one_message_that_waits_holds_up_no_other(start: Serve):
    """While a worker waits for its disk, the loop and the other connections go on."""
    gated = Gated()
    server = await start(gated, workers=2)
    async with await dial(server) as one, await dial(server) as other:
        slow = asyncio.create_task(one.exchange(b"slow"))
        assert await asyncio.to_thread(gated.waiting.acquire, timeout=20)
        assert await other.exchange(b"quick") == b"quick"
        gated.gate.set()
        assert await slow == b"slow"


async def test_polls_leave_the_workers_to_the_clients(start: Serve):
    """With one worker and ten points that wait for changes, a client is answered at once."""
    gated = Gated()
    server = await start(gated, workers=1)
    async with contextlib.AsyncExitStack() as opened:
        points = [await opened.enter_async_context(await dial(server, timeout_s=20)) for _ in range(10)]
        question = FeedRequest("orders", bytes(32), 0, 20_000).to_bytes()
        polls = [asyncio.create_task(point.exchange(question)) for point in points]
        for _ in polls:
            assert await asyncio.to_thread(gated.waiting.acquire, timeout=20)
        async with await dial(server) as client:
            assert await client.exchange(b"quick") == b"quick"
        gated.gate.set()
        assert await asyncio.gather(*polls) == [question] * 10


async def test_D4_slow_connections_of_one_source_keep_nobody_else_out(start: Serve):
    """What is over one source's share is closed, and another source is served all the while."""
    server = await start(connections_max=8)
    with contextlib.ExitStack() as opened:
        slow = [opened.enter_context(dial_from("127.0.0.1", server)) for _ in range(12)]
        other = await AsyncSocketTransport.over(opened.enter_context(dial_from("127.0.0.2", server)))
        async with other:
            assert await other.exchange(b"source") == b"127.0.0.2"
        for each in slow:
            each.setblocking(False)
        assert [await heard_or_closed(each) for each in slow[2:]] == [b""] * 10


async def heard_or_closed(connected: socket.socket) -> bytes:
    async with asyncio.timeout(20):
        with contextlib.suppress(ConnectionResetError):
            return await heard(connected)
    return b""


async def test_D4_beyond_the_limit_in_all_newcomers_are_turned_away(start: Serve):
    """The place of who leaves is the next one's."""
    server = await start(connections_max=1)
    async with await dial(server) as first:
        assert await first.exchange(b"1") == b"1"
        async with await dial(server) as second:
            with pytest.raises(TransportError):
                await second.exchange(b"2")
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(TransportError):
                async with await dial(server) as third:
                    assert await third.exchange(b"3") == b"3"
                    return


@pytest.mark.parametrize("trickle", [False, True])
async def test_D4_a_peer_that_does_not_finish_its_message_is_closed(start: Serve, trickle: bool):
    """Silence ends a connection, and so does a byte now and then."""
    server = await start(silence_s=0.2)
    with dial_from("127.0.0.1", server) as slow:
        slow.setblocking(False)
        closing = asyncio.create_task(heard_or_closed(slow))
        for byte in frame(bytes(400)):
            if trickle and not closing.done():
                with contextlib.suppress(OSError):
                    slow.sendall(bytes([byte]))
            await asyncio.wait([closing], timeout=0.05)
            if closing.done():
                break
        assert await closing == b""


async def test_an_error_in_a_conversation_ends_it_alone(start: Serve, caplog: pytest.LogCaptureFixture):
    """It is logged, its conversation is told that the peer is gone, and the others go on."""
    conversations = list[Echo]()

    def begin(source: str) -> Echo:
        conversations.append(Echo(source))
        return conversations[-1]

    server = await start(begin)
    async with await dial(server) as one, await dial(server) as other:
        assert await other.exchange(b"x") == await one.exchange(b"x") == b"x"
        with pytest.raises(TransportError):
            await one.exchange(b"bug")
        assert await other.exchange(b"y") == b"y"
        assert caplog.text.count("TypeError: a mistake in the conversation") == 1
        assert sorted(each.left.is_set() for each in conversations) == [False, True]


async def test_close_ends_connections_and_may_be_repeated(start: Serve, tmp_path: Path):
    """Nothing is left of a server that was closed, not even its socket file."""
    server = await start(Echo, str(tmp_path / "s"))
    async with await dial(server) as peer:
        assert await peer.exchange(b"x") == b"x"
        await server.close()
        await server.close()
        with pytest.raises(TransportError):
            await peer.exchange(b"x")
    assert not (tmp_path / "s").exists()
    with pytest.raises(TransportError, match="cannot connect"):
        await dial(server)


# ---- TLS


async def test_all_servers_and_clients_speak_tls(start: Serve, certificates: Any):
    """With the deployer's contexts on both ends messages pass; a client that trusts another issuer stays
    out.
    """
    asynchronous = await start(ssl_context=certificates.server())
    with StreamServer(("127.0.0.1", 0), Echo, ssl_context=certificates.server()) as threaded:
        for server in (threaded, asynchronous):
            async with await dial(server, ssl_context=certificates.client()) as peer:
                assert await peer.exchange(b"x") == b"x"
            blocking = await asyncio.to_thread(
                SocketTransport.connect, server.address, ssl_context=certificates.client()
            )
            with blocking:
                assert await asyncio.to_thread(blocking.exchange, bytes(MAX_FRAME_BYTES)) == bytes(
                    MAX_FRAME_BYTES
                )
            for stranger in (ssl.create_default_context(), None):
                with pytest.raises(TransportError):
                    async with await dial(server, ssl_context=stranger, timeout_s=20) as peer:
                        await peer.exchange(b"x")
                with (
                    pytest.raises(TransportError),
                    await asyncio.to_thread(
                        SocketTransport.connect, server.address, ssl_context=stranger
                    ) as blocking,
                ):
                    await asyncio.to_thread(blocking.exchange, b"x")


async def test_D4_who_does_not_finish_tls_holds_a_place_and_no_more(start: Serve, certificates: Any):
    """Who stops before TLS or in the middle of it is counted for his source; another source is served."""
    server = await start(connections_max=8, ssl_context=certificates.server())
    with contextlib.ExitStack() as opened:
        slow = [opened.enter_context(dial_from("127.0.0.1", server)) for _ in range(12)]
        slow[0].sendall(b"\x16\x03\x01")
        for each in slow:
            each.setblocking(False)
        # Two have their source's places; the others are closed at once, and not after TLS's own timeout.
        async with asyncio.timeout(5):
            assert [await heard_or_closed(each) for each in slow[2:]] == [b""] * 10
        other = await asyncio.to_thread(dial_from, "127.0.0.2", server)
        reader, writer = await asyncio.open_connection(
            sock=other, ssl=certificates.client(), server_hostname="127.0.0.1"
        )
        writer.write(frame(b"source"))
        assert await reader.readexactly(4 + 9) == frame(b"127.0.0.2")
        writer.close()


async def test_a_tls_server_closes_while_a_peer_is_silent(certificates: Any):
    """Neither a peer in the middle of its TLS handshake nor one that says nothing keeps close() waiting."""
    server = StreamServer(("127.0.0.1", 0), Echo, ssl_context=certificates.server())
    with dial_from("127.0.0.1", server):
        async with await dial(server, ssl_context=certificates.client()) as peer:
            assert await peer.exchange(b"x") == b"x"
            began = time.monotonic()
            await asyncio.to_thread(server.close)
            assert time.monotonic() - began < 5
            with pytest.raises(TransportError):
                await peer.exchange(b"x")
