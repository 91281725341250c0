"""Posture by a TPM quote: registers that the host's own kernel cannot rewrite, signed by a key that it does
not hold.

A statement that is signed by a key in a file says what the kernel wants it to say. Here the boot registers
(PCRs) are signed inside the TPM, by an attestation key that signs nothing else, and what is signed covers
the handshake, the posture nonce and the host's own statement. So the quote cannot be borrowed from another
device (H20), kept for later (H19), or shown in another handshake (H1, H2).

What it does not give: everything in the statement itself is still the word of the kernel. But the registers
say which kernel it is.

Order matters. The signature is checked before anything that it covers is read, by an algorithm that follows
from the enrolled key, and a signature that does not hold ends the matter: a verifier that only noted it and
went on has been somebody's vulnerability (CVE-2023-3674).
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from ztsession.errors import EvidenceError, WireError
from ztsession.posture.devices import Device, DeviceRegistry
from ztsession.posture.event_log import replay
from ztsession.posture.keys import attestation_key, fingerprint
from ztsession.posture.protocol import EVIDENCE_MAX_BYTES, VerifiedPosture
from ztsession.posture.statement import NONCE_BYTES, PostureStatement
from ztsession.posture.tpm_structures import PCRS, STRUCTURE_MAX_BYTES, Algorithm, Quote, Signature
from ztsession.wire import canonical
from ztsession.wire.digest import digest
from ztsession.wire.schema import Integer, ListOf, Message, Name, Octets, Row

__all__ = ["EVENTS_MAX", "EVENT_LOG", "PCR_PREFIX", "TpmEvidence", "TpmVerifier", "qualifying_data"]

#: So many events of the boot log fit; firmware makes 50 to 200 in the registers that matter.
EVENTS_MAX = 400
#: The measurements that only the quote may give: "pcr.<index>", and the digest of the event log.
PCR_PREFIX, EVENT_LOG = "pcr.", "event_log"

_PCR = Row((Integer(0, PCRS - 1), Octets.exactly(32)))


@dataclass(frozen=True)
class TpmEvidence(Message, kind="posture.tpm", max_bytes=EVIDENCE_MAX_BYTES):
    """A quote, what it is made over, and the values that it signs the digest of.

    ``statement``: an encoded :class:`PostureStatement`. ``attest``: TPMS_ATTEST. ``signature``:
    TPMT_SIGNATURE. ``pcrs``: rows of register and SHA-256 value, ascending. ``events``: rows of register and
    SHA-256 digest, in the order in which the firmware extended them.
    """

    device: Annotated[str, Name()]
    # What is left when everything else is as long as it may be.
    statement: Annotated[bytes, Octets(6000, min_bytes=1)]
    attest: Annotated[bytes, Octets(STRUCTURE_MAX_BYTES, min_bytes=1)]
    signature: Annotated[bytes, Octets(STRUCTURE_MAX_BYTES, min_bytes=1)]
    pcrs: Annotated[list[list[Any]], ListOf(_PCR, PCRS, min_items=1)]
    events: Annotated[list[list[Any]], ListOf(_PCR, EVENTS_MAX)]


def qualifying_data(binding: bytes, nonce: bytes, statement: bytes) -> bytes:
    """Return the 32 bytes that a quote for this binding, nonce and encoded statement must carry."""
    return digest("posture tpm", binding, nonce, statement)


class TpmVerifier:
    """The Authority's side: checks quotes with the attestation keys of the enrolled devices."""

    kind = TpmEvidence.kind

    def __init__(self, devices: DeviceRegistry, *, clock: Callable[[], float] = time.time) -> None:
        """``clock`` is taken as by every verifier and not looked at: a quote has no time but its nonce, and
        the age of the statement is for the appraiser.
        """
        self._devices = devices

    def verify(self, evidence: bytes, binding: bytes, nonce: bytes) -> VerifiedPosture:
        """Return what ``evidence`` shows for this binding and nonce (32 bytes each); ``EvidenceError``
        otherwise.
        """
        try:
            claim = TpmEvidence.from_bytes(evidence)
            device = self._signer(claim)
            quoted = _check_quote(claim, qualifying_data(binding, nonce, claim.statement))
            statement = PostureStatement.from_bytes(claim.statement)
        except WireError as error:
            raise EvidenceError(f"the TPM evidence is malformed: {error}") from None
        _check_statement(statement, device, nonce)
        measurements = {**statement.believed, **quoted, **_check_events(claim)}
        key = fingerprint(attestation_key(device.ak or ""))
        return VerifiedPosture(device.name, statement.collected_at, measurements, hardware=True, key=key)

    def _signer(self, claim: TpmEvidence) -> Device:
        device = self._devices.named(claim.device)
        pem = None if device is None else device.ak
        # A stranger costs one verification too, so that time does not tell which devices are enrolled (H23).
        key = _nobody() if pem is None else attestation_key(pem)
        _check_signature(key, Signature.read(claim.signature), claim.attest)
        if device is None or pem is None:
            raise EvidenceError("the device is not enrolled with a TPM's attestation key")
        return device


