"""What every second factor has in common: it is shown for one handshake, used up, and worth something.

Unlike an identity, a factor changes when it is used: a code must not work twice, a counter must grow. So to
verify is to consume, durably, before anything is granted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

__all__ = ["EVIDENCE_MAX_BYTES", "FactorShown", "FactorVerifier", "MfaProver"]

#: No evidence of a second factor is longer; checked before anything is parsed.
EVIDENCE_MAX_BYTES = 8192


@dataclass(frozen=True)
class FactorShown:
    """A second factor that held and is used up. ``factor``: "totp", "webauthn" or "recovery".

    ``assurance`` is the NIST SP 800-63B-4 level, 2 or 3, that it lifts a proven identity to.
    """

    factor: str
    assurance: int


class FactorVerifier(Protocol):
    """The Authority's side of second factors."""

    def enrolled(self, subject: str) -> tuple[str, ...]:
        """Which factors this subject has, for example ("totp", "recovery")."""

    def verify(self, subject: str, evidence: bytes, binding: bytes) -> FactorShown:
        """Take ``evidence`` of this subject for this 32-byte ``binding``, once; else ``EvidenceError``."""


class MfaProver(Protocol):
    """The client's side: somebody who can show a second factor."""

    def prove(self, binding: bytes, factors: Sequence[str]) -> bytes:
        """Return evidence for this 32-byte ``binding`` by one of ``factors``, b"" if none can be shown."""
