"""Security events polled from a real transmitter, and its streams managed."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("joserfc", reason="SETs need ztsession[authority]")
pytest.importorskip("httpx", reason="transmitters are asked by httpx")
pytest.importorskip("uvicorn", reason="the door is behind uvicorn")

from ssf_makers import CAEP, HOST, RISC, Applied, Issuer, write_settings
from ssf_makers import House as Enrolled
from ssf_served import Served
from ssf_transmitter import SUPPORTED, Transmitter

import ztsession as zts
from ztsession.errors import ConfigurationError, StoreError, TransportError
from ztsession.integrations import ssf_http, ssf_poll
from ztsession.integrations.asgi import AuthorityApp
from ztsession.integrations.callers import new_caller_token
from ztsession.integrations.ssf import signal_receiver
from ztsession.integrations.ssf_client import StreamClient
from ztsession.integrations.ssf_http import Peer
from ztsession.integrations.ssf_poll import EventPoller
from ztsession.integrations.ssf_push import PATH, EventPush
from ztsession.risk.ssf.receiver import SignalReceiver
from ztsession.risk.ssf.settings import SsfSettings

Eventually = Callable[..., None]
DISABLED = RISC + "account-disabled"


@pytest.fixture
def transmitter() -> Iterator[Transmitter]:
    with Transmitter(time.time) as running:
        yield running


class Polling:
    """A receiver before an Authority that is a list, and what polls for it."""

    def __init__(self, directory: Path, transmitter: Transmitter) -> None:
        write_settings(directory, transmitter.issuer)
        self.applied, self.transmitter = Applied(), transmitter
        settings = SsfSettings.from_directory(directory)
        self.receiver = SignalReceiver(settings, Enrolled(), self.applied)
        self._pollers = list[EventPoller]()

    def poll(self, **options: Any) -> EventPoller:
        peer = Peer(lambda: "a token")
        poller = EventPoller(self.receiver, "idp", self.transmitter.poll_url, peer, **options)
        self._pollers.append(poller)
        return poller

    def close(self) -> None:
        for poller in self._pollers:
            poller.close()


@pytest.fixture
def polling(tmp_path: Path, transmitter: Transmitter) -> Iterator[Polling]:
    polling = Polling(tmp_path, transmitter)
    yield polling
    polling.close()


# ---- Polling


def test_polled_events_are_applied_and_then_acknowledged(
    polling: Polling, transmitter: Transmitter, eventually: Eventually
):
    """Before the poll and while it waits; many at once, some for each question; with the token."""
    sent = [transmitter.send(DISABLED) for _ in range(7)]
    polling.poll(events_max=3)
    eventually(lambda: transmitter.acknowledged == sent)
    sent.append(transmitter.send(DISABLED))
    eventually(lambda: transmitter.acknowledged == sent)
    assert len(polling.applied) == 8
    assert {question["maxEvents"] for question in transmitter.questions} == {3}
    assert {question["returnImmediately"] for question in transmitter.questions} == {False}
    assert set(transmitter.tokens) == {"Bearer a token"}


def test_a_refused_set_is_named_with_its_word(
    polling: Polling, transmitter: Transmitter, eventually: Eventually
):
    """In setErrs, beside the acknowledgement of what was good; no wrong one stops the others."""
    wrong = transmitter.send(DISABLED, aud="https://other.example")
    transmitter.put("forged", Issuer(transmitter.url).set(DISABLED).decode())
    transmitter.put("garbage", "\u20ac")
    good = transmitter.send(DISABLED)
    polling.poll()
    eventually(lambda: len(transmitter.refused) == 3 and transmitter.acknowledged == [good])
    assert transmitter.refused[wrong]["err"] == "invalid_audience"
    assert transmitter.refused["forged"]["err"] == "authentication_failed"
    assert transmitter.refused["garbage"]["err"] == "invalid_request"
    assert all(told["description"] for told in transmitter.refused.values())


def test_what_was_not_applied_is_not_acknowledged(
    polling: Polling, transmitter: Transmitter, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
):
    """While the store fails the event waits at the transmitter, and is asked for less often."""
    monkeypatch.setattr(ssf_poll, "AGAIN_FIRST_S", 0.01)
    polling.applied.failing = StoreError("the disk is full")
    sent = transmitter.send(DISABLED)
    poller = polling.poll()
    eventually(lambda: poller.failures >= 3)
    assert transmitter.acknowledged == []
    polling.applied.failing = None
    eventually(lambda: transmitter.acknowledged == [sent])
    assert poller.failures == 0
    assert len(polling.applied) == 1


def test_R2_applied_and_not_acknowledged_comes_again_as_the_same(
    polling: Polling, transmitter: Transmitter, eventually: Eventually
):
    """As after a crash between the two: the second delivery has the first one's name."""
    sent = transmitter.send(DISABLED)
    polling.receiver.receive("idp", transmitter.waiting[sent].encode())
    polling.poll()
    eventually(lambda: transmitter.acknowledged == [sent])
    assert len(polling.applied) == 2
    assert polling.applied[0].name == polling.applied[1].name


