"""One value, one encoding: what else looks like msgpack is refused."""

from __future__ import annotations

import struct

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ztsession.errors import WireError
from ztsession.wire import decode, encode
from ztsession.wire.canonical import MAX_DEPTH

LIMIT = 1 << 16

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.text(max_size=40)
    | st.binary(max_size=300)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=20), inner, max_size=5),
    max_leaves=12,
).filter(lambda value: _depth(value) <= MAX_DEPTH)


def _depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0


@given(VALUES)
def test_every_value_comes_back(value):
    """What is encoded decodes to the same value, of the same types."""
    again = decode(encode(value), max_bytes=LIMIT)
    assert repr(_sorted(again)) == repr(_sorted(value))


def _sorted(value: object) -> object:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


@given(VALUES)
def test_another_msgpack_reads_the_same(value):
    """The encoding is plain msgpack, so that another client can be written with any library."""
    assert msgpack.unpackb(encode(value)) == decode(encode(value), max_bytes=LIMIT)


@given(st.binary(max_size=64) | VALUES.map(msgpack.packb))
def test_K5_only_the_canonical_bytes_are_accepted(data):
    """Bytes are accepted if, and only if, encoding what they mean gives the same bytes."""
    try:
        value = decode(data, max_bytes=LIMIT)
    except WireError:
        assert _plainly_read(data) != data
    else:
        assert encode(value) == data


def _plainly_read(data: bytes) -> bytes | None:
    """Encode what msgpack alone makes of the bytes; None if nothing, or what has no encoding here."""
    try:
        return encode(msgpack.unpackb(data, strict_map_key=True))
    except (ValueError, TypeError, msgpack.UnpackException):
        return None


@given(st.dictionaries(st.text(max_size=8), st.none(), max_size=12))
def test_keys_are_in_the_order_of_their_bytes(value):
    """Map keys ascend by their UTF-8 bytes, whatever order the caller had."""
    keys = list(decode(encode(value), max_bytes=LIMIT))
    assert [key.encode() for key in keys] == sorted(key.encode() for key in value)


def test_K5_duplicate_keys_are_refused():
    """A map with one key twice, which two parsers read in two ways, is refused; each alone is accepted."""
    one, two = b"\x81\xa1a\x01", b"\x81\xa1a\x02"
    assert decode(one, max_bytes=LIMIT) == {"a": 1}
    assert decode(two, max_bytes=LIMIT) == {"a": 2}
    with pytest.raises(WireError, match="repeated"):
        decode(b"\x82\xa1a\x01\xa1a\x02", max_bytes=LIMIT)


def test_K5_two_parsings_of_one_length_are_refused():
    """Longer forms than needed and keys in another order are refused, although they mean the same."""
    canonical = encode({"a": 1, "b": "x"})
    assert canonical == b"\x82\xa1a\x01\xa1b\xa1x"
    others = [
        b"\x82\xa1b\xa1x\xa1a\x01",  # 1. keys out of order
        b"\x82\xa1a\xcc\x01\xa1b\xa1x",  # 2. an integer in two bytes
        b"\x82\xa1a\x01\xa1b\xd9\x01x",  # 3. text with a long header
        b"\x82\xd9\x01a\x01\xa1b\xa1x",  # 4. a key with a long header
        b"\xde\x00\x02\xa1a\x01\xa1b\xa1x",  # 5. a map with a long header
        canonical + b"\xc0",  # 6. something behind it
    ]
    for other in others:
        with pytest.raises(WireError):
            decode(other, max_bytes=LIMIT)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",  # never used by msgpack
        b"\xca\x00\x00\x00\x00",  # float
        b"\xcb" + bytes(8),  # double
        b"\xd4\x05\x00",  # extension
        b"\xd6\xff" + bytes(4),  # timestamp
        b"\x81\x01\x01",  # integer key
        b"\x81\xc4\x01a\x01",  # bytes key
        b"\x81\x90\x01",  # list key
        b"\xa1\xff",  # not UTF-8
        b"\xa3\xed\xa0\x80",  # a surrogate
        b"\x81\xa1a",  # value missing
        b"\x93\x01",  # items missing
        b"\xc4\x05abc",  # bytes cut short
        b"\xdd\xff\xff\xff\xff" * 1000,  # arrays that claim four billion items each
        b"\xdf\xff\xff\xff\xff",
        b"\x91" * 5000 + b"\xc0",
    ],
)
def test_malformed_bytes_are_refused(data):
    """Floats, extensions, foreign keys, bad text, cut and boastful messages all end in a WireError."""
    with pytest.raises(WireError):
        decode(data, max_bytes=LIMIT)


