"""Attacks on sequences: a token is accepted at most once, and only acceptance uses it up."""

from __future__ import annotations

import random

import pytest
from model import SEQUENCE_MAX, Window
from worlds import OPERATIONS, ORDERED, REPLACE, SKEW_US, SUBMIT, Session, World, flipped, profile_of

from ztsession import errors
from ztsession._batch import sign_batch
from ztsession._limits import LIMITS


def forged_sequence(world: World, session: Session, sequence: int, operation: int = SUBMIT) -> bytes:
    """An authentic token with a sequence of our choice."""
    return session.keys.token(
        b"body", epoch=world.epoch, sequence=sequence, issued_at_us=world.now_us, operation=operation
    )


def test_T1_replay(world: World, session: Session) -> None:
    """A token is accepted once and refused as replayed ever after."""
    token = session.sign()
    world.passes(session, token)
    for _ in range(3):
        world.refuses(errors.Replayed, token, charged=session)
    world.passes(session, session.sign())


def test_T2_reorder_inside_the_window(world: World, session: Session) -> None:
    """Within the window tokens are accepted in any order, each once."""
    tokens = [session.sign() for _ in range(world.window_words * 32 - 1)]
    random.Random(3).shuffle(tokens)
    for token in tokens:
        assert world.verdict(token) == "OK"
    for token in tokens:
        assert world.verdict(token) == "REPLAYED"


def test_T2_reorder_outside_the_window(world: World, session: Session) -> None:
    """A sequence whose place in the window was taken by a later one is refused, though it was never seen."""
    span = world.window_words * 32
    world.passes(session, forged_sequence(world, session, span + 1))
    world.refuses(errors.Replayed, forged_sequence(world, session, 1), charged=session)
    world.passes(session, forged_sequence(world, session, 32))


@pytest.mark.parametrize("words", [1, 2, 32, 1024])
def test_T2_random_orders_follow_the_model(backend: str, words: int) -> None:
    """For random sequences the window answers as the obvious model does, whatever its size."""
    world, rng, window = World(backend, window_words=words), random.Random(words), Window(words)
    session = world.install()
    base = 1
    for _ in range(1_500):
        base += rng.choice((0, 0, 1, 2, 31, 32 * words, rng.randrange(64 * words)))
        sequence = max(1, base - rng.randrange(48 * words))
        expected = "OK" if window.take(sequence) else "REPLAYED"
        assert world.verdict(forged_sequence(world, session, sequence)) == expected, sequence


@pytest.mark.parametrize("sequence", [0, SEQUENCE_MAX + 1, 2**38, 2**48, 2**63, 2**64 - 1])
def test_T10_impossible_sequences(world: World, session: Session, sequence: int) -> None:
    """Sequence 0 and those past the limit are malformed even when authentic: a wrap is impossible."""
    world.refuses(errors.Malformed, forged_sequence(world, session, sequence))
    world.passes(session, forged_sequence(world, session, 1))


@pytest.mark.parametrize("sequence", [1, 31, 32, 2**32 - 1, 2**32, 2**32 + 1, SEQUENCE_MAX - 1, SEQUENCE_MAX])
def test_T10_edge_sequences(world: World, session: Session, sequence: int) -> None:
    """Sequences at the edges of words and of the limit are accepted exactly once."""
    token = forged_sequence(world, session, sequence)
    world.passes(session, token)
    world.refuses(errors.Replayed, token, charged=session)


def test_T10_the_last_sequence_ends_the_session(world: World, session: Session) -> None:
    """The signer stops after the last sequence and never starts again, singly or in a batch."""
    assert LIMITS["SEQUENCE_MAX"] == SEQUENCE_MAX
    session.client.set_sent_for_testing_only(session.handle, SEQUENCE_MAX - 1)
    assert world.passes(session, session.sign()).sequence == SEQUENCE_MAX
    for _ in range(3):
        with pytest.raises(errors.SequenceExhausted):
            session.sign()
        with pytest.raises(errors.SequenceExhausted):
            sign_batch(session.client, session.handle, OPERATIONS[SUBMIT], b"", count=5)


def test_T10_a_batch_is_signed_whole_or_not_at_all(world: World, session: Session) -> None:
    """A batch that would run past the last sequence gives no token."""
    session.client.set_sent_for_testing_only(session.handle, SEQUENCE_MAX - 3)
    with pytest.raises(errors.SequenceExhausted):
        sign_batch(session.client, session.handle, OPERATIONS[SUBMIT], b"", count=4)
    with pytest.raises(errors.SequenceExhausted):
        session.sign()


