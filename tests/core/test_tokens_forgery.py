"""Attacks on authenticity: nothing but the right key, for this session, direction and installation, opens."""

from __future__ import annotations

import os
import struct

import pytest
from model import REPLY, ZERO_STATE, Keys, Token, header, tag_under
from worlds import CANCEL, EPOCH_US, OPERATIONS, STATUS, SUBMIT, WITHDRAW, Session, World, flipped, refused_by

from ztsession import errors
from ztsession._batch import verify_batch
from ztsession._core import VERDICTS

HANDLE = slice(8, 16)


def with_handle(token: bytes, handle: int) -> bytes:
    return token[:8] + struct.pack("<Q", handle) + token[16:]


def test_T3_every_length_but_48(world: World, session: Session) -> None:
    """A token cut short or grown by any number of bytes is malformed."""
    token = session.sign()
    for length in [n for n in range(100) if n != 48]:
        world.refuses(errors.Malformed, (token * 3)[:length])
    world.passes(session, token)


def test_T4_every_bit_of_the_token(world: World, session: Session) -> None:
    """Each single flipped bit is refused under the name of what it broke."""
    token = session.sign()
    names = set()
    for bit in range(48 * 8):
        changed = flipped(token, bit)
        before = world.point.snapshot_for_testing_only()
        verdict = world.verdict(changed)
        names.add(verdict)
        field = bit // 8
        if field < 2:
            assert verdict == "MALFORMED", bit
        elif 4 <= field < 8:
            assert verdict in ("BAD_EPOCH", "BAD_TAG"), bit
        elif 8 <= field < 16:
            assert verdict == "UNKNOWN_SESSION", bit
        elif 16 <= field < 24:
            assert verdict in ("BAD_TAG", "MALFORMED"), bit
        else:
            assert verdict == "BAD_TAG", bit
        assert world.point.snapshot_for_testing_only() == before
    assert names == {"MALFORMED", "BAD_EPOCH", "UNKNOWN_SESSION", "BAD_TAG"}
    world.passes(session, token)


def test_T4_every_bit_of_the_body(world: World, session: Session) -> None:
    """Each flipped bit of bodies around the block edges is a bad tag."""
    for size in (1, 22, 23, 24, 31, 32, 33, 64, 87, 88, 96):
        body = os.urandom(size)
        token = session.sign(body)
        for bit in range(size * 8):
            assert world.verdict(token, flipped(body, bit)) == "BAD_TAG", (size, bit)
        world.passes(session, token, body)


def test_T5_another_segment(world: World, session: Session) -> None:
    """A token of one segment's point opens nothing at another's, also with the other's handle written in."""
    other = World(world.backend)
    elsewhere = other.install()
    token = session.sign()
    other.refuses(errors.UnknownSession, token)
    other.refuses(errors.BadTag, with_handle(token, elsewhere.handle))
    world.passes(session, token)


def test_T6_another_session(world: World, session: Session) -> None:
    """A token under another session's handle is a bad tag, though both are alive at one point."""
    second = world.install()
    token = session.sign()
    world.refuses(errors.BadTag, with_handle(token, second.handle))
    world.passes(session, token)
    world.passes(second, second.sign())


def test_T7_other_direction(world: World, session: Session) -> None:
    """A reply sent back as a request is malformed, and with its direction bit flipped a bad tag."""
    reply = session.reply(b"body")
    world.refuses(errors.Malformed, reply)
    world.refuses(errors.BadTag, flipped(reply, 8))
    assert session.open_reply(reply, b"body").sequence == 1


def test_T7_a_request_returned_to_its_sender(world: World, session: Session) -> None:
    """A request reflected to the client is refused, as it is and with its direction bit flipped."""
    request = session.sign(b"reply")
    for token, kind in ((request, errors.Malformed), (flipped(request, 8), errors.BadTag)):
        refused_by(lambda token=token: session.open_reply(token), kind, session.client, [])  # type: ignore[misc]
    session.open_reply(session.reply())


@pytest.mark.parametrize("bit", range(1, 8))
def test_unused_flag_bits_must_be_clear(world: World, session: Session, bit: int) -> None:
    """A flag without a meaning is malformed even when authentic, so that it can be given one."""
    token = session.keys.token(
        b"body", epoch=world.epoch, sequence=1, issued_at_us=world.now_us, flags=1 << bit
    )
    world.refuses(errors.Malformed, token)


@pytest.mark.parametrize("version", [0, 2, 255])
def test_other_versions_are_malformed(world: World, session: Session, version: int) -> None:
    """There is no version to negotiate down to."""
    token = session.keys.token(
        b"body", epoch=world.epoch, sequence=1, issued_at_us=world.now_us, version=version
    )
    world.refuses(errors.Malformed, token)


def test_T16_short_tag(world: World, session: Session) -> None:
    """Every prefix of the right tag, filled up with zeros, with ones or left short, is refused."""
    token = session.sign()
    for kept in range(16):
        for filling in (b"\x00", b"\xff"):
            padded = token[: 32 + kept] + filling * (16 - kept)
            if padded != token:
                world.refuses(errors.BadTag, padded)
        world.refuses(errors.Malformed, token[: 32 + kept])
    world.passes(session, token)


