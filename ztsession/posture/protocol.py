"""What every kind of posture evidence has in common.

A verifier finds the enrolled device that evidence claims to be from, checks that this device made it for this
handshake, and returns what was measured. Whether what was measured is good is not its business: one appraiser
compares the measurements of all kinds with the operator's reference values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

__all__ = ["EVIDENCE_MAX_BYTES", "PostureProver", "PostureVerifier", "VerifiedPosture"]

#: No posture evidence is longer; checked before anything is parsed.
EVIDENCE_MAX_BYTES = 24576


@dataclass(frozen=True)
class VerifiedPosture:
    """What a device has shown: ``measurements`` as text by item, made at ``collected_at`` (Unix seconds).

    ``hardware``: the signing key is known not to leave the device's hardware (a TPM's attestation key).
    ``key``: which of ``Device.keys`` has signed.
    """

    device: str
    collected_at: int
    measurements: Mapping[str, str] = field(default_factory=dict)
    hardware: bool = False
    key: str = ""


class PostureVerifier(Protocol):
    """The Authority's side of one kind of posture evidence."""

    def verify(self, evidence: bytes, binding: bytes, nonce: bytes) -> VerifiedPosture:
        """Return what ``evidence`` shows for this binding and nonce (32 bytes each); ``EvidenceError``
        otherwise.
        """


class PostureProver(Protocol):
    """The client's side: a device that can show its state."""

    def prove(self, binding: bytes, nonce: bytes) -> bytes:
        """Measure now, and return evidence for this binding and nonce (32 bytes each)."""
