"""A flood of revocations: nobody is forgotten in it, nobody else is hurt, and it is forgotten in time."""

from __future__ import annotations

import os

import pytest
from test_feed_attacks import LEASE_S, Scene

from ztsession.bus.feed import CHANGES_MAX
from ztsession.bus.taken import GENERATION_US
from ztsession.client.installing import install_ticket
from ztsession.errors import InstallationError, Revoked, TransportError
from ztsession.risk.levels import Mode

FLOOD = 40 * CHANGES_MAX


def revoke(scene: Scene, session: bytes = b"") -> None:
    """One more revocation, by default of a session that nobody knows."""
    scene.line.true.set_mode(session or os.urandom(16), Mode.REVOKED)


def test_R15_the_one_that_matters_is_not_lost_in_a_flood() -> None:
    """Among thousands of revocations that were not pushed, a point finds its own session's at once."""
    scene = Scene()
    other = scene.line.true.connect(scene.point, clock=scene.clock)
    for number in range(FLOOD):
        mine = number == FLOOD // 2
        revoke(scene, scene.session if mine else os.urandom(16))
    assert scene.call()
    assert scene.point.maintain()
    with pytest.raises(Revoked):
        scene.call()
    assert scene.point.verifier("orders.submit")(other.sign("orders.submit", b"x"), b"x")


def test_R15_a_flood_that_is_half_heard_prolongs_no_lease() -> None:
    """A point that is cut off in the middle of the flood has the first half of it, and trusts no longer."""
    scene = Scene()
    for _ in range(FLOOD):
        revoke(scene)
    answers = iter(range(FLOOD // CHANGES_MAX // 2))

    def cut_off(request: bytes) -> bytes:
        if next(answers, None) is None:
            raise TransportError("cut off")
        return scene.line.true.feed(request)

    scene.line.answer = cut_off
    before = scene.point.table.lease_deadline_us
    scene.clock.advance(LEASE_S / 2)
    assert not scene.point.maintain()
    assert scene.point.table.lease_deadline_us == before
    assert len(scene.point._listener._modes) == FLOOD // 2
    scene.line.answer = scene.line.true.feed
    assert scene.point.maintain()
    assert scene.point.table.lease_deadline_us > before
    assert len(scene.point._listener._modes) == FLOOD


def test_R15_D6_a_flood_is_forgotten_when_none_of_it_can_matter() -> None:
    """Two generations later the memory of it is gone, and until then all of them were refused."""
    scene = Scene()
    revoked = [os.urandom(16) for _ in range(FLOOD)]
    for session in revoked:
        revoke(scene, session)
    assert scene.point.maintain()
    assert len(scene.point._listener._modes) == FLOOD
    assert all(scene.point._listener.mode_of(session) == "REVOKED" for session in revoked)
    for _ in range(3):
        scene.clock.advance(GENERATION_US / 1e6 + 1)
        assert scene.point.maintain()
    assert len(scene.point._listener._modes) == 0


def test_R15_R16_what_was_revoked_in_the_flood_is_not_installed_after_it() -> None:
    """A ticket whose session was revoked before it came is refused, whatever came in between."""
    scene = Scene()
    grant, secret = scene.line.true.grant(), os.urandom(32)
    revoke(scene, grant.session)
    for _ in range(FLOOD):
        revoke(scene)
    assert scene.point.maintain()
    ticket = scene.line.true.ticket(grant, secret)
    with pytest.raises(InstallationError):
        install_ticket(scene.point, grant, ticket, secret)
