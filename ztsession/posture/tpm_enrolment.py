"""How an attestation key is let in: shown to live in a TPM that the operator has reason to trust.

A public key says nothing about where its private half lies. Two ways lead to knowing it. Credential
activation: the endorsement key (EK), which is burnt into one TPM, is trusted by its fingerprint or by its
maker's certificate, and only that TPM can answer a challenge, and only while it holds the attestation key
(AK). Or a certificate over the AK, by a CA that has done the same.

The AK must be restricted: such a key signs what the TPM itself has made, and nothing that merely looks like
it. An unrestricted key in the same TPM would sign any "quote" that the kernel makes up.

    host                          Authority's side
    EnrolmentRequest   ------>    begin(...) -> Challenge, kept
                       <------    challenge.credential
    tpm2_activatecredential
    the secret         ------>    complete(challenge, secret) -> the AK
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Protocol

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ztsession.errors import EvidenceError, WireError
from ztsession.identity.enrolments import Enrolments
from ztsession.posture.keys import PEM_MAX_BYTES
from ztsession.posture.tpm_certificates import AK_PURPOSE, CERTIFICATE_MAX_BYTES, EK_PURPOSE, certified_key
from ztsession.posture.tpm_credential import SECRET_BYTES, make_credential
from ztsession.posture.tpm_structures import STRUCTURE_MAX_BYTES, Algorithm, Attribute, Public
from ztsession.wire.schema import Integer, Message, Name, Octets, Text

__all__ = [
    "ANSWER_WITHIN_S",
    "Challenge",
    "EkCertificate",
    "EkFingerprint",
    "EkTrust",
    "EnrolmentRequest",
    "PendingChallenges",
    "ak_from_certificate",
    "begin",
    "complete",
    "ek_fingerprint",
]

#: Default: how long a challenge can be answered; files may be carried between machines by hand.
ANSWER_WITHIN_S = 3600


@dataclass(frozen=True)
class EnrolmentRequest(Message, kind="tpm-enrolment-request", max_bytes=8192):
    """What a host hands over: TPM2B_PUBLIC of its EK and AK, and the EK's certificate (DER) if it has one."""

    device: Annotated[str, Name()]
    ek_public: Annotated[bytes, Octets(STRUCTURE_MAX_BYTES, min_bytes=1)]
    ak_public: Annotated[bytes, Octets(STRUCTURE_MAX_BYTES, min_bytes=1)]
    ek_certificate: Annotated[bytes, Octets(CERTIFICATE_MAX_BYTES)] = b""


@dataclass(frozen=True)
class Challenge(Message, kind="tpm-challenge", max_bytes=8192):
    """``credential`` goes to the host; all else stays, above all ``secret``. ``expires_at``: Unix seconds."""

    device: Annotated[str, Name()]
    ak: Annotated[str, Text(PEM_MAX_BYTES, min_bytes=1)]
    credential: Annotated[bytes, Octets(STRUCTURE_MAX_BYTES, min_bytes=1)]
    secret: Annotated[bytes, Octets.exactly(SECRET_BYTES)] = field(repr=False)
    expires_at: Annotated[int, Integer(0, 2**63 - 1)]


class EkTrust(Protocol):
    """Why an endorsement key is believed to be a TPM's, and this device's."""

    def check(self, ek: Public, now: float) -> None:
        """Raise ``EvidenceError`` unless there is reason to believe it at ``now`` (Unix seconds)."""


@dataclass(frozen=True)
class EkFingerprint:
    """The operator has read it off the machine: SHA-256 of the EK's SubjectPublicKeyInfo, 32 bytes."""

    expected: bytes

    def check(self, ek: Public, now: float) -> None:
        """Raise unless it is this very key."""
        if not hmac.compare_digest(hashlib.sha256(ek.der).digest(), self.expected):
            raise EvidenceError("the endorsement key has another fingerprint than was stated")


@dataclass(frozen=True)
class EkCertificate:
    """The TPM's maker says so: a certificate chain (DER, the EK's own first) to one of ``roots`` (DER).

    It tells that this is *a* TPM of that maker; that it is this device's, the operator has to know.
    """

    chain: Sequence[bytes]
    roots: Sequence[bytes]

    def check(self, ek: Public, now: float) -> None:
        """Raise unless the chain holds and certifies this key."""
        certified = certified_key(self.chain, self.roots, now, EK_PURPOSE)
        if certified != ek.key:
            raise EvidenceError("the certificate is over another endorsement key")


def ek_fingerprint(ek_public: bytes) -> bytes:
    """Return the 32 bytes that :class:`EkFingerprint` wants, of a TPM2B_PUBLIC; EvidenceError for none."""
    return hashlib.sha256(_read(ek_public, "endorsement").der).digest()


