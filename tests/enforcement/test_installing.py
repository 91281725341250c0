"""Tickets at a point: who gets in, who does not, and that a refusal leaves everything as it was."""

from __future__ import annotations

import dataclasses
import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from ztsession.client.installing import install_ticket
from ztsession.clock import FakeClock
from ztsession.enforcement import EnforcementPoint
from ztsession.enforcement.presented import PRESENTATIONS_MAX, PresentedTickets
from ztsession.errors import BadTag, InstallationError, Replayed, TableFull, UnknownSession
from ztsession.risk.levels import Mode
from ztsession.testing import pair
from ztsession.tickets import InstallAnswer, InstallRefusal, InstallRequest, open_ticket, segment_secret

OPERATIONS = ("orders.submit", "orders.cancel")


class Scene:
    """A point with one client, and a second ticket that was not presented yet."""

    def __init__(self, **options: Any) -> None:
        self.clock = FakeClock()
        self.client, self.point = pair("orders", OPERATIONS, clock=self.clock, **options)
        self.authority = self.point.authority
        self.secret = os.urandom(32)
        self.grant = self.authority.grant(subject="algo-2")
        self.ticket = self.authority.ticket(self.grant, self.secret)

    def present(self, transport: Any = None, **changed: Any) -> Any:
        given = {"ticket": self.ticket, "secret": self.secret, "grant": self.grant, **changed}
        client = install_ticket(
            transport or self.point,
            given["grant"],
            given["ticket"],
            given["secret"],
            manual_clock_us=self.clock.machine_us,
        )
        self.clock.follow(client.table)
        return client

    def refused(self, request: bytes, reason: str = "refused") -> None:
        """The request is refused for this reason, and not a byte of the table changes."""
        before, live = self.point.table.snapshot_for_testing_only(), self.point.table.records()
        assert InstallRefusal.from_bytes(self.point.install(request)).reason == reason
        assert self.point.table.snapshot_for_testing_only() == before
        assert self.point.table.records() == live


@pytest.fixture(autouse=True)
def exact_causes(caplog: pytest.LogCaptureFixture) -> None:
    """The log has the cause of each refusal, for who wants it: strangers cause them, too (D8)."""
    caplog.set_level(logging.INFO, logger="ztsession.enforcement")


@pytest.fixture
def scene() -> Scene:
    return Scene(capacity=8, profiles=4)


def called(point: EnforcementPoint, client: Any, operation: str = "orders.submit") -> Any:
    return point.verifier(operation)(client.sign(operation, b"x"), b"x")


class Line:
    """A line to a point on which somebody changes the answers."""

    def __init__(self, point: EnforcementPoint, change: Callable[[InstallAnswer], bytes]) -> None:
        self._point, self._change = point, change
        self.requests: list[bytes] = []

    def exchange(self, message: bytes) -> bytes:
        self.requests.append(message)
        return self._change(InstallAnswer.from_bytes(self._point.install(message)))


def test_a_presented_ticket_is_a_session(scene: Scene):
    """After the installation both ends hold the same keys, and the view says who is calling."""
    view = called(scene.point, scene.present())
    assert (view.subject, view.device, view.session) == ("algo-2", "host-1", scene.grant.session)
    assert scene.point.table.live == 2


def test_D8_a_strangers_garbage_is_no_warning(scene: Scene, caplog: pytest.LogCaptureFixture):
    """Whatever is sent to a point's port, nobody is woken for it, and no log is filled at its level."""
    caplog.set_level(logging.WARNING, logger="ztsession.enforcement")
    for garbage in (b"", b"x" * 100, os.urandom(1000)):
        InstallRefusal.from_bytes(scene.point.install(garbage))
    assert caplog.records == []


def test_K1_a_ticket_for_another_segment_is_refused(house: Any, caplog: pytest.LogCaptureFixture):
    """The log says which segment it was for; the peer hears one word; the right ticket is taken."""
    authority = house.authority()
    point, session = house.point(authority), house.connect(authority)
    secret = segment_secret(session._held.through.secret, session.grants["md"].digest())
    request = InstallRequest.make(session.tickets["md"], secret).to_bytes()
    assert InstallRefusal.from_bytes(point.install(request)).reason == "refused"
    assert "the ticket is for segment 'md'" in caplog.text
    assert point.table.live == 0
    assert called(point, session.install(point, "orders"))


def test_K2_no_changed_byte_of_a_request_installs_anything(scene: Scene):
    """Flip any byte of ticket, nonce or MAC: refused, with not a byte of the table changed."""
    request = InstallRequest.make(scene.ticket, scene.secret).to_bytes()
    for at in range(0, len(request), 3):
        changed = request[:at] + bytes([request[at] ^ 1 << at % 8]) + request[at + 1 :]
        answer = InstallRefusal.from_bytes(scene.point.install(changed))
        assert answer.reason in ("refused", "malformed")
    assert scene.point.table.live == 1
    for noise in (b"", b"\x80", os.urandom(100), bytes(20_000)):
        scene.refused(noise, "malformed")
    assert InstallAnswer.from_bytes(scene.point.install(request))


