"""A client written from docs/protocol.md alone is served by the real Authority and the real point."""

from __future__ import annotations

import ast
import os
import sys
import time
from dataclasses import replace
from typing import Any

import pytest
from other_calls import install
from other_noise import BrokenError, public_of
from other_session import RefusedError, check_certificate, connect, renew, step_up
from other_wire import MalformedError, message, read
from pages import ROOT
from second_desk import Altered, Desk, call

import ztsession as zts
from ztsession.authority.gate import Gate

# ---- The whole way


def test_the_second_client_imports_nothing_of_the_first() -> None:
    """Its modules import the standard library, cryptography, msgpack and each other."""
    files = sorted((ROOT / "tests/docs").glob("other_*.py"))
    allowed = sys.stdlib_module_names | {"cryptography", "msgpack"} | {file.stem for file in files}
    for file in files:
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            named += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert {name.partition(".")[0] for name in named} <= allowed, file.name
    assert len(files) >= 5


def test_it_connects_installs_calls_steps_up_and_renews(house: Any) -> None:
    """Each session that takes another's place has the assurance and the keys that the page says, and calls
    under the keys of before arrive for a while.
    """
    desk = Desk(house)
    point = house.point(desk.authority)
    first = desk.connect()
    assert (first.outcome["assurance"], first.outcome["missing"]) == (1, ["mfa"])
    before = install(point.exchange, first, "orders")
    call(point, before, "orders.cancel")
    with pytest.raises(zts.errors.StepUpRequired):
        point.verifier("orders.submit")(before.sign("orders.submit", b"x"), b"x")

    second = step_up(desk.exchange, first, desk.who, desk.code)
    assert second.outcome["assurance"] == 2
    assert second.secret != first.secret
    stepped = install(point.exchange, second, "orders")
    call(point, stepped, "orders.submit")

    third = renew(desk.fresh(), second, desk.who)
    assert third.outcome["assurance"] == 2
    assert third.outcome["lifetime_s"] <= second.outcome["lifetime_s"]
    renewed = install(point.exchange, third, "orders")
    for session in (before, stepped, renewed):
        call(point, session, "orders.cancel")
    assert desk.live() == [third.outcome["session"]]
    assert len({first.secret, second.secret, third.secret}) == 3


def test_a_demanded_code_is_shown_before_anything_is_granted(house: Any) -> None:
    """Where a second factor is required, the outcome asks for it, and the supplement's answer grants."""
    desk = Desk(house, mfa=True)
    with pytest.raises(RefusedError, match="step-up"):
        desk.connect()
    assert desk.live() == []
    session = desk.connect(code=desk.code)
    assert session.outcome["assurance"] == 2
    point = house.point(desk.authority)
    call(point, install(point.exchange, session, "orders"), "orders.submit")


def test_a_wrong_code_gives_a_fresh_nonce_and_the_same_secret(house: Any) -> None:
    """After a refused supplement the right code passes in the same channel, under one secret on both ends."""
    desk = Desk(house)
    point = house.point(desk.authority)
    codes = iter(["00000000", desk.code()])
    session = step_up(desk.exchange, desk.connect(), desk.who, lambda: next(codes))
    assert session.outcome["assurance"] == 2
    call(point, install(point.exchange, session, "orders"), "orders.submit")


def test_wrong_codes_end_the_channel_and_leave_the_session(house: Any) -> None:
    """The fifth wrong supplement has no nonce; the session is what it was, and can still be renewed."""
    desk = Desk(house)
    session = desk.connect()
    going = desk.connect()
    for _ in range(2):
        with pytest.raises(RefusedError, match="refused"):
            step_up(desk.exchange, going, desk.who, lambda: "00000000")
    # It does not open any more, and so must be some first message.
    with pytest.raises(RefusedError, match=r"malformed|refused"):
        step_up(desk.exchange, going, desk.who, desk.code)
    assert renew(desk.exchange, session, desk.who).outcome["assurance"] == 1


def test_a_session_that_renews_twice_goes_on_from_the_last(house: Any) -> None:
    """Evidence of a second renewal is bound to the first renewal's hash, and a renewed session is used up."""
    desk = Desk(house)
    first = desk.connect()
    second = renew(desk.exchange, first, desk.who)
    stepped = step_up(desk.exchange, second, desk.who, desk.code)
    third = renew(desk.exchange, stepped, desk.who)
    assert desk.live() == [third.outcome["session"]]
    with pytest.raises(RefusedError):
        renew(desk.exchange, first, desk.who)
    assert desk.live() == [third.outcome["session"]]


def test_a_new_handshake_takes_a_sessions_place_at_once(house: Any) -> None:
    """With ``supersedes`` the old session's calls are refused from the next one on."""
    desk = Desk(house)
    point = house.point(desk.authority)
    first = desk.connect()
    old = install(point.exchange, first, "orders")
    call(point, old, "orders.cancel")
    second = desk.connect(supersedes=first.outcome["session"])
    with pytest.raises(zts.errors.Revoked):
        point.verifier("orders.cancel")(old.sign("orders.cancel", b"x"), b"x")
    assert desk.live() == [second.outcome["session"]]


