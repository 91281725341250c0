"""Whom a token names: an issuer, and one of its subjects, each in the characters that it may have.

An operator writes both down, a token says both later. What no token that is taken could say is refused where
it is written, and not noticed when somebody stands before a closed door.
"""

from __future__ import annotations

__all__ = ["SUBJECT_MAX_BYTES", "is_issuer", "is_subject"]

#: OpenID Connect Core 1.0, section 2: a subject has at most 255 ASCII characters.
SUBJECT_MAX_BYTES = 255
_ISSUER_MAX_BYTES = 512
_SCHEME = "https://"


def is_issuer(text: str) -> bool:
    """Say whether ``text`` is https:// and more, at most 512 printable ASCII characters without a blank."""
    plain = text.isascii() and text.isprintable() and " " not in text
    return plain and text.startswith(_SCHEME) and len(_SCHEME) < len(text) <= _ISSUER_MAX_BYTES


def is_subject(text: str) -> bool:
    """Say whether ``text`` is 1 to 255 printable ASCII characters."""
    return 1 <= len(text) <= SUBJECT_MAX_BYTES and text.isascii() and text.isprintable()
