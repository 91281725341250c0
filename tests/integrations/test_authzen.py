"""AuthZEN over HTTP: the specification's exchanges, who may ask, and what a request can do at most."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import hmac
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

import ztsession as zts
from ztsession.errors import ConfigurationError, PolicyError
from ztsession.integrations import asgi_request, authzen
from ztsession.integrations.asgi import AuthorityApp
from ztsession.integrations.authzen import AccessEvaluations
from ztsession.integrations.authzen_messages import DEPTH_MAX, EVALUATIONS_MAX
from ztsession.integrations.callers import new_caller_token
from ztsession.policy.engine import PolicySet
from ztsession.wire.framing import MAX_FRAME_BYTES

URL = "https://pdp.firm.example"
ONE, SEVERAL = "/access/v1/evaluation", "/access/v1/evaluations"
METADATA = "/.well-known/authzen-configuration"
ALGO = {"type": "subject", "id": "algo-7"}
ORDERS = {"type": "segment", "id": "orders"}
SUBMIT = {"name": "submit"}
ASKED = {"subject": ALGO, "resource": ORDERS, "action": SUBMIT}


@dataclass
class Said:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        assert self.status == 200, self.body
        return json.loads(self.body)


class Asking:
    """An application with one caller, asked without a server in between."""

    def __init__(self, authority: zts.Authority, **options: Any) -> None:
        self.caller = new_caller_token()
        self.authzen = AccessEvaluations(authority, callers={"gateway": self.caller.digest}, url=URL)
        self.app = AuthorityApp(authority, doors=[self.authzen], **options)
        self.headers = {
            "authorization": f"Bearer {self.caller.token}",
            "content-type": "application/json",
        }

    def __enter__(self) -> Asking:
        return self

    def __exit__(self, *_: object) -> None:
        self.app.close()

    def __call__(
        self,
        asked: Any = ASKED,
        path: str = ONE,
        *,
        method: str = "POST",
        headers: Any = None,
        more: Any = (),
        pieces: list[Any] | None = None,
    ) -> Said:
        """One request; ``asked`` is JSON or the bytes of a body, ``pieces`` are the server's events."""
        body = asked if isinstance(asked, bytes) else json.dumps(asked).encode()
        events = [{"type": "http.request", "body": body}] if pieces is None else pieces
        given = [*(self.headers if headers is None else headers).items(), *dict(more).items()]
        return asyncio.run(asyncio.wait_for(self._ask(path, method, given, events), 30))

    async def _ask(self, path: str, method: str, given: list[Any], events: list[Any]) -> Said:
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in given],
            "client": ("192.0.2.1", 5),
            "server": ("10.0.0.1", 443),
        }
        waiting, sent = iter(events), list[Any]()

        async def receive() -> Any:
            event = next(waiting)
            if isinstance(event, BaseException):
                raise event
            return event

        async def send(event: Any) -> None:
            sent.append(event)

        await self.app(scope, receive, send)
        if not sent:
            return Said(0, {}, b"")
        headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return Said(sent[0]["status"], headers, sent[1]["body"])


@pytest.fixture
def authority(house: Any) -> zts.Authority:
    return house.authority()


@pytest.fixture
def ask(house: Any, authority: zts.Authority) -> Asking:
    return house.keep(Asking(authority))


@pytest.fixture(scope="module")
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asking]:
    """An application for what changes nothing in it."""
    houses = request.config.pluginmanager.get_plugin(str(Path(__file__).parents[1] / "conftest.py"))
    with ExitStack() as opened:
        house = houses.House(tmp_path_factory.mktemp("authzen"), opened)
        yield opened.enter_context(Asking(house.authority()))


def changed(**members: Any) -> dict[str, Any]:
    return {**ASKED, **members}


# ---- Decisions, in the specification's shapes


def test_an_evaluation_is_answered_yes_or_no_and_why(shared: Asking):
    """Section 6: true alone, or false with a reason for administrators and a coarse one for users."""
    said = shared()
    assert said.json == {"decision": True}
    assert said.headers["content-type"] == "application/json"
    assert said.headers["cache-control"] == "no-store"
    assert shared(changed(action={"name": "orders.submit"})).json == {"decision": True}
    assert shared(changed(context={"risk": "medium"})).json == {
        "decision": False,
        "context": {
            "reason_admin": {"403": "orders.submit runs at risk low at most, and this is medium"},
            "reason_user": {"403": "This is not allowed."},
        },
    }


def test_a_step_up_is_no_and_says_what_would_help(shared: Asking):
    """The level that is needed stands in the context, and with it the answer is yes."""
    block = {"name": "block-trade"}
    said = shared(changed(action=block)).json
    assert said["decision"] is False
    assert said["context"]["assurance"] == 3
    assert "needs assurance 3" in said["context"]["reason_admin"]["403"]
    assert said["context"]["reason_user"] == {"403": "Stronger authentication is needed first."}
    assert shared(changed(action=block, context={"assurance": 3})).json == {"decision": True}


