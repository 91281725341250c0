"""Security events pushed to a real server: what is acknowledged is in force, what is wrong is told little."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("joserfc", reason="SETs need ztsession[authority]")
pytest.importorskip("httpx", reason="the door is knocked at by httpx")
pytest.importorskip("uvicorn", reason="the door is behind uvicorn")

from ssf_makers import CAEP, HOST, RISC, SSF, USER, Issuer, write_settings
from ssf_served import Served

import ztsession as zts
from ztsession.errors import AuditError, ReauthRequired, Revoked, StepUpRequired, StoreError
from ztsession.integrations.asgi import AuthorityApp
from ztsession.integrations.callers import new_caller_token
from ztsession.integrations.ssf import reread, signal_receiver
from ztsession.integrations.ssf_push import PATH, TOLD, EventPush
from ztsession.risk.ssf.sets import SET_MAX_BYTES
from ztsession.wire.framing import MAX_FRAME_BYTES

ISSUER = Issuer()
COMPLIANCE = CAEP + "device-compliance-change"
DRIFTED = {"previous_status": "compliant", "current_status": "not-compliant"}
STREAM = {"format": "opaque", "id": "s-1"}
MENDED = {"previous_status": "not-compliant", "current_status": "compliant"}


def made(*given: Any, **changed: Any) -> bytes:
    """An honest SET of now."""
    return ISSUER.set(*given, **{"iat": int(time.time()), **changed})


class Pushed(Served):
    """An Authority and its door for one transmitter."""

    def __init__(self, house: Any, more: str = "", **options: Any) -> None:
        write_settings(house.rules, ISSUER, more)
        self.authority = house.authority()
        self.receiver = signal_receiver(self.authority, house.rules)
        self.door = EventPush(self.receiver, **options)
        super().__init__(AuthorityApp(self.authority, doors=[self.door]))


@pytest.fixture
def pushed(house: Any) -> Pushed:
    return house.keep(Pushed(house))


def test_the_next_call_is_refused_after_an_event_about_the_device(house: Any, pushed: Pushed):
    """From the transmitter's signature to the verdict of an enforcement point, and back when it is mended."""
    session = house.connect(pushed.authority)
    point = house.point(pushed.authority)
    submit, installed = point.verifier("orders.submit"), session.install(point, "orders")
    call = lambda: submit(installed.sign("orders.submit", b"x"), b"x")  # noqa: E731
    assert call()
    answer = pushed.push(made(COMPLIANCE, DRIFTED, sub_id=HOST))
    with pytest.raises(StepUpRequired):
        call()
    assert (answer.status_code, answer.content) == (202, b"")
    assert pushed.push(made(COMPLIANCE, MENDED, sub_id=HOST)).status_code == 202
    assert call()
    assert pushed.push(made(CAEP + "credential-change", CHANGED)).status_code == 202
    with pytest.raises(ReauthRequired):
        call()
    revoked = {"format": "opaque", "id": session.id.hex()}
    assert pushed.push(made(CAEP + "session-revoked", sub_id=revoked)).status_code == 202
    with pytest.raises(Revoked):
        call()
    assert pushed.receiver.counts == {("idp", "applied"): 4}


CHANGED = {"credential_type": "x509", "change_type": "revoke"}


def test_revoked_sessions_of_a_user_may_be_followed_by_new_ones(house: Any, pushed: Pushed):
    """Who authenticates after the event is not who it was about."""
    session = house.connect(pushed.authority)
    assert pushed.push(made(CAEP + "session-revoked")).status_code == 202
    with pytest.raises(zts.errors.SessionEnded):
        pushed.authority.session(session.id)
    again = house.connect(pushed.authority)
    assert pushed.authority.session(again.id).mode == zts.Mode.NORMAL


def test_a_session_is_meant_by_its_own_id_and_no_other_is(house: Any, pushed: Pushed):
    """Of one that is not known here its user is meant, and of one that is, it alone."""
    first, second = house.connect(pushed.authority), house.connect(pushed.authority)
    mine = {"format": "complex", "user": USER, "session": {"format": "opaque", "id": first.id.hex()}}
    assert pushed.push(made(CAEP + "session-revoked", sub_id=mine)).status_code == 202
    assert [each.id for each in pushed.authority.sessions()] == [second.id]
    theirs = {**mine, "session": {"format": "opaque", "id": "24c63fb56e5a2d77a6b512616ca9fa24"}}
    assert pushed.push(made(CAEP + "session-revoked", sub_id=theirs)).status_code == 202
    assert pushed.authority.sessions() == []
    assert pushed.push(made(CAEP + "session-revoked", sub_id=theirs["session"])).status_code == 202
    assert pushed.receiver.counts == {("idp", "applied"): 2, ("idp", "nobody"): 1}


