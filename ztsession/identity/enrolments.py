"""Where enrolments are kept that are made while the Authority runs: subjects, devices, second factors.

The rooms that judge evidence say here what they need of a store, and know no database.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Protocol

__all__ = ["Enrolments"]


class Enrolments(Protocol):
    """Named records of some kind, each with a revision. Every failure is a StoreError."""

    def get(self, kind: str, name: str) -> tuple[int, bytes] | None:
        """The record's revision (from 1) and its bytes; None when there is none."""

    def put(self, kind: str, name: str, data: bytes, *, expected: int) -> bool:
        """Write a record, durably, if its revision is still ``expected`` (0: none yet); else False."""

    def remove(self, kind: str, name: str) -> bool:
        """Delete a record; False when there was none."""

    def all(self, kind: str) -> Iterator[tuple[str, bytes]]:
        """Every record of a kind, by name."""

    def transaction(self) -> AbstractContextManager[None]:
        """All that is written inside becomes durable at once, or none of it."""