def test_closing_says_what_was_taken(polling: Polling, transmitter: Transmitter, eventually: Eventually):
    """While it waits for more it ends at once, and with a last word that asks for nothing."""
    poller = polling.poll(every_s=3600)
    eventually(lambda: len(transmitter.questions) == 1)
    poller.close()
    sent = transmitter.send(DISABLED)
    poller = polling.poll(every_s=3600)
    eventually(lambda: len(polling.applied) == 1)
    poller.close()
    assert transmitter.acknowledged == [sent]
    assert transmitter.questions[-1] == {"maxEvents": 0, "returnImmediately": True, "ack": [sent]}
    poller.close()


def test_a_question_that_waits_is_left(polling: Polling, transmitter: Transmitter, eventually: Eventually):
    """Closing does not wait for a transmitter that keeps its answer back."""
    poller = polling.poll()
    eventually(lambda: len(transmitter.questions) == 1)
    before = time.monotonic()
    poller.close()
    assert time.monotonic() - before < 20


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"[]",
        b'{"sets": []}',
        b'{"sets": {"a": 5}}',
        b'{"sets": {}, "moreAvailable": 1}',
        b'{"sets": {"a": "x", "a": "y"}}',
        json.dumps({"sets": {"j" * 513: "x"}}).encode(),
        b" " * 5_000_000,
    ],
)
def test_D7_an_answer_that_is_none_is_asked_for_again(
    polling: Polling,
    transmitter: Transmitter,
    eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
    garbage: bytes,
):
    """Malformed, ambiguous or endless: nothing of it is taken, and the next good answer is."""
    monkeypatch.setattr(ssf_poll, "AGAIN_FIRST_S", 0.01)
    transmitter.garbage = garbage
    poller = polling.poll()
    eventually(lambda: poller.failures >= 2)
    assert polling.receiver.counts == {}
    transmitter.garbage = None
    sent = transmitter.send(DISABLED)
    eventually(lambda: transmitter.acknowledged == [sent])


def test_a_silent_transmitter_is_asked_less_and_less_often(polling: Polling, transmitter: Transmitter):
    """From about a second to about a minute, and never given up."""
    poller = polling.poll(every_s=3600)
    poller.close()
    waits = [poller._again() for _ in range(100)]
    assert 0.5 <= waits[0] <= 1.0
    assert all(30.0 <= each <= 60.0 for each in waits[7:])


def test_whoever_does_not_wait_is_not_asked_without_end(
    polling: Polling, transmitter: Transmitter, eventually: Eventually
):
    """A transmitter that answers at once with nothing has its next question a second later."""
    transmitter.garbage = b"{}"
    poller = polling.poll()
    eventually(lambda: len(transmitter.tokens) == 1)
    time.sleep(0.2)
    assert len(transmitter.tokens) == 1
    assert poller.failures == 0


def test_whoever_does_not_hear_is_not_asked_without_end(
    polling: Polling, transmitter: Transmitter, eventually: Eventually
):
    """A transmitter that tells again what was acknowledged has its next question a second later."""
    text = transmitter.issuer.set(DISABLED, iat=int(time.time())).decode()
    transmitter.garbage = json.dumps({"sets": {"a": text}, "moreAvailable": True}).encode()
    poller = polling.poll()
    eventually(lambda: len(transmitter.tokens) == 2)
    time.sleep(0.2)
    assert len(transmitter.tokens) == 2
    assert poller.failures == 0


def test_a_poller_is_asked_for_what_it_can_do(polling: Polling, transmitter: Transmitter):
    """No plain HTTP to other machines, and a bounded number of events."""
    for url, options in (
        ("http://tr.example/poll", {}),
        (transmitter.poll_url, {"events_max": 101}),
        (transmitter.poll_url, {"events_max": 0}),
        (transmitter.poll_url, {"every_s": -1}),
    ):
        with pytest.raises(ConfigurationError):
            EventPoller(polling.receiver, "idp", url, Peer(), **options)


