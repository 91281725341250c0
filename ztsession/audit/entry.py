"""One audit entry as one line of JSON, and what may never be in it.

A log that can be talked to is not evidence. Names and texts come partly from strangers, so everything outside
printable ASCII is escaped: no value can end a line and begin a forged one, reverse the reading direction, or
pass for another name by its looks (A12). And a log is copied to many places, so it must not hold secrets: a
field whose name says that it does is refused, loudly, while the code that writes it is still being tested
(A13).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, Final

from ztsession.errors import AuditError

__all__ = ["LINE_MAX_BYTES", "decode_entry", "encode_entry"]

#: One line with its newline. Bounds what one event can cost, and the reading of a torn tail.
LINE_MAX_BYTES: Final = 32_768

_DEPTH_MAX: Final = 6
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}")
_RESERVED: Final = frozenset({"n", "time", "event"})
_SECRET_WORDS: Final = ("secret", "key", "private", "password", "code")


def encode_entry(n: int, time_s: float, event: str, fields: Mapping[str, object]) -> bytes:
    """Make the line of entry ``n``, newline included; AuditError for what an entry may not hold."""
    if not _NAME.fullmatch(event):
        raise AuditError(
            f"event {event[:64]!a}: expected a name of up to 64 letters, digits, '.', '_' and '-'"
        )
    reserved = _RESERVED & fields.keys()
    if reserved:
        raise AuditError(f"field {min(reserved)!r} is set by the log itself")
    entry = {"n": n, "time": round(time_s, 6), "event": event, **_map(fields, _DEPTH_MAX)}
    try:
        text = json.dumps(entry, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    except ValueError as error:
        raise AuditError(f"event {event}: a number that JSON does not hold") from error
    line = text.encode("ascii") + b"\n"
    if len(line) > LINE_MAX_BYTES:
        raise AuditError(f"event {event}: an entry of {len(line)} bytes, expected at most {LINE_MAX_BYTES}")
    return line


def decode_entry(line: bytes) -> dict[str, Any] | None:
    """Read one line without its newline; None when it is not a whole entry."""
    if len(line) >= LINE_MAX_BYTES:
        return None
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    numbered = isinstance(entry, dict) and type(entry.get("n")) is int and entry["n"] >= 1
    return entry if numbered and isinstance(entry.get("event"), str) else None


def _map(fields: Mapping[Any, object], depth: int) -> dict[str, object]:
    return {_name(name): _value(value, depth) for name, value in fields.items()}


def _name(name: object) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise AuditError("a field's name: expected up to 64 letters, digits, '.', '_' and '-'")
    word = next((word for word in _SECRET_WORDS if word in name.lower()), None)
    if word is not None:
        # Only the name is told: the message itself may be logged.
        raise AuditError(f"field {name!r} looks like a secret ({word!r}), which no log may hold")
    return name


def _value(value: object, depth: int) -> object:
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).hex()
    if depth > 1 and isinstance(value, Mapping):
        return _map(value, depth - 1)
    if depth > 1 and isinstance(value, (list, tuple)):
        return [_value(item, depth - 1) for item in value]
    raise AuditError(f"a value of type {type(value).__name__} has no place in an audit entry")
