"""Tokens as text, for protocols that carry headers: 64 characters of base64url without padding.

The HTTP header is ``ZT-Token``. There is exactly one text for each token: other alphabets, padding and white
space are refused, because two spellings of one token are two entries in somebody's cache or log.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final

from ztsession.errors import WireError
from ztsession.limits import TOKEN_BYTES, TOKEN_TEXT_BYTES

__all__ = ["TOKEN_HEADER", "token_from_text", "token_to_text"]

TOKEN_HEADER: Final = "ZT-Token"  # noqa: S105  (the header's name, no secret)

_TEXT = re.compile(rf"[A-Za-z0-9_-]{{{TOKEN_TEXT_BYTES}}}", re.ASCII)


def token_to_text(token: bytes) -> str:
    """Return the 64 characters of a 48-byte token (RFC 4648, section 5); WireError for another length."""
    if len(token) != TOKEN_BYTES:
        raise WireError(f"a token has {TOKEN_BYTES} bytes, not {len(token)}")
    return urlsafe_b64encode(token).decode("ascii")


def token_from_text(text: str) -> bytes:
    """Return the 48 bytes that ``text`` stands for; WireError for anything but 64 characters of base64url."""
    if not isinstance(text, str) or _TEXT.fullmatch(text) is None:
        raise WireError(f"a token's text is {TOKEN_TEXT_BYTES} characters of A-Z a-z 0-9 _ -")
    return urlsafe_b64decode(text)
