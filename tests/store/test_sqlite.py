from __future__ import annotations

import dataclasses
import os
import resource
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from ztsession.errors import StoreError
from ztsession.store.records import SessionRecord, StoredChange
from ztsession.store.sqlite import _LIVE, _OLDEST_FIRST, SqliteStore
from ztsession.store.tables import VERSION

NOW = 1_790_000_000
RECORD = SessionRecord(
    id=b"1" * 16,
    subject="ada",
    device="host-1",
    static_key=b"k" * 32,
    assurance=2,
    mode=0,
    started_at=NOW,
    expires_at=NOW + 3600,
    grants=(b"grant one", b"grant two"),
    risk=b"risk",
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with SqliteStore(tmp_path / "state.db") as opened:
        yield opened


def test_session_reads_back_as_it_was_put(store: SqliteStore) -> None:
    """Every field survives, also the empty ones, and an unknown id is none."""
    bare = dataclasses.replace(RECORD, id=b"2" * 16, grants=(), risk=b"", superseded_by=b"3" * 16)
    store.put_session(RECORD)
    store.put_session(bare)
    assert store.get_session(RECORD.id) == RECORD
    assert store.get_session(bare.id) == bare
    assert store.get_session(b"4" * 16) is None


def test_live_sessions_are_those_that_may_still_act(store: SqliteStore) -> None:
    """Expired, superseded and revoked sessions are left out; the rest come oldest first."""
    live = [dataclasses.replace(RECORD, id=bytes([n]) * 16, started_at=NOW - n, mode=n) for n in range(3)]
    dead = [
        dataclasses.replace(RECORD, id=b"5" * 16, expires_at=NOW),
        dataclasses.replace(RECORD, id=b"6" * 16, superseded_by=b"1" * 16),
        dataclasses.replace(RECORD, id=b"7" * 16, mode=3),
    ]
    for record in live + dead:
        store.put_session(record)
    assert store.live_sessions(NOW) == live[::-1]
    assert store.live_sessions(NOW - 1) != store.live_sessions(NOW)


def test_live_sessions_can_be_asked_for_by_name(store: SqliteStore) -> None:
    """By subject, by device and by both, and found without a look at all the others."""
    names = [("a", "x"), ("a", "y"), ("b", "x")]
    records = [
        dataclasses.replace(RECORD, id=bytes([n]) * 16, subject=subject, device=device)
        for n, (subject, device) in enumerate(names)
    ]
    for record in records:
        store.put_session(record)
    assert store.live_sessions(NOW, subject="a") == records[:2]
    assert store.live_sessions(NOW, device="x") == [records[0], records[2]]
    assert store.live_sessions(NOW, subject="a", device="x") == [records[0]]
    assert store.live_sessions(NOW, subject="c") == []
    for column, index in (("subject", "sessions_by_subject"), ("device", "sessions_by_device")):
        query = f"EXPLAIN QUERY PLAN {_LIVE} AND {column} = ?{_OLDEST_FIRST}"
        assert any(index in row[-1] for row in store.rows(query, NOW, "a"))


def test_mode_and_risk_are_written_together(store: SqliteStore) -> None:
    """Without a new risk state the old one stays, and an unknown session is an error."""
    store.put_session(RECORD)
    store.set_mode(RECORD.id, 1)
    assert store.get_session(RECORD.id) == dataclasses.replace(RECORD, mode=1)
    store.set_mode(RECORD.id, 2, b"worse")
    assert store.get_session(RECORD.id) == dataclasses.replace(RECORD, mode=2, risk=b"worse")
    with pytest.raises(StoreError, match="no such session"):
        store.set_mode(b"9" * 16, 1)


@pytest.mark.parametrize("mode", [0, 1, 2])
def test_R6_revoked_session_stays_revoked(store: SqliteStore, mode: int) -> None:
    """No later write of any kind gives a revoked session another mode; writing REVOKED again is fine."""
    store.put_session(RECORD)
    store.set_mode(RECORD.id, 3)
    revoked = store.get_session(RECORD.id)
    with pytest.raises(StoreError, match="stays revoked"):
        store.set_mode(RECORD.id, mode)
    with pytest.raises(StoreError, match="stays revoked"):
        store.put_session(dataclasses.replace(RECORD, mode=mode))
    assert store.get_session(RECORD.id) == revoked
    store.set_mode(RECORD.id, 3)
    store.put_session(dataclasses.replace(RECORD, mode=3, superseded_by=b"2" * 16))


@pytest.mark.parametrize(
    "changes",
    [
        {"id": b"short"},
        {"id": "1" * 16},
        {"mode": 4},
        {"assurance": 0},
        {"subject": None},
        {"static_key": "text"},
        {"expires_at": 2**64},
        {"grants": (1.5,)},
    ],
)
def test_record_of_the_wrong_shape_is_refused(store: SqliteStore, changes: dict[str, object]) -> None:
    """What does not fit the tables is an error, and nothing of it is kept."""
    with pytest.raises(StoreError):
        store.put_session(dataclasses.replace(RECORD, **changes))  # type: ignore[arg-type]
    assert store.live_sessions(0) == []
    store.put_session(RECORD)
    assert store.live_sessions(0) == [RECORD]


def test_R2_duplicate_signal_is_told(store: SqliteStore) -> None:
    """A source's id is new once; the same id of another source is another signal."""
    assert store.record_signal("agent", "a", b"one", now=NOW)
    assert not store.record_signal("agent", "a", b"two", now=NOW)
    assert store.record_signal("other", "a", b"two", now=NOW)


def test_R16_revocation_holds_for_sessions_that_are_not_known_yet(store: SqliteStore) -> None:
    """An id can be refused before it is seen, until its time, and a second word never shortens the first."""
    store.revoke(b"1" * 16, NOW + 10)
    store.revoke(b"2" * 16, NOW + 10)
    store.revoke(b"1" * 16, NOW + 5)
    store.revoke(b"2" * 16, NOW + 20)
    assert store.is_revoked(b"1" * 16, NOW + 9)
    assert not store.is_revoked(b"1" * 16, NOW + 10)
    assert store.revocations(NOW) == [b"1" * 16, b"2" * 16]
    assert store.revocations(NOW + 15) == [b"2" * 16]
    assert not store.is_revoked(b"3" * 16, NOW)


def test_changes_are_numbered_without_a_gap(store: SqliteStore) -> None:
    """Numbers count from one, and a reader gets exactly what follows its own."""
    assert store.last_change() == 0
    assert [store.append_change("orders", bytes([n]), now=NOW) for n in range(3)] == [1, 2, 3]
    assert store.last_change() == 3
    assert store.changes_after(1) == [StoredChange(2, "orders", b"\x01"), StoredChange(3, "orders", b"\x02")]
    assert store.changes_after(0, limit=1) == [StoredChange(1, "orders", b"\0")]
    assert store.changes_after(3) == []


def test_R12_numbering_survives_pruning_and_restart(tmp_path: Path) -> None:
    """A number is never given out twice, not even when all rows are gone."""
    path = tmp_path / "state.db"
    with SqliteStore(path) as store:
        for _ in range(3):
            store.append_change("", b"x", now=NOW)
        assert store.prune(NOW + 10 * 86_400) == 3
    with SqliteStore(path) as store:
        assert store.last_change() == 3
        assert store.append_change("", b"y", now=NOW) == 4
        assert store.changes_after(3) == [StoredChange(4, "", b"y")]


def test_R14_reader_behind_the_pruned_changes_is_told(store: SqliteStore) -> None:
    """A reader whose next change is gone gets an error and not a feed with a hole."""
    for number in range(4):
        store.append_change("", b"x", now=NOW + number)
    store.prune(NOW + 1 + 2 * 86_400)
    for behind in (0, 1):
        with pytest.raises(StoreError, match="no longer kept"):
            store.changes_after(behind)
    assert [c.number for c in store.changes_after(2)] == [3, 4]


def test_R11_reader_ahead_of_a_restored_store_is_told(store: SqliteStore) -> None:
    """A number that was never made here means that this store has lost data."""
    store.append_change("", b"x", now=NOW)
    for never in (2, -1):
        with pytest.raises(StoreError, match="never made here"):
            store.changes_after(never)
    assert store.changes_after(1) == []


def test_transaction_keeps_all_or_nothing(store: SqliteStore) -> None:
    """A mode and its change are both there or neither, and a failed attempt takes no number."""
    store.put_session(RECORD)

    def write_and_fail() -> None:
        with store.transaction():
            store.set_mode(RECORD.id, 2)
            assert store.append_change("", b"x", now=NOW) == 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_and_fail()
    assert store.get_session(RECORD.id) == RECORD
    assert store.last_change() == 0
    with store.transaction():
        store.set_mode(RECORD.id, 2)
        assert store.append_change("", b"x", now=NOW) == 1
    assert store.last_change() == 1


def test_transaction_with_a_failed_part_is_not_kept_even_if_the_failure_was_caught(
    store: SqliteStore,
) -> None:
    """Swallowing the error inside cannot leave half of it behind."""
    store.put_session(RECORD)

    def write_and_swallow() -> None:
        with store.transaction():
            store.append_change("", b"x", now=NOW)
            with suppress(StoreError):
                store.set_mode(b"9" * 16, 1)
            store.set_mode(RECORD.id, 1)

    with pytest.raises(StoreError, match="none of it was kept"):
        write_and_swallow()
    assert store.last_change() == 0
    assert store.get_session(RECORD.id) == RECORD
    assert store.append_change("", b"x", now=NOW) == 1


def test_state_is_kept_by_name(store: SqliteStore) -> None:
    """A named piece is replaced as a whole."""
    assert store.get_state("standing") is None
    store.put_state("standing", b"one")
    store.put_state("standing", b"two")
    assert store.get_state("standing") == b"two"


def test_D6_prune_deletes_what_is_over_and_nothing_else(store: SqliteStore) -> None:
    """Expired sessions and revocations go; live ones, and young signals and changes, stay."""
    store.put_session(RECORD)
    store.put_session(dataclasses.replace(RECORD, id=b"2" * 16, expires_at=NOW))
    store.revoke(b"3" * 16, NOW)
    store.revoke(b"4" * 16, NOW + 1)
    store.record_signal("agent", "old", b"", now=NOW - 2 * 86_400)
    store.record_signal("agent", "young", b"", now=NOW - 2 * 86_400 + 1)
    store.append_change("", b"x", now=NOW)
    assert store.prune(NOW) == 3
    assert store.live_sessions(0) == [RECORD]
    assert store.revocations(0) == [b"4" * 16]
    assert store.record_signal("agent", "old", b"", now=NOW)
    assert not store.record_signal("agent", "young", b"", now=NOW)
    assert len(store.changes_after(0)) == 1


def test_files_are_private_also_when_they_were_not(tmp_path: Path) -> None:
    """The database and what SQLite lays beside it are readable by the owner alone."""
    path = tmp_path / "state.db"
    before = os.umask(0)
    try:
        with SqliteStore(path) as store:
            store.put_session(RECORD)
            modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert modes == {"state.db": 0o600, "state.db-wal": 0o600, "state.db-shm": 0o600}
    path.chmod(0o644)
    SqliteStore(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_every_commit_is_synchronous(store: SqliteStore) -> None:
    """The journal is a write-ahead log and each commit waits for the disk."""
    connection = store._open()
    assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert connection.execute("PRAGMA synchronous").fetchone()[0] == 2


def test_another_version_or_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    """A newer file, a foreign database and a file that is none are errors, and not a byte changes."""
    newer, foreign, text = (tmp_path / name for name in ("newer.db", "foreign.db", "text.db"))
    SqliteStore(newer).close()
    for path, script in (
        (newer, f"PRAGMA user_version = {VERSION + 1}"),
        (foreign, "CREATE TABLE t (x)"),
    ):
        connection = sqlite3.connect(path)
        connection.execute(script)
        connection.close()
    text.write_bytes(b"not a database " * 100)
    for path, told in (
        (newer, f"version {VERSION + 1}, expected at most {VERSION}"),
        (foreign, "another program"),
        (text, "not a database"),
    ):
        before = path.read_bytes()
        with pytest.raises(StoreError, match=told):
            SqliteStore(path)
        assert path.read_bytes() == before


def test_links_directories_and_missing_directories_are_refused(tmp_path: Path) -> None:
    """The store opens a file of its own, where it was told to, or nothing."""
    (tmp_path / "link").symlink_to(tmp_path / "target")
    for path in (tmp_path, tmp_path / "none" / "state.db", tmp_path / "link"):
        with pytest.raises(StoreError):
            SqliteStore(path)
    assert not (tmp_path / "target").exists()


def test_closed_store_refuses(tmp_path: Path) -> None:
    """After close every call is an error, and closing twice does nothing."""
    store = SqliteStore(tmp_path / "state.db")
    store.close()
    store.close()
    for call in (lambda: store.put_session(RECORD), lambda: store.live_sessions(NOW)):
        with pytest.raises(StoreError, match="closed"):
            call()


def test_damaged_grants_are_an_error_and_not_an_empty_list(tmp_path: Path) -> None:
    """A row that no longer decodes is told; the rows beside it can still be read one by one."""
    path = tmp_path / "state.db"
    other = dataclasses.replace(RECORD, id=b"2" * 16)
    with SqliteStore(path) as store:
        store.put_session(RECORD)
        store.put_session(other)
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("UPDATE sessions SET grants = x'c1' WHERE id = ?", (RECORD.id,))
    connection.close()
    with SqliteStore(path) as store:
        with pytest.raises(StoreError):
            store.get_session(RECORD.id)
        with pytest.raises(StoreError):
            store.live_sessions(NOW)
        assert store.get_session(other.id) == other


def test_full_disk_is_an_error_and_loses_nothing_that_was_kept(tmp_path: Path) -> None:
    """When the file cannot grow the call fails; what was committed stays, and with room all goes on."""
    with SqliteStore(tmp_path / "state.db") as store:
        store.append_change("", b"one", now=NOW)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        wal_bytes = (tmp_path / "state.db-wal").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (wal_bytes + 100, hard))
        try:
            with pytest.raises(StoreError):
                store.append_change("", b"x" * 100_000, now=NOW)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, handler)
        assert [c.data for c in store.changes_after(0)] == [b"one"]
        assert store.append_change("", b"two", now=NOW) == 2


