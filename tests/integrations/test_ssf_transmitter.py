"""The transmitter as receivers meet it, over uvicorn: its documents, its streams, its polls, and who may."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from joserfc.util import urlsafe_b64decode
from ssf_out_house import CAEP, ISSUER, POLL, PUSH, Receiver, Telling, write_settings
from ssf_out_schemas import JWKS, METADATA, POLLED, STATUS, STREAM, check, only_event

from ztsession.authority.streams import CHANGES_MAX, VERIFICATION_INTERVAL_S
from ztsession.errors import ConfigurationError
from ztsession.integrations.callers import new_caller_token
from ztsession.integrations.ssf_transmitter import SsfTransmitter

REVOKED, ESTABLISHED = CAEP + "session-revoked", CAEP + "session-established"
BOB = {"format": "iss_sub", "iss": ISSUER, "sub": "bob"}
ALGO = {"format": "iss_sub", "iss": ISSUER, "sub": "algo-7"}


class Clock:
    """Time that a test moves on."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def begin(house: Any, opened: ExitStack, clock: Clock) -> Callable[..., Telling]:
    """Serve a transmitter with the receivers siem and crm."""

    def serve(*, more: str = "", events: tuple[str, ...] = (), **options: Any) -> Telling:
        siem, crm = Receiver("siem"), Receiver("crm")
        write_settings(house.rules, siem.table(events=events), crm.table(), more=more)
        telling = Telling(house, siem, opened, authority={"clock": clock}, **options)
        telling.other = telling.of(crm, opened)  # type: ignore[attr-defined]
        return telling

    return serve


@pytest.fixture
def telling(begin: Callable[..., Telling]) -> Telling:
    return begin()


# ---- What is published


def test_the_metadata_are_those_of_the_specification(telling: Telling):
    """Anybody may read them; the schema takes them, and every address begins with the issuer's."""
    answer = httpx.get(f"{telling.url}/.well-known/ssf-configuration")
    assert answer.headers["content-type"] == "application/json"
    said = check(answer.json(), METADATA)
    assert said["issuer"] == ISSUER
    assert all(said[name].startswith(ISSUER) for name in said if name.endswith("_endpoint"))
    assert check(telling.jwks(), JWKS)["keys"][0].keys().isdisjoint({"d", "p", "q"})


def test_an_issuer_with_a_path_has_its_metadata_before_it(house: Any, opened: ExitStack):
    """The well-known path stands between host and path, and every endpoint below the path."""
    siem = Receiver("siem")
    write_settings(house.rules, siem.table(), issuer=f"{ISSUER}/desk-1")
    telling = Telling(house, siem, opened)
    said = httpx.get(f"{telling.url}/.well-known/ssf-configuration/desk-1").json()
    assert said["issuer"] == f"{ISSUER}/desk-1"
    assert httpx.get(telling.url + said["jwks_uri"].removeprefix(ISSUER)).status_code == 200
    for path in ("/.well-known/ssf-configuration", "/ssf/jwks", "/ssf/stream"):
        assert httpx.get(telling.url + path).status_code == 404


@pytest.mark.parametrize("path", ["/.well-known/ssf-configuration", "/ssf/jwks"])
def test_what_is_published_is_read_and_nothing_else(telling: Telling, path: str):
    """Another method than GET is answered with 405."""
    assert telling.client.post(path, json={}).status_code == 405


def test_without_settings_there_is_no_transmitter(house: Any):
    """An operator who has named nobody is told so, and the Authority tells nobody anything."""
    with pytest.raises(ConfigurationError, match=r"no ssf\.toml"):
        SsfTransmitter(house.authority())


# ---- Streams


