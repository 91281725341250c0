"""Enrolments in the Authority's database: who and what was let in while it runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager

from ztsession.store.sqlite import SqliteStore

__all__ = ["SqliteEnrolments"]


class SqliteEnrolments:
    """The ``Enrolments`` that the rooms of evidence ask for, in one table of the store."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store

    def get(self, kind: str, name: str) -> tuple[int, bytes] | None:
        """The record's revision (from 1) and its bytes; None when there is none."""
        query = "SELECT revision, data FROM enrolments WHERE kind = ? AND name = ?"
        rows = self._store.rows(query, kind, name)
        return (int(rows[0][0]), bytes(rows[0][1])) if rows else None

    def put(self, kind: str, name: str, data: bytes, *, expected: int) -> bool:
        """Write a record, durably, if its revision is still ``expected`` (0: none yet); else False."""
        with self._store.transaction():
            if expected == 0:
                query = "INSERT OR IGNORE INTO enrolments (kind, name, revision, data) VALUES (?, ?, 1, ?)"
                return self._store.execute(query, kind, name, data).rowcount == 1
            query = (
                "UPDATE enrolments SET data = ?, revision = revision + 1"
                " WHERE kind = ? AND name = ? AND revision = ?"
            )
            return self._store.execute(query, data, kind, name, expected).rowcount == 1

    def remove(self, kind: str, name: str) -> bool:
        """Delete a record; False when there was none."""
        with self._store.transaction():
            query = "DELETE FROM enrolments WHERE kind = ? AND name = ?"
            return self._store.execute(query, kind, name).rowcount == 1

    def all(self, kind: str) -> Iterator[tuple[str, bytes]]:
        """Every record of a kind, by name."""
        query = "SELECT name, data FROM enrolments WHERE kind = ? ORDER BY name"
        return ((row[0], bytes(row[1])) for row in self._store.rows(query, kind))

    def transaction(self) -> AbstractContextManager[None]:
        """All that is written inside becomes durable at once, or none of it."""
        return self._store.transaction()
