"""A file of an older version becomes one of this version with every row that it had, or stays as it was."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ztsession.bus.change import Change
from ztsession.errors import StoreError
from ztsession.risk.engine import RiskEngine
from ztsession.risk.levels import Level, Mode
from ztsession.risk.session import Received, SessionRisk
from ztsession.risk.signals import Signal
from ztsession.store import tables
from ztsession.store.enrolments import SqliteEnrolments
from ztsession.store.records import SessionRecord
from ztsession.store.sqlite import SqliteStore
from ztsession.wire import canonical

HOME = Path(tables.__file__).parents[2]
#: What version 1 made, word for word.
VERSION_1 = """
CREATE TABLE sessions (
    id BLOB PRIMARY KEY NOT NULL CHECK (length(id) = 16),
    subject TEXT NOT NULL,
    device TEXT NOT NULL,
    static_key BLOB NOT NULL,
    assurance INTEGER NOT NULL CHECK (assurance BETWEEN 1 AND 3),
    mode INTEGER NOT NULL CHECK (mode BETWEEN 0 AND 3),
    started_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    grants BLOB NOT NULL,
    superseded_by BLOB,
    risk BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_by_expiry ON sessions (expires_at);
CREATE INDEX sessions_by_subject ON sessions (subject);
CREATE INDEX sessions_by_device ON sessions (device);
CREATE TABLE signals (
    source TEXT NOT NULL,
    id TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (source, id)
) STRICT, WITHOUT ROWID;
CREATE TABLE revocations (
    session BLOB PRIMARY KEY NOT NULL CHECK (length(session) = 16),
    until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE changes (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    segment TEXT NOT NULL,
    made_at INTEGER NOT NULL,
    data BLOB NOT NULL
) STRICT;
CREATE TABLE state (
    name TEXT PRIMARY KEY NOT NULL,
    data BLOB NOT NULL
) STRICT, WITHOUT ROWID;
PRAGMA user_version = 1;
PRAGMA application_id = 0x5A545331;
"""
NOW = 1_790_000_000
DRIFT = Signal("s-1", "posture-drift", Level.MEDIUM, "edr", NOW, device="host")
STOLEN = Signal("s-2", "credential-compromise", Level.CRITICAL, "idp", NOW, subject="eve")
#: Risk as it is now, of a session that version 1 knew to be RESTRICTED.
RISK = SessionRisk(b"1" * 16, "ada", "host", "", (Received(7, 0, 0, DRIFT),), Mode.RESTRICTED).to_bytes()
LIVE = SessionRecord(b"1" * 16, "ada", "host", b"k" * 32, 2, 1, NOW, NOW + 3600, (b"g", b"h"), None, RISK)
REVOKED = SessionRecord(b"2" * 16, "bob", "host", b"l" * 32, 1, 3, NOW, NOW + 3600, (), b"1" * 16, b"")
#: A change as version 1 wrote it: a map without the field ``key``.
REVOCATION = {
    "v": 1, "kind": "change", "number": 0, "what": "revoke", "session": b"2" * 16, "mode": 3,
    "profile": b"", "allowed": [0, 0, 0], "sent_at": 7,
}  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of version 1 with rows in every table, its first two changes pruned."""
    made = tmp_path / "state.db"
    with closing(sqlite3.connect(made)) as connection:
        connection.executescript(VERSION_1)
        with connection:
            for record in (LIVE, REVOKED):
                *plain, grants, superseded_by, risk = _fields(record)
                row = (*plain, canonical.encode(list(grants)), superseded_by, _older(risk) if risk else risk)
                connection.execute("INSERT INTO sessions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
            connection.execute("INSERT INTO signals VALUES ('edr', 's-1', ?, x'01')", (NOW,))
            connection.execute("INSERT INTO revocations VALUES (?, ?)", (b"2" * 16, NOW + 9))
            for number in (1, 2, 3):
                row = (number, NOW, canonical.encode(REVOCATION | {"number": number}))
                connection.execute("INSERT INTO changes VALUES (?, 'orders', ?, ?)", row)
            connection.execute("DELETE FROM changes WHERE number < 3")
            standing = {
                "v": 1,
                "kind": "standing-risk",
                "arrived": 9,
                "standing": [_row(7, DRIFT), _row(8, STOLEN)],
            }
            connection.execute("INSERT INTO state VALUES ('standing-risk', ?)", (canonical.encode(standing),))
    made.chmod(0o600)
    return made


def _row(number: int, signal: Signal) -> list[Any]:
    """A signal as it was kept before version 4."""
    fields = canonical.decode(signal.to_bytes(), max_bytes=4096)
    del fields["network"], fields["withdraws"]
    return [number, canonical.encode(fields)]


def _older(risk: bytes) -> bytes:
    """A session's risk likewise."""
    held = SessionRisk.from_bytes(risk)
    fields = {
        "v": 1,
        "kind": "session-risk",
        "session": held.session,
        "subject": held.subject,
        "device": held.device,
    }
    unresolved = [_row(each.number, each.signal) for each in held.unresolved]
    return canonical.encode({**fields, "unresolved": unresolved})


def _fields(record: SessionRecord) -> tuple[Any, ...]:
    return (
        record.id, record.subject, record.device, record.static_key, record.assurance, record.mode,
        record.started_at, record.expires_at, record.grants, record.superseded_by, record.risk,
    )  # fmt: skip


def found(path: Path) -> tuple[int, set[str], list[str]]:
    """The file's version, its tables, and the names of the sessions' columns."""
    with closing(sqlite3.connect(path)) as connection:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        made = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
        columns = connection.execute("PRAGMA table_info(sessions)").fetchall()
    return version, {row[0] for row in made}, [row[1] for row in columns]


def rows(path: Path) -> list[list[tuple[Any, ...]]]:
    with closing(sqlite3.connect(path)) as connection:
        return [
            connection.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()
            for table in ("sessions", "signals", "revocations", "changes", "state", "sqlite_sequence")
        ]


def is_old(path: Path) -> bool:
    version, made, columns = found(path)
    return (version, "enrolments" in made, "basis" in columns) == (1, False, False)


def test_every_row_of_the_older_version_is_kept(path: Path) -> None:
    """Sessions, signals, revocations, changes and state are what they were; a basis is empty at first."""
    assert is_old(path)
    with SqliteStore(path) as store:
        assert [store.get_session(each.id) for each in (LIVE, REVOKED)] == [LIVE, REVOKED]
        assert LIVE.basis == b""
        assert store.live_sessions(NOW) == [LIVE]
        assert store.record_signal("edr", "s-1", b"", now=NOW) is False
        assert store.revocations(NOW) == [b"2" * 16]
        (change,) = store.changes_after(2)
        assert (change.number, change.segment) == (3, "orders")
        assert Change.from_bytes(change.data) == Change.revoke(b"2" * 16, number=3, sent_at=7)
        assert store.get_state("standing-risk") is None
    version, made, columns = found(path)
    assert (
        (version, "enrolments" in made, columns[-1]) == (4, True, "basis") == (tables.VERSION, True, "basis")
    )


def test_the_changes_of_version_2_are_carried_over(path: Path) -> None:
    """A change that lacks a field that came later reads as one that does not use it."""
    change = Change.narrow(b"p" * 32, [1, 1, 0], number=4, sent_at=7)
    fields = canonical.decode(change.to_bytes(), max_bytes=4096)
    del fields["step_up"]
    with SqliteStore(path) as store:
        store.append_change("", canonical.encode(fields), now=NOW)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "DROP TABLE standing; DROP TABLE streams; DROP TABLE stream_subjects; DROP TABLE outbox;"
            " DROP TABLE noncompliant_devices; UPDATE sessions SET risk = x''; PRAGMA user_version = 2"
        )
    with SqliteStore(path) as store:
        assert [Change.from_bytes(each.data) for each in store.changes_after(3)] == [change]
        assert store.get_session(LIVE.id) == replace(LIVE, risk=b"")


def test_H14_the_risk_of_version_3_is_carried_over(path: Path) -> None:
    """What stood against a session, a subject and a device stands, and evidence still answers what it did."""
    with SqliteStore(path) as store:
        record = store.get_session(LIVE.id)
        assert record is not None
        assert store.get_state("risk-clock") == canonical.encode([9, 0])
        engine = RiskEngine.restore(store.standing(), [record.risk], at=(9, 0))
    assert engine.mark() == 9
    assert engine.session(LIVE.id).mode is Mode.RESTRICTED
    assert (engine.standing("eve", "none"), engine.standing("ada", "none")) == (Level.CRITICAL, Level.LOW)
    assert engine.open(b"3" * 16, "eve", "host", mark=9).mode is Mode.REVOKED
    shown = frozenset({"posture"})
    assert engine.renew(LIVE.id, LIVE.id, mark=9, shown=shown).mode is Mode.NORMAL


def test_the_basis_of_version_3_is_carried_over(path: Path) -> None:
    """What a session rests on gets the fields that came later, and keeps those that it has."""
    with SqliteStore(path) as store:
        store.put_session(replace(LIVE, basis=canonical.encode({"v": 1, "credential": "c"})))
    with closing(sqlite3.connect(path)) as connection:
        old = connection.execute("SELECT risk FROM sessions WHERE id = ?", (LIVE.id,)).fetchone()[0]
        connection.execute("UPDATE sessions SET risk = ? WHERE id = ?", (_older(old), LIVE.id))
        connection.executescript(
            "DROP TABLE standing; DROP TABLE streams; DROP TABLE stream_subjects; DROP TABLE outbox;"
            " DROP TABLE noncompliant_devices; DELETE FROM state; PRAGMA user_version = 3"
        )
    with SqliteStore(path) as store:
        record = store.get_session(LIVE.id)
    assert record is not None
    assert canonical.decode(record.basis, max_bytes=256) == {
        "v": 1,
        "credential": "c",
        "network": "",
        "measured": {},
        "posture_at": 0,
        "keys": [],
    }


@pytest.mark.parametrize("damaged", ["sessions", "state"])
@pytest.mark.parametrize(
    "data",
    [
        b"\x9f",
        canonical.encode(7),
        canonical.encode({"v": 1}),
        canonical.encode({"arrived": 1, "unresolved": [[1]], "standing": [[1]]}),
        canonical.encode({"arrived": 1, "unresolved": [[1, 2]], "standing": [[1, 2]]}),
        canonical.encode({"arrived": 1, "unresolved": 5, "standing": 5}),
    ],
)
def test_damaged_risk_stops_the_step(path: Path, damaged: str, data: bytes) -> None:
    """Risk that cannot be carried over is told, and the file stays as it was: nothing is forgotten."""
    with closing(sqlite3.connect(path)) as connection, connection:
        column = {"sessions": "risk", "state": "data"}[damaged]
        connection.execute(f"UPDATE {damaged} SET {column} = ?", (data,))
    with pytest.raises(StoreError, match="risk that it holds is damaged"):
        SqliteStore(path)
    assert is_old(path)


def test_what_held_in_the_older_version_still_holds(path: Path) -> None:
    """The feed goes on where it was, with pruned numbers not given out again; the revoked stay revoked."""
    with SqliteStore(path) as store:
        assert store.append_change("", b"x", now=NOW) == 4
        with pytest.raises(StoreError, match="stays revoked"):
            store.set_mode(REVOKED.id, 0)
        with pytest.raises(StoreError, match="no longer kept"):
            store.changes_after(1)


def test_the_new_tables_take_new_rows(path: Path) -> None:
    """After the step a session has its basis, an enrolment its revision, also when it is opened again."""
    fresh = SessionRecord(
        b"3" * 16, "eve", "host", b"m" * 32, 3, 0, NOW, NOW + 60, (b"g",), None, b"", b"basis"
    )
    with SqliteStore(path) as store:
        store.put_session(fresh)
        assert SqliteEnrolments(store).put("subject", "eve", b"eve", expected=0)
    with SqliteStore(path) as store:
        assert store.get_session(fresh.id) == fresh
        assert SqliteEnrolments(store).get("subject", "eve") == (1, b"eve")
        assert store.get_session(LIVE.id) == LIVE


def test_an_old_file_and_a_new_one_are_alike(path: Path, tmp_path: Path) -> None:
    """A file that was brought here has the very tables of one that was made here."""
    SqliteStore(path).close()
    SqliteStore(tmp_path / "new.db").close()
    schemas = []
    for each in (path, tmp_path / "new.db"):
        with closing(sqlite3.connect(each)) as connection:
            schemas.append(
                connection.execute(
                    "SELECT m.name, c.name, c.type, c.[notnull], c.dflt_value, c.pk FROM sqlite_schema AS m,"
                    " pragma_table_info(m.name) AS c WHERE m.type = 'table' ORDER BY 1, c.cid"
                ).fetchall()
            )
    assert schemas[0] == schemas[1]
    assert len(schemas[0]) > 25


@pytest.mark.parametrize("version", [tables.VERSION + 1, 99, -1, 0])
def test_another_version_is_refused_and_left_alone(path: Path, version: int) -> None:
    """A newer file, and one that claims a version that never was, stay as they are to the byte."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {version}")
    before = path.read_bytes()
    with pytest.raises(
        StoreError, match=f"the file has version {version}, expected at most {tables.VERSION}"
    ):
        SqliteStore(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("where", ["first", "middle", "last"])
def test_a_step_that_fails_leaves_the_older_version(
    path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Whichever statement fails, none of the step is kept, and the next opening takes all of it."""
    alter, create = tables._ADDED[2].strip().split(";\n")[:2]
    broken = "CREATE TABLE sessions (x)"
    scripts = {
        "first": (broken, alter, create),
        "middle": (alter, broken, create),
        "last": (alter, create, broken),
    }
    before = rows(path)
    with monkeypatch.context() as patched:
        patched.setitem(tables._ADDED, 2, ";\n".join(scripts[where]))
        with pytest.raises(StoreError, match="already exists"):
            SqliteStore(path)
        assert is_old(path)
        assert rows(path) == before
    with SqliteStore(path) as store:
        assert store.get_session(LIVE.id) == LIVE


KILLED = """
import os, signal, sqlite3, sys
from ztsession.store import tables

class Killed(sqlite3.Connection):
    left = int(sys.argv[2])
    def execute(self, *query):
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self.left -= 1
        return super().execute(*query)

tables.create(sqlite3.connect(sys.argv[1], factory=Killed, isolation_level=None))
"""


def test_a_step_that_is_killed_leaves_the_older_version(path: Path) -> None:
    """Killed before any of its statements the step has not begun; only when it is over is the version new."""
    before, statements = rows(path), 0
    while (status := create_killed_at(path, statements)) != 0:
        assert (status, is_old(path)) == (-signal.SIGKILL, True), statements
        assert rows(path) == before
        statements += 1
    assert 6 < statements < 30
    assert not is_old(path)
    with SqliteStore(path) as store:
        assert store.get_session(LIVE.id) == LIVE


def create_killed_at(path: Path, statements: int) -> int:
    command = [sys.executable, "-c", KILLED, str(path), str(statements)]
    return subprocess.run(command, check=False, timeout=60, cwd=HOME).returncode


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x90", canonical.encode(REVOCATION) + b"\0"])
def test_a_damaged_change_stops_the_step(path: Path, data: bytes) -> None:
    """A change that cannot be carried over is told, and the file stays as it was: it may be a revocation."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE changes SET data = ? WHERE number = 3", (data,))
    before = rows(path)
    with pytest.raises(StoreError, match="change 3 is damaged"):
        SqliteStore(path)
    assert is_old(path)
    assert rows(path) == before


def test_who_comes_second_finds_it_done(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two programs that open an old file at once, the second looks again, alone, and takes no step."""
    real, seen = tables._version, list[tuple[int, bool]]()

    def overtaken(connection: sqlite3.Connection) -> int:
        version = real(connection)
        seen.append((version, connection.in_transaction))
        if len(seen) == 1:
            # Right after the first look, before the file is locked, somebody else takes the whole step.
            SqliteStore(path).close()
        return version

    monkeypatch.setattr(tables, "_version", overtaken)
    with SqliteStore(path) as store:
        assert store.get_session(LIVE.id) == LIVE
    assert seen == [(1, False), (1, False), (1, True), (tables.VERSION, True)]
