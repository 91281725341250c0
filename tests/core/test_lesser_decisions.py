"""One session that goes on under a lesser decision, and a demand for more assurance made in place."""

from __future__ import annotations

import pytest
from worlds import AMEND, CANCEL, REPLACE, STATUS, SUBMIT, Session, World, profile_of

from ztsession import errors

FULL = 2**64 - 1
ALL = [FULL, FULL, FULL]


def name(letter: bytes) -> bytes:
    return letter.ljust(32)


def without(operation: int) -> list[int]:
    return [FULL & ~(1 << operation)] * 3


def tighten(world: World, session: Session, allowed: list[int], step_up: int = 0) -> bool:
    less = profile_of().tightened(name(b"less%d" % session.handle), allowed, step_up)
    return world.point.tighten(session.handle, less)


def test_what_is_taken_from_one_is_taken_from_no_other(world: World) -> None:
    """Of two sessions with one grant, the one that was tightened is refused; both go on with the rest."""
    first, second = world.install(), world.install()
    assert tighten(world, first, without(SUBMIT))
    world.refuses(errors.NotPermitted, first.sign(), charged=first)
    world.passes(second, second.sign())
    for session in (first, second):
        world.passes(session, session.sign(operation=STATUS), operation=STATUS)


def test_keys_and_sequences_stay_what_they_were(world: World, session: Session) -> None:
    """A token made before is judged by the new decision, once; replies go on."""
    early, late = session.sign(operation=STATUS), session.sign()
    world.passes(session, early, operation=STATUS)
    assert tighten(world, session, without(SUBMIT))
    world.refuses(errors.Replayed, early, operation=STATUS, charged=session)
    world.refuses(errors.NotPermitted, late, charged=session)
    assert session.open_reply(session.reply())
    world.advance(40_000_000)
    world.passes(session, session.sign(operation=CANCEL), operation=CANCEL)


def test_a_step_up_can_be_demanded_of_one_and_of_all(world: World) -> None:
    """The refusal then says what helps, in NORMAL; what a worse mode allowed without one it still allows."""
    first, second = world.install(), world.install()
    assert tighten(world, first, ALL, step_up=1 << SUBMIT)
    world.refuses(errors.StepUpRequired, first.sign(), charged=first)
    world.passes(second, second.sign())
    assert world.point.narrow(name(b"profile"), ALL, 1 << SUBMIT)
    world.refuses(errors.StepUpRequired, second.sign(), charged=second)
    world.passes(second, second.sign(operation=CANCEL), operation=CANCEL)


def test_K9_a_profile_with_more_in_it_gives_nothing(world: World, session: Session) -> None:
    """What was taken in place, from the profile or from the session, is missing in whatever it is given."""
    assert world.point.narrow(name(b"profile"), without(SUBMIT), 1 << STATUS)
    assert world.point.tighten(session.handle, profile_of(name(b"wide"), step_up=0))
    world.refuses(errors.NotPermitted, session.sign(), charged=session)
    world.refuses(errors.StepUpRequired, session.sign(operation=STATUS), operation=STATUS, charged=session)
    assert world.point.tighten(session.handle, profile_of(name(b"wider"), step_up=0))
    world.refuses(errors.NotPermitted, session.sign(), charged=session)
    world.passes(session, session.sign(operation=CANCEL), operation=CANCEL)
    assert world.install(profile_of(name(b"fresh")))


@pytest.mark.parametrize("mode", [1, 2])
def test_K9_what_a_mode_has_lost_is_not_in_the_lesser_decision(
    world: World, session: Session, mode: int
) -> None:
    """What was taken from a worse mode alone stays taken from that mode, and from it alone."""
    kept = [FULL, FULL, FULL]
    for each in range(mode, 3):
        kept[each] &= ~(1 << CANCEL)
    assert world.point.narrow(name(b"profile"), kept)
    assert tighten(world, session, without(SUBMIT))
    world.passes(session, session.sign(operation=CANCEL), operation=CANCEL)
    refusals = {"RESTRICTED": errors.StepUpRequired, "SUSPENDED": errors.ReauthRequired}
    for worse, refusal in list(refusals.items())[mode - 1 :]:
        world.point.set_mode(session.handle, worse)
        world.refuses(refusal, session.sign(operation=CANCEL), operation=CANCEL, charged=session)


def test_it_is_the_narrower_decision_that_holds_in_each_mode(world: World, session: Session) -> None:
    """Cancel taken from RESTRICTED stays in NORMAL."""
    assert tighten(world, session, [FULL, FULL & ~(1 << CANCEL), 0])
    world.passes(session, session.sign(operation=CANCEL), operation=CANCEL)
    world.point.set_mode(session.handle, "RESTRICTED")
    world.refuses(errors.StepUpRequired, session.sign(operation=CANCEL), operation=CANCEL, charged=session)


def test_without_room_for_a_decision_nothing_changes(world: World, session: Session) -> None:
    """A table that has no place for one profile more says so, and the session has what it had."""
    for letter in (b"a", b"b", b"c"):
        world.install(profile_of(name(letter)))
    with pytest.raises(errors.TableFull):
        tighten(world, session, without(SUBMIT))
    world.passes(session, session.sign())


def test_profiles_that_are_left_behind_are_free_again(world: World, session: Session) -> None:
    """However often one session is given less, it holds one profile, and none when it has ended."""
    for step in range(20):
        less = profile_of().tightened(name(b"%d" % step), without(SUBMIT))
        assert world.point.tighten(session.handle, less)
    assert world.point.tighten(session.handle, less)
    others = [world.install(profile_of(name(letter))) for letter in (b"a", b"b", b"c")]
    session.end()
    assert world.install(profile_of(name(b"d")))
    assert len(others) == 3


def test_a_session_that_is_over_is_given_nothing(world: World, session: Session) -> None:
    """Whoever is not here, or no more, is not brought back by it."""
    assert session.end()
    assert not tighten(world, session, ALL)
    assert world.point.session(session.handle) is None
    for letter in (b"a", b"b", b"c", b"d"):
        world.install(profile_of(name(letter)))


def test_a_lesser_profile_has_a_name_and_whole_bitmaps(world: World) -> None:
    """Wrong arguments are told, and make nothing."""
    with pytest.raises(ValueError, match="expected 32"):
        profile_of().tightened(b"short", ALL)
    with pytest.raises(ValueError, match="step_up"):
        profile_of().tightened(name(b"x"), ALL, -1)
    for wrong in ([1, 2], [1, 2, 3, 4], []):
        with pytest.raises(ValueError, match="expected 3"):
            profile_of().tightened(name(b"x"), wrong)
        with pytest.raises(ValueError, match="expected 3"):
            world.point.narrow(name(b"profile"), wrong)
    assert profile_of().tightened(name(b"x"), ALL).digest == name(b"x")


def test_T25_and_order_hold_under_a_lesser_decision(world: World, session: Session) -> None:
    """Another handler's token and an ordered operation's older sequence are refused as before."""
    assert tighten(world, session, without(SUBMIT))
    world.refuses(errors.WrongOperation, session.sign(operation=STATUS), operation=CANCEL, charged=session)
    older, newer = (session.sign(operation=REPLACE) for _ in range(2))
    world.passes(session, newer, operation=REPLACE)
    world.refuses(errors.Replayed, older, operation=REPLACE, charged=session)
    world.refuses(errors.StepUpRequired, session.sign(operation=AMEND), operation=AMEND, charged=session)
