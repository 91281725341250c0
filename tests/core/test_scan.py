"""A scan's columns: what was counted since the pass before, for each live session and for nobody else."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

import pytest
from worlds import CANCEL, HOUR_US, OPERATIONS, SECOND, WITHDRAW, World, profile_of

from ztsession import VERDICTS
from ztsession._core import Table
from ztsession._scan import CHARGED, DENIED, RATE, REPLAYED, Scan

OPTIONS: dict[str, Any] = {
    "rate_factor": 10,
    "rate_min_per_s": 20,
    "rate_window_ms": 1000,
    "rate_memory_s": 300,
    "rate_warm_up_s": 60,
    "denials": 3,
    "replays": 4,
    "burst_s": 60,
}


def scan_of(table: Table, **changed: Any) -> Scan:
    return Scan(table, **(OPTIONS | changed))


def rows(scan: Scan) -> dict[int, tuple[int, int]]:
    return {h: (scan.accepted[i], scan.counted(i, "NOT_PERMITTED")) for i, h in enumerate(scan.handles)}


def test_each_pass_counts_what_is_new() -> None:
    """Accepted and refused calls appear once, in the row of their session, with its mode and last call."""
    world = World()
    one, two = world.install(), world.install()
    scan = scan_of(world.point)
    assert (scan.rows, list(scan.handles), scan.crossed) == (0, [], [])
    for _ in range(3):
        assert world.verdict(one.sign()) == "OK"
    assert world.verdict(two.sign(operation=WITHDRAW), operation=WITHDRAW) == "NOT_PERMITTED"
    world.point.set_mode(two.handle, "RESTRICTED")
    assert scan.take() == 2
    assert rows(scan) == {one.handle: (3, 0), two.handle: (0, 1)}
    row = list(scan.handles).index(one.handle)
    assert scan.last_accepted_us[row] == world.now_us
    assert [scan.modes[row], scan.modes[1 - row]] == [1, 2]
    assert scan.record(row) is one.record
    world.advance(SECOND)
    assert world.verdict(two.sign(operation=CANCEL), operation=CANCEL) == "OK"
    assert scan.take() == 2
    assert rows(scan) == {one.handle: (0, 0), two.handle: (1, 0)}
    assert list(scan.known_us) == [SECOND, SECOND]


def test_D10_what_strangers_send_is_nobodys() -> None:
    """Forged and unreadable calls, and those of another session's key, are in no row."""
    world = World()
    one = world.install()
    token = one.sign()
    scan = scan_of(world.point)
    for forged in (token[:-1] + bytes([token[-1] ^ 1]), b"x" * 48, token[:20]):
        assert world.verdict(forged) != "OK"
    scan.take()
    assert (rows(scan), scan.crossed, set(scan.refused)) == ({one.handle: (0, 0)}, [], {0})


def test_a_slot_that_another_session_took_begins_anew() -> None:
    """What the session before was charged with, and what it was known for, is not the next one's."""
    world = World(capacity=1)
    one = world.install()
    scan = scan_of(world.point)
    for _ in range(5):
        assert world.verdict(one.sign()) == "OK"
        assert world.verdict(one.sign(operation=WITHDRAW), operation=WITHDRAW) == "NOT_PERMITTED"
    scan.take()
    assert scan.crossed == [(0, DENIED)]
    world.advance(SECOND)
    one.end()
    assert scan.take() == 0
    two = world.install()
    assert world.verdict(two.sign()) == "OK"
    scan.take()
    assert (rows(scan), scan.crossed, list(scan.known_us)) == ({two.handle: (1, 0)}, [], [0])
    assert scan.record(0) is two.record
    two.end()
    assert scan.record(0) is None


