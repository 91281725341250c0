"""Streams of security events to others, and what is still to be delivered on them.

An event is in the outbox from the very transaction that decided what it tells of, until its receiver has
taken it. So whoever is killed in between tells it afterwards, under the same name, and tells nothing that was
not decided.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ztsession.store.sqlite import SqliteStore

__all__ = ["SqliteStreams", "StreamRow", "WaitingEvent"]


@dataclass(frozen=True, slots=True)
class StreamRow:
    """One stream, in the order of the table's columns. ``status``: enabled | paused | disabled.

    ``data``: what its receiver wants, in canonical form; ``held``, ``dropped``: how many events wait, and
    were given up; ``verified_at``: unix s.
    """

    id: str
    receiver: str
    status: str
    reason: str
    data: bytes
    held: int = 0
    dropped: int = 0
    verified_at: int = 0


@dataclass(frozen=True, slots=True)
class WaitingEvent:
    """One event that waits: its name on this stream, when it was put there (unix s), and its claims."""

    jti: str
    made_at: int
    data: bytes


class SqliteStreams:
    """Streams, their subjects and their outboxes, in tables of the store. Callers make the transactions."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self.transaction = store.transaction

    # ---- Streams

    def all(self) -> list[StreamRow]:
        """Every stream, by its receiver's name."""
        return [StreamRow(*row) for row in self._store.rows("SELECT * FROM streams ORDER BY receiver")]

    def any(self) -> bool:
        """Whether there is a stream."""
        return bool(self._store.rows("SELECT 1 FROM streams LIMIT 1"))

    def of(self, receiver: str) -> StreamRow | None:
        """The stream of a receiver; None if he has none."""
        rows = self._store.rows("SELECT * FROM streams WHERE receiver = ?", receiver)
        return StreamRow(*rows[0]) if rows else None

    def create(self, stream: str, receiver: str, data: bytes) -> bool:
        """Write a new stream, enabled; False if the receiver has one already."""
        query = "INSERT OR IGNORE INTO streams VALUES (?, ?, 'enabled', '', ?, 0, 0, 0)"
        return self._changed(query, stream, receiver, data)

    def configure(self, stream: str, data: bytes) -> None:
        """Write what the receiver wants of it."""
        self._changed("UPDATE streams SET data = ? WHERE id = ?", data, stream)

    def set_status(self, stream: str, status: str, reason: str) -> None:
        """Write a stream's status, and why."""
        self._changed("UPDATE streams SET status = ?, reason = ? WHERE id = ?", status, reason, stream)

    def verified(self, stream: str, now: int, since: int) -> bool:
        """Note that a verification was asked for at ``now``; False if the last one was after ``since``.

        One that is yet to come was noted before the clock was set back, and does not count.
        """
        query = (
            "UPDATE streams SET verified_at = ?1 WHERE id = ?2 AND (verified_at <= ?3 OR verified_at > ?1)"
        )
        return self._changed(query, now, stream, since)

    def delete(self, stream: str) -> None:
        """Delete a stream with all that waits on it."""
        for query in (
            "DELETE FROM streams WHERE id = ?",
            "DELETE FROM stream_subjects WHERE stream = ?",
            "DELETE FROM outbox WHERE stream = ?",
        ):
            self._store.execute(query, stream)

    # ---- Subjects that are not as the default has it

    def add_exception(self, stream: str, subject: str, *, is_complex: bool) -> None:
        """Keep a subject."""
        query = "INSERT OR IGNORE INTO stream_subjects VALUES (?, ?, ?)"
        self._store.execute(query, stream, subject, int(is_complex))

    def remove_exception(self, stream: str, subject: str) -> None:
        """Forget a subject, if it was kept."""
        self._store.execute("DELETE FROM stream_subjects WHERE stream = ? AND subject = ?", stream, subject)

    def exceptions(self, stream: str, *, is_complex: bool) -> int:
        """How many of a kind are kept."""
        query = "SELECT count(*) FROM stream_subjects WHERE stream = ? AND complex = ?"
        return int(self._store.rows(query, stream, int(is_complex))[0][0])

    def exceptions_among(self, stream: str, subjects: Sequence[str]) -> list[str]:
        """Those of ``subjects`` that are kept, and all complex ones."""
        places = ", ".join("?" * len(subjects))
        wanted = f"complex = 1 OR subject IN ({places})"
        query = f"SELECT subject FROM stream_subjects WHERE stream = ? AND ({wanted})"  # noqa: S608 - no values
        return [row[0] for row in self._store.rows(query, stream, *subjects)]

    # ---- The outbox

    def append(self, stream: str, jti: str, data: bytes, *, now: int, control: bool = False) -> None:
        """Put an event at the end of a stream's outbox. ``control``: it is about the stream itself."""
        query = "INSERT INTO outbox (stream, jti, control, made_at, data) VALUES (?, ?, ?, ?, ?)"
        self._store.execute(query, stream, jti, int(control), now, data)
        self._store.execute("UPDATE streams SET held = held + 1 WHERE id = ?", stream)

    def waiting(self, stream: str, limit: int, *, control: bool = False) -> list[WaitingEvent]:
        """The oldest events of a stream, at most ``limit``; of those about itself alone if ``control``."""
        query = (
            "SELECT jti, made_at, data FROM outbox WHERE stream = ? AND control >= ? ORDER BY number LIMIT ?"
        )
        return [
            WaitingEvent(row[0], row[1], bytes(row[2]))
            for row in self._store.rows(query, stream, int(control), limit)
        ]

    def remove(self, stream: str, jtis: Sequence[str]) -> int:
        """Delete events of a stream, and of no other; how many were there."""
        query = "DELETE FROM outbox WHERE stream = ? AND jti = ?"
        removed = sum(self._store.execute(query, stream, jti).rowcount for jti in jtis)
        self._store.execute("UPDATE streams SET held = held - ? WHERE id = ?", removed, stream)
        return removed

    def drop(self, stream: str, *, made_before: int, over: int) -> int:
        """Give up the oldest events: those of before ``made_before`` (unix s), and ``over`` at least; how
        many.
        """
        query = (
            "DELETE FROM outbox WHERE stream = ?1 AND (made_at < ?2 OR number IN"
            " (SELECT number FROM outbox WHERE stream = ?1 ORDER BY number LIMIT ?3))"
        )
        dropped = self._store.execute(query, stream, made_before, over).rowcount
        change = "UPDATE streams SET held = held - ?, dropped = dropped + ? WHERE id = ?"
        self._store.execute(change, dropped, dropped, stream)
        return dropped

    def oldest(self, stream: str) -> int | None:
        """When the oldest event of a stream was put there (unix s); None if none waits."""
        query = "SELECT made_at FROM outbox WHERE stream = ? ORDER BY number LIMIT 1"
        rows = self._store.rows(query, stream)
        return int(rows[0][0]) if rows else None

    def empty(self, stream: str) -> None:
        """Delete all that waits on a stream."""
        self._store.execute("DELETE FROM outbox WHERE stream = ?", stream)
        self._store.execute("UPDATE streams SET held = 0 WHERE id = ?", stream)

    def forget_control(self, stream: str) -> None:
        """Delete what waits about the stream itself: a later word takes its place."""
        removed = self._store.execute("DELETE FROM outbox WHERE stream = ? AND control = 1", stream).rowcount
        self._store.execute("UPDATE streams SET held = held - ? WHERE id = ?", removed, stream)

    # ---- Devices that others were told of

    def set_compliant(self, device: str, compliant: bool) -> bool:
        """Note that a device is as it should be, or is not; False if that was noted before."""
        if compliant:
            return self._changed("DELETE FROM noncompliant_devices WHERE device = ?", device)
        return self._changed("INSERT OR IGNORE INTO noncompliant_devices VALUES (?)", device)

    def _changed(self, query: str, *values: object) -> bool:
        return self._store.execute(query, *values).rowcount == 1
