"""Identity by Ed25519: the subject holds a key, the Authority a registry of public keys.

The simplest proof that needs no third party. The evidence is a signature over the binding, which the
handshake makes new each time, so there is nothing in it to replay and nothing to steal. It proves
possession of one key, hence assurance level 1; a device or a second factor has to raise it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Annotated

from ztsession.errors import ConfigurationError, EvidenceError, WireError
from ztsession.identity.key_digests import ed25519_key_digests
from ztsession.identity.protocol import BINDING_BYTES, SubjectKind, VerifiedIdentity
from ztsession.identity.subjects import KINDS, Subject, SubjectRegistry, ed25519_credential
from ztsession.wire.digest import digest
from ztsession.wire.names import is_name
from ztsession.wire.operator_file import read_private_toml, write_private
from ztsession.wire.schema import Message, Name, Octets
from ztsession.wire.signature import SIGNATURE_BYTES, public_key, sign, verify

__all__ = ["ASSURANCE", "Ed25519Evidence", "Ed25519Identity", "Ed25519Verifier"]

#: Single-factor cryptographic proof: NIST SP 800-63B-4, AAL1.
ASSURANCE = 1

_LABEL = "ed25519 identity"


@dataclass(frozen=True)
class Ed25519Evidence(Message, kind="identity.ed25519", max_bytes=512):
    """Who claims to be there, and the signature that shows it."""

    subject: Annotated[str, Name()]
    signature: Annotated[bytes, Octets.exactly(SIGNATURE_BYTES)]


@dataclass(frozen=True)
class Ed25519Identity:
    """The client's side: a subject's name and its two private keys.

    ``signing_seed`` is the Ed25519 seed and ``static_private`` the X25519 key of the handshake, 32 bytes
    each. They are kept apart, because a key that is used for two purposes can be turned from one against
    the other.
    """

    subject: str
    signing_seed: bytes = field(repr=False)
    static_private: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not is_name(self.subject):
            raise ConfigurationError("subject: expected 1 to 128 characters from A-Z a-z 0-9 . _ : / @ -")
        if len(self.signing_seed) != 32 or len(self.static_private) != 32:
            raise ConfigurationError("both private keys have 32 bytes")

    @classmethod
    def generate(cls, subject: str) -> Ed25519Identity:
        """Return a new identity with fresh keys."""
        return cls(subject, os.urandom(32), os.urandom(32))

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Ed25519Identity:
        """Read an identity that :meth:`to_file` wrote; refuses a file that others may read."""
        table = read_private_toml(path)
        table.allow_only("subject", "signing_seed", "static_private")
        return cls(
            table.name("subject"), table.octets("signing_seed", 32), table.octets("static_private", 32)
        )

    def to_file(self, path: str | os.PathLike[str]) -> None:
        """Write the private keys to a new file of mode 0600; never over an existing one."""
        write_private(
            path,
            f'subject = "{self.subject}"\n'
            f'signing_seed = "{self.signing_seed.hex()}"\n'
            f'static_private = "{self.static_private.hex()}"\n',
        )

    @property
    def public_key(self) -> bytes:
        """The Ed25519 public key, 32 bytes."""
        return public_key(self.signing_seed)

    def registry_entry(self, kind: SubjectKind, *, roles: tuple[str, ...] = (), desk: str = "") -> str:
        """Return the TOML text that enrols this subject in ``subjects.toml``."""
        if kind not in KINDS:
            raise ConfigurationError(f"kind: expected one of {', '.join(KINDS)}")
        # Text that goes between quotes: a name cannot close them.
        if not all(map(is_name, roles)) or not (is_name(desk) or desk == ""):
            raise ConfigurationError("roles and desk: expected names from A-Z a-z 0-9 . _ : / @ -")
        words = ", ".join(f'"{role}"' for role in roles)
        return (
            f'[subjects."{self.subject}"]\n'
            f'kind = "{kind}"\n'
            f"roles = [{words}]\n"
            f'desk = "{desk}"\n'
            f'public_key = "{self.public_key.hex()}"\n'
        )

    def prove(self, binding: bytes) -> bytes:
        """Return evidence for this 32-byte ``binding``."""
        return Ed25519Evidence(
            self.subject, sign(self.signing_seed, _signed(self.subject, binding))
        ).to_bytes()


class Ed25519Verifier:
    """The Authority's side: checks the signature with the key that is enrolled for the subject."""

    kind = Ed25519Evidence.kind

    def __init__(self, subjects: SubjectRegistry) -> None:
        self._subjects = subjects

    def verify(self, evidence: bytes, binding: bytes) -> VerifiedIdentity:
        """Return the enrolled subject that made ``evidence`` for ``binding``; ``EvidenceError`` otherwise."""
        try:
            claim = Ed25519Evidence.from_bytes(evidence)
        except WireError as error:
            raise EvidenceError(f"the identity evidence is malformed: {error}") from None
        subject = self._subjects.named(claim.subject)
        credential = "" if subject is None else _enrolled_key(subject)
        # A stranger costs one verification too, so that time does not tell which names are enrolled (H23).
        key = bytes.fromhex(credential.removeprefix(_SCHEME)) if credential else _NOBODY
        verify(key, _signed(claim.subject, binding), claim.signature)
        if subject is None or not credential:
            raise EvidenceError("the subject is not enrolled with an Ed25519 key")
        # Of two registries the first is right: a key that it gives to another is not this subject's.
        if self._subjects.holder(credential) != subject:
            raise EvidenceError("the subject's key belongs to another, whom the operator's file names")
        return subject.identity(ASSURANCE, credential, keys=ed25519_key_digests(key))


# The public key of a seed that was thrown away in plain sight: it only keeps the verifier as busy as any
# other.
_NOBODY = public_key(digest("nobody"))
_SCHEME = ed25519_credential(b"")


def _enrolled_key(subject: Subject) -> str:
    return next((text for text in subject.credentials if text.startswith(_SCHEME)), "")


def _signed(subject: str, binding: bytes) -> bytes:
    if len(binding) != BINDING_BYTES:
        raise EvidenceError(f"a binding has {BINDING_BYTES} bytes, not {len(binding)}")
    return digest(_LABEL, binding, subject.encode("ascii"))
