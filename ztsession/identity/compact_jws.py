"""A compact JWS (RFC 7515 section 7.1) taken apart, before anything in it is believed.

Many doors have opened because a header was believed about its own key, or brought one along. So what a header
may hold at all is decided here, in the same way for every token that comes from outside.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from ztsession.errors import EvidenceError
from ztsession.identity.jose import from_base64url, strict_json

__all__ = ["CompactJws"]

_HEADER_MAX_BYTES = 4096

#: Headers that would bring keys, or another reading of the rest, along with the token (RFC 7515, RFC 7797).
_REFUSED_HEADERS = ("crit", "b64", "jku", "jwk", "x5u", "x5c", "enc", "zip")


@dataclass(frozen=True)
class CompactJws:
    """A token in its parts, none of which is believed yet."""

    header: dict[str, Any]
    claims: dict[str, Any]
    signed: bytes
    signature: bytes

    @classmethod
    def read(cls, text: str) -> Self:
        """Take apart ``text``, whose size the caller has bounded; ``EvidenceError`` if it is none."""
        # Counted before it is split: five parts are an encrypted token, thousands are an attack.
        if text.count(".") != 2 or not text.isascii():
            raise EvidenceError("the token is not a compact JWS")
        header, claims, signature = text.split(".")
        if len(header) > _HEADER_MAX_BYTES:
            raise EvidenceError(f"the token's header is over {_HEADER_MAX_BYTES} bytes")
        token = cls(
            strict_json(from_base64url(header, "the token's header"), "the token's header"),
            strict_json(from_base64url(claims, "the token's body"), "the token's body"),
            f"{header}.{claims}".encode("ascii"),
            from_base64url(signature, "the token's signature"),
        )
        refused = next((name for name in _REFUSED_HEADERS if name in token.header), None)
        if refused is not None:
            raise EvidenceError(f"the token's header has {refused}, which is not taken")
        return token
