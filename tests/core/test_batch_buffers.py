"""Batches and buffers: every layout that is right gives single calls' answers, every one that is wrong
is named.
"""

from __future__ import annotations

import array
import mmap
import os
import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from worlds import HOUR_US, OPERATIONS, STATUS, SUBMIT, Session, World, flipped, profile_of

from ztsession import errors
from ztsession._batch import sign_batch, verify_batch
from ztsession._core import VERDICTS, Table
from ztsession._limits import LIMITS

NAME = OPERATIONS[SUBMIT]


def cut_of(bodies: list[bytes], code: str = "Q") -> array.array[int]:
    ends = [0]
    for body in bodies:
        ends.append(ends[-1] + len(body))
    return array.array(code, ends)


def signed(session: Session, bodies: list[bytes]) -> bytes:
    return b"".join(session.sign(body) for body in bodies)


def names(codes: bytes | bytearray) -> list[str]:
    return [VERDICTS[code] for code in codes]


# ---- Right layouts


def test_bodies_of_one_length(world: World, session: Session) -> None:
    """Without offsets the bodies are cut evenly."""
    bodies = [os.urandom(50) for _ in range(7)]
    tokens = sign_batch(session.client, session.handle, NAME, b"".join(bodies), count=7)
    assert verify_batch(world.point, NAME, tokens, b"".join(bodies)) == bytes(7)
    for i, body in enumerate(bodies):
        world.refuses(errors.Replayed, tokens[48 * i : 48 * i + 48], body, charged=session)


@pytest.mark.parametrize(
    "make",
    [
        lambda a: a,
        memoryview,
        lambda a: memoryview(a).cast("B").cast("q"),
        lambda a: array.array("q", a),
        lambda a: array.array("L", a),
        lambda a: memoryview(array.array("Q", [*a, 0]))[:-1],
        lambda a: memoryview(array.array("Q", [x for e in a for x in (e, 9)]))[::2],
    ],
)
def test_offsets_of_any_64_bit_format(world: World, session: Session, make: Callable[[Any], Any]) -> None:
    """Offsets are 64-bit integers in whatever buffer, signed or not, contiguous or not."""
    bodies = [os.urandom(n) for n in (0, 1, 64, 23, 0, 200)]
    offsets = make(cut_of(bodies))
    tokens = sign_batch(session.client, session.handle, NAME, b"".join(bodies), offsets=offsets)
    assert verify_batch(world.point, NAME, tokens, b"".join(bodies), offsets) == bytes(6)


def test_numpy_arrays_are_buffers(world: World, session: Session) -> None:
    """Arrays of numpy serve as tokens, bodies, offsets and output, where it is installed."""
    np = pytest.importorskip("numpy", reason="numpy is not a dependency; this shows that its arrays fit")
    bodies = np.frombuffer(os.urandom(300), dtype=np.uint8)
    offsets = np.array([0, 10, 10, 299], dtype=np.int64)
    tokens = np.frombuffer(
        sign_batch(session.client, session.handle, NAME, bodies, offsets=offsets), dtype=np.uint8
    )
    out = np.full(3, 77, dtype=np.uint8)
    assert verify_batch(world.point, NAME, tokens, bodies, offsets, out) is out
    assert out.tolist() == [0, 0, 0]


def test_offsets_may_start_late_and_end_early(world: World, session: Session) -> None:
    """What lies before the first and after the last offset belongs to no body."""
    data, offsets = os.urandom(100), array.array("Q", [10, 30, 60])
    tokens = signed(session, [data[10:30], data[30:60]])
    assert verify_batch(world.point, NAME, tokens, data, offsets) == bytes(2)


def test_codes_go_to_the_callers_buffer(world: World, session: Session) -> None:
    """``out`` is filled and given back; what lies beyond the codes stays."""
    out = bytearray(b"\xee" * 5)
    assert verify_batch(world.point, NAME, signed(session, [b"abcd"] * 3), b"abcd" * 3, None, out) is out
    assert out == b"\0\0\0\xee\xee"
    with mmap.mmap(-1, 64) as shared:
        verify_batch(world.point, NAME, signed(session, [b"x"]), b"x", out=memoryview(shared)[8:16])
        assert shared[8] == 0


