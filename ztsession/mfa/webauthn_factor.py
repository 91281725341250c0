"""Enrolled authenticators: several for each subject, each with a counter and the challenges it has seen.

A wrong assertion is not counted and nobody has to wait for it: it is a signature, which cannot be guessed
(NIST SP 800-63B-4, section 3.2.2, is about what can), and a count would let a stranger lock its owner out.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Final

from ztsession.errors import ConfigurationError, EvidenceError
from ztsession.identity.enrolments import Enrolments
from ztsession.mfa.codes import WRONG
from ztsession.mfa.protocol import FactorShown
from ztsession.mfa.registration import creation_options, registered
from ztsession.mfa.rows import Rows
from ztsession.mfa.sealed import Sealer
from ztsession.mfa.settings import MfaSettings
from ztsession.mfa.webauthn import (
    CHALLENGE_BYTES,
    ES256,
    Credential,
    WebAuthnEvidence,
    assurance,
    unused_after,
)
from ztsession.wire.schema import Integer, ListOf, Message, Octets

if TYPE_CHECKING:
    from fido2.webauthn import PublicKeyCredentialCreationOptions

__all__ = ["AUTHENTICATORS_MAX", "OFFER_S", "WebAuthnFactor", "WebAuthnRecord"]

#: Authenticators of one subject.
AUTHENTICATORS_MAX: Final = 8
#: How long a registration's challenge holds, in seconds.
OFFER_S: Final = 300

# The base point of P-256: a key that everybody knows, to be as busy with as with any other.
_GENERATOR: Final = bytes.fromhex(
    "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
    "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
)


@dataclass(frozen=True)
class WebAuthnRecord(Message, kind="mfa.webauthn.record", max_bytes=20480):
    """A subject's authenticators, encoded, and the challenge of a registration under way."""

    credentials: Annotated[list[bytes], ListOf(Octets(Credential.max_bytes), AUTHENTICATORS_MAX)]
    challenge: Annotated[bytes, Octets.exactly(CHALLENGE_BYTES, or_empty=True)] = field(repr=False)
    challenge_until: Annotated[int, Integer(0, 2**53)]

    @property
    def known(self) -> list[Credential]:
        """The authenticators."""
        return [Credential.from_bytes(each) for each in self.credentials]

    def having(self, credentials: list[Credential]) -> WebAuthnRecord:
        """Return the record with these authenticators."""
        return replace(self, credentials=[each.to_bytes() for each in credentials])


class WebAuthnFactor:
    """Registers authenticators and takes their assertions."""

    name = "webauthn"
    kind = WebAuthnEvidence.kind

    def __init__(
        self, enrolments: Enrolments, sealer: Sealer, settings: MfaSettings, clock: Callable[[], float]
    ) -> None:
        self._rows = Rows(enrolments, sealer, _EMPTY)
        self._settings, self._clock = settings, clock

    def show(self, subject: str, evidence: bytes, binding: bytes) -> FactorShown:
        """Use up the assertion in ``evidence``; ``EvidenceError`` if it does not hold for ``binding``."""
        shown = WebAuthnEvidence.from_bytes(evidence)

        def move(record: WebAuthnRecord) -> tuple[WebAuthnRecord, Credential]:
            known = record.known
            held = next((each for each in known if each.credential_id == shown.credential_id), None)
            # A stranger's assertion costs a verification too (H23).
            after = unused_after(held or _NOBODY, shown, binding, self._settings)
            if held is None:
                raise EvidenceError(WRONG)
            return record.having([after if each is held else each for each in known]), after

        return FactorShown(self.name, assurance(self._rows.change(subject, move)))

    def record(self, subject: str) -> WebAuthnRecord:
        """What is kept of the subject."""
        return self._rows.read(subject)

    def begin(self, subject: str) -> PublicKeyCredentialCreationOptions:
        """Start a registration, for five minutes; it replaces one under way."""
        if not self._settings.rp_id:
            raise ConfigurationError("WebAuthn: expected rp_id and origins in mfa.toml")
        challenge, until = os.urandom(CHALLENGE_BYTES), int(self._clock()) + OFFER_S

        def move(record: WebAuthnRecord) -> tuple[WebAuthnRecord, list[Credential]]:
            if len(record.credentials) == AUTHENTICATORS_MAX:
                raise ConfigurationError(f"{subject} has {AUTHENTICATORS_MAX} authenticators; remove one")
            return replace(record, challenge=challenge, challenge_until=until), record.known

        return creation_options(subject, challenge, self._settings, self._rows.change(subject, move))

    def complete(self, subject: str, attestation_object: bytes, client_data: bytes) -> str:
        """Enrol what the client made; returns its id. ``EvidenceError`` ends the registration."""

        def move(record: WebAuthnRecord) -> tuple[WebAuthnRecord, Credential | EvidenceError]:
            try:
                made = self._made(record, attestation_object, client_data)
            except EvidenceError as refusal:
                return replace(record, challenge=b"", challenge_until=0), refusal
            return replace(record, challenge=b"", challenge_until=0).having([*record.known, made]), made

        made = self._rows.change(subject, move)
        if isinstance(made, EvidenceError):
            raise made
        return made.id

    def remove(self, subject: str, credential: str | None = None) -> bool:
        """Forget one authenticator by its id, or all; False when there was none."""

        def move(record: WebAuthnRecord) -> tuple[WebAuthnRecord, bool]:
            left = [each for each in record.known if credential is not None and each.id != credential]
            return _EMPTY.having(left), len(left) < len(record.credentials)

        return self._rows.change(subject, move)

    def _made(self, record: WebAuthnRecord, attestation_object: bytes, client_data: bytes) -> Credential:
        if not record.challenge or not self._clock() <= record.challenge_until:
            raise EvidenceError("no registration was begun within the last five minutes")
        made = registered(bytes(attestation_object), bytes(client_data), record.challenge, self._settings)
        if any(each.credential_id == made.credential_id for each in record.known):
            raise EvidenceError("the authenticator is enrolled already")
        if len(record.credentials) == AUTHENTICATORS_MAX:
            raise EvidenceError(f"a subject has at most {AUTHENTICATORS_MAX} authenticators")
        return made


_NOBODY = Credential(bytes(16), ES256, _GENERATOR, 0, False, [])
_EMPTY = WebAuthnRecord(credentials=[], challenge=b"", challenge_until=0)
