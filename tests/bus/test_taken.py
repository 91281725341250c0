"""What a point remembers of what was taken, and for how long."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ztsession.bus.change import Change
from ztsession.bus.taken import GENERATION_US, Taken, name_of
from ztsession.policy.tighten import EVERYTHING, Less

PROFILE, SESSION = b"p" * 32, b"s" * 16
BITS = st.integers(0, 2**64 - 1)
LESS = st.builds(lambda a, b, c, d: Less((a, b, c), d), BITS, BITS, BITS, BITS)


def test_what_was_taken_adds_up() -> None:
    """An operator's narrowing and new rules take from a profile together, from one session on top of it."""
    taken = Taken()
    taken.take(Change.narrow(PROFILE, [7, 3, 1]))
    taken.take(Change.tighten(PROFILE, [14, 15, 15], 2))
    taken.take(Change.tighten(PROFILE, [4, 4, 4], 0, session=SESSION))
    taken.take(Change.tighten(PROFILE, [12, 0, 0], 8, session=SESSION))
    assert taken.of_profile(PROFILE) == Less((6, 3, 1), 2)
    assert taken.of_session(PROFILE, SESSION) == Less((4, 0, 0), 8)
    assert taken.take(Change.heartbeat(number=1)) == EVERYTHING
    assert taken.of_profile(b"q" * 32) == taken.of_session(PROFILE, b"t" * 16) == EVERYTHING


def test_new_rules_are_remembered_for_as_long_as_a_session_of_before_can_live() -> None:
    """What rules took is forgotten after one generation at the earliest and two at the latest, and counts
    anew with each change; what an operator took is never forgotten (D6).
    """
    # A grant's lifetime is a day at most (protocol, Grant), and clocks may be an hour apart.
    assert GENERATION_US >= (86_400 + 3600) * 1_000_000
    taken = Taken()
    taken.take(Change.narrow(PROFILE, [7, 3, 1]))
    taken.age(0)
    taken.take(Change.tighten(PROFILE, [6, 3, 1], 0))
    taken.take(Change.tighten(PROFILE, [4, 4, 4], 0, session=SESSION))
    for after in range(3):
        taken.age(GENERATION_US + after)
    assert len(taken) == 3
    taken.take(Change.tighten(PROFILE, [12, 4, 4], 0, session=SESSION))
    assert len(taken) == 3
    taken.age(2 * GENERATION_US)
    assert taken.of_profile(PROFILE) == Less((7, 3, 1))
    assert taken.of_session(PROFILE, SESSION) == Less((4, 4, 4))
    taken.age(3 * GENERATION_US)
    assert len(taken) == 1


@given(LESS, LESS, LESS)
def test_taking_away_is_the_same_in_any_order(a: Less, b: Less, c: Less) -> None:
    """Repeated and reordered changes leave the same, and never more than each of them."""
    assert a & b == b & a
    assert (a & b) & c == a & (b & c)
    assert a & a == a == a & EVERYTHING
    assert all(x & ~y == 0 for x, y in zip((a & b).allowed, a.allowed, strict=True))
    assert a.step_up & ~(a & b).step_up == 0


@given(LESS, LESS)
def test_what_all_lose_is_never_more_than_each_loses(a: Less, b: Less) -> None:
    """Taking from everybody what none may keep takes nothing from one who may keep it."""
    a, b = (Less(each.allowed, each.step_up & each.allowed[0]) for each in (a, b))
    common = Less.most([a, b])
    for each in (a, b):
        left = each & common
        assert left.allowed == each.allowed
        # What is not allowed at all cannot be stepped up to, whatever is demanded.
        assert left.step_up & left.allowed[0] == each.step_up


def test_sessions_that_lost_the_same_share_a_name() -> None:
    """Name and content of a lesser profile belong together."""
    less = Less((1, 1, 0), 1)
    others = [Less((1, 1, 0)), Less((1, 0, 0), 1), EVERYTHING]
    names = {name_of(PROFILE, less), name_of(b"q" * 32, less), *(name_of(PROFILE, each) for each in others)}
    assert len(names) == 5
    assert name_of(PROFILE, Less((1, 1, 0), 1)) == name_of(PROFILE, less)
