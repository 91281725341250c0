"""Who is there: identities, how they are proven, and the certificate that says who the Authority is."""

from ztsession.identity.ed25519 import Ed25519Identity, Ed25519Verifier
from ztsession.identity.protocol import IdentityProver, IdentityVerifier, VerifiedIdentity
from ztsession.identity.subjects import Subject

__all__ = [
    "Ed25519Identity",
    "Ed25519Verifier",
    "IdentityProver",
    "IdentityVerifier",
    "Subject",
    "VerifiedIdentity",
]
