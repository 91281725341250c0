"""HTTP with a real server: the protocol passes, and nothing that is not the protocol gets far."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
import uvicorn

import ztsession as zts
from ztsession.bus.feed import FeedRequest
from ztsession.bus.report import SignalReport
from ztsession.errors import ConfigurationError, HandshakeError, TransportError, WireError
from ztsession.handshake.messages import CookieDemand
from ztsession.handshake.refusal import Refusal
from ztsession.integrations import asgi_request
from ztsession.integrations.asgi import AuthorityApp
from ztsession.integrations.conversations import HALF_OPEN_S
from ztsession.integrations.http import AsyncHttpTransport, HttpTransport
from ztsession.tickets.segment_key import SegmentKey
from ztsession.wire.framing import MAX_FRAME_BYTES

OCTETS = {"content-type": "application/octet-stream"}
LONG = bytes(1000)


class Talk:
    """One conversation: counts its messages, waits at "slow", and fails at "bug"."""

    def __init__(self, house: Talks, source: str) -> None:
        self.house, self.source, self.count, self.established = house, source, 0, False

    def exchange(self, message: bytes) -> bytes:
        self.count += 1
        if message == b"bug":
            raise TypeError("a mistake in the conversation")
        if message == b"slow" or b"feed-request" in message:
            self.house.waiting.release()
            assert self.house.gate.wait(20)
        if message == b"cookie":
            return CookieDemand(b"c" * 32).to_bytes()
        self.established = self.established or message == b"proof"
        return b"%d %s " % (self.count, self.source.encode()) + LONG

    def hang_up(self) -> None:
        self.house.left += 1


class Talks:
    """Stands for an Authority where only the carrying is looked at."""

    def __init__(self) -> None:
        self.gate, self.waiting, self.left = threading.Event(), threading.Semaphore(0), 0
        self.sources = list[str]()

    def connection(self, source: str = "") -> Talk:
        self.sources.append(source)
        return Talk(self, source)

    def exchange(self, message: bytes) -> bytes:
        return b"installed " + message


class ManualClock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Served:
    """An application behind uvicorn, in a thread, on a port of its own."""

    def __init__(self, app: Any) -> None:
        self.app, self.socket = app, socket.create_server(("127.0.0.1", 0))
        # Asyncio sets it only where it made the socket itself.
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        config = uvicorn.Config(app, log_config=None, ws="none", http="h11", lifespan="on")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self.socket],))

    def __enter__(self) -> Served:
        self._thread.start()
        while not self._server.started:
            time.sleep(0.005)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()
        self.socket.close()

    def raw(self, source: str = "127.0.0.1") -> socket.socket:
        return socket.create_connection(self.socket.getsockname(), timeout=20, source_address=(source, 0))


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def serve(opened: ExitStack) -> Callable[..., Served]:
    return lambda *given, **options: opened.enter_context(Served(AuthorityApp(*given, **options)))


@pytest.fixture
def talks(opened: ExitStack) -> Talks:
    talks = Talks()
    opened.callback(talks.gate.set)
    return talks


@pytest.fixture
def http(opened: ExitStack) -> httpx.Client:
    return opened.enter_context(httpx.Client(timeout=20, trust_env=False))


def question(wait_ms: int = 0) -> bytes:
    # The same each time: it is in the names of tests, which the workers of a run must agree on.
    return FeedRequest("orders", bytes(range(32)), 0, wait_ms).to_bytes()


# ---- The protocol


def test_handshake_and_installation_over_http(serve: Any, house: Any):
    """A session is made and installed over HTTP, and the same transport serves for another."""
    authority = house.authority()
    point = house.point(authority)
    served = serve(authority, {"orders": point})
    with HttpTransport(served.url) as to_authority:
        session = house.connect(authority, to_authority)
        with HttpTransport(served.url, "installation", segment="orders") as to_point:
            orders = session.install(to_point, "orders")
        call = point.verifier("orders.submit")
        assert call(orders.sign("orders.submit", b"x"), b"x").subject == "algo-7"
        assert house.connect(authority, to_authority).id != session.id


@pytest.mark.asyncio
async def test_the_whole_way_over_http_in_an_event_loop(serve: Any, house: Any):
    """Handshake, renewal at its own door and in the conversation, and installation, asynchronously."""
    authority = house.authority()
    point = house.point(authority)
    url = serve(authority, {"orders": point}).url
    async with (
        AsyncHttpTransport(url) as to_authority,
        AsyncHttpTransport(url, "renewal") as to_renewal,
        AsyncHttpTransport(url, "installation", segment="orders") as to_point,
    ):
        given = {"identity": house.identity, "posture": house.device, "root": authority.root}
        session = await zts.connect_async(to_authority, **given, scopes=["orders.*"])
        renewed = await session.renew_async(to_renewal)
        orders = await renewed.install_async(to_point, "orders")
        call = point.verifier("orders.submit")
        assert call(orders.sign("orders.submit", b"x"), b"x").subject == "algo-7"
        assert (await renewed.renew_async(to_authority)).segments == ("orders",)


def test_a_point_hears_over_http(serve: Any, house: Any, eventually: Callable[..., None]):
    """A point in another process asks over HTTP, and a revocation reaches it while its question waits."""
    authority = house.authority()
    url = serve(authority).url
    remote = zts.RemoteAuthority(
        lambda: HttpTransport(url, "feed"),
        segment=authority.segment("orders"),
        segment_key=SegmentKey.from_file(authority.segment_key_file("orders")),
        ticket_key=authority.ticket_key,
    )
    point = house.point(remote)
    session = house.connect(authority)
    orders = session.install(point, "orders")
    call = point.verifier("orders.submit")
    assert call(orders.sign("orders.submit", b"x"), b"x").subject == "algo-7"
    authority.revoke(session.id)

    def revoked() -> bool:
        with contextlib.suppress(zts.errors.Revoked):
            return not call(orders.sign("orders.submit", b"x"), b"x")
        return True

    eventually(revoked)
    remote.close()


def test_two_conversations_at_once_are_two(serve: Any, house: Any):
    """Handshakes that run side by side over one client each get their own session."""
    authority = house.authority()
    served = serve(authority)
    with httpx.Client(trust_env=False) as shared:
        transports = [HttpTransport(served.url, client=shared) for _ in range(4)]
        found = list[bytes]()
        threads = [
            threading.Thread(target=lambda each=each: found.append(house.connect(authority, each).id))
            for each in transports
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(set(found)) == 4


def test_a_refusal_of_the_protocol_is_an_answer_like_any_other(serve: Any, house: Any):
    """Status 200 and a message; HTTP does not tell strangers apart."""
    authority = house.authority()
    served = serve(authority)
    stranger = zts.Ed25519Identity.generate("stranger")
    with HttpTransport(served.url) as transport, pytest.raises(HandshakeError):
        house.connect(authority, transport, identity=stranger)
    with HttpTransport(served.url) as transport:
        assert Refusal.from_bytes(transport.exchange(b"garbage"))


def test_a_point_alone_has_only_its_door(serve: Any, talks: Talks, http: httpx.Client):
    """Without an Authority the other paths do not exist, nor do the doors of other segments."""
    served = serve(points={"orders": talks})
    with HttpTransport(served.url, "installation", segment="orders") as door:
        assert door.exchange(b"ticket") == b"installed ticket"
    for path in ("/v1/handshake", "/v1/renewal", "/v1/feed", "/v1/segments/md/installation"):
        assert http.post(served.url + path, content=b"x", headers=OCTETS).status_code == 404


# ---- What HTTP itself refuses


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status"),
    [
        ("POST", "/v1/handshake", OCTETS, b"x", 200),
        ("POST", "/v1/renewal", OCTETS, b"x", 200),
        ("POST", "/v1/feed", OCTETS, question(), 200),
        ("POST", "/v1/feed", OCTETS, SignalReport(b"signal", bytes(64)).to_bytes(), 200),
        ("POST", "/v1/segments/orders/installation", OCTETS, b"x", 200),
        ("POST", "/v1/handshake", {"content-type": "Application/Octet-Stream"}, b"x", 200),
        ("POST", "/v1/handshake", OCTETS, bytes(MAX_FRAME_BYTES), 200),
        ("GET", "/v1/handshake", OCTETS, b"", 405),
        ("PUT", "/v1/feed", OCTETS, question(), 405),
        ("HEAD", "/v1/renewal", OCTETS, b"", 405),
        ("GET", "/", {}, b"", 404),
        ("POST", "/v1/handshake/", OCTETS, b"x", 404),
        ("POST", "//v1/handshake", OCTETS, b"x", 404),
        ("POST", "/v1/segments//installation", OCTETS, b"x", 404),
        ("POST", "/v1/segments/md/installation", OCTETS, b"x", 404),
        ("POST", "/v2/handshake", OCTETS, b"x", 404),
        ("POST", "/v1/handshake", {}, b"x", 415),
        ("POST", "/v1/handshake", {"content-type": "application/json"}, b"x", 415),
        ("POST", "/v1/handshake", {"content-type": "application/octet-stream; a=b"}, b"x", 415),
        ("POST", "/v1/handshake", OCTETS, bytes(MAX_FRAME_BYTES + 1), 413),
        ("POST", "/v1/segments/orders/installation", OCTETS, bytes(MAX_FRAME_BYTES + 1), 413),
        ("POST", "/v1/handshake", OCTETS | {"zt-conversation": "A" * 22}, b"x", 410),
        ("POST", "/v1/handshake", OCTETS | {"zt-conversation": ""}, b"x", 410),
        ("POST", "/v1/handshake", OCTETS, question(60_000), 400),
        ("POST", "/v1/renewal", OCTETS, question(60_000), 400),
        ("POST", "/v1/feed", OCTETS, b"x", 400),
        ("POST", "/v1/feed", OCTETS, LONG, 400),
    ],
)
def test_what_is_no_message_to_a_door_is_refused_in_a_few_words(
    everything: Served, method: str, path: str, headers: Any, body: bytes, status: int
):
    """Method, path, type, length and conversation are each judged; a problem is short and plain text."""
    with httpx.Client(timeout=20, trust_env=False) as http:
        answer = http.request(method, everything.url + path, headers=headers, content=body)
    assert answer.status_code == status
    assert answer.headers["cache-control"] == "no-store"
    if status == 200:
        assert answer.headers["content-type"] == OCTETS["content-type"]
    else:
        assert answer.headers["content-type"].startswith("text/plain")
        assert len(answer.content) < 100
    assert (answer.headers.get("allow") == "POST") is (status == 405)


@pytest.fixture(scope="module")
def everything() -> Iterator[Served]:
    talks = Talks()
    talks.gate.set()
    with Served(AuthorityApp(talks, {"orders": talks})) as served:
        yield served


def test_a_header_that_counts_is_given_once(serve: Any, talks: Talks):
    """Two types or two conversations are no choice to be made here."""
    served = serve(talks)
    for twice in (
        [("content-type", OCTETS["content-type"])] * 2,
        [*OCTETS.items(), ("zt-conversation", "a"), ("zt-conversation", "b")],
    ):
        assert httpx.post(served.url + "/v1/handshake", headers=twice, content=b"x").status_code == 400


def test_a_body_without_a_length_is_cut_where_the_limit_is(serve: Any, talks: Talks, http: httpx.Client):
    """An endless stream is not read to its end, and a short one is a message."""
    served = serve(talks)
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 64 * MAX_FRAME_BYTES:
            sent += MAX_FRAME_BYTES // 4
            yield bytes(MAX_FRAME_BYTES // 4)

    with contextlib.suppress(httpx.WriteError, httpx.ReadError):
        answer = http.post(served.url + "/v1/handshake", headers=OCTETS, content=endless())
        assert answer.status_code == 413
    short = http.post(served.url + "/v1/handshake", headers=OCTETS, content=iter([b"a", b"b"]))
    assert short.content.startswith(b"1 127.0.0.1 ")


def test_a_length_over_the_limit_is_judged_before_a_byte_of_the_body(serve: Any, talks: Talks):
    """Whoever announces too much is answered at once."""
    with serve(talks).raw() as peer:
        peer.sendall(
            b"POST /v1/handshake HTTP/1.1\r\nhost: x\r\ncontent-length: 65537\r\n"
            b"content-type: application/octet-stream\r\n\r\n"
        )
        peer.settimeout(5)
        assert peer.recv(1000).startswith(b"HTTP/1.1 413")


def test_D4_a_body_that_does_not_come_is_not_waited_for(
    serve: Any, talks: Talks, monkeypatch: pytest.MonkeyPatch
):
    """A byte now and then keeps a request open for a bounded time, and its share is given back."""
    monkeypatch.setattr(asgi_request, "BODY_S", 0.2)
    served = serve(talks)
    with served.raw() as slow:
        slow.sendall(
            b"POST /v1/handshake HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n"
            b"content-type: application/octet-stream\r\n\r\n"
        )
        slow.settimeout(0.05)
        answer = b""
        for _ in range(200):
            with contextlib.suppress(TimeoutError):
                answer += slow.recv(1000)
                break
            with contextlib.suppress(OSError):
                slow.sendall(b"x")
    assert answer.startswith(b"HTTP/1.1 408")
    assert len(served.app._shares) == 0


def test_a_client_that_leaves_takes_everything_with_it(
    serve: Any, talks: Talks, eventually: Callable[..., None]
):
    """A request that is cut off in its body leaves no share taken and no conversation begun."""
    served = serve(talks)
    for _ in range(5):
        with served.raw() as leaving:
            leaving.sendall(
                b"POST /v1/handshake HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n"
                b"content-type: application/octet-stream\r\n\r\nxyz"
            )
            eventually(lambda: served.app._requests == 1)
        eventually(lambda: served.app._requests == len(served.app._shares) == 0)
    assert len(served.app._conversations) == 0


def test_a_mistake_in_a_conversation_is_status_500_and_ends_it(
    serve: Any, talks: Talks, http: httpx.Client, caplog: pytest.LogCaptureFixture
):
    """The client learns nothing of it, the log all, and the conversation is over."""
    url = serve(talks).url + "/v1/handshake"
    name = http.post(url, content=b"x", headers=OCTETS).headers["zt-conversation"]
    answer = http.post(url, content=b"bug", headers=OCTETS | {"zt-conversation": name})
    assert (answer.status_code, answer.text) == (500, "this could not be answered\n")
    assert "TypeError: a mistake in the conversation" in caplog.text
    assert http.post(url, content=b"x", headers=OCTETS | {"zt-conversation": name}).status_code == 410
    assert talks.left == 1


# ---- Conversations


def test_a_conversation_goes_on_under_its_name(serve: Any, talks: Talks, http: httpx.Client):
    """The first answer names it; messages with the name go on where it stands, those without begin anew."""
    url = serve(talks).url + "/v1/handshake"
    first = http.post(url, content=b"x", headers=OCTETS)
    name = first.headers["zt-conversation"]
    again = http.post(url, content=b"x", headers=OCTETS | {"zt-conversation": name})
    assert [first.content[:2], again.content[:2]] == [b"1 ", b"2 "]
    assert "zt-conversation" not in again.headers
    other = http.post(url, content=b"x", headers=OCTETS)
    assert other.content.startswith(b"1 ")
    assert other.headers["zt-conversation"] != name


def test_D4_half_open_conversations_end_after_ten_seconds_and_proven_ones_do_not(
    serve: Any, talks: Talks, http: httpx.Client
):
    """Who does not come back is forgotten; who has proven himself may think for a while."""
    clock = ManualClock()
    url = serve(talks, clock=clock).url + "/v1/handshake"
    names = [http.post(url, content=b"x", headers=OCTETS).headers["zt-conversation"] for _ in range(2)]
    proven, slow = ({"zt-conversation": name} | OCTETS for name in names)
    assert http.post(url, content=b"proof", headers=proven).status_code == 200
    clock.now += HALF_OPEN_S
    assert http.post(url, content=b"x", headers=slow).status_code == 410
    assert http.post(url, content=b"x", headers=proven).content.startswith(b"3 ")


def test_D1_nothing_is_kept_for_who_is_asked_for_a_cookie(serve: Any, talks: Talks, http: httpx.Client):
    """A cookie demand has no conversation, so a flood of first messages fills no memory."""
    served = serve(talks)
    for _ in range(100):
        answer = http.post(served.url + "/v1/handshake", content=b"cookie", headers=OCTETS)
        assert CookieDemand.from_bytes(answer.content)
        assert "zt-conversation" not in answer.headers
    assert len(served.app._conversations) == 0
    assert talks.left == 100


def test_D4_one_source_cannot_begin_every_conversation(serve: Any, talks: Talks, http: httpx.Client):
    """Beyond its share it hears to try again later, while another source is let in."""
    url = serve(talks).url + "/v1/handshake"
    codes = [http.post(url, content=b"x", headers=OCTETS).status_code for _ in range(70)]
    assert codes == [200] * 64 + [503] * 6
    with httpx.Client(transport=httpx.HTTPTransport(local_address="127.0.0.2")) as other:
        answer = other.post(url, content=b"x", headers=OCTETS)
    assert answer.content.startswith(b"1 127.0.0.2 ")


def test_D4_one_source_cannot_make_every_request(
    serve: Any, talks: Talks, opened: ExitStack, eventually: Callable[..., None]
):
    """Three hundred requests that never end leave room for another source."""
    served = serve(talks)
    head = b"POST /v1/handshake HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n"
    head += b"content-type: application/octet-stream\r\n\r\n"
    for _ in range(300):
        opened.enter_context(served.raw()).sendall(head)
    eventually(lambda: served.app._requests == 64)
    with httpx.Client(transport=httpx.HTTPTransport(local_address="127.0.0.2")) as other:
        answer = other.post(served.url + "/v1/handshake", content=b"x", headers=OCTETS)
        assert answer.content.startswith(b"1 127.0.0.2 ")
    with served.raw() as over:
        over.sendall(head + b"123456789")
        assert over.recv(1000).startswith(b"HTTP/1.1 503")


def reset_after_asking(served: Served) -> None:
    """A client that is gone before the server looks at who it was."""
    with served.raw() as line:
        line.sendall(b"POST /v1/handshake HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n")
        line.sendall(b"content-type: application/octet-stream\r\n\r\nx")
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def test_D1_who_resets_his_connection_is_not_without_limits(eventually: Callable[..., None]):
    """Its address is gone and its request is not: all of these are one source, which another is not."""
    talks = Talks()
    served = Served(AuthorityApp(talks))
    for _ in range(3):
        reset_after_asking(served)
    with served:
        eventually(lambda: len(talks.sources) == 3)
        with httpx.Client(trust_env=False) as other:
            other.post(served.url + "/v1/handshake", content=b"x", headers=OCTETS)
    assert talks.sources == ["unnamed"] * 3 + ["127.0.0.1"]


@pytest.mark.parametrize(
    ("client", "server", "source"),
    [
        (("192.0.2.1", 5), ("10.0.0.1", 443), "192.0.2.1"),
        (None, ("10.0.0.1", 443), "unnamed"),
        (("", 0), ("10.0.0.1", 443), "unnamed"),
        (None, ("/run/authority.sock", None), ""),
        (("192.0.2.1", 0), ("/run/authority.sock", None), "192.0.2.1"),
        (None, None, ""),
    ],
)
def test_only_a_unix_socket_has_no_source(client: Any, server: Any, source: str):
    """On a port there is always one, and what a trusted proxy says counts on both."""
    scope = {"type": "http", "headers": [], "client": client, "server": server}

    async def receive() -> Any:
        raise AssertionError("nothing is read for this")

    assert asgi_request.Request.of(scope, receive).source == source


def test_one_conversation_answers_one_message_at_a_time(serve: Any, talks: Talks, http: httpx.Client):
    """A second message meanwhile is refused, and does not disturb the first."""
    url = serve(talks).url + "/v1/handshake"
    headers = OCTETS | {
        "zt-conversation": http.post(url, content=b"x", headers=OCTETS).headers["zt-conversation"]
    }
    answers = list[httpx.Response]()
    slow = threading.Thread(
        target=lambda: answers.append(httpx.post(url, content=b"slow", headers=headers, timeout=20))
    )
    slow.start()
    assert talks.waiting.acquire(timeout=20)
    assert http.post(url, content=b"x", headers=headers).status_code == 409
    talks.gate.set()
    slow.join()
    assert answers[0].content.startswith(b"2 ")
    assert http.post(url, content=b"x", headers=headers).content.startswith(b"3 ")


def test_questions_that_wait_leave_the_workers_to_the_clients(serve: Any, talks: Talks, http: httpx.Client):
    """With one worker and twenty points that wait for changes, a handshake is answered at once."""
    served = serve(talks, workers=1)
    answers = list[int]()

    def ask() -> None:
        with HttpTransport(served.url, "feed", timeout_s=20) as feed:
            answers.append(len(feed.exchange(question(20_000))))

    points = [threading.Thread(target=ask) for _ in range(20)]
    for point in points:
        point.start()
    for _ in points:
        assert talks.waiting.acquire(timeout=20)
    assert http.post(served.url + "/v1/handshake", content=b"x", headers=OCTETS).status_code == 200
    assert answers == []
    talks.gate.set()
    for point in points:
        point.join()
    assert len(answers) == 20


# ---- The clients


def test_a_conversation_that_the_server_forgot_is_begun_anew(serve: Any, talks: Talks):
    """After a long silence the same transport serves a new handshake."""
    clock = ManualClock()
    with HttpTransport(serve(talks, clock=clock).url) as transport:
        assert transport.exchange(b"x").startswith(b"1 ")
        assert transport.exchange(b"x").startswith(b"2 ")
        clock.now += 3600
        assert transport.exchange(b"x").startswith(b"1 ")
        assert transport.exchange(b"x").startswith(b"2 ")


class Says:
    """An ASGI application that answers every request alike."""

    def __init__(self, status: int = 200, body: bytes = b"", **headers: str) -> None:
        self.status, self.pieces = status, [body]
        self.headers = {"content-type": OCTETS["content-type"]} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for _ in range(2):
                await send({"type": (await receive())["type"] + ".complete"})
            return
        listed = [(name.encode(), value.encode()) for name, value in self.headers.items()]
        await send({"type": "http.response.start", "status": self.status, "headers": listed})
        for piece in self.pieces:
            await asyncio.sleep(0.02 * (len(self.pieces) > 1))
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body"})


BAD_ANSWERS = [
    (Says(404, b"nothing\x1b[2J here"), r"status 404 .*check the address"),
    (Says(503, b"busy"), r"status 503 .*try again"),
    (Says(418, bytes(100_000)), r"over the limit"),
    (Says(418, b"a teapot"), r"status 418 .*a teapot.*; is this the server"),
    (Says(302, location="http://127.0.0.1:9/"), r"status 302"),
    (Says(body=bytes(MAX_FRAME_BYTES + 1)), r"over the limit"),
    (Says(body=b"<html>", content_type="text/html"), r"the answer is 'text/html'"),
    (Says(body=gzip.compress(bytes(10_000)), content_encoding="gzip"), r"expected application"),
    (Says(body=b"x", zt_conversation="a b"), r"impossible name"),
]


@pytest.fixture(scope="module")
def saying() -> Iterator[Callable[[Says], str]]:
    class Chosen(Says):
        now = Says()

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await (self if scope["type"] == "lifespan" else Chosen).now(scope, receive, send)

    with Served(Chosen()) as served:

        def say(what: Says) -> str:
            Chosen.now = what
            return served.url

        yield say


@pytest.mark.parametrize(("says", "told"), BAD_ANSWERS)
def test_an_answer_that_is_no_message_is_a_transport_error(saying: Any, says: Says, told: str):
    """Status and next step are told, control characters are not passed on, and the transport is over."""
    url = saying(says)
    with HttpTransport(url) as transport:
        with pytest.raises(TransportError, match=told) as caught:
            transport.exchange(b"x")
        assert "\x1b" not in str(caught.value)
        saying(Says(body=b"fine"))
        with pytest.raises(TransportError, match="connect again"):
            transport.exchange(b"x")
    with HttpTransport(url) as fresh:
        assert fresh.exchange(b"x") == b"fine"


@pytest.mark.asyncio
@pytest.mark.parametrize(("says", "told"), BAD_ANSWERS)
async def test_the_asynchronous_client_judges_alike(saying: Any, says: Says, told: str):
    """The same answers are refused with the same words."""
    url = saying(says)
    async with AsyncHttpTransport(url) as transport:
        with pytest.raises(TransportError, match=told):
            await transport.exchange(b"x")
        saying(Says(body=b"fine"))
        with pytest.raises(TransportError, match="connect again"):
            await transport.exchange(b"x")
    async with AsyncHttpTransport(url) as fresh:
        assert await fresh.exchange(b"x") == b"fine"


@pytest.mark.asyncio
async def test_D4_an_answer_in_single_bytes_is_not_waited_for(saying: Any):
    """The time is for the whole answer, with both clients."""
    trickle = Says()
    trickle.pieces = [b"x"] * 100
    url = saying(trickle)
    async with AsyncHttpTransport(url, timeout_s=0.2) as transport:
        with pytest.raises(TransportError, match=r"Timeout|timed out"):
            await transport.exchange(b"x")
    with HttpTransport(url, timeout_s=0.2) as blocking, pytest.raises(TransportError, match="timed out"):
        await asyncio.to_thread(blocking.exchange, b"x")


@pytest.mark.asyncio
async def test_R17_a_cancelled_exchange_leaves_nobody_else_its_answer(serve: Any, talks: Talks):
    """The conversation ends with it: who waits for his turn, and who comes later, is refused."""
    served = serve(talks)
    async with AsyncHttpTransport(served.url, timeout_s=20) as transport:
        assert (await transport.exchange(b"x")).startswith(b"1 ")
        first = asyncio.create_task(transport.exchange(b"slow"))
        assert await asyncio.to_thread(talks.waiting.acquire, timeout=20)
        second = asyncio.create_task(transport.exchange(b"y"))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        talks.gate.set()
        with pytest.raises(TransportError):
            await second
        with pytest.raises(TransportError):
            await transport.exchange(b"z")


@pytest.mark.asyncio
async def test_R17_tasks_that_take_turns_get_their_own_answers(serve: Any, talks: Talks):
    """The twin: one conversation, twenty tasks, twenty answers in order; one that gave up costs nothing."""
    served = serve(talks)
    async with AsyncHttpTransport(served.url, timeout_s=20) as transport:
        tasks = [asyncio.create_task(transport.exchange(b"x")) for _ in range(20)]
        await asyncio.sleep(0)
        tasks[-1].cancel()
        answers = await asyncio.gather(*tasks[:-1])
        assert [int(answer.split()[0]) for answer in answers] == list(range(1, 20))
        assert (await transport.exchange(b"x")).startswith(b"20 ")


@pytest.mark.asyncio
async def test_clients_of_no_server_and_of_impossible_addresses(everything: Served):
    """What cannot be reached is a transport error, what cannot be meant a mistake of the operator's."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    for url in (nobody, "http://", "gopher://x", "nonsense"):
        with HttpTransport(url) as transport, pytest.raises(TransportError):
            transport.exchange(b"x")
        async with AsyncHttpTransport(url) as asynchronous:
            with pytest.raises(TransportError):
                await asynchronous.exchange(b"x")
    with pytest.raises(ConfigurationError):
        HttpTransport(nobody, "installation")
    with pytest.raises(ConfigurationError):
        HttpTransport(nobody, "feed", segment="orders")
    with HttpTransport(everything.url) as transport:
        with pytest.raises(WireError, match="over the limit"):
            transport.exchange(bytes(MAX_FRAME_BYTES + 1))
        assert transport.exchange(b"x").startswith(b"1 ")
        transport.close()
        with pytest.raises(TransportError, match="closed here"):
            transport.exchange(b"x")


