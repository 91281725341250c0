"""What is read back of sessions: from logs that are not to be trusted, and from a store that is in use."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from ztsession.audit.entry import LINE_MAX_BYTES
from ztsession.authority.recorded import Tally, live_sessions, logged_sessions
from ztsession.errors import ConfigurationError, StoreError
from ztsession.identity.subjects import AllSubjects, FileSubjects, StoredSubjects, Subject
from ztsession.policy.simulate import Held, Recorded
from ztsession.posture.items import ITEMS
from ztsession.store.enrolments import SqliteEnrolments
from ztsession.store.sqlite import SqliteStore

ENTRY = {
    "n": 7,
    "time": 1790000000.5,
    "event": "session.granted",
    "session": "00" * 16,
    "subject": "algo-7",
    "kind": "algorithm",
    "roles": ["trading"],
    "desk": "rates",
    "device": "host-1",
    "assurance": 2,
    "posture": dict.fromkeys(ITEMS, "good"),
    "environment": "prod",
    "scopes": ["orders.*"],
    "decisions": [["orders", 3, 2, 2, 0]],
}


def read(path: Path) -> tuple[list[Recorded], Tally]:
    tally = Tally()
    return list(logged_sessions([path], tally)), tally


def written(tmp_path: Path, *lines: bytes | dict[str, Any]) -> Path:
    path = tmp_path / "audit.jsonl"
    path.write_bytes(
        b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines)
    )
    return path


# ---- Logs


def test_an_entry_is_the_question_and_the_answer(tmp_path: Path):
    """Who, on what, how sure, what for, when and what came of it are read as they were written."""
    [session], tally = read(written(tmp_path, ENTRY))
    assert (tally.sessions, tally.broken, tally.older) == (1, 0, 0)
    assert session.identity is session.identity_before is not None
    assert (session.identity.subject, session.identity.roles) == ("algo-7", ("trading",))
    assert (session.at, session.assurance, session.scopes) == (1790000000.5, 2, ("orders.*",))
    assert session.held == (Held("orders", (3, 2, 2), 0),)


@pytest.mark.parametrize(
    ("changed", "broken"),
    [
        ({}, 0),
        ({"subject": "no name"}, 1),
        ({"subject": 7}, 1),
        ({"kind": "robot"}, 1),
        ({"roles": "trading"}, 1),
        ({"roles": ["a b"]}, 1),
        ({"roles": ["r"] * 65}, 1),
        ({"device": "no\u202ename"}, 1),
        ({"assurance": 4}, 1),
        ({"assurance": True}, 1),
        ({"assurance": 2.0}, 1),
        ({"posture": {}}, 1),
        ({"posture": dict.fromkeys(ITEMS, "great")}, 1),
        ({"posture": {item: [] for item in ITEMS}}, 1),
        ({"posture": dict.fromkeys([*ITEMS, "mood"], "good")}, 1),
        ({"scopes": ["everything"]}, 1),
        ({"scopes": ["orders.*"] * 257}, 1),
        ({"scopes": ["orders.*"] * 256}, 0),
        ({"decisions": {}}, 1),
        ({"decisions": [["orders", 3, 2, 2]]}, 1),
        ({"decisions": [["orders", 3, 2, -1, 0]]}, 1),
        ({"decisions": [["orders", 2**64, 2, 2, 0]]}, 1),
        ({"decisions": [["orders", True, 2, 2, 0]]}, 1),
        ({"decisions": []}, 0),
        ({"time": "now"}, 1),
        ({"time": -1}, 1),
        ({"time": 10**400}, 1),
        ({"time": float("nan")}, 1),
        ({"n": 0}, 1),
    ],
)
def test_an_entry_of_another_form_is_counted_and_left_out(
    changed: dict[str, Any], broken: int, tmp_path: Path
):
    """Nothing is believed for standing in a log; what comes after a broken entry is still read."""
    sessions, tally = read(written(tmp_path, ENTRY | changed, ENTRY))
    assert (len(sessions), tally.sessions) == (2 - broken, 2 - broken)
    assert (tally.broken, tally.older) == (broken, 0)


@pytest.mark.parametrize("field", ["kind", "roles", "desk", "posture", "scopes", "decisions"])
def test_an_entry_of_an_older_version_is_counted_as_such(field: str, tmp_path: Path):
    """Entries that do not tell their question are older, not broken."""
    old = {name: value for name, value in ENTRY.items() if name != field}
    sessions, tally = read(written(tmp_path, old, ENTRY))
    assert (len(sessions), tally.broken, tally.older) == (1, 0, 1)


def test_torn_and_foreign_lines_are_counted_and_other_events_are_not(tmp_path: Path):
    """A log with the lines of a crash, of another program and of other events gives the sessions in it."""
    whole = json.dumps(ENTRY).encode()
    path = written(
        tmp_path,
        whole,
        whole[:80],
        b"\xff\x00\n",
        b"Jan 1 sshd: ok",
        {"n": 1, "event": "signal"},
        ENTRY,
        whole[:9],
    )
    sessions, tally = read(path)
    # The empty line is one of the broken, and so is the last one, which was never finished.
    assert (len(sessions), tally.broken) == (2, 5)


def test_a_line_without_end_costs_no_more_than_its_bound(tmp_path: Path):
    """A line of a hundred megabytes is read in pieces, counted once, and what follows it is read."""
    path = tmp_path / "audit.jsonl"
    with path.open("wb") as file:
        file.write(json.dumps(ENTRY).encode() + b"\n" + b"{")
        file.truncate(100 << 20)
        file.seek(0, os.SEEK_END)
        file.write(b"\n" + json.dumps(ENTRY).encode())
    sessions, tally = read(path)
    assert (len(sessions), tally.broken) == (2, 1)
    longest = json.dumps(ENTRY | {"note": ""}).encode()
    for more, broken in ((0, 0), (1, 1)):
        filled = longest.replace(
            b'"note": ""', b'"note": "%s"' % (b"x" * (LINE_MAX_BYTES - len(longest) - 1 + more))
        )
        assert read(written(tmp_path, filled, ENTRY))[1].broken == broken


def test_a_log_that_cannot_be_read_is_an_error(tmp_path: Path):
    """The file is named; it is not taken for an empty one."""
    with pytest.raises(ConfigurationError, match=r"none\.jsonl: cannot be read"):
        read(tmp_path / "none.jsonl")


# ---- The store


def live(house: Any, *more: Any) -> tuple[list[Recorded], Tally]:
    tally = Tally()
    with SqliteStore(house.state / "authority.sqlite", read_only=True) as store:
        stored = StoredSubjects(SqliteEnrolments(store))
        subjects = AllSubjects(FileSubjects(house.rules / "subjects.toml"), stored)
        return list(live_sessions(store, time.time(), tally, subjects, *more)), tally


def test_live_sessions_are_read_while_the_authority_runs(house: Any):
    """The same is read as the log says, from a database that is open, and the Authority goes on writing."""
    authority = house.authority()
    client = house.connect(authority)
    [session], tally = live(house)
    [logged], _ = read(house.state / "audit.jsonl")
    assert (tally.sessions, tally.broken, tally.older) == (1, 0, 0)
    assert (session.identity, session.device, session.scopes) == (
        logged.identity,
        logged.device,
        logged.scopes,
    )
    assert (session.posture, session.assurance) == (logged.posture, logged.assurance)
    assert [(h.segment, h.allowed, h.step_up) for h in session.held] == [
        (h.segment, h.allowed, h.step_up) for h in logged.held
    ]
    assert dict(session.held[0].numbers or ())["md.subscribe"] == 0
    house.connect(authority)
    assert len(live(house)[0]) == 2
    authority.revoke(client.id)
    assert len(live(house)[0]) == 1


def test_reading_takes_no_lock_from_whoever_writes(house: Any):
    """An open reader neither stops a writer nor is stopped by one, and closing it drops nobody's lock."""
    authority = house.authority()
    house.connect(authority)
    path = house.state / "authority.sqlite"
    writer = house.keep(SqliteStore(path))
    with writer.transaction(), SqliteStore(path, read_only=True) as store:
        writer.put_state("x", b"1")
        assert len(store.live_sessions(0)) == 1
        assert store.get_state("x") is None
        store.close()
        other = sqlite3.connect(path, timeout=0, isolation_level=None)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        other.close()
    with SqliteStore(path, read_only=True) as store:
        assert store.get_state("x") == b"1"
        house.connect(authority)
        assert len(store.live_sessions(0)) == 2