def test_a_stream_is_made_read_changed_replaced_and_deleted(telling: Telling):
    """Each answer is the configuration by its schema; after the last step there is none."""
    client = telling.client
    assert client.get("/ssf/stream").json() == []
    stream = telling.create(events_requested=[REVOKED, "urn:not:known"], description="ours")
    assert stream["events_delivered"] == [REVOKED]
    assert stream["events_requested"] == [REVOKED, "urn:not:known"]
    assert (stream["aud"], stream["delivery"]["method"]) == ("https://siem.example", POLL)
    named = {"stream_id": stream["stream_id"]}
    assert client.get("/ssf/stream", params=named).json() == stream
    assert client.get("/ssf/stream").json() == [stream]

    changed = client.patch("/ssf/stream", json={**named, "events_requested": [ESTABLISHED]}).json()
    assert check(changed, STREAM) == {
        **stream,
        "events_requested": [ESTABLISHED],
        "events_delivered": [ESTABLISHED],
    }
    replaced = client.put("/ssf/stream", json={**named, "delivery": {"method": POLL}}).json()
    assert "description" not in check(replaced, STREAM)
    assert len(replaced["events_delivered"]) == 6
    # What was read may be sent back.
    assert client.put("/ssf/stream", json=replaced).json() == replaced

    gone = client.delete("/ssf/stream", params=named)
    assert (gone.status_code, gone.content) == (204, b"")
    assert gone.headers.keys().isdisjoint({"content-length", "content-type", "transfer-encoding"})
    assert client.get("/ssf/stream", params=named).status_code == 404
    assert client.get("/ssf/stream").json() == []


def test_a_receiver_has_one_stream(telling: Telling):
    """A second one is a conflict, and the first stays what it was."""
    stream = telling.create()
    answer = telling.client.post("/ssf/stream", json={"description": "another"})
    assert answer.status_code == 409
    assert telling.client.get("/ssf/stream").json() == [stream]


def test_a_receiver_gets_no_event_that_the_operator_does_not_allow(begin: Any):
    """What it asks for is cut to what ssf.toml says of it."""
    telling = begin(events=("session-revoked",))
    stream = telling.create(events_requested=[REVOKED, ESTABLISHED])
    assert stream["events_supported"] == stream["events_delivered"] == [REVOKED]
    telling.house.connect(telling.authority)
    assert telling.poll(stream)["sets"] == {}


def test_one_receiver_neither_sees_nor_touches_anothers_stream(telling: Any):
    """Every endpoint answers with the identifier of another's stream as with one that never was, and his
    events stay.
    """
    theirs = telling.create()
    telling.house.connect(telling.authority)
    mine = telling.create(telling.other)
    assert mine["stream_id"] != theirs["stream_id"]
    assert telling.other.get("/ssf/stream").json() == [mine]
    sets = telling.poll(theirs)["sets"]
    assert len(sets) == 1
    for named in (theirs["stream_id"], "never-was"):
        said = {"stream_id": named}
        tries = [
            telling.other.get("/ssf/stream", params=said),
            telling.other.delete("/ssf/stream", params=said),
            telling.other.patch("/ssf/stream", json={**said, "description": "mine"}),
            telling.other.put("/ssf/stream", json={**said, "delivery": {"method": POLL}}),
            telling.other.get("/ssf/status", params=said),
            telling.other.post("/ssf/status", json={**said, "status": "disabled"}),
            telling.other.post("/ssf/subjects/add", json={**said, "subject": ALGO}),
            telling.other.post("/ssf/subjects/remove", json={**said, "subject": ALGO}),
            telling.other.post("/ssf/verification", json=said),
            telling.other.post(f"/ssf/poll/{named}", json={"ack": list(sets), "setErrs": {}}),
        ]
        assert {answer.status_code for answer in tries} == {404}
        assert len({answer.text for answer in tries[:-1]}) == 1
    # Nor by the name of an event on a stream of his own.
    telling.poll(mine, telling.other, ack=list(sets))
    telling.poll(mine, telling.other, setErrs={jti: {"err": "invalid_key"} for jti in sets})
    assert list(telling.poll(theirs)["sets"]) == list(sets)
    assert telling.client.get("/ssf/stream").json() == [theirs]