def test_bursts_cross_by_what_is_left_of_them() -> None:
    """Refusals within the time of a burst add up over passes; old ones count for less; an old burst alone
    is no news.
    """
    world = World()
    one = world.install()
    scan = scan_of(world.point)
    crossed = []
    for after_s in (1, 1, 1, 300, 300, 300):
        world.advance(after_s * SECOND)
        assert world.verdict(one.sign(operation=WITHDRAW), operation=WITHDRAW) == "NOT_PERMITTED"
        scan.take()
        crossed.append(scan.crossed)
    # Three within two seconds come to 2.95, because a little of the first two is forgotten by then.
    assert crossed == [[]] * 6
    for _ in range(3):
        world.verdict(one.sign(operation=WITHDRAW), operation=WITHDRAW)
    scan.take()
    assert scan.crossed == [(0, DENIED)]
    scan.take()
    assert scan.crossed == []


def test_replays_are_those_verdicts_together() -> None:
    """REPLAYED, TOO_OLD and FROM_FUTURE of one session add up."""
    world = World()
    one = world.install()
    scan = scan_of(world.point)
    token, late = one.sign(), one.sign()
    assert world.verdict(token) == "OK"
    assert [world.verdict(token) for _ in range(2)] == ["REPLAYED"] * 2
    scan.take()
    assert scan.crossed == []
    world.advance(3 * SECOND)
    assert [world.verdict(late) for _ in range(2)] == ["TOO_OLD"] * 2
    scan.take()
    # Three seconds of a minute: a little of the first two is forgotten.
    assert scan.crossed == []
    assert world.verdict(late) == "TOO_OLD"
    scan.take()
    assert scan.crossed == [(0, REPLAYED)]


def calling(world: World, session: Any, scan: Scan, per_second: int, seconds: int) -> list[int]:
    crossed = []
    for second in range(seconds):
        for _ in range(per_second):
            assert world.verdict(session.sign()) == "OK"
        world.advance(SECOND)
        scan.take()
        crossed += [second] if any(why & RATE for _, why in scan.crossed) else []
    return crossed


def test_a_rate_is_judged_by_the_sessions_own() -> None:
    """Ten times the session's own average is a jump; five times is none, nor is anything too early."""
    world = World()
    one = world.install()
    scan = scan_of(world.point)
    assert calling(world, one, scan, 200, 3) == []
    two = world.install()
    assert calling(world, two, scan, 4, 65) == []
    row = list(scan.handles).index(two.handle)
    assert scan.rates[row] == pytest.approx(4)
    assert scan.expected[row] == pytest.approx(4)
    assert calling(world, two, scan, 20, 10) == []
    assert calling(world, two, scan, 100, 1) == [0]
    # It teaches no more than what is just no jump.
    scan.take()
    assert scan.expected[row] < 7


def test_a_few_calls_are_no_jump_however_quiet_it_was() -> None:
    """A session that was silent may call fewer than twenty times a second."""
    world = World()
    one = world.install()
    scan = scan_of(world.point)
    assert calling(world, one, scan, 0, 70) == []
    assert calling(world, one, scan, 19, 3) == []
    assert calling(world, one, scan, 25, 1) == [0]