# ---- Bare ASGI


@pytest.mark.asyncio
async def test_the_lifespan_ends_conversations_and_what_is_not_http_is_closed(talks: Talks):
    """Startup and shutdown are answered; a WebSocket finds nobody."""
    app, sent = AuthorityApp(talks), list[Any]()

    async def send(event: Any) -> None:
        sent.append(event)

    async def call(scope: dict[str, Any], *events: dict[str, Any]) -> list[Any]:
        sent.clear()
        waiting = list(events)

        async def receive() -> Any:
            return waiting.pop(0)

        await app(scope, receive, send)
        return list(sent)

    body = {"type": "http.request", "body": b"x"}
    scope = {"type": "http", "method": "POST", "headers": [(b"Content-Type", b"application/octet-stream")]}
    scope |= {"path": "/mounted/v1/handshake", "root_path": "/mounted", "client": None, "http_version": "2"}
    start, answer = await call(scope, body)
    assert (start["status"], answer["body"][:3]) == (200, b"1  ")
    assert len(app._conversations) == 1
    long = await call(scope, {"type": "http.request", "body": bytes(MAX_FRAME_BYTES + 1)})
    assert (long[0]["status"], dict(long[0]["headers"]).get(b"connection")) == (413, None)
    assert await call(scope, {"type": "http.disconnect"}) == []
    assert await call({"type": "websocket"}, {"type": "websocket.connect"}) == [{"type": "websocket.close"}]
    phases = ({"type": "lifespan.startup"}, {"type": "lifespan.shutdown"})
    assert await call({"type": "lifespan"}, *phases) == [
        {"type": "lifespan.startup.complete"},
        {"type": "lifespan.shutdown.complete"},
    ]
    assert len(app._conversations) == 0


