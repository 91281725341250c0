"""Enrolled one-time codes: a secret that counts once a first code has shown that it arrived.

A secret that was shown but never typed into an app would lock its owner out, so until then the old one
stays. The code that confirms is used up like any other.
"""

from __future__ import annotations

import os
from base64 import b32encode
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Annotated, Final

from ztsession.errors import EvidenceError, WireError
from ztsession.identity.enrolments import Enrolments
from ztsession.mfa.codes import CodeRecord, spend
from ztsession.mfa.protocol import FactorShown
from ztsession.mfa.rows import Rows
from ztsession.mfa.sealed import Sealer
from ztsession.mfa.settings import MfaSettings, TotpProfile
from ztsession.mfa.totp import TotpEvidence, matched_step, secret_bytes, uri
from ztsession.wire.schema import Integer, Octets, OneOf

__all__ = ["ASSURANCE", "PENDING_S", "TotpFactor", "TotpOffer", "TotpRecord"]

#: Something known or held besides the identity's key: NIST SP 800-63B-4, AAL2.
ASSURANCE: Final = 2
#: How long an offered secret waits for its first code, in seconds.
PENDING_S: Final = 600

_SECRET = Octets(64, 20, or_empty=True)
_PROFILE = OneOf(("sha1-6", "sha256-8"))
_TIME = Integer(0, 2**53)


@dataclass(frozen=True)
class TotpRecord(CodeRecord, kind="mfa.totp.record", max_bytes=1024):
    """A subject's secret and the last step used; and a secret that was offered but not confirmed."""

    secret: Annotated[bytes, _SECRET] = field(repr=False)
    profile: Annotated[TotpProfile, _PROFILE]
    last_step: Annotated[int, _TIME]
    offered: Annotated[bytes, _SECRET] = field(repr=False)
    offered_profile: Annotated[TotpProfile, _PROFILE]
    offered_until: Annotated[int, _TIME]

    @property
    def enrolled(self) -> bool:
        """Whether there is a confirmed secret."""
        return bool(self.secret)

    def without(self, code: str, now_s: float) -> TotpRecord:
        """Return the record with this code used up; ``EvidenceError`` if it does not hold."""
        return replace(self, last_step=matched_step(code, self.secret, self.profile, now_s, self.last_step))


@dataclass(frozen=True)
class TotpOffer:
    """A new secret to show once: as ``otpauth`` URI, and in base32 for typing."""

    uri: str = field(repr=False)
    secret: str = field(repr=False)


class TotpFactor:
    """Offers, confirms and takes one-time codes."""

    name = "totp"
    kind = TotpEvidence.kind

    def __init__(
        self, enrolments: Enrolments, sealer: Sealer, settings: MfaSettings, clock: Callable[[], float]
    ) -> None:
        self._rows = Rows(enrolments, sealer, _EMPTY)
        self._decoy = replace(_EMPTY, secret=os.urandom(20))
        self._settings, self._clock = settings, clock

    def show(self, subject: str, evidence: bytes, _binding: bytes) -> FactorShown:
        """Use up the code in ``evidence``; ``EvidenceError`` if it does not hold."""
        code = TotpEvidence.from_bytes(evidence).code
        spend(
            self._rows,
            subject,
            lambda record: record.without(code, self._clock()),
            self._decoy,
            self._clock,
        )
        return FactorShown(self.name, ASSURANCE)

    def record(self, subject: str) -> TotpRecord:
        """What is kept of the subject."""
        return self._rows.read(subject)

    def offer(self, subject: str) -> TotpOffer:
        """Make a secret that counts once :meth:`confirm` is given its code, within ten minutes."""
        profile = self._settings.totp
        secret, until = os.urandom(secret_bytes(profile)), int(self._clock()) + PENDING_S
        self._rows.change(
            subject,
            lambda record: (
                replace(record, offered=secret, offered_profile=profile, offered_until=until),
                None,
            ),
        )
        return TotpOffer(
            uri(secret, profile, subject, self._settings.issuer), b32encode(secret).decode().rstrip("=")
        )

    def confirm(self, subject: str, code: str) -> None:
        """Put the offered secret in force, in place of any older one; ``EvidenceError`` for a wrong code."""
        try:
            code = TotpEvidence(code).code
        except WireError:
            raise EvidenceError("a code has 6 or 8 digits") from None

        def move(record: TotpRecord) -> tuple[TotpRecord, None]:
            now_s = self._clock()
            if not record.offered or not now_s <= record.offered_until:
                raise EvidenceError("no secret was offered within the last ten minutes")
            taken = replace(_EMPTY, secret=record.offered, profile=record.offered_profile)
            return taken.without(code, now_s), None

        self._rows.change(subject, move)

    def remove(self, subject: str) -> bool:
        """Forget the secret and any offer; False when there was none."""
        return self._rows.change(subject, lambda record: (_EMPTY, record.enrolled))

    def reset(self, subject: str) -> None:
        """Forget the wrong codes."""
        self._rows.change(subject, lambda record: (replace(record, throttling=[0, 0]), None))


_EMPTY = TotpRecord(
    throttling=[0, 0],
    secret=b"",
    profile="sha1-6",
    last_step=0,
    offered=b"",
    offered_profile="sha1-6",
    offered_until=0,
)
