"""A message has exactly its declared fields, within their bounds, or does not exist."""

from __future__ import annotations

import tracemalloc
from dataclasses import dataclass
from typing import Annotated

import pytest

from ztsession.errors import WireError
from ztsession.wire import Message, encode
from ztsession.wire.schema import Flag, Integer, ListOf, MapOf, Name, Octets, OneOf, Row, Scope, Text, kind_of


@dataclass(frozen=True)
class Everything(Message, kind="everything", max_bytes=1000):
    who: Annotated[str, Name()]
    device: Annotated[str, Name(optional=True)]
    scope: Annotated[str, Scope()]
    note: Annotated[str, Text(8)]
    status: Annotated[str, OneOf(("on", "off"))]
    nonce: Annotated[bytes, Octets.exactly(4)]
    session: Annotated[bytes, Octets.exactly(2, or_empty=True)]
    blob: Annotated[bytes, Octets(6, min_bytes=1)]
    count: Annotated[int, Integer(1, 9)]
    flag: Annotated[bool, Flag()]
    items: Annotated[list[int], ListOf(Integer(0, 3), 3, min_items=1)]
    table: Annotated[dict[str, list[int]], MapOf(Text(4), Row((Integer(0, 1), Integer(0, 9))), 2)]


GOOD: dict[str, object] = {
    "who": "algo-7",
    "device": "",
    "scope": "orders.submit",
    "note": "ä",
    "status": "on",
    "nonce": b"1234",
    "session": b"",
    "blob": b"x",
    "count": 9,
    "flag": True,
    "items": [0, 3],
    "table": {"a": [1, 9]},
}


def wire(**changes: object) -> bytes:
    return encode({"v": 1, "kind": "everything", **GOOD, **changes})


def test_a_good_message_comes_back():
    """to_bytes and from_bytes are inverse, and the bytes are the canonical map."""
    message = Everything.from_bytes(wire())
    assert message == Everything(**GOOD)  # type: ignore[arg-type]
    assert message.to_bytes() == wire()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("who", ""),
        ("who", "a" * 129),
        ("who", "algo 7"),
        ("who", "algo\n"),
        ("who", "\u0430lgo"),  # a Cyrillic letter
        ("who", b"algo"),
        ("device", " "),
        ("scope", "orders"),
        ("scope", "orders.submit.now"),
        ("scope", "*.submit"),
        ("note", "ääääx"),
        ("note", 1),
        ("status", "of"),
        ("nonce", b"123"),
        ("nonce", b"12345"),
        ("nonce", "1234"),
        ("session", b"1"),
        ("blob", b""),
        ("blob", b"1234567"),
        ("count", 0),
        ("count", 10),
        ("count", True),
        ("count", "1"),
        ("count", None),
        ("flag", 1),
        ("items", []),
        ("items", [0, 0, 0, 0]),
        ("items", [4]),
        ("items", ["0"]),
        ("items", {}),
        ("table", {"abcde": [0, 0]}),
        ("table", {"a": [0]}),
        ("table", {"a": [2, 0]}),
        ("table", {"a": [0, 0], "b": [0, 0], "c": [0, 0]}),
        ("table", []),
    ],
)
def test_a_field_out_of_bounds_is_refused_by_name(field, value):
    """A mistyped or out-of-range field is refused by name, from the wire and from our own side."""
    with pytest.raises(WireError, match=f"^everything\\.{field}"):
        Everything.from_bytes(wire(**{field: value}))
    with pytest.raises(WireError, match=f"^everything\\.{field}"):
        Everything(**{**GOOD, field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("version", [0, 2, True, "1", None])
def test_K3_another_version_is_refused(version):
    """Version 1 is read, and no other."""
    with pytest.raises(WireError, match=r"everything\.v: expected 1"):
        Everything.from_bytes(wire(v=version))


def test_K4_an_unknown_field_is_refused():
    """A field that this version does not know is refused by name, never skipped."""
    with pytest.raises(WireError, match="unknown field 'critical'"):
        Everything.from_bytes(wire(critical=False))


@pytest.mark.parametrize("field", ["v", "kind", *GOOD])
def test_a_missing_field_is_refused(field):
    """Each declared field must be there, defaults or not."""
    values = {"v": 1, "kind": "everything", **GOOD}
    del values[field]
    with pytest.raises(WireError, match=rf"everything\.{field}"):
        Everything.from_bytes(encode(values))


def test_another_kind_is_refused():
    """A message of one kind is never read as another."""
    with pytest.raises(WireError, match=r"everything\.kind"):
        Everything.from_bytes(wire(kind="nothing"))


@pytest.mark.parametrize("value", [[], None, "everything", 1])
def test_what_is_not_a_map_is_refused(value):
    """The outermost value is a map."""
    with pytest.raises(WireError, match="expected a map"):
        Everything.from_bytes(encode(value))


def test_a_list_changed_after_making_is_caught():
    """A message whose list was changed out of bounds cannot be sent."""
    message = Everything.from_bytes(wire())
    message.items.append(99)
    with pytest.raises(WireError, match=r"everything\.items"):
        message.to_bytes()


def test_a_message_over_its_limit_is_refused():
    """The limit of a kind holds before parsing."""
    with pytest.raises(WireError, match="over the limit of 1000"):
        Everything.from_bytes(bytes(1001))


def test_a_field_without_a_rule_is_a_mistake_of_ours():
    """A field that nobody bounded cannot be used at all."""

    @dataclass(frozen=True)
    class Loose(Message, kind="loose"):
        anything: int

    with pytest.raises(TypeError, match="needs exactly one rule"):
        Loose(1)


@pytest.mark.parametrize(
    "promise", [b"\xdd\x00\x00\xff\xf0", b"\xdc\xff\xf0", b"\xdf\x00\x00\x7f\xf0\xa1a", b"\xde\x7f\xf0\xa1a"]
)
def test_D7_a_kind_is_read_without_believing_what_a_message_promises(promise: bytes):
    """Of containers within containers, each as long as it claims, nothing is allocated; the kind of a real
    message is found.
    """
    assert kind_of(wire(), max_bytes=1000) == "everything"
    hostile = b"\x81" + promise * (60_000 // len(promise))
    tracemalloc.start()
    try:
        with pytest.raises(WireError):
            kind_of(hostile, max_bytes=65536)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("said", [encode([]), encode({}), encode({"kind": 1}), b"\x80\x80", b"", b"\x81"])
def test_a_message_without_a_kind_has_none(said: bytes):
    """Only a canonical map with a text of that name says what it is."""
    with pytest.raises(WireError):
        kind_of(said, max_bytes=1000)
