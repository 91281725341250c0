"""Programs of others that may call here, each by a bearer token of its own (RFC 6750).

Of a token only the digest is kept, so what is read out of this process, or out of a file of the operator's,
lets nobody in. It is looked at before a byte of the body is.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from ztsession.errors import ConfigurationError
from ztsession.integrations.asgi_request import Request
from ztsession.wire.names import is_name

__all__ = ["CallerToken", "Callers", "new_caller_token"]

TOKEN_BYTES: Final = 32

#: RFC 6750, section 2.1. 32 bytes are 43 characters of base64 at least.
_BEARER: Final = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] ([A-Za-z0-9._~+/-]{43,512}={0,2})", re.ASCII)
_DIGEST: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class CallerToken:
    """A bearer token for one caller, who keeps it secret, and its digest, for whoever lets callers in."""

    token: str = field(repr=False)
    digest: str


def new_caller_token() -> CallerToken:
    """Make a token of 32 random bytes."""
    token = secrets.token_urlsafe(TOKEN_BYTES)
    return CallerToken(token, _digest(token).hex())


class Callers:
    """Who may call, by name."""

    def __init__(self, callers: Mapping[str, str]) -> None:
        """``callers``: by name, the SHA-256 of each one's token in hexadecimal."""
        self._callers = _checked(callers)

    def of(self, request: Request) -> str | None:
        """The name of the caller whose token the request shows, None if it shows nobody's."""
        token = _bearer_token(request)
        presented, found = _digest(token), None
        # All of them, each in constant time: how long it takes says nothing of any.
        for name, digest in self._callers.items():
            if hmac.compare_digest(digest, presented):
                found = name
        # No token is nobody's, also where an operator entered the digest of nothing.
        return found if token else None


def _checked(callers: Mapping[str, str]) -> dict[str, bytes]:
    if not callers:
        raise ConfigurationError("callers: expected at least one")
    for name, digest in callers.items():
        if not is_name(name):
            raise ConfigurationError(f"callers: expected names of A-Z a-z 0-9 . _ : / @ -, found {name!r}")
        if not _DIGEST.fullmatch(digest):
            # What stands there instead may be the token.
            raise ConfigurationError(f"callers: expected the SHA-256 of {name}'s token, 64 digits 0-9 a-f")
    if len(set(callers.values())) < len(callers):
        raise ConfigurationError("callers: expected a token of its own for each")
    return {name: bytes.fromhex(digest) for name, digest in callers.items()}


def _bearer_token(request: Request) -> str:
    """The token, "" for none: one header, one blank, and nothing around it."""
    given = request.headers.get("authorization", [])
    found = _BEARER.fullmatch(given[0]) if len(given) == 1 else None
    return found.group(1) if found else ""


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("ascii")).digest()