REFUSED = (
    (1, "POST", "/ssf/stream", b"{", 400),
    (2, "POST", "/ssf/stream", b'{"description": "a", "description": "b"}', 400),
    (3, "POST", "/ssf/stream", {"events_requested": []}, 400),
    (4, "POST", "/ssf/stream", {"events_requested": ["a"] * 65}, 400),
    (5, "POST", "/ssf/stream", {"events_requested": "a"}, 400),
    (6, "POST", "/ssf/stream", {"description": "x" * 257}, 400),
    (7, "POST", "/ssf/stream", b'{"description": "\\ud800"}', 400),
    (8, "POST", "/ssf/stream", {"delivery": "poll"}, 400),
    (9, "POST", "/ssf/stream", {"delivery": {"method": "urn:ietf:rfc:8888"}}, 400),
    (10, "POST", "/ssf/stream", {"delivery": {"method": PUSH}}, 400),
    (11, "POST", "/ssf/stream", {"delivery": {"method": POLL, "endpoint_url": "https://x"}}, 400),
    (12, "PATCH", "/ssf/stream", {}, 400),
    (13, "PATCH", "/ssf/stream", {"stream_id": "ID", "iss": "https://else.example"}, 400),
    (14, "PATCH", "/ssf/stream", {"stream_id": "ID", "events_delivered": []}, 400),
    (15, "PUT", "/ssf/stream", {"stream_id": "ID"}, 400),
    (16, "DELETE", "/ssf/stream", None, 400),
    (17, "GET", "/ssf/status", None, 400),
    (18, "POST", "/ssf/status", {"stream_id": "ID", "status": "off"}, 400),
    (19, "POST", "/ssf/status", {"stream_id": 5, "status": "paused"}, 400),
    (20, "POST", "/ssf/subjects/add", {"stream_id": "ID"}, 400),
    (21, "POST", "/ssf/subjects/add", {"stream_id": "ID", "subject": {"format": "email"}}, 400),
    (22, "POST", "/ssf/subjects/add", {"stream_id": "ID", "subject": {**BOB, "more": "x"}}, 400),
    (23, "POST", "/ssf/subjects/add", {"stream_id": "ID", "subject": {"format": "complex"}}, 400),
    (24, "POST", "/ssf/verification", {"stream_id": "ID", "state": "x" * 1025}, 400),
    (25, "POST", "/ssf/poll/ID", {"maxEvents": -1}, 400),
    (26, "POST", "/ssf/poll/ID", {"maxEvents": True}, 400),
    (27, "POST", "/ssf/poll/ID", {"returnImmediately": 1}, 400),
    (28, "POST", "/ssf/poll/ID", {"ack": "all"}, 400),
    (29, "POST", "/ssf/poll/ID", {"setErrs": {"x": "bad"}}, 400),
    (30, "GET", "/ssf/poll/ID", None, 405),
    (31, "PUT", "/ssf/status", {}, 405),
    (32, "GET", "/ssf/verification", None, 405),
    (33, "GET", "/ssf/subjects/add", None, 405),
    (34, "POST", "/ssf/", {}, 404),
    (35, "POST", "/ssf/poll/", {}, 404),
    (36, "GET", "/ssf/stream?stream_id=a&stream_id=b", None, 400),
    (37, "POST", "/ssf/stream", [1], 400),
    (38, "POST", "/ssf/poll/ID", b'{"ack": ["\\ud800"]}', 400),
    (39, "POST", "/ssf/poll/ID", b'{"setErrs": {"\\ud800": {"err": "invalid_key"}}}', 400),
)


def test_what_cannot_be_read_is_refused(telling: Telling):
    """Each with its status; the stream stays as it was."""
    stream = telling.create()
    for number, method, path, body, status in REFUSED:
        given = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        content = given and given.replace(b'"ID"', json.dumps(stream["stream_id"]).encode())
        at = path.replace("ID", stream["stream_id"])
        answer = telling.client.request(
            method, at, content=content, headers={"content-type": "application/json"}
        )
        assert answer.status_code == status, (number, answer.text)
    assert telling.client.get("/ssf/stream").json() == [stream]


@pytest.mark.parametrize(
    "headers", [{"content-type": "text/plain"}, {"content-encoding": "gzip"}], ids=["type", "encoding"]
)
def test_other_bodies_than_json_are_refused(telling: Telling, headers: dict[str, str]):
    """Another type, and what would have to be unpacked."""
    given = {"content-type": "application/json", **headers}
    assert telling.client.post("/ssf/stream", content=b"{}", headers=given).status_code == 415