def test_R2_a_set_that_is_delivered_twice_is_one_signal(house: Any, pushed: Pushed):
    """Acknowledged both times, in force and in the audit log once."""
    data = made(COMPLIANCE, DRIFTED, sub_id=HOST)
    assert [pushed.push(data).status_code for _ in range(3)] == [202] * 3
    log = (house.state / "audit.jsonl").read_text()
    assert log.count('"event":"signal"') + log.count('"event": "signal"') == 1


def test_R6_a_taking_back_shown_again_undoes_nothing(house: Any, pushed: Pushed):
    """The transmitter's own words of before, after it has said otherwise."""
    session = house.connect(pushed.authority)
    mended = made(COMPLIANCE, MENDED, sub_id=HOST)
    for data in (mended, made(COMPLIANCE, DRIFTED, sub_id=HOST), mended):
        assert pushed.push(data).status_code == 202
    assert pushed.authority.session(session.id).mode == zts.Mode.RESTRICTED


def test_what_is_told_next_takes_back_also_what_was_dated_ahead(pushed: Pushed):
    """A device's own clock, ahead of its transmitter's, keeps nothing in force that was taken back."""
    now = int(time.time())
    dated = {**DRIFTED, "event_timestamp": now + 30}
    assert pushed.push(made(COMPLIANCE, dated, sub_id=HOST, iat=now)).status_code == 202
    assert pushed.authority.risk.standing_kinds(("device", "host-1")) == {"posture-drift"}
    assert pushed.push(made(COMPLIANCE, MENDED, sub_id=HOST, iat=now + 1)).status_code == 202
    assert pushed.authority.risk.standing_kinds(("device", "host-1")) == set()


#: By word a SET for which it is told.
REFUSED: dict[str, Callable[[], bytes]] = {
    "invalid_request": lambda: made(sub="x"),
    "invalid_key": lambda: ISSUER.crafted(ISSUER.header(kid="k2"), ISSUER.claims()),
    "invalid_issuer": lambda: made(iss="https://other.example"),
    "invalid_audience": lambda: made(aud="https://other.example"),
    "authentication_failed": lambda: Issuer().set(),
    "invalid_state": lambda: made(SSF + "verification", {"state": "x"}, sub_id=STREAM),
}


@pytest.mark.parametrize("word", REFUSED)
def test_a_refusal_is_a_word_and_a_sentence(pushed: Pushed, word: str):
    """400 with RFC 8935's word in JSON, in a language that is named, and nothing exact."""
    answer = pushed.push(REFUSED[word]())
    assert answer.status_code == 400
    assert answer.json() == {"err": word, "description": TOLD[word]}
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-language"] == "en"


def test_an_event_that_a_transmitter_may_not_send_is_denied(house: Any):
    """By the operator's list."""
    pushed = house.keep(Pushed(house, 'events = ["session-revoked"]\n'))
    answer = pushed.push(made(RISC + "account-purged"))
    assert (answer.status_code, answer.json()["err"]) == (400, "access_denied")


def test_a_token_is_looked_at_before_anything_else(house: Any, caplog: pytest.LogCaptureFixture):
    """Without the transmitter's own, 401 and no look at the body; tokens are in no log."""
    token, other = new_caller_token(), new_caller_token()
    pushed = house.keep(Pushed(house, f'token_sha256 = "{token.digest}"\n'))
    caplog.set_level(logging.DEBUG, "ztsession.ssf")
    for wrong in ({}, {"authorization": f"Bearer {other.token}"}, {"authorization": f"Basic {token.token}"}):
        answer = pushed.push(b"x", headers=wrong)
        assert (answer.status_code, answer.json()["err"]) == (401, "authentication_failed")
        assert answer.headers["www-authenticate"] == "Bearer"
    assert pushed.receiver.counts == {}
    assert pushed.door.transmitters_refused == 3
    right = {"authorization": f"Bearer {token.token}"}
    assert pushed.push(made(RISC + "account-enabled"), headers=right).status_code == 202
    assert token.token not in caplog.text
    assert other.token not in caplog.text


