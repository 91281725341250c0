"""What an Entity Attestation Token says (RFC 9711), read as measurements of ours.

Both forms of the token, CWT and JWT, are brought into one shape first: claims by name, octets as octets. Then
one function reads them, so that the two forms cannot come to differ. It demands that the token was made for
this handshake (``eat_nonce``), by this entity (``ueid``, where one is enrolled), and says when (``iat``).

A claim that is not in the table is ignored: it can add nothing, because what is not read is unknown, and
unknown is never good. Submodules are such claims; a token speaks for the device as a whole. What an issuer
needs to be understood it marks in the header ("crit"), and a token so marked is refused.
"""

from __future__ import annotations

import functools
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, derive_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from ztsession.errors import EvidenceError, WireError
from ztsession.posture.devices import UEID_MAX_BYTES, UEID_MIN_BYTES, Device
from ztsession.posture.freshness import MAX_AHEAD_S
from ztsession.posture.keys import EatKey, eat_key, fingerprint
from ztsession.posture.protocol import VerifiedPosture
from ztsession.wire.digest import digest
from ztsession.wire.schema import Flag, Integer, MapOf, Octets, Rule, Text
from ztsession.wire.signature import public_key

__all__ = ["DEBUG_STATES", "LABELS", "attested", "eat_nonce", "enrolled_key", "require_enrolled"]

#: The claims that are read: name in a JWT, label in a CWT (RFC 9711, section 7; RFC 8392, section 4). The
#: last is ours, of the range for private use: a map of measurement names to texts.
LABELS: Final[Mapping[str, int]] = {
    "exp": 4,
    "nbf": 5,
    "iat": 6,
    "eat_nonce": 10,
    "ueid": 256,
    "oemid": 258,
    "hwmodel": 259,
    "oemboot": 262,
    "dbgstat": 263,
    "swname": 270,
    "swversion": 271,
    "ztsession_measurements": -70101,
}
#: RFC 9711, section 4.2.9; a CWT has the place in this row, a JWT the word.
DEBUG_STATES: Final = (
    "enabled",
    "disabled",
    "disabled-since-boot",
    "disabled-permanently",
    "disabled-fully-and-permanently",
)

_NONCE_BYTES = 32
_TIME = Integer(0, 2**63 - 1)
_NAME_TEXT = Text(120, 1)
_MEASUREMENTS = MapOf(Text(64, 1), Text(256), 32)
#: Said by claims of their own, and by nothing else.
_NOT_MEASURED = frozenset({"debug", "hwmodel", "oemid", "swname", "swversion"})


def eat_nonce(binding: bytes, nonce: bytes) -> bytes:
    """Return the 32 bytes that ``eat_nonce`` must have for this binding and nonce (32 bytes each)."""
    if len(binding) != _NONCE_BYTES or len(nonce) != _NONCE_BYTES:
        raise EvidenceError(f"a binding and a nonce have {_NONCE_BYTES} bytes each")
    return digest("posture eat", binding, nonce)


def enrolled_key(device: Device | None, algorithm: str) -> EatKey:
    """Return the key to check a token with, or a stand-in of the kind that ``algorithm`` needs.

    A stranger costs one verification too, so that time does not tell which devices are enrolled (H23).
    """
    if device is None or device.eat_key is None:
        return _no_device(algorithm)
    return eat_key(device.eat_key)


def require_enrolled(device: Device | None) -> Device:
    """Return the device if it is enrolled with a key for EATs; ``EvidenceError`` otherwise."""
    if device is None or device.eat_key is None:
        raise EvidenceError("the device is not enrolled with a key for EATs")
    return device


@functools.cache
def _no_device(algorithm: str) -> EatKey:
    seed = digest("no device")
    if algorithm == "ES256":
        return derive_private_key(int.from_bytes(seed[:31], "big"), SECP256R1()).public_key()
    return Ed25519PublicKey.from_public_bytes(public_key(seed))


def attested(claims: Mapping[str, Any], device: Device, expected: bytes, now: float) -> VerifiedPosture:
    """Return what the claims of a token with a good signature amount to; ``EvidenceError`` otherwise.

    ``expected`` is the nonce of :func:`eat_nonce`, ``now`` in Unix seconds.
    """
    try:
        read = _Claims(claims)
        _check_nonce(read, expected)
        _check_entity(read, device)
        _check_validity(read, now)
        collected_at = read.required("iat", _TIME)
        key = fingerprint(eat_key(device.eat_key or ""))
        return VerifiedPosture(device.name, collected_at, _measurements(read), key=key)
    except WireError as error:
        raise EvidenceError(f"the EAT is malformed: {error}") from None