def test_empty_batches(world: World, session: Session) -> None:
    """Nothing to do is done, in every layout."""
    before = world.point.snapshot_for_testing_only()
    assert verify_batch(world.point, NAME, b"", b"") == b""
    assert verify_batch(world.point, NAME, b"", b"", array.array("Q", [0])) == b""
    out = bytearray(2)
    assert verify_batch(world.point, NAME, b"", b"", out=out) is out
    assert verify_batch(world.point, NAME, b"", b"", out=bytearray()) == b""
    assert sign_batch(session.client, session.handle, NAME, b"", count=0) == b""
    assert sign_batch(session.client, session.handle, NAME, b"unused", offsets=array.array("Q", [3])) == b""
    assert world.point.snapshot_for_testing_only() == before


def test_empty_bodies(world: World, session: Session) -> None:
    """A batch of tokens over nothing at all."""
    tokens = sign_batch(session.client, session.handle, NAME, b"", count=9)
    assert verify_batch(world.point, NAME, tokens, b"") == bytes(9)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 9, 63, 1000])
def test_good_and_garbage_mixed(world: World, session: Session, count: int) -> None:
    """Each token is judged by itself wherever it lies, and of one given twice the first is accepted."""
    good = [session.sign() for _ in range(count)]
    tokens, expected = [], []
    for i, token in enumerate(good):
        tokens.append(token)
        expected.append("OK")
        if i % 3 == 0:
            tokens += [flipped(token, 300), token, bytes(48)]
            expected += ["BAD_TAG", "REPLAYED", "MALFORMED"]
        if i % 5 == 0:
            tokens += [token[:8] + bytes(8) + token[16:], token[:4] + b"\xff" * 4 + token[8:]]
            expected += ["UNKNOWN_SESSION", "BAD_EPOCH"]
        if i % 7 == 0:
            tokens.append(session.sign(operation=STATUS))
            expected.append("WRONG_OPERATION")
    codes = verify_batch(world.point, NAME, b"".join(tokens), b"body" * len(tokens))
    assert names(codes) == expected
    assert session.state()["accepted"] == count
    counted = {name: expected.count(name) for name in VERDICTS[1:]}
    assert world.point.refused() == counted


def test_a_lease_that_runs_out_inside_a_batch(backend: str) -> None:
    """However large the bodies, a batch looks at the clock often enough to see the lease end under it."""
    size, count = 1 << 20, 48
    profile = profile_of(limits={SUBMIT: (30_000_000, 0)}, allowed=[1 << SUBMIT] * 3, step_up=0, ordered=0)
    point = Table(operations=OPERATIONS, backend=backend)
    client = Table(operations=OPERATIONS, client=True, backend=backend)
    handle, now_us = point.install(profile, bytes(32), bytes(32), None, lifetime_us=HOUR_US)
    client.install(profile, bytes(32), bytes(32), None, lifetime_us=HOUR_US, handle=handle, now_us=now_us)
    bodies, seen = bytes(size * count), set()
    for _ in range(20):  # a machine that is busy elsewhere may spend the lease before the first token
        tokens = sign_batch(client, handle, NAME, bodies, count=count)
        # Ends well inside the batch also on the fastest back end, whose 48 MiB take some 10 ms.
        point.set_lease(point.now_us() + 2_000)
        codes = names(verify_batch(point, NAME, tokens, bodies))
        accepted = codes.count("OK")
        assert codes == ["OK"] * accepted + ["STALE"] * (count - accepted)
        seen.add((accepted > 0, accepted < count))
        if (True, True) in seen:
            return
    raise AssertionError(f"the clock was read once for all: {seen}")


