"""Another client's call path, written from docs/protocol.md alone with the standard library.

It exists to keep that page true: what is missing there cannot be written here.
"""

from __future__ import annotations

import hashlib
import hmac
import struct

PREFIX = b"ztsession v1 "
HEADER = struct.Struct("<BBHIQQQ")


def labelled_digest(label: str, *parts: bytes) -> bytes:
    """SHA-256 over the prefixed label and the parts, each behind its length."""
    state = hashlib.sha256()
    for part in (PREFIX + label.encode(), *parts):
        state.update(struct.pack(">Q", len(part)) + part)
    return state.digest()


def expand(secret: bytes, label: str, context: bytes = b"") -> bytes:
    """HKDF-Expand to one block."""
    return hmac.digest(secret, PREFIX + label.encode() + context + b"\x01", "sha256")


def segment_secret(session_secret: bytes, grant: bytes) -> bytes:
    """The segment's secret, from the bytes of the grant."""
    return expand(session_secret, "segment", hashlib.sha256(grant).digest())


def install_request_mac(secret: bytes, ticket: bytes, nonce: bytes) -> bytes:
    """What proves that whoever presents the ticket holds the segment secret."""
    return hmac.digest(
        expand(secret, "install request"), labelled_digest("install request", ticket, nonce), "sha256"
    )


def install_answer_mac(
    secret: bytes, ticket: bytes, request_nonce: bytes, nonce: bytes, handle: int, now_us: int, epoch_us: int
) -> bytes:
    """What proves that the answer is the point's."""
    numbers = struct.pack("<QQQ", handle, now_us, epoch_us)
    said = labelled_digest("install answer", ticket, request_nonce, nonce, numbers)
    return hmac.digest(expand(secret, "install answer"), said, "sha256")


def token_key(secret: bytes, nonce: bytes, direction: int, handle: int, steps: int) -> bytes:
    """The key of the epoch that is ``steps`` after the installation's."""
    info = PREFIX + b"chain" + bytes([direction]) + struct.pack("<Q", handle)
    chain = hmac.digest(hmac.digest(nonce, secret, "sha256"), info + b"\x01", "sha256")
    for _ in range(steps):
        chain = hmac.digest(chain, b"\x02", "sha256")
    return hmac.digest(chain, b"\x01", "sha256")


def token(
    key: bytes,
    direction: int,
    operation: int,
    epoch: int,
    handle: int,
    sequence: int,
    issued_at_us: int,
    body: bytes,
) -> bytes:
    """One token."""
    header = HEADER.pack(1, direction, operation, epoch, handle, sequence, issued_at_us)
    return header + hmac.digest(key, header + body, "sha256")[:16]