@pytest.mark.parametrize(
    "members",
    [
        {"subject": {"type": "subject", "id": "algo-8"}},
        {"subject": {"type": "user", "id": "algo-7"}},
        {"subject": {"type": "subject", "id": "algo\N{HYPHEN}7"}},
        {"subject": {"type": "subject", "id": "\ud800"}},
        {"subject": {"type": "subject", "id": ""}},
        {"resource": {"type": "segment", "id": "payments"}},
        {"resource": {"type": "account", "id": "orders"}},
        {"resource": {"type": "segment", "id": "\N{GREEK SMALL LETTER OMICRON}rders"}},
        {"action": {"name": "sell"}},
        {"action": {"name": "md.subscribe"}},
        {"action": {"name": "\N{CYRILLIC SMALL LETTER DZE}ubmit"}},
        {"context": {"session": "00" * 16}},
    ],
)
def test_L7_what_is_unknown_is_a_no_and_no_error(shared: Asking, members: Any):
    """Status 200 and false, and users are not told what it was that is not known."""
    said = shared(changed(**members)).json
    assert said["decision"] is False
    assert said["context"]["reason_user"] == {"403": "This is not allowed."}


def test_L1_the_default_is_no(house: Any, authority: zts.Authority, ask: Asking):
    """What nothing permits is denied, and said so; a permit makes it a yes."""
    (house.rules / "trading.cedar").write_text('permit (principal, action in Action::"md.*", resource);\n')
    authority.reload()
    assert ask().json["context"]["reason_admin"] == {"403": "orders.submit at risk low: nothing permits it"}
    (house.rules / "trading.cedar").write_text(
        'permit (principal, action in Action::"orders.*", resource);\n'
    )
    authority.reload()
    assert ask().json == {"decision": True}


def test_L2_a_forbid_wins_over_http(house: Any, authority: zts.Authority, ask: Asking):
    """One forbid against any number of permits, named for administrators alone."""
    (house.rules / "more.cedar").write_text(
        "permit (principal, action, resource);\nforbid (principal, action, resource);\n"
    )
    authority.reload()
    said = ask().json
    assert said["decision"] is False
    assert "more.cedar:2" in said["context"]["reason_admin"]["403"]
    assert "cedar" not in said["context"]["reason_user"]["403"]


def test_L4_an_error_of_the_evaluator_is_no(shared: Asking, monkeypatch: pytest.MonkeyPatch):
    """The others of a series are answered, too: also no, with the error for administrators."""

    def fails(*_: object, **__: object) -> None:
        raise PolicyError("answers are missing")

    before = shared.authzen.evaluations["failed"]
    with monkeypatch.context() as patched:
        patched.setattr(PolicySet, "decide", fails)
        said = shared({**ASKED, "evaluations": [{}, {}]}, SEVERAL).json["evaluations"]
    assert [each["decision"] for each in said] == [False, False]
    assert "answers are missing" in said[0]["context"]["reason_admin"]["403"]
    assert said[0]["context"]["reason_user"] == {"403": "This is not allowed."}
    assert shared.authzen.evaluations["failed"] == before + 2


def test_properties_give_nobody_anything(house: Any, authority: zts.Authority, ask: Asking):
    """Roles, desk and kind are the registry's: what a request says of them is passed over, good or bad."""
    human = zts.Ed25519Identity.generate("ada")
    entries = [
        house.identity.registry_entry("algorithm", roles=("trading",), desk="rates"),
        human.registry_entry("human", roles=("visitor",), desk="rates"),
    ]
    (house.rules / "subjects.toml").write_text("\n".join(entries))
    authority.reload()
    claims = {"kind": "algorithm", "roles": ["trading"], "desk": "rates", "role": "admin"}
    ada = {"type": "subject", "id": "ada", "properties": claims, **claims}
    assert ask(changed(subject=ada, **claims)).json["decision"] is False
    nothing = {"kind": "human", "roles": [], "desk": ""}
    assert ask(changed(subject={**ALGO, "properties": nothing, **nothing})).json["decision"] is True
    where = {**ORDERS, "properties": {"environment": "test"}}
    assert (
        ask(changed(resource=where, action={**SUBMIT, "properties": {"assurance": 3}})).json["decision"]
        is True
    )


def test_unknown_members_are_passed_over(shared: Asking):
    """What a later version of the specification may add is no error, at every depth."""
    extended = {
        "subject": {**ALGO, "foo": 1},
        "resource": {**ORDERS, "foo": [{}]},
        "action": {**SUBMIT, "foo": None},
        "context": {"time": "1985-10-26T01:22-07:00", "ip": "192.168.1.1", "foo": {"nested": True}},
        "futureField": {"nested": True},
        "options": "of the other endpoint",
        "evaluations": "likewise",
    }
    assert shared(extended).json == {"decision": True}


@pytest.mark.parametrize(
    "given",
    [
        "2026-11-27T12:00:00Z",
        "2026-11-27t12:00:00z",
        "2026-11-27T07:00:00-05:00",
        "2026-11-27T12:00:00.123456789Z",
        "2026-11-27T07:00-05:00",
    ],
)
def test_a_time_is_read_as_written(house: Any, authority: zts.Authority, ask: Asking, given: str):
    """RFC 3339, and the shorter form of the specification's own examples."""
    (house.rules / "more.cedar").write_text(
        "forbid (principal, action, resource) unless { context.time.hhmm == 1200 };\n"
    )
    authority.reload()
    assert ask(changed(context={"time": given})).json["decision"] is True
    assert (
        ask(changed(context={"time": given.replace("27", "28").replace(":00", ":01", 1)})).json["decision"]
        is False
    )


# ---- Several at once


