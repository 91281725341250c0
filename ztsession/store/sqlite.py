"""The Authority's state in one SQLite file, durable before anything is answered.

A revocation that is forgotten in a crash is a session that comes back to life, so every commit is on the disk
(WAL, synchronous=FULL) when a method returns. What belongs together (a mode, and the change that tells it to
the enforcement points) is written in one :meth:`SqliteStore.transaction`: both or neither.

Two rules hold here and not only in the callers: a revoked session's mode never changes again, and the numbers
of the change feed have no gap and are never given out twice, not even after pruning and restarting.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

from ztsession.errors import StoreError, WireError
from ztsession.store.records import SessionRecord, StoredChange
from ztsession.store.tables import create, is_empty
from ztsession.wire import canonical

__all__ = ["SqliteStore"]

#: How long pruned-by-age rows are kept: longer than any session can live.
KEEP_S: Final = 2 * 86_400
GRANTS_MAX_BYTES: Final = 1 << 22

_REVOKED: Final = 3
_BUSY_S: Final = 5.0
_COLUMNS: Final = (
    "id, subject, device, static_key, assurance, mode, started_at, expires_at, grants, superseded_by, "
    "risk, basis"
)
_PUT: Final = f"INSERT OR REPLACE INTO sessions ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
_GET: Final = f"SELECT {_COLUMNS} FROM sessions WHERE id = ?"  # noqa: S608 - the columns are a constant
_LIVE: Final = (
    f"SELECT {_COLUMNS} FROM sessions WHERE expires_at > ? AND superseded_by IS NULL AND mode <> {_REVOKED}"  # noqa: S608
)
_OLDEST_FIRST: Final = " ORDER BY started_at, id"
_RENEWED: Final = (
    f"SELECT {_COLUMNS} FROM sessions WHERE mode <> {_REVOKED}"  # noqa: S608
    f" AND superseded_by IN (SELECT id FROM sessions WHERE started_at > ?){_OLDEST_FIRST}"
)


class SqliteStore:
    """One file, one connection, any number of threads. Every failure is a StoreError."""

    def __init__(self, path: str | os.PathLike[str], *, read_only: bool = False) -> None:
        """Open or create the file (mode 0600); StoreError when it is not this program's and version's.

        ``read_only``: nothing is created or written, and whoever writes the file is not held up.
        """
        self._path = Path(path)
        self._lock = threading.RLock()
        self._depth = 0
        self._doomed = False
        self._db: sqlite3.Connection | None = None
        with self._failures():
            if read_only:
                self._db = _connect_reading(self._path)
            else:
                _make_private(self._path)
                self._db = _connect(self._path)

    def close(self) -> None:
        """Close the file; closing twice is harmless."""
        with self._lock, self._failures():
            if self._db is not None:
                self._db.close()
                self._db = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make all that is written inside durable at once; none of it if any part fails, caught or not."""
        with self._lock:
            if self._depth == 0:
                self.execute("BEGIN IMMEDIATE")
                self._doomed = False
            self._depth += 1
            try:
                yield
            except BaseException:
                self._doomed = True
                raise
            finally:
                self._depth -= 1
                if self._depth == 0 and self._doomed:
                    self._roll_back()
            if self._depth == 0:
                self._commit()

    # Sessions

    def put_session(self, record: SessionRecord) -> None:
        """Write a session, new or changed; StoreError if it would change the mode of a revoked one."""
        with self._failures():
            grants = canonical.encode(list(record.grants))
        values = (
            record.id,
            record.subject,
            record.device,
            record.static_key,
            record.assurance,
            int(record.mode),
            record.started_at,
            record.expires_at,
            grants,
            record.superseded_by,
            record.risk,
            record.basis,
        )
        with self.transaction():
            self._guard_revoked(record.id, record.mode)
            self.execute(_PUT, *values)

    def get_session(self, session: bytes) -> SessionRecord | None:
        """Read one session; None when there is none of this id."""
        rows = self.rows(_GET, session)
        return self._record(rows[0]) if rows else None

    def live_sessions(self, now: int, *, subject: str = "", device: str = "") -> list[SessionRecord]:
        """Every session that is neither expired at ``now`` (unix s), superseded nor revoked; oldest first.
        With a name, those of this subject, on this device alone.
        """
        named = {column: name for column, name in (("subject", subject), ("device", device)) if name}
        query = _LIVE + "".join(f" AND {column} = ?" for column in named) + _OLDEST_FIRST
        return [self._record(row) for row in self.rows(query, now, *named.values())]

    def renewed_sessions(self, since: int) -> list[SessionRecord]:
        """Every session that another took the place of after ``since`` (unix s) and that is not revoked."""
        return [self._record(row) for row in self.rows(_RENEWED, since)]

    def set_mode(self, session: bytes, mode: int, risk: bytes | None = None) -> None:
        """Write a session's mode, and its risk state if given; StoreError if unknown, or revoked already."""
        with self.transaction():
            self._guard_revoked(session, mode)
            changed = self.execute(
                "UPDATE sessions SET mode = ?, risk = coalesce(?, risk) WHERE id = ?",
                int(mode),
                risk,
                session,
            ).rowcount
            if changed != 1:
                raise StoreError("no such session")

    # Signals and revocations

    def record_signal(self, source: str, signal_id: str, data: bytes, *, now: int) -> bool:
        """Keep a signal; False when this source's id was kept before, and then nothing is written."""
        with self.transaction():
            query = "INSERT OR IGNORE INTO signals (source, id, received_at, data) VALUES (?, ?, ?, ?)"
            return self.execute(query, source, signal_id, now, data).rowcount == 1

    def put_standing(self, target: str, name: str, data: bytes) -> None:
        """Keep what stands against a subject, device or network; b"" for nothing any more."""
        with self.transaction():
            if data:
                query = "INSERT OR REPLACE INTO standing (target, name, data) VALUES (?, ?, ?)"
                self.execute(query, target, name, data)
            else:
                self.execute("DELETE FROM standing WHERE target = ? AND name = ?", target, name)

    def standing(self) -> list[bytes]:
        """All that stands, in the order of its targets."""
        rows = self.rows("SELECT data FROM standing ORDER BY target, name")
        return [bytes(row[0]) for row in rows]

    def revoke(self, session: bytes, until: int) -> None:
        """Refuse this session id until ``until`` (unix s), whether or not it is known; never shortens."""
        query = (
            "INSERT INTO revocations (session, until) VALUES (?, ?)"
            " ON CONFLICT (session) DO UPDATE SET until = max(until, excluded.until)"
        )
        with self.transaction():
            self.execute(query, session, until)

    def is_revoked(self, session: bytes, now: int) -> bool:
        """Tell whether a session id is refused at ``now`` (unix s)."""
        return bool(self.rows("SELECT 1 FROM revocations WHERE session = ? AND until > ?", session, now))

    def revocations(self, now: int) -> list[bytes]:
        """Every session id that is refused at ``now`` (unix s), sorted."""
        rows = self.rows("SELECT session FROM revocations WHERE until > ? ORDER BY session", now)
        return [bytes(row[0]) for row in rows]

    # The change feed

    def append_change(self, segment: str, data: bytes, *, now: int) -> int:
        """Keep a change and give its number: one more than the last, from 1."""
        with self.transaction():
            query = "INSERT INTO changes (segment, made_at, data) VALUES (?, ?, ?)"
            number = self.execute(query, segment, now, data).lastrowid
            if number is None:
                raise StoreError("a change was given no number")
            return number

    def last_change(self) -> int:
        """The number of the last change ever made; 0 before the first."""
        rows = self.rows("SELECT seq FROM sqlite_sequence WHERE name = 'changes'")
        return int(rows[0][0]) if rows else 0

    def changes_after(self, number: int, *, limit: int = 1000) -> list[StoredChange]:
        """The next changes after ``number``, without a gap, at most ``limit``.

        StoreError when they are not all here: pruned already, or ``number`` was never given out, as when this
        store was restored from an older copy. The reader must then start anew and not go on.
        """
        with self._lock:
            last = self.last_change()
            query = "SELECT number, segment, data FROM changes WHERE number > ? ORDER BY number LIMIT ?"
            rows = self.rows(query, number, limit)
        if number > last or number < 0:
            raise StoreError(f"change {number} was never made here; the last is {last}")
        numbers = [row[0] for row in rows]
        expected = min(limit, last - number)
        if numbers != list(range(number + 1, number + 1 + expected)):
            raise StoreError(f"the changes after {number} are no longer kept")
        return [StoredChange(row[0], row[1], bytes(row[2])) for row in rows]

    # Everything else

    def put_state(self, name: str, data: bytes) -> None:
        """Keep one named piece of state, such as how many signals have arrived."""
        with self.transaction():
            self.execute("INSERT OR REPLACE INTO state (name, data) VALUES (?, ?)", name, data)

    def get_state(self, name: str) -> bytes | None:
        """Read a named piece of state; None when there is none."""
        rows = self.rows("SELECT data FROM state WHERE name = ?", name)
        return bytes(rows[0][0]) if rows else None

    def prune(self, now: int) -> int:
        """Delete what can matter to nobody at ``now`` (unix s); the number of rows.

        Expired sessions and revocations go at once; signals and changes after two days, longer than a session
        can live.
        """
        doomed = (
            ("DELETE FROM sessions WHERE expires_at <= ?", now),
            ("DELETE FROM revocations WHERE until <= ?", now),
            ("DELETE FROM signals WHERE received_at <= ?", now - KEEP_S),
            ("DELETE FROM changes WHERE made_at <= ?", now - KEEP_S),
        )
        with self.transaction():
            return sum(self.execute(query, before).rowcount for query, before in doomed)

    def _guard_revoked(self, session: bytes, mode: int) -> None:
        rows = self.rows("SELECT mode FROM sessions WHERE id = ?", session)
        if rows and rows[0][0] == _REVOKED and mode != _REVOKED:
            raise StoreError("a revoked session stays revoked")

    def _record(self, row: tuple[Any, ...]) -> SessionRecord:
        *plain, packed, superseded_by, risk, basis = row
        with self._failures():
            grants = canonical.decode(packed, max_bytes=GRANTS_MAX_BYTES)
        if not isinstance(grants, list) or not all(isinstance(grant, bytes) for grant in grants):
            raise StoreError(f"{self._path}: a session's grants are damaged")
        session, subject, device, static_key, assurance, mode, started_at, expires_at = plain
        return SessionRecord(
            id=session,
            subject=subject,
            device=device,
            static_key=static_key,
            assurance=assurance,
            mode=mode,
            started_at=started_at,
            expires_at=expires_at,
            grants=tuple(grants),
            superseded_by=superseded_by,
            risk=risk,
            basis=basis,
        )

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Ask, for the tables of this room alone."""
        with self._lock, self._failures():
            return self._open().execute(query, values).fetchall()

    def execute(self, query: str, *values: object) -> sqlite3.Cursor:
        """Write inside a transaction, for the tables of this room alone."""
        with self._failures():
            connection = self._open()
            # SQLite abandons a transaction on some errors; what follows must not commit by itself.
            if self._depth and not connection.in_transaction:
                raise StoreError(f"{self._path}: the transaction was lost")
            return connection.execute(query, values)

    def _commit(self) -> None:
        if self._doomed:
            raise StoreError(f"{self._path}: a part of the transaction failed, so none of it was kept")
        try:
            self.execute("COMMIT")
        except StoreError:
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        if self._db is not None and self._db.in_transaction:
            with self._failures():
                self._db.execute("ROLLBACK")

    def _open(self) -> sqlite3.Connection:
        if self._db is None:
            raise StoreError(f"{self._path}: is closed")
        return self._db

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, sqlite3.Warning, OSError, OverflowError, WireError) as error:
            raise StoreError(f"{self._path}: {error}") from error


def _make_private(path: Path) -> None:
    # SQLite gives its own -wal and -shm files the mode of the database, so this covers all three.
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        # Not opened here: closing it again would drop the locks of a connection in this same process.
        status = os.lstat(path)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(22, "not a regular file") from None
        if status.st_mode & 0o077:
            os.chmod(path, 0o600)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        # Before anything is written: another program's file must stay as it is.
        is_empty(connection)
        mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise StoreError(f"{path}: the file system does not hold a write-ahead log")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        create(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _connect_reading(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro",
        uri=True,
        timeout=_BUSY_S,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        if is_empty(connection):
            raise StoreError(f"{path}: holds nothing yet")
    except BaseException:
        connection.close()
        raise
    return connection