def test_D8_changes_of_a_receiver_are_audited_and_paced(telling: Telling, clock: Clock):
    """What makes, silences or ends a stream is in the audit log, and no more of it than so many a minute."""
    stream = telling.create()
    named = {"stream_id": stream["stream_id"]}
    for _ in range(CHANGES_MAX - 1):
        assert telling.client.post("/ssf/status", json={**named, "status": "paused"}).status_code == 200
    assert telling.client.post("/ssf/status", json={**named, "status": "disabled"}).status_code == 429
    assert telling.client.delete("/ssf/stream", params=named).status_code == 429
    clock.now += 61
    assert telling.client.delete("/ssf/stream", params=named).status_code == 204
    lines = [json.loads(line) for line in (telling.house.state / "audit.jsonl").read_text().splitlines()]
    told = [line["event"] for line in lines if line["event"].startswith("stream.")]
    assert told == ["stream.created", *["stream.status"] * (CHANGES_MAX - 1), "stream.deleted"]
    assert {line["receiver"] for line in lines if line["event"].startswith("stream.")} == {"siem"}


# ---- Who may call


ENDPOINTS = ["stream", "status", "subjects/add", "subjects/remove", "verification", "poll/x"]


def test_nobody_without_a_receivers_token_is_answered(telling: Telling):
    """None, another's, and one in another scheme: 401 at every endpoint, and it is counted."""
    wrong = new_caller_token().token
    right = telling.receiver.token.token
    for path in ENDPOINTS:
        for given in (None, f"Bearer {wrong}", f"Basic {right}", f"Bearer {right}x"):
            headers = {} if given is None else {"authorization": given}
            answer = httpx.post(f"{telling.url}/ssf/{path}", headers=headers, json={})
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert telling.door.callers_refused == 4 * len(ENDPOINTS)


def test_a_token_is_refused_before_the_body_is_read(telling: Telling):
    """A body that never comes holds nobody up: the 401 is there before it."""
    host, port = telling.url.removeprefix("http://").split(":")
    for path in ENDPOINTS:
        head = (
            f"POST /ssf/{path} HTTP/1.1\r\nhost: x\r\n"
            f"authorization: Bearer {new_caller_token().token}\r\n"
            "content-type: application/json\r\ncontent-length: 60000\r\n\r\n"
        )
        with socket.create_connection((host, int(port)), timeout=20) as wire:
            wire.sendall(head.encode())
            assert wire.recv(64).startswith(b"HTTP/1.1 401 ")


def test_a_receiver_that_is_not_named_any_more_loses_its_stream(house: Any, opened: ExitStack):
    """With the next start its stream is gone, with what waited on it, and its token is nobody's."""
    siem, crm = Receiver("siem"), Receiver("crm")
    write_settings(house.rules, siem.table(), crm.table())
    with ExitStack() as first:
        telling = Telling(house, siem, first)
        telling.create()
        house.connect(telling.authority)
        telling.authority.close()
    write_settings(house.rules, crm.table())
    telling = Telling(house, crm, opened)
    assert telling.of(siem, opened).get("/ssf/stream").status_code == 401
    assert telling.authority._store.rows("SELECT count(*) FROM outbox") == [(0,)]
    assert "stream.deleted" in (house.state / "audit.jsonl").read_text()


# ---- Polls


def test_events_are_polled_until_they_are_acknowledged(telling: Telling):
    """The same SETs under the same names come again and again, and after their acknowledgement never."""
    stream = telling.create()
    session = telling.house.connect(telling.authority)
    telling.authority.revoke(session.id)
    first = check(telling.poll(stream), POLLED)
    assert telling.door.waiting == {"siem": 2}
    assert list(telling.poll(stream)["sets"]) == list(first["sets"])
    claims = [telling.read(token) for token in first["sets"].values()]
    assert [only_event(each)[0] for each in claims] == ["session-established", "session-revoked"]
    assert [each["jti"] for each in claims] == list(first["sets"])
    assert {each["iss"] for each in claims} == {ISSUER}
    assert {each["aud"] for each in claims} == {"https://siem.example"}
    assert claims[1]["sub_id"] == {
        "format": "complex",
        "session": {"format": "opaque", "id": session.id.hex()},
        "user": ALGO,
        "device": {"format": "opaque", "id": "host-1"},
    }
    assert telling.poll(stream, ack=[claims[0]["jti"]])["sets"].keys() == {claims[1]["jti"]}
    assert telling.poll(stream, ack=[claims[1]["jti"]])["sets"] == {}
    assert telling.door.events == {"delivered": 2, "refused": 0, "dropped": 0, "retried": 0}


