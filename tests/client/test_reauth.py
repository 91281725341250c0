"""Refused calls that put their session right by themselves, and are never executed twice."""

from __future__ import annotations

import asyncio
import gc
import itertools
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

import ztsession as zts
from ztsession.client import ReauthPolicy, SessionKeeper
from ztsession.errors import (
    ConfigurationError,
    HandshakeError,
    NotPermitted,
    OutcomeUnknown,
    ReauthRequired,
    Replayed,
    Revoked,
    SessionEnded,
    Stale,
    StepUpRequired,
    TooOld,
    TransportError,
    UnknownSession,
)
from ztsession.integrations.stream import SocketTransport
from ztsession.limits import TOKEN_BYTES
from ztsession.server import StreamServer


class Desk:
    """A service that counts what it executed, an Authority, and a client's keeper."""

    def __init__(self, house: Any, **point_options: Any) -> None:
        self.house, self.authority = house, house.authority()
        self.point = house.point(self.authority, **point_options)
        self.executed, self.sent, self.signals = Counter[bytes](), list[bytes](), 0
        self.handlers = {name: self._handler(name) for name in ("submit", "cancel")}
        self.keeper = self.keep()
        self.policy = ReauthPolicy.automatic(posture=house.device, pause_s=0.01)
        self._lock = threading.Lock()

    def keep(self, **options: Any) -> SessionKeeper:
        made = SessionKeeper(
            self.house.connect(self.authority),
            {"orders": lambda: self.point},
            dial=self.authority.connection,
            **options,
        )
        self.house.keep(made)
        return made

    def _handler(self, name: str) -> Any:
        @self.point.protect(f"orders.{name}")
        def handler(session: zts.SessionView, body: bytes) -> str:
            with self._lock:
                self.executed[body] += 1
            return session.session.hex()

        return handler

    def submit(self, token: bytes, body: bytes) -> str:
        self.sent.append(token)
        return str(self.handlers["submit"](token, body))

    def cancel(self, token: bytes, body: bytes) -> str:
        self.sent.append(token)
        return str(self.handlers["cancel"](token, body))

    def signal(self, level: zts.Level, kind: str = "posture-drift", **target: Any) -> None:
        self.signals += 1
        target = target or {"device": "host-1"}
        self.authority.signal(zts.Signal(f"s{self.signals}", kind, level, "test", time.time(), **target))

    def audited(self) -> Counter[str]:
        """How often each event was audited."""
        lines = (self.house.state / "audit.jsonl").read_text().splitlines()
        return Counter(line.partition('"event":"')[2].partition('"')[0] for line in lines)


@pytest.fixture
def desk(house: Any) -> Desk:
    return Desk(house)


# ---- What helps


def test_a_restricted_session_steps_up_and_the_order_passes_once(desk: Desk):
    """After a signal the call shows fresh posture by itself, and is executed exactly once."""
    submit = desk.policy.guard(desk.keeper, "orders.submit", desk.submit, authentic=True)
    submit(b"before")
    old = desk.keeper.session.id
    desk.signal(zts.Level.MEDIUM)
    assert submit(b"order") == desk.keeper.session.id.hex() != old.hex()
    assert desk.executed == {b"before": 1, b"order": 1}
    assert len(desk.sent) == len(set(desk.sent)) == 3
    assert desk.audited()["session.granted"] == 2


def test_a_suspended_session_is_authenticated_anew(desk: Desk):
    """Nothing less than everything helps it, and the order passes once."""
    submit = desk.policy.guard(desk.keeper, "orders.submit", desk.submit, authentic=True)
    desk.signal(zts.Level.HIGH)
    assert submit(b"order") == desk.keeper.session.id.hex()
    assert desk.executed == {b"order": 1}


def test_a_revoked_session_gives_way_to_a_new_one(desk: Desk):
    """A session that an operator ended stays over; its client proves itself and gets another."""
    submit = desk.policy.guard(desk.keeper, "orders.submit", desk.submit, authentic=True)
    old = desk.keeper.session.id
    desk.authority.revoke(old)
    assert submit(b"order") == desk.keeper.session.id.hex() != old.hex()
    assert desk.executed == {b"order": 1}


