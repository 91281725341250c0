"""WebAuthn assertions (W3C Web Authentication Level 3, section 7.2), with the handshake as challenge.

The authenticator signs the 32-byte binding together with the origin that asked, so an assertion is worth
nothing in another handshake, behind another certificate or through a look-alike page. That makes it the one
second factor here that cannot be phished.

Structures are parsed by fido2; what is decided about them is decided here, because what a library checks
for a web server is not all of it: origins are compared whole and not by suffix, user verification is not
optional, the challenge is remembered as used, and the signature counter must grow: one that does not is the
mark of a cloned authenticator. An authenticator without a counter sends 0 for ever, and then the used
challenge alone refuses a second showing.

A credential that may be copied between devices (backup eligible) is only as good as the account it is synced
through: assurance 2. One that stays in its device, unlocked by its owner, is a multi-factor cryptographic
authenticator: 3 (NIST SP 800-63B-4, sections 3.1.7 and B.1). That it stays there is the authenticator's own
word, since attestation is not asked for.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import urlsafe_b64encode
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Final

from ztsession.errors import EvidenceError
from ztsession.mfa.settings import MfaSettings
from ztsession.wire import signature as ed25519
from ztsession.wire.schema import Flag, Integer, ListOf, Message, Octets

if TYPE_CHECKING:
    from fido2.webauthn import AuthenticatorData

__all__ = [
    "CHALLENGE_BYTES",
    "EDDSA",
    "ES256",
    "Credential",
    "WebAuthnEvidence",
    "assurance",
    "authenticator_data",
    "check_client_data",
    "check_flags",
    "unused_after",
]

CHALLENGE_BYTES: Final = 32
#: COSE algorithm identifiers (RFC 9053, section 2); no others are taken.
ES256: Final = -7
EDDSA: Final = -8

#: A binding lives for one handshake; that many later ones have been shown before it is forgotten.
_REMEMBERED: Final = 16

_CREDENTIAL_ID = Octets(1023, 16)
_CLIENT_DATA_MAX: Final = 2048


@dataclass(frozen=True)
class WebAuthnEvidence(Message, kind="mfa.webauthn", max_bytes=4608):
    """What an authenticator answers, as the WebAuthn client gives it; ``signature`` is DER for ES256."""

    credential_id: Annotated[bytes, _CREDENTIAL_ID]
    authenticator_data: Annotated[bytes, Octets(1024, 37)]
    client_data: Annotated[bytes, Octets(_CLIENT_DATA_MAX, 2)]
    signature: Annotated[bytes, Octets(128, 8)]


@dataclass(frozen=True)
class Credential(Message, kind="mfa.webauthn.credential", max_bytes=2048):
    """An enrolled authenticator: its public key, and what was last seen of it.

    ``public_key`` is x and y of P-256 (64 bytes) for ES256, or 32 bytes for EdDSA; ``used`` are the last
    challenges.
    """

    credential_id: Annotated[bytes, _CREDENTIAL_ID]
    algorithm: Annotated[int, Integer(EDDSA, ES256)]
    public_key: Annotated[bytes, Octets(64, 32)]
    counter: Annotated[int, Integer(0, 2**32 - 1)]
    backup_eligible: Annotated[bool, Flag()]
    used: Annotated[list[bytes], ListOf(Octets.exactly(CHALLENGE_BYTES), _REMEMBERED)]

    @property
    def id(self) -> str:
        """A short name for operators: "webauthn:" and 16 hexadecimal digits."""
        return "webauthn:" + hashlib.sha256(self.credential_id).hexdigest()[:16]


def assurance(credential: Credential) -> int:
    """Return the level that an assertion of this credential is worth, 2 or 3."""
    return 2 if credential.backup_eligible else 3


def unused_after(
    credential: Credential, shown: WebAuthnEvidence, challenge: bytes, settings: MfaSettings
) -> Credential:
    """Return the credential with this assertion used up; ``EvidenceError`` if it does not hold."""
    check_client_data(shown.client_data, "webauthn.get", challenge, settings)
    data = authenticator_data(shown.authenticator_data)
    check_flags(data, settings)
    if data.credential_data is not None:
        raise EvidenceError("an assertion attests no new credential")
    signed = shown.authenticator_data + hashlib.sha256(shown.client_data).digest()
    _check_signature(credential, signed, shown.signature)
    if data.is_backup_eligible() is not credential.backup_eligible:
        raise EvidenceError("whether a credential may be copied does not change")
    return _used(credential, challenge, data.counter)


def check_client_data(data: bytes, wanted: str, challenge: bytes, settings: MfaSettings) -> None:
    """Raise unless a client of an allowed origin collected ``data`` for this type and challenge.

    The bytes are what was signed or hashed, so they are read and never written again.
    """
    if len(data) > _CLIENT_DATA_MAX:
        raise EvidenceError("the client data is too long")
    said = _json_object(data)
    text = urlsafe_b64encode(challenge).rstrip(b"=").decode()
    if said.get("type") != wanted:
        raise EvidenceError("the client data is of another type")
    if not _same_text(said.get("challenge"), text):
        raise EvidenceError("the client data is for another challenge")
    if said.get("origin") not in settings.origins:
        raise EvidenceError("the client data is from an origin that is not allowed")
    # Only the page itself asks, not a frame in somebody else's.
    if said.get("crossOrigin", False) is not False or "topOrigin" in said:
        raise EvidenceError("the client data is from within another origin")


def authenticator_data(data: bytes) -> AuthenticatorData:
    """Parse authenticator data (section 6.1); ``EvidenceError`` if it is malformed."""
    from fido2.webauthn import AuthenticatorData

    try:
        parsed = AuthenticatorData(data)
    except Exception as error:
        raise EvidenceError(f"the authenticator data is malformed ({type(error).__name__})") from None
    if parsed.extensions is not None and type(parsed.extensions) is not dict:
        raise EvidenceError("the authenticator data is malformed (extensions)")
    return parsed


def check_flags(data: AuthenticatorData, settings: MfaSettings) -> None:
    """Raise unless the data is for our relying party, with the user present and verified."""
    expected = hashlib.sha256(settings.rp_id.encode()).digest()
    if not settings.rp_id or not hmac.compare_digest(data.rp_id_hash, expected):
        raise EvidenceError("the authenticator data is for another relying party")
    if not data.is_user_present():
        raise EvidenceError("the authenticator saw no user")
    if not data.is_user_verified():
        raise EvidenceError("the authenticator did not verify its user")
    if data.is_backed_up() and not data.is_backup_eligible():
        raise EvidenceError("a credential that cannot be copied was copied")


def _json_object(data: bytes) -> dict[str, Any]:
    try:
        said = json.loads(data.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise EvidenceError(f"the client data is no JSON ({type(error).__name__})") from None
    if type(said) is not dict:
        raise EvidenceError("the client data is no JSON object")
    return said


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("repeated")
    return found


def _same_text(value: object, expected: str) -> bool:
    return isinstance(value, str) and hmac.compare_digest(value.encode(errors="replace"), expected.encode())


def _check_signature(credential: Credential, signed: bytes, signature: bytes) -> None:
    if credential.algorithm == EDDSA:
        ed25519.verify(credential.public_key, signed, signature)
        return
    from fido2 import cose

    x, y = credential.public_key[:32], credential.public_key[32:]
    key: Any = cose.ES256({1: 2, 3: ES256, -1: 1, -2: x, -3: y})
    try:
        key.verify(signed, signature)
    except Exception as error:
        raise EvidenceError(f"the assertion's signature does not hold ({type(error).__name__})") from None


def _used(credential: Credential, challenge: bytes, counter: int) -> Credential:
    if challenge in credential.used:
        raise EvidenceError("an assertion for this challenge was shown already")
    if (counter or credential.counter) and counter <= credential.counter:
        raise EvidenceError("the authenticator's counter did not grow: it may have been cloned")
    return replace(credential, counter=counter, used=[*credential.used, challenge][-_REMEMBERED:])