def several(*names: str, semantic: str = "") -> Any:
    options = {"options": {"evaluations_semantic": semantic, "another_option": "value"}} if semantic else {}
    listed = [{"action": {"name": name}} for name in names]
    return {"subject": ALGO, "resource": ORDERS, "evaluations": listed, **options}


@pytest.mark.parametrize(
    ("semantic", "names", "decisions"),
    [
        ("", ["submit", "sell", "cancel"], [True, False, True]),
        ("execute_all", ["submit", "sell", "cancel"], [True, False, True]),
        ("deny_on_first_deny", ["submit", "sell", "cancel"], [True, False]),
        ("deny_on_first_deny", ["submit", "cancel"], [True, True]),
        ("deny_on_first_deny", ["block-trade", "cancel"], [False]),
        ("permit_on_first_permit", ["submit", "sell", "cancel"], [True]),
        ("permit_on_first_permit", ["sell", "block-trade", "cancel", "submit"], [False, False, True]),
        ("permit_on_first_permit", ["sell", "buy"], [False, False]),
    ],
)
def test_a_series_is_answered_in_order_as_far_as_was_asked(
    shared: Asking, semantic: str, names: list[str], decisions: list[bool]
):
    """Section 7.1.2: all of them, or up to the first no, or up to the first yes."""
    said = shared(several(*names, semantic=semantic), SEVERAL).json
    assert [each["decision"] for each in said.pop("evaluations")] == decisions
    assert said == {}


def test_defaults_stand_for_what_an_evaluation_leaves_out(shared: Asking):
    """Section 7.1.1: an evaluation's own member takes the place of the whole default."""
    said = shared(
        {
            **ASKED,
            "context": {"risk": "medium"},
            "evaluations": [
                {},
                {"context": {}},
                {"action": {"name": "cancel"}},
                {"subject": {"type": "subject", "id": "nobody"}, "context": {}},
                {"resource": {"type": "segment", "id": "md"}, "action": {"name": "snapshot"}},
            ],
        },
        SEVERAL,
    ).json
    assert [each["decision"] for each in said["evaluations"]] == [False, True, True, False, True]
    complete = {"evaluations": [ASKED, changed(action={"name": "sell"})]}
    assert [each["decision"] for each in shared(complete, SEVERAL).json["evaluations"]] == [True, False]


def test_a_series_of_none_is_one_question(shared: Asking):
    """Without evaluations, or with an empty array of them, the answer is that of the other endpoint."""
    assert shared(ASKED, SEVERAL).json == {"decision": True}
    assert shared(changed(evaluations=[]), SEVERAL).json == {"decision": True}
    assert shared({"subject": ALGO, "resource": ORDERS, "evaluations": []}, SEVERAL).status == 400


def test_an_evaluation_that_cannot_be_read_is_answered_no_and_the_others_as_they_are(shared: Asking):
    """Section 7.2.1: the error stands in its place; it is a denial to whoever stops at the first."""
    broken = {
        "subject": ALGO,
        "action": SUBMIT,
        "evaluations": [{"resource": ORDERS}, {}, {"resource": ORDERS}],
    }
    said = shared(broken, SEVERAL).json["evaluations"]
    assert [each["decision"] for each in said] == [True, False, True]
    assert said[1]["context"]["error"] == {"status": 400, "message": "resource: expected an object"}
    stops = {**broken, "options": {"evaluations_semantic": "deny_on_first_deny"}}
    assert len(shared(stops, SEVERAL).json["evaluations"]) == 2
    incomplete = {**broken, "resource": {"type": "segment"}, "evaluations": [{"resource": {"id": "orders"}}]}
    assert shared(incomplete, SEVERAL).json["evaluations"][0]["context"]["error"]["message"] == (
        "resource.type: expected a string"
    )


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ({"evaluations": {}}, "evaluations: expected an array of objects"),
        ({"evaluations": None}, "evaluations: expected an array of objects"),
        ({"evaluations": "[]"}, "evaluations: expected an array of objects"),
        ({"evaluations": [{}, []]}, "evaluations: expected an array of objects"),
        ({"evaluations": [{}] * (EVALUATIONS_MAX + 1)}, "evaluations: expected at most 256"),
        ({"evaluations": [{}], "options": []}, "options: expected an object"),
        ({"evaluations": [{}], "options": {"evaluations_semantic": "all"}}, "options.evaluations_semantic"),
        ({"evaluations": [{}], "options": {"evaluations_semantic": None}}, "options.evaluations_semantic"),
        (
            {"evaluations": [{}], "options": {"evaluations_semantic": ["execute_all"]}},
            "options.evaluations_sem",
        ),
        ({"evaluations": [{}], "subject": "algo-7"}, "subject: expected an object"),
        ({"evaluations": [{"context": {}}], "context": 1}, "context: expected an object"),
    ],
)
def test_a_series_that_is_none_is_refused_as_a_whole(shared: Asking, members: Any, told: str):
    """What pertains to all of it has a status, and names the member."""
    said = shared(changed(**members), SEVERAL)
    assert said.status == 400
    assert told in said.body.decode()
    assert len(said.body) < 150