def test_a_point_that_forgot_the_session_gets_the_ticket_again(desk: Desk):
    """A point that was started anew needs no handshake."""
    submit = desk.policy.guard(desk.keeper, "orders.submit", desk.submit, authentic=True)
    assert desk.point.end(desk.keeper.session.id)
    submit(b"order")
    assert desk.executed == {b"order": 1}
    assert desk.audited()["session.granted"] == 1


def test_what_only_people_can_help_is_raised_at_once(house: Any):
    """A refusal that nothing here helps against is sent once and costs no handshake."""
    (house.rules / "trading.cedar").write_text(
        'permit (principal, action == Action::"orders.cancel", resource);'
    )
    desk = Desk(house)
    submit = desk.policy.guard(desk.keeper, "orders.submit", desk.submit, safe_to_repeat=True)
    with pytest.raises(NotPermitted):
        submit(b"order")
    assert len(desk.sent) == 1
    assert desk.audited()["session.granted"] == 1


def test_a_point_that_does_not_hear_is_waited_for_within_a_bound(desk: Desk):
    """STALE is waited out for a moment, and raised when that is over."""
    refusals = [Stale(), Stale()]

    def send(token: bytes, body: bytes) -> str:
        if refusals:
            raise refusals.pop()
        return desk.submit(token, body)

    policy = ReauthPolicy.automatic(wait_s=1.0)
    policy.guard(desk.keeper, "orders.submit", send, authentic=True)(b"order")
    assert desk.executed == {b"order": 1}
    refusals[:] = [Stale() for _ in range(100)]
    before = time.monotonic()
    with pytest.raises(Stale):
        policy.guard(desk.keeper, "orders.submit", send, authentic=True)(b"order")
    assert time.monotonic() - before >= 1.0
    assert len(refusals) == 100 - 6


def test_keys_that_are_used_up_are_renewed(desk: Desk, monkeypatch: pytest.MonkeyPatch):
    """What cannot be signed was not sent: any call waits for fresh keys and passes once."""
    submit = desk.policy.guard(desk.keeper, "orders.submit", desk.submit)
    old = desk.keeper.session.id
    desk.keeper.installed("orders").close()
    assert submit(b"order") == desk.keeper.session.id.hex() != old.hex()
    assert desk.executed == {b"order": 1}
    assert zts.errors.SequenceExhausted.helps == "renew"


def test_a_closed_keeper_stays_closed(desk: Desk):
    """No guarded call brings back a session whose program let it go."""
    submit = desk.policy.guard(desk.keeper, "orders.submit", desk.submit, safe_to_repeat=True)
    desk.keeper.close()
    with pytest.raises(SessionEnded):
        submit(b"order")
    for again in (desk.keeper.renew, desk.keeper.step_up, desk.keeper.reauthenticate):
        with pytest.raises(SessionEnded, match="closed"):
            again()
    with pytest.raises(SessionEnded, match="closed"):
        desk.keeper.install_again("orders")
    assert desk.audited()["session.granted"] == 1


# ---- Never twice


def test_an_order_whose_answer_was_lost_is_not_sent_again(desk: Desk):
    """It may have been executed, and was: the error says that nobody knows."""

    def lossy(token: bytes, body: bytes) -> str:
        desk.submit(token, body)
        raise error

    for error in (TransportError("cut"), TimeoutError("late"), ConnectionResetError("reset")):
        body = str(error).encode()
        with pytest.raises(OutcomeUnknown, match="may have been executed"):
            desk.policy.guard(desk.keeper, "orders.submit", lossy, authentic=True)(body)
        assert desk.executed[body] == 1


def test_what_is_safe_to_repeat_survives_a_lost_answer(desk: Desk):
    """A cancellation by number goes out again under a new token, and gives up within a bound."""
    lost = [TransportError("cut")] * 2

    def lossy(token: bytes, body: bytes) -> str:
        reply = desk.cancel(token, body)
        if lost:
            raise lost.pop()
        return reply

    cancel = desk.policy.guard(desk.keeper, "orders.cancel", lossy, safe_to_repeat=True)
    cancel(b"order 7")
    assert desk.executed == {b"order 7": 3}
    lost[:] = [TransportError("cut")] * 100
    with pytest.raises(TransportError):
        cancel(b"order 8")
    assert len(lost) > 90


