"""The second client speaks frames and HTTP with the real servers, as docs/protocol.md says."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from other_calls import install
from other_http import Door, StatusError
from other_session import connect, renew, step_up
from other_wire import frame, message, read, signed_body
from second_desk import Desk, call

from ztsession.authority.gate import Gate
from ztsession.server.stream import StreamServer


@contextmanager
def framed(address: str) -> Iterator[Callable[[bytes], bytes]]:
    """A stream socket that carries frames."""
    with socket.socket(socket.AF_UNIX) as line, line.makefile("rb") as answers:
        line.settimeout(10)
        line.connect(address)

        def exchange(sent: bytes) -> bytes:
            line.sendall(frame(sent))
            return answers.read(int.from_bytes(answers.read(4), "big"))

        yield exchange


def test_it_speaks_frames_over_stream_sockets(house: Any) -> None:
    """Over two sockets, one to the Authority and one to the point, everything goes as in one process."""
    desk = Desk(house)
    point = house.point(desk.authority)
    at = [str(house.rules.parent / name) for name in ("authority.sock", "point.sock")]
    house.keep(StreamServer(at[0], desk.authority.connection))
    house.keep(StreamServer(at[1], lambda source: point))
    with framed(at[0]) as authority, framed(at[1]) as service:
        session = connect(authority, desk.who, ["orders.*"])
        session = renew(authority, step_up(authority, session, desk.who, desk.code), desk.who)
        call(point, install(service, session, "orders"), "orders.submit")


# ---- HTTP


@pytest.fixture
def served(house: Any) -> Iterator[Callable[..., Callable[[str], Door]]]:
    """Serve an Authority and a point over HTTP; returns the way to their doors."""
    uvicorn = pytest.importorskip("uvicorn", reason="the test extra has uvicorn, to serve HTTP with")
    from ztsession.integrations.asgi import AuthorityApp

    with ExitStack() as opened:

        def serve(authority: Any, point: Any) -> Callable[[str], Door]:
            listening = opened.enter_context(socket.create_server(("127.0.0.1", 0)))
            app = AuthorityApp(authority, {"orders": point})
            server = uvicorn.Server(uvicorn.Config(app, log_config=None, ws="none", lifespan="on"))
            thread = threading.Thread(target=server.run, args=([listening],))
            thread.start()
            opened.callback(thread.join)
            opened.callback(setattr, server, "should_exit", True)
            while not server.started:
                time.sleep(0.005)

            def door(path: str) -> Door:
                made = Door(*listening.getsockname(), path)
                opened.callback(made.close)
                return made

            return door

        yield serve


def test_it_speaks_http(house: Any, served: Any) -> None:
    """A handshake and a step-up in one conversation, a renewal, an installation and a question for changes,
    each through its own door.
    """
    desk = Desk(house)
    point = house.point(desk.authority)
    door = served(desk.authority, point)
    conversation = door("/v1/handshake")
    session = connect(conversation.exchange, desk.who, ["orders.*"])
    assert 16 <= len(conversation.conversation) <= 64
    session = step_up(conversation.exchange, session, desk.who, desk.code)
    session = renew(door("/v1/renewal").exchange, session, desk.who)
    installed = install(door("/v1/segments/orders/installation").exchange, session, "orders")
    call(point, installed, "orders.submit")
    nonce = os.urandom(32)
    asked = message("feed-request", segment="orders", nonce=nonce, after=0, wait_ms=0)
    body = signed_body(door("/v1/feed").exchange(asked), desk.authority.ticket_key, "feed answer")
    answer = read("feed-answer", body)
    assert (answer["nonce"], answer["complete"]) == (nonce, True)
    assert [read("change", change)["what"] for change in answer["changes"]] == ["retire", "retire"]


def test_a_renewal_may_go_on_in_a_conversation(house: Any, served: Any) -> None:
    """Through the door of handshakes a renewal's channel is kept, and a step-up follows in it."""
    desk = Desk(house)
    door = served(desk.authority, house.point(desk.authority))
    session = connect(door("/v1/handshake").exchange, desk.who, ["orders.*"])
    line = door("/v1/handshake")
    session = step_up(line.exchange, renew(line.exchange, session, desk.who), desk.who, desk.code)
    assert session.outcome["assurance"] == 2


def test_a_demand_over_http_begins_no_conversation(house: Any, served: Any) -> None:
    """A cookie demand has no conversation to go on in, and the message with the cookie begins one."""
    desk = Desk(house, gate=Gate(busy_per_s=0))
    line = served(desk.authority, house.point(desk.authority))("/v1/handshake")
    names = list[str]()

    def exchange(sent: bytes) -> bytes:
        answer = line.exchange(sent)
        names.append(line.conversation)
        return answer

    assert connect(exchange, desk.who, ["orders.*"]).outcome["status"] == "granted"
    assert [bool(name) for name in names] == [False, True, True]


@pytest.mark.parametrize(
    ("path", "conversation", "status"),
    [("/v1/nothing", "", 404), ("/v1/feed", "", 400), ("/v1/handshake", "A" * 22, 410)],
)
def test_what_is_no_message_to_this_door_has_a_status(
    house: Any, served: Any, path: str, conversation: str, status: int
) -> None:
    """Another path, a message to another door and a conversation that never was are told apart."""
    desk = Desk(house)
    line = served(desk.authority, house.point(desk.authority))(path)
    line.conversation = conversation
    with pytest.raises(StatusError) as refused:
        connect(line.exchange, desk.who, ["orders.*"])
    assert refused.value.status == status


def test_a_refusal_is_a_message_like_any_other(house: Any, served: Any) -> None:
    """What the Authority itself refuses has status 200, and the refusal of the protocol in its body."""
    desk = Desk(house)
    line = served(desk.authority, house.point(desk.authority))("/v1/renewal")
    assert read("refusal", line.exchange(bytes(2000))) == {"reason": "malformed"}
