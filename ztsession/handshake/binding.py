"""What evidence is signed over: this handshake, this client key, this kind of evidence.

Evidence that is not bound travels: a signature collected by one Authority opens a session at another (H1), or
somebody else's proof is sent along with our own key (H2). The hash covers every byte of both parties' first
messages, and the static key is the one whose owner gets the session.
"""

from __future__ import annotations

from typing import Literal

from ztsession.wire.digest import digest

__all__ = ["EvidenceKind", "binding", "continued"]

EvidenceKind = Literal["identity", "posture", "mfa"]


def binding(kind: EvidenceKind, handshake_hash: bytes, client_static_public: bytes) -> bytes:
    """Return the 32 bytes to sign: ``digest("binding <kind>", h after message 2, client's static key)``."""
    return digest(f"binding {kind}", handshake_hash, client_static_public)


def continued(handshake_hash: bytes, nonce: bytes) -> bytes:
    """Return what stands for the handshake's hash in the binding of evidence that is shown later.

    ``handshake_hash``: 32 bytes, as in the bindings of the handshake itself, or the final one of a renewal;
    ``nonce``: the 32 bytes of the last Outcome, each of which is answered once.
    """
    return digest("continued", handshake_hash, nonce)