def test_threads_share_one_store(store: SqliteStore) -> None:
    """Transactions of several threads never mix: each pair of changes has neighbouring numbers."""
    pairs: list[tuple[int, int]] = []

    def write() -> None:
        for _ in range(20):
            with store.transaction():
                pairs.append((store.append_change("", b"", now=NOW), store.append_change("", b"", now=NOW)))

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(n for pair in pairs for n in pair) == list(range(1, 161))
    assert all(second == first + 1 for first, second in pairs)


def test_two_processes_may_open_one_store(tmp_path: Path) -> None:
    """A second connection sees what the first has committed, and writing waits its turn."""
    with SqliteStore(tmp_path / "state.db") as one, SqliteStore(tmp_path / "state.db") as two:
        assert one.append_change("", b"x", now=NOW) == 1
        assert two.append_change("", b"y", now=NOW) == 2
        assert one.last_change() == 2


WRITER = """
import sys
from ztsession.store.records import SessionRecord
from ztsession.store.sqlite import SqliteStore
store = SqliteStore(sys.argv[1])
while True:
    with store.transaction():
        number = store.append_change("orders", b"x" * 2000, now=1)
        session = number.to_bytes(16, "big")
        store.put_session(SessionRecord(session, "ada", "host", b"k" * 32, 1, 0, 1, 2**40))
        store.revoke(session, 2**40)
    print(number, flush=True)
"""