CALLS = st.lists(
    st.tuples(
        st.integers(0, 2),  # which session
        st.integers(0, 130),  # body size
        st.sampled_from(["good", "good", "good", "bit", "again", "other body", "status", "noise"]),
        st.integers(0, 383),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls=CALLS)
def test_a_batch_is_its_single_calls(backend: str, calls: list[tuple[int, int, str, int]]) -> None:
    """For random batches the codes, the counters and the memory are those of as many single calls."""
    world = World(backend)
    sessions = [world.install() for _ in range(3)]
    tokens, bodies = [], []
    for which, size, kind, bit in calls:
        session, body = sessions[which], bytes(size)
        token = session.sign(body, STATUS if kind == "status" else SUBMIT)
        if kind == "bit":
            token = flipped(token, bit)
        elif kind == "again" and tokens:
            token, body = tokens[bit % len(tokens)], bodies[bit % len(tokens)]
        elif kind == "other body":
            body += b"!"
        elif kind == "noise":
            token = (token[8:16] * 6)[:48]
        tokens.append(token)
        bodies.append(body)
    start = world.point.snapshot_for_testing_only()
    twin = replayed_singly(world, tokens, bodies)
    codes = verify_batch(world.point, NAME, b"".join(tokens), b"".join(bodies), cut_of(bodies))
    assert names(codes) == twin
    assert world.point.refused() == {name: twin.count(name) for name in VERDICTS[1:]}
    if "OK" not in twin:
        assert world.point.snapshot_for_testing_only() == start


def replayed_singly(world: World, tokens: list[bytes], bodies: list[bytes]) -> list[str]:
    """The verdicts of single calls at a twin of the point, with sessions of the same secrets."""
    twin = World(world.backend)
    moved = {}
    for session in world.sessions:
        other = twin.install(secret=session.secret)
        moved[session.handle] = (session, other)
    verdicts = []
    for token, body in zip(tokens, bodies, strict=True):
        verdicts.append(twin.verdict(translated(token, body, moved), body))
    return verdicts


def translated(token: bytes, body: bytes, moved: dict[int, tuple[Session, Session]]) -> bytes:
    """The same token under the twin's keys: authentic if it was, and as wrong as it was if it was not."""
    (handle,) = struct.unpack("<Q", token[8:16])
    if handle not in moved:
        return token
    session, other = moved[handle]
    renamed = token[:8] + struct.pack("<Q", other.handle) + token[16:]
    epoch = struct.unpack("<I", token[4:8])[0]
    if not 0 <= epoch - session.keys.first_epoch < 3:
        return renamed
    fields = struct.unpack("<BBHIQQQ", token[:32])
    options = dict(
        zip(
            ("version", "flags", "operation", "epoch", "handle", "sequence", "issued_at_us"),
            fields,
            strict=True,
        )
    )
    if session.keys.token(body, **options, direction=0) == token:
        return other.keys.token(body, **(options | {"handle": other.handle}), direction=0)
    return renamed


# ---- Wrong layouts


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"tokens": bytes(47)}, ValueError, "multiple of 48"),
        ({"tokens": bytes(97)}, ValueError, "multiple of 48"),
        ({"bodies": bytes(7)}, ValueError, "not 2 bodies of one length"),
        ({"tokens": b"", "bodies": b"x"}, ValueError, "not 0 bodies"),
        ({"offsets": array.array("Q", [0, 4])}, ValueError, "cut 1 bodies, but there are 2 tokens"),
        ({"offsets": array.array("Q", [0, 4, 8, 8])}, ValueError, "cut 3 bodies"),
        ({"offsets": array.array("Q", [])}, ValueError, "empty"),
        ({"offsets": array.array("Q", [0, 8, 4])}, ValueError, r"offsets\[2\] is below"),
        ({"offsets": array.array("q", [-1, 4, 8])}, ValueError, "below"),
        ({"offsets": array.array("q", [0, 4, -8])}, ValueError, "bodies are 8 bytes"),
        ({"offsets": array.array("Q", [0, 4, 9])}, ValueError, "last offset is 9"),
        ({"offsets": array.array("Q", [0, 4, 2**63])}, ValueError, "last offset"),
        ({"offsets": array.array("I", [0, 4, 8])}, TypeError, "64-bit"),
        ({"offsets": array.array("d", [0, 4, 8])}, TypeError, "64-bit"),
        ({"offsets": [0, 4, 8]}, TypeError, "list"),
        ({"offsets": memoryview(bytes(48)).cast("Q", [2, 3])}, TypeError, "one dimension"),
        ({"out": bytearray(1)}, ValueError, "at least 2"),
        ({"out": bytes(2)}, (BufferError, ValueError), "read-only|not writable"),
        ({"out": array.array("I", [0, 0])}, ValueError, "dtype"),
        ({"tokens": "x" * 96}, TypeError, "bytes-like|buffer"),
        ({"tokens": None}, TypeError, "tokens"),
        ({"bodies": None}, TypeError, "bodies"),
        ({"bodies": 8}, TypeError, "bytes-like|buffer"),
        ({"bodies": memoryview(bytes(16))[::2]}, (BufferError, ValueError), "contiguous"),
        ({"operation": "orders.nothing"}, ValueError, "no operation of this table"),
        ({"operation": ""}, ValueError, "no operation of this table"),
        ({"operation": 3}, TypeError, "operation"),
        ({"table": None}, TypeError, "table"),
        ({"table": object()}, TypeError, "table"),
    ],
)
def test_wrong_verify_batches(
    world: World, session: Session, options: dict[str, Any], kind: type[Exception], message: str
) -> None:
    """Each wrong argument of verify_batch is refused with a sentence about it, before any token is judged."""
    tokens = session.sign() + session.sign()
    before = world.point.snapshot_for_testing_only()
    right: dict[str, Any] = {"table": world.point, "operation": NAME, "tokens": tokens, "bodies": b"body" * 2}
    with pytest.raises(kind, match=message):
        verify_batch(**(right | options))
    assert world.point.snapshot_for_testing_only() == before
    assert not any(world.point.refused().values())
    assert verify_batch(**right) == bytes(2)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({}, TypeError, "either count"),
        ({"count": 1, "offsets": array.array("Q", [0, 4])}, TypeError, "either count"),
        ({"count": 3}, ValueError, "not 3 bodies"),
        ({"count": 0}, ValueError, "not 0 bodies"),
        ({"count": -1}, ValueError, "count is -1"),
        ({"count": 2**60}, ValueError, "count is"),
        ({"count": 2**64}, ValueError, "count is"),
        ({"count": True}, TypeError, "must be int"),
        ({"count": "1"}, TypeError, "must be int"),
        ({"offsets": array.array("Q", [0, 5])}, ValueError, "last offset"),
        ({"count": 1, "operation": "orders.nothing"}, ValueError, "no operation"),
        ({"count": 1, "handle": 2**64}, OverflowError, "too large|too big|int"),
        ({"count": 1, "handle": 5}, errors.SessionEnded, "over"),
        ({"count": 1, "handle": 0}, errors.SessionEnded, "over"),
    ],
)
def test_wrong_sign_batches(
    session: Session, options: dict[str, Any], kind: type[Exception], message: str
) -> None:
    """Each wrong argument of sign_batch is refused with a sentence about it, and uses no sequence."""
    right: dict[str, Any] = {"handle": session.handle, "operation": NAME, "bodies": b"body"}
    with pytest.raises(kind, match=message):
        sign_batch(session.client, **(right | options))
    assert session.sign()[16:24] == struct.pack("<Q", 1)


def test_one_oversized_body_spoils_the_batch_for_the_signer(session: Session) -> None:
    """A batch with a body over the limit is not signed, and uses no sequence."""
    limit = LIMITS["BODY_MAX_BYTES"]
    with pytest.raises(ValueError, match=str(limit)):
        sign_batch(
            session.client,
            session.handle,
            NAME,
            bytes(limit + 5),
            offsets=array.array("Q", [0, 4, limit + 5]),
        )
    assert session.sign()[16:24] == struct.pack("<Q", 1)


def test_one_oversized_body_is_malformed_alone(world: World, session: Session) -> None:
    """Verified, only the oversized one is malformed."""
    limit = LIMITS["BODY_MAX_BYTES"]
    tokens = session.sign() + session.sign() + session.sign()
    codes = verify_batch(
        world.point,
        NAME,
        tokens,
        bytes(4 + limit + 1) + b"body",
        array.array("Q", [0, 4, limit + 5, limit + 9]),
    )
    assert names(codes) == ["BAD_TAG", "MALFORMED", "OK"]