def test_as_many_evaluations_as_are_allowed_are_answered(shared: Asking):
    """256 of them, each in its place."""
    names = ["submit", "sell"] * (EVALUATIONS_MAX // 2)
    said = shared(several(*names), SEVERAL).json["evaluations"]
    assert [each["decision"] for each in said] == [True, False] * (EVALUATIONS_MAX // 2)


def test_L6_a_series_is_decided_by_one_version(
    house: Any, authority: zts.Authority, ask: Asking, monkeypatch: pytest.MonkeyPatch
):
    """A reload between the first question and the second changes the answers of the next request alone."""
    decide, reloaded = PolicySet.decide, list[bool]()

    def then_reload(self: PolicySet, *given: Any, **named: Any) -> Any:
        decisions = decide(self, *given, **named)
        if not reloaded:
            reloaded.append(True)
            (house.rules / "more.cedar").write_text("forbid (principal, action, resource);\n")
            (house.rules / "subjects.toml").write_text("[subjects]\n")
            authority.reload()
        return decisions

    monkeypatch.setattr(PolicySet, "decide", then_reload)
    asked = several("submit", "cancel", "amend")
    assert [each["decision"] for each in ask(asked, SEVERAL).json["evaluations"]] == [True] * 3
    assert reloaded == [True]
    assert [each["decision"] for each in ask(asked, SEVERAL).json["evaluations"]] == [False] * 3


# ---- Sessions


def test_a_question_about_a_session_is_answered_from_the_session(
    house: Any, authority: zts.Authority, ask: Asking
):
    """Live, for its subject and in its mode: else no; what else the context says of it is not believed."""
    session = house.connect(authority)
    context = {"session": session.id.hex()}
    assert ask(changed(context=context)).json == {"decision": True}
    better = {**context, "assurance": 3, "risk": "low", "posture": {"kernel": "good"}}
    assert ask(changed(action={"name": "block-trade"}, context=better)).json["decision"] is False
    other = zts.Ed25519Identity.generate("algo-8")
    house.enrol(house.identity, other)
    authority.reload()
    assert ask(changed(subject={**ALGO, "id": "algo-8"}, context=context)).json["decision"] is False
    assert ask(changed(subject={**ALGO, "id": "algo-8"})).json["decision"] is True
    authority.signal(
        zts.Signal("s", "behaviour", zts.Level.MEDIUM, "detector", time.time(), session=session.id)
    )
    restricted = ask(changed(context=context)).json
    assert restricted["decision"] is False
    assert "RESTRICTED" in restricted["context"]["reason_admin"]["403"]
    assert ask(changed(action={"name": "cancel"}, context=context)).json["decision"] is True
    authority.revoke(session.id)
    assert ask(changed(action={"name": "cancel"}, context=context)).json["decision"] is False


# ---- Strict reading


@pytest.mark.parametrize(
    ("members", "told"),
    [
        *[({name: None}, f"{name}: expected an object") for name in ASKED],
        ({"subject": "algo-7"}, "subject: expected an object"),
        ({"subject": [ALGO]}, "subject: expected an object"),
        ({"subject": {"id": "algo-7"}}, "subject.type: expected a string"),
        ({"subject": {"type": "subject"}}, "subject.id: expected a string"),
        ({"subject": {"type": "subject", "id": 7}}, "subject.id: expected a string"),
        ({"subject": {"type": None, "id": "algo-7"}}, "subject.type: expected a string"),
        ({"subject": {**ALGO, "properties": []}}, "subject.properties: expected an object"),
        ({"subject": {**ALGO, "properties": None}}, "subject.properties: expected an object"),
        ({"resource": {"type": "segment"}}, "resource.id: expected a string"),
        ({"resource": {"id": "orders"}}, "resource.type: expected a string"),
        ({"resource": {**ORDERS, "properties": ""}}, "resource.properties: expected an object"),
        ({"action": {}}, "action.name: expected a string"),
        ({"action": {"name": 123}}, "action.name: expected a string"),
        ({"action": {**SUBMIT, "properties": 1}}, "action.properties: expected an object"),
        ({"context": []}, "context: expected an object"),
        ({"context": None}, "context: expected an object"),
        ({"context": {"assurance": 0}}, "context.assurance"),
        ({"context": {"assurance": 4}}, "context.assurance"),
        ({"context": {"assurance": True}}, "context.assurance"),
        ({"context": {"assurance": 2.0}}, "context.assurance"),
        ({"context": {"assurance": "2"}}, "context.assurance"),
        ({"context": {"risk": "none"}}, "context.risk"),
        ({"context": {"risk": ["low"]}}, "context.risk"),
        ({"context": {"device": "host 1"}}, "context.device"),
        ({"context": {"device": ""}}, "context.device"),
        ({"context": {"device": 1}}, "context.device"),
        ({"context": {"posture": []}}, "context.posture"),
        ({"context": {"posture": {"kernal": "bad"}}}, "context.posture"),
        ({"context": {"posture": {"kernel": "fine"}}}, "context.posture"),
        ({"context": {"posture": {"kernel": {}}}}, "context.posture"),
        ({"context": {"session": ""}}, "context.session"),
        ({"context": {"session": "0" * 31}}, "context.session"),
        ({"context": {"session": "A" * 32}}, "context.session"),
        ({"context": {"session": "\N{ARABIC-INDIC DIGIT ZERO}" * 32}}, "context.session"),
        ({"context": {"session": None}}, "context.session"),
        ({"context": {"time": None}}, "context.time"),
        ({"context": {"time": 1795780800}}, "context.time"),
        ({"context": {"time": "2026-11-27"}}, "context.time"),
        ({"context": {"time": "2026-11-27T12:00:00"}}, "context.time"),
        ({"context": {"time": "2026-11-27 12:00:00Z"}}, "context.time"),
        ({"context": {"time": "2026-02-30T12:00:00Z"}}, "context.time"),
        ({"context": {"time": "2026-11-27T24:00:00Z"}}, "context.time"),
        ({"context": {"time": "2026-11-27T12:00:00+24:00"}}, "context.time"),
        ({"context": {"time": "0001-01-01T00:00:00+23:00"}}, "context.time"),
        ({"context": {"time": "1969-12-31T23:59:59Z"}}, "context.time"),
        ({"context": {"time": "9999-12-31T23:59:59-23:59"}}, "context.time"),
        ({"context": {"time": "2026-11-27T12:00:00.1234567890Z"}}, "context.time"),
    ],
)
def test_a_member_of_another_form_is_refused_by_its_name(shared: Asking, members: Any, told: str):
    """Status 400, and a sentence with the member, without what stood there."""
    said = shared(changed(**members))
    assert said.status == 400
    assert told in said.body.decode()
    assert said.headers["content-type"].startswith("text/plain")
    assert len(said.body) < 200
    assert said.headers["cache-control"] == "no-store"


def test_a_member_that_is_not_there_is_refused_by_its_name(shared: Asking):
    """Each of the three that must be."""
    for name in ASKED:
        said = shared({each: value for each, value in ASKED.items() if each != name})
        assert (said.status, said.body.decode()) == (400, f"{name}: expected an object\n")


ONCE = json.dumps(ASKED)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"{",
        ONCE.encode()[:-1],
        ONCE.encode() + b"x",
        ONCE.encode() + ONCE.encode(),
        b"\xef\xbb\xbf" + ONCE.encode(),
        ONCE.encode("utf-16"),
        ONCE.encode().replace(b"algo-7", b"algo-\xff"),
        ONCE.replace('"id": "algo-7"', '"id": "nobody", "id": "algo-7"').encode(),
        ONCE.replace('"action"', '"subject": {}, "action"').encode(),
        ONCE.replace('"action"', '"a": {"b": 1, "\\u0062": 2}, "action"').encode(),
        ONCE.replace('"action"', '"n": NaN, "action"').encode(),
        ONCE.replace('"action"', '"n": 1e999, "action"').encode(),
        ONCE.replace('"action"', '"n": ' + "9" * 5000 + ', "action"').encode(),
        ONCE.replace('"action"', "'x': 1, \"action\"").encode(),
        gzip.compress(ONCE.encode(), mtime=0),
    ],
)
def test_what_is_not_json_of_one_reading_is_refused(shared: Asking, body: bytes):
    """A name twice, numbers without end, another encoding, more than one text: 400, at both endpoints."""
    assert shared(ONCE.encode()).json == {"decision": True}
    for path in (ONE, SEVERAL):
        said = shared(body, path)
        assert said.status == 400
        assert said.body in (
            b"the request is not JSON of one reading\n",
            b"the request is not a JSON object\n",
        )


