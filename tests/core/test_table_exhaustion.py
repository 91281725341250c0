"""Attacks on room: full tables, colliding handles, memory over many sessions, and strangers' garbage."""

from __future__ import annotations

import gc
import os
import resource
import struct
import weakref
from pathlib import Path

import pytest
from model import header
from worlds import EPOCH_US, HOUR_US, OPERATIONS, SECOND, SUBMIT, Session, World, flipped, profile_of

from ztsession import errors
from ztsession._batch import verify_batch
from ztsession._core import Table
from ztsession._limits import LIMITS

INDEX_BITS = LIMITS["HANDLE_INDEX_BITS"]


def put(table: Table, record: object = None, digest: bytes = b"profile".ljust(32)) -> int:
    return table.install(profile_of(digest), bytes(32), os.urandom(32), record, lifetime_us=HOUR_US)[0]


# ---- Full


def test_D3_a_full_table_refuses(backend: str) -> None:
    """A newcomer to a full table is refused; nobody is evicted, and a slot that comes free can be had."""
    world = World(backend, capacity=3)
    sessions = [world.install() for _ in range(3)]
    before = world.point.snapshot_for_testing_only()
    for _ in range(5):
        with pytest.raises(errors.TableFull, match="table is full"):
            world.install()
    assert world.point.snapshot_for_testing_only() == before
    assert world.point.live == 3
    for session in sessions:
        world.passes(session, session.sign())
    sessions[1].end()
    again = world.install()
    assert again.handle & (1 << INDEX_BITS) - 1 == 1
    world.passes(again, again.sign())
    world.passes(sessions[0], sessions[0].sign())


@pytest.mark.parametrize("capacity", [1, 63, 64, 65, 130])
def test_D3_every_slot_can_be_had(capacity: int) -> None:
    """As many sessions fit as the capacity says, in slots of their own, from wherever the search starts."""
    table = Table(operations=OPERATIONS, capacity=capacity)
    for start in range(3):
        handles = [put(table) for _ in range(capacity)]
        assert sorted(handle % 2**INDEX_BITS for handle in handles) == list(range(capacity))
        with pytest.raises(errors.TableFull):
            put(table)
        assert table.live == capacity
        for handle in handles[start:] + handles[:start]:
            assert table.end(handle, revoked=bool(start % 2))
        assert table.live == 0


def test_D3_profiles_are_shared_and_bounded() -> None:
    """Sessions with equal grants share a profile; one grant more than fit is refused and costs nothing."""
    table = Table(operations=OPERATIONS, capacity=16, profiles=2)
    first = [put(table, digest=b"first".ljust(32)) for _ in range(5)]
    put(table, digest=b"second".ljust(32))
    for _ in range(3):
        with pytest.raises(errors.TableFull, match="profiles"):
            put(table, digest=b"third".ljust(32))
    assert table.live == 6
    for handle in first:
        with pytest.raises(errors.TableFull):
            put(table, digest=b"third".ljust(32))
        table.end(handle, revoked=False)
    put(table, digest=b"third".ljust(32))


def test_D3_a_full_table_gives_its_profile_back() -> None:
    """A refusal for want of a slot holds no reference to the grant's profile."""
    table = Table(operations=OPERATIONS, capacity=1, profiles=2)
    handle = put(table, digest=b"first".ljust(32))
    for i in range(10):
        with pytest.raises(errors.TableFull, match="table is full"):
            put(table, digest=bytes([i]).ljust(32, b"-"))
    table.end(handle, revoked=False)
    put(table, digest=b"last".ljust(32))


# ---- Handles


def test_D5_handles_do_not_collide() -> None:
    """Over many installations in few slots no handle comes twice, none is zero, and none names another's
    slot.
    """
    table = Table(operations=OPERATIONS, capacity=5)
    seen: set[int] = set()
    for _ in range(4_000):
        handle = put(table)
        assert handle >> INDEX_BITS
        assert handle % 2**INDEX_BITS < 5
        assert handle not in seen
        seen.add(handle)
        table.end(handle, revoked=False)


def test_D5_a_colliding_index_finds_nobody(world: World, session: Session) -> None:
    """Handles that differ in their random bits only, or whose slot is out of range, are unknown."""
    token = session.sign()
    index = session.handle % 2**INDEX_BITS
    wrong = [session.handle ^ 1 << bit for bit in range(64)] + [index, index | 0xFFFFFFFFFF << INDEX_BITS]
    for handle in wrong:
        changed = token[:8] + struct.pack("<Q", handle) + token[16:]
        world.refuses(errors.UnknownSession, changed)
    assert not any(world.point.end(handle, revoked=True) for handle in wrong)
    assert not any(world.point.set_mode(handle, "SUSPENDED") for handle in wrong)
    world.passes(session, token)


def test_D5_a_reused_slot_does_not_know_its_last_session(backend: str) -> None:
    """Tokens of the session that had the slot before are unknown to the one that has it now, and cost it
    nothing.
    """
    world = World(backend, capacity=1)
    first = world.install()
    old = [first.sign() for _ in range(40)]
    for token in old[:20]:
        world.passes(first, token)
    first.end(revoked=True)
    world.refuses(errors.Revoked, old[20])
    second = world.install()
    assert second.handle % 2**INDEX_BITS == first.handle % 2**INDEX_BITS
    for token in old:
        world.refuses(errors.UnknownSession, token)
    assert second.state()["accepted"] == 0
    for _ in range(20):
        world.passes(second, second.sign())