def test_kill_loses_nothing_that_was_committed(tmp_path: Path) -> None:
    """Killed at any moment, the store reopens with every acknowledged row and no half transaction."""
    path = tmp_path / "state.db"
    for cycle in range(5):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True, cwd=os.getcwd()
        )
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3 + 7 * cycle)]
        process.kill()
        lines += process.stdout.read().splitlines(keepends=True)
        process.stdout.close()
        process.wait()
        acknowledged = max(int(line) for line in lines if line.endswith("\n"))
        with SqliteStore(path) as store:
            last = store.last_change()
            assert last >= acknowledged
            assert [c.number for c in store.changes_after(0, limit=10**6)] == list(range(1, last + 1))
            every = [n.to_bytes(16, "big") for n in range(1, last + 1)]
            assert [record.id for record in store.live_sessions(1)] == every
            assert store.revocations(1) == every


def test_what_stands_is_forgotten_for_its_own_target_alone(tmp_path: Path) -> None:
    """A device and a subject of one name, and others of its kind, stay."""
    with SqliteStore(tmp_path / "state.db") as store:
        for target, name in (("subject", "a"), ("subject", "b"), ("device", "a")):
            store.put_standing(target, name, f"{target} {name}".encode())
        store.put_standing("subject", "a", b"")
        assert store.standing() == [b"device a", b"subject b"]
