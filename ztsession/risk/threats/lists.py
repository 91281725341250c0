"""All lists together, as they are in force; what matches, and how others take their place.

    lists = ThreatLists.read(Path("policy"), now=time.time())
    lists.match(addresses=["198.51.100.7"], programs=[digest])

Lists come from outside and change by the hour, and some day one of them is half written, empty or gone. It
would be a fine way in if that made the firm forget who is bad. So a list that cannot be read leaves what it
said before in force, and is told; the others are taken. Only at the very first reading is there nothing to
fall back on, and it raises.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ztsession.errors import ConfigurationError
from ztsession.risk.levels import Level
from ztsession.risk.threats.entries import ADDRESSES, KEYS, PACKAGES, PROGRAMS, Entries
from ztsession.risk.threats.lines import read_csv, read_text
from ztsession.risk.threats.settings import SETTINGS_FILE, ListSettings, read_settings
from ztsession.risk.threats.stix import STIX_MAX_BYTES, Bundle, read_stix
from ztsession.wire.operator_file import read_bytes

__all__ = ["LIST_MAX_BYTES", "Match", "ThreatList", "ThreatLists"]

#: 2 million digests, a line each.
LIST_MAX_BYTES: Final = 1 << 27

#: What changes when a file is written or exchanged; None when it cannot be looked at.
_Look = tuple[int, int, int, int] | None


@dataclass(frozen=True, slots=True)
class Match:
    """One entry of one list that was met; ``of``: "addresses", "keys", "programs" or "packages"."""

    list: str
    source: str
    level: Level
    of: str
    entry: str


@dataclass(frozen=True, slots=True)
class ThreatList:
    """One list as it was read; ``not_understood`` counts what a STIX bundle says and nobody here can see."""

    settings: ListSettings
    entries: Entries
    not_understood: int = 0
    #: When time alone changes what it says (Unix seconds).
    changes_at: float = math.inf
    look: _Look = field(default=None, compare=False)

    def found(self, of: str, values: Iterable[str]) -> list[Match]:
        """What of these it lists."""
        at = self.settings
        return [Match(at.name, at.source, at.level, of, e) for e in self.entries.found(of, values)]


@dataclass(frozen=True, slots=True)
class ThreatLists:
    """The lists in force, by name. Never changed: reading again gives others."""

    lists: Mapping[str, ThreatList] = field(default_factory=dict)
    settings: Mapping[str, ListSettings] = field(default_factory=dict)
    #: Why some are still what they were, or missing: by name.
    failed: Mapping[str, ConfigurationError] = field(default_factory=dict)

    @classmethod
    def read(cls, directory: Path, *, now: float, before: ThreatLists | None = None) -> ThreatLists:
        """Read the lists of a policy directory at ``now`` (Unix seconds).

        With ``before``, what has not changed since is kept, and so is what cannot be read (see ``failed``);
        without, that raises. ConfigurationError names file, line and what was expected; of ``threats.toml``
        itself in any case.
        """
        lists, failed = dict[str, ThreatList](), dict[str, ConfigurationError]()
        wanted = read_settings(directory)
        for name, settings in wanted.items():
            old = None if before is None else before.lists.get(name)
            try:
                lists[name] = _read(settings, now, old)
            except ConfigurationError as error:
                if before is None:
                    raise
                failed[name] = error
                if old is not None:
                    lists[name] = old
        return cls(lists, wanted, failed)

    def match(
        self,
        *,
        addresses: Iterable[str] = (),
        keys: Iterable[str] = (),
        programs: Iterable[str] = (),
        packages: Iterable[str] = (),
    ) -> list[Match]:
        """Every list that has one of these, with the entry: addresses in any spelling, the rest in
        hexadecimal. Microseconds, however long the lists are.
        """
        asked = ((ADDRESSES, addresses), (KEYS, keys), (PROGRAMS, programs), (PACKAGES, packages))
        given = [(of, tuple(values)) for of, values in asked]
        return [
            match for each in self.lists.values() for of, values in given for match in each.found(of, values)
        ]

    def holds(self, name: str, of: str, entry: str) -> bool:
        """Whether a list still has an entry that was met once."""
        found = self.lists.get(name)
        return found is not None and found.entries.holds(of, entry)

    @property
    def changes_at(self) -> float:
        """When time alone changes what they say: read them again then (Unix seconds)."""
        return min((each.changes_at for each in self.lists.values()), default=math.inf)

    def look(self, directory: Path) -> tuple[_Look, ...]:
        """What is another when the settings, or the file of a list, was written or exchanged."""
        paths = [directory / SETTINGS_FILE, *(each.path for each in self.settings.values())]
        return tuple(map(_look, paths))


def _look(path: Path) -> _Look:
    try:
        at = os.stat(path)
    except OSError:
        return None
    return at.st_size, at.st_ino, at.st_mtime_ns, at.st_ctime_ns


def _read(settings: ListSettings, now: float, old: ThreatList | None) -> ThreatList:
    # Looked at before it is read: should it change in between, it is read once more than needed.
    seen = _look(settings.path)
    if old is not None and old.settings == settings and old.look == seen and now < old.changes_at:
        return old
    bundle = _READERS[settings.format](settings, now)
    return ThreatList(settings, bundle.entries, bundle.not_understood, bundle.changes_at, seen)


def _read_text(settings: ListSettings, _now: float) -> Bundle:
    data = read_bytes(settings.path, max_bytes=LIST_MAX_BYTES)
    return Bundle(read_text(data, settings.of, file=str(settings.path)))


def _read_csv(settings: ListSettings, _now: float) -> Bundle:
    data = read_bytes(settings.path, max_bytes=LIST_MAX_BYTES)
    return Bundle(read_csv(data, settings.of, settings.column, file=str(settings.path)))


def _read_stix(settings: ListSettings, now: float) -> Bundle:
    data = read_bytes(settings.path, max_bytes=STIX_MAX_BYTES)
    try:
        return read_stix(data, file=str(settings.path), now=now)
    except ImportError:
        needed = "expected another format, or ztsession[stix] to be installed"
        raise ConfigurationError(needed, file=str(settings.path)) from None


_READERS: Final[Mapping[str, Callable[[ListSettings, float], Bundle]]] = {
    "text": _read_text,
    "csv": _read_csv,
    "stix": _read_stix,
}