def begin(
    device: str,
    ek_public: bytes,
    ak_public: bytes,
    trust: EkTrust,
    *,
    now: float,
    within_s: int = ANSWER_WITHIN_S,
) -> Challenge:
    """Return a challenge that only the TPM with this EK can answer, and only if it has this AK.

    ``ek_public`` and ``ak_public`` are TPM2B_PUBLIC; ``now`` is in Unix seconds. ``EvidenceError`` if the EK
    is not to be trusted, or the AK is no restricted signing key that was made in its TPM and stays there.
    """
    ek, ak = _read(ek_public, "endorsement"), _read(ak_public, "attestation")
    _check_ek(ek)
    _check_ak(ak)
    trust.check(ek, now)
    secret = os.urandom(SECRET_BYTES)
    credential = make_credential(ek, ak.name, secret)
    return Challenge(device, ak.pem, credential, secret, int(now) + within_s)


def complete(challenge: Challenge, secret: bytes, *, now: float) -> str:
    """Return the AK in PEM if ``secret`` answers the challenge in time; ``EvidenceError`` otherwise."""
    # Written so that a time that is no number is refused.
    if not now < challenge.expires_at:
        raise EvidenceError("the challenge has expired; begin again")
    if not hmac.compare_digest(secret, challenge.secret):
        raise EvidenceError("the answer is not the secret of this challenge")
    return challenge.ak


def ak_from_certificate(chain: Sequence[bytes], roots: Sequence[bytes], now: float) -> str:
    """Return the certified AK in PEM; ``EvidenceError`` unless the chain holds at ``now`` (Unix seconds).

    ``chain``: DER, the AK's own first, which must be for the purpose 2.23.133.8.3. ``roots``: DER, of CAs
    that certify only what they have seen activated, for no certificate shows a key's attributes.
    """
    key = certified_key(chain, roots, now, AK_PURPOSE)
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")


class PendingChallenges:
    """The challenges that are not answered yet, one for each device, in the Authority's store."""

    def __init__(self, enrolments: Enrolments) -> None:
        self._enrolments = enrolments

    def keep(self, challenge: Challenge) -> None:
        """Keep a challenge, in place of one that the device had before."""
        with self._enrolments.transaction():
            self._enrolments.remove(Challenge.kind, challenge.device)
            self._enrolments.put(Challenge.kind, challenge.device, challenge.to_bytes(), expected=0)

    def take(self, device: str, secret: bytes, *, now: float) -> str:
        """Return the AK in PEM if ``secret`` answers the device's challenge, once; else ``EvidenceError``.

        A wrong answer leaves the challenge as it is: there are 2**256 of them.
        """
        with self._enrolments.transaction():
            found = self._enrolments.get(Challenge.kind, device)
            if found is None:
                raise EvidenceError(f"no challenge is pending for {device}; begin again")
            ak = complete(Challenge.from_bytes(found[1]), secret, now=now)
            self._enrolments.remove(Challenge.kind, device)
        return ak


def _read(public: bytes, which: str) -> Public:
    try:
        return Public.read(public)
    except WireError as error:
        raise EvidenceError(f"the {which} key is malformed: {error}") from None


def _check_ek(ek: Public) -> None:
    if not ek.has(Attribute.FIXED_TPM, Attribute.FIXED_PARENT, Attribute.RESTRICTED, Attribute.DECRYPT):
        raise EvidenceError("the endorsement key is no restricted decryption key of one TPM")
    if ek.has(Attribute.SIGN) or not ek.storage or ek.scheme != Algorithm.NULL:
        raise EvidenceError("the endorsement key is for more than protecting by AES-128-CFB")


def _check_ak(ak: Public) -> None:
    born_here = (Attribute.FIXED_TPM, Attribute.FIXED_PARENT, Attribute.SENSITIVE_DATA_ORIGIN)
    if not ak.has(*born_here):
        raise EvidenceError("the attestation key was not made in its TPM, or can leave it")
    if not ak.has(Attribute.RESTRICTED, Attribute.SIGN) or ak.has(Attribute.DECRYPT):
        raise EvidenceError(
            "the attestation key is no restricted signing key: it would sign what is no quote"
        )
    rsa = isinstance(ak.key, RSAPublicKey)
    schemes = (Algorithm.RSASSA, Algorithm.RSAPSS) if rsa else (Algorithm.ECDSA,)
    if ak.storage or ak.scheme not in schemes:
        raise EvidenceError("the attestation key signs by another scheme than ECDSA, RSASSA or RSAPSS")