def test_K7_a_ticket_without_its_secret_is_refused(scene: Scene, caplog: pytest.LogCaptureFixture):
    """Who only saw the ticket pass can neither install it nor use up its presentations."""
    for _ in range(PRESENTATIONS_MAX + 1):
        scene.refused(InstallRequest.make(scene.ticket, os.urandom(32)).to_bytes())
    assert "does not hold its segment secret" in caplog.text
    assert scene.present()


@pytest.mark.parametrize("field", ["handle", "nonce", "now_us", "epoch_length_us"])
def test_K10_a_client_refuses_an_altered_answer(scene: Scene, field: str):
    """With another handle, nonce, clock or epoch length on the way back the client makes no session."""

    def alter(answer: InstallAnswer) -> bytes:
        value = getattr(answer, field)
        other = os.urandom(32) if field == "nonce" else value ^ 1
        return dataclasses.replace(answer, **{field: other}).to_bytes()

    with pytest.raises(InstallationError, match="altered"):
        scene.present(Line(scene.point, alter))
    assert called(scene.point, scene.present(Line(scene.point, InstallAnswer.to_bytes)))


def test_K10_an_honest_answer_to_another_request_is_refused(scene: Scene):
    """An answer that was recorded before does not pass for the answer to a new request."""
    recorded: list[bytes] = []

    def record(answer: InstallAnswer) -> bytes:
        recorded.append(answer.to_bytes())
        return recorded[0]

    line = Line(scene.point, record)
    assert scene.present(line)
    with pytest.raises(InstallationError, match="for another request"):
        scene.present(line)


def test_K10_a_holder_of_the_secret_cannot_change_the_epoch_length_either(scene: Scene):
    """Epochs are as long as the grant says, whatever an answer says that is properly authenticated."""
    line = Line(scene.point, InstallAnswer.to_bytes)

    def longer(answer: InstallAnswer) -> bytes:
        request = InstallRequest.from_bytes(line.requests[-1])
        said = (answer.handle, answer.nonce, answer.now_us, answer.epoch_length_us * 2)
        return InstallAnswer.make(request, scene.secret, *said).to_bytes()

    line._change = longer
    with pytest.raises(InstallationError, match="another length"):
        scene.present(line)


def test_a_malformed_answer_is_told_from_a_refusal(scene: Scene):
    """The client says whether the point refused, and in which word, or said nothing that makes sense."""

    class Says:
        def __init__(self, answer: bytes) -> None:
            self.exchange = lambda _: answer

    with pytest.raises(InstallationError, match="refused the ticket: busy"):
        scene.present(Says(InstallRefusal("busy").to_bytes()))
    with pytest.raises(InstallationError, match="answer is malformed"):
        scene.present(Says(b"\x80"))


def test_a_replayed_request_is_refused_and_hurts_nobody(scene: Scene, caplog: pytest.LogCaptureFixture):
    """Who recorded an installation cannot throw the live session out by repeating it."""
    line = Line(scene.point, InstallAnswer.to_bytes)
    client = scene.present(line)
    scene.refused(line.requests[0])
    assert "presented before" in caplog.text
    assert called(scene.point, client)


def test_presenting_again_replaces_the_old_installation(scene: Scene):
    """The client of a silent session presents its ticket again: a new handle, and the old one is over."""
    old = scene.present()
    token = old.sign("orders.submit", b"x")
    new = scene.present()
    assert called(scene.point, new)
    with pytest.raises(UnknownSession):
        scene.point.verifier("orders.submit")(token, b"x")
    assert scene.point.table.live == 2


def test_a_ticket_is_good_for_so_many_presentations(scene: Scene, caplog: pytest.LogCaptureFixture):
    """The seventeenth is refused and the sixteenth goes on working."""
    for _ in range(PRESENTATIONS_MAX):
        client = scene.present()
    scene.refused(InstallRequest.make(scene.ticket, scene.secret).to_bytes())
    assert "renew the session" in caplog.text
    assert called(scene.point, client)


def test_an_expired_ticket_is_refused(scene: Scene, caplog: pytest.LogCaptureFixture):
    """From the end of the session's lifetime on its ticket opens nothing."""
    scene.clock.advance(scene.grant.lifetime_s - 1)
    scene.point.maintain()
    assert scene.present()
    scene.clock.advance(1)
    scene.refused(InstallRequest.make(scene.ticket, scene.secret).to_bytes())
    assert "expired" in caplog.text


