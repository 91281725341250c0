"""The operator's desk beside the running Authority: second factors and TPMs are let in here.

It works on the Authority's own state, as ``ztsession mfa`` and ``ztsession device`` do, and what is enrolled
counts from the next handshake on. Nothing is restarted, and no session notices.
"""

from __future__ import annotations

import time
from pathlib import Path

from ztsession.authority.keys import AuthorityKeys
from ztsession.mfa.factors import Factors
from ztsession.mfa.settings import MfaSettings
from ztsession.posture.devices import Device, StoredDevices
from ztsession.posture.tpm_enrolment import EkFingerprint, EnrolmentRequest, PendingChallenges, begin
from ztsession.store.enrolments import SqliteEnrolments
from ztsession.store.sqlite import SqliteStore

__all__ = ["Enrolling"]


class Enrolling:
    """What an operator does for one person, and for one host."""

    def __init__(self, state: Path, policy: Path, keys: AuthorityKeys) -> None:
        self._store = SqliteStore(state / "authority.sqlite")
        self._enrolments = SqliteEnrolments(self._store)
        self._factors = Factors(self._enrolments, keys.sealing("mfa"), MfaSettings.from_directory(policy))

    def offer_totp(self, subject: str) -> str:
        """A new secret for an authenticator app, as the URI that it scans."""
        return self._factors.enrol_totp(subject).uri

    def confirm_totp(self, subject: str, code: str) -> None:
        """Put the secret in force by its first code; EvidenceError when that is wrong."""
        self._factors.confirm_totp(subject, code)

    def challenge_tpm(self, request: bytes, fingerprint: bytes) -> bytes:
        """A challenge that only the TPM with this endorsement key (SHA-256, seen at the machine) can read;
        EvidenceError when the request is another's.
        """
        asked = EnrolmentRequest.from_bytes(request)
        trust = EkFingerprint(fingerprint)
        challenge = begin(asked.device, asked.ek_public, asked.ak_public, trust, now=time.time())
        PendingChallenges(self._enrolments).keep(challenge)
        return challenge.credential

    def enrol_tpm(self, device: str, answer: bytes) -> None:
        """Enrol the key whose TPM has read the challenge; EvidenceError when it has not."""
        with self._enrolments.transaction():
            ak = PendingChallenges(self._enrolments).take(device, answer, now=time.time())
            StoredDevices(self._enrolments).enrol(Device(device, ak=ak))

    def close(self) -> None:
        """Leave the desk."""
        self._store.close()
