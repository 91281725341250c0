"""All second factors of all subjects: what the Authority asks, and what an operator does.

Whatever the kind, evidence is used up durably before it is reported good, and everything that is refused is
refused in the same words and at the same cost whether the subject has such a factor or not. Nothing is kept
in memory: a restart, or a second Authority on the same file, finds every counter where it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ztsession.errors import ConfigurationError, EvidenceError, WireError
from ztsession.identity.enrolments import Enrolments
from ztsession.identity.protocol import BINDING_BYTES
from ztsession.mfa.codes import CodeRecord
from ztsession.mfa.protocol import EVIDENCE_MAX_BYTES, FactorShown
from ztsession.mfa.recovery import RecoveryFactor
from ztsession.mfa.sealed import Sealer
from ztsession.mfa.settings import MfaSettings
from ztsession.mfa.totp_factor import TotpFactor, TotpOffer
from ztsession.mfa.webauthn import assurance
from ztsession.mfa.webauthn_factor import WebAuthnFactor
from ztsession.wire.names import is_name
from ztsession.wire.schema import kind_of

if TYPE_CHECKING:
    from fido2.webauthn import PublicKeyCredentialCreationOptions

__all__ = ["Factors", "Held"]


@dataclass(frozen=True)
class Held:
    """A factor that a subject has: the id to remove it by, what it lifts to, and its state in words."""

    id: str
    assurance: int
    state: str


class Factors:
    """Takes evidence of second factors (the Authority's ``FactorVerifier``), and enrols them.

    ``sealing_key`` has 32 bytes. Every method raises ``StoreError`` when the store cannot be read or
    written, or was sealed under another key.
    """

    def __init__(
        self,
        enrolments: Enrolments,
        sealing_key: bytes,
        settings: MfaSettings,
        clock: Callable[[], float] = time.time,
    ) -> None:
        sealer = Sealer(sealing_key)
        self._webauthn = WebAuthnFactor(enrolments, sealer, settings, clock)
        self._totp = TotpFactor(enrolments, sealer, settings, clock)
        self._recovery = RecoveryFactor(enrolments, sealer, clock)
        self._by_kind = {each.kind: each for each in (self._webauthn, self._totp, self._recovery)}
        self._settings, self._clock = settings, clock

    def enrolled(self, subject: str) -> tuple[str, ...]:
        """Which factors this subject has, the strongest first, out of "webauthn", "totp", "recovery"."""
        has = {
            self._webauthn.name: bool(self._settings.rp_id and self._webauthn.record(subject).credentials),
            self._totp.name: self._totp.record(subject).enrolled,
            self._recovery.name: self._recovery.record(subject).enrolled,
        }
        return tuple(name for name, enrolled in has.items() if enrolled)

    def verify(self, subject: str, evidence: bytes, binding: bytes) -> FactorShown:
        """Take ``evidence`` of this subject for this 32-byte ``binding``, once; else ``EvidenceError``."""
        if not is_name(subject):
            raise EvidenceError("a second factor belongs to a subject")
        if len(binding) != BINDING_BYTES:
            raise EvidenceError(f"a binding has {BINDING_BYTES} bytes, not {len(binding)}")
        try:
            factor = self._by_kind.get(kind_of(evidence, max_bytes=EVIDENCE_MAX_BYTES))
            if factor is None:
                raise EvidenceError("second factors of this kind are not taken here")
            return factor.show(subject, evidence, binding)
        except WireError as error:
            raise EvidenceError(f"the evidence of a second factor is malformed: {error}") from None

    def enrol_totp(self, subject: str) -> TotpOffer:
        """Offer a one-time-code secret, to be shown once; it counts from :meth:`confirm_totp` on."""
        return self._totp.offer(_named(subject))

    def confirm_totp(self, subject: str, code: str) -> None:
        """Put the offered secret in force by its first code; ``EvidenceError`` if that is wrong or late."""
        self._totp.confirm(_named(subject), code)

    def begin_webauthn(self, subject: str) -> PublicKeyCredentialCreationOptions:
        """Start an authenticator's registration, for five minutes; returns what to ask the client for."""
        return self._webauthn.begin(_named(subject))

    def complete_webauthn(self, subject: str, attestation_object: bytes, client_data: bytes) -> str:
        """Enrol the authenticator that answered; returns its id. ``EvidenceError`` ends the registration."""
        return self._webauthn.complete(_named(subject), attestation_object, client_data)

    def recovery_codes(self, subject: str) -> list[str]:
        """Return ten new recovery codes, to be shown once; older ones hold no more."""
        return self._recovery.make(_named(subject))

    def held(self, subject: str) -> tuple[Held, ...]:
        """Every factor of a subject, for an operator to look at."""
        known = self._webauthn.record(_named(subject)).known
        totp, recovery = self._totp.record(subject), self._recovery.record(subject)
        found = [Held(each.id, assurance(each), f"{each.counter} on its counter") for each in known]
        if totp.enrolled:
            found.append(Held("totp", 2, f"{totp.profile}, {self._throttling(totp)}"))
        if recovery.enrolled:
            found.append(Held("recovery", 2, f"{len(recovery.hashes)} left, {self._throttling(recovery)}"))
        return tuple(found)

    def remove(self, subject: str, factor: str) -> bool:
        """Forget "totp", "recovery", "webauthn" (all) or one authenticator's id; False if there was none."""
        if factor.startswith("webauthn:"):
            return self._webauthn.remove(_named(subject), factor)
        for each in (self._webauthn, self._totp, self._recovery):
            if factor == each.name:
                return each.remove(_named(subject))
        raise ConfigurationError("factor: expected totp, recovery, webauthn or the id of an authenticator")

    def reset(self, subject: str) -> None:
        """Forget the wrong codes that were counted against a subject: it may try again at once."""
        self._totp.reset(_named(subject))
        self._recovery.reset(subject)

    def _throttling(self, record: CodeRecord) -> str:
        throttle = record.throttle
        if throttle.locked:
            return "locked"
        waits = "waiting" if self._clock() < throttle.wait_until else "open"
        return f"{waits}, {throttle.failures} wrong codes in a row"


def _named(subject: str) -> str:
    if not is_name(subject):
        raise ConfigurationError("subject: expected 1 to 128 characters from A-Z a-z 0-9 . _ : / @ -")
    return subject