def test_a_session_that_begins_in_the_future_is_refused(scene: Scene, caplog: pytest.LogCaptureFixture):
    """Clocks may differ by a minute between Authority and point, not by more."""
    scene.clock._unix_s -= 61
    scene.refused(InstallRequest.make(scene.ticket, scene.secret).to_bytes())
    assert "begins in the future" in caplog.text
    scene.clock._unix_s += 2
    assert scene.present()


def test_a_grant_for_another_catalog_is_refused(scene: Scene, caplog: pytest.LogCaptureFixture):
    """A point whose table of operations differs cannot mistake one operation for another."""
    other = dataclasses.replace(scene.grant, catalog=b"c" * 32)
    ticket = scene.authority.ticket(other, scene.secret)
    scene.refused(InstallRequest.make(ticket, scene.secret).to_bytes())
    assert "another version of this segment's catalog" in caplog.text
    assert scene.present()


def test_R16_a_session_revoked_before_it_is_installed_is_refused(
    scene: Scene, caplog: pytest.LogCaptureFixture
):
    """The point was told first and the ticket came second: nothing is installed."""
    scene.authority.set_mode(scene.grant.session, Mode.REVOKED)
    live = scene.point.table.records()
    request = InstallRequest.make(scene.ticket, scene.secret).to_bytes()
    assert InstallRefusal.from_bytes(scene.point.install(request)).reason == "refused"
    assert "revoked before it was installed" in caplog.text
    assert scene.point.table.records() == live
    assert scene.point._installer.handle_of(scene.grant.session) is None


@pytest.mark.parametrize("mode", [Mode.RESTRICTED, Mode.SUSPENDED])
def test_R16_a_session_begins_in_the_mode_that_it_was_put_in_before(scene: Scene, mode: Mode):
    """A mode that was decided before the installation holds from the first call on."""
    scene.authority.set_mode(scene.grant.session, mode)
    client = scene.present()
    assert scene.point.session(client.handle)["mode"] == mode.name
    scene.authority.set_mode(scene.grant.session, Mode.NORMAL)
    assert called(scene.point, client).mode == "NORMAL"


def test_R18_a_new_session_of_the_same_subject_is_not_the_revoked_one(scene: Scene):
    """Revocation is of a session: another one of the same subject is installed and works."""
    scene.authority.set_mode(scene.client.grant.session, Mode.REVOKED)
    again = scene.authority.grant(subject=scene.client.grant.subject)
    client = scene.authority.connect(scene.point, again, clock=scene.clock)
    assert called(scene.point, client)


def test_D3_a_full_table_refuses_and_evicts_nobody():
    """The newcomer hears that the point is busy; every session that lives goes on; a freed place is given
    out.
    """
    scene = Scene(capacity=2)
    second = scene.authority.connect(scene.point, clock=scene.clock)
    scene.refused(InstallRequest.make(scene.ticket, scene.secret).to_bytes(), "busy")
    for client in (scene.client, second):
        assert called(scene.point, client)
    assert scene.point.end(second.grant.session)
    assert called(scene.point, scene.present())


def test_D3_a_point_out_of_profiles_refuses_and_harms_nobody():
    """One more distinct decision than there is room for is refused as busy."""
    scene = Scene(capacity=8, profiles=1)
    other = dataclasses.replace(scene.grant, assurance=3)
    request = InstallRequest.make(scene.authority.ticket(other, scene.secret), scene.secret).to_bytes()
    scene.refused(request, "busy")
    assert called(scene.point, scene.present())


def test_D6_memory_of_a_point_does_not_grow_with_sessions_that_ended(scene: Scene):
    """A thousand sessions come and go: when the last ticket has expired nothing is left of any of them."""
    installer = scene.point._installer
    for n in range(1000):
        grant = scene.authority.grant()
        client = scene.authority.connect(scene.point, grant)
        assert (
            scene.point.end(grant.session) if n % 2 else scene.point.table.end(client.handle, revoked=False)
        )
    scene.point.maintain()
    assert (len(installer._places), len(installer._profiles), len(installer._presented)) == (1, 1, 1001)
    scene.clock.advance(scene.grant.lifetime_s + 601)
    scene.point.maintain()
    assert (len(installer._places), len(installer._profiles), len(installer._presented)) == (0, 0, 0)
    assert scene.point.table.records() == {}


def test_D6_tickets_beyond_the_room_for_them_are_refused_and_none_is_forgotten():
    """A point that has seen all the tickets it can remember takes no new one until some have expired."""
    presented = PresentedTickets(1)
    presented._max = 2
    presented.take(b"1", b"n" * 32, 1000)
    presented.take(b"2", b"n" * 32, 5000)
    with pytest.raises(TableFull):
        presented.take(b"3", b"n" * 32, 5000)
    with pytest.raises(InstallationError, match="before"):
        presented.take(b"1", b"n" * 32, 1000)
    presented.take(b"1", b"m" * 32, 1000)
    presented.sweep(1000)
    assert len(presented) == 2
    presented.sweep(2000)
    presented.take(b"3", b"n" * 32, 5000)


