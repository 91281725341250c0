"""What a device says about itself, signed with the device's key for one handshake.

The measurements are the device's own word: whoever owns its kernel can lie. What the signature gives is
that the word comes from an enrolled device, was made for this handshake and this client key (so it cannot
be borrowed from another device, H20), answers this nonce, and carries the time at which it was collected
(H19).
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Annotated

from ztsession.errors import EvidenceError, WireError
from ztsession.posture.devices import DeviceRegistry
from ztsession.posture.keys import fingerprint, statement_key
from ztsession.posture.protocol import VerifiedPosture
from ztsession.wire.digest import digest
from ztsession.wire.schema import Integer, MapOf, Message, Name, Octets, Text
from ztsession.wire.signature import SeedSigner, Signed, public_key

__all__ = ["NONCE_BYTES", "PostureStatement", "StatementVerifier", "sign_statement"]

NONCE_BYTES = 32

_LABEL = "posture statement"
_NOT_ITS_OWN = ("debug", "disabled")


@dataclass(frozen=True)
class PostureStatement(Message, kind="posture-statement", max_bytes=16384):
    """One device's measurements. ``collected_at`` is in Unix seconds by the device's clock."""

    device: Annotated[str, Name()]
    collected_at: Annotated[int, Integer(0, 2**63 - 1)]
    nonce: Annotated[bytes, Octets.exactly(NONCE_BYTES)]
    measurements: Annotated[dict[str, str], MapOf(Text(64, min_bytes=1), Text(256), 32)]

    @property
    def believed(self) -> dict[str, str]:
        """The measurements, but for a word that software cannot give for itself: that nobody debugs it."""
        return {name: said for name, said in self.measurements.items() if (name, said) != _NOT_ITS_OWN}


def sign_statement(statement: PostureStatement, device_seed: bytes, binding: bytes) -> bytes:
    """Return the evidence: the statement and the device's signature over it and the binding."""
    return Signed.make(SeedSigner(device_seed), _LABEL, statement.to_bytes(), binding).to_bytes()


class StatementVerifier:
    """The Authority's side: checks the signature with the key that is enrolled for the device."""

    kind = Signed.kind

    def __init__(self, devices: DeviceRegistry) -> None:
        self._devices = devices

    def verify(self, evidence: bytes, binding: bytes, nonce: bytes) -> VerifiedPosture:
        """Return what an enrolled device stated for this binding and nonce; ``EvidenceError`` otherwise."""
        signed, statement = _read(evidence)
        device = self._devices.named(statement.device)
        key = None if device is None else device.public_key
        # A stranger costs one verification too, so that time does not tell which devices are enrolled (H23).
        signed.check(_NO_DEVICE if key is None else key, _LABEL, binding)
        if key is None:
            raise EvidenceError("the device is not enrolled with a key for statements")
        if not hmac.compare_digest(statement.nonce, nonce):
            raise EvidenceError("the posture evidence answers another nonce")
        signer = fingerprint(statement_key(key))
        return VerifiedPosture(statement.device, statement.collected_at, statement.believed, key=signer)


_NO_DEVICE = public_key(digest("no device"))


def _read(evidence: bytes) -> tuple[Signed, PostureStatement]:
    try:
        signed = Signed.from_bytes(evidence)
        return signed, PostureStatement.from_bytes(signed.body)
    except WireError as error:
        raise EvidenceError(f"the posture evidence is malformed: {error}") from None
