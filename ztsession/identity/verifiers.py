"""All ways of proving an identity that an Authority accepts, as one verifier.

Which ways there are is the operator's decision, in ``identity.toml``. Ed25519 keys need nothing but to be
enrolled and are always taken; the others need to be told whom to trust.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from ztsession.errors import EvidenceError, WireError
from ztsession.identity.ed25519 import Ed25519Verifier
from ztsession.identity.protocol import EVIDENCE_MAX_BYTES, IdentityVerifier, VerifiedIdentity
from ztsession.identity.subjects import SubjectRegistry
from ztsession.wire.operator_file import read_toml
from ztsession.wire.schema import kind_of

__all__ = ["SETTINGS_FILE", "IdentityVerifiers"]

#: The settings' name inside a policy directory; may be absent.
SETTINGS_FILE = "identity.toml"


class IdentityVerifiers:
    """Hands evidence to the verifier of its kind."""

    def __init__(self, by_kind: Mapping[str, IdentityVerifier]) -> None:
        self._by_kind = dict(by_kind)

    @classmethod
    def from_directory(
        cls, directory: Path, subjects: SubjectRegistry, *, clock: Callable[[], float] = time.time
    ) -> IdentityVerifiers:
        """Read ``identity.toml``; ``ConfigurationError`` names file, line and what was expected."""
        by_kind: dict[str, IdentityVerifier] = {Ed25519Verifier.kind: Ed25519Verifier(subjects)}
        path = directory / SETTINGS_FILE
        if path.exists():
            root = read_toml(path)
            root.allow_only("x509", "oidc")
            if root.has("x509"):
                from ztsession.identity.x509 import X509Verifier

                by_kind[X509Verifier.kind] = X509Verifier.from_table(
                    root.table("x509"), directory, subjects, clock=clock
                )
            if root.has("oidc"):
                from ztsession.identity.oidc import OidcVerifier

                by_kind[OidcVerifier.kind] = OidcVerifier.from_table(
                    root.table("oidc"), directory, subjects, clock=clock
                )
        return cls(by_kind)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of evidence that are taken."""
        return tuple(self._by_kind)

    def verify(self, evidence: bytes, binding: bytes) -> VerifiedIdentity:
        """Return who made ``evidence`` for this 32-byte ``binding``; ``EvidenceError`` for anything else."""
        try:
            kind = kind_of(evidence, max_bytes=EVIDENCE_MAX_BYTES)
        except WireError as error:
            raise EvidenceError(f"the identity evidence is malformed: {error}") from None
        verifier = self._by_kind.get(kind)
        if verifier is None:
            raise EvidenceError(f"identity evidence of kind {kind[:64]!r} is not taken here")
        return verifier.verify(evidence, binding)
