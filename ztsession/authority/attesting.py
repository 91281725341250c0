"""Continuous posture at the Authority: what got worse is a signal, and so is silence.

A device that shows itself again may show something worse than before. What it asks for then is judged by the
policies, as ever; but the same device has other sessions, and the keys of this one are still good. So what
got worse is said against the device, and every session of it has to show what is there now.

A device in bad hands need not show itself at all. So a session is only as good as its posture is fresh: when
nothing has come for as long as posture may be old, and for a grace, that is said against the session. The
next posture that holds takes it back, whenever it was asked for: what was missed is there.
"""

from __future__ import annotations

import heapq
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from ztsession.authority.judged import MEASURED, Basis, Standing
from ztsession.errors import AuditError, SessionEnded
from ztsession.posture.devices import NO_DEVICE
from ztsession.posture.items import BAD, GOOD, ITEMS, UNKNOWN
from ztsession.risk.engine import RiskEngine
from ztsession.risk.levels import Level, Mode
from ztsession.risk.signals import Signal
from ztsession.store.records import SessionRecord
from ztsession.store.sqlite import SqliteStore

__all__ = ["DRIFT", "GRACE_S", "RETURN_S", "SILENCE", "SILENT_PER_TICK", "SOURCE", "Attesting", "worse"]

DRIFT, SILENCE = "posture-drift", "posture-silence"
#: Who says both.
SOURCE: Final = "appraiser"
#: After the time for which posture is good: a renewal that is under way is no silence.
GRACE_S: Final = 30
#: After an Authority began: nobody could show anything while it was away. Keepers try twice in that time.
RETURN_S: Final = 60
#: Each is written durably before the next, and whoever asks for changes waits for that.
SILENT_PER_TICK: Final = 32
#: Most of what is looked at was renewed in time.
LOOKED_AT_PER_TICK: Final = 1024

#: Devices of which it is remembered what was said; of others it may be said twice.
SAID_MAX: Final = 10_000

_BETTER: Final = (GOOD, UNKNOWN, BAD)
#: Whoever is inside the program has its keys.
_INSIDE: Final = ("program", "debug")
_EVIDENCE_MAX: Final = 8


