"""The set of installed packages as one digest, from the package manager's own database.

The database is read, and no tool is run: what a tool prints depends on who put which binary first. The
digest covers names, versions and architectures in sorted order, so that hosts with the same packages have
the same digest.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from ztsession.wire.digest import digest

__all__ = ["DATABASES", "package_set"]

_DPKG = "var/lib/dpkg/status"
_RPM = ("usr/lib/sysimage/rpm/rpmdb.sqlite", "var/lib/rpm/rpmdb.sqlite")
#: Where a package manager's database may be, below the root directory.
DATABASES = (_DPKG, *_RPM)


def package_set(root: Path) -> str:
    """Return the digest of the installed packages (hexadecimal), or ``"unknown"``."""
    try:
        if (root / _DPKG).exists():
            return _digest("dpkg", _dpkg_packages(root / _DPKG))
        for name in _RPM:
            if (root / name).exists():
                return _digest("rpm", _rpm_packages(root / name))
    except (OSError, ValueError):
        return "unknown"
    return "unknown"


def _digest(manager: str, packages: Iterable[str]) -> str:
    lines = sorted(packages)
    if not lines:
        raise ValueError("no package is installed, which cannot be")
    return digest(
        "posture packages", manager.encode("ascii"), *(line.encode("utf-8") for line in lines)
    ).hex()


def _dpkg_packages(status: Path) -> Iterable[str]:
    """Return ``name=version/architecture`` for each package that is fully installed (deb-control(5))."""
    fields: dict[str, str] = {}
    with status.open(encoding="utf-8") as source:
        for line in source:
            if not line.strip():
                yield from _dpkg_installed(fields)
                fields = {}
            elif not line[0].isspace():
                name, _, value = line.partition(":")
                fields[name.lower()] = value.strip()
    yield from _dpkg_installed(fields)


def _dpkg_installed(fields: dict[str, str]) -> Iterable[str]:
    # "want flag status", for example "install ok installed" or "deinstall ok config-files".
    if fields.get("status", "").split()[-1:] == ["installed"]:
        try:
            yield f"{fields['package']}={fields['version']}/{fields['architecture']}"
        except KeyError as error:
            raise ValueError(f"an installed package has no {error} field") from None


def _rpm_packages(database: Path) -> Iterable[str]:
    """Return the digest of each installed package's header, which covers its name, version and content."""
    # Imported where it is needed: most hosts have no such database, and every client pays for imports.
    import sqlite3

    # Read as it lies, without locks or journal; a journal that is not yet folded in would be missed.
    journal = database.with_name(database.name + "-wal")
    if journal.exists() and journal.stat().st_size:
        raise ValueError("the package database is being written")
    place = f"{database.resolve().as_uri()}?mode=ro&immutable=1"
    try:
        with contextlib.closing(sqlite3.connect(place, uri=True)) as db:
            headers = [str(key) for (key,) in db.execute("SELECT key FROM Sha1header")]
            (packages,) = db.execute("SELECT count(*) FROM Packages").fetchone()
    except sqlite3.Error as error:
        raise ValueError(f"the package database cannot be read: {error}") from None
    if len(headers) != packages:
        raise ValueError("a package has no header digest")
    return headers
