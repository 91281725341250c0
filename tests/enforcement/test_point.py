"""The enforcement point's own face: binding operations, answering, ending, and not outliving its owner."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from array import array
from collections.abc import Callable
from typing import Any

import pytest

import ztsession as zts
from ztsession.bus.change import Change
from ztsession.clock import FakeClock
from ztsession.errors import ConfigurationError, NotPermitted, Replayed, SessionEnded, UnknownSession
from ztsession.risk.levels import Mode
from ztsession.testing import pair

OPERATIONS = ("orders.submit", "orders.cancel")


@pytest.fixture
def both() -> Any:
    client, point = pair("orders", OPERATIONS)
    with point:
        yield client, point


def threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "ztsession-orders"}


def test_a_protected_function_runs_for_a_good_call_only(both: Any):
    """The handler sees who calls and the body that was verified; a replay never reaches it."""
    client, point = both
    seen = []

    @point.protect("orders.submit")
    def submit(session: zts.SessionView, body: bytes, venue: str = "") -> str:
        seen.append((session.subject, body, venue))
        return "done"

    token = client.sign("orders.submit", b"buy")
    assert submit(token, b"buy", venue="X") == "done"
    with pytest.raises(Replayed):
        submit(token, b"buy")
    assert seen == [("algo-1", b"buy", "X")]
    assert submit.__name__ == "submit"


def test_protect_works_on_methods_and_coroutines(both: Any):
    """A method gets its instance, and an async handler is verified before its coroutine exists."""
    client, point = both

    class Desk:
        name = "rates"

        @point.protect("orders.cancel")
        def cancel(self, session: zts.SessionView, body: bytes) -> tuple[str, bytes]:
            return self.name, body

    @point.protect("orders.submit")
    async def submit(session: zts.SessionView, body: bytes) -> bytes:
        await asyncio.sleep(0)
        return body

    assert Desk().cancel(client.sign("orders.cancel", b"1"), b"1") == ("rates", b"1")
    token = client.sign("orders.submit", b"2")
    assert asyncio.run(submit(token, b"2")) == b"2"
    with pytest.raises(Replayed):
        submit(token, b"2")


def test_a_verifier_without_an_operation_takes_any_and_names_it(both: Any):
    """One verifier can serve a whole segment when the caller looks at the view."""
    client, point = both
    verify = point.verifier()
    assert [verify(client.sign(name, b"x"), b"x").operation for name in OPERATIONS] == list(OPERATIONS)


def test_verify_batch_gives_a_verdict_for_each_call(both: Any):
    """Good, replayed, changed and unknown calls are told apart in order, also with bodies of any length."""
    client, point = both
    tokens = client.sign_batch("orders.submit", b"aabbcc", count=3)
    verdicts = point.verify_batch("orders.submit", tokens + tokens[:48] + bytes(48), b"aabbccaaxx")
    assert [zts.VERDICTS[code] for code in verdicts] == ["OK", "OK", "OK", "REPLAYED", "MALFORMED"]
    offsets = array("Q", [0, 1, 1, 4])
    tokens = client.sign_batch("orders.submit", b"abcd", offsets=offsets)
    out = bytearray(3)
    assert point.verify_batch("orders.submit", tokens, b"abcd", offsets, out) is out
    assert bytes(out) == bytes(3)


def test_replies_are_signed_to_the_session_that_called(both: Any):
    """A reply and a pushed message open at that client, and at no other one."""
    client, point = both
    other = point.authority.connect(point)
    view = point.verifier("orders.submit")(client.sign("orders.submit", b"x"), b"x")
    for token in (
        point.sign_reply(view, b"filled"),
        point.signer(view, "orders.submit")(b"filled"),
        point.signer(client.handle, "orders.cancel")(b"filled"),
    ):
        with pytest.raises(UnknownSession):
            other.open_reply(token, b"filled")
        assert client.open_reply(token, b"filled")


def test_an_unknown_operation_is_a_sentence_with_the_known_ones(both: Any):
    """A misspelt name fails where it is bound and not at the first call."""
    client, point = both
    sentence = "segment 'orders' has no operation 'orders.sumbit', only orders.submit, orders.cancel"
    for bind in (point.protect, point.verifier, lambda name: point.signer(client.handle, name)):
        with pytest.raises(ConfigurationError, match=sentence):
            bind("orders.sumbit")
    with pytest.raises(ConfigurationError, match=sentence):
        point.verify_batch("orders.sumbit", b"", b"")


def test_a_session_can_be_logged_out_and_looked_at(both: Any):
    """end() is for this point alone; the state of a session is there until then."""
    client, point = both
    view = point.verifier("orders.submit")(client.sign("orders.submit", b"x"), b"x")
    state = point.session(view)
    assert (state["mode"], state["accepted"]) == ("NORMAL", 1)
    assert point.end(client.grant.session)
    assert not point.end(client.grant.session)
    assert point.session(view) is None
    with pytest.raises(UnknownSession):
        point.verifier("orders.submit")(client.sign("orders.submit", b"x"), b"x")
    with pytest.raises(SessionEnded):
        _ = view.subject


def test_refusals_are_counted_by_name(both: Any):
    """What was refused can be read as numbers under the protocol's names."""
    client, point = both
    token = client.sign("orders.submit", b"x")
    codes = point.verify_batch("orders.submit", token * 3, b"xxx")
    assert list(codes) == [0, *[zts.VERDICTS.index("REPLAYED")] * 2]
    assert point.refused()["REPLAYED"] == 2


