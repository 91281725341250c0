"""The lease: until when a point may trust what it knows, and what became of that so far.

The lease is what bounds a revocation in the worst of all networks, so it is a figure that can be read,
alarmed at, and audited: when it was lost, and for how long. It comes back by itself with the next answer.
Each loss is an entry, and so is its end. But a line that flaps must not fill the audit log: after some losses
in a row entries begin at most once a minute, and say how many are missing.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import Final

from ztsession._core import Table
from ztsession.audit.sink import AuditSink
from ztsession.errors import AuditError

__all__ = ["CHECK_US", "Lease", "LeaseKeeper"]

#: One check: a call looks at the coarse clock, which ticks at least a hundred times a second.
CHECK_US: Final = 10_000
#: So many losses are told in the audit log one after the other; each is to be had again after that time.
_ENTRIES_MAX, _ENTRIES_APART_US = 8, 60_000_000

_log = logging.getLogger("ztsession.enforcement")


@dataclass(frozen=True, slots=True)
class Lease:
    """One reading, all in microseconds of session time.

    ``length_us``: how long an answer lasts. ``heard_us_ago``: since the question was asked that was answered
    last; None if none was. ``remaining_us``: 0 when it is over. ``stale``: whether it is, so that operations
    do what their class says. ``lost``: how often it was lost so far. ``longest_silence_us``: the longest time
    between two answers, or since the last.
    """

    length_us: int
    heard_us_ago: int | None
    remaining_us: int
    stale: bool
    lost: int
    longest_silence_us: int

    @property
    def bound_us(self) -> int:
        """How long after a change an operation that needs the lease can be accepted at most, whatever the
        network does: the lease and one check. One with ``stale`` in the catalog has that time more.
        """
        return self.length_us + CHECK_US


class LeaseKeeper:
    """Keeps the lease of one table. Thread-safe."""

    def __init__(self, segment: str, table: Table, length_us: int, audit: AuditSink) -> None:
        self._segment, self._table, self._length_us, self._audit = segment, table, length_us, audit
        self._lock = threading.Lock()
        self._heard_us: int | None = None
        self._longest_us, self._lost = 0, 0
        #: Since when it is lost, and whether the audit log says so.
        self._lost_us: int | None = None
        self._told = False
        self._untold = 0
        #: How many may be told, and when that was counted.
        self._entries, self._counted_us = float(_ENTRIES_MAX), table.now_us()
        # Nothing was heard yet, so nothing is trusted yet.
        table.set_lease(0)

    def extend(self, asked_us: int) -> None:
        """A complete answer came to a question of this session time."""
        self.check()
        with self._lock:
            now_us = self._table.now_us()
            silent_us = 0 if self._heard_us is None else now_us - self._heard_us
            self._longest_us = max(self._longest_us, silent_us)
            self._heard_us = max(asked_us, self._heard_us or 0)
            self._table.set_lease(max(asked_us + self._length_us, self._table.lease_deadline_us))
            if self._lost_us is None or now_us > self._table.lease_deadline_us:
                return
            told, stale_us = self._told, now_us - self._lost_us
            self._lost_us, self._told = None, False
        if told:
            self._tell_recovered(silent_us / 1e6, stale_us / 1e6)

    def check(self) -> None:
        """Note that the lease is over, if it is."""
        with self._lock:
            now_us, deadline_us = self._table.now_us(), self._table.lease_deadline_us
            if self._heard_us is None or now_us <= deadline_us:
                return
            if self._lost_us is None:
                self._lost_us = deadline_us
                self._lost += 1
                self._untold += 1
            if self._told or not self._may_tell(now_us):
                return
            since_us, untold = now_us - self._heard_us, self._untold - 1
            self._told, self._untold, self._entries = True, 0, self._entries - 1
        self._tell_lost(since_us / 1e6, untold)

    def read(self) -> Lease:
        """How it stands now."""
        with self._lock:
            now_us, deadline_us = self._table.now_us(), self._table.lease_deadline_us
            silent_us = None if self._heard_us is None else now_us - self._heard_us
            stale = now_us > deadline_us
            unseen = stale and silent_us is not None and self._lost_us is None
            return Lease(
                length_us=self._length_us,
                heard_us_ago=silent_us,
                remaining_us=max(0, deadline_us - now_us),
                stale=stale,
                lost=self._lost + unseen,
                longest_silence_us=max(self._longest_us, silent_us or 0),
            )

    def begin_anew_for_testing_only(self) -> None:
        """As if nothing had been heard yet: for a clock that a test has only now begun to move."""
        with self._lock:
            self._heard_us, self._lost_us = None, None
            self._longest_us = self._lost = self._untold = 0
            self._told = False
            self._entries, self._counted_us = float(_ENTRIES_MAX), self._table.now_us()
            self._table.set_lease(0)

    def _may_tell(self, now_us: int) -> bool:
        again = max(0, now_us - self._counted_us) / _ENTRIES_APART_US
        self._entries, self._counted_us = min(_ENTRIES_MAX, self._entries + again), now_us
        return self._entries >= 1

    # The lease does what it does, written or not.

    def _tell_lost(self, silent_s: float, untold: int) -> None:
        try:
            self._audit.record(
                "point.stale", segment=self._segment, lost=self._lost, silent_s=silent_s, untold=untold
            )
        except AuditError as error:
            _log.error("that segment %s is stale is not in the audit log: %s", self._segment, error)

    def _tell_recovered(self, silent_s: float, stale_s: float) -> None:
        try:
            self._audit.record(
                "point.recovered", segment=self._segment, lost=self._lost, silent_s=silent_s, stale_s=stale_s
            )
        except AuditError as error:
            _log.error("that segment %s has recovered is not in the audit log: %s", self._segment, error)