@dataclass(frozen=True)
class _Claims:
    """Claims of which each is checked when it is read."""

    values: Mapping[str, Any]

    def required(self, name: str, rule: Rule) -> Any:
        if name not in self.values:
            raise EvidenceError(f"the EAT has no {name}")
        return self.optional(name, rule)

    def optional(self, name: str, rule: Rule) -> Any:
        if name not in self.values:
            return None
        rule.check(self.values[name], name)
        return self.values[name]


def _check_nonce(claims: _Claims, expected: bytes) -> None:
    # RFC 9711 allows a list of nonces. One that answers several handshakes answers none of them.
    if not hmac.compare_digest(claims.required("eat_nonce", Octets(64, 8)), expected):
        raise EvidenceError("the EAT answers another nonce or another handshake")


def _check_entity(claims: _Claims, device: Device) -> None:
    ueid = claims.optional("ueid", Octets(UEID_MAX_BYTES, UEID_MIN_BYTES))
    if device.ueid is not None and ueid != device.ueid:
        raise EvidenceError("the EAT is of another entity than the one enrolled")


def _check_validity(claims: _Claims, now: float) -> None:
    expires, begins = claims.optional("exp", _TIME), claims.optional("nbf", _TIME)
    # Both written so that a time that is no number is refused.
    if expires is not None and not now < expires:
        raise EvidenceError("the EAT has expired")
    if begins is not None and not now >= begins - MAX_AHEAD_S:
        raise EvidenceError("the EAT is not valid yet")


def _measurements(claims: _Claims) -> dict[str, str]:
    found: dict[str, str] = dict(claims.optional("ztsession_measurements", _MEASUREMENTS) or {})
    if _NOT_MEASURED & found.keys():
        raise EvidenceError(
            f"ztsession_measurements: {', '.join(sorted(_NOT_MEASURED))} have claims of their own"
        )
    told = _told(claims)
    # The software's name stands in for the program only where the program itself was not measured; without a
    # blank in the version no two pairs look alike.
    if "swname" in told and " " not in told.get("swversion", " "):
        found.setdefault("program", f"{told['swname']} {told['swversion']}")
    for name, value in told.items():
        if found.setdefault(name, value) != value:
            raise EvidenceError(f"the EAT says two things of {name}")
    if not all(value.isprintable() for value in (*found, *found.values())):
        raise EvidenceError("the EAT has text that cannot be printed")
    return found


def _told(claims: _Claims) -> dict[str, str]:
    """What the token says in the claims of RFC 9711, in our words."""
    told: dict[str, str] = {}
    state = claims.optional("dbgstat", Integer(0, len(DEBUG_STATES) - 1))
    if state is not None:
        told["debug"] = "enabled" if state == 0 else "disabled"
    booted = claims.optional("oemboot", Flag())
    if booted is not None:
        told["secure_boot"] = "enabled" if booted else "disabled"
    name, version = claims.optional("swname", _NAME_TEXT), claims.optional("swversion", _Version())
    if name is not None:
        told["swname"] = name
    if version is not None:
        told["swversion"] = version[0]
    return told | _hardware(claims)


def _hardware(claims: _Claims) -> dict[str, str]:
    model, maker = claims.optional("hwmodel", Octets(32, 1)), claims.values.get("oemid")
    told = {} if model is None else {"hwmodel": model.hex()}
    if type(maker) is int:
        # A Private Enterprise Number (RFC 9711, section 4.2.3.3), otherwise an IEEE or a random identifier.
        told["oemid"] = str(claims.optional("oemid", Integer(0, 2**32 - 1)))
    elif maker is not None:
        told["oemid"] = claims.optional("oemid", Octets(16, 3)).hex()
    return told


@dataclass(frozen=True)
class _Version:
    """A version, and perhaps its scheme, which is a word or a number (RFC 9711, section 4.2.7)."""

    def check(self, value: object, where: str) -> None:
        if type(value) is not list or not 1 <= len(value) <= 2 or type(value[-1]) not in (str, int):
            raise WireError(f"{where}: expected a list of a version and perhaps its scheme")
        _NAME_TEXT.check(value[0], where)
