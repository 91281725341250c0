"""Packages on disk: a directory for each environment, and reading what somebody else has put there.

Test is where everybody works, so what lies in its directory is as a stranger's: it may be a link to another
place, a pipe that never ends, or larger than memory. What was read once is what is compared, run and copied;
nobody looks a second time at a file that can change meanwhile.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from ztsession.errors import EvidenceError

__all__ = ["PACKAGE_MAX_BYTES", "read_package"]

PACKAGE_MAX_BYTES: Final = 64 * 1024


def read_package(path: Path) -> bytes:
    """Return what is in a regular file of at most ``PACKAGE_MAX_BYTES``; EvidenceError for anything else."""
    try:
        with open(path, "rb", opener=_opened) as source:
            if not stat.S_ISREG(os.fstat(source.fileno()).st_mode):
                raise EvidenceError(f"the package {path.name} is no regular file")
            package = source.read(PACKAGE_MAX_BYTES + 1)
    except OSError as error:
        raise EvidenceError(f"the package {path.name} cannot be read: {error.strerror}") from None
    if len(package) > PACKAGE_MAX_BYTES:
        raise EvidenceError(f"the package {path.name} has more than {PACKAGE_MAX_BYTES} bytes")
    return package


def _opened(path: str, flags: int) -> int:
    # Without O_NONBLOCK, opening a pipe would wait for somebody to write.
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
