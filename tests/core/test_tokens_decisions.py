"""What an authentic token may do: modes, lease, assurance, narrowing, the end of a session."""

from __future__ import annotations

import os

import pytest
from worlds import (
    AMEND,
    CANCEL,
    HOUR_US,
    REPLACE,
    SECOND,
    STATUS,
    SUBMIT,
    Session,
    World,
    profile_of,
)

from ztsession import errors
from ztsession._limits import LIMITS

# ---- Modes


def test_restricted_lets_only_its_operations_run(world: World, session: Session) -> None:
    """In RESTRICTED submit wants a step-up, while cancel and status pass."""
    assert world.point.set_mode(session.handle, "RESTRICTED")
    world.refuses(errors.StepUpRequired, session.sign(), charged=session)
    for operation in (CANCEL, STATUS):
        view = world.passes(session, session.sign(operation=operation), operation=operation)
        assert view.mode == "RESTRICTED"


def test_suspended_lets_only_cancel_run(world: World, session: Session) -> None:
    """In SUSPENDED everything wants re-authentication except what is always allowed."""
    assert world.point.set_mode(session.handle, "SUSPENDED")
    for operation in (SUBMIT, STATUS):
        world.refuses(
            errors.ReauthRequired, session.sign(operation=operation), operation=operation, charged=session
        )
    world.passes(session, session.sign(operation=CANCEL), operation=CANCEL)


def test_modes_can_be_lifted(world: World, session: Session) -> None:
    """Back in NORMAL everything that the grant allows passes again."""
    for mode in ("SUSPENDED", "RESTRICTED", "NORMAL"):
        assert world.point.set_mode(session.handle, mode)
    world.passes(session, session.sign())


@pytest.mark.parametrize("mode", ["REVOKED", "FREE", "ABANDONED", "normal", ""])
def test_only_live_modes_can_be_set(world: World, session: Session, mode: str) -> None:
    """A session cannot be ended, nor anything undefined be done to it, by way of its mode."""
    with pytest.raises(ValueError, match="expected one of"):
        world.point.set_mode(session.handle, mode)
    world.passes(session, session.sign())


def test_revoked_is_for_ever(world: World, session: Session) -> None:
    """After a revocation no mode can be set, no end be made twice, and every token of the session is
    refused.
    """
    tokens = [session.sign() for _ in range(2)]
    assert session.end(revoked=True)
    assert not session.end(revoked=True)
    for mode in ("NORMAL", "RESTRICTED"):
        assert not world.point.set_mode(session.handle, mode)
    for token in tokens:
        world.refuses(errors.Revoked, token)
    assert world.point.session(session.handle) is None


def test_an_ended_session_is_unknown(world: World, session: Session) -> None:
    """A session that ended without a revocation is simply not known any more."""
    token = session.sign()
    assert session.end(revoked=False)
    world.refuses(errors.UnknownSession, token)


def test_a_session_that_is_over_signs_nothing(world: World, session: Session) -> None:
    """Neither end signs for a session that it ended."""
    session.end()
    with pytest.raises(errors.SessionEnded):
        session.reply()
    assert session.client.end(session.handle, revoked=False)
    with pytest.raises(errors.SessionEnded):
        session.sign()


def test_T19_a_restarted_point(world: World, session: Session) -> None:
    """After a restart a recorded token is unknown, and under the new handle a bad tag: the new keys are
    new.
    """
    recorded = session.sign()
    world.passes(session, recorded)
    restarted = world.new_point()
    world.refuses(errors.UnknownSession, recorded, point=restarted)
    again = world.install(point=restarted, secret=session.secret)
    moved = recorded[:8] + again.handle.to_bytes(8, "little") + recorded[16:]
    world.refuses(errors.UnknownSession, recorded, point=restarted)
    world.refuses(errors.BadTag, moved, point=restarted)
    world.passes(again, again.sign())


# ---- Lease