def test_it_comes_back_with_a_cookie(house: Any) -> None:
    """Under load each first message is answered by a demand, and the next one has its cookie."""
    desk = Desk(house, gate=Gate(busy_per_s=0))
    line = Altered(desk.authority.connection("192.0.2.1").exchange, -2, 0)
    session = connect(line, desk.who, ["orders.*"])
    assert len(line.said) == 3
    renew(line, session, desk.who)
    assert len(line.said) == 5
    # From another address the same cookie is worth nothing, and a client asks once more, not for ever.
    stranger = desk.authority.connection("192.0.2.2").exchange
    with pytest.raises(RefusedError, match="busy"):
        connect(lambda sent: stranger(sent[:1216] + line.said[1][1216:]), desk.who, ["orders.*"])


# ---- What it refuses


def test_H13_another_root_is_shown_nothing(house: Any) -> None:
    """Without a certificate of the pinned root the client ends after message 2, before any evidence."""
    desk = Desk(house)
    line = Altered(desk.fresh(), -2, 0)
    mistaken = replace(desk.who, root=zts.Ed25519Identity.generate("x").public_key)
    with pytest.raises(MalformedError, match="signature"):
        connect(line, mistaken, ["orders.*"])
    assert len(line.said) == 1
    assert b"trader-1" not in line.said[0]
    assert desk.live() == []
    assert connect(desk.fresh(), desk.who, ["orders.*"]).outcome["status"] == "granted"


def test_H12_H13_a_certificate_holds_for_its_key_and_in_its_time(house: Any) -> None:
    """The real certificate holds for its own key, and in its own time alone."""
    desk = Desk(house)
    certificate, static = desk.authority.certificate(), public_of(desk.authority.keys.statics(time.time())[0])
    until = check_certificate(certificate, desk.who.root, static)
    assert check_certificate(certificate, desk.who.root, static, until - 1) == until
    for key, now in ((static, until), (static, 0), (bytes(32), until - 1)):
        with pytest.raises(MalformedError):
            check_certificate(certificate, desk.who.root, key, now)


@pytest.mark.parametrize("place", [0.0, 0.01, 0.5, 0.97, 1.0])
@pytest.mark.parametrize("answer", [0, 1])
def test_H15_no_altered_answer_of_a_handshake_is_taken(house: Any, answer: int, place: float) -> None:
    """One bit of message 2 or of the outcome, wherever it is, ends the handshake at the client."""
    desk = Desk(house)
    with pytest.raises((BrokenError, MalformedError)):
        connect(Altered(desk.fresh(), answer, place), desk.who, ["orders.*"])
    assert desk.connect().outcome["status"] == "granted"


@pytest.mark.parametrize("place", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_H15_no_altered_answer_of_a_renewal_is_taken(house: Any, place: float) -> None:
    """One bit of a renewal's answer, wherever it is, leaves the client with no new session."""
    desk = Desk(house)
    session = desk.connect()
    with pytest.raises((BrokenError, MalformedError)):
        renew(Altered(desk.exchange, 0, place), session, desk.who)


@pytest.mark.parametrize("field", ["handle", "nonce", "now_us", "epoch_length_us", "mac"])
def test_K10_no_altered_installation_is_taken(house: Any, field: str) -> None:
    """A point's answer in which anything was changed on its way gives the client no keys."""
    desk = Desk(house)
    point = house.point(desk.authority)
    session = desk.connect()

    def changed(sent: bytes) -> bytes:
        said = read("installed", point.exchange(sent))
        value = said[field]
        said[field] = value + 1 if isinstance(value, int) else bytes([value[0] ^ 1]) + value[1:]
        return message("installed", **said)

    with pytest.raises(BrokenError):
        install(changed, session, "orders")
    call(point, install(point.exchange, session, "orders"), "orders.cancel")


def test_H22_both_ends_name_the_same_channel_or_none(house: Any) -> None:
    """With one channel binding on both ends handshake and renewal pass; with two, message 2 does not open."""
    desk = Desk(house)
    bound, other = os.urandom(32), os.urandom(32)
    exchange = desk.authority.connection(channel_binding=bound).exchange
    for wrong in (b"", other):
        with pytest.raises(BrokenError):
            connect(
                desk.authority.connection(channel_binding=bound).exchange,
                desk.who,
                ["orders.*"],
                channel_binding=wrong,
            )
    session = connect(exchange, desk.who, ["orders.*"], channel_binding=bound)
    with pytest.raises(RefusedError):
        renew(exchange, session, desk.who)
    assert renew(exchange, session, desk.who, channel_binding=bound).outcome["status"] == "granted"