def test_a_poll_takes_what_it_wants_and_hears_of_more(telling: Telling):
    """maxEvents bounds the answer; 0 is an acknowledgement alone."""
    stream = telling.create()
    for _ in range(3):
        telling.house.connect(telling.authority)
    answer = telling.poll(stream, maxEvents=2)
    assert (len(answer["sets"]), answer["moreAvailable"]) == (2, True)
    answer = telling.poll(stream, maxEvents=0, ack=list(answer["sets"]))
    assert answer == {"sets": {}, "moreAvailable": True}
    answer = telling.poll(stream, maxEvents=2)
    assert len(answer["sets"]) == 1
    assert "moreAvailable" not in answer


def test_what_a_receiver_refuses_is_given_up(telling: Telling, caplog: pytest.LogCaptureFixture):
    """setErrs ends an event with its word in the log, where it can forge no line, and in the count."""
    stream = telling.create()
    telling.house.connect(telling.authority)
    [jti] = telling.poll(stream)["sets"]
    assert telling.poll(stream, setErrs={jti: {"err": "invalid_key\nX", "description": "no"}})["sets"] == {}
    assert "siem refuses the event" in caplog.text
    assert "invalid_key?X" in caplog.text
    assert telling.door.events["refused"] == 1


def test_a_poll_waits_for_the_next_event(telling: Telling, eventually: Any):
    """It is answered by the decision, long before its time is over."""
    stream = telling.create()
    answers = list[Any]()
    thread = threading.Thread(target=lambda: answers.append(telling.poll(stream, returnImmediately=False)))
    thread.start()
    eventually(lambda: len(telling.door._waiting) == 1)
    telling.house.connect(telling.authority)
    thread.join()
    [token] = answers[0]["sets"].values()
    assert only_event(telling.read(token))[0] == "session-established"
    assert telling.door._waiting == {}


def test_a_poll_that_waits_ends_with_its_time_or_the_next(begin: Any, opened: ExitStack, eventually: Any):
    """One waits on a stream: a second one sends the first home, and the second goes home by the clock."""
    telling = begin(poll_wait_s=0.5)
    stream = telling.create()
    assert telling.poll(stream, returnImmediately=False) == {"sets": {}}
    telling.door._poll_wait_s = 20.0
    answers = list[Any]()
    client = telling.of(telling.receiver, opened)

    def ask(asked: httpx.Client) -> None:
        answers.append(telling.poll(stream, asked, returnImmediately=False))

    first = threading.Thread(target=ask, args=(telling.client,))
    first.start()
    eventually(lambda: len(telling.door._waiting) == 1)
    before = dict(telling.door._waiting)
    second = threading.Thread(target=ask, args=(client,))
    second.start()
    first.join()
    assert answers == [{"sets": {}}]
    assert telling.door._waiting != before
    telling.house.connect(telling.authority)
    second.join()
    assert len(answers[1]["sets"]) == 1


# ---- Status


