"""Reads tests/vectors/protocol.json; knows nothing of the library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Vector = dict[str, Any]


def octets(vector: Vector, *names: str) -> list[bytes]:
    """Some fields as bytes."""
    return [bytes.fromhex(vector[name]) for name in names]


def valued(tagged: Any) -> Any:
    """The value that stands in the file with its type."""
    if not isinstance(tagged, dict):
        return tagged
    [(kind, value)] = tagged.items()
    made: dict[str, Callable[[], Any]] = {
        "map": lambda: {key: valued(item) for key, item in value},
        "list": lambda: [valued(item) for item in value],
        "binary": lambda: bytes.fromhex(value),
        "text": lambda: value,
        "integer": lambda: int(value),
    }
    return made[kind]()
