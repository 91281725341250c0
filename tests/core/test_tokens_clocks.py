"""Attacks on clocks: set back, set ahead, stopped, drifting, asleep."""

from __future__ import annotations

import random
import time

import pytest
from worlds import (
    BURST,
    EPOCH_US,
    HOUR_US,
    MAX_AGE_US,
    OPERATIONS,
    SECOND,
    START_US,
    Session,
    World,
    flipped,
    profile_of,
)

from ztsession import errors
from ztsession._calls import Signer, Verifier
from ztsession._core import Table


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