def test_depth_has_a_limit_both_ways():
    """Eight containers inside each other pass, nine do not, in both directions."""
    value: object = None
    for _ in range(MAX_DEPTH):
        value = [value]
    assert decode(encode(value), max_bytes=LIMIT) == value
    with pytest.raises(WireError, match="deeper"):
        encode([value])
    with pytest.raises(WireError, match="deeper"):
        decode(b"\x91" * (MAX_DEPTH + 1) + b"\xc0", max_bytes=LIMIT)


def test_the_size_is_judged_before_the_content():
    """A message over the limit is refused for its size, even when it is nonsense as well."""
    with pytest.raises(WireError, match="over the limit of 4"):
        decode(b"\xc1" * 5, max_bytes=4)


class _Word(str):
    pass


@pytest.mark.parametrize(
    "value",
    [
        1.0,
        {1: 2},
        {b"a": 1},
        2**64,
        -(2**63) - 1,
        "\ud800",
        {"\ud800": 1},
        {1, 2},
        _Word("x"),
        bytearray(b"x"),
    ],
)
def test_values_without_an_encoding_are_refused(value):
    """What the other side could not read back as the same value is not written."""
    with pytest.raises(WireError):
        encode(value)


@pytest.mark.parametrize("value", [-(2**63), 2**64 - 1, 0, -1, -33, 127, 128, 255, 256, 65535, 65536, 2**32])
def test_integers_at_the_edges_come_back(value):
    """The whole range of 64-bit integers has an encoding."""
    assert decode(encode(value), max_bytes=16) == value


FORMS = {0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q", 0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q"}
EDGES = sorted({sign * 2**bits + off for bits in range(4, 65) for sign in (1, -1) for off in range(-2, 3)})


def test_K5_of_all_forms_of_a_number_one_is_accepted():
    """Every number near a power of two, in every form that holds it: the shortest is accepted alone."""
    for number in EDGES:
        shortest = msgpack.packb(number) if -(2**63) <= number < 2**64 else None
        for lead, form in FORMS.items():
            try:
                data = bytes([lead]) + struct.pack(form, number)
            except struct.error:
                continue
            if data == shortest:
                assert decode(data, max_bytes=16) == number
            else:
                with pytest.raises(WireError):
                    decode(data, max_bytes=16)


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 31, 32, 33, 255, 256, 257, 65535, 65536])
def test_K5_of_all_forms_of_a_length_one_is_accepted(size):
    """Text, bytes, lists and maps of lengths around each limit: a longer header than needed is refused."""
    keys = {f"{number:05}": None for number in range(size)}
    pairs = b"".join(msgpack.packb(key) + b"\xc0" for key in keys)
    whole = ("a" * size, b"b" * size, [None] * size, keys)
    bodies = (b"a" * size, b"b" * size, b"\xc0" * size, pairs)
    leads = (
        ((0xD9, ">B"), (0xDA, ">H"), (0xDB, ">I")),
        ((0xC4, ">B"), (0xC5, ">H"), (0xC6, ">I")),
        ((0xDC, ">H"), (0xDD, ">I")),
        ((0xDE, ">H"), (0xDF, ">I")),
    )
    for value, body, forms in zip(whole, bodies, leads, strict=True):
        shortest = msgpack.packb(value)
        assert decode(shortest, max_bytes=1 << 20) == value
        for lead, form in forms:
            if size >= 1 << 8 * struct.calcsize(form):
                continue
            data = bytes([lead]) + struct.pack(form, size) + body
            if data != shortest:
                with pytest.raises(WireError):
                    decode(data, max_bytes=1 << 20)
