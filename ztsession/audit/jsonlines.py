"""The audit log as a file of JSON lines: append-only, numbered, and honest about crashes.

Each entry is one ``write`` to a file opened for appending, or one of a few where a single event tells of very
many sessions, by the only process that holds its lock. A number
that grows by one tells a reader at once that a line is missing. What a crash can leave is an unfinished last
line: it is moved to a ``.torn`` file beside the log when the log is next opened, with an entry that says so,
and never thrown away nor glued to the next entry.

When writing fails the caller is told and nothing new may begin. A failed write is taken back if that is
possible; a failed fsync is not repeated, because the kernel may have dropped the very pages that it reported
(and would report success the next time): the log stays closed until it is opened again.
"""

from __future__ import annotations

import fcntl
import os
import stat
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final, Self

from ztsession.audit.entry import LINE_MAX_BYTES, decode_entry, encode_entry
from ztsession.errors import AuditError

__all__ = ["JsonLinesAudit"]

#: How much of the end is read: no line is longer than a quarter of it.
_TAIL_BYTES: Final = 4 * LINE_MAX_BYTES
#: One write at most: what a crash makes of it, and the whole line before it, must be within the tail.
_TOGETHER_BYTES: Final = 2 * LINE_MAX_BYTES
_FIRST: Final = b'{"n":1,'


class JsonLinesAudit:
    """An audit log at ``path`` (mode 0600), for one writer; thread-safe."""

    def __init__(
        self, path: str | os.PathLike[str], *, durable: bool = True, clock: Callable[[], float] = time.time
    ) -> None:
        """Open or create the log and repair its tail.

        ``durable``: whether an entry is on the disk (fsync) when ``record`` returns. AuditError when the file
        cannot be opened, is not a regular file, has another writer, or does not end in an audit entry.
        """
        self._path = Path(path)
        self._durable = durable
        self._clock = clock
        self._lock = threading.Lock()
        self._broken = ""
        try:
            self._file = _open_private(self._path, os.O_RDWR)
        except OSError as error:
            raise AuditError(f"{self._path}: cannot be opened: {error.strerror}") from error
        try:
            self._begin()
        except BaseException:
            os.close(self._file)
            raise

    def record(self, event: str, **fields: object) -> None:
        """Append one entry; AuditError when it may not be written or is not certain to have been."""
        with self._lock:
            self._usable()
            line = encode_entry(self._next, self._clock(), event, fields)
            self._append(line)
            self._next += 1

    def record_all(self, event: str, entries: Iterable[Mapping[str, object]]) -> None:
        """Append an entry for each of the fields, many in one write; AuditError as for :meth:`record`, and
        then some of them may be there.
        """
        with self._lock:
            self._usable()
            lines, size = list[bytes](), 0
            for fields in entries:
                line = encode_entry(self._next + len(lines), self._clock(), event, fields)
                size += len(line)
                if size > _TOGETHER_BYTES:
                    self._append_all(lines)
                    lines, size = [], len(line)
                lines.append(line)
            self._append_all(lines)

    def close(self) -> None:
        """Release the file and its lock; closing twice is harmless."""
        with self._lock:
            if self._broken != "closed":
                self._broken = "closed"
                os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _begin(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            last, torn = _read_tail(self._file)
            whole = decode_entry(torn)
            if whole is not None:
                # No part of an object is an object: only the newline is missing, so nothing is torn.
                _write_whole(self._file, b"\n")
                last, torn = int(whole["n"]), b""
            self._next = last + 1
            if torn:
                self._move_aside(torn)
            _sync_directory(self._path)
        except BlockingIOError:
            raise AuditError(f"{self._path}: another process writes this log") from None
        except OSError as error:
            raise AuditError(f"{self._path}: cannot be read or repaired: {error.strerror}") from error
        except _NotALogError as error:
            raise AuditError(f"{self._path}: {error}") from None
        if torn:
            self.record("audit.torn", bytes=len(torn), moved_to=f"{self._path.name}.torn")

    def _move_aside(self, torn: bytes) -> None:
        # Saved, and known to be on the disk, before it is cut off: a crash in between repeats it, no more.
        beside = _open_private(self._path.with_name(self._path.name + ".torn"), os.O_WRONLY)
        try:
            _write_whole(beside, torn + b"\n")
            os.fsync(beside)
        finally:
            os.close(beside)
        os.ftruncate(self._file, os.fstat(self._file).st_size - len(torn))
        os.fsync(self._file)

    def _append(self, line: bytes) -> None:
        size = os.fstat(self._file).st_size
        try:
            _write_whole(self._file, line)
        except OSError as error:
            self._take_back(size)
            raise AuditError(f"{self._path}: cannot be written: {error.strerror}") from error
        if self._durable:
            try:
                os.fsync(self._file)
            except OSError as error:
                self._broken = "its fsync failed"
                raise AuditError(f"{self._path}: cannot be made durable: {error.strerror}") from error

    def _append_all(self, lines: list[bytes]) -> None:
        if lines:
            self._append(b"".join(lines))
            self._next += len(lines)

    def _take_back(self, size: int) -> None:
        try:
            os.ftruncate(self._file, size)
        except OSError:
            self._broken = "it ends in an unfinished line"

    def _usable(self) -> None:
        if self._broken:
            raise AuditError(f"{self._path}: cannot be written: {self._broken}")


class _NotALogError(Exception):
    pass


def _open_private(path: Path, access: int) -> int:
    # O_NOFOLLOW: a link planted beside the log must not choose where its lines go.
    flags = access | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    file = os.open(path, flags, 0o600)
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(22, "not a regular file")
        if status.st_mode & 0o077:
            os.fchmod(file, 0o600)
    except BaseException:
        os.close(file)
        raise
    return file


def _write_whole(file: int, data: bytes) -> None:
    # One write for a line, so that no other writer's bytes can stand inside it; a short one is a failure.
    written = os.write(file, data)
    if written != len(data):
        raise OSError(28, "no space left for a whole entry")


def _read_tail(file: int) -> tuple[int, bytes]:
    """The number of the last whole entry (0 in an empty log), and the bytes after it."""
    size = os.fstat(file).st_size
    start = max(0, size - _TAIL_BYTES)
    tail = os.pread(file, _TAIL_BYTES, start)
    end = len(tail)
    while (newline := tail.rfind(b"\n", 0, end)) >= 0:
        begin = tail.rfind(b"\n", 0, newline) + 1
        entry = decode_entry(tail[begin:newline])
        if entry is not None:
            return int(entry["n"]), tail[newline + 1 :]
        end = newline
    if not _may_be_a_torn_first_entry(tail):
        raise _NotALogError("does not end in an audit entry, so it is not appended to")
    return 0, tail


def _may_be_a_torn_first_entry(tail: bytes) -> bool:
    # Else the path is that of somebody else's file, which is not ours to move.
    begun = tail.startswith(_FIRST) or _FIRST.startswith(tail) or not tail.strip(b"\0")
    return begun and len(tail) <= LINE_MAX_BYTES


def _sync_directory(path: Path) -> None:
    # A new file is only as durable as the directory entry that names it.
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