def nested(depth: int, opening: str = "[", closing: str = "]") -> bytes:
    """A question that is ``depth`` deep."""
    inner = opening * (depth - 1) + closing * (depth - 1)
    return ONCE.replace('"action"', f'"deep": {inner}, "action"').encode()


def test_D7_depth_is_bounded_before_anything_is_parsed(shared: Asking, monkeypatch: pytest.MonkeyPatch):
    """As deep as is allowed is read; one deeper, and thousands, are refused without a parser."""
    assert shared(nested(DEPTH_MAX)).json == {"decision": True}
    strings = ONCE.replace('"action"', '"s": "\\"' + "[{" * 1000 + '\\\\", "action"').encode()
    assert shared(strings).json == {"decision": True}

    def parsed(*_: object, **__: object) -> None:
        raise AssertionError("it was parsed")

    monkeypatch.setattr(json, "loads", parsed)
    for body in (nested(DEPTH_MAX + 1), nested(25_000), b"[" * MAX_FRAME_BYTES, b'{"a":' * 10_000):
        said = shared(body)
        assert (said.status, said.body) == (400, b"the request is nested deeper than 16\n")


@pytest.mark.parametrize(
    "body", [b'"' + b'\\"' * 32_000, b'"\\' * 32_000, b"[]," * 21_000, b'"' * MAX_FRAME_BYTES]
)
def test_D7_no_text_is_looked_at_again_and_again(shared: Asking, body: bytes):
    """The worst of 64 KiB for a reader of strings and brackets are answered like any."""
    assert shared(body).status == 400


def test_a_body_of_the_greatest_size_is_read_and_one_byte_more_is_not(shared: Asking):
    """65,536 bytes, announced or not; beyond them nothing is asked for."""
    greatest = ONCE.encode().ljust(MAX_FRAME_BYTES)
    assert shared(greatest).json == {"decision": True}
    halves = [
        {"type": "http.request", "body": greatest[:40_000], "more_body": True},
        {"type": "http.request", "body": greatest[40_000:]},
    ]
    assert shared(pieces=halves).json == {"decision": True}
    for path in (ONE, SEVERAL):
        assert shared(greatest + b" ", path).status == 413
    announced = {"content-length": str(MAX_FRAME_BYTES + 1)}
    assert shared(more=announced, pieces=[AssertionError("it was read")]).status == 413


