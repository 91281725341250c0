"""Threat lists at the Authority: who is in one when a session is asked for, and who is by now.

A match is a signal like any other, from the source ``list:NAME``, and what it does is in ``risk.toml``. It is
taken before anything is granted, so that whoever is listed badly enough gets nothing; and when a list
changes, every live session is held against it. What is not listed any more is taken back by the list that
said it, and by nobody else.

What was said is kept, in the store, too. So a match that an operator has settled is not said again as long as
it is the same match; a list that takes an entry back and lists it anew says it anew.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from ztsession.audit.sink import AuditSink
from ztsession.authority.judged import Basis, Standing
from ztsession.authority.told import Key, Listed, Told, read_told, told_bytes
from ztsession.errors import AuditError, ConfigurationError
from ztsession.identity.key_digests import x25519_key_digests
from ztsession.posture.devices import NO_DEVICE
from ztsession.risk.signals import Signal
from ztsession.risk.threats.lists import Match, ThreatLists
from ztsession.risk.threats.settings import read_settings
from ztsession.store.records import SessionRecord
from ztsession.store.sqlite import SqliteStore

__all__ = ["Threats"]

_STATE: Final = "threats-told"

_log = logging.getLogger("ztsession.authority")


class _Traits(NamedTuple):
    """What of a session can be in a list. Sessions that agree in all of it are one question."""

    subject: str
    device: str
    network: str
    keys: tuple[str, ...]
    program: str
    packages: str

    @classmethod
    def of(cls, subject: str, device: str, static_key: bytes, basis: Basis) -> _Traits:
        keys = (*basis.key_digests, *x25519_key_digests(static_key))
        measured = basis.measured
        return cls(
            subject,
            device,
            basis.network,
            keys,
            measured.get("program", ""),
            measured.get("packages", ""),
        )


class Threats:
    """Holds the lists in force, and says what they match. Thread-safe: it holds the Authority's lock."""

    def __init__(
        self,
        store: SqliteStore,
        audit: AuditSink,
        *,
        signal: Callable[[Signal], object],
        device_keys: Callable[[str], tuple[str, ...]],
        lock: threading.RLock,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``signal`` takes a signal; ``device_keys`` gives the digests of a device's keys by its name."""
        self._store, self._audit, self._signal, self._device_keys = store, audit, signal, device_keys
        self._lock, self._clock = lock, clock
        self._directory: Path | None = None
        self._traits: dict[bytes, _Traits] = {}
        self._told = read_told(store.get_state(_STATE) or b"")
        #: What was said is not what the store has.
        self._owed = False
        self._reloading = threading.Lock()
        self._again_at = math.inf
        #: The lists in force.
        self.lists = ThreatLists()

    # ---- Lists

    def begin(self, directory: Path, lists: ThreatLists) -> None:
        """Put the first lists in force, which came from this policy directory, for the sessions of before."""
        self._directory = directory
        self._adopt(lists)

    def check(self) -> None:
        """ConfigurationError if ``threats.toml`` is wrong; that is told."""
        if self._directory is not None:
            try:
                read_settings(self._directory)
            except ConfigurationError as error:
                self._refuse(error)
                raise

    def reload(self) -> None:
        """Read what has changed of the lists. One that cannot be read stays what it was, and that is told.

        ConfigurationError: ``threats.toml`` is wrong, and all lists are what they were. StoreError: some
        match could not be said; call again. AuditError: the lists are in force, and the log does not say so.
        """
        if self._directory is None:
            return
        with self._reloading:
            try:
                lists = ThreatLists.read(self._directory, now=self._clock(), before=self.lists)
            except ConfigurationError as error:
                self._refuse(error)
                raise
            for failed in lists.failed.values():
                self._refuse(failed)
            self._adopt(lists)

    def look(self) -> object:
        """What is another when :meth:`reload` is worth calling."""
        if self._directory is None:
            return None
        return self._clock() >= self._again_at, self.lists.look(self._directory)

    # ---- Sessions; whoever calls these holds the Authority's lock

    def before(self, standing: Standing) -> Standing:
        """Say what matches of a client that is about to be granted something. Raises as a signal does."""
        if not self.lists.lists:
            return standing
        judged = standing.judged
        subject, device = judged.identity.subject, judged.device
        traits = _Traits.of(subject, device, standing.static_key, Basis.of(standing))
        self._say({each.key: each for each in self._listed([traits])})
        return standing

    def add(self, record: SessionRecord, basis: Basis) -> None:
        """A session lives."""
        self._traits[record.id] = _Traits.of(record.subject, record.device, record.static_key, basis)

    def remove(self, session: bytes) -> None:
        """A session is over."""
        self._traits.pop(session, None)

    # ---- Inside

    def _adopt(self, lists: ThreatLists) -> None:
        with self._lock:
            changed = lists.lists != self.lists.lists
            # Whoever is granted something from here on was held against these.
            self.lists, live = lists, list(self._traits.values()) if lists.lists else []
            # What has changed by now was read; a list that could not be read must not be tried without end.
            self._again_at = lists.changes_at if lists.changes_at > self._clock() else math.inf
        # Not under the lock: a hundred thousand sessions take seconds, and nobody should wait for that.
        found = {each.key: each for each in self._listed(_each_once(live))}
        with self._lock:
            found = self._still_listed() | found
            gone = [key for key in self._told if key not in found]
        self._say(found, gone)
        if changed:
            self._tell(lists)

    def _listed(self, each_traits: Iterable[_Traits]) -> list[Listed]:
        return [listed for traits in each_traits for listed in self._of(traits)]

    def _of(self, traits: _Traits) -> Iterable[Listed]:
        match, subject, device = self.lists.match, ("subject", traits.subject), ("device", traits.device)
        for met in match(addresses=[traits.network]) if traits.network else ():
            yield _listed(met, ("network", met.entry))
        for met in match(keys=traits.keys):
            yield _listed(met, subject)
        if traits.device == NO_DEVICE:
            return
        programs, packages = [traits.program], [traits.packages]
        for met in match(keys=self._device_keys(traits.device), programs=programs, packages=packages):
            yield _listed(met, device)

    def _still_listed(self) -> dict[Key, Listed]:
        """What was said and holds still, whether or not anybody of that name is connected."""
        found = {}
        for key, told in self._told.items():
            name = told.listed.source.partition(":")[2]
            if self.lists.holds(name, told.listed.of, told.listed.entry):
                level = self.lists.lists[name].settings.level
                found[key] = told.listed._replace(level=level)
        return found

    def _say(self, found: Mapping[Key, Listed], gone: Iterable[Key] = ()) -> None:
        """Signal what is new in ``found``, and take back what is ``gone``."""
        unrecorded: AuditError | None = None
        try:
            for key in [*gone, *found]:
                # One by one: a decision may pass between two of them.
                with self._lock:
                    for signal in self._settle(key, found.get(key)):
                        unrecorded = self._take(signal) or unrecorded
        finally:
            self._keep()
        if unrecorded is not None:
            raise unrecorded

    def _settle(self, key: Key, listed: Listed | None) -> Iterator[Signal]:
        """What there is to say of a target, in its order; what was said is noted when that is done."""
        told = self._told.get(key)
        if told is not None and listed is not None and told.listed.level == listed.level:
            self._owed = self._owed or told.listed != listed
            self._told[key] = told._replace(listed=listed)
            return
        # A worse level needs no withdrawal, and leaves no moment at which nothing is said.
        if told is not None and (listed is None or listed.level < told.listed.level):
            yield told.withdrawal(self._clock())
            del self._told[key]
            self._owed = True
        if listed is not None:
            fresh = Told(listed, os.urandom(16).hex())
            yield fresh.signal(self._clock())
            self._told[key] = fresh
            self._owed = True

    def _take(self, signal: Signal) -> AuditError | None:
        try:
            self._signal(signal)
        except AuditError as error:
            return error  # it is in force, and the others have to be
        return None

    def _keep(self) -> None:
        # After the signals: one that was said and is not noted is said again, and does no harm.
        with self._lock:
            if self._owed:
                self._store.put_state(_STATE, told_bytes(self._told))
                self._owed = False

    def _tell(self, lists: ThreatLists) -> None:
        self._audit.record(
            "threats.reloaded",
            lists={name: len(each.entries) for name, each in sorted(lists.lists.items())},
            not_understood={
                name: each.not_understood for name, each in sorted(lists.lists.items()) if each.not_understood
            },
            failed=sorted(lists.failed),
        )

    def _refuse(self, error: ConfigurationError) -> None:
        _log.error("a threat list was not taken: %s", error)
        try:
            self._audit.record("threats.refused", cause=str(error)[:512])
        except AuditError as unrecorded:
            _log.error("that a threat list was refused is not in the audit log: %s", unrecorded)


def _each_once(many: Iterable[_Traits]) -> Iterator[_Traits]:
    # In steps: made in one go, a set of a hundred thousand keeps every other thread waiting.
    seen = set[_Traits]()
    for each in many:
        if each not in seen:
            seen.add(each)
            yield each


def _listed(met: Match, target: tuple[str, str]) -> Listed:
    return Listed(met.source, met.level, met.of, met.entry, *target)
