"""Attacks on time: epochs, ages and expiry."""

from __future__ import annotations

import pytest
from model import EPOCH_STEPS_MAX
from worlds import (
    BURST,
    EPOCH_US,
    HOUR_US,
    MAX_AGE_US,
    SECOND,
    SKEW_US,
    Session,
    World,
    flipped,
)

from ztsession import errors
from ztsession._calls import Verifier


def forged(
    world: World,
    session: Session,
    sequence: int = 1,
    *,
    epoch: int | None = None,
    issued_us: int | None = None,
) -> bytes:
    """An authentic token of any epoch and time."""
    return session.keys.token(
        b"body",
        epoch=world.epoch if epoch is None else epoch,
        sequence=sequence,
        issued_at_us=world.now_us if issued_us is None else issued_us,
    )


# ---- Epochs


def test_T8_the_previous_epoch_counts_for_the_grace_and_no_longer(world: World, session: Session) -> None:
    """A token of the previous epoch passes until the longest max_age after the turn, and not a
    microsecond more.
    """
    turn = (world.epoch + 1) * EPOCH_US
    world.at(turn - 1)
    first, second, third = (session.sign() for _ in range(3))
    world.at(turn)
    world.passes(session, first)
    world.at(turn + MAX_AGE_US - 1)
    world.passes(session, second)
    world.at(turn + MAX_AGE_US + 1)
    world.refuses(errors.BadEpoch, third)
    world.passes(session, session.sign())


@pytest.mark.parametrize("back", [2, 3, 10])
def test_T8_earlier_epochs(world: World, session: Session, back: int) -> None:
    """Tokens from before the previous epoch are refused, authentic or not."""
    world.advance(20 * EPOCH_US)
    world.point.sweep()
    world.refuses(errors.BadEpoch, forged(world, session, epoch=world.epoch - back))
    world.passes(session, session.sign())


def test_epochs_before_the_installation_do_not_exist(world: World) -> None:
    """A token of the epoch before the first is refused, although the grace would cover it."""
    world.at((world.epoch + 1) * EPOCH_US + 1)
    session = world.install()
    token = session.sign()
    world.refuses(errors.BadEpoch, token[:4] + (world.epoch - 1).to_bytes(4, "little") + token[8:])
    world.passes(session, token)


def test_the_next_epoch_counts_within_the_skew(world: World, session: Session) -> None:
    """A client ahead of the turn by up to the skew is heard; the point's own epoch stays where it is."""
    turn = (world.epoch + 1) * EPOCH_US
    for sequence, ahead, accepted in ((1, SKEW_US + 1, False), (2, SKEW_US, True), (3, 1, True)):
        world.at(turn - ahead)
        token = forged(world, session, sequence, epoch=world.epoch + 1, issued_us=turn)
        if accepted:
            world.passes(session, token)
        else:
            world.refuses(errors.BadEpoch, token)
        assert session.state()["epoch"] == turn // EPOCH_US - 1


@pytest.mark.parametrize("epoch", [2, 3, 65, 2**16, 2**31, 2**32 - 1])
def test_T9_far_epochs_cost_nothing(world: World, session: Session, epoch: int) -> None:
    """A token of a far-future epoch is refused before any key is derived, authentic or not."""
    token = session.sign()
    far = (world.epoch + epoch) % 2**32
    world.refuses(errors.BadEpoch, token[:4] + far.to_bytes(4, "little") + token[8:])
    if epoch < 100:
        world.refuses(errors.BadEpoch, forged(world, session, epoch=far))
    world.passes(session, token)


def test_T9_work_for_a_forged_token_is_bounded(world: World, session: Session) -> None:
    """At a session silent for the longest that can be caught up, a forgery moves nothing, and past it
    costs nothing.
    """
    world.advance(EPOCH_STEPS_MAX * EPOCH_US)
    good = session.sign()
    world.refuses(errors.BadTag, flipped(good, 300))
    world.passes(session, good)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 31, 63, 64])
