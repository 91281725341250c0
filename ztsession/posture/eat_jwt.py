"""Entity Attestation Tokens as JWT: JSON claims in a compact JWS (RFC 9711, RFC 7519, RFC 7515).

What makes a JWT dangerous is how much of it is left to the reader: which algorithm, which key, which of two
claims of one name. Here the enrolled key decides the algorithm, the header may name no key, and a name that
stands twice is an error. Base64 and JSON have one accepted form, so that no two texts are one token.
"""

from __future__ import annotations

import base64
import binascii
import functools
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ztsession.errors import EvidenceError, WireError
from ztsession.posture.devices import DeviceRegistry
from ztsession.posture.eat_claims import (
    DEBUG_STATES,
    LABELS,
    attested,
    eat_nonce,
    enrolled_key,
    require_enrolled,
)
from ztsession.posture.keys import EatKey
from ztsession.posture.protocol import EVIDENCE_MAX_BYTES, VerifiedPosture
from ztsession.wire.schema import Message, Name, Text

if TYPE_CHECKING:
    from joserfc.jws import JWSRegistry

__all__ = ["EatJwtEvidence", "EatJwtVerifier"]

TOKEN_MAX_BYTES = 24000
TYPE = "eat+jwt"

#: RFC 7518, RFC 8037 and RFC 9864: the second and third name the same algorithm for an Ed25519 key.
_ALGORITHMS = ("ES256", "EdDSA", "Ed25519")
_HEADER = ("alg", "typ", "kid")
_SEGMENT = re.compile("[A-Za-z0-9_-]+")
_OCTETS = ("eat_nonce", "ueid", "oemid", "hwmodel")
_CONTAINERS_MAX = 256


@dataclass(frozen=True)
class EatJwtEvidence(Message, kind="posture.eat-jwt", max_bytes=EVIDENCE_MAX_BYTES):
    """Which device it is said to be, and its token."""

    device: Annotated[str, Name()]
    token: Annotated[str, Text(TOKEN_MAX_BYTES, 1)]


class EatJwtVerifier:
    """The Authority's side: checks the token with the key that is enrolled for the device's EATs."""

    kind = EatJwtEvidence.kind

    def __init__(self, devices: DeviceRegistry, *, clock: Callable[[], float] = time.time) -> None:
        self._devices, self._clock = devices, clock

    def verify(self, evidence: bytes, binding: bytes, nonce: bytes) -> VerifiedPosture:
        """Return what the token shows for this binding and nonce (32 bytes each); ``EvidenceError``
        otherwise.
        """
        try:
            claim = EatJwtEvidence.from_bytes(evidence)
            algorithm, payload = _read(claim.token)
        except WireError as error:
            raise EvidenceError(f"the posture evidence is malformed: {error}") from None
        device = self._devices.named(claim.device)
        _check(claim.token, algorithm, enrolled_key(device, algorithm))
        enrolled = require_enrolled(device)
        return attested(_claims(payload), enrolled, eat_nonce(binding, nonce), self._clock())


def _read(token: str) -> tuple[str, bytes]:
    """Return the algorithm that the header names, and the payload."""
    segments = token.split(".")
    if len(segments) != 3:
        raise WireError("the token is no JWS of three parts")
    head, payload, _ = (_octets(segment, "the token") for segment in segments)
    header = _object(head)
    # A key or an address of one in the header is how tokens choose who has signed them.
    strange = header.keys() - set(_HEADER)
    if strange:
        raise WireError(f"the token's header has more than {', '.join(_HEADER)}")
    if header.get("typ") != TYPE:
        raise WireError(f"the token is not of the type {TYPE}")
    algorithm = header.get("alg")
    if algorithm not in _ALGORITHMS:
        raise WireError(f"the token's algorithm is none of {', '.join(_ALGORITHMS)}")
    return str(algorithm), payload


def _check(token: str, algorithm: str, key: EatKey) -> None:
    from joserfc import jws
    from joserfc.jwk import ECKey, OKPKey

    curve = isinstance(key, EllipticCurvePublicKey)
    if (algorithm == "ES256") != curve:
        raise EvidenceError("the EAT's algorithm is not that of the enrolled key")
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    try:
        public = ECKey.import_key(pem) if curve else OKPKey.import_key(pem)
        jws.deserialize_compact(token, public, registry=_registry(algorithm))
    except Exception as error:
        raise EvidenceError(f"the EAT's signature does not hold: {type(error).__name__}") from None


@functools.cache
def _registry(algorithm: str) -> JWSRegistry:
    from joserfc.jws import JWSRegistry

    class Pinned(JWSRegistry):
        """One algorithm and no other; without the warning that EdDSA has a newer name."""

        def get_alg(self, name: str) -> Any:
            if name != algorithm:
                raise ValueError("another algorithm than the one expected")
            return self.algorithms[name]

    return Pinned()


def _claims(payload: bytes) -> dict[str, Any]:
    """The claims that are read, in the shape that a CWT gives them."""
    try:
        found = _object(payload)
        claims = {name: found[name] for name in LABELS if name in found}
        for name in _OCTETS:
            # The maker may also be a number.
            if isinstance(claims.get(name), str):
                claims[name] = _octets(claims[name], name)
    except WireError as error:
        raise EvidenceError(f"the EAT is malformed: {error}") from None
    if "dbgstat" in claims:
        state = claims["dbgstat"]
        if state not in DEBUG_STATES:
            raise EvidenceError(f"dbgstat: expected one of {', '.join(DEBUG_STATES)}")
        claims["dbgstat"] = DEBUG_STATES.index(state)
    return claims


def _octets(text: str, where: str) -> bytes:
    """Base64url without padding (RFC 7515, section 2), in the one form that stands for these octets."""
    try:
        octets = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)) if _SEGMENT.fullmatch(text) else b""
    except binascii.Error:
        octets = b""
    if not octets or base64.urlsafe_b64encode(octets).rstrip(b"=") != text.encode():
        raise WireError(f"{where}: expected base64url without padding")
    return octets


def _object(data: bytes) -> dict[str, Any]:
    """The JSON object in ``data``, in which each name stands once."""
    # An upper bound of the depth, before anything recurses into it.
    if data.count(b"[") + data.count(b"{") > _CONTAINERS_MAX:
        raise WireError("JSON with a number of parts that is over the limit")
    try:
        found = json.loads(data.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise WireError("not JSON, or with a name that stands twice") from None
    if type(found) is not dict:
        raise WireError("expected a JSON object")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
