"""Conversations between their messages: found again by name, for so long, and so many of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ztsession.errors import Overloaded
from ztsession.integrations.conversations import HALF_OPEN_S, Conversations, Held
from ztsession.limits import IDLE_S

HERE, THERE = "192.0.2.1", "192.0.2.2"


class Peer:
    def __init__(self) -> None:
        self.told = 0

    def exchange(self, message: bytes) -> bytes:
        return message

    def hang_up(self) -> None:
        self.told += 1


class ManualClock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def begun(kept: Conversations, source: str = HERE, *, established: bool = False) -> tuple[str, Peer]:
    peer = Peer()
    name, held = kept.begin(source, peer)
    kept.put_back(held, established=established)
    return name, peer


def test_a_conversation_is_found_by_its_name_alone(clock: ManualClock):
    """22 characters that nobody guesses; another name, or one letter less, finds nothing."""
    kept = Conversations(clock)
    name, peer = begun(kept)
    other, _ = begun(kept)
    assert len(name) == len(other) == 22
    for wrong in ("", name[:-1], name + "A", name.swapcase(), "\ud800"):
        assert kept.take(wrong) is None
    held = kept.take(name)
    assert held is not None
    assert held.conversation is peer


def test_one_message_at_a_time(clock: ManualClock):
    """Who is being answered cannot be asked again meanwhile, and can afterwards."""
    kept = Conversations(clock)
    name, _ = begun(kept)
    held = kept.take(name)
    assert held is not None
    assert kept.in_use(name)
    assert kept.take(name) is None
    kept.put_back(held, established=False)
    assert not kept.in_use(name)
    assert kept.take(name) is held


def test_D4_half_open_conversations_end_after_seconds_and_established_ones_when_idle(clock: ManualClock):
    """The first wait ten seconds for a message, the others fifteen minutes; the conversation is told."""
    kept = Conversations(clock)
    young, younger = begun(kept)
    old, older = begun(kept, established=True)
    clock.now = HALF_OPEN_S - 0.01
    kept.put_back(kept.take(young), established=False)  # type: ignore[arg-type]
    clock.now += HALF_OPEN_S
    assert kept.take(young) is None
    assert (younger.told, older.told) == (1, 0)
    kept.put_back(kept.take(old), established=False)  # type: ignore[arg-type]
    clock.now += IDLE_S - 0.01
    kept.put_back(kept.take(old), established=False)  # type: ignore[arg-type]
    clock.now += IDLE_S
    assert kept.take(old) is None
    assert older.told == 1
    assert len(kept) == 0


def test_D4_one_source_begins_so_many_conversations_and_leaves_the_others_theirs(clock: ManualClock):
    """An eighth of the places at most; when all are taken nobody gets one, and nothing is evicted."""
    kept = Conversations(clock, half_open_max=16)
    names = [begun(kept)[0] for _ in range(2)]
    with pytest.raises(Overloaded):
        begun(kept)
    names += [begun(kept, f"10.0.0.{n}")[0] for n in range(14)]
    with pytest.raises(Overloaded):
        begun(kept, THERE)
    assert all(kept.take(name) for name in names)


def test_established_conversations_take_no_place_of_those_that_begin(clock: ManualClock):
    """Beyond its share a source's own oldest one makes room; another's stays."""
    kept = Conversations(clock, half_open_max=8, established_max=16)
    other, _ = begun(kept, THERE, established=True)
    mine = [begun(kept, established=True) for _ in range(10)]
    assert [peer.told for _, peer in mine] == [1] * 8 + [0] * 2
    assert kept.take(mine[-1][0])
    assert kept.take(other)
    many = [begun(kept, f"10.0.0.{n}", established=True)[0] for n in range(30)]
    assert len(kept) <= 16 + 2
    assert kept.take(many[-1])


def test_clients_whose_source_nobody_names_are_not_one_source(clock: ManualClock):
    """Behind a Unix socket they share all of the places, and make room only when these are taken."""
    kept = Conversations(clock, half_open_max=8, established_max=16)
    first, _ = begun(kept, "", established=True)
    others = [begun(kept, "", established=True) for _ in range(15)]
    assert [peer.told for _, peer in others] == [0] * 15
    begun(kept, "", established=True)
    assert kept.take(first) is None
    assert kept.take(others[0][0])


def test_close_ends_all_and_what_comes_back_later_is_dropped(clock: ManualClock):
    """Also those in use; each is told once."""
    kept = Conversations(clock)
    name, peer = begun(kept)
    _, other = begun(kept, established=True)
    held = kept.take(name)
    assert held is not None
    kept.close()
    kept.put_back(held, established=True)
    kept.end(held)
    assert (len(kept), peer.told, other.told) == (0, 1, 1)
    assert len(kept._shares) == kept._half_open == 0


@given(
    st.lists(
        st.tuples(st.sampled_from(["begin", "take", "back", "establish", "end", "wait"]), st.integers(0, 30)),
        max_size=80,
    )
)
def test_whatever_happens_the_counts_are_right(steps: list[tuple[str, int]]):
    """No order of events leaves a place taken by nobody, or a conversation told twice."""
    clock = ManualClock()
    kept = Conversations(clock, half_open_max=16, established_max=16)
    names, peers, in_use = list[str](), list[Peer](), list[Held]()
    for what, number in steps:
        if what == "begin":
            try:
                peers.append(Peer())
                name, held = kept.begin(f"10.0.0.{number % 3}", peers[-1])
                names.append(name)
                in_use.append(held)
            except Overloaded:
                peers.pop()
        elif what == "wait":
            clock.now += number
        elif what == "take" and names:
            held = kept.take(names[number % len(names)])
            if held is not None:
                in_use.append(held)
        elif in_use and what != "take":
            held = in_use.pop(number % len(in_use))
            if what == "end":
                kept.end(held)
            else:
                kept.put_back(held, established=what == "establish")
        assert 0 <= kept._half_open <= 16
        assert len(kept._old) <= 16
    clock.now += IDLE_S
    kept.take("")
    assert len(kept) == len(in_use)
    kept.close()
    assert [peer.told for peer in peers] == [1] * len(peers)
    assert kept._half_open == len(kept._shares) == 0
