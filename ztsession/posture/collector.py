"""Measurements of a Linux host: kernel, Secure Boot, disk encryption, packages, running program, debugger.

Each function looks at one thing below a root directory and returns a word or a digest. Whatever cannot be
read, or is not understood, is ``"unknown"``; nothing here ever concludes "good" from an absence. The
appraisal is elsewhere, on the Authority's side: a device reports, it does not judge itself.
"""

from __future__ import annotations

import functools
import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

from ztsession.posture.debugger import tracer
from ztsession.posture.disk import disk_encryption
from ztsession.posture.packages import package_set
from ztsession.wire.digest import digest

__all__ = [
    "DISABLED",
    "ENABLED",
    "UNKNOWN",
    "collect",
    "debug_state",
    "disk_encryption",
    "kernel_release",
    "package_set",
    "program_digest",
    "secure_boot",
]

UNKNOWN = "unknown"
ENABLED = "enabled"
DISABLED = "disabled"

_EFI_VARIABLES = "sys/firmware/efi/efivars"
_EFI_GLOBAL = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
_SHIM = "605dab50-e046-4300-abb6-3dd810dd8b23"
_MEASUREMENT_BYTES_MAX = 256


def collect(root: Path = Path("/"), *, program: tuple[Path, ...] | None = None) -> dict[str, str]:
    """Return all measurements of the host whose files stand below ``root``.

    ``program`` names the files that make up the running program; by default the interpreter and the main
    script.
    """
    return {
        "kernel": kernel_release(root),
        "secure_boot": secure_boot(root),
        "disk_encryption": disk_encryption(root),
        "packages": package_set(root),
        "program": program_digest(*(running_program() if program is None else program)),
        "debug": debug_state(root),
    }


def _unknown_if_unreadable(measure: Callable[[Path], str]) -> Callable[[Path], str]:
    @functools.wraps(measure)
    def guarded(root: Path) -> str:
        try:
            return measure(root)
        except (OSError, ValueError):
            return UNKNOWN

    return guarded


@_unknown_if_unreadable
def kernel_release(root: Path) -> str:
    """Return the running kernel's release, as ``uname -r`` says it."""
    release = (root / "proc/sys/kernel/osrelease").read_text("ascii").strip()
    return release if 0 < len(release) <= _MEASUREMENT_BYTES_MAX else UNKNOWN


@_unknown_if_unreadable
def secure_boot(root: Path) -> str:
    """Return whether the firmware, and the shim after it, verified what was booted (UEFI 2.10, 3.3)."""
    variables = root / _EFI_VARIABLES
    if _efi_flag(variables / f"SecureBoot-{_EFI_GLOBAL}") == 0:
        return DISABLED
    # In setup mode anybody may enrol keys, and shim can be told to let everything through.
    for name in (f"SetupMode-{_EFI_GLOBAL}", f"MokSBStateRT-{_SHIM}"):
        if (variables / name).exists() and _efi_flag(variables / name) != 0:
            return DISABLED
    return ENABLED


def _efi_flag(path: Path) -> int:
    # efivarfs gives four bytes of attributes, then the value.
    content = path.read_bytes()
    if len(content) != 5 or content[4] not in (0, 1):
        raise ValueError("not a boolean EFI variable")
    return content[4]


def debug_state(root: Path) -> str:
    """Return ``"enabled"`` while somebody traces a thread of this process (ptrace(2)), else ``"unknown"``."""
    # That nobody does is for somebody else to say: a debugger would have it say so.
    return ENABLED if tracer(root) else UNKNOWN


def running_program() -> tuple[Path, ...]:
    """Return the interpreter and, if there is one, the main script."""
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    return tuple(Path(name) for name in (sys.executable, main) if name)


def program_digest(*files: Path) -> str:
    """Return, in hexadecimal, the labelled digest of the SHA-256 of each file in order."""
    try:
        digests = []
        for file in files:
            with file.open("rb") as source:
                digests.append(hashlib.file_digest(source, "sha256").digest())
    except OSError:
        return UNKNOWN
    return digest("posture program", *digests).hex() if digests else UNKNOWN