def _check_signature(
    key: ec.EllipticCurvePublicKey | RSAPublicKey, signature: Signature, signed: bytes
) -> None:
    try:
        if isinstance(key, RSAPublicKey):
            _check_rsa(key, signature, signed)
        else:
            _check_ecdsa(key, signature, signed)
    except InvalidSignature:
        raise EvidenceError("the TPM's signature does not hold") from None


def _check_ecdsa(key: ec.EllipticCurvePublicKey, signature: Signature, signed: bytes) -> None:
    if signature.algorithm != Algorithm.ECDSA:
        raise EvidenceError("the enrolled attestation key makes no such signature: expected ECDSA on P-256")
    r, s = (int.from_bytes(part, "big") for part in signature.parts)
    key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(SHA256()))


def _check_rsa(key: RSAPublicKey, signature: Signature, signed: bytes) -> None:
    # The key says RSA and no more; both paddings are sound, and no signature fits both.
    schemes: Mapping[Algorithm, padding.AsymmetricPadding] = {
        Algorithm.RSASSA: padding.PKCS1v15(),
        # A TPM takes as much salt as fits, in FIPS mode as much as a digest has (Part 1, B.7).
        Algorithm.RSAPSS: padding.PSS(padding.MGF1(SHA256()), padding.PSS.AUTO),
    }
    scheme = schemes.get(signature.algorithm)
    if scheme is None or len(signature.parts[0]) != key.key_size // 8:
        raise EvidenceError("the enrolled attestation key makes no such signature: expected RSA of its size")
    key.verify(signature.parts[0], signed, scheme, SHA256())


def _check_quote(claim: TpmEvidence, qualifying: bytes) -> dict[str, str]:
    quote = Quote.read(claim.attest)
    if not hmac.compare_digest(quote.extra_data, qualifying):
        raise EvidenceError("the quote was made for another handshake, nonce or statement")
    if tuple(index for index, _ in claim.pcrs) != quote.pcrs:
        raise EvidenceError("the quote is over other registers than those reported")
    values = hashlib.sha256(b"".join(value for _, value in claim.pcrs)).digest()
    if not hmac.compare_digest(quote.pcr_digest, values):
        raise EvidenceError("the quote is over other values of the registers than those reported")
    return {f"{PCR_PREFIX}{index}": value.hex() for index, value in claim.pcrs}


def _check_statement(statement: PostureStatement, device: Device, nonce: bytes) -> None:
    if statement.device != device.name:
        raise EvidenceError("the statement in the TPM evidence is another device's")
    if len(nonce) != NONCE_BYTES or not hmac.compare_digest(statement.nonce, nonce):
        raise EvidenceError("the statement in the TPM evidence answers another nonce")
    if any(name.startswith((PCR_PREFIX, EVENT_LOG)) for name in statement.measurements):
        raise EvidenceError("the statement claims measurements that only the TPM can give")


def _check_events(claim: TpmEvidence) -> dict[str, str]:
    if not claim.events:
        return {}
    values = dict(claim.pcrs)
    for index, value in replay((pcr, event) for pcr, event in claim.events).items():
        if index not in values:
            raise EvidenceError(f"the event log touches PCR {index}, which is not quoted")
        if value != values[index]:
            raise EvidenceError(f"the event log does not replay to the quoted value of PCR {index}")
    return {EVENT_LOG: digest("posture event log", canonical.encode(claim.events)).hex()}


@functools.cache
def _nobody() -> ec.EllipticCurvePublicKey:
    # Its private key lies in plain sight: it only keeps the verifier as busy as any other.
    return ec.derive_private_key(int.from_bytes(digest("no device"), "big") >> 1, ec.SECP256R1()).public_key()