# ---- Memory


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_D6_memory_is_bounded_over_a_million_sessions(sanitized: bool) -> None:
    """A million sessions made and ended in a table of a thousand leave no more memory behind than the
    first ones.
    """
    if sanitized:
        pytest.skip("an instrumented run keeps freed memory on purpose, and is slow")
    table = Table(operations=OPERATIONS, capacity=1000)
    profile, secret, nonce = profile_of(), bytes(32), bytes(32)
    live: list[int] = []

    def churn(count: int) -> None:
        for i in range(count):
            if len(live) == 1000:
                table.end(live.pop(i % 1000), revoked=bool(i % 2))
            live.append(table.install(profile, secret, nonce, object(), lifetime_us=HOUR_US)[0])

    churn(100_000)
    gc.collect()
    before = resident_bytes()
    churn(900_000)
    gc.collect()
    assert resident_bytes() - before < 4 << 20
    assert table.live == len(live) == len(table.records()) == 1000


def test_D6_memory_of_unused_slots_is_not_touched(sanitized: bool) -> None:
    """A table with room for a million costs what its sessions cost."""
    if sanitized:
        pytest.skip("an instrumented run accounts for memory in its own way")
    before = resident_bytes()
    table = Table(operations=OPERATIONS, capacity=1_000_000)
    for _ in range(100):
        put(table)
    assert table.memory_bytes > 700_000_000
    assert resident_bytes() - before < 32 << 20
    del table


def test_D6_a_session_takes_less_than_a_kibibyte() -> None:
    """A slot with its window is under 1 KiB; the rest of the table is shared."""
    small, large = (Table(operations=OPERATIONS, capacity=n).memory_bytes for n in (64, 1024 + 64))
    assert (large - small) / 1024 <= 1024


class Record:
    """What an installation keeps for its sessions' views; can be watched."""


@pytest.mark.parametrize("how", ["end", "sweep", "table"])
def test_D6_records_are_freed(how: str) -> None:
    """The record of a session is let go when it ends, expires, or its table does."""
    table = Table(operations=OPERATIONS, capacity=4, manual_clock=True)
    table.set_manual_clock(SECOND)
    record = Record()
    watched = weakref.ref(record)
    handle = put(table, record)
    del record
    assert watched() is not None
    if how == "end":
        table.end(handle, revoked=True)
    elif how == "sweep":
        table.set_manual_clock(2 * HOUR_US)
        assert table.sweep() == 1
    else:
        del table
    gc.collect()
    assert watched() is None


def test_a_sweep_of_a_part_leaves_the_rest(backend: str) -> None:
    """Sweeping slots 2 and 3 ends what expired there and nothing else; running past the end is no error."""
    world = World(backend, capacity=6)
    handles = [put(world.point) for _ in range(6)]
    world.advance(HOUR_US)
    assert world.point.sweep(2, 2) == 2
    assert [world.point.session(h) is None for h in handles] == [False, False, True, True, False, False]
    assert world.point.sweep(5, 2**32 - 1) == 1
    assert world.point.sweep() == 3
    assert (world.point.live, len(world.point.records())) == (0, 0)


# ---- Garbage


def test_D10_garbage_for_a_live_handle_hurts_nobody(world: World, session: Session) -> None:
    """Ten thousand forgeries of every kind leave the session's counters, idle time, epoch and window as
    they were.
    """
    world.passes(session, session.sign())
    before, state = world.point.snapshot_for_testing_only(), session.state()
    rng_tokens = bytearray()
    for i in range(10_000):
        head = header(
            epoch=world.epoch + (0, 0, 1, 7, 2**20)[i % 5],
            handle=session.handle,
            sequence=i * 977 + 1,
            issued_at_us=world.now_us,
            operation=i % 9,
        )
        rng_tokens += head + os.urandom(16)
    codes = verify_batch(world.point, OPERATIONS[SUBMIT], rng_tokens, b"")
    assert 0 not in codes
    assert world.point.snapshot_for_testing_only() == before
    assert session.state() == state
    assert world.point.refused()["BAD_TAG"] + world.point.refused()["BAD_EPOCH"] == 10_000
    world.passes(session, session.sign())


def test_D10_garbage_turns_no_epoch(world: World, session: Session) -> None:
    """Forgeries in a new epoch do not move the session into it, and its honest caller is not hurt."""
    world.advance(3 * EPOCH_US)
    good = session.sign()
    for bit in range(256, 384, 7):
        world.refuses(errors.BadTag, flipped(good, bit))
    assert session.state()["epoch"] == world.epoch - 3
    world.passes(session, good)


def test_D10_garbage_keeps_no_session_alive(world: World) -> None:
    """Forged calls are not activity: the idle limit runs out under them."""
    session = world.install(idle_s=30)
    world.passes(session, session.sign())
    for _ in range(31):
        world.advance(SECOND)
        world.verdict(flipped(session.sign(), 300))
    assert world.verdict(session.sign()) == "EXPIRED"