def test_a_forged_refusal_gets_no_order_executed_twice(desk: Desk):
    """Whoever sits in the connection and answers "refused" after the order passed causes no second one."""

    def relayed(token: bytes, body: bytes) -> str:
        desk.submit(token, body)
        raise forged

    for forged in (StepUpRequired(), ReauthRequired(), UnknownSession(), Revoked(), TooOld(), Stale()):
        body = forged.verdict.encode()
        submit = desk.policy.guard(desk.keeper, "orders.submit", relayed)
        with pytest.raises(type(forged)):
            submit(body)
        assert desk.executed[body] == 1, forged


def test_a_refused_order_is_put_right_even_where_it_is_not_sent_again(desk: Desk):
    """The program gets the refusal, and a session with which its next call passes."""
    submit = desk.policy.guard(desk.keeper, "orders.submit", desk.submit)
    desk.signal(zts.Level.MEDIUM)
    with pytest.raises(StepUpRequired):
        submit(b"order")
    submit(b"order")
    assert desk.executed == {b"order": 1}
    assert len(desk.sent) == 2


def test_what_was_used_already_is_not_signed_afresh(desk: Desk):
    """REPLAYED means that somebody presented this very token: the order may be executed, and stays single."""

    def raced(token: bytes, body: bytes) -> str:
        desk.submit(token, body)
        return desk.submit(token, body)

    with pytest.raises(Replayed):
        desk.policy.guard(desk.keeper, "orders.submit", raced, authentic=True)(b"order")
    assert desk.executed == {b"order": 1}


def test_another_error_of_the_programs_is_passed_on(desk: Desk):
    """What is neither a refusal nor a lost answer is none of our business."""

    def broken(token: bytes, body: bytes) -> str:
        desk.submit(token, body)
        raise KeyError("book")

    with pytest.raises(KeyError):
        desk.policy.guard(desk.keeper, "orders.submit", broken, safe_to_repeat=True, authentic=True)(b"x")
    assert desk.executed == {b"x": 1}


# ---- Many threads, and floods


