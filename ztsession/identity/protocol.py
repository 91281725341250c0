"""What every way of proving an identity has in common.

A verifier is a pure decision over bytes: evidence and the binding it must be made for go in, and a
subject comes out or an error. It keeps no session, so one more way of proving is one more file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

__all__ = [
    "BINDING_BYTES",
    "EVIDENCE_MAX_BYTES",
    "IdentityProver",
    "IdentityVerifier",
    "SubjectKind",
    "VerifiedIdentity",
]

BINDING_BYTES = 32
#: No identity evidence is longer; checked before anything is parsed.
EVIDENCE_MAX_BYTES = 24576

SubjectKind = Literal["algorithm", "human", "service"]


@dataclass(frozen=True)
class VerifiedIdentity:
    """Who has proven to be there, and what the registry says about them.

    ``credential`` names what proved it, as enrolled: "ed25519:" and the key in hexadecimal, a SPIFFE ID,
    "dns:" and a name, "oidc:" with issuer and subject. ``until`` (Unix seconds) is the credential's own end,
    which no session outlives; None when it has none. ``keys``: the digests of what signed the evidence and of
    what vouches for it, see :mod:`ztsession.identity.key_digests`.
    """

    subject: str
    kind: SubjectKind
    roles: tuple[str, ...]
    desk: str
    #: NIST SP 800-63B-4 authentication assurance level reached by this evidence alone, 1 to 3.
    assurance: int
    credential: str = ""
    until: int | None = None
    keys: tuple[str, ...] = ()


@runtime_checkable
class IdentityVerifier(Protocol):
    """The Authority's side of one kind of identity."""

    def verify(self, evidence: bytes, binding: bytes) -> VerifiedIdentity:
        """Return who made ``evidence`` for this 32-byte ``binding``; ``EvidenceError`` for anything else."""


@runtime_checkable
class IdentityProver(Protocol):
    """The client's side: a subject with a static key, able to prove itself for one handshake at a time."""

    @property
    def subject(self) -> str:
        """The subject's name."""

    @property
    def static_private(self) -> bytes:
        """The X25519 private key of the handshake, 32 bytes."""

    def prove(self, binding: bytes) -> bytes:
        """Return evidence for this 32-byte ``binding``."""