def test_a_paused_stream_keeps_its_events_and_a_disabled_one_drops_them(telling: Telling):
    """Paused, nothing is sent and nothing is lost; disabled, what waits and what comes is gone."""
    stream = telling.create()
    named = {"stream_id": stream["stream_id"]}

    def become(status: str, reason: str = "") -> Any:
        said = {**named, "status": status, **({"reason": reason} if reason else {})}
        answer = telling.client.post("/ssf/status", json=said)
        assert check(answer.json(), STATUS) == said
        assert telling.client.get("/ssf/status", params=named).json() == said

    assert telling.client.get("/ssf/status", params=named).json() == {**named, "status": "enabled"}
    telling.house.connect(telling.authority)
    become("paused", "maintenance")
    telling.house.connect(telling.authority)
    assert telling.poll(stream)["sets"] == {}
    become("enabled")
    assert [kind for kind, _ in telling.events(stream)] == ["session-established"] * 2
    telling.house.connect(telling.authority)
    become("disabled")
    telling.house.connect(telling.authority)
    become("enabled")
    assert telling.poll(stream)["sets"] == {}


# ---- Subjects


def test_by_default_all_subjects_are_told_of_but_those_that_were_removed(telling: Telling):
    """A subject that is removed is heard of no more, by any part of it, until it is added again."""
    stream = telling.create()
    named = {"stream_id": stream["stream_id"]}
    for subject, told in (
        (ALGO, 0),
        (BOB, 1),
        ({"format": "opaque", "id": "host-1"}, 0),
        ({"format": "complex", "user": ALGO, "device": {"format": "opaque", "id": "host-1"}}, 0),
        ({"format": "complex", "user": ALGO, "device": {"format": "opaque", "id": "host-2"}}, 1),
    ):
        answer = telling.client.post("/ssf/subjects/remove", json={**named, "subject": subject})
        assert (answer.status_code, answer.content) == (204, b"")
        telling.house.connect(telling.authority)
        assert len(telling.events(stream)) == told, subject
        answer = telling.client.post("/ssf/subjects/add", json={**named, "subject": subject})
        assert (answer.status_code, answer.content) == (200, b"")
        telling.house.connect(telling.authority)
        assert len(telling.events(stream)) == 1


def test_with_none_by_default_only_subjects_that_were_added_are_told_of(begin: Any):
    """Nobody is heard of until he is added; whether there is anybody of that name is not said."""
    telling = begin(more='default_subjects = "NONE"')
    said = httpx.get(f"{telling.url}/.well-known/ssf-configuration").json()
    assert said["default_subjects"] == "NONE"
    stream = telling.create()
    telling.house.connect(telling.authority)
    assert telling.events(stream) == []
    for subject in (BOB, ALGO):
        asked = {"stream_id": stream["stream_id"], "subject": subject, "verified": True}
        answer = telling.client.post("/ssf/subjects/add", json=asked)
        assert (answer.status_code, answer.content) == (200, b"")
    telling.house.connect(telling.authority)
    assert len(telling.events(stream)) == 1


def test_D6_subjects_of_a_stream_are_bounded(telling: Telling, monkeypatch: pytest.MonkeyPatch):
    """So many of each kind, and no more."""
    monkeypatch.setattr("ztsession.authority.streams.SIMPLE_MAX", 2)
    monkeypatch.setattr("ztsession.authority.streams.COMPLEX_MAX", 1)
    named = {"stream_id": telling.create()["stream_id"]}

    def remove(subject: Any) -> int:
        return telling.client.post("/ssf/subjects/remove", json={**named, "subject": subject}).status_code

    simple = [{"format": "opaque", "id": str(number)} for number in range(3)]
    assert [remove(each) for each in simple] == [204, 204, 400]
    assert [remove({"format": "complex", "tenant": each}) for each in simple] == [204, 400, 400]


# ---- Verification


def test_a_verification_comes_with_its_state_and_not_too_often(telling: Telling, clock: Clock):
    """The SET is about the stream itself; a second one within the interval is 429."""
    stream = telling.create()
    named = {"stream_id": stream["stream_id"]}
    assert telling.client.post("/ssf/verification", json={**named, "state": "s\u00e9"}).status_code == 204
    [token] = telling.poll(stream)["sets"].values()
    claims = telling.read(token)
    assert claims["sub_id"] == {"format": "opaque", "id": stream["stream_id"]}
    assert only_event(claims) == ("verification", {"state": "s\u00e9"})
    again = telling.client.post("/ssf/verification", json=named)
    assert (again.status_code, again.headers["retry-after"]) == (429, str(VERIFICATION_INTERVAL_S))
    clock.now += stream["min_verification_interval"]
    assert telling.client.post("/ssf/verification", json=named).status_code == 204
    assert ("verification", {}) in telling.events(stream)


