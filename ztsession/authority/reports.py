"""What is reported to the Authority by those who watch, and what it makes of all of it together.

A report changes what sessions may do, so it counts only from a source that the operator has registered, by
its key, for these kinds of signals, up to a level, and about its own segments' sessions: who takes over the
gateway of one segment must not be able to suspend the firm. Nothing of a report is looked up before its
signature has held, but for whose it claims to be.

A repeated report is a duplicate for as long as the store remembers its id, and too old afterwards. Each one
that is new is written durably while others wait, so a source may have so many taken in a second and no more.
Who only carries reports must not use that up: what was taken lately is answered again and counted once.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from ztsession.authority.gate import Rates
from ztsession.bus.report import ReportAnswer, SignalReport
from ztsession.errors import AuditError, ConfigurationError, EvidenceError, Overloaded, StoreError
from ztsession.policy.catalog import Segment
from ztsession.policy.grant import Grant
from ztsession.risk.detectors.denials import DENIALS_KIND, OPERATIONS
from ztsession.risk.detectors.lateral import LateralMovement
from ztsession.risk.detectors.settings import LOCAL, DetectorSettings, Source
from ztsession.risk.engine import ModeChange
from ztsession.risk.levels import Level
from ztsession.risk.signals import Signal
from ztsession.store.records import SessionRecord
from ztsession.wire.signature import Signer

__all__ = ["PER_SOURCE_PER_S", "REPORT_MAX_AGE_S", "Reports"]

#: A reporter tries again for as long as its finding lasts. Far below what the store remembers ids for.
REPORT_MAX_AGE_S: Final = 6 * 3600
#: How far a reporter's clock may run ahead.
REPORT_MAX_AHEAD_S: Final = 300
#: Who says what was correlated here.
LATERAL_SOURCE: Final = "authority:lateral-movement"
LATERAL_KIND: Final = "lateral-movement"
_OWED_MAX: Final = 1024
#: A desk of a thousand that does the same wrong at once is reported within ten seconds.
PER_SOURCE_PER_S: Final = 100
_LATELY_MAX: Final = 4096

_log = logging.getLogger("ztsession.authority")


class Reports:
    """Takes reports, and correlates what they say. Thread-safe."""

    def __init__(
        self,
        take: Callable[[Signal], list[ModeChange]],
        signer: Signer,
        *,
        settings: Callable[[], DetectorSettings],
        session: Callable[[bytes], SessionRecord | None],
        segment: Callable[[str], Segment],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``take`` puts a signal in force, as ``Authority.signal`` has it; ``signer`` signs answers;
        ``settings``: those in force; ``session``: a session by its id (16 bytes), or the one that it goes on
        in by now; ``segment``: one of the catalog, ConfigurationError if there is none of this name.
        """
        self._take, self._signer, self._settings = take, signer, settings
        self._session, self._segment = session, segment
        self._clock, self._lock = clock, threading.Lock()
        self._lateral, self._lateral_by = self._made(settings()), settings()
        self._rates, self._lately = Rates(PER_SOURCE_PER_S), OrderedDict[bytes, None]()
        #: What was found and could not be stored yet.
        self._owed: OrderedDict[str, Signal] = OrderedDict()

    def answer(self, data: bytes) -> bytes:
        """Take an encoded SignalReport; the signed answer says that it is in force.

        WireError or EvidenceError for what is not to be believed, Overloaded or StoreError when it must be
        sent again.
        """
        report = SignalReport.from_bytes(data)
        signal = Signal.from_bytes(report.signal)
        source = self._settings().sources.get(signal.source)
        if source is None:
            raise EvidenceError("a report is from a source that is not registered")
        report.check(source.public_key)
        if not source.allows(signal):
            raise EvidenceError(
                f"source {source.name} may not say {signal.kind} of {signal.level.name} there"
            )
        if signal.session and not self._is_in(signal.session, signal.evidence["segment"]):
            raise EvidenceError(f"source {source.name} speaks of a session that has nothing in its segment")
        age_s = self._clock() - signal.time
        if not -REPORT_MAX_AHEAD_S <= age_s <= REPORT_MAX_AGE_S:
            raise EvidenceError(f"a report of {signal.source} is {age_s:.0f} s old")
        if self._is_new(report, source):
            try:
                self.take(signal)
            except AuditError as error:
                # It is in force, which is what was asked for; whoever keeps the log must look after it.
                _log.error("a signal is not in the audit log: %s", error)
            self._note(report)
        return ReportAnswer(report.name).sign(self._signer)

    def take(self, signal: Signal) -> list[ModeChange]:
        """Put a signal in force, and see what it says together with others; as ``Authority.signal``."""
        try:
            changes = self._take(signal)
        except AuditError:
            self._correlate(signal)
            raise
        self._correlate(signal)
        return changes

    def settled(self, kind: str, target: tuple[str, str]) -> None:
        """An operator settled ``kind`` against a target: what led to it is to be seen no more."""
        if (kind, target[0]) == (LATERAL_KIND, "subject"):
            with self._lock:
                self._lateral.forget(target[1])

    # ---- Inside

    def _is_new(self, report: SignalReport, source: Source) -> bool:
        with self._lock:
            if report.name in self._lately:
                return False
            if not self._rates.take(source.name.encode(), time.monotonic()):
                raise Overloaded(f"source {source.name} reports more than {PER_SOURCE_PER_S} a second")
        return True

    def _note(self, report: SignalReport) -> None:
        with self._lock:
            self._lately[report.name] = None
            if len(self._lately) > _LATELY_MAX:
                self._lately.popitem(last=False)

    def _correlate(self, signal: Signal) -> None:
        with self._lock:
            found = self._found(signal)
            if found is not None and len(self._owed) < _OWED_MAX:
                self._owed[found.id] = found
            owed = list(self._owed.values())
        for each in owed:
            self._say(each)

    def _is_in(self, session: bytes, segment: str) -> bool:
        record = self._session(session)
        # Of one that nobody knows, whatever is said hits nobody.
        return record is None or segment in {Grant.from_bytes(grant).segment for grant in record.grants}

    def _found(self, signal: Signal) -> Signal | None:
        settings = self._settings()
        if settings != self._lateral_by:
            # Other thresholds; what was seen before is forgotten with the old ones.
            self._lateral, self._lateral_by = self._made(settings), settings
        source, segment = settings.sources.get(signal.source), signal.evidence.get("segment", "")
        ours = signal.source.startswith(LOCAL) or source is not None
        if signal.kind != DENIALS_KIND or signal.withdraws or "denied" not in signal.evidence:
            return None
        subject = signal.subject or self._subject_of(signal.session)
        if not (ours and segment and subject):
            return None
        finding = self._lateral.denied(
            subject,
            segment,
            self._operations(signal, segment),
            at=signal.time,
            by=signal.source,
            most=source.highest if source is not None else Level.CRITICAL,
        )
        return None if finding is None else finding.signal(LATERAL_SOURCE, self._clock())

    def _subject_of(self, session: bytes) -> str:
        record = self._session(session) if session else None
        return "" if record is None else record.subject

    def _operations(self, signal: Signal, segment: str) -> list[str]:
        """Those that there are: else a source could fill the memory with names of its own."""
        named = signal.evidence.get(OPERATIONS, "").split()
        try:
            there_are = {operation.full_name for operation in self._segment(segment).operations}
        except ConfigurationError:
            return []
        return [name for name in named if name in there_are]

    def _say(self, signal: Signal) -> None:
        try:
            self._take(signal)
        except StoreError as error:
            _log.error("lateral movement of %s is not in force yet: %s", signal.subject, error)
            return
        except AuditError as error:
            _log.error("a signal is not in the audit log: %s", error)
        with self._lock:
            self._owed.pop(signal.id, None)

    def _made(self, settings: DetectorSettings) -> LateralMovement:
        return LateralMovement(
            segments=settings.lateral_segments,
            operations=settings.lateral_operations,
            within_s=settings.lateral_within_s,
            level=settings.lateral_level,
            clock=self._clock,
        )