def test_a_store_that_is_read_is_never_written_or_made(house: Any, tmp_path: Path):
    """Writing is refused by the database itself, and nothing comes to be where nothing was."""
    house.connect(house.authority())
    with SqliteStore(house.state / "authority.sqlite", read_only=True) as store:
        with pytest.raises(StoreError, match="readonly"):
            store.put_state("x", b"1")
        with pytest.raises(StoreError, match="readonly"):
            store.prune(0)
    with pytest.raises(StoreError, match="unable to open"):
        SqliteStore(tmp_path / "none.sqlite", read_only=True)
    assert not (tmp_path / "none.sqlite").exists()
    (tmp_path / "empty.sqlite").touch()
    with pytest.raises(StoreError, match="holds nothing yet"):
        SqliteStore(tmp_path / "empty.sqlite", read_only=True)


def test_another_programs_database_is_refused_for_reading_too(tmp_path: Path):
    """What has other tables is not asked for sessions."""
    other = sqlite3.connect(tmp_path / "other.sqlite")
    other.execute("CREATE TABLE t (x)")
    other.close()
    with pytest.raises(StoreError, match="another program's"):
        SqliteStore(tmp_path / "other.sqlite", read_only=True)


def test_the_state_of_an_authority_that_is_stopped_is_read(house: Any):
    """Live sessions outlive their Authority, and are read without it."""
    authority = house.authority()
    house.connect(authority)
    authority.close()
    assert len(live(house)[0]) == 1


