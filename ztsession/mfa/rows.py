"""One sealed record for each subject and kind of factor, changed by compare-and-set alone.

A code that two threads or two processes show at once must work once. So nothing is answered from what was
read: the change that uses the code up is written on the condition that the record is still the one that was
judged, and whoever loses judges again, with the code used up.

A record is never deleted, only emptied. Its revision would begin anew with the next enrolment, and a slow
writer that judged the old record could then put it back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from ztsession.errors import StoreError, WireError
from ztsession.identity.enrolments import Enrolments
from ztsession.mfa.sealed import Sealer
from ztsession.wire.schema import Message

__all__ = ["NOBODY", "Rows"]

#: The name of a record that belongs to no subject: no subject's name is empty.
NOBODY = ""

_TRIES = 100

R = TypeVar("R", bound=Message)
T = TypeVar("T")


class Rows(Generic[R]):
    """The records of one kind; ``empty`` is what a subject without one is judged by."""

    def __init__(self, enrolments: Enrolments, sealer: Sealer, empty: R) -> None:
        self._enrolments, self._sealer, self._empty = enrolments, sealer, empty
        self._kind = empty.kind
        self._nobody = self._seal(NOBODY, empty)

    def read(self, subject: str) -> R:
        """Return the subject's record; ``StoreError`` if it cannot be read."""
        return self._read(subject)[1]

    def change(self, subject: str, move: Callable[[R], tuple[R, T]]) -> T:
        """Write what ``move`` makes of the record, durably, and return the other thing it gives.

        ``move`` is called again when somebody else was faster; what it raises leaves the record as it was.
        """
        for _ in range(_TRIES):
            revision, record = self._read(subject)
            after, told = move(record)
            if self._enrolments.put(self._kind, subject, self._seal(subject, after), expected=revision):
                return told
        raise StoreError(f"{self._kind} of {subject!r}: changed by others {_TRIES} times in a row")

    def _read(self, subject: str) -> tuple[int, R]:
        found = self._enrolments.get(self._kind, subject)
        if found is None:
            # Opened all the same, so that time does not tell who has enrolled (H23).
            return 0, self._open(NOBODY, self._nobody)
        return found[0], self._open(subject, found[1])

    def _seal(self, subject: str, record: R) -> bytes:
        return self._sealer.seal(self._kind, subject, record.to_bytes())

    def _open(self, subject: str, sealed: bytes) -> R:
        try:
            return self._empty.from_bytes(self._sealer.open(self._kind, subject, sealed))
        except WireError:
            # Sealed by us, but by a program of another version.
            raise StoreError(f"{self._kind} of {subject!r}: not a record of this version") from None
