from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ztsession.audit.entry import LINE_MAX_BYTES, decode_entry, encode_entry
from ztsession.audit.sink import AuditSink, MemoryAudit
from ztsession.errors import AuditError


def test_entry_reads_back_as_it_was_written() -> None:
    """Bytes become hexadecimal, nested values stay, and the log's own fields come first."""
    line = encode_entry(7, 1.25, "session.started", {"session": b"\x01\xff", "scopes": ["orders.*", 2, None]})
    assert line == (
        b'{"n":7,"time":1.25,"event":"session.started","session":"01ff","scopes":["orders.*",2,null]}\n'
    )
    assert decode_entry(line[:-1]) == json.loads(line)


@pytest.mark.parametrize(
    "name",
    ["ada\n{}", 'ada"}\n{"n":9', "ada\u2028x", "\u202eada", "\u0430da", "a\x00b", "a\ud800", "\x1b[2J"],
)
def test_A12_hostile_text_stays_inside_its_entry(name: str) -> None:
    """Newlines, quotes, direction marks and look-alikes are escaped: one entry stays one ASCII line."""
    line = encode_entry(1, 0.0, "login", {"subject": name})
    assert line.count(b"\n") == 1
    assert line.isascii()
    assert line[:-1].decode().isprintable()
    assert json.loads(line)["subject"] == name


def test_A12_look_alikes_read_differently_in_the_log() -> None:
    """Two names that look alike are two different texts to whoever reads the file."""
    latin, cyrillic = (encode_entry(1, 0.0, "login", {"subject": s}) for s in ("ada", "\u0430da"))
    assert b'"ada"' in latin
    assert b'"\\u0430da"' in cyrillic


@pytest.mark.parametrize(
    "name",
    ["session_secret", "key", "static_key", "Private", "totp_code", "PASSWORD", "keys", "passcode"],
)
def test_A13_field_that_names_a_secret_is_refused(name: str) -> None:
    """Such a field is refused at any depth, and the refusal does not repeat its value."""
    for fields in ({name: "hunter2"}, {"a": {name: "hunter2"}}, {"a": [{name: "hunter2"}]}):
        with pytest.raises(AuditError, match="looks like a secret") as caught:
            encode_entry(1, 0.0, "e", fields)
        assert "hunter2" not in str(caught.value)
    assert encode_entry(1, 0.0, "e", {"device": "hunter2", "a": {"digest": b"x"}})


@pytest.mark.parametrize("name", ["n", "time", "event", "", "a b", "a\n", "\u0430", "x" * 65, "_x"])
def test_field_names_are_plain_and_not_the_logs_own(name: str) -> None:
    """A field cannot pass for the number, the time or the event, nor have a name that needs escaping."""
    with pytest.raises(AuditError):
        encode_entry(1, 0.0, "e", {name: 1})


@pytest.mark.parametrize("event", ["", "a b", "a\nb", "x" * 65, "1st"])
def test_event_names_are_plain(event: str) -> None:
    """An event is a short ASCII name."""
    with pytest.raises(AuditError, match="event"):
        encode_entry(1, 0.0, event, {})


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        object(),
        {1, 2},
        pytest.param(10**5000, id="huge"),
        [[[[[[[1]]]]]]],
        "x" * LINE_MAX_BYTES,
        {1: 2},
    ],
)
def test_value_that_json_cannot_hold_is_refused(value: Any) -> None:
    """What has no exact form of bounded size is an error and not an approximation."""
    with pytest.raises(AuditError):
        encode_entry(1, 0.0, "e", {"value": value})


def test_line_of_exactly_the_limit_is_accepted_and_one_byte_more_is_not() -> None:
    """The bound counts the newline."""
    empty = len(encode_entry(1, 0.0, "e", {"value": ""}))
    line = encode_entry(1, 0.0, "e", {"value": "x" * (LINE_MAX_BYTES - empty)})
    assert len(line) == LINE_MAX_BYTES
    assert decode_entry(line[:-1]) is not None
    with pytest.raises(AuditError, match="expected at most"):
        encode_entry(1, 0.0, "e", {"value": "x" * (LINE_MAX_BYTES - empty + 1)})


@given(st.data())
def test_no_part_of_an_entry_is_an_entry(data: st.DataObject) -> None:
    """Cut anywhere, a line is recognised as torn."""
    fields = data.draw(st.dictionaries(st.from_regex(r"\A[a-b]{1,3}\Z"), st.text(max_size=8), max_size=3))
    line = encode_entry(1, 0.0, "e", fields)[:-1]
    assert decode_entry(line) is not None
    assert decode_entry(line[: data.draw(st.integers(0, len(line) - 1))]) is None


def test_memory_audit_keeps_the_rules_of_the_file() -> None:
    """What the list accepts a file would accept too, and what it refuses leaves no trace."""
    audit = MemoryAudit(clock=lambda: 5.0)
    sink: AuditSink = audit
    sink.record("one", session=b"\x01")
    with pytest.raises(AuditError):
        sink.record("two", secret="x")
    sink.record("three")
    assert audit.events() == ["one", "three"]
    assert audit.entries[0] == {"n": 1, "time": 5.0, "event": "one", "session": "01"}
    assert audit.entries[1]["n"] == 2
