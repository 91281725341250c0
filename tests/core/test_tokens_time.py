"""Attacks on time: epochs, ages, expiry, and clocks that lie."""

from __future__ import annotations

import random
import time

import pytest
from model import EPOCH_STEPS_MAX
from worlds import (
    BURST,
    EPOCH_US,
    HOUR_US,
    MAX_AGE_US,
    OPERATIONS,
    SECOND,
    SKEW_US,
    START_US,
    Session,
    World,
    flipped,
    profile_of,
)

from ztsession import errors
from ztsession._calls import Signer, Verifier
from ztsession._core import Table


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


# ---- Clocks


def test_T13_clock_set_back(world: World, session: Session) -> None:
    """With the point's clock set back nothing is revived: replays stay replays, and the epoch never goes
    back.
    """
    used, unused = session.sign(), session.sign()
    world.passes(session, used)
    world.advance(EPOCH_US)
    world.passes(session, session.sign())
    epoch = session.state()["epoch"]
    world.point.set_manual_clock(START_US)
    world.refuses(errors.Replayed, used, charged=session)
    world.refuses(errors.FromFuture, session.sign(), charged=session)
    assert session.state()["epoch"] == epoch
    world.passes(session, unused)
    world.at(world.now_us)
    world.passes(session, session.sign())


def test_T13_clock_set_forward(world: World, session: Session) -> None:
    """With the point's clock ahead a token is too old; nobody is locked out once both agree again."""
    token = session.sign()
    world.point.set_manual_clock(world.now_us + MAX_AGE_US + 1)
    world.refuses(errors.TooOld, token, charged=session)
    world.at(world.now_us + MAX_AGE_US + 1)
    world.passes(session, session.sign())


def test_T13_clock_stopped(world: World, session: Session) -> None:
    """With time standing still every token is still accepted once only."""
    for _ in range(50):
        token = session.sign()
        world.passes(session, token)
        world.refuses(errors.Replayed, token, charged=session)


def test_T13_session_time_is_not_the_wall_clock() -> None:
    """Session time runs with the monotonic clock, so that setting the wall clock moves nothing."""
    table = Table(operations=OPERATIONS)
    gap = table.now_us() - time.monotonic_ns() // 1000
    time.sleep(0.02)
    assert abs(table.now_us() - time.monotonic_ns() // 1000 - gap) < 500_000


def test_T13_folding_in_sleep_leaves_a_learned_clock(backend: str) -> None:
    """On a machine that has not slept meanwhile, folding changes neither a point's time nor what a
    client learned.
    """
    point = Table(operations=OPERATIONS, backend=backend)
    client = Table(operations=OPERATIONS, client=True, backend=backend)
    client.install(
        profile_of(), bytes(32), bytes(32), None, handle=1 << 24, now_us=5 * SECOND, lifetime_us=HOUR_US
    )
    for table in (point, client):
        before = table.now_us()
        table.fold_suspend()
        assert 0 <= table.now_us() - before < 10 * SECOND


def drifting(world: World, session: Session, rate: float, *, learns: bool) -> str:
    """Ten minutes of calls and replies over a client clock of the given rate; the first verdict that is
    not OK.
    """
    rng, start = random.Random(4), world.now_us
    for _ in range(600):
        world.now_us += SECOND
        travel_us = rng.randrange(5_000)
        session.client.set_manual_clock(int(start + (world.now_us - start) * rate))
        session.point.set_manual_clock(world.now_us + travel_us)
        verdict = world.verdict(session.sign())
        if verdict != "OK":
            return verdict
        reply = session.reply()
        arrived_us = world.now_us + 2 * travel_us
        session.client.set_manual_clock(int(start + (arrived_us - start) * rate))
        try:
            session.open_reply(reply, learns=learns)
        except errors.Denied as denied:
            return denied.verdict
    return "OK"


@pytest.mark.parametrize("rate", [0.99, 0.999, 1.001, 1.005])
def test_T13_a_drifting_client_learns_from_replies(world: World, session: Session, rate: float) -> None:
    """A client whose clock runs slow or fast stays within bounds as long as it hears replies."""
    assert drifting(world, session, rate, learns=True) == "OK"


@pytest.mark.parametrize("rate", [0.99, 1.005])
def test_T13_without_learning_drift_is_refused(world: World, session: Session, rate: float) -> None:
    """The same drift unlearned ends in refusals, which shows that the learning is what helps."""
    assert drifting(world, session, rate, learns=False) == "FROM_FUTURE"


def test_forged_replies_teach_nothing(world: World, session: Session) -> None:
    """A reply that is refused leaves the client's clock as it was."""
    reply = session.reply()
    session.client.set_manual_clock(world.now_us - 10 * SECOND)
    before = session.client.now_us()
    with pytest.raises(errors.BadTag):
        session.open_reply(flipped(reply, 300), learns=True)
    with pytest.raises(errors.FromFuture):
        session.open_reply(reply, learns=True)
    assert session.client.now_us() == before


def test_a_failed_installation_leaves_the_clock(backend: str) -> None:
    """An installation out of range changes nothing on the client, its clock included."""
    client = Table(operations=OPERATIONS, client=True, manual_clock=True, backend=backend)
    client.set_manual_clock(START_US)
    with pytest.raises(errors.InstallationError):
        client.install(
            profile_of(), bytes(32), bytes(32), None, handle=1 << 24, now_us=1 << 60, lifetime_us=HOUR_US
        )
    assert client.now_us() == START_US


def test_fine_operations_run_on_the_real_fine_clock(backend: str, sanitized: bool) -> None:
    """On the system's clocks a tight operation is stamped finer than a coarse tick, and refused once it
    is too old.
    """
    point = Table(operations=OPERATIONS, backend=backend)
    client = Table(operations=OPERATIONS, client=True, backend=backend)
    profile = profile_of(limits={BURST: (20_000, 0)}, allowed=[1 << BURST] * 3, step_up=0, ordered=0)
    handle, now_us = point.install(profile, bytes(32), bytes(32), None, lifetime_us=HOUR_US)
    client.install(profile, bytes(32), bytes(32), None, lifetime_us=HOUR_US, handle=handle, now_us=now_us)
    sign, verify = Signer(client, handle, OPERATIONS[BURST]), Verifier(point, OPERATIONS[BURST])
    stamps = [int.from_bytes(sign(b"")[24:32], "little") for _ in range(2_000)]
    assert stamps == sorted(stamps)
    assert len(set(stamps)) > 20, "a coarse clock would show a tick or two"
    verify(sign(b""), b"")
    late = sign(b"")
    time.sleep(0.05)
    with pytest.raises(errors.TooOld):
        verify(late, b"")