# ---- What a token is worth elsewhere


def test_T19_a_token_of_before_a_restart_is_worth_nothing_after_it(scene: Scene):
    """The restarted point takes the same ticket and makes other keys: no recorded token passes."""
    client = scene.present()
    token = client.sign("orders.submit", b"x")
    restarted = EnforcementPoint(
        "orders", authority=scene.authority, manual_clock=True, wall_clock=scene.clock.time, capacity=8
    )
    scene.clock.follow(restarted.table)
    restarted.maintain()
    with pytest.raises(UnknownSession):
        restarted.verifier("orders.submit")(token, b"x")
    again = scene.present(restarted)
    for forged in (token, token[:8] + again.handle.to_bytes(8, "little") + token[16:]):
        with pytest.raises((UnknownSession, BadTag)):
            restarted.verifier("orders.submit")(forged, b"x")
    assert called(restarted, again)


def test_T23_a_token_is_good_at_one_replica_only(scene: Scene):
    """Two points of one segment hold one ticket's session under different keys."""
    replica = EnforcementPoint(
        "orders", authority=scene.authority, manual_clock=True, wall_clock=scene.clock.time, capacity=8
    )
    scene.clock.follow(replica.table)
    replica.maintain()
    here, there = scene.present(), scene.present(replica)
    token = here.sign("orders.submit", b"x")
    moved = token[:8] + there.handle.to_bytes(8, "little") + token[16:]
    before = replica.table.snapshot_for_testing_only()
    for forged in (token, moved):
        with pytest.raises((UnknownSession, BadTag)):
            replica.verifier("orders.submit")(forged, b"x")
    assert replica.table.snapshot_for_testing_only() == before
    assert scene.point.verifier("orders.submit")(token, b"x")
    with pytest.raises(Replayed):
        scene.point.verifier("orders.submit")(token, b"x")
    assert called(replica, there)


def test_T24_a_verifier_of_one_segment_cannot_forge_for_another(house: Any):
    """With the key file, the table and every ticket of orders, nothing is to be had at md."""
    authority = house.authority()
    orders_point, md_point = house.point(authority, "orders"), house.point(authority, "md")
    session = house.connect(authority)
    orders, md = session.install(orders_point, "orders"), session.install(md_point, "md")
    stolen = authority.segment_key("orders")
    # What the orders point learns from its ticket: a secret that is not md's, nor leads to it.
    inside, body = stolen_ticket(session, stolen, authority)
    md_secret = segment_secret(session._held.through.secret, session.grants["md"].digest())
    assert segment_secret(body.secret, session.grants["md"].digest()) != md_secret != body.secret
    assert inside.segment == "orders"
    with pytest.raises(InstallationError):
        stolen_ticket(session, stolen, authority, segment="md")
    with pytest.raises(InstallationError, match="refused"):
        install_ticket(md_point, session.grants["md"], session.tickets["md"], body.secret)
    token = orders.sign("orders.submit", b"x")
    forged = token[:2] + bytes(2) + token[4:8] + md.handle.to_bytes(8, "little") + token[16:]
    for attempt in (token, forged):
        with pytest.raises((UnknownSession, BadTag)):
            md_point.verifier("md.subscribe")(attempt, b"x")
    assert md_point.verifier("md.subscribe")(md.sign("md.subscribe", b"x"), b"x")


def stolen_ticket(session: Any, key: Any, authority: Any, segment: str = "orders") -> Any:
    return open_ticket(
        session.tickets[segment], [key], [authority.ticket_key], session.grants[segment].issued_at
    )


def test_threads_that_install_end_and_sweep_at_once_leave_the_books_right():
    """While eight threads install and revoke, housekeeping neither fails nor loses anybody."""
    patient = {name: {"max_age_ms": 30_000} for name in OPERATIONS}
    client, point = pair("orders", patient, capacity=256)
    authority, failures = point.authority, list[BaseException]()

    def churn() -> None:
        try:
            for n in range(12):
                grant = authority.grant()
                one = authority.connect(point, grant)
                assert called(point, one)
                if n % 2:
                    authority.set_mode(grant.session, Mode.REVOKED)
                else:
                    point.end(grant.session)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=churn) for _ in range(8)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert point.maintain()
        time.sleep(0.001)
    for thread in threads:
        thread.join()
    assert failures == []
    assert called(point, client)
    assert (point.table.live, len(point.table.records()), len(point._installer._places)) == (1, 1, 1)
    point.close()
