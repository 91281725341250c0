"""By which digests others may know a key: lists of stolen and weak keys say one of these, and never the key.

Whoever makes such a list takes what is at hand: the SHA-256 of the key as SubjectPublicKeyInfo (RFC 5280,
section 4.1.2.7, as in a pin of RFC 7469), or of the bare key where a key is nothing but 32 bytes. No two of
these can be mistaken for each other, so each is looked for.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

__all__ = ["KEY_DIGESTS_MAX", "ed25519_key_digests", "key_digests", "x25519_key_digests"]

#: Of all keys and certificates that one proof of identity can rest on.
KEY_DIGESTS_MAX: Final = 64


#: What stands before the 32 bytes of such a key (RFC 8410, section 4).
_ED25519, _X25519 = bytes.fromhex("302a300506032b6570032100"), bytes.fromhex("302a300506032b656e032100")


def key_digests(key: PublicKeyTypes) -> tuple[str, ...]:
    """Every SHA-256 that names this key, in lower-case hexadecimal."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    encoded = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    bare = [encoded.removeprefix(start) for start in (_ED25519, _X25519) if encoded.startswith(start)]
    return _digests(encoded, *bare)


def ed25519_key_digests(key: bytes) -> tuple[str, ...]:
    """The same of the 32 bytes of an Ed25519 key."""
    return _digests(_ED25519 + key, key)


def x25519_key_digests(key: bytes) -> tuple[str, ...]:
    """The same of the 32 bytes of an X25519 key, such as the static key of a handshake."""
    return _digests(_X25519 + key, key)


def _digests(*forms: bytes) -> tuple[str, ...]:
    return tuple(hashlib.sha256(form).hexdigest() for form in forms)
