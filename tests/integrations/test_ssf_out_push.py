"""SETs pushed to a real HTTP server: what arrives, what is tried again, and where nothing is sent."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from ssf_out_house import PUSH, Listening, Receiver, Telling, write_settings
from ssf_out_schemas import only_event, read_set

import ztsession as zts
from ztsession.integrations import ssf_out_push

HOME = Path(zts.__file__).parents[1]
SECRET = "Bearer a-secret-of-the-receiver"


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssf_out_push, "RETRY_MOST_S", 0.05)


@pytest.fixture
def begin(house: Any, opened: ExitStack) -> Callable[..., Telling]:
    """Serve a transmitter that may push to these hosts."""

    def serve(*hosts: str, **options: Any) -> Telling:
        siem = Receiver("siem")
        write_settings(house.rules, siem.table(push_hosts=hosts))
        return Telling(house, siem, opened, **options)

    return serve


def told(telling: Telling, listening: Listening) -> list[str]:
    return [only_event(telling.read(body))[0] for _, body in listening.taken]


def test_what_is_decided_is_pushed_in_order(begin: Any, opened: ExitStack, eventually: Any):
    """Granted, a device's signal, revoked: each is a SET that joserfc verifies, with the receiver's own
    authorization, and none is left.
    """
    listening = opened.enter_context(Listening())
    telling = begin(listening.host)
    stream = telling.pushed_to(listening.url, authorization_header=SECRET)
    assert SECRET not in str(stream)
    session = telling.house.connect(telling.authority)
    telling.drift()
    telling.authority.revoke(session.id)
    eventually(lambda: len(listening.taken) == 4)
    assert told(telling, listening) == [
        "session-established",
        "device-compliance-change",
        "risk-level-change",
        "session-revoked",
    ]
    for headers, _ in listening.taken:
        assert headers["content-type"] == "application/secevent+jwt"
        assert headers["accept"] == "application/json"
        assert headers["authorization"] == SECRET
    eventually(lambda: telling.door.events["delivered"] == 4)
    # It is not polled, too.
    assert telling.client.post(f"/ssf/poll/{stream['stream_id']}", json={}).status_code == 404


def test_the_receivers_secret_is_sealed_at_rest_and_in_no_log(
    begin: Any, opened: ExitStack, caplog: pytest.LogCaptureFixture
):
    """Neither the database nor a log has what is to be shown with pushes, nor is it told again."""
    caplog.set_level("DEBUG", "ztsession")
    listening = opened.enter_context(Listening())
    telling = begin(listening.host)
    telling.pushed_to(listening.url, authorization_header=SECRET)
    files = [path.read_bytes() for path in telling.house.state.rglob("*") if path.is_file()]
    assert not any(SECRET.encode() in data for data in files)
    assert SECRET not in caplog.text
    assert "secret" not in repr(telling.authority.announcer.streams.of("siem"))
    assert SECRET not in telling.client.get("/ssf/stream").text


def test_a_receivers_secret_is_not_shown_to_another_address(begin: Any, opened: ExitStack, eventually: Any):
    """It stays while the address does; a new address without a new secret gets none."""
    one, other = opened.enter_context(Listening()), opened.enter_context(Listening())
    telling = begin(one.host, other.host)
    stream = telling.pushed_to(one.url, authorization_header=SECRET)
    same = telling.client.put("/ssf/stream", json=stream)
    assert same.status_code == 200
    telling.house.connect(telling.authority)
    eventually(lambda: len(one.taken) == 1)
    assert one.taken[0][0]["authorization"] == SECRET
    moved = {"stream_id": stream["stream_id"], "delivery": {"method": PUSH, "endpoint_url": other.url}}
    assert telling.client.patch("/ssf/stream", json=moved).status_code == 200
    telling.house.connect(telling.authority)
    eventually(lambda: len(other.taken) == 1)
    assert "authorization" not in other.taken[0][0]


@pytest.mark.parametrize("answer", [(500, ""), (429, ""), (401, ""), (200, ""), (400, ""), (400, "no")])
def test_what_is_not_taken_is_sent_again_under_the_same_name(
    begin: Any, opened: ExitStack, eventually: Any, answer: tuple[int, str]
):
    """Whatever else than 202 comes back, the same event comes until it is taken, and before the next."""
    listening = opened.enter_context(Listening(answer, answer))
    telling = begin(listening.host)
    telling.pushed_to(listening.url)
    session = telling.house.connect(telling.authority)
    telling.authority.revoke(session.id)
    eventually(lambda: telling.door.events["delivered"] == 2)
    claims = [telling.read(body) for _, body in listening.taken]
    assert [only_event(each)[0] for each in claims] == ["session-established"] * 3 + ["session-revoked"]
    assert len({each["jti"] for each in claims}) == 2
    assert telling.door.events["retried"] == 2


def test_what_the_receiver_calls_wrong_is_dropped(
    begin: Any, opened: ExitStack, eventually: Any, caplog: pytest.LogCaptureFixture
):
    """400 with a word of RFC 8935 ends an event: it is logged and counted, and the next one follows."""
    listening = opened.enter_context(Listening((400, '{"err": "invalid_audience", "description": "x"}')))
    telling = begin(listening.host)
    telling.pushed_to(listening.url)
    session = telling.house.connect(telling.authority)
    telling.authority.revoke(session.id)
    eventually(lambda: telling.door.events["delivered"] == 1)
    assert told(telling, listening) == ["session-established", "session-revoked"]
    assert telling.door.events == {"delivered": 1, "refused": 1, "dropped": 0, "retried": 0}
    assert "invalid_audience" in caplog.text


def test_no_redirect_is_followed(begin: Any, opened: ExitStack, eventually: Any):
    """Where a receiver sends a push on to, nothing arrives, be it allowed or not."""
    inside = opened.enter_context(Listening())
    listening = opened.enter_context(Listening((307, inside.url), (301, inside.url)))
    telling = begin(listening.host, inside.host)
    telling.pushed_to(listening.url)
    telling.house.connect(telling.authority)
    eventually(lambda: telling.door.events["delivered"] == 1)
    assert len(listening.taken) == 3
    assert inside.taken == []


ELSEWHERE = (
    "http://169.254.169.254/latest/meta-data",
    "https://elsewhere.example/events",
    "https://receiver.example:8443/events",
    "http://receiver.example/events",
    "https://receiver.example.evil.example/events",
    "https://receiver.example@evil.example/events",
    "https://evil.example/#receiver.example",
    "https://evil.example\\@receiver.example/",
    "https://[::1]/",
    "http://127.0.0.1:1/",
    "http://localhost/",
    "file:///etc/passwd",
    "//receiver.example/",
    "https:///events",
    "https://receiver.example:port/",
    "https://receiver.example/a b",
)


def test_pushes_to_other_hosts_are_refused(begin: Any):
    """An address that the operator did not list makes no stream, and changes none; one that he did, does."""
    telling = begin("receiver.example")
    for url in ELSEWHERE:
        wanted: Any = {"delivery": {"method": PUSH, "endpoint_url": url}}
        assert telling.client.post("/ssf/stream", json=wanted).status_code == 400, url
    stream = telling.create()
    for url in ELSEWHERE:
        wanted = {"stream_id": stream["stream_id"], "delivery": {"method": PUSH, "endpoint_url": url}}
        assert telling.client.patch("/ssf/stream", json=wanted).status_code == 400, url
    assert telling.client.get("/ssf/stream").json() == [stream]
    wanted["delivery"]["endpoint_url"] = "https://receiver.example/events"
    assert telling.client.patch("/ssf/stream", json=wanted).status_code == 200


def test_the_operators_word_is_asked_again_with_each_push(
    house: Any, opened: ExitStack, eventually: Any, caplog: pytest.LogCaptureFixture
):
    """A stream that was made when its host was allowed is not pushed when it no longer is."""
    listening, other = opened.enter_context(Listening()), opened.enter_context(Listening())
    siem = Receiver("siem")
    write_settings(house.rules, siem.table(push_hosts=(listening.host,)))
    with ExitStack() as first:
        telling = Telling(house, siem, first)
        telling.pushed_to(listening.url)
        telling.authority.close()
    write_settings(house.rules, siem.table(push_hosts=(other.host,)))
    telling = Telling(house, siem, opened)
    house.connect(telling.authority)
    eventually(lambda: "not allowed any more" in caplog.text)
    assert listening.taken == []


def test_nothing_of_the_environment_is_used(
    begin: Any, opened: ExitStack, eventually: Any, monkeypatch: pytest.MonkeyPatch
):
    """A proxy of the environment sees no event."""
    proxy, listening = opened.enter_context(Listening()), opened.enter_context(Listening())
    monkeypatch.setenv("http_proxy", f"http://{proxy.host}")
    monkeypatch.delenv("no_proxy", raising=False)
    telling = begin(listening.host)
    telling.pushed_to(listening.url)
    telling.house.connect(telling.authority)
    eventually(lambda: len(listening.taken) == 1)
    assert proxy.taken == []


def test_pushes_over_tls_verify_the_receiver(
    house: Any, opened: ExitStack, eventually: Any, certificates: Any
):
    """A receiver whose certificate nobody trusts hears nothing; with its authority it hears all."""
    listening = opened.enter_context(Listening())
    listening._server.socket = certificates.server().wrap_socket(listening._server.socket, server_side=True)
    listening._server.handle_error = lambda *_: None  # type: ignore[method-assign]
    siem = Receiver("siem")
    write_settings(house.rules, siem.table(push_hosts=(listening.host,)))
    with ExitStack() as first:
        telling = Telling(house, siem, first)
        telling.pushed_to(f"https://{listening.host}/events")
        house.connect(telling.authority)
        eventually(lambda: telling.door.events["retried"] >= 2)
        telling.authority.close()
    assert listening.taken == []
    client = lambda: httpx.AsyncClient(verify=certificates.client())  # noqa: E731
    telling = Telling(house, siem, opened, client=client)
    eventually(lambda: len(listening.taken) == 1)
    assert told(telling, listening) == ["session-established"]


def test_one_receiver_that_is_slow_keeps_no_other_waiting(house: Any, opened: ExitStack, eventually: Any):
    """While one does not take anything, the other has it all."""
    stuck, well = opened.enter_context(Listening(*[(503, "")] * 1000)), opened.enter_context(Listening())
    siem, crm = Receiver("siem"), Receiver("crm")
    write_settings(house.rules, siem.table(push_hosts=(stuck.host,)), crm.table(push_hosts=(well.host,)))
    telling = Telling(house, siem, opened)
    telling.pushed_to(stuck.url)
    telling.create(telling.of(crm, opened), delivery={"method": PUSH, "endpoint_url": well.url})
    for _ in range(3):
        house.connect(telling.authority)
    eventually(lambda: len(well.taken) == 3)
    eventually(lambda: telling.door.events["retried"] >= 2)
    assert len({telling.read(body)["jti"] for _, body in stuck.taken[:3]}) == 1


def test_a_verification_is_pushed(begin: Any, opened: ExitStack, eventually: Any):
    """It comes the way that events come, with the state that was asked for."""
    listening = opened.enter_context(Listening())
    telling = begin(listening.host)
    stream = telling.pushed_to(listening.url)
    asked = {"stream_id": stream["stream_id"], "state": "s-1"}
    assert telling.client.post("/ssf/verification", json=asked).status_code == 204
    eventually(lambda: len(listening.taken) == 1)
    assert only_event(telling.read(listening.taken[0][1])) == ("verification", {"state": "s-1"})


def test_kill_9_loses_nothing_that_was_decided(house: Any, opened: ExitStack, eventually: Any):
    """A process that is killed right after its decisions had no time to tell them: the next one does."""
    keys = house.rules.parent / "keys"
    keys.mkdir()
    house.identity.to_file(keys / "algo-7.key")
    house.device.to_file(keys / "host-1.key")
    listening = opened.enter_context(Listening(*[(503, "")] * 10_000))
    siem = Receiver("siem")
    write_settings(house.rules, siem.table(push_hosts=(listening.host,)))
    script = Path(__file__).parent / "serve_transmitter.py"
    process = subprocess.Popen(
        [sys.executable, str(script), str(house.state), str(house.rules), str(keys), listening.url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(HOME)},
    )
    try:
        assert process.stdout is not None
        session = process.stdout.readline().strip()
        eventually(lambda: len(listening.taken) > 0)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    before = [body for _, body in listening.taken]
    listening.answers.clear()
    listening.taken.clear()
    telling = Telling(house, siem, opened)
    eventually(lambda: len(listening.taken) == 2)
    claims = [telling.read(body) for _, body in listening.taken]
    assert [only_event(each)[0] for each in claims] == ["session-established", "session-revoked"]
    assert {each["sub_id"]["session"]["id"] for each in claims} == {session}
    # What was tried before is the same event, by its name and its key.
    assert {read_set(body, telling.jwks())["jti"] for body in before} == {claims[0]["jti"]}


def test_the_threads_end_with_the_application(begin: Any, opened: ExitStack):
    """Closing twice is harmless, also while a receiver does not answer."""
    listening = opened.enter_context(Listening(*[(503, "")] * 1000))
    telling = begin(listening.host)
    telling.pushed_to(listening.url)
    telling.house.connect(telling.authority)
    started = time.monotonic()
    telling.door.close()
    telling.door.close()
    assert [each.name for each in threading.enumerate() if each.name.startswith("ztsession-push")] == []
    assert time.monotonic() >= started


def test_D6_a_receiver_that_dribbles_holds_up_nothing(
    begin: Any, opened: ExitStack, eventually: Any, monkeypatch: pytest.MonkeyPatch
):
    """Within the limit of every single read its answer ends with its time, and so does closing."""
    monkeypatch.setattr(ssf_out_push, "TIMEOUT_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        stop, asked = threading.Event(), list[bytes]()
        thread = threading.Thread(target=dribble, args=(listening, stop, asked))
        thread.start()
        try:
            host = "127.0.0.1:{1}".format(*listening.getsockname())
            telling = begin(host)
            telling.pushed_to(f"http://{host}/events")
            telling.house.connect(telling.authority)
            eventually(lambda: telling.door.events["retried"] >= 1 and len(asked) >= 2)
            telling.door.close()
        finally:
            stop.set()
            thread.join()


def dribble(listening: socket.socket, stop: threading.Event, asked: list[bytes]) -> None:
    listening.settimeout(0.05)
    while not stop.is_set():
        with suppress(OSError), listening.accept()[0] as connection:
            asked.append(connection.recv(1 << 16))
            connection.sendall(b"HTTP/1.1 202 Accepted\r\nx-endless: ")
            while not stop.wait(0.02):
                connection.sendall(b"x")


def test_a_client_can_be_given(house: Any, opened: ExitStack, eventually: Any):
    """Proxies and certificates are the deployer's; a transport of his own makes the pushes."""
    seen = list[httpx.Request]()

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(202)

    siem = Receiver("siem")
    write_settings(house.rules, siem.table(push_hosts=("receiver.example",)))
    client = lambda: httpx.AsyncClient(transport=httpx.MockTransport(answer))  # noqa: E731
    telling = Telling(house, siem, opened, client=client)
    telling.pushed_to("https://receiver.example/events")
    house.connect(telling.authority)
    eventually(lambda: len(seen) == 1)
    assert seen[0].url == "https://receiver.example/events"
