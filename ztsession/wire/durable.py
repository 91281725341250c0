"""Small files that are there in full or not at all, whatever happens while they are written.

A key file cut short by a crash is worse than none: the program that made it believes in a key that nobody can
read again. So a file is written under another name, brought to the disk, and only then given its own name;
and the name is brought to the disk too, because a rename that is lost with the power is a rotation undone.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

__all__ = ["create", "locked", "remove", "replace", "sweep"]

_UNFINISHED: Final = ".unfinished"


def create(path: Path, data: bytes) -> None:
    """Write a new file of mode 0600, durably; FileExistsError if there is one, OSError if it cannot be
    done.
    """
    with _written(path, data) as made:
        os.link(made, path)
        os.unlink(made)
        _sync_directory(path.parent)


def replace(path: Path, data: bytes) -> None:
    """Put a new file of mode 0600 in the place of the old one, durably; OSError if it cannot be done."""
    with _written(path, data) as made:
        os.rename(made, path)
        _sync_directory(path.parent)


def remove(path: Path) -> None:
    """Take a file away for good; it may be gone already. OSError if it cannot be done."""
    with suppress(FileNotFoundError):
        os.unlink(path)
    _sync_directory(path.parent)


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Wait until no other thread or process is inside for this directory; OSError if it has no locks."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def sweep(directory: Path) -> None:
    """Remove what a crash left half written; call it inside :func:`locked`."""
    for left in directory.glob(f".*{_UNFINISHED}"):
        remove(left)


@contextmanager
def _written(path: Path, data: bytes) -> Iterator[Path]:
    made = path.with_name(f".{path.name}.{os.urandom(8).hex()}{_UNFINISHED}")
    try:
        handle = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(handle, "wb", buffering=0) as sink:
            if sink.write(data) != len(data):
                raise OSError(28, "the disk is full")
            os.fsync(handle)
        yield made
    except BaseException:
        with suppress(OSError):
            os.unlink(made)
        raise


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