class Attesting:
    """Compares what devices show, and waits for it. Not thread-safe: the Authority holds its lock."""

    def __init__(
        self,
        store: SqliteStore,
        risk: RiskEngine,
        *,
        signal: Callable[[Signal], object],
        max_age_s: Callable[[], int],
        lock: threading.RLock,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``max_age_s``: how old posture may be by the rules in force; ``lock``: the Authority's own."""
        self._store, self._risk, self._signal = store, risk, signal
        self._max_age_s, self._lock, self._clock = max_age_s, lock, clock
        self._began_at = clock()
        #: When each session that is on a device was heard of last.
        self._heard: dict[bytes, int] = {}
        #: (when silence is too long, session); some of them are over by then, or were heard of.
        self._due: list[tuple[float, bytes]] = []
        self._used_s = max_age_s()
        #: By device, what was said of it last: words and digests that are worse than others before.
        self._said: dict[str, dict[str, tuple[str, str]]] = {}

    # ---- Sessions; whoever calls these holds the Authority's lock

    def before(self, standing: Standing) -> Standing:
        """Look at what a client shows that is about to be granted something. Raises as a signal does."""
        old = self._goes_on_from(standing)
        if old is None:
            return standing
        mark = self._risk.mark()
        self._hear(old.id, standing)
        before, now = Basis.from_bytes(old.basis), Basis.of(standing)
        found = worse(before, now)
        if not self._is_said(old.device, found, now):
            self._signal(self._drift(old.device, found))
            self._say(old.device, found, now)
        return self._answering(standing, mark)

    def add(self, record: SessionRecord, basis: Basis) -> None:
        """A session lives."""
        if record.device == NO_DEVICE:
            return
        # A file of an earlier version does not say; posture was shown when it was granted, or before.
        self._expect(record.id, min(basis.posture_at or record.started_at, int(self._clock())))

    def remove(self, session: bytes) -> None:
        """A session is over."""
        self._heard.pop(session, None)
        if len(self._due) > 4 * len(self._heard) + 256:
            self._wait_anew()

    # ---- Time

    def tick(self) -> None:
        """Say of some of those that were silent for too long that they are; does not wait while something
        else is being decided.

        StoreError: some of it could not be said, and is with the next call. AuditError: it is in force.
        """
        # Points ask, also while a change is told to them: to wait for who tells it could be for ever.
        if not self._lock.acquire(blocking=False):
            return
        try:
            if self._used_s != self._max_age_s():
                self._wait_anew()
            self._say_who_is_silent()
        finally:
            self._lock.release()

    # ---- Inside: what got worse

    def _goes_on_from(self, standing: Standing) -> SessionRecord | None:
        """The session that this one goes on from, if it is this very client's on this very device."""
        wanted = standing.session or standing.supersedes
        old = self._store.get_session(wanted) if wanted else None
        # Nobody speaks against another's device by naming its session.
        who = (standing.judged.identity.subject, standing.judged.device, standing.static_key)
        if old is None or not old.basis or (old.subject, old.device, old.static_key) != who:
            return None
        return None if old.device == NO_DEVICE else old

    def _is_said(self, device: str, found: Mapping[str, str], now: Basis) -> bool:
        """Whether all that was ``found`` was said of a device, and nothing else was shown since.

        Every session of it shows the same, one after the other. Were it said each time, the first ones would
        have to begin anew for each of the others.
        """
        said = self._said.get(device, {})
        if any(_shown(now, item) != value for item, value in said.items()):
            del self._said[device]
            said = {}
        return all(said.get(item) == _shown(now, item) for item in found)

    def _say(self, device: str, found: Mapping[str, str], now: Basis) -> None:
        shown = {item: _shown(now, item) for item in found}
        self._said[device] = self._said.pop(device, {}) | shown
        if len(self._said) > SAID_MAX:
            del self._said[next(iter(self._said))]

    def _answering(self, standing: Standing, mark: int) -> Standing:
        """What was said since ``mark`` was said of this very evidence, which is judged by the policies: it
        answers that, as if it had been asked for afterwards, unless others have said something meanwhile.
        """
        now = self._risk.mark()
        if standing.session:
            return replace(standing, mark=now) if standing.mark == mark else standing
        return replace(standing, mark=now, first_mark=now) if standing.first_mark == mark else standing

    def _drift(self, device: str, found: Mapping[str, str]) -> Signal:
        level = Level.HIGH if any(item in found for item in _INSIDE) else Level.MEDIUM
        told = dict(list(found.items())[:_EVIDENCE_MAX])
        return Signal(os.urandom(16).hex(), DRIFT, level, SOURCE, self._clock(), device=device, evidence=told)

    # ---- Inside: silence

    def _hear(self, session: bytes, standing: Standing) -> None:
        at = min(standing.judged.appraisal.collected_at, int(self._clock()))
        if self._was_silent(session):
            over = f"{session.hex()}.{at}.over"
            self._signal(
                Signal(over, SILENCE, Level.MEDIUM, SOURCE, self._clock(), session=session, withdraws=True)
            )
        if session in self._heard:
            # Should nothing be granted, it is waited for again.
            self._expect(session, at)

    def _was_silent(self, session: bytes) -> bool:
        try:
            said = self._risk.session(session).unresolved
        except SessionEnded:
            return False
        return any((each.signal.kind, each.signal.source) == (SILENCE, SOURCE) for each in said)

    def _expect(self, session: bytes, heard_at: int) -> None:
        self._heard[session] = heard_at
        heapq.heappush(self._due, (self._due_at(heard_at), session))

    def _due_at(self, heard_at: int) -> float:
        due = heard_at + self._used_s + GRACE_S
        return max(due, self._began_at + RETURN_S) if heard_at < self._began_at else due

    def _wait_anew(self) -> None:
        # What is waited for changes with the rules; and what is over before its time must not pile up (D6).
        self._used_s = self._max_age_s()
        self._due = [(self._due_at(at), session) for session, at in self._heard.items()]
        heapq.heapify(self._due)

    def _say_who_is_silent(self) -> None:
        now, said, unrecorded = self._clock(), 0, None
        for _ in range(LOOKED_AT_PER_TICK):
            if said == SILENT_PER_TICK or not self._due or self._due[0][0] > now:
                break
            due, session = heapq.heappop(self._due)
            if not self._is_waited_for(due, session):
                continue
            said += 1
            try:
                self._signal(self._silence(session))
            except AuditError as error:
                unrecorded = error  # it is in force
            except BaseException:
                heapq.heappush(self._due, (due, session))
                raise
        if unrecorded is not None:
            raise unrecorded

    def _is_waited_for(self, due: float, session: bytes) -> bool:
        at = self._heard.get(session)
        if at is None or self._due_at(at) != due:
            return False
        record = self._store.get_session(session)
        # In the overlap of a renewal it is the new session that is waited for: a signal against the old one
        # hits that, too.
        return record is not None and record.superseded_by is None and record.mode != Mode.REVOKED

    def _silence(self, session: bytes) -> Signal:
        at = self._heard[session]
        told = {"heard": f"{max(0, int(self._clock()) - at)} s ago"}
        name = f"{session.hex()}.{at}"
        return Signal(name, SILENCE, Level.MEDIUM, SOURCE, self._clock(), session=session, evidence=told)


def _shown(basis: Basis, item: str) -> tuple[str, str]:
    return basis.posture.get(item, UNKNOWN), basis.measured.get(item, "")


def worse(before: Basis, now: Basis) -> dict[str, str]:
    """What is worse ``now`` than ``before``, as "good -> bad" by item: a word, or a digest of something that
    the reference does not know.
    """
    found = {}
    for item in ITEMS:
        was, is_ = before.posture.get(item, UNKNOWN), now.posture.get(item, UNKNOWN)
        if _BETTER.index(is_) > _BETTER.index(was):
            found[item] = f"{was} -> {is_}"
    for item in MEASURED:
        was, is_ = before.measured.get(item, UNKNOWN), now.measured.get(item, UNKNOWN)
        # What was not known before cannot have changed.
        if was not in (is_, UNKNOWN) and now.posture.get(item, UNKNOWN) != GOOD:
            found[item] = f"{was[:64]} -> {is_[:64]}"
    return found
