"""Recovery codes: ten long codes on paper, each good for one time when everything else is lost.

The list is shown once and kept only as hashes. A slow, memory-hard hash is for secrets that people choose
and others can search; a code of 120 random bits cannot be searched at any speed, so a fast keyed hash does
as much and cannot be turned against the Authority as work (NIST SP 800-63B-4, section 3.1.2: look-up
secrets). Its key is random for each list and lies in the sealed record, beyond a copy of the database.
"""

from __future__ import annotations

import hmac
import os
import re
from base64 import b32encode
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Annotated, Final

from ztsession.errors import EvidenceError, WireError
from ztsession.identity.enrolments import Enrolments
from ztsession.mfa.codes import WRONG, CodeRecord, spend
from ztsession.mfa.protocol import FactorShown
from ztsession.mfa.rows import Rows
from ztsession.mfa.sealed import Sealer
from ztsession.wire.schema import ListOf, Message, Octets

__all__ = ["ASSURANCE", "CODES", "RecoveryEvidence", "RecoveryFactor", "RecoveryRecord", "as_typed"]

#: A look-up secret besides the identity's key: NIST SP 800-63B-4, AAL2.
ASSURANCE: Final = 2
#: Codes in a list.
CODES: Final = 10

_CODE_BYTES: Final = 15
_CODE = re.compile("[a-z2-7]{24}")


@dataclass(frozen=True)
class CodeText:
    """24 characters of base32 in lower case: 120 bits."""

    def check(self, value: object, where: str) -> None:
        """Raise :class:`WireError` unless ``value`` is such a code."""
        if type(value) is not str or _CODE.fullmatch(value) is None:
            raise WireError(f"{where}: expected 24 characters of a-z 2-7")


@dataclass(frozen=True)
class RecoveryEvidence(Message, kind="mfa.recovery", max_bytes=96):
    """One code of the list, without the hyphens it is shown with."""

    code: Annotated[str, CodeText()] = field(repr=False)


def as_typed(text: str) -> str:
    """Return a code as people type it (hyphens, blanks, capitals) in the form that evidence has."""
    return re.sub(r"[\s-]", "", text).lower()


@dataclass(frozen=True)
class RecoveryRecord(CodeRecord, kind="mfa.recovery.record", max_bytes=1024):
    """The key of a list's hashes, and the hashes of the codes that are left."""

    key: Annotated[bytes, Octets.exactly(32, or_empty=True)] = field(repr=False)
    hashes: Annotated[list[bytes], ListOf(Octets.exactly(32), CODES)] = field(repr=False)

    @property
    def enrolled(self) -> bool:
        """Whether a code is left."""
        return bool(self.hashes)

    def without(self, code: str) -> RecoveryRecord:
        """Return the record without this code; ``EvidenceError`` if it is not in the list any more."""
        shown = _hash(self.key, code)
        # Each is compared, so that time does not tell how far down the list a code stands.
        same = [hmac.compare_digest(each, shown) for each in self.hashes]
        left = [each for each, used in zip(self.hashes, same, strict=True) if not used]
        if len(left) == len(self.hashes):
            raise EvidenceError(WRONG)
        return replace(self, hashes=left)


class RecoveryFactor:
    """Makes and takes recovery codes."""

    name = "recovery"
    kind = RecoveryEvidence.kind

    def __init__(self, enrolments: Enrolments, sealer: Sealer, clock: Callable[[], float]) -> None:
        self._rows = Rows(enrolments, sealer, _EMPTY)
        self._decoy = replace(_EMPTY, key=os.urandom(32), hashes=[os.urandom(32) for _ in range(CODES)])
        self._clock = clock

    def show(self, subject: str, evidence: bytes, _binding: bytes) -> FactorShown:
        """Use up the code in ``evidence``; ``EvidenceError`` if it does not hold."""
        code = RecoveryEvidence.from_bytes(evidence).code
        spend(self._rows, subject, lambda record: record.without(code), self._decoy, self._clock)
        return FactorShown(self.name, ASSURANCE)

    def record(self, subject: str) -> RecoveryRecord:
        """What is kept of the subject."""
        return self._rows.read(subject)

    def make(self, subject: str) -> list[str]:
        """Return ten new codes, to be shown once; those of an older list hold no more."""
        codes = [b32encode(os.urandom(_CODE_BYTES)).decode().lower() for _ in range(CODES)]
        key = os.urandom(32)
        made = replace(_EMPTY, key=key, hashes=[_hash(key, code) for code in codes])
        self._rows.change(subject, lambda _: (made, None))
        return ["-".join(code[at : at + 4] for at in range(0, len(code), 4)) for code in codes]

    def remove(self, subject: str) -> bool:
        """Forget the list; False when there was none."""
        return self._rows.change(subject, lambda record: (_EMPTY, record.enrolled))

    def reset(self, subject: str) -> None:
        """Forget the wrong codes."""
        self._rows.change(subject, lambda record: (replace(record, throttling=[0, 0]), None))


def _hash(key: bytes, code: str) -> bytes:
    return hmac.digest(key, b"ztsession v1 mfa recovery " + code.encode("ascii"), "sha256")


_EMPTY = RecoveryRecord(throttling=[0, 0], key=b"", hashes=[])
