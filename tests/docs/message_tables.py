"""The messages that the code declares, in the words of docs/protocol.md: one table for each."""

from __future__ import annotations

import importlib
import re
from dataclasses import fields
from typing import get_type_hints

from pages import ROOT

from ztsession.mfa.recovery import CodeText
from ztsession.mfa.totp import Digits
from ztsession.wire.schema import (
    Flag,
    Integer,
    ListOf,
    MapOf,
    Message,
    Name,
    Octets,
    OneOf,
    Row,
    Rule,
    Scope,
    Text,
)

__all__ = ["KEPT", "declared", "message_of", "rows"]

#: Messages that no peer ever sends: files and rows of the Authority's own, and what an operator carries.
KEPT = frozenset(
    {
        "authority-keyring",
        "device",
        "mfa.code.record",
        "mfa.recovery.record",
        "mfa.totp.record",
        "mfa.webauthn.credential",
        "mfa.webauthn.record",
        "session-basis",
        "set-keys",
        "session-risk",
        "standing-risk",
        "stream-wish",
        "threats-told",
        "subject",
        "tpm-challenge",
        "tpm-enrolment-request",
    }
)

_CLASS = re.compile(r'^class (\w+)\(\w+, kind="([^"]+)"', re.M)
_POWERS = {2**n - 1: f"2^{n} - 1" for n in (32, 53, 63, 64)} | {2**32: "2^32"}


def declared() -> dict[str, tuple[str, str]]:
    """Module and class of every message that the package declares, by kind; read off the sources, because
    some modules need what may not be installed. What the demo's services say to each other is no protocol.
    """
    found: dict[str, tuple[str, str]] = {}
    paths = sorted((ROOT / "ztsession").rglob("*.py"))
    for path in (each for each in paths if each.parent.name != "demo"):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        found |= {kind: (module, name) for name, kind in _CLASS.findall(path.read_text("utf-8"))}
    return found


def message_of(kind: str) -> type[Message]:
    """The class that reads and writes messages of this kind."""
    module, name = declared()[kind]
    message: type[Message] = getattr(importlib.import_module(module), name)
    return message


def rows(message: type[Message]) -> list[tuple[str, str]]:
    """Each field of a message and its type as the page writes it, in order."""
    hints = get_type_hints(message, include_extras=True)
    found = []
    for field in fields(message):
        [rule] = [extra for extra in hints[field.name].__metadata__ if isinstance(extra, Rule)]
        found.append((field.name, _text(rule)))
    return found


def _text(rule: Rule) -> str:
    match rule:
        case Octets(high, low, or_empty):
            return _range(low, high) + (" or 0" if or_empty else "")
        case Text(high, low):
            return f"text of {_range(low, high)}"
        case Integer(low, high):
            return f"integer, {_range(low, high)}"
        case OneOf(words):
            return "one of " + ", ".join(f"`{word}`" for word in words)
        case ListOf(item, high, low):
            return f"list of {_range(low, high)}: {_text(item)}"
        case Row(places):
            return f"list of {len(places)}: {'; '.join(map(_text, places))}"
        case MapOf(key, item, high):
            return f"map of 0 to {high}: {_text(key)}; {_text(item)}"
    return _WORDS[type(rule)]


_WORDS: dict[type, str] = {
    Flag: "boolean",
    Name: "name",
    Scope: "scope",
    Digits: "text of 6 or 8 digits",
    CodeText: "text of 24 characters of `a-z 2-7`",
}


def _range(low: int, high: int) -> str:
    return _number(high) if low == high else f"{_number(low)} to {_number(high)}"


def _number(value: int) -> str:
    return _POWERS.get(value) or f"{value}"


if __name__ == "__main__":
    for kind in sorted(declared().keys() - KEPT):
        message = message_of(kind)
        print(f"`{kind}` (at most {message.max_bytes}) \n\n| field | type | |\n|---|---|---|")
        print("\n".join(f"| `{name}` | {text} | |" for name, text in rows(message)), end="\n\n")