# ---- Streams


@pytest.fixture
def client(transmitter: Transmitter) -> StreamClient:
    return StreamClient.discover(transmitter.url, Peer(lambda: "a token"))


def test_a_stream_is_created_read_changed_and_deleted(client: StreamClient, transmitter: Transmitter):
    """Each by its own request, with the token, and discovery without one."""
    made = client.create(
        push_to="https://zts.example/x", authorization="Bearer b", events=["session-revoked"]
    )
    stream_id = made["stream_id"]
    assert transmitter.streams[stream_id]["events_requested"] == SUPPORTED
    assert made["delivery"] == {
        "method": "urn:ietf:rfc:8935",
        "endpoint_url": "https://zts.example/x",
        "authorization_header": "Bearer b",
    }
    assert client.read(stream_id) == made
    assert client.update(stream_id, description="ours")["description"] == "ours"
    replaced = client.replace(stream_id, delivery=made["delivery"], events_requested=[])
    assert "description" not in replaced
    client.delete(stream_id)
    with pytest.raises(TransportError, match="status 404"):
        client.read(stream_id)
    assert client.create(description="polled")["delivery"]["endpoint_url"] == transmitter.poll_url
    assert transmitter.tokens[0] is None
    assert set(transmitter.tokens[1:]) == {"Bearer a token"}


def test_the_status_of_a_stream_is_read_and_set(client: StreamClient):
    """To one of the three that there are."""
    stream_id = client.create()["stream_id"]
    assert client.status(stream_id).status == "enabled"
    assert client.set_status(stream_id, "paused", "maintenance").reason == "maintenance"
    assert client.status(stream_id).status == "paused"
    with pytest.raises(ConfigurationError, match="enabled, paused, disabled"):
        client.set_status(stream_id, "gone")


def test_subjects_are_added_and_removed(client: StreamClient, transmitter: Transmitter):
    """By their identifiers."""
    stream_id = client.create()["stream_id"]
    client.add_subject(stream_id, HOST, verified=False)
    assert transmitter.subjects == [(HOST, False)]
    client.remove_subject(stream_id, HOST)
    assert transmitter.subjects == []


@pytest.mark.parametrize("delivery", ["push", "poll"])
def test_a_verification_proves_the_whole_way(
    house: Any, transmitter: Transmitter, client: StreamClient, delivery: str
):
    """Asked for at the transmitter, and back through the door or the poll with the text that was made up."""
    token = new_caller_token()
    write_settings(house.rules, transmitter.issuer, f'token_sha256 = "{token.digest}"\n')
    authority = house.authority()
    receiver = signal_receiver(authority, house.rules)
    served = house.keep(Served(AuthorityApp(authority, doors=[EventPush(receiver)])))
    poller = None
    if delivery == "push":
        stream = client.create(push_to=served.url + PATH + "idp", authorization=f"Bearer {token.token}")
    else:
        stream = client.create()
        poller = EventPoller(receiver, "idp", stream["delivery"]["endpoint_url"], Peer())
    try:
        client.verify(stream["stream_id"], receiver, "idp", timeout_s=20)
        transmitter.silent_about_state = True
        with pytest.raises(TransportError, match="no verification event came"):
            client.verify(stream["stream_id"], receiver, "idp", timeout_s=0.2)
    finally:
        if poller is not None:
            poller.close()


def test_a_polled_event_reaches_the_next_call(house: Any, transmitter: Transmitter, eventually: Eventually):
    """From the transmitter's queue to an Authority and the verdict of its point."""
    write_settings(house.rules, transmitter.issuer)
    authority = house.authority()
    session, point = house.connect(authority), house.point(authority)
    submit, installed = point.verifier("orders.submit"), session.install(point, "orders")
    receiver = signal_receiver(authority, house.rules)
    poller = EventPoller(receiver, "idp", transmitter.poll_url, Peer())
    try:
        sent = transmitter.send(CAEP + "session-revoked")
        eventually(lambda: sent in transmitter.acknowledged)
        with pytest.raises(zts.errors.Revoked):
            submit(installed.sign("orders.submit", b"x"), b"x")
    finally:
        poller.close()