@pytest.mark.parametrize("encoding", ["gzip", "br", "identity", "x"])
def test_D7_a_body_that_could_grow_is_refused(shared: Asking, encoding: str):
    """With any content-encoding, before it is read."""
    unread = [AssertionError("it was read")]
    assert shared(more={"content-encoding": encoding}, pieces=unread).status == 415


@pytest.mark.parametrize(
    ("media", "status"),
    [
        ("application/json", 200),
        ("Application/JSON", 200),
        ("application/json; charset=utf-8", 200),
        ('application/json;charset="UTF-8"', 200),
        ("application/json; charset=utf-16", 415),
        ("application/jsonp", 415),
        ("text/json", 415),
        ("application/x-www-form-urlencoded", 415),
        ("", 415),
    ],
)
def test_only_json_is_taken(shared: Asking, media: str, status: int):
    """And only in UTF-8, whatever else its type says."""
    assert shared(headers={**shared.headers, "content-type": media}).status == status


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", ONE, 405, "POST"),
        ("PUT", SEVERAL, 405, "POST"),
        ("OPTIONS", ONE, 405, "POST"),
        ("POST", METADATA, 405, "GET"),
        ("POST", ONE + "/", 404, None),
        ("POST", "/access/v1/search/subject", 404, None),
        ("POST", "/access/v1", 404, None),
        ("POST", "//access/v1/evaluation", 404, None),
        ("GET", METADATA + "/x", 404, None),
    ],
)
def test_paths_and_methods_are_as_written(shared: Asking, method: str, path: str, status: int, allow: Any):
    """Another method says which is right, another path says nothing."""
    said = shared(ASKED, path, method=method)
    assert (said.status, said.headers.get("allow")) == (status, allow)


# ---- Who may ask


def wrong_tokens(token: str) -> dict[str, str]:
    return {
        "none": "",
        "no scheme": token,
        "another scheme": f"Basic {token}",
        "another case": f"Bearer {token.swapcase()}",
        "one letter less": f"Bearer {token[:-1]}",
        "one letter more": f"Bearer {token}A",
        "padded": f"Bearer {token}=",
        "two blanks": f"Bearer  {token}",
        "a blank before": f" Bearer {token}",
        "a blank after": f"Bearer {token} ",
        "a blank that is none": f"Bearer {token}\xa0",
        "a tab": f"Bearer\t{token}",
        "a blank within": f"Bearer {token[:20]} {token[20:]}",
        "in quotes": f'Bearer "{token}"',
        "two": f"Bearer {token}, Bearer {token}",
        "the digest": f"Bearer {hashlib.sha256(token.encode()).hexdigest()}",
        "another caller's": f"Bearer {new_caller_token().token}",
        "not of ASCII": f"Bearer é{token[1:]}",
        "endless": f"Bearer {'A' * 60_000}",
    }


@pytest.mark.parametrize("kind", wrong_tokens("x" * 43))
@pytest.mark.parametrize("path", [ONE, SEVERAL])
def test_without_the_right_token_nothing_is_read(shared: Asking, kind: str, path: str):
    """401 with the scheme that is wanted, before the body, its type or its length are looked at."""
    wrong = wrong_tokens(shared.caller.token)[kind]
    before = shared.authzen.callers_refused
    said = shared(
        path=path,
        headers={"authorization": wrong, "content-type": "text/plain", "content-length": "999999"},
        pieces=[AssertionError("it was read")],
    )
    assert (said.status, said.headers["www-authenticate"]) == (401, "Bearer")
    assert said.body == b"a caller's token is needed\n"
    assert shared.authzen.callers_refused == before + 1


def test_the_scheme_is_read_in_any_case(shared: Asking):
    """As HTTP has it (RFC 9110, section 11.1)."""
    for scheme in ("bearer", "BEARER"):
        headers = {**shared.headers, "authorization": f"{scheme} {shared.caller.token}"}
        assert shared(headers=headers).status == 200


def test_two_tokens_are_none(shared: Asking):
    """A header that stands twice is no choice to be made here."""
    assert shared(more={"Authorization": shared.headers["authorization"]}).status == 401


def test_no_token_is_nobodys(house: Any, authority: zts.Authority):
    """The digest of nothing lets nobody in."""
    asking = house.keep(Asking(authority))
    nothing = hashlib.sha256(b"").hexdigest()
    asking.authzen._callers = AccessEvaluations(authority, callers={"gateway": nothing})._callers
    for authorization in ("", "Bearer ", "Bearer"):
        assert asking(headers={**asking.headers, "authorization": authorization}).status == 401


def test_every_caller_is_compared_in_constant_time(
    house: Any, authority: zts.Authority, monkeypatch: pytest.MonkeyPatch
):
    """All callers' digests are compared, whoever it is, and by hmac.compare_digest alone."""
    tokens = [new_caller_token() for _ in range(3)]
    callers = {f"caller-{number}": token.digest for number, token in enumerate(tokens)}
    asking = house.keep(Asking(authority))
    asking.authzen._callers = AccessEvaluations(authority, callers=callers)._callers
    compared = list[tuple[bytes, bytes]]()

    def compare(known: bytes, presented: bytes) -> bool:
        compared.append((known, presented))
        return compare_digest(known, presented)

    compare_digest = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", compare)
    for token, status in ((tokens[0].token, 200), (tokens[2].token, 200), ("A" * 43, 401), ("", 401)):
        compared.clear()
        headers = {**asking.headers, "authorization": f"Bearer {token}"}
        assert asking(headers=headers).status == status
        assert [known.hex() for known, _ in compared] == list(callers.values())
        assert len({presented for _, presented in compared}) == 1