def test_T21_body_swapped(world: World, session: Session) -> None:
    """A token does not cover any body but its own, nor its own body moved into the header's block
    differently.
    """
    token = session.sign(b"buy 100")
    for body in (b"buy 900", b"buy 100 ", b"buy 10", b"", b"\0buy 100"):
        world.refuses(errors.BadTag, token, body)
    world.passes(session, token, b"buy 100")


def test_T23_another_replica(world: World, session: Session) -> None:
    """Two replicas given one ticket have different keys: a token accepted at one never is at the other."""
    replica = World(world.backend)
    twin = replica.install(secret=session.secret)
    token = session.sign()
    replica.refuses(errors.UnknownSession, token)
    replica.refuses(errors.BadTag, with_handle(token, twin.handle))
    world.passes(session, token)


def test_T24_a_verifier_of_one_segment_forges_for_another(world: World) -> None:
    """All that segment A's verifier knows (its secret, B's nonce and handle) makes no token for B."""
    victim = world.install()
    known = Keys(os.urandom(32), victim.nonce, victim.handle, victim.keys.first_epoch)
    fields = {"epoch": world.epoch, "sequence": 1, "issued_at_us": world.now_us}
    world.refuses(errors.BadTag, known.token(b"body", **fields))
    world.passes(victim, victim.keys.token(b"body", **fields))


def test_T24_a_point_cannot_speak_as_its_client_elsewhere(world: World, session: Session) -> None:
    """The key of replies makes no request."""
    token = session.keys.token(
        b"body", epoch=world.epoch, sequence=1, issued_at_us=world.now_us, direction=REPLY
    )
    assert Token.parse(token).flags == 0
    world.refuses(errors.BadTag, token)


def test_T25_operation_swapped(world: World, session: Session) -> None:
    """A token made for one operation is refused by the handler of each other one, and by a changed field."""
    token = session.sign(operation=SUBMIT)
    world.refuses(errors.WrongOperation, token, operation=CANCEL, charged=session)
    world.refuses(errors.WrongOperation, token, operation=STATUS, charged=session)
    world.refuses(errors.BadTag, token[:2] + struct.pack("<H", CANCEL) + token[4:], operation=CANCEL)
    assert world.passes(session, token).operation == OPERATIONS[SUBMIT]


@pytest.mark.parametrize("operation", [WITHDRAW, 7, 63, 64, 65, 1 << 15, 0xFFFF])
def test_T25_operations_outside_the_grant(world: World, session: Session, operation: int) -> None:
    """An operation that the grant does not allow, or that no bitmap could hold, is not permitted."""
    token = session.keys.token(
        b"body", epoch=world.epoch, sequence=1, issued_at_us=world.now_us, operation=operation
    )
    world.refuses(errors.NotPermitted, token, operation=None, charged=session)
    world.passes(session, session.sign(), operation=None)


def zero_key_token(handle: int, epoch: int, now_us: int) -> bytes:
    """What anybody can compute: the tag under a key state of zeros, as in memory that was never filled
    or is wiped.
    """
    head = header(epoch=epoch, handle=handle, sequence=1, issued_at_us=now_us)
    return head + tag_under(ZERO_STATE, ZERO_STATE, head + b"body")


def test_zero_keys_of_a_slot_never_used(world: World) -> None:
    """Handles of slots that nobody filled are unknown, the all-zero handle above all."""
    for index in range(world.capacity + 2):
        for random in (0, 1, 2**40 - 1):
            handle = random << 24 | index
            for epoch in (0, 1, world.epoch):
                world.refuses(errors.UnknownSession, zero_key_token(handle, epoch, world.now_us))


def test_zero_keys_of_an_ended_slot(world: World) -> None:
    """When a session has ended its keys are zeros, and they open nothing."""
    revoked, ended = world.install(), world.install()
    assert revoked.end(revoked=True)
    assert ended.end(revoked=False)
    world.refuses(errors.Revoked, zero_key_token(revoked.handle, world.epoch, world.now_us))
    world.refuses(errors.UnknownSession, zero_key_token(ended.handle, world.epoch, world.now_us))


def test_zero_keys_before_the_first_epoch(world: World) -> None:
    """In its first epoch a session has no previous key: the zeros in its place open nothing, just after
    the turn.
    """
    world.at((world.epoch + 1) * EPOCH_US)
    session = world.install()
    world.refuses(errors.BadEpoch, zero_key_token(session.handle, world.epoch - 1, world.now_us))
    world.passes(session, session.sign())


def test_forged_tags_are_never_accepted(world: World, session: Session) -> None:
    """Of a million random tags for a live session none is accepted, and the count is exact."""
    count = 1_000_000
    head = header(epoch=world.epoch, handle=session.handle, sequence=1, issued_at_us=world.now_us)
    noise = os.urandom(16 * 10_000)
    accepted = refused = 0
    for part in range(count // 10_000):
        noise = noise[1:] + bytes([part])
        tokens = b"".join(head + noise[i : i + 16] for i in range(0, len(noise), 16))
        codes = verify_batch(world.point, OPERATIONS[SUBMIT], tokens, bytes(10_000 * 32))
        accepted += codes.count(0)
        refused += codes.count(VERDICTS.index("BAD_TAG"))
    assert (accepted, refused) == (0, count)
    world.passes(session, session.sign())