#: By number what the transmitter says instead, and what is said of it.
WRONG: dict[str, tuple[str, Any, str]] = {
    "01 another issuer's stream": ("streams", {"iss": "https://other.example"}, "of another issuer"),
    "02 another stream": ("streams", {"stream_id": "s-9"}, "another stream"),
    "03 a stream without an id": ("streams", {"stream_id": 5}, "no id"),
    "04 a stream without delivery": ("streams", {"delivery": "push"}, "how the stream delivers"),
    "05 a status that is none": ("statuses", {"status": "gone"}, "no status"),
    "06 a status of another": ("statuses", {"stream_id": "s-9"}, "no status"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_a_transmitter_answers_is_looked_at(client: StreamClient, transmitter: Transmitter, case: str):
    """Everything is of the issuer and the stream that was asked for."""
    where, changed, told = WRONG[case]
    stream_id = client.create()["stream_id"]
    getattr(transmitter, where)[stream_id].update(changed)
    ask = client.read if where == "streams" else client.status
    with pytest.raises(TransportError, match=told):
        ask(stream_id)


def test_metadata_are_of_the_issuer_that_was_asked(transmitter: Transmitter, monkeypatch: pytest.MonkeyPatch):
    """Or the keys and the trust of one would be used for another."""
    said = {**transmitter.metadata, "issuer": "https://other.example"}
    monkeypatch.setattr(Transmitter, "metadata", said)
    with pytest.raises(TransportError, match="of another issuer"):
        StreamClient.discover(transmitter.url, Peer())


def test_nothing_is_asked_in_the_open(transmitter: Transmitter):
    """Neither an issuer nor an endpoint over plain HTTP to another machine, whatever metadata say."""
    for issuer in ("http://tr.example", "https://tr.example?x", "ftp://tr.example", "https://"):
        with pytest.raises(ConfigurationError):
            StreamClient.discover(issuer, Peer())
    said = {**transmitter.metadata, "configuration_endpoint": "http://tr.example/stream"}
    del said["status_endpoint"]
    client = StreamClient(transmitter.url, said, Peer(lambda: "a token"))
    with pytest.raises(TransportError, match="configuration_endpoint"):
        client.create()
    with pytest.raises(TransportError, match="status_endpoint"):
        client.status("s-1")
    with pytest.raises(TransportError, match="https only"):
        Peer().ask("GET", "http://tr.example/stream")
    assert transmitter.tokens == []


def test_no_proxy_sees_a_token_in_the_open(transmitter: Transmitter, monkeypatch: pytest.MonkeyPatch):
    """Plain HTTP is for this machine, and a proxy of the environment is another."""
    for name in ("http_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")
    client = StreamClient.discover(transmitter.url, Peer(lambda: "a token"))
    assert client.create()["stream_id"] == "s-1"


def test_D7_answers_of_a_transmitter_are_bounded(transmitter: Transmitter, monkeypatch: pytest.MonkeyPatch):
    """Too long, too late, redirected, or of another status than was expected."""
    client = StreamClient(transmitter.url, transmitter.metadata, Peer())
    transmitter.garbage = b" " * (ssf_http.ANSWER_MAX_BYTES + 1)
    with pytest.raises(TransportError, match="over 262144 bytes"):
        client.status("s-1")
    transmitter.garbage = gzip.compress(b"{}")
    with pytest.raises(TransportError, match="not JSON of one reading"):
        client.status("s-1")
    with pytest.raises(TransportError, match="status 200"):
        client.create()
    transmitter.garbage, transmitter.failing = None, 1
    with pytest.raises(TransportError, match="status 503"):
        client.status("s-1")


def test_the_well_known_place_stands_before_an_issuers_path(monkeypatch: pytest.MonkeyPatch):
    """With or without a slash at its end (SSF 1.0, section 7.2.1)."""
    asked = list[str]()

    def ask(_: Peer, method: str, url: str, **options: Any) -> bytes:
        asked.append(url)
        issuer = url.replace("/.well-known/ssf-configuration", "") + ("/" if len(asked) == 2 else "")
        return json.dumps({"issuer": issuer}).encode()

    monkeypatch.setattr(Peer, "ask", ask)
    for issuer in ("https://tr.example/one", "https://tr.example/one/", "https://tr.example"):
        StreamClient.discover(issuer, Peer())
    place = "https://tr.example/.well-known/ssf-configuration"
    assert asked == [place + "/one", place + "/one", place]
