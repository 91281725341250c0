"""Entity Attestation Tokens as CWT: CBOR claims in a COSE_Sign1 (RFC 9711, RFC 8392, RFC 9052).

The attester is somebody else's, so what comes is read as a stranger's (see :mod:`ztsession.posture.cbor`), in
one form of the several that COSE has: one signature, tagged as such, over a payload that is there. The token
may say which algorithm it is signed with, but the enrolled key decides whether that is so: a token never
chooses how it is checked.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from ztsession.errors import EvidenceError, WireError
from ztsession.posture.cbor import check_labels, read_cbor
from ztsession.posture.devices import DeviceRegistry
from ztsession.posture.eat_claims import LABELS, attested, eat_nonce, enrolled_key, require_enrolled
from ztsession.posture.keys import EatKey
from ztsession.posture.protocol import EVIDENCE_MAX_BYTES, VerifiedPosture
from ztsession.wire.schema import Message, Name, Octets
from ztsession.wire.signature import SIGNATURE_BYTES, verify

__all__ = ["EatCwtEvidence", "EatCwtVerifier"]

TOKEN_MAX_BYTES = 24000

#: CBOR tags as they are written: a CWT (RFC 8392, section 6), which may be left out, and a COSE_Sign1.
_CWT_TAG, _SIGN1_TAG = b"\xd8\x3d", b"\xd2"
#: COSE header parameters (RFC 9052, section 3.1; RFC 9596) and algorithms (RFC 9053, section 2).
_ALG, _CRIT, _TYP = 1, 2, 16
_ALGORITHMS = {-7: "ES256", -8: "EdDSA"}
_TYPES = ("application/eat+cwt", 263)


@dataclass(frozen=True)
class EatCwtEvidence(Message, kind="posture.eat-cwt", max_bytes=EVIDENCE_MAX_BYTES):
    """Which device it is said to be, and its token."""

    device: Annotated[str, Name()]
    token: Annotated[bytes, Octets(TOKEN_MAX_BYTES, 1)]


class EatCwtVerifier:
    """The Authority's side: checks the token with the key that is enrolled for the device's EATs."""

    kind = EatCwtEvidence.kind

    def __init__(self, devices: DeviceRegistry, *, clock: Callable[[], float] = time.time) -> None:
        self._devices, self._clock = devices, clock

    def verify(self, evidence: bytes, binding: bytes, nonce: bytes) -> VerifiedPosture:
        """Return what the token shows for this binding and nonce (32 bytes each); ``EvidenceError``
        otherwise.
        """
        try:
            claim = EatCwtEvidence.from_bytes(evidence)
            token = _Sign1.read(claim.token)
        except WireError as error:
            raise EvidenceError(f"the posture evidence is malformed: {error}") from None
        device = self._devices.named(claim.device)
        token.check(enrolled_key(device, token.algorithm))
        enrolled = require_enrolled(device)
        return attested(_claims(token.payload), enrolled, eat_nonce(binding, nonce), self._clock())


@dataclass(frozen=True)
class _Sign1:
    """A COSE_Sign1 that was read and not yet verified."""

    algorithm: str
    protected: bytes
    payload: bytes
    signature: bytes

    @classmethod
    def read(cls, token: bytes) -> _Sign1:
        token = token.removeprefix(_CWT_TAG)
        if not token.startswith(_SIGN1_TAG):
            raise WireError("the token is no COSE_Sign1 with its tag")
        parts = read_cbor(token[len(_SIGN1_TAG) :])
        if type(parts) is not list or [type(part) for part in parts] != [bytes, dict, bytes, bytes]:
            raise WireError("the token is no COSE_Sign1 with a payload")
        protected, unprotected, payload, signature = parts
        check_labels(unprotected)
        # Nobody has signed it, so it may not say anything that would count.
        if _ALG in unprotected or _CRIT in unprotected:
            raise WireError("the token names its algorithm where nothing protects it")
        return cls(_algorithm(protected), protected, payload, signature)

    def check(self, key: EatKey) -> None:
        """Raise ``EvidenceError`` unless ``key`` signed this (RFC 9052, section 4.4)."""
        import cbor2

        signed = cbor2.dumps(["Signature1", self.protected, b"", self.payload])
        if len(self.signature) != SIGNATURE_BYTES:
            raise EvidenceError(f"the EAT's signature has {len(self.signature)} bytes")
        if not isinstance(key, EllipticCurvePublicKey):
            self._expect("EdDSA")
            verify(key.public_bytes_raw(), signed, self.signature)
            return
        self._expect("ES256")
        try:
            key.verify(_der(self.signature), signed, ECDSA(SHA256()))
        except (InvalidSignature, ValueError):
            raise EvidenceError("the EAT's signature does not hold") from None

    def _expect(self, algorithm: str) -> None:
        if self.algorithm != algorithm:
            raise EvidenceError("the EAT's algorithm is not that of the enrolled key")


def _algorithm(protected: bytes) -> str:
    header = read_cbor(protected)
    if type(header) is not dict:
        raise WireError("the token's protected header is no map")
    check_labels(header)
    if _CRIT in header:
        raise WireError("the token demands an extension that is not known here")
    if _TYP in header and header[_TYP] not in _TYPES:
        raise WireError("the token is not of the type application/eat+cwt")
    found = header.get(_ALG)
    # A bool is an int to Python, and 1.0 equals 1.
    name = _ALGORITHMS.get(found) if type(found) is int else None
    if name is None:
        raise WireError("the token's algorithm is neither ES256 nor EdDSA")
    return name


def _der(signature: bytes) -> bytes:
    # RFC 9053, section 2.1: R and S, 32 bytes each.
    middle = SIGNATURE_BYTES // 2
    return encode_dss_signature(
        int.from_bytes(signature[:middle], "big"), int.from_bytes(signature[middle:], "big")
    )


def _claims(payload: bytes) -> dict[str, Any]:
    try:
        found = read_cbor(payload)
        if type(found) is not dict:
            raise WireError("its claims are no map")
        check_labels(found)
    except WireError as error:
        raise EvidenceError(f"the EAT is malformed: {error}") from None
    return {name: found[label] for name, label in LABELS.items() if label in found}