def test_T11_a_huge_forged_sequence_leaves_the_window(world: World, session: Session) -> None:
    """A forged sequence near the limit moves nothing: earlier ones are accepted afterwards."""
    early = session.sign()
    world.refuses(errors.BadTag, flipped(forged_sequence(world, session, SEQUENCE_MAX), 300))
    world.refuses(errors.BadTag, forged_sequence(world, session, 5)[:16] + b"\xff" * 4 + bytes(28))
    world.passes(session, early)


@pytest.mark.parametrize("jump", [31, 32, 33, 63, 64, 65, 1023, 1024, 1025, 4096])
@pytest.mark.parametrize("start", [1, 31, 32, 1000])
def test_T12_jumps(world: World, session: Session, start: int, jump: int) -> None:
    """After a jump by a word, the window or one to either side, what came before is judged as the model
    says.
    """
    window = Window(world.window_words)
    for sequence in (start, start + jump, start + jump, start + 1, start, start + jump - 1, start + jump + 1):
        expected = "OK" if window.take(sequence) else "REPLAYED"
        assert world.verdict(forged_sequence(world, session, sequence)) == expected, sequence


def test_T26_a_refused_call_keeps_its_sequence(world: World, session: Session) -> None:
    """Each refusal after the MAC leaves the sequence unused: with the cause gone the same token passes."""
    token = session.sign()
    world.point.set_mode(session.handle, "SUSPENDED")
    world.refuses(errors.ReauthRequired, token, charged=session)
    world.point.set_mode(session.handle, "RESTRICTED")
    world.refuses(errors.StepUpRequired, token, charged=session)
    world.point.set_mode(session.handle, "NORMAL")
    world.refuses(errors.WrongOperation, token, operation=REPLACE, charged=session)
    world.point.set_lease(world.now_us - 1)
    world.refuses(errors.Stale, token, charged=session)
    world.point.set_lease(None)
    world.passes(session, token)


def test_T26_a_token_from_the_future_keeps_its_sequence(world: World, session: Session) -> None:
    """A call refused for its time passes when its time has come."""
    ahead = session.keys.token(
        b"body", epoch=world.epoch, sequence=1, issued_at_us=world.now_us + SKEW_US + 1
    )
    world.refuses(errors.FromFuture, ahead, charged=session)
    world.advance(1)
    world.passes(session, ahead)


def test_T26_an_accepted_call_always_uses_its_sequence(world: World, session: Session) -> None:
    """Another body, operation or time under a used sequence is a replay, in either kind of operation."""
    world.passes(session, forged_sequence(world, session, 40))
    other = session.keys.token(b"other", epoch=world.epoch, sequence=40, issued_at_us=world.now_us - 5)
    world.refuses(errors.Replayed, other, b"other", charged=session)


def test_ordered_operations_only_go_forward(world: World, session: Session) -> None:
    """An ordered operation accepts a sequence only above all it accepted before."""
    first, second, third = (session.sign(operation=REPLACE) for _ in range(3))
    world.passes(session, second, operation=REPLACE)
    for token in (first, second):
        world.refuses(errors.Replayed, token, operation=REPLACE, charged=session)
    world.passes(session, third, operation=REPLACE)


def test_ordered_and_unordered_operations_mix(world: World, session: Session) -> None:
    """Unordered calls in between, early or late, do not disturb the order, nor it them."""
    early, ordered, late = session.sign(), session.sign(operation=REPLACE), session.sign()
    world.passes(session, late)
    world.passes(session, ordered, operation=REPLACE)
    world.passes(session, early)
    for token, operation in ((early, SUBMIT), (ordered, REPLACE), (late, SUBMIT)):
        world.refuses(errors.Replayed, token, operation=operation, charged=session)


def test_a_session_can_be_ordered_as_a_whole(world: World) -> None:
    """With every operation ordered, a late message is refused whatever its operation."""
    session = world.install(profile_of(b"all ordered".ljust(32), ordered=ORDERED | 1 << SUBMIT))
    submit, replace = session.sign(), session.sign(operation=REPLACE)
    world.passes(session, replace, operation=REPLACE)
    world.refuses(errors.Replayed, submit, charged=session)