def test_catching_up_keeps_the_neighbours(world: World, session: Session, steps: int) -> None:
    """After any silence up to the limit, the previous, current and next epoch all open, and no other does."""
    turn = (world.epoch + steps) * EPOCH_US
    world.at(turn + MAX_AGE_US // 2)
    assert world.verdict(forged(world, session, 1)) == "OK"
    assert session.state()["epoch"] == world.epoch
    assert world.verdict(forged(world, session, 2, epoch=world.epoch - 1)) == "OK"
    assert world.verdict(forged(world, session, 3, epoch=world.epoch - 2)) == "BAD_EPOCH"
    world.at(turn + EPOCH_US - 1)
    assert world.verdict(forged(world, session, 4, epoch=world.epoch + 1)) == "OK"
    world.at(turn + EPOCH_US)
    assert world.verdict(forged(world, session, 5)) == "OK"
    assert world.verdict(forged(world, session, 6, epoch=world.epoch - 1)) == "OK"


@pytest.mark.parametrize("first", ["previous", "next"])
def test_catching_up_by_a_neighbours_token(world: World, session: Session, first: str) -> None:
    """The token that ends a silence may itself be of the epoch before or after the turn."""
    turn = (world.epoch + 7) * EPOCH_US
    world.at(turn + 5 if first == "previous" else turn - 5)
    neighbour = world.epoch + (-1 if first == "previous" else 1)
    assert world.verdict(forged(world, session, 1, epoch=neighbour)) == "OK"
    assert world.verdict(forged(world, session, 2)) == "OK"
    assert session.state()["epoch"] == world.epoch


def test_silence_beyond_the_limit_expires(world: World, session: Session) -> None:
    """A session silent for more epochs than may be caught up is expired at both ends, and a sweep ends it."""
    world.advance((EPOCH_STEPS_MAX + 1) * EPOCH_US)
    world.refuses(errors.Expired, forged(world, session))
    with pytest.raises(errors.SessionEnded):
        session.sign()
    assert world.point.sweep() == 1
    world.refuses(errors.UnknownSession, forged(world, session))
    assert world.point.live == 0


def test_a_sweep_keeps_silent_sessions_alive(world: World, session: Session) -> None:
    """Swept now and then, a session may be silent for any number of epochs."""
    for _ in range(5):
        world.advance(50 * EPOCH_US)
        assert world.point.sweep() == 0
        assert session.state()["epoch"] == world.epoch
        session.client.sweep()
    world.passes(session, session.sign())


# ---- Age


def test_T14_altered_issued_at(world: World, session: Session) -> None:
    """A changed time is a bad tag."""
    token = session.sign()
    for us in (0, world.now_us - 1, world.now_us + 1, 2**64 - 1):
        world.refuses(errors.BadTag, token[:24] + us.to_bytes(8, "little") + token[32:])
    world.passes(session, token)


def test_T14_age_is_judged_to_the_microsecond(world: World, session: Session) -> None:
    """An authentic token passes at exactly max_age and exactly the skew, and fails one microsecond
    beyond either.
    """
    old, ahead = world.now_us - MAX_AGE_US, world.now_us + SKEW_US
    world.refuses(errors.TooOld, forged(world, session, 1, issued_us=old - 1), charged=session)
    world.passes(session, forged(world, session, 1, issued_us=old))
    world.refuses(errors.FromFuture, forged(world, session, 2, issued_us=ahead + 1), charged=session)
    world.passes(session, forged(world, session, 2, issued_us=ahead))


@pytest.mark.parametrize("issued_us", [0, 1, 2**63, 2**64 - 1])
def test_T14_extreme_times(world: World, session: Session, issued_us: int) -> None:
    """The ends of the number range are too old or from the future, and no arithmetic wraps; no later
    call is hurt.
    """
    kind = errors.TooOld if issued_us < 2 else errors.FromFuture
    world.refuses(kind, forged(world, session, issued_us=issued_us), charged=session)
    world.passes(session, session.sign())


def test_each_operation_has_its_own_age(world: World, session: Session) -> None:
    """A tight operation refuses at 5 ms what an ordinary one takes at 2 s."""
    burst, submit = session.sign(operation=BURST), session.sign()
    world.advance(5_001)
    world.refuses(errors.TooOld, burst, operation=BURST, charged=session)
    world.passes(session, submit)
    world.passes(session, session.sign(operation=BURST), operation=BURST)


# ---- Expiry


def test_absolute_expiry(world: World) -> None:
    """A session ends at its lifetime to the microsecond, however busy, at both ends."""
    session = world.install(lifetime_us=60 * SECOND)
    world.advance(60 * SECOND - 1)
    world.passes(session, session.sign())
    late = session.sign()
    world.advance(1)
    world.verdict(late)  # authentic, so it may still turn the epoch
    world.refuses(errors.Expired, late, charged=session)
    with pytest.raises(errors.SessionEnded):
        session.sign()


def test_idle_expiry(world: World) -> None:
    """A session that was silent for longer than its idle limit is expired; refused calls do not keep it
    alive.
    """
    session = world.install(idle_s=20)
    world.advance(20 * SECOND)
    world.passes(session, session.sign())
    for _ in range(2):
        world.advance(10 * SECOND)
        world.verdict(flipped(session.sign(), 300))
        world.verdict(session.sign(), operation=BURST)
    world.advance(1)
    world.verdict(session.sign())  # authentic, so it may still turn the epoch
    world.refuses(errors.Expired, session.sign(), charged=session)
    assert world.point.sweep() == 1


def test_a_session_that_is_shortened_ends_earlier_and_never_later(world: World) -> None:
    """Shortening takes effect on the very next call past the new end, and a longer time changes nothing."""
    session = world.install(lifetime_us=HOUR_US)
    call = Verifier(world.point, "orders.submit")
    assert world.point.shorten(session.handle, 10 * SECOND)
    assert world.point.shorten(session.handle, 2**64 - 1)
    assert world.point.shorten(session.handle, HOUR_US)
    world.advance(10 * SECOND - 1)
    assert call(session.sign(), b"body")
    token = session.sign()
    world.advance(1)
    with pytest.raises(errors.Expired):
        call(token, b"body")
    assert world.point.sweep() == 1
    assert world.point.shorten(session.handle, 1) is False