def test_tokens_are_in_no_log(shared: Asking, caplog: pytest.LogCaptureFixture):
    """Neither the right one nor a wrong one, nor what stands for it; a refused caller is there at DEBUG."""
    wrong = new_caller_token().token
    with caplog.at_level(logging.DEBUG):
        assert shared().status == 200
        assert shared(headers={**shared.headers, "authorization": f"Bearer {wrong}"}).status == 401
    assert "'192.0.2.1'" in caplog.text
    assert "gateway" in caplog.text
    for secret in (wrong, shared.caller.token):
        assert secret not in caplog.text
    assert shared.caller.token not in repr(shared.caller)
    assert {record.levelname for record in caplog.records if record.name == "ztsession.authzen"} == {"DEBUG"}


def test_a_token_is_random_and_its_digest_is_its_own():
    """32 bytes from the system, in 43 characters, and SHA-256 of them in hexadecimal."""
    one, other = new_caller_token(), new_caller_token()
    assert one.token != other.token
    assert len(one.token) == 43
    assert one.digest == hashlib.sha256(one.token.encode()).hexdigest()


@pytest.mark.parametrize(
    ("callers", "told"),
    [
        ({}, "at least one"),
        ({"two words": "a" * 64}, "expected names"),
        ({"gateway": "A" * 64}, "64 digits"),
        ({"gateway": "a" * 63}, "64 digits"),
        ({"gateway": "SECRET-" + "x" * 43}, "64 digits"),
        ({"gateway": "a" * 64, "other": "a" * 64}, "of its own"),
    ],
)
def test_callers_that_could_not_be_told_apart_are_refused(authority: zts.Authority, callers: Any, told: str):
    """A mistake is told when the application is made, without what may be a token."""
    with pytest.raises(ConfigurationError, match=told) as caught:
        AccessEvaluations(authority, callers=callers)
    assert "SECRET" not in str(caught.value)
    assert AccessEvaluations(authority, callers={"gateway": "a" * 64}).callers_refused == 0


# ---- Metadata, identifiers, counts


def test_metadata_say_where_the_endpoints_are(shared: Asking):
    """Section 9: without a token, by the address that was configured and not by the one that was asked."""
    said = shared(path=METADATA, method="GET", headers={"host": "evil.example"})
    assert said.json == {
        "policy_decision_point": URL,
        "access_evaluation_endpoint": URL + ONE,
        "access_evaluations_endpoint": URL + SEVERAL,
    }
    assert said.headers["content-type"] == "application/json"
    assert said.headers["cache-control"] == "max-age=3600"


@pytest.mark.parametrize(
    "url",
    [
        "http://pdp.firm.example",
        "https://pdp.firm.example/",
        "https://pdp.firm.example/x",
        "https://pdp.firm.example?x",
        "https://pdp.firm.example#x",
        "https://user@pdp.firm.example",
        "https://PDP.firm.example",
        "https://pdp.firm.example\n",
        "https://",
    ],
)
def test_an_address_that_is_no_identifier_is_refused(authority: zts.Authority, url: str):
    """https, a host, and a port if need be; without one there are no metadata."""
    callers = {"gateway": "a" * 64}
    with pytest.raises(ConfigurationError, match="url: expected https"):
        AccessEvaluations(authority, callers=callers, url=url)
    assert AccessEvaluations(authority, callers=callers, url="https://pdp.firm.example:8443").route(METADATA)
    assert AccessEvaluations(authority, callers=callers).route(METADATA) is None


@pytest.mark.parametrize(
    ("given", "echoed"),
    [
        ("bfe9eb29-ab87-4ca3-be83-a1d5d8305716", True),
        ("a" * 128, True),
        ("a" * 129, False),
        ("", False),
        ("two words", False),
        ("x\r\nset-cookie: a=b", False),
        ("<script>", False),
        ("é", False),
    ],
)
def test_a_harmless_identifier_comes_back_with_every_answer(shared: Asking, given: str, echoed: bool):
    """Whatever the answer is; what is not harmless is left out, and answered all the same."""
    for more, status in (({}, 200), ({"content-encoding": "gzip"}, 415), ({"Authorization": "x"}, 401)):
        said = shared(more={"x-request-id": given, **more})
        assert said.status == status
        assert said.headers.get("x-request-id") == (given if echoed else None)
    assert "x-request-id" not in shared().headers
    assert "x-request-id" not in shared(path="/other", more={"x-request-id": "a"}).headers


def test_what_is_asked_is_counted_and_not_audited(house: Any, ask: Asking):
    """By outcome, one for each evaluation; the audit log stays as it was."""
    audit = house.state / "audit.jsonl"
    before = audit.read_bytes()
    assert set(ask.authzen.evaluations.values()) == {0}
    ask()
    ask(several("submit", "sell", "block-trade", "cancel"), SEVERAL)
    ask({"evaluations": [{}]}, SEVERAL)
    ask(b"{")
    assert ask.authzen.evaluations == {
        "permitted": 3,
        "step-up": 1,
        "reauthenticate": 0,
        "denied": 1,
        "failed": 0,
        "malformed": 2,
    }
    assert audit.read_bytes() == before


# ---- Within the application