def test_calls_are_counted_for_a_window_before_they_make_a_rate() -> None:
    """Passes that follow each other closely make no rates of a few calls."""
    world = World()
    one = world.install()
    scan = scan_of(world.point, rate_warm_up_s=0)
    scan.take()
    for _ in range(9):
        for _ in range(3):
            assert world.verdict(one.sign()) == "OK"
        world.advance(SECOND // 10)
        scan.take()
        assert (scan.crossed, scan.rates[0]) == ([], 0)
    world.advance(SECOND // 10)
    scan.take()
    assert scan.rates[0] == pytest.approx(27)
    # The first window of a session has nothing to be compared with, warm-up or none.
    assert (scan.crossed, scan.expected[0]) == ([], 0)
    assert calling(world, one, scan, 271, 1) == [0]


def test_active_goes_around() -> None:
    """Rows of those who called, a few at a time, and then from the beginning."""
    world = World(capacity=6)
    sessions = [world.install() for _ in range(6)]
    scan = scan_of(world.point)
    for session in sessions[1:]:
        assert world.verdict(session.sign()) == "OK"
    scan.take()
    first, at = scan.active(0, 2)
    second, at = scan.active(at, 2)
    third, at = scan.active(at, 2)
    assert sorted(first + second + third) == [1, 2, 3, 4, 5]
    assert at == 0
    assert scan.active(99, 2) == ([], 0)


def test_columns_outlive_their_scan_and_are_read_only() -> None:
    """A column that somebody kept is memory that stays, and nobody can write the next one's counts."""
    world = World()
    one = world.install()
    scan = scan_of(world.point)
    scan.take()
    handles = scan.handles
    with pytest.raises(TypeError, match="read-only"):
        handles[0] = 1
    del scan
    assert list(handles) == [one.handle]


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_thresholds_are_checked(name: str) -> None:
    """What is no number, or none above zero, is refused by its name."""
    with pytest.raises(ValueError, match=name):
        scan_of(World().point, **{name: -1})
    with pytest.raises(TypeError):
        scan_of(World().point, **{name: "many"})
    with pytest.raises(TypeError):
        Scan(None, **OPTIONS)  # type: ignore[arg-type]


def test_rows_are_checked() -> None:
    """A row that there is not is an error, and no look elsewhere."""
    scan = scan_of(World().point)
    for ask in (scan.record, lambda row: scan.counted(row, "REPLAYED")):
        with pytest.raises(ValueError, match="row is 0"):
            ask(0)
    assert VERDICTS[VERDICTS.index("EXPIRED") :] == CHARGED


def test_passes_while_threads_verify() -> None:
    """Threads verify, sessions come and go, and every accepted call of a session that stays is counted
    once.
    """
    world = World(capacity=64)
    stays = [world.install() for _ in range(3)]
    scan, over, counted = scan_of(world.point), threading.Event(), dict.fromkeys((s.handle for s in stays), 0)
    made = [0] * len(stays)

    def call(number: int) -> None:
        while not over.is_set():
            made[number] += world.verdict(stays[number].sign()) == "OK"

    def come_and_go() -> None:
        while not over.is_set():
            world.install(lifetime_us=HOUR_US).end()
            world.sessions.pop()

    threads = [threading.Thread(target=call, args=[n]) for n in range(3)]
    threads.append(threading.Thread(target=come_and_go))
    for thread in threads:
        thread.start()
    for n in range(300):
        scan.take()
        if n == 299:
            over.set()
            for thread in threads:
                thread.join()
        for handle, calls in zip(scan.handles, scan.accepted, strict=True):
            if handle in counted:
                counted[handle] += calls
    scan.take()
    for handle, calls in zip(scan.handles, scan.accepted, strict=True):
        counted[handle] += calls
    assert list(counted.values()) == made
    assert min(made) > 0


def crowded() -> tuple[Table, list[int]]:
    table = Table(operations=OPERATIONS, capacity=100_000, profiles=1, window_words=1)
    profile, secret = profile_of(), os.urandom(32)
    handles = [
        table.install(profile, secret, secret, n, lifetime_us=HOUR_US)[0] for n in range(table.capacity)
    ]
    return table, handles


def test_a_hundred_thousand_sessions() -> None:
    """A full table is one pass, and the few that matter are its short list."""
    table, handles = crowded()
    scan = scan_of(table)
    assert scan.take() == 100_000
    assert sorted(scan.handles) == sorted(handles)
    assert (scan.crossed, scan.active(0, 10)) == ([], ([], 0))
    assert sum(scan.accepted) == 0


def test_a_scan_makes_one_pass_at_a_time() -> None:
    """Two threads that share a scan do not write over each other: the second is told."""
    scan, over, told = scan_of(crowded()[0]), threading.Event(), list[str]()

    def passes() -> None:
        while not over.is_set():
            try:
                scan.take()
            except RuntimeError as error:
                told.append(str(error))

    threads = [threading.Thread(target=passes) for _ in range(2)]
    for thread in threads:
        thread.start()
    until = time.monotonic() + 20
    while not told and time.monotonic() < until:
        time.sleep(0.01)
    over.set()
    for thread in threads:
        thread.join()
    assert set(told) == {"another thread makes a pass with this scan"}