def test_narrowing_takes_an_operation_from_every_session_of_the_decision(both: Any):
    """One change is obeyed by the next call of each session that shares the profile, and by no other."""
    client, point = both
    authority = point.authority
    other = authority.connect(point, authority.grant(assurance=2))
    authority.narrow(client.grant.profile_digest(), [2, 2, 0])
    with pytest.raises(NotPermitted):
        point.verifier("orders.submit")(client.sign("orders.submit", b"x"), b"x")
    assert point.verifier("orders.cancel")(client.sign("orders.cancel", b"x"), b"x")
    assert point.verifier("orders.submit")(other.sign("orders.submit", b"x"), b"x")


def test_a_closed_point_hears_no_more(both: Any, eventually: Callable[..., None]):
    """After close() its thread ends and changes no longer reach it; closing twice is harmless."""
    client, point = both
    authority, running = point.authority, threads()
    assert running
    point.close()
    point.close()
    eventually(lambda: threads() < running)
    authority.set_mode(client.grant.session, Mode.SUSPENDED)
    assert point.session(client.handle)["mode"] == "NORMAL"
    assert authority._bus._subscribers == ()


def test_a_dropped_point_is_collected_and_its_thread_ends(eventually: Callable[..., None]):
    """Nobody has to close a point: its table, its thread and its subscription go when it does."""
    before = threads()
    client, point = pair("orders", OPERATIONS, lease_us=100_000)
    # Its short lease runs out without it, and cancelling outlives that.
    authority, handler = point.authority, point.protect("orders.cancel")(lambda session, body: body)
    gone = weakref.ref(point)
    assert threads() > before
    del point

    def collected() -> bool:
        gc.collect()
        return gone() is None

    eventually(collected)
    eventually(lambda: threads() <= before)
    assert authority._bus._subscribers == ()
    assert handler(client.sign("orders.cancel", b"x"), b"x") == b"x"


def test_a_dropped_point_without_a_thread_leaves_no_subscription():
    """Also with a manual clock nothing at the Authority keeps a point's table alive."""
    _, point = pair("orders", OPERATIONS, clock=FakeClock())
    authority = point.authority
    assert len(authority._bus._subscribers) == 1
    del point
    gc.collect()
    assert authority._bus._subscribers == ()


def test_housekeeping_survives_an_error_that_nobody_foresaw(
    eventually: Callable[..., None], caplog: pytest.LogCaptureFixture
):
    """An exception of any kind is logged, and the point hears from its Authority again afterwards."""
    _, point = pair("orders", OPERATIONS, lease_us=200_000)
    authority = point.authority
    working = authority.feed

    def broken(_: bytes) -> bytes:
        raise TypeError("not foreseen")

    authority.feed = broken
    eventually(lambda: "not foreseen" in caplog.text)
    authority.feed = working
    deadline = point.table.lease_deadline_us
    eventually(lambda: point.table.lease_deadline_us > deadline)
    point.close()


def test_sessions_end_with_their_idle_time_without_a_call():
    """Housekeeping ends what was silent for too long and takes it off the books."""
    clock = FakeClock()
    client, point = pair("orders", OPERATIONS, clock=clock, segment_keys={"idle_s": 60})
    clock.advance(59)
    point.maintain()
    assert point.verifier("orders.submit")(client.sign("orders.submit", b"x"), b"x")
    clock.advance(61)
    point.maintain()
    assert (point.table.live, point.table.records(), len(point._installer._places)) == (0, {}, 0)


def test_one_failing_point_keeps_no_change_from_the_others(both: Any):
    """A subscriber that raises does not stop a revocation on its way to the rest."""
    client, point = both
    authority = point.authority

    def raises(change: Change) -> None:
        raise RuntimeError("broken")

    authority._bus._subscribers = ((object(), raises), *authority._bus._subscribers)
    authority.set_mode(client.grant.session, Mode.REVOKED)
    with pytest.raises(zts.errors.Revoked):
        point.verifier("orders.submit")(client.sign("orders.submit", b"x"), b"x")


def test_a_point_signs_in_batches_and_the_client_opens_them():
    """Messages that are pushed to one session come as batches both ways, and each counts once."""
    client, point = pair()
    bodies = b"".join(b"quote %02d" % number for number in range(20))
    tokens = point.sign_batch(client.handle, "orders.submit", bodies, count=20)
    assert client.open_batch("orders.submit", tokens, bodies) == bytes(20)
    assert client.open_batch("orders.submit", tokens, bodies) == bytes([zts.VERDICTS.index("REPLAYED")]) * 20
    point.close()
