"""The issuer that is trusted to have made an access token.

Nothing in a token is believed for its own sake: not its algorithm, not where its key is to be found, not its
type. The operator has pinned these for each issuer, and what a token says of them must agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ztsession.errors import EvidenceError
from ztsession.identity.compact_jws import CompactJws
from ztsession.identity.jwks import KID_MAX_BYTES, KeySource

__all__ = ["OidcIssuer"]

_AUDIENCES_MAX = 16
#: NumericDate up to where JSON numbers are exact everywhere.
_LAST_SECOND = 2**53 - 1


@dataclass(frozen=True)
class OidcIssuer:
    """One issuer that is trusted to say who somebody is, and what its tokens must look like.

    A token for several audiences is taken when ours is one of them: the others see it too, but have not the
    key to use it. ``assurance`` says which ``acr`` values are believed, and what for; any other is level 1.
    """

    issuer: str
    audience: str
    keys: KeySource
    algorithms: tuple[str, ...] = ("ES256",)
    typ: str = "at+jwt"
    leeway_s: int = 30
    max_lifetime_s: int = 86400
    assurance: Mapping[str, int] = field(default_factory=dict)

    def check(self, token: CompactJws, now: float) -> None:
        """Raise ``EvidenceError`` unless this issuer made ``token`` for us and it holds at ``now`` (Unix
        seconds).
        """
        header = token.header
        algorithm, kid = header.get("alg"), header.get("kid")
        if header.get("typ") not in (self.typ, f"application/{self.typ}"):
            raise EvidenceError(f"the token's typ is not {self.typ}")
        if not isinstance(algorithm, str) or algorithm not in self.algorithms:
            raise EvidenceError("the token's algorithm is not one that this issuer may use")
        if not isinstance(kid, str) or not 1 <= len(kid) <= KID_MAX_BYTES:
            raise EvidenceError("the token names no key")
        self.keys.key(kid).verify(algorithm, token.signed, token.signature)
        self._check_audience(token.claims.get("aud"))
        self._check_times(token.claims, now)

    def _check_audience(self, audience: object) -> None:
        named = audience if isinstance(audience, list) else [audience]
        if len(named) > _AUDIENCES_MAX or not all(isinstance(each, str) for each in named):
            raise EvidenceError("the token's audience is malformed")
        if self.audience not in named:
            raise EvidenceError("the token is for another audience")

    def _check_times(self, claims: Mapping[str, Any], now: float) -> None:
        issued_at, ends_at = _seconds(claims, "iat"), _seconds(claims, "exp")
        if not 0 < ends_at - issued_at <= self.max_lifetime_s:
            raise EvidenceError(f"the token does not live for 1 to {self.max_lifetime_s} s")
        if not now < ends_at + self.leeway_s:
            raise EvidenceError("the token has expired")
        not_before = _seconds(claims, "nbf") if "nbf" in claims else issued_at
        if not max(issued_at, not_before) <= now + self.leeway_s:
            raise EvidenceError("the token is not valid yet")


def _seconds(claims: Mapping[str, Any], name: str) -> int:
    value = claims.get(name)
    if type(value) is not int or not 0 <= value <= _LAST_SECOND:
        raise EvidenceError(f"the token's {name} is not a whole number of seconds")
    return value
