"""A session that is kept: fresh keys in time, at every point, without a refused call."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import ztsession as zts
from ztsession.authority.rotation import Rotation
from ztsession.client import SessionKeeper
from ztsession.errors import ConfigurationError, SessionEnded, TransportError


class Switch:
    """A way to a point that can be cut."""

    def __init__(self, point: zts.EnforcementPoint) -> None:
        self.point, self.cut = point, False

    def __call__(self) -> zts.EnforcementPoint:
        if self.cut:
            raise TransportError("nobody answers")
        return self.point


@pytest.fixture
def firm(house: Any) -> tuple[zts.Authority, zts.EnforcementPoint, zts.Session]:
    authority = house.authority()
    return authority, house.point(authority), house.connect(authority)


def test_signers_go_over_to_the_fresh_keys(firm: Any):
    """After a renewal the same signer signs for the new session, and the point takes it."""
    authority, point, session = firm
    keeper = SessionKeeper(session, {"orders": lambda: point})
    sign, call = keeper.signer("orders.submit"), point.verifier("orders.submit")
    before = call(sign(b"x"), b"x").handle
    renewed = keeper.renew()
    after = call(sign(b"x"), b"x")
    assert after.handle != before
    assert after.session == renewed.id == keeper.session.id != session.id
    assert keeper.signer("orders.submit") is sign
    assert [record.id for record in authority.sessions()] == [renewed.id]
    keeper.close()
    with pytest.raises(SessionEnded):
        sign(b"x")


def test_a_thread_that_is_about_to_sign_with_the_old_keys_can(firm: Any):
    """Whoever took up the old signer a moment before the change signs with it, and the point takes it."""
    _, point, session = firm
    keeper = SessionKeeper(session, {"orders": lambda: point})
    held = keeper.installed("orders").signer("orders.submit")
    keeper.renew()
    assert point.verifier("orders.submit")(held(b"x"), b"x").session == session.id


def test_no_call_of_four_threads_is_refused_over_fifty_renewals(house: Any):
    """Make before break: every token that is signed at any moment of a renewal passes."""
    authority = house.authority()
    # Wide enough for a thread that is held up between signing and calling while the others go on.
    point, session = house.point(authority, window_words=1024), house.connect(authority)
    keeper = SessionKeeper(session, {"orders": lambda: point})
    sign, call = keeper.signer("orders.submit"), point.verifier("orders.submit")
    stop, passed, refused = threading.Event(), [0] * 4, list[Exception]()

    def trade(number: int) -> None:
        while not stop.is_set():
            for _ in range(20):
                try:
                    call(sign(b"x"), b"x")
                    passed[number] += 1
                except zts.ZtsError as error:
                    refused.append(error)
            time.sleep(0.0005)

    threads = [threading.Thread(target=trade, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(50):
        keeper.renew()
    stop.set()
    for thread in threads:
        thread.join()
    keeper.close()
    assert refused == []
    assert all(count > 0 for count in passed)


def test_the_thread_renews_in_time(firm: Any, eventually: Callable[..., None]):
    """Inside the with block the session is another one before long, again and again; outside it rests."""
    _, point, session = firm
    seen = {session.id}
    with SessionKeeper(session, {"orders": lambda: point}, renew_every_s=0.02) as keeper:

        def another() -> bool:
            seen.add(keeper.session.id)
            return len(seen) >= 4

        eventually(another)
    last = keeper.session.id
    time.sleep(0.1)
    assert keeper.session.id == last


def test_a_point_that_does_not_answer_gets_the_session_later(house: Any, eventually: Callable[..., None]):
    """The other points go on with the fresh keys, and the one that was away follows by itself."""
    authority = house.authority()
    near, far = house.point(authority), Switch(house.point(authority))
    keeper = SessionKeeper(
        house.connect(authority), {"orders": lambda: near, "orders/2": far}, renew_every_s=0.05
    )
    one, two = keeper.signer("orders.submit"), keeper.signer("orders.submit", "orders/2")
    far.cut = True
    with pytest.raises(TransportError):
        keeper.renew()
    assert near.verifier("orders.submit")(one(b"x"), b"x").session == keeper.session.id
    # Within the overlap the old keys still work where the new ones could not be brought.
    assert far.point.verifier("orders.submit")(two(b"x"), b"x").session != keeper.session.id
    far.cut = False
    with keeper:
        call = far.point.verifier("orders.submit")
        eventually(lambda: call(two(b"x"), b"x").session == keeper.installed("orders/2").grant.session)
        eventually(lambda: keeper.installed("orders").grant.session == keeper.session.id)


def test_what_cannot_be_renewed_is_authenticated_in_full(firm: Any):
    """A suspended session comes back by full evidence, at the same points and signers."""
    authority, point, session = firm
    keeper = SessionKeeper(session, {"orders": lambda: point})
    sign, call = keeper.signer("orders.submit"), point.verifier("orders.submit")
    authority.signal(zts.Signal("1", "posture-drift", zts.Level.HIGH, "test", time.time(), device="host-1"))
    with pytest.raises(zts.errors.ReauthRequired):
        call(sign(b"x"), b"x")
    keeper.renew()
    assert call(sign(b"x"), b"x").session == keeper.session.id


def test_a_retired_static_key_is_authenticated_past_in_full(firm: Any):
    """A session that knows a static key which is no more goes on under the new one, and renews by that."""
    authority, point, session = firm
    keeper = SessionKeeper(session, {"orders": lambda: point}, dial=authority.connection)
    sign, call = keeper.signer("orders.submit"), point.verifier("orders.submit")
    rotation = Rotation(authority.keys, authority._changes, authority._audit)
    rotation.rotate_static(overlap_s=0)
    keeper.renew()
    assert call(sign(b"x"), b"x").session == keeper.session.id != session.id
    full = keeper.session
    keeper.renew()
    assert [record.id for record in authority.sessions()] == [keeper.session.id] != [full.id]
    assert call(sign(b"x"), b"x").session == keeper.session.id
    keeper.close()


def test_an_authority_that_is_away_ends_nothing(firm: Any, caplog: pytest.LogCaptureFixture):
    """A renewal that fails leaves the session and its keys as they were."""
    _, point, session = firm

    def away() -> Any:
        raise TransportError("nobody answers")

    keeper = SessionKeeper(session, {"orders": lambda: point}, dial=away, renew_every_s=0.01)
    sign, call = keeper.signer("orders.submit"), point.verifier("orders.submit")
    with pytest.raises(TransportError):
        keeper.renew()
    with keeper:
        time.sleep(0.1)
    assert "could not be renewed" in caplog.text
    # The thread is over; the keys were wiped with it.
    with pytest.raises(SessionEnded):
        call(sign(b"x"), b"x")
    assert session.renew()


def test_mistakes_are_told(firm: Any):
    """A point, an operation or an interval that cannot be is named."""
    _, point, session = firm
    keeper = SessionKeeper(session, {"orders": lambda: point})
    for wrong in (
        lambda: keeper.signer("orders.sell"),
        lambda: keeper.signer("md.read"),
        lambda: keeper.installed("other"),
        lambda: SessionKeeper(session, {}, renew_every_s=0),
    ):
        with pytest.raises(ConfigurationError):
            wrong()


def test_a_point_that_stays_away_keeps_no_session_from_being_renewed(
    house: Any, eventually: Callable[..., None]
):
    """However long one point is gone, whatever its way there raises, the others get fresh keys in time."""
    authority = house.authority()
    near, errors = house.point(authority), [TransportError("nobody answers"), OSError(5, "no such host")]
    far = house.point(authority)

    def way() -> zts.EnforcementPoint:
        if gone:
            errors.append(errors.pop(0))
            raise errors[-1]
        return far

    gone = False
    keeper = SessionKeeper(
        house.connect(authority), {"orders": way, "orders/2": lambda: near}, renew_every_s=0.02
    )
    gone, seen = True, set[bytes]()
    with keeper:

        def another() -> bool:
            seen.add(keeper.installed("orders/2").grant.session)
            return len(seen) >= 4

        eventually(another)
        gone = False
        eventually(lambda: keeper.installed("orders").grant.session not in seen)


def test_points_that_were_away_are_served_last(house: Any):
    """The overlap runs: whoever did not answer the last time does not keep the others waiting."""
    authority = house.authority()
    point, order = house.point(authority), list[str]()
    gone = False

    def way(name: str) -> zts.EnforcementPoint:
        order.append(name)
        if gone and name == "orders":
            raise TransportError("nobody answers")
        return point

    names = ("orders", "orders/2", "orders/3")
    keeper = SessionKeeper(house.connect(authority), {name: lambda name=name: way(name) for name in names})
    gone = True
    for _ in range(2):
        order.clear()
        with pytest.raises(TransportError):
            keeper.renew()
    assert order == ["orders/2", "orders/3", "orders"]
    gone = False
    keeper.renew()
    order.clear()
    keeper.renew()
    assert order == list(names)


def test_a_kept_session_steps_up_and_goes_on_being_kept(firm: Any, house: Any):
    """More evidence through the keeper: its signers sign for the session that comes of it."""
    _, point, session = firm
    keeper = SessionKeeper(session, {"orders": lambda: point})
    sign, call = keeper.signer("orders.submit"), point.verifier("orders.submit")
    stepped = keeper.step_up(posture=house.device)
    assert stepped.id == keeper.session.id != session.id
    assert call(sign(b"x"), b"x").session == stepped.id
    keeper.renew()
    assert call(sign(b"x"), b"x").session == keeper.session.id != stepped.id


def test_a_keeper_renews_when_the_hour_has_changed_what_is_allowed(house: Any, eventually: Any):
    """What is allowed from some hour on is there soon after it, without waiting for the next renewal."""
    # A clock on which the next minute, in which the phase begins, is three seconds away.
    real = time.time()
    ahead_s = 57 - real % 60 + (60 if (real + 60) % 86_400 < 120 else 0)
    opening = time.strftime("%H:%M", time.gmtime((real + ahead_s) // 60 * 60 + 60))
    (house.rules / "calendar.toml").write_text(f'[phases]\nopen = "{opening}"\n')
    (house.rules / "trading.cedar").write_text(
        'permit (principal, action, resource) when { context.phase == "open" };\n'
        'permit (principal, action in Action::"effect:risk-reducing", resource);\n'
    )
    authority = house.authority(clock=lambda: time.time() + ahead_s)
    point = house.point(authority, wall_clock=lambda: time.time() + ahead_s)
    keeper = SessionKeeper(house.connect(authority), {"orders": lambda: point})
    cancel, submit = keeper.signer("orders.cancel"), keeper.signer("orders.submit")

    def allowed() -> bool:
        token, body = submit(b"x"), b"x"
        return point.verify_batch("orders.submit", token, body)[0] == zts.VERDICTS.index("OK")

    with keeper:
        assert not allowed() or time.time() + ahead_s >= (real + ahead_s) // 60 * 60 + 60
        eventually(allowed)
        point.verifier("orders.cancel")(cancel(b"x"), b"x")