def test_eight_threads_that_are_refused_at_once_authenticate_once(desk: Desk):
    """One thread acts, the others take what came of it, and no order is executed twice or lost."""
    desk.policy = ReauthPolicy.automatic(posture=desk.house.device)
    submit = desk.policy.guard(desk.keeper, "orders.submit", desk.submit, authentic=True)
    start, failed = threading.Barrier(8), list[Exception]()
    for round_number in range(3):
        desk.signal((zts.Level.MEDIUM, zts.Level.HIGH)[round_number % 2])

        def trade(number: int, of: int = round_number) -> None:
            start.wait()
            try:
                for each in range(20):
                    submit(b"%d-%d-%d" % (of, number, each))
            except Exception as error:
                failed.append(error)

        threads = [threading.Thread(target=trade, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failed == []
    assert len(desk.executed) == 3 * 8 * 20
    assert set(desk.executed.values()) == {1}
    assert desk.audited()["session.granted"] == 4


def test_no_order_is_executed_twice_while_answers_are_lost_and_signals_come(desk: Desk):
    """Under eight threads, every seventh answer lost and the session hit again and again: each once at most,
    and once where a reply came.
    """
    counted = iter(range(1_000_000))

    def lossy(token: bytes, body: bytes) -> str:
        reply = desk.submit(token, body)
        if next(counted) % 7 == 0:
            raise TransportError("cut")
        return reply

    submit = desk.policy.guard(desk.keeper, "orders.submit", lossy, authentic=True)
    passed, unknown, refused = list[bytes](), list[bytes](), Counter[str]()

    def trade(number: int) -> None:
        for each in range(40):
            body = b"%d-%d" % (number, each)
            try:
                submit(body)
                passed.append(body)
            except OutcomeUnknown:
                unknown.append(body)
            except zts.Denied as denied:
                refused[denied.verdict] += 1

    threads = [threading.Thread(target=trade, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for level in (zts.Level.MEDIUM, zts.Level.HIGH, zts.Level.MEDIUM):
        time.sleep(0.05)
        desk.signal(level)
    for thread in threads:
        thread.join()
    assert max(desk.executed.values()) == 1
    assert set(passed) | set(unknown) == set(desk.executed)
    assert len(passed) + len(unknown) + sum(refused.values()) == 8 * 40
    assert unknown != []


def test_D1_a_refused_client_does_not_become_a_flood(desk: Desk):
    """When full evidence is refused too, calls get their refusal without a handshake until the pause is over,
    and the pauses grow.
    """
    policy = ReauthPolicy.automatic(posture=desk.house.device, pause_s=0.2, pause_max_s=0.4)
    submit = policy.guard(desk.keeper, "orders.submit", desk.submit, authentic=True)
    desk.signal(zts.Level.CRITICAL, "operator", subject="algo-7")
    connections, dial = list[float](), desk.authority.connection
    desk.keeper._dial = lambda: connections.append(time.monotonic()) or dial()
    calls = 0
    while len(connections) < 4:
        with pytest.raises(Revoked) as caught:
            submit(b"order")
        assert isinstance(caught.value.__cause__, HandshakeError)
        calls += 1
    gaps = [after - before for before, after in itertools.pairwise(connections)]
    assert calls > len(connections)
    assert gaps[0] >= 0.2
    assert all(gap >= 0.4 for gap in gaps[1:])
    assert desk.executed == {}


def test_a_remedy_that_does_not_help_is_not_done_again_and_again(desk: Desk):
    """A point that refuses whatever is proven costs one step-up and one full authentication per pause."""

    def send(token: bytes, body: bytes) -> str:
        raise StepUpRequired

    policy = ReauthPolicy.automatic(posture=desk.house.device, pause_s=0.01, pause_max_s=60)
    submit = policy.guard(desk.keeper, "orders.submit", send, authentic=True)
    with pytest.raises(StepUpRequired):
        submit(b"order")
    assert desk.audited()["session.granted"] == 3
    policy._kept[desk.keeper]._pause_s = 60
    policy._kept[desk.keeper].did_not_help(StepUpRequired(), policy._kept[desk.keeper].count)
    for _ in range(100):
        with pytest.raises(StepUpRequired):
            submit(b"order")
    assert desk.audited()["session.granted"] == 3


def test_what_did_not_help_an_order_is_not_tried_for_the_next_one(desk: Desk):
    """An order that is not sent again cannot tell what helped; the next one can: fresh posture does not
    answer a rate, and is not shown again and again.
    """
    submit = desk.policy.guard(desk.keeper, "orders.submit", desk.submit)
    desk.signal(zts.Level.MEDIUM, "order-rate", session=desk.keeper.session.id)
    for _ in range(2):
        with pytest.raises(StepUpRequired):
            submit(b"order")
    assert desk.executed == {}
    submit(b"order")
    assert desk.executed == {b"order": 1}
    assert desk.audited()["session.granted"] == 3
    # Since it passed, the ladder is climbed from its beginning.
    desk.signal(zts.Level.MEDIUM)
    with pytest.raises(StepUpRequired):
        submit(b"next")
    submit(b"next")
    assert desk.executed[b"next"] == 1


def test_D1_orders_that_nothing_helps_are_no_flood_of_handshakes(desk: Desk):
    """Also where each order is sent once: when all was tried there is a pause, and it grows."""

    def send(token: bytes, body: bytes) -> str:
        raise StepUpRequired

    policy = ReauthPolicy.automatic(posture=desk.house.device, pause_s=0.01, pause_max_s=60)
    submit = policy.guard(desk.keeper, "orders.submit", send)
    for _ in range(3):
        with pytest.raises(StepUpRequired):
            submit(b"order")
    assert desk.audited()["session.granted"] == 3
    policy._kept[desk.keeper]._not_before += 60
    for _ in range(20):
        with pytest.raises(StepUpRequired):
            submit(b"order")
    assert desk.audited()["session.granted"] == 3


def test_D6_a_policy_keeps_no_keeper_alive_and_a_guard_does(desk: Desk):
    """Keepers that come and go under one policy go with their keys; as long as there is a guarded call, there
    is what it needs.
    """
    keeper = SessionKeeper(desk.house.connect(desk.authority), {"orders": lambda: desk.point})
    reference, guarded = weakref.ref(keeper), desk.policy.guard(keeper, "orders.submit", desk.submit)
    del keeper
    gc.collect()
    assert reference() is not None
    guarded(b"x")
    del guarded
    gc.collect()
    assert reference() is None
    assert len(desk.policy._kept) == 0


def test_a_call_that_passes_ends_the_growing_of_pauses(desk: Desk):
    """Trouble of today does not slow down the client of tomorrow."""
    submit = desk.policy.guard(desk.keeper, "orders.submit", desk.submit, authentic=True)
    remedies = desk.policy._kept[desk.keeper]
    for _ in range(3):
        remedies.did_not_help(StepUpRequired(), remedies.count)
    assert remedies._pause_s > 0.05
    time.sleep(0.1)
    desk.signal(zts.Level.MEDIUM)
    submit(b"order")
    assert remedies._pause_s == 0.01


def test_a_new_signal_right_after_a_remedy_is_answered_after_the_pause(desk: Desk):
    """Two remedies are a pause apart, and the second call waits for it instead of failing."""
    policy = ReauthPolicy.automatic(posture=desk.house.device, pause_s=0.3)
    submit = policy.guard(desk.keeper, "orders.submit", desk.submit, authentic=True)
    desk.signal(zts.Level.MEDIUM)
    submit(b"first")
    before = time.monotonic()
    desk.signal(zts.Level.MEDIUM)
    submit(b"second")
    assert time.monotonic() - before > 0.2
    assert desk.executed == {b"first": 1, b"second": 1}


def test_a_point_elsewhere_that_is_away_does_not_spoil_the_remedy(desk: Desk):
    """What is in force at the point of the call is enough for the call."""
    other, away = desk.house.point(desk.authority), False

    def way() -> zts.EnforcementPoint:
        if away:
            raise TransportError("nobody answers")
        return other

    keeper = desk.house.keep(
        SessionKeeper(desk.house.connect(desk.authority), {"orders": lambda: desk.point, "orders/2": way})
    )
    verify = other.verifier("orders.submit")
    near = desk.policy.guard(keeper, "orders.submit", desk.submit, authentic=True)
    far = desk.policy.guard(keeper, "orders.submit", verify, authentic=True, point="orders/2")
    away = True
    desk.signal(zts.Level.MEDIUM)
    near(b"order")
    assert desk.executed == {b"order": 1}
    for _ in range(3):
        with pytest.raises(StepUpRequired) as caught:
            far(b"far")
        assert isinstance(caught.value.__cause__, TransportError)
    away = False
    time.sleep(0.1)
    assert far(b"far").session == keeper.session.id
    assert desk.audited()["session.granted"] == 3


def test_a_point_that_goes_away_in_between_costs_one_handshake(desk: Desk):
    """What was granted and could not be brought there waits for the point, and nothing more is proven."""
    gone = False

    def way() -> zts.EnforcementPoint:
        if gone:
            raise TransportError("nobody answers")
        return desk.point

    keeper = desk.house.keep(SessionKeeper(desk.house.connect(desk.authority), {"orders": way}))
    submit = desk.policy.guard(keeper, "orders.submit", desk.submit, authentic=True)
    gone = True
    desk.signal(zts.Level.MEDIUM)
    for _ in range(3):
        with pytest.raises(StepUpRequired):
            submit(b"order")
        time.sleep(0.05)
    gone = False
    time.sleep(0.1)
    submit(b"order")
    assert desk.executed == {b"order": 1}
    assert desk.audited()["session.granted"] == 3


# ---- Asking


def test_the_callback_is_asked_in_the_calls_own_thread(desk: Desk):
    """With the refusal and the session, and never in a thread of the keeper's or of ours."""
    asked = list[tuple[Any, ...]]()

    def ask(refusal: zts.ZtsError, session: zts.Session) -> None:
        asked.append((type(refusal), session.id, threading.get_ident()))

    submit = ReauthPolicy(ask, posture=desk.house.device).guard(
        desk.keeper, "orders.submit", desk.submit, authentic=True
    )
    old = desk.keeper.session.id
    desk.signal(zts.Level.MEDIUM)
    submit(b"order")
    assert asked == [(StepUpRequired, old, threading.get_ident())]


def test_who_declines_keeps_his_session(desk: Desk):
    """Without a factor and without posture there is nothing to show, and no session is given up for it."""
    old = desk.keeper.session.id
    submit = ReauthPolicy(lambda refusal, session: None).guard(
        desk.keeper, "orders.submit", desk.submit, authentic=True
    )
    desk.signal(zts.Level.MEDIUM)
    with pytest.raises(StepUpRequired):
        submit(b"order")
    assert desk.keeper.session.id == old
    desk.policy.guard(desk.keeper, "orders.cancel", desk.cancel)(b"cancel")


def test_mistakes_in_a_policy_are_told(desk: Desk):
    """Impossible times, operations that are not granted, and people asked in an event loop."""
    asking = ReauthPolicy(lambda refusal, session: None)
    for wrong in (
        lambda: ReauthPolicy(pause_s=0),
        lambda: ReauthPolicy(pause_s=2, pause_max_s=1),
        lambda: ReauthPolicy(wait_s=-1),
        lambda: ReauthPolicy.prompting(tries=0),
        lambda: ReauthPolicy.prompting(timeout_s=0),
        lambda: desk.policy.guard(desk.keeper, "orders.sell", desk.submit),
        lambda: desk.policy.guard(desk.keeper, "md.read", desk.submit),
        lambda: asking.guard_async(desk.keeper, "orders.submit", asyncio.sleep),
    ):
        with pytest.raises(ConfigurationError):
            wrong()


def test_what_helps_is_said_for_each_verdict():
    """One word beside each verdict, and none for what no client can mend."""
    helps = {kind.verdict: kind.helps for kind in zts.Denied.__subclasses__()}
    assert {verdict: word for verdict, word in helps.items() if word} == {
        "STEP_UP_REQUIRED": "step-up",
        "REAUTH_REQUIRED": "re-authenticate",
        "REVOKED": "re-authenticate",
        "EXPIRED": "re-authenticate",
        "UNKNOWN_SESSION": "install",
        "BAD_EPOCH": "install",
        "TOO_OLD": "install",
        "FROM_FUTURE": "install",
        "STALE": "wait",
    }


# ---- Over a socket


class Service:
    """The desk behind a socket: token and body in, reply or the verdict's name out."""

    def __init__(self, desk: Desk) -> None:
        self.desk, self.drops = desk, list[str]()

    def exchange(self, message: bytes) -> bytes:
        if self.drops:
            cut = self.drops.pop(0)
            if cut == "after":
                self._answer(message)
            raise TransportError("cut")
        return self._answer(message)

    def _answer(self, message: bytes) -> bytes:
        try:
            return b"OK" + self.desk.submit(message[:TOKEN_BYTES], message[TOKEN_BYTES:]).encode()
        except zts.Denied as denied:
            return denied.verdict.encode()


REFUSALS = {kind.verdict: kind for kind in zts.Denied.__subclasses__()}


def over(address: Any) -> Callable[[bytes, bytes], str]:
    """A connection for each call, so that a lost one spoils no other."""

    def send(token: bytes, body: bytes) -> str:
        with SocketTransport.connect(address) as transport:
            reply = transport.exchange(token + body).decode()
        if not reply.startswith("OK"):
            raise REFUSALS[reply]
        return reply[2:]

    return send


def test_over_a_socket_an_order_is_executed_once_whatever_happens(desk: Desk):
    """Signals between calls, and connections that are cut before and after the service executed."""
    service = Service(desk)
    with StreamServer(("127.0.0.1", 0), lambda source: service) as server:
        submit = desk.policy.guard(desk.keeper, "orders.submit", over(server.address), authentic=True)
        assert submit(b"one") == desk.keeper.session.id.hex()
        desk.signal(zts.Level.MEDIUM)
        assert submit(b"two") == desk.keeper.session.id.hex()
        desk.signal(zts.Level.HIGH)
        assert submit(b"three") == desk.keeper.session.id.hex()
        for cut, body in (("before", b"four"), ("after", b"five")):
            service.drops.append(cut)
            with pytest.raises(OutcomeUnknown):
                submit(body)
        repeat = desk.policy.guard(desk.keeper, "orders.submit", over(server.address), safe_to_repeat=True)
        service.drops.append("before")
        repeat(b"six")
    assert desk.executed == {b"one": 1, b"two": 1, b"three": 1, b"five": 1, b"six": 1}


# ---- In an event loop


def test_in_an_event_loop_the_same_holds(desk: Desk):
    """Thirty tasks that are refused at once cause one step-up, and each order passes once."""

    async def send(token: bytes, body: bytes) -> str:
        await asyncio.sleep(0)
        return desk.submit(token, body)

    async def lossy(token: bytes, body: bytes) -> str:
        await send(token, body)
        raise TransportError("cut")

    async def trade() -> list[str]:
        submit = desk.policy.guard_async(desk.keeper, "orders.submit", send, authentic=True)
        desk.signal(zts.Level.MEDIUM)
        replies = await asyncio.gather(*(submit(b"%d" % number) for number in range(30)))
        with pytest.raises(OutcomeUnknown):
            await desk.policy.guard_async(desk.keeper, "orders.submit", lossy, authentic=True)(b"lost")
        return replies

    replies = asyncio.run(trade())
    assert set(replies) == {desk.keeper.session.id.hex()}
    assert desk.executed == {b"lost": 1, **{b"%d" % number: 1 for number in range(30)}}
    assert desk.audited()["session.granted"] == 2


def test_R17_a_cancelled_call_is_not_sent_again_and_spoils_no_other(desk: Desk):
    """Whoever gives up during the step-up leaves it to the others, and his order is never sent afterwards."""
    began, go_on = threading.Event(), threading.Event()
    step_up = desk.keeper.step_up

    def slow(**shown: Any) -> zts.Session:
        began.set()
        go_on.wait(20)
        return step_up(**shown)

    async def send(token: bytes, body: bytes) -> str:
        return desk.submit(token, body)

    async def trade() -> str:
        submit = desk.policy.guard_async(desk.keeper, "orders.submit", send, authentic=True)
        desk.signal(zts.Level.MEDIUM)
        given_up = asyncio.create_task(submit(b"given up"))
        await asyncio.to_thread(began.wait, 20)
        other = asyncio.create_task(submit(b"other"))
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        go_on.set()
        return await other

    desk.keeper.step_up = slow  # type: ignore[method-assign]
    assert asyncio.run(trade()) == desk.keeper.session.id.hex()
    assert desk.executed == {b"other": 1}
    assert desk.audited()["session.granted"] == 2


def test_R18_a_session_that_is_revoked_while_it_steps_up_stays_over(desk: Desk):
    """The client comes back by full evidence alone, and the old session's keys are good for nothing."""
    submit = desk.policy.guard(desk.keeper, "orders.submit", desk.submit, authentic=True)
    step_up, old = desk.keeper.step_up, desk.keeper.session
    held = desk.keeper.installed("orders").signer("orders.submit")

    def crossed(**shown: Any) -> zts.Session:
        desk.authority.revoke(old.id)
        return step_up(**shown)

    desk.keeper.step_up = crossed  # type: ignore[method-assign]
    desk.signal(zts.Level.MEDIUM)
    assert submit(b"order") == desk.keeper.session.id.hex()
    assert desk.executed == {b"order": 1}
    with pytest.raises(Revoked):
        desk.submit(held(b"late"), b"late")
    assert desk.authority.session(desk.keeper.session.id).mode == zts.Mode.NORMAL
