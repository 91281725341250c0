"""What is reported to the Authority by those who watch, and what it makes of all of it together.

A report changes what sessions may do, so it counts only from a source that the operator has registered, by
its key, for these kinds of signals, up to a level, and about its own segments: who takes over the gateway of
one segment must not be able to suspend the firm. Nothing of a report is looked up before its signature has
held, but for whose it claims to be.

A repeated report is a duplicate for as long as the store remembers its id, and too old afterwards.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from ztsession.bus.report import ReportAnswer, SignalReport
from ztsession.errors import AuditError, EvidenceError, StoreError
from ztsession.risk.detectors.denials import DENIALS_KIND, OPERATIONS
from ztsession.risk.detectors.lateral import LateralMovement
from ztsession.risk.detectors.settings import LOCAL, DetectorSettings
from ztsession.risk.engine import ModeChange
from ztsession.risk.signals import Signal
from ztsession.wire.signature import Signer

__all__ = ["REPORT_MAX_AGE_S", "Reports"]

#: A reporter tries again for as long as its finding lasts. Far below what the store remembers ids for.
REPORT_MAX_AGE_S: Final = 6 * 3600
#: How far a reporter's clock may run ahead.
REPORT_MAX_AHEAD_S: Final = 300
#: Who says what was correlated here.
LATERAL_SOURCE: Final = "authority:lateral-movement"
_OWED_MAX: Final = 1024

_log = logging.getLogger("ztsession.authority")


class Reports:
    """Takes reports, and correlates what they say. Thread-safe."""

    def __init__(
        self,
        take: Callable[[Signal], list[ModeChange]],
        signer: Signer,
        *,
        settings: Callable[[], DetectorSettings],
        subject_of: Callable[[bytes], str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``take`` puts a signal in force, as ``Authority.signal`` has it; ``signer`` signs answers;
        ``settings``: those in force; ``subject_of``: the subject of a session (16-byte id), "" if that is not
        known.
        """
        self._take, self._signer, self._settings = take, signer, settings
        self._subject_of, self._clock, self._lock = subject_of, clock, threading.Lock()
        self._lateral, self._lateral_by = self._made(settings()), settings()
        #: What was found and could not be stored yet.
        self._owed: OrderedDict[str, Signal] = OrderedDict()

    def answer(self, data: bytes) -> bytes:
        """Take an encoded SignalReport; the signed answer says that it is in force.

        WireError or EvidenceError for what is not to be believed, StoreError when it must be sent again.
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
        age_s = self._clock() - signal.time
        if not -REPORT_MAX_AHEAD_S <= age_s <= REPORT_MAX_AGE_S:
            raise EvidenceError(f"a report of {signal.source} is {age_s:.0f} s old")
        try:
            self.take(signal)
        except AuditError as error:
            # It is in force, which is what was asked for; whoever keeps the log must look after it.
            _log.error("a signal is not in the audit log: %s", error)
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

    # ---- Inside

    def _correlate(self, signal: Signal) -> None:
        with self._lock:
            found = self._found(signal)
            if found is not None and len(self._owed) < _OWED_MAX:
                self._owed[found.id] = found
            owed = list(self._owed.values())
        for each in owed:
            self._say(each)

    def _found(self, signal: Signal) -> Signal | None:
        settings = self._settings()
        if settings != self._lateral_by:
            # Other thresholds; what was seen before is forgotten with the old ones.
            self._lateral, self._lateral_by = self._made(settings), settings
        segment = signal.evidence.get("segment", "")
        ours = signal.source.startswith(LOCAL) or signal.source in settings.sources
        if signal.kind != DENIALS_KIND or signal.withdraws or "denied" not in signal.evidence:
            return None
        subject = signal.subject or (self._subject_of(signal.session) if signal.session else "")
        if not (ours and segment and subject):
            return None
        operations = signal.evidence.get(OPERATIONS, "").split()
        finding = self._lateral.denied(subject, segment, operations, at=signal.time)
        return None if finding is None else finding.signal(LATERAL_SOURCE, self._clock())

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