def test_lease_decides_by_operation(world: World, session: Session) -> None:
    """When the lease has run out, submit is stale at once, status after its 1.5 s, cancel never."""
    deadline = world.now_us + SECOND
    world.point.set_lease(deadline)
    for at, passing in (
        (deadline, (SUBMIT, STATUS, CANCEL)),
        (deadline + 1, (STATUS, CANCEL)),
        (deadline + 1_500_000, (STATUS, CANCEL)),
        (deadline + 1_500_001, (CANCEL,)),
        (deadline + HOUR_US // 4, (CANCEL,)),
    ):
        world.at(at)
        world.point.sweep()
        session.client.sweep()
        for operation in (SUBMIT, STATUS, CANCEL):
            token = session.sign(operation=operation)
            if operation in passing:
                world.passes(session, token, operation=operation)
            else:
                world.refuses(errors.Stale, token, operation=operation, charged=session)
    world.point.set_lease(world.now_us)
    world.passes(session, session.sign())


def test_a_point_that_heard_nothing_is_stale(world: World, session: Session) -> None:
    """A lease of zero closes what needs one."""
    world.point.set_lease(0)
    world.refuses(errors.Stale, session.sign(), charged=session)
    assert world.point.lease_deadline_us == 0


# ---- Assurance and narrowing


def test_step_up_is_asked_for(world: World, session: Session) -> None:
    """An operation that wants more assurance is refused with what would help, and others are not."""
    world.refuses(errors.StepUpRequired, session.sign(operation=AMEND), operation=AMEND, charged=session)
    world.passes(session, session.sign())


def test_narrowing_holds_for_every_session_of_the_profile(world: World) -> None:
    """One narrowing takes an operation from all sessions with that grant at once, and from no other's."""
    first, second = world.install(), world.install()
    other = world.install(profile_of(b"another grant".ljust(32)))
    assert world.point.narrow(b"profile".ljust(32), [~(1 << SUBMIT) & 0xFF, 0xFF, 0xFF])
    for session in (first, second):
        world.refuses(errors.NotPermitted, session.sign(), charged=session)
        world.passes(session, session.sign(operation=STATUS), operation=STATUS)
    world.passes(other, other.sign())


def test_narrowing_never_widens(world: World, session: Session) -> None:
    """Narrowing with all bits set gives nothing back, in no mode."""
    digest = b"profile".ljust(32)
    assert world.point.narrow(digest, [0, 0, 0])
    assert world.point.narrow(digest, [2**64 - 1] * 3)
    for mode in ("NORMAL", "RESTRICTED", "SUSPENDED"):
        world.point.set_mode(session.handle, mode)
        for operation in (SUBMIT, CANCEL, REPLACE):
            world.refuses(
                errors.NotPermitted, session.sign(operation=operation), operation=operation, charged=session
            )


def test_narrowing_one_mode(world: World, session: Session) -> None:
    """Cancel can be taken from SUSPENDED alone."""
    world.point.narrow(b"profile".ljust(32), [0xFF, 0xFF, 0])
    world.passes(session, session.sign(operation=CANCEL), operation=CANCEL)
    world.point.set_mode(session.handle, "SUSPENDED")
    world.refuses(errors.ReauthRequired, session.sign(operation=CANCEL), operation=CANCEL, charged=session)


def test_narrowing_an_unknown_profile_says_so(world: World, session: Session) -> None:
    """No profile, no effect, and the caller is told."""
    assert not world.point.narrow(b"nobody".ljust(32), [0, 0, 0])
    world.passes(session, session.sign())


def test_an_empty_digest_is_a_profile_like_any_other(world: World) -> None:
    """A profile named by zeros is not mistaken for memory that nobody filled: its limits hold, epochs
    turn.
    """
    session = world.install(profile_of(bytes(32)))
    world.passes(session, session.sign())
    world.advance(40 * SECOND)
    world.passes(session, session.sign())
    assert world.point.narrow(bytes(32), [0, 0, 0])
    world.refuses(errors.NotPermitted, session.sign(), charged=session)


# ---- Bodies


@pytest.mark.parametrize("size", [0, 1, 23, 24, 1 << 20])
def test_T15_bodies_of_many_sizes(world: World, session: Session, size: int) -> None:
    """An empty body is a body, and so is a large one."""
    body = os.urandom(size)
    token = session.sign(body)
    world.refuses(errors.BadTag, token, body + b"\0")
    world.passes(session, token, body)


def test_T15_oversized_bodies(world: World, session: Session) -> None:
    """One byte over the limit cannot be signed and is malformed to verify; the limit itself passes."""
    limit = LIMITS["BODY_MAX_BYTES"]
    body = bytes(limit)
    with pytest.raises(ValueError, match=str(limit)):
        session.sign(body + b"\0")
    token = session.sign(body)
    world.refuses(errors.Malformed, token, body + b"\0")
    world.passes(session, token, body)
