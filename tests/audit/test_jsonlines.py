from __future__ import annotations

import json
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from ztsession.audit.jsonlines import JsonLinesAudit
from ztsession.errors import AuditError


def entries(path: Path) -> list[dict[str, Any]]:
    lines = path.read_bytes().split(b"\n")
    assert lines.pop() == b""
    return [json.loads(line) for line in lines]


def test_entries_are_numbered_lines_and_numbering_survives_reopening(tmp_path: Path) -> None:
    """Each record is one line, and a reopened log counts on."""
    path = tmp_path / "audit.jsonl"
    with JsonLinesAudit(path, clock=lambda: 12.5) as audit:
        audit.record("one", subject="ada")
        audit.record("two")
    with JsonLinesAudit(path, durable=False) as audit:
        audit.record("three")
    assert [(e["n"], e["event"]) for e in entries(path)] == [(1, "one"), (2, "two"), (3, "three")]
    assert entries(path)[0] == {"n": 1, "time": 12.5, "event": "one", "subject": "ada"}


def test_file_is_private_also_when_it_was_not(tmp_path: Path) -> None:
    """The log is readable by its owner alone, whatever the umask, and an open one is closed up."""
    path = tmp_path / "audit.jsonl"
    before = os.umask(0)
    try:
        JsonLinesAudit(path).close()
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    JsonLinesAudit(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_A7_every_torn_tail_is_moved_aside_and_nothing_whole_is_lost(tmp_path: Path) -> None:
    """Cut at any byte, the log opens, keeps its whole entries, and the rest is found in the .torn file."""
    path = tmp_path / "audit.jsonl"
    with JsonLinesAudit(path) as audit:
        audit.record("one", subject="ada")
        audit.record("two", subject="bob")
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for cut in range(1, len(whole)):
        log = tmp_path / f"cut-{cut}" / "audit.jsonl"
        log.parent.mkdir()
        log.write_bytes(whole[:cut])
        with JsonLinesAudit(log, durable=False) as audit:
            audit.record("after")
        names = [e["event"] for e in entries(log)]
        kept = ["one"] * (cut >= first - 1) + ["two"] * (cut == len(whole) - 1)
        torn = whole[first * (cut >= first) : cut]
        is_torn = cut not in (first - 1, first, len(whole) - 1)
        assert names == [*kept, *(["audit.torn"] if is_torn else []), "after"]
        assert [e["n"] for e in entries(log)] == list(range(1, len(names) + 1))
        beside = log.with_name("audit.jsonl.torn")
        assert beside.exists() == is_torn
        if is_torn:
            assert beside.read_bytes() == torn + b"\n"
            assert stat.S_IMODE(beside.stat().st_mode) == 0o600


@pytest.mark.parametrize("tail", [b"\0" * 4096, b'{"n":2,"ti' + b"\0" * 100, b"\0\n\0\n", b"{}\nx"])
def test_A8_zero_filled_or_garbled_tail_is_moved_aside(tmp_path: Path, tail: bytes) -> None:
    """What a crash left after the last whole entry is kept beside the log, and the log goes on."""
    path = tmp_path / "audit.jsonl"
    with JsonLinesAudit(path) as audit:
        audit.record("one")
    with path.open("ab") as file:
        file.write(tail)
    with JsonLinesAudit(path) as audit:
        audit.record("two")
    assert [(e["n"], e["event"]) for e in entries(path)] == [(1, "one"), (2, "audit.torn"), (3, "two")]
    assert entries(path)[1]["bytes"] == len(tail)
    assert path.with_name("audit.jsonl.torn").read_bytes() == tail + b"\n"


@pytest.mark.parametrize("content", [b"root:x:0:0\n", b"[1]", b'{"n":1,' + b"x" * 40_000, b"\0" * 40_000])
def test_file_that_is_no_audit_log_is_left_alone(tmp_path: Path, content: bytes) -> None:
    """A path that points at something else is an error, and not a byte of that file changes."""
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(AuditError, match="does not end in an audit entry"):
        JsonLinesAudit(path)
    assert path.read_bytes() == content
    assert not path.with_name("other.torn").exists()


def test_log_longer_than_its_tail_is_opened_by_its_end(tmp_path: Path) -> None:
    """Opening reads the end alone and still finds the last number."""
    path = tmp_path / "audit.jsonl"
    with JsonLinesAudit(path, durable=False) as audit:
        for _ in range(20):
            audit.record("long", text="x" * 16_000)
    with path.open("ab") as file:
        file.write(b'{"n":21,"time":1')
    with JsonLinesAudit(path) as audit:
        audit.record("next")
    assert [(e["n"], e["event"]) for e in entries(path)][-2:] == [(21, "audit.torn"), (22, "next")]


def test_A11_second_writer_is_refused(tmp_path: Path) -> None:
    """Two writers would number over each other; the second is told, and may come once the first has left."""
    path = tmp_path / "audit.jsonl"
    with JsonLinesAudit(path) as audit:
        with pytest.raises(AuditError, match="another process"):
            JsonLinesAudit(path)
        audit.record("one")
    with JsonLinesAudit(path) as audit:
        audit.record("two")
    assert [e["n"] for e in entries(path)] == [1, 2]


def test_links_and_directories_are_refused(tmp_path: Path) -> None:
    """Neither a planted link nor a directory is written through."""
    (tmp_path / "target").write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    for path in (tmp_path / "link", tmp_path, tmp_path / "none" / "audit.jsonl"):
        with pytest.raises(AuditError, match="cannot be opened"):
            JsonLinesAudit(path)
    assert (tmp_path / "target").read_bytes() == b""


@contextmanager
def file_size_limit(limit_bytes: int) -> Iterator[None]:
    """The kernel refuses to let any file grow past the limit, as it would on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("room_bytes", [0, 1, 40])
def test_A10_full_disk_is_an_error_and_leaves_no_part_of_an_entry(tmp_path: Path, room_bytes: int) -> None:
    """A write that does not fit is told and taken back; with room again the numbering has no gap."""
    path = tmp_path / "audit.jsonl"
    with JsonLinesAudit(path) as audit:
        audit.record("one")
        before = path.read_bytes()
        with file_size_limit(len(before) + room_bytes), pytest.raises(AuditError, match="cannot be written"):
            audit.record("two", text="x" * 100)
        assert path.read_bytes() == before
        audit.record("two")
    assert [(e["n"], e["event"]) for e in entries(path)] == [(1, "one"), (2, "two")]


def test_entries_of_one_event_take_the_time_of_a_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand entries are a thousand lines in order, with a handful of waits for the disk."""
    path, waits, real = tmp_path / "audit.jsonl", list[int](), os.fsync

    def counted(file: int) -> None:
        waits.append(path.stat().st_size)
        real(file)

    with JsonLinesAudit(path) as audit:
        audit.record("one")
        audit.record_all("none", [])
        monkeypatch.setattr(os, "fsync", counted)
        audit.record_all("many", ({"number": number, "text": "x" * 200} for number in range(1000)))
        audit.record("two")
    told = entries(path)
    assert [entry["n"] for entry in told] == list(range(1, 1003))
    assert [entry["number"] for entry in told[1:-1]] == list(range(1000))
    assert len(waits) == 6
    # What one write was is found whole within the tail that is read after a crash.
    assert max(after - before for before, after in pairwise(waits)) <= 65_536


def test_A10_full_disk_leaves_whole_entries_of_many(tmp_path: Path) -> None:
    """What does not fit is told; what is there is whole, and the numbering goes on without a gap."""
    path = tmp_path / "audit.jsonl"
    many = [{"text": "x" * 1000}] * 200
    with JsonLinesAudit(path) as audit:
        with file_size_limit(100_000), pytest.raises(AuditError, match="cannot be written"):
            audit.record_all("many", many)
        assert 0 < len(entries(path)) < 100
        audit.record_all("more", many)
    told = entries(path)
    assert [entry["n"] for entry in told] == list(range(1, len(told) + 1))


def test_A8_a_garbled_write_of_many_is_moved_aside(tmp_path: Path) -> None:
    """A crash can leave zeros in place of a whole write; the log before it is found all the same."""
    path = tmp_path / "audit.jsonl"
    with JsonLinesAudit(path) as audit:
        audit.record("one", text="x" * 30_000)
        size = path.stat().st_size
        audit.record_all("many", [{"text": "x" * 30_000}] * 2)
    written = path.stat().st_size - size
    with path.open("r+b") as log:
        log.seek(size)
        log.write(b"\0" * written)
    with JsonLinesAudit(path) as audit:
        audit.record("two")
    assert [entry["event"] for entry in entries(path)] == ["one", "audit.torn", "two"]


def test_A10_failing_fsync_closes_the_log_for_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After one failed fsync nothing more is recorded, also when the disk claims to be well again."""
    path = tmp_path / "audit.jsonl"
    with JsonLinesAudit(path) as audit:
        audit.record("one")
        real = os.fsync

        def failing(file: int) -> None:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(os, "fsync", failing)
        with pytest.raises(AuditError, match="cannot be made durable"):
            audit.record("two")
        monkeypatch.setattr(os, "fsync", real)
        size = path.stat().st_size
        with pytest.raises(AuditError, match="fsync failed"):
            audit.record("three")
        assert path.stat().st_size == size
    with JsonLinesAudit(path) as audit:
        audit.record("four")
    assert entries(path)[-1]["event"] == "four"


def test_refused_entry_takes_no_number(tmp_path: Path) -> None:
    """What may not be logged changes neither the file nor the numbering."""
    path = tmp_path / "audit.jsonl"
    with JsonLinesAudit(path) as audit:
        with pytest.raises(AuditError, match="secret"):
            audit.record("one", secret="x")
        with pytest.raises(AuditError, match="secret"):
            audit.record_all("one", [{"text": "x"}, {"secret": "x"}])
        assert path.read_bytes() == b""
        audit.record("one")
    assert [e["n"] for e in entries(path)] == [1]


def test_closed_log_refuses(tmp_path: Path) -> None:
    """Nothing is recorded into a log that was closed, and closing twice does nothing."""
    audit = JsonLinesAudit(tmp_path / "audit.jsonl")
    audit.close()
    audit.close()
    with pytest.raises(AuditError, match="closed"):
        audit.record("one")


def test_threads_share_one_log(tmp_path: Path) -> None:
    """Entries of several threads are whole lines with every number once."""
    path = tmp_path / "audit.jsonl"
    with JsonLinesAudit(path, durable=False) as audit:

        def write() -> None:
            for _ in range(100):
                audit.record("e", text="x" * 500)

        threads = [threading.Thread(target=write) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [e["n"] for e in entries(path)] == list(range(1, 401))


WRITER = """
import sys
from ztsession.audit.jsonlines import JsonLinesAudit
audit = JsonLinesAudit(sys.argv[1])
n = 0
while True:
    n += 1
    audit.record("e", count=n, text="x" * 3000)
    print(n, flush=True)
"""


def test_A7_kill_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """Killed at any moment, the log holds every entry that record() returned for, and goes on."""
    path = tmp_path / "audit.jsonl"
    acknowledged = 0
    for cycle in range(5):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True, cwd=os.getcwd()
        )
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3 + cycle)]
        process.kill()
        lines += process.stdout.read().splitlines(keepends=True)
        process.stdout.close()
        process.wait()
        acknowledged += sum(line.endswith("\n") for line in lines)
        with JsonLinesAudit(path) as audit:
            audit.record("reopened")
        acknowledged += 1
        numbers = [e["n"] for e in entries(path)]
        assert numbers == list(range(1, len(numbers) + 1))
        assert len(numbers) >= acknowledged
        acknowledged = len(numbers)