def test_it_is_off_unless_asked_for(authority: zts.Authority, ask: Asking):
    """Without it the paths do not exist."""
    assert ask(path=METADATA, method="GET").status == 200
    ask.app = AuthorityApp(authority)
    for path, method in ((ONE, "POST"), (SEVERAL, "POST"), (METADATA, "GET")):
        assert ask(path=path, method=method).status == 404
    ask.app.close()


def test_D4_the_applications_bounds_hold_here_too(
    authority: zts.Authority, house: Any, monkeypatch: pytest.MonkeyPatch
):
    """A body that does not come, a client that leaves, one request too many; each gives its place back."""
    asking = house.keep(Asking(authority, requests_max=16))
    monkeypatch.setattr(asgi_request, "BODY_S", 0.05)
    answers = list[int]()

    async def never() -> Any:
        answers.append(asking.app._requests)
        await asyncio.sleep(60)

    async def hang(path: str) -> int:
        sent = list[Any]()

        async def send(event: Any) -> None:
            sent.append(event)

        headers = [(name.encode(), value.encode()) for name, value in asking.headers.items()]
        scope = {"type": "http", "method": "POST", "path": path, "headers": headers}
        await asking.app({**scope, "client": ("192.0.2.1", 5), "server": ("x", 1)}, never, send)
        return int(sent[0]["status"])

    async def both() -> list[int]:
        return await asyncio.gather(hang(ONE), hang(SEVERAL))

    # One source has a sixteenth: the second is one too many while the first is waited for.
    assert asyncio.run(both()) == [408, 503]
    assert answers == [1]
    assert asking(pieces=[{"type": "http.disconnect"}]).status == 0
    assert (asking.app._requests, len(asking.app._shares)) == (0, 0)
    assert asking().json == {"decision": True}


def test_evaluation_is_not_done_on_the_event_loop(shared: Asking, monkeypatch: pytest.MonkeyPatch):
    """The work of 256 questions holds up no other connection."""
    threads = set[str]()
    decide = PolicySet.decide

    def where(self: PolicySet, *given: Any, **named: Any) -> Any:
        threads.add(threading.current_thread().name)
        return decide(self, *given, **named)

    monkeypatch.setattr(PolicySet, "decide", where)
    assert shared().json == {"decision": True}
    assert all(name.startswith("ztsession-worker") for name in threads)
    assert threads


def test_a_mistake_here_is_status_500_and_no_yes(
    shared: Asking, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """The caller learns nothing of it, and the log all."""

    def mistaken(*_: object) -> None:
        raise TypeError("a mistake in here")

    monkeypatch.setattr(authzen, "decision", mistaken)
    said = shared(more={"x-request-id": "a"})
    assert (said.status, said.body) == (500, b"this could not be answered\n")
    assert said.headers["x-request-id"] == "a"
    assert "a mistake in here" in caplog.text


def test_the_end_of_the_application_is_the_end_of_its_listening(authority: zts.Authority):
    """Nothing is left at the Authority of an application that was closed."""
    before = len(authority._changes._bus._subscribers)
    with Asking(authority):
        assert len(authority._changes._bus._subscribers) == before + 1
    assert len(authority._changes._bus._subscribers) == before


# ---- A real server


@pytest.fixture
def served(ask: Asking) -> Iterator[str]:
    """The application behind uvicorn, on a port of its own."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(ask.app, log_config=None, ws="none", http="h11", lifespan="on"))
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    while not server.started:
        time.sleep(0.005)
    yield "http://127.0.0.1:{1}".format(*listening.getsockname())
    server.should_exit = True
    thread.join()
    listening.close()


def test_an_ordinary_client_is_answered_over_http(
    house: Any, authority: zts.Authority, ask: Asking, served: str, eventually: Callable[..., None]
):
    """Decisions, a series, metadata, a refusal, a half-read request, and the protocol beside them."""
    from ztsession.integrations.http import HttpTransport

    headers = {"authorization": f"Bearer {ask.caller.token}", "x-request-id": "bfe9eb29-ab87"}
    with httpx.Client(base_url=served, headers=headers, trust_env=False, timeout=20) as client:
        answer = client.post(ONE, json=ASKED)
        assert (answer.status_code, answer.json()) == (200, {"decision": True})
        assert answer.headers["x-request-id"] == "bfe9eb29-ab87"
        series = client.post(SEVERAL, json=several("submit", "sell")).json()["evaluations"]
        assert [each["decision"] for each in series] == [True, False]
        assert client.get(METADATA).json()["policy_decision_point"] == URL
        # The body of a caller without a token is not read, and the connection is of use afterwards.
        refused = client.post(ONE, content=bytes(60_000), headers={"authorization": "Bearer x"})
        assert refused.status_code == 401
        assert client.post(ONE, json=ASKED).json() == {"decision": True}
        with HttpTransport(served) as handshakes:
            session = house.connect(authority, handshakes)
        about = changed(context={"session": session.id.hex()})
        assert client.post(ONE, json=about).json() == {"decision": True}
    head = f"POST {ONE} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n"
    address = served.removeprefix("http://").split(":")
    with socket.create_connection((address[0], int(address[1])), timeout=20) as leaving:
        leaving.sendall(f"{head}authorization: {headers['authorization']}\r\n\r\n{{".encode())
        eventually(lambda: ask.app._requests == 1)
    eventually(lambda: ask.app._requests == 0)
