"""Audit logs read back, from anywhere and of any length: a line at a time, each of bounded size."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from ztsession.audit.entry import LINE_MAX_BYTES, decode_entry
from ztsession.errors import ConfigurationError

__all__ = ["read_entries"]


def read_entries(path: str | os.PathLike[str]) -> Iterator[dict[str, Any] | None]:
    """Read every entry in its order, None for a line that is none. ConfigurationError for a file that cannot
    be read.
    """
    try:
        with Path(path).open("rb") as log:
            yield from map(decode_entry, _lines(log))
    except OSError as error:
        raise ConfigurationError(f"cannot be read: {error.strerror}", file=os.fspath(path)) from None


def _lines(log: IO[bytes]) -> Iterator[bytes]:
    """Every line without its newline; one that is too long comes as its beginning, which is no entry."""
    while line := log.readline(LINE_MAX_BYTES + 1):
        yield line.removesuffix(b"\n")
        while line and not line.endswith(b"\n"):
            line = log.readline(LINE_MAX_BYTES + 1)
