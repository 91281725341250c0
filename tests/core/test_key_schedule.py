"""The core's keys against an independent schedule, and what a stolen ring is worth."""

from __future__ import annotations

import os
import struct

import pytest
from model import REPLY, REQUEST, Keys, Token, header, key_states, mac
from worlds import EPOCH_US, OPERATIONS, SUBMIT, Session, World

from ztsession._batch import sign_batch


def expected(keys: Keys, token: bytes, body: bytes, direction: int) -> bytes:
    return mac(keys.token_key(direction, Token.parse(token).epoch), token[:32] + body)[:16]


def test_T20_tokens_are_exactly_the_protocols(world: World, session: Session) -> None:
    """Over several epochs and both directions each token is what hashlib and hmac make of the protocol's
    text.
    """
    for epochs in (0, 1, 1, 5, 64):
        world.advance(epochs * EPOCH_US)
        for size in (0, 23, 24, 64, 300):
            body = os.urandom(size)
            token = session.sign(body)
            parsed = Token.parse(token)
            fields = {"epoch": world.epoch, "sequence": parsed.sequence, "issued_at_us": world.now_us}
            assert token == session.keys.token(body, **fields)
            assert session.handle == parsed.handle
            assert world.verdict(token, body) == "OK"
            reply = session.reply(body)
            assert Token.parse(reply).flags == REPLY
            assert reply[32:] == expected(session.keys, reply, body, REPLY)
            session.open_reply(reply, body)


def test_T20_a_batch_signs_what_single_calls_would(world: World, session: Session) -> None:
    """Each token of a batch equals the model's, sequences in a row."""
    bodies = [os.urandom(n) for n in (0, 5, 64, 23, 100, 24, 0, 300, 41)]
    offsets = [sum(map(len, bodies[:i])) for i in range(len(bodies) + 1)]
    tokens = sign_batch(
        session.client,
        session.handle,
        OPERATIONS[SUBMIT],
        b"".join(bodies),
        offsets=memoryview(struct.pack(f"<{len(offsets)}Q", *offsets)).cast("Q"),
    )
    for i, body in enumerate(bodies):
        fields = {"epoch": world.epoch, "sequence": i + 1, "issued_at_us": world.now_us}
        assert tokens[48 * i : 48 * i + 48] == session.keys.token(body, **fields)


def test_T20_every_input_of_the_chain_counts() -> None:
    """Secret, nonce, handle, direction and epoch each change every key."""
    base = Keys(bytes(32), bytes(32), 1, 7)
    others = [
        Keys(b"\1".ljust(32), bytes(32), 1, 7),
        Keys(bytes(32), b"\1".ljust(32), 1, 7),
        Keys(bytes(32), bytes(32), 2, 7),
    ]
    keys = [
        k.token_key(direction, epoch) for k in (base, *others) for direction in (0, 1) for epoch in (7, 8, 9)
    ]
    assert len(set(keys)) == len(keys)


def key_state_bytes(key: bytes) -> bytes:
    """How the core keeps a key: HMAC's inner and outer state, words in the machine's order."""
    inner, outer = key_states(key)
    return struct.pack("<16I", *inner, *outer)


@pytest.mark.parametrize("steps", [1, 2, 5, 40])
def test_T20_a_stolen_table_opens_nothing_earlier(world: World, session: Session, steps: int) -> None:
    """The whole memory of a point holds the keys of previous, current and next epoch, and no key or
    chain from before.
    """
    first = session.keys.first_epoch
    world.advance(steps * EPOCH_US)
    world.passes(session, session.sign())
    memory = world.point.snapshot_for_testing_only()
    now, keys = world.epoch, session.keys
    for epoch in range(first, now + 3):
        held = now - 1 <= epoch <= now + 1
        assert (key_state_bytes(keys.token_key(REQUEST, epoch)) in memory) is held, epoch - now
        assert (key_state_bytes(keys.token_key(REPLY, epoch)) in memory) is (epoch == now), epoch - now
        assert (keys.chain(REQUEST, epoch) in memory) is (epoch == now + 2)
        assert (keys.chain(REPLY, epoch) in memory) is (epoch == now + 1)
    for secret in (session.secret, session.nonce):
        assert secret not in memory


def test_T20_a_leaked_epoch_key_opens_only_its_epoch(world: World, session: Session) -> None:
    """With one epoch's key a forger is heard in that epoch and in no other."""
    leaked = session.keys.token_key(REQUEST, world.epoch)

    def forge(epoch: int, sequence: int) -> bytes:
        head = header(epoch=epoch, handle=session.handle, sequence=sequence, issued_at_us=world.now_us)
        return head + mac(leaked, head + b"body")[:16]

    assert world.verdict(forge(world.epoch, 100)) == "OK"
    world.at((world.epoch + 1) * EPOCH_US)
    assert world.verdict(forge(world.epoch, 101)) == "BAD_TAG"
    assert world.verdict(forge(world.epoch - 1, 102)) == "OK"
    world.advance(EPOCH_US)
    assert world.verdict(session.sign()) == "OK"
    assert [world.verdict(forge(world.epoch + d, 103)) for d in (-2, -1, 0)] == [
        "BAD_EPOCH",
        "BAD_TAG",
        "BAD_TAG",
    ]


@pytest.mark.parametrize("revoked", [True, False])
def test_keys_of_an_ended_session_are_wiped(world: World, session: Session, revoked: bool) -> None:
    """What the ring held of keys and chains is gone from memory when the session has ended."""
    now, keys = session.keys.first_epoch, session.keys
    ring = [key_state_bytes(keys.token_key(REQUEST, now + d)) for d in (0, 1)]
    ring += [
        key_state_bytes(keys.token_key(REPLY, now)),
        keys.chain(REQUEST, now + 2),
        keys.chain(REPLY, now + 1),
    ]
    before = world.point.snapshot_for_testing_only()
    assert all(secret in before for secret in ring)
    session.end(revoked=revoked)
    after = world.point.snapshot_for_testing_only()
    assert not any(secret in after for secret in ring)
