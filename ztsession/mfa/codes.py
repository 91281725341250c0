"""Using up a code that somebody could have guessed: count, look, and write before anything is answered.

Right or wrong, each try that is looked at ends in one durable write: the code is used up, or the failure is
counted. A try whose write fails counts as not made, and tells nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Annotated, TypeVar

from ztsession.errors import EvidenceError
from ztsession.mfa.rows import NOBODY, Rows
from ztsession.mfa.throttle import FAILURES_MAX, Throttle
from ztsession.wire.schema import Integer, Message, Row

__all__ = ["WRONG", "CodeRecord", "spend"]

#: Said of every code that does not hold, also when there is nothing it could hold for.
WRONG = "the second factor does not hold"

_log = logging.getLogger("ztsession.mfa")


@dataclass(frozen=True)
class CodeRecord(Message, kind="mfa.code.record"):
    """What is kept of a factor that shows codes: at least how often it was guessed wrongly."""

    throttling: Annotated[list[int], Row((Integer(0, FAILURES_MAX), Integer(0, 2**53)))]

    @property
    def enrolled(self) -> bool:
        """Whether a code could hold at all."""
        return False

    @property
    def throttle(self) -> Throttle:
        """The failures in a row, and the wait they have earned."""
        return Throttle(*self.throttling)


R = TypeVar("R", bound=CodeRecord)


def spend(rows: Rows[R], subject: str, use: Callable[[R], R], decoy: R, clock: Callable[[], float]) -> None:
    """Take a code once: ``use`` gives the record without it, or raises ``EvidenceError``.

    ``decoy`` is a record like any other, under which no code holds whatever ``use`` says.
    """

    def judge(record: R) -> tuple[R, tuple[CodeRecord, EvidenceError | None]]:
        if not record.enrolled:
            raise _NotEnrolledError
        after, refusal = _judge(record, use, clock())
        return after, (after, refusal)

    try:
        after, refusal = rows.change(subject, judge)
    except _NotEnrolledError:
        _refuse_as_slowly(rows, use, decoy)
        raise EvidenceError(WRONG) from None
    if after.throttle.locked:
        _log.warning("%s of %r is locked: %d wrong codes in a row", after.kind, subject, FAILURES_MAX)
    if refusal is not None:
        raise refusal


class _NotEnrolledError(Exception):
    pass


def _judge(record: R, use: Callable[[R], R], now_s: float) -> tuple[R, EvidenceError | None]:
    record.throttle.admit(now_s)
    try:
        return replace(use(record), throttling=[0, 0]), None
    except EvidenceError as refusal:
        after = record.throttle.failed(now_s)
        return replace(record, throttling=[after.failures, after.wait_until]), refusal


def _refuse_as_slowly(rows: Rows[R], use: Callable[[R], R], decoy: R) -> None:
    # The look at a code and the durable write that a wrong one costs; what comes of it is dropped (H23).
    def waste(record: R) -> tuple[R, None]:
        with suppress(EvidenceError):
            use(decoy)
        return record, None

    rows.change(NOBODY, waste)
