"""Secrets below the session: one per grant, and one more per purpose.

The segment secret comes out of the session secret and the *digest of the grant*: whoever changes the decision
has changed the key, and a verifier of one segment holds nothing of another's.
"""

from __future__ import annotations

from ztsession.hazmat import hmac_sha256
from ztsession.wire.digest import DIGEST_BYTES, LABEL_PREFIX

__all__ = ["answer_key", "continued_secret", "request_key", "segment_secret"]


def segment_secret(session_secret: bytes, grant_digest: bytes) -> bytes:
    """The 32-byte secret of one grant; ``session_secret`` 32 bytes, ``grant_digest`` 32 bytes."""
    if len(grant_digest) != DIGEST_BYTES:
        raise ValueError(f"grant_digest is {len(grant_digest)} bytes, expected {DIGEST_BYTES}")
    return _expand(session_secret, "segment", grant_digest)


def continued_secret(session_secret: bytes, nonce: bytes) -> bytes:
    """The session secret that takes this one's place after a step-up in the channel; 32 bytes each."""
    return _expand(session_secret, "continued", nonce)


def request_key(secret: bytes) -> bytes:
    """Authenticates what a client says when it presents a ticket."""
    return _expand(secret, "install request")


def answer_key(secret: bytes) -> bytes:
    """Authenticates what the enforcement point answers: its handle, its nonce and its clock (K10)."""
    return _expand(secret, "install answer")


def _expand(secret: bytes, label: str, context: bytes = b"") -> bytes:
    # HKDF-Expand (RFC 5869, section 2.3) to a single block.
    return hmac_sha256(secret, (LABEL_PREFIX + label).encode("ascii") + context + b"\x01")