@pytest.mark.asyncio
async def test_D4_questions_that_were_left_behind_stay_counted_for_their_source(talks: Talks):
    """Where a server ends the requests of clients that leave, the threads that still wait for them are
    theirs; another source's question finds one.
    """
    app, asked = AuthorityApp(talks, requests_max=64), list[asyncio.Task[list[Any]]]()

    async def ask(client: str) -> list[Any]:
        body, sent = [{"type": "http.request", "body": question(20_000)}], list[Any]()
        scope = {"type": "http", "method": "POST", "path": "/v1/feed", "client": (client, 1)}
        scope["headers"] = [(b"content-type", b"application/octet-stream")]

        async def receive() -> Any:
            return body.pop()

        async def send(event: Any) -> None:
            sent.append(event)

        await app(scope, receive, send)
        return sent

    for _ in range(4):
        asked.append(asyncio.create_task(ask("192.0.2.1")))
        assert await asyncio.to_thread(talks.waiting.acquire, timeout=20)
        asked[-1].cancel()
    await asyncio.wait(asked)
    assert (await ask("192.0.2.1"))[0]["status"] == 503
    other = asyncio.create_task(ask("192.0.2.2"))
    assert await asyncio.to_thread(talks.waiting.acquire, timeout=20)
    talks.gate.set()
    assert (await other)[0]["status"] == 200
    async with asyncio.timeout(20):
        while len(app._workers._shares):
            await asyncio.sleep(0.005)
    assert (await ask("192.0.2.1"))[0]["status"] == 200
    app.close()
