"""Labelled digests: SHA-256 that can never be mistaken for another purpose's.

A hash that is signed or keyed in one place must not be acceptable in another, and no two lists of parts
may hash the same. Every digest therefore begins with its own label, and the label and each part carry
their length.
"""

from __future__ import annotations

import hashlib

__all__ = ["DIGEST_BYTES", "LABEL_PREFIX", "digest"]

DIGEST_BYTES = 32

#: Every label of the protocol starts with its name and version, so a next version shares no digest with
#: this one.
LABEL_PREFIX = "ztsession v1 "


def digest(label: str, *parts: bytes) -> bytes:
    """Return SHA-256 over ``"ztsession v1 " + label`` and the parts, each behind its length.

    A length is 8 bytes, big-endian; the result is 32 bytes.
    """
    state = hashlib.sha256()
    for part in ((LABEL_PREFIX + label).encode("utf-8"), *parts):
        state.update(len(part).to_bytes(8, "big"))
        state.update(part)
    return state.digest()