def test_only_what_could_be_a_set_is_read(pushed: Pushed):
    """The one method, the one type, no encoding, a bounded size, and a transmitter that there is."""
    assert pushed.http.get(PATH + "idp").status_code == 405
    assert pushed.push(made(), to="stranger").status_code == 404
    assert pushed.push(made(), to="").status_code == 404
    for headers in (
        {"content-type": "application/jwt"},
        {"content-type": "application/secevent+jwt; charset=utf-8"},
        {"content-encoding": "gzip"},
    ):
        assert pushed.push(made(), headers=headers).status_code == 415
    assert pushed.push(made(), headers={"content-type": "Application/SecEvent+JWT"}).status_code == 202
    assert pushed.push(b"x" * (SET_MAX_BYTES + 1)).json()["err"] == "invalid_request"
    assert pushed.announce(MAX_FRAME_BYTES + 1).startswith(b"HTTP/1.1 413 ")


def test_D8_one_address_pushes_so_many_a_second(house: Any):
    """Beyond that nothing is read; a second later it may come again."""
    now = [0.0]
    pushed = house.keep(Pushed(house, "per_s = 5\n", clock=lambda: now[0]))
    assert [pushed.push(b"x").status_code for _ in range(7)] == [400] * 5 + [429] * 2
    now[0] += 1.0
    assert pushed.push(b"x").status_code == 400


def test_what_cannot_be_stored_has_to_come_again(house: Any, pushed: Pushed, monkeypatch: pytest.MonkeyPatch):
    """503 and no word of RFC 8935, after which a transmitter would give up; then it is in force."""
    session, data = house.connect(pushed.authority), made(COMPLIANCE, DRIFTED, sub_id=HOST)
    store = pushed.authority._store

    def full(*_: object, **__: object) -> bool:
        raise StoreError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(store, "record_signal", full)
        answer = pushed.push(data)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert pushed.authority.session(session.id).mode == zts.Mode.NORMAL
    assert pushed.push(data).status_code == 202
    assert pushed.authority.session(session.id).mode == zts.Mode.RESTRICTED


def test_D8_strangers_fill_no_log_while_an_issuer_cannot_be_asked(
    house: Any, caplog: pytest.LogCaptureFixture
):
    """A key that nobody knows is 503, because it may be a new one, and one line in all."""
    pushed = house.keep(Pushed(house))
    settings = house.rules / "ssf.toml"
    nowhere = 'jwks_url = "http://127.0.0.1:1/jwks"'
    settings.write_text(settings.read_text().replace('jwks = "idp.json"', nowhere))
    reread(pushed.receiver, house.rules)
    assert {pushed.push(made()).status_code for _ in range(9)} == {503}
    told = [record.name for record in caplog.records if record.levelno > logging.DEBUG]
    assert [name for name in told if name.startswith("ztsession")] == ["ztsession.identity"]


def test_A10_what_is_in_force_is_acknowledged_without_the_log(
    house: Any, pushed: Pushed, monkeypatch: pytest.MonkeyPatch
):
    """The audit log's disk is full, and the session is restricted all the same."""
    session = house.connect(pushed.authority)

    def full(*_: object, **__: object) -> None:
        raise AuditError("the disk is full")

    monkeypatch.setattr(pushed.authority._audit, "record", full)
    assert pushed.push(made(COMPLIANCE, DRIFTED, sub_id=HOST)).status_code == 202
    assert pushed.authority.session(session.id).mode == zts.Mode.RESTRICTED


def test_L7_no_text_reaches_the_store_that_it_cannot_hold(house: Any):
    """Half a character, which JSON can say and a database cannot, is nobody's name and no failure."""
    naming = 'email = "name"\nuri = "spiffe"\niss_sub = "oidc"\nopaque = "listed"\n'
    device = '[transmitters.idp.device]\nopaque = "name"\n'
    pushed = house.keep(Pushed(house, f"[transmitters.idp.subject]\n{naming}{device}"))
    for subject in (
        {"format": "email", "email": "\ud800"},
        {"format": "uri", "uri": "spiffe://\ud800"},
        {"format": "iss_sub", "iss": "https://x.example", "sub": "\ud800"},
        {"format": "opaque", "id": "\ud800"},
    ):
        assert pushed.push(made(RISC + "account-purged", sub_id=subject)).status_code == 202
        assert pushed.push(made(COMPLIANCE, DRIFTED, sub_id=subject)).status_code == 202
    assert pushed.receiver.counts == {("idp", "nobody"): 8}


def test_settings_are_read_again(house: Any, pushed: Pushed):
    """A transmitter that was taken out is not there, and a mistake changes nothing."""
    (house.rules / "ssf.toml").write_text("[transmitters.idp]\n")
    with pytest.raises(zts.errors.ConfigurationError):
        reread(pushed.receiver, house.rules)
    assert pushed.push(made(RISC + "account-enabled")).status_code == 202
    (house.rules / "ssf.toml").write_text("")
    reread(pushed.receiver, house.rules)
    assert pushed.push(made(RISC + "account-enabled")).status_code == 404
