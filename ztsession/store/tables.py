"""The store's tables, and the guard that keeps a program from writing tables of another version.

An older program that opens a newer file would drop what it does not know, and a revocation is among the
things that could be. So a file says whose it is (application_id) and in which version (user_version), and
anything else is refused before a row is read.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from ztsession.errors import StoreError, WireError
from ztsession.store.older_risk import RISK_CHANGED, renew_risk
from ztsession.wire import canonical

__all__ = ["APPLICATION_ID", "VERSION", "create", "is_empty"]

APPLICATION_ID: Final = 0x5A_54_53_31
VERSION: Final = 4

_CHANGE_MAX_BYTES: Final = 4096

_TABLES: Final = """
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
-- AUTOINCREMENT keeps the last number apart from the rows, so that pruning them gives none out again.
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
"""
#: What each later version added to the one before.
_ADDED: Final = {
    2: """
ALTER TABLE sessions ADD COLUMN basis BLOB NOT NULL DEFAULT x'';
CREATE TABLE enrolments (
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    revision INTEGER NOT NULL CHECK (revision > 0),
    data BLOB NOT NULL,
    PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;
""",
    4: """
CREATE TABLE standing (
    target TEXT NOT NULL,
    name TEXT NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (target, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE streams (
    id TEXT PRIMARY KEY NOT NULL,
    receiver TEXT NOT NULL UNIQUE,
    status TEXT NOT NULL CHECK (status IN ('enabled', 'paused', 'disabled')),
    reason TEXT NOT NULL,
    data BLOB NOT NULL,
    held INTEGER NOT NULL CHECK (held >= 0),
    dropped INTEGER NOT NULL,
    verified_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE stream_subjects (
    stream TEXT NOT NULL,
    subject TEXT NOT NULL,
    complex INTEGER NOT NULL,
    PRIMARY KEY (stream, subject)
) STRICT, WITHOUT ROWID;
CREATE TABLE outbox (
    number INTEGER PRIMARY KEY NOT NULL,
    stream TEXT NOT NULL,
    jti TEXT NOT NULL UNIQUE,
    control INTEGER NOT NULL,
    made_at INTEGER NOT NULL,
    data BLOB NOT NULL
) STRICT;
CREATE INDEX outbox_by_stream ON outbox (stream, number);
CREATE TABLE noncompliant_devices (
    device TEXT PRIMARY KEY NOT NULL
) STRICT, WITHOUT ROWID;
""",
}

#: What each later version added to every change.
_CHANGES_GOT: Final[dict[int, dict[str, object]]] = {2: {"key": b""}, 3: {"step_up": 0}}


def is_empty(connection: sqlite3.Connection) -> bool:
    """Tell whether the file has no tables yet; StoreError unless it is that, or of this version or an older
    one. Writes nothing.
    """
    return _version(connection) == 0


def create(connection: sqlite3.Connection) -> None:
    """Bring the file to this version, wholly or not at all, unless another process just did."""
    connection.execute("BEGIN IMMEDIATE")
    found = _version(connection)
    scripts = [] if found else [_TABLES]
    scripts += [script for version, script in _ADDED.items() if version > found]
    for statement in (each for script in scripts for each in script.split(";\n")):
        connection.execute(statement)
    if 0 < found < RISK_CHANGED:
        renew_risk(connection)
    if found:
        added = [fields for version, fields in _CHANGES_GOT.items() if version > found]
        _complete_changes(connection, {name: value for fields in added for name, value in fields.items()})
    connection.execute(f"PRAGMA user_version = {VERSION}")
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute("COMMIT")


def _complete_changes(connection: sqlite3.Connection, fields: dict[str, object]) -> None:
    # Changes had fewer fields: unread, they would leave every point without what was revoked before.
    if not fields:
        return
    for number, data in connection.execute("SELECT number, data FROM changes").fetchall():
        try:
            change = canonical.decode(data, max_bytes=_CHANGE_MAX_BYTES)
            data = canonical.encode({**fields, **change})
        except (WireError, TypeError):
            raise StoreError(f"change {number} is damaged") from None
        connection.execute("UPDATE changes SET data = ? WHERE number = ?", (data, number))


def _version(connection: sqlite3.Connection) -> int:
    version = _pragma(connection, "user_version")
    application = _pragma(connection, "application_id")
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if (version, application, tables) == (0, 0, 0):
        return 0
    if application != APPLICATION_ID:
        raise StoreError("the file is another program's database")
    if not 1 <= version <= VERSION:
        raise StoreError(f"the file has version {version}, expected at most {VERSION}")
    return version


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])
