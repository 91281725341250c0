"""What a device says about itself, signed with the device's key for one handshake.

The measurements are the device's own word: whoever owns its kernel can lie. What the signature gives is
that the word comes from an enrolled device, was made for this handshake and this client key (so it cannot
be borrowed from another device, H20), answers this nonce, and carries the time at which it was collected
(H19).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from ztsession.errors import EvidenceError, WireError
from ztsession.wire.schema import Integer, MapOf, Message, Name, Octets, Text
from ztsession.wire.signature import SeedSigner, Signed

__all__ = ["NONCE_BYTES", "Claim", "PostureStatement", "sign_statement"]

NONCE_BYTES = 32

_LABEL = "posture statement"


@dataclass(frozen=True)
class PostureStatement(Message, kind="posture-statement", max_bytes=16384):
    """One device's measurements. ``collected_at`` is in Unix seconds by the device's clock."""

    device: Annotated[str, Name()]
    collected_at: Annotated[int, Integer(0, 2**63 - 1)]
    nonce: Annotated[bytes, Octets.exactly(NONCE_BYTES)]
    measurements: Annotated[dict[str, str], MapOf(Text(64, min_bytes=1), Text(256), 32)]


def sign_statement(statement: PostureStatement, device_seed: bytes, binding: bytes) -> bytes:
    """Return the evidence: the statement and the device's signature over it and the binding."""
    return Signed.make(SeedSigner(device_seed), _LABEL, statement.to_bytes(), binding).to_bytes()


@dataclass(frozen=True)
class Claim:
    """Evidence that was read and not yet verified: good for finding the key of the device that it names."""

    device: str
    _statement: PostureStatement
    _signed: Signed

    @classmethod
    def read(cls, evidence: bytes) -> Claim:
        """Read the evidence, once; ``EvidenceError`` if it is malformed."""
        try:
            signed = Signed.from_bytes(evidence)
            statement = PostureStatement.from_bytes(signed.body)
        except WireError as error:
            raise EvidenceError(f"the posture evidence is malformed: {error}") from None
        return cls(statement.device, statement, signed)

    def verified(self, device_public: bytes, binding: bytes) -> PostureStatement:
        """Return the statement if this device signed it for this ``binding``; ``EvidenceError`` otherwise."""
        self._signed.check(device_public, _LABEL, binding)
        return self._statement