def test_subjects_are_those_that_the_directories_name(house: Any):
    """The file is right before the state; a credential that is somebody else's now is nobody's session."""
    house.connect(house.authority())
    before = FileSubjects(house.rules / "subjects.toml")
    file = house.rules / "subjects.toml"
    file.write_text(file.read_text().replace('"trading"', '"reading"'))
    [session], _ = live(house, before)
    assert (session.identity.roles, session.identity_before.roles) == (("reading",), ("trading",))
    file.write_text(file.read_text().replace("algo-7", "algo-8"))
    [session], _ = live(house, before)
    assert (session.identity, session.identity_before is None) == (None, False)
    assert session.subject == "algo-7"


def test_a_subject_that_was_enrolled_at_run_time_is_known(house: Any):
    """Where the file does not name it, the state's enrolment counts."""
    house.connect(house.authority())
    file = FileSubjects(house.rules / "subjects.toml")
    enrolled = file.named("algo-7")
    house.enrol(type(house.identity).generate("someone-else"))
    assert live(house)[0][0].identity is None
    with SqliteStore(house.state / "authority.sqlite") as store:
        stored = Subject("algo-7", "algorithm", ("late",), "", enrolled.credentials)
        StoredSubjects(SqliteEnrolments(store)).enrol(stored)
    assert live(house)[0][0].identity.roles == ("late",)


def test_damaged_and_older_records_are_counted_and_left_out(house: Any):
    """A session that an older version wrote, or whose basis does not read, is told and not guessed at."""
    authority = house.authority()
    sessions = [house.connect(authority) for _ in range(3)]
    authority.close()
    database = sqlite3.connect(house.state / "authority.sqlite")
    database.execute("UPDATE sessions SET basis = x'' WHERE id = ?", (sessions[0].id,))
    database.execute("UPDATE sessions SET basis = x'00' WHERE id = ?", (sessions[1].id,))
    database.commit()
    database.close()
    read_back, tally = live(house)
    assert (len(read_back), tally.sessions, tally.broken, tally.older) == (1, 1, 1, 1)
