"""Who is there: the verifier every kind of identity implements, Ed25519, and the Authority's certificate."""

from ztsession.identity.ed25519 import Ed25519Identity, Ed25519Registry
from ztsession.identity.protocol import IdentityProver, IdentityVerifier, VerifiedIdentity

__all__ = ["Ed25519Identity", "Ed25519Registry", "IdentityProver", "IdentityVerifier", "VerifiedIdentity"]
