"""A Security Event Token, read in the one way there is to read it (RFC 8417, SSF 1.0 section 4).

Whoever can say that a device is not what it was can stop a desk, and whoever can say that it is good again
can start one. So a SET is read as strictly as the token that opens a session, and pinned as tightly: its
size before it is parsed, its type, the issuer's algorithms and keys, and the audience. That a SET is no
access token and an access token no SET is seen three times over: by ``typ``, and by ``sub`` and ``exp``,
which a SET must not have.

What is wrong is told by one of RFC 8935's words, because a transmitter gives up after it; what may be right
the next time (a key that could not be asked for) is not told so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ztsession.errors import EventRefused, EvidenceError, KeysUnavailable
from ztsession.identity.compact_jws import CompactJws
from ztsession.identity.jwks import KID_MAX_BYTES, KeySource
from ztsession.risk.ssf.names import SET_TYPE
from ztsession.risk.ssf.subjects import Principal, read_principal

__all__ = [
    "AUTHENTICATION_FAILED",
    "INVALID_AUDIENCE",
    "INVALID_ISSUER",
    "INVALID_KEY",
    "INVALID_REQUEST",
    "JTI_MAX_BYTES",
    "LEEWAY_S",
    "SET_MAX_BYTES",
    "SecurityEvent",
    "SetIssuer",
    "read_event",
]

SET_MAX_BYTES: Final = 32_768
JTI_MAX_BYTES: Final = 512
#: How far a transmitter's clock may be ahead of ours.
LEEWAY_S: Final = 60

#: RFC 8935, section 2.4.
INVALID_REQUEST: Final = "invalid_request"
INVALID_KEY: Final = "invalid_key"
INVALID_ISSUER: Final = "invalid_issuer"
INVALID_AUDIENCE: Final = "invalid_audience"
AUTHENTICATION_FAILED: Final = "authentication_failed"

_AUDIENCES_MAX: Final = 16
_TYPE_MAX_BYTES: Final = 256
#: NumericDate up to where JSON numbers are exact everywhere.
_LAST_SECOND: Final = 2**53 - 1


@dataclass(frozen=True)
class SecurityEvent:
    """One event that its issuer has signed. ``type`` is a URI, ``members`` what stands below it;
    ``issued_at`` is in Unix seconds; ``principal``: whom it is about.
    """

    jti: str
    issued_at: int
    type: str
    members: Mapping[str, Any] = field(repr=False)
    principal: Principal = field(repr=False)


@dataclass(frozen=True)
class SetIssuer:
    """Whose SETs are taken, and what they must look like; keys and algorithms as in ``OidcIssuer``."""

    issuer: str
    audience: str
    keys: KeySource = field(repr=False)
    algorithms: tuple[str, ...] = ("ES256",)

    def authenticated(self, data: bytes) -> Mapping[str, Any]:
        """The claims of a SET that this issuer has made for us, unread otherwise.

        EventRefused says which of the two is not so; KeysUnavailable when it cannot be known now.
        """
        token = _taken_apart(data)
        if not _is_set(token.header.get("typ")):
            raise EventRefused(INVALID_REQUEST, f"the token's typ is not {SET_TYPE}")
        if token.claims.get("iss") != self.issuer:
            raise EventRefused(INVALID_ISSUER, "the SET is not of this transmitter's issuer")
        self._check_signature(token)
        self._check_audience(token.claims.get("aud"))
        return token.claims

    def _check_signature(self, token: CompactJws) -> None:
        algorithm, kid = token.header.get("alg"), token.header.get("kid")
        if type(algorithm) is not str or algorithm not in self.algorithms:
            raise EventRefused(INVALID_KEY, "the SET's algorithm is not one that this issuer may use")
        if type(kid) is not str or not 1 <= len(kid) <= KID_MAX_BYTES:
            raise EventRefused(INVALID_KEY, "the SET names no key")
        try:
            key = self.keys.key(kid)
        except KeysUnavailable:
            raise
        except EvidenceError as error:
            raise EventRefused(INVALID_KEY, str(error)) from None
        try:
            key.verify(algorithm, token.signed, token.signature)
        except EvidenceError as error:
            raise EventRefused(AUTHENTICATION_FAILED, str(error)) from None

    def _check_audience(self, audience: object) -> None:
        named = audience if type(audience) is list else [audience]
        if not 1 <= len(named) <= _AUDIENCES_MAX or not all(type(each) is str for each in named):
            raise EventRefused(INVALID_AUDIENCE, "the SET's audience is malformed")
        if self.audience not in named:
            raise EventRefused(INVALID_AUDIENCE, "the SET is for another audience")


def read_event(claims: Mapping[str, Any], now: float) -> SecurityEvent:
    """Read the claims of a SET that is authentic; EventRefused if they are not those of exactly one event.

    ``now`` is in Unix seconds. Claims that are not known are passed over, as SSF 1.0 demands.
    """
    for name in ("sub", "exp"):
        if name in claims:
            raise _malformed(f"a SET must not have {name}")
    jti = claims.get("jti")
    if type(jti) is not str or not 1 <= len(jti) <= JTI_MAX_BYTES:
        raise _malformed(f"jti is not a text of 1 to {JTI_MAX_BYTES} characters")
    kind, members = _one_event(claims.get("events"))
    return SecurityEvent(jti, _issued_at(claims, now), kind, members, read_principal(claims.get("sub_id")))


def _is_set(typ: object) -> bool:
    # A media type: its case says nothing, and "application/" may stand before it (RFC 7515, section 4.1.9).
    return type(typ) is str and typ.lower().removeprefix("application/") == SET_TYPE


def _taken_apart(data: bytes) -> CompactJws:
    if len(data) > SET_MAX_BYTES:
        raise _malformed(f"the SET has over {SET_MAX_BYTES} bytes")
    try:
        return CompactJws.read(data.decode("ascii"))
    except (UnicodeDecodeError, EvidenceError) as error:
        raise _malformed(str(error)) from None


def _issued_at(claims: Mapping[str, Any], now: float) -> int:
    value: Any = claims.get("iat")
    if type(value) not in (int, float) or not 0 <= value <= _LAST_SECOND:
        raise _malformed("iat is not a number of seconds")
    if value > now + LEEWAY_S:
        # It would be newer than everything that is said until then.
        raise _malformed("the SET is from the future")
    # Parts of a second are allowed (RFC 7519, section 2), and nothing here is as fine as that.
    return int(value)


def _one_event(events: object) -> tuple[str, dict[str, Any]]:
    if type(events) is not dict or len(events) != 1:
        raise _malformed("events has not exactly one event")
    [(kind, members)] = events.items()
    if not 1 <= len(kind) <= _TYPE_MAX_BYTES or type(members) is not dict:
        raise _malformed("the event is not an object by its type")
    return kind, members


def _malformed(why: str) -> EventRefused:
    return EventRefused(INVALID_REQUEST, why)