def test_a_clock_that_is_set_back_keeps_no_receiver_waiting(telling: Telling, clock: Clock):
    """Neither for a verification nor for changes, for as long as the clock was ahead."""
    stream = telling.create()
    named = {"stream_id": stream["stream_id"]}
    clock.now += 86_400
    assert telling.client.post("/ssf/verification", json=named).status_code == 204
    for _ in range(CHANGES_MAX):
        assert telling.client.post("/ssf/status", json={**named, "status": "enabled"}).status_code == 200
    assert telling.client.post("/ssf/status", json={**named, "status": "enabled"}).status_code == 429
    clock.now -= 86_400
    assert telling.client.post("/ssf/verification", json=named).status_code == 204
    assert telling.client.post("/ssf/verification", json=named).status_code == 429
    assert telling.client.post("/ssf/status", json={**named, "status": "enabled"}).status_code == 200


# ---- Keys


def test_a_new_key_is_published_before_it_signs_and_the_old_one_after(telling: Telling, clock: Clock):
    """Over a whole rotation the key of every SET was published before it was needed, and is for a while
    after.
    """
    stream, keys = telling.create(), telling.authority.announcer.keys
    before = telling.jwks()

    def kid() -> str:
        telling.house.connect(telling.authority)
        [token] = telling.poll(stream)["sets"].values()
        telling.events(stream)
        telling.read(token)
        return str(json.loads(urlsafe_b64decode(token.split(".")[0].encode()))["kid"])

    def published() -> list[str]:
        return [key["kid"] for key in telling.jwks()["keys"]]

    old = kid()
    new = keys.stage()
    assert published() == [old, new]
    assert kid() == old
    with pytest.raises(ConfigurationError, match="its overlap lasts until"):
        keys.activate()
    clock.now += 250
    assert keys.activate(overlap_s=250) == new
    assert published() == [old, new]
    assert kid() == new
    with pytest.raises(ConfigurationError, match="its overlap lasts until"):
        keys.retire()
    clock.now += 250
    assert keys.retire(overlap_s=250) == old
    assert published() == [new]
    assert before["keys"][0] not in telling.jwks()["keys"]


def test_the_events_of_sessions_follow_each_other_as_decided(telling: Telling):
    """Granted, suspended by a signal against the device, withdrawn, revoked: six events in that order."""
    stream = telling.create()
    session = telling.house.connect(telling.authority)
    telling.drift()
    telling.drift(2, withdraws=True)
    telling.authority.revoke(session.id)
    telling.authority.revoke(session.id)
    told = telling.events(stream)
    assert [kind for kind, _ in told] == [
        "session-established",
        "device-compliance-change",
        "risk-level-change",
        "device-compliance-change",
        "risk-level-change",
        "session-revoked",
    ]
    events = [event for _, event in told]
    assert (events[1]["previous_status"], events[1]["current_status"]) == ("compliant", "not-compliant")
    assert (events[3]["previous_status"], events[3]["current_status"]) == ("not-compliant", "compliant")
    levels = ("current_level", "previous_level", "principal", "risk_reason", "initiating_entity")
    assert [events[2][name] for name in levels] == ["HIGH", "LOW", "DEVICE", "DEVICE_POSTURE", "policy"]
    assert [events[4][name] for name in levels[:2]] == ["LOW", "HIGH"]
    assert events[5]["initiating_entity"] == "admin"
    assert "edr" not in json.dumps(events)


def test_a_poll_over_no_server_is_cancelled_cleanly(telling: Telling):
    """A client that leaves while it waits leaves nothing behind, and the next one is answered."""
    stream = telling.create()
    path = stream["delivery"]["endpoint_url"].removeprefix(ISSUER)
    with pytest.raises(httpx.ReadTimeout):
        telling.client.post(path, json={}, timeout=0.3)
    telling.house.connect(telling.authority)
    assert len(telling.poll(stream)["sets"]) == 1
