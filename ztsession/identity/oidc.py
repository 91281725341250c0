"""Identity by OAuth 2.0 access tokens (RFC 9068) of OpenID providers, with proof of possession.

A bearer token is a password that travels: whoever sees one can use it. So a token alone proves nothing here.
It must name a key (``cnf``: RFC 9449 section 6.1, RFC 7800 section 3.2), and the evidence is a signature by
that key over the handshake's binding and the token: what is stolen from a log or a proxy opens nothing, and
what was shown in one handshake fits no other.

The rest is reading. Tokens come from strangers, and many doors have opened because two parsers read one text
differently, or because a header was believed about its own key. So: sizes before parsing, one form of
everything, algorithms and ``typ`` pinned by the operator, keys from the configured place only, and each
issuer with keys of its own.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Self

from ztsession.errors import ConfigurationError, EvidenceError, WireError
from ztsession.identity.compact_jws import CompactJws
from ztsession.identity.key_digests import key_digests
from ztsession.identity.oidc_issuer import OidcIssuer
from ztsession.identity.oidc_key import (
    POINT_BYTES,
    PROOF_ALGORITHMS,
    ProofKey,
    check_confirmation,
    check_proof,
    proof_key,
)
from ztsession.identity.oidc_name import SUBJECT_MAX_BYTES, is_subject
from ztsession.identity.oidc_settings import read_issuers
from ztsession.identity.protocol import BINDING_BYTES, VerifiedIdentity
from ztsession.identity.subjects import SubjectRegistry, oidc_credential
from ztsession.wire.digest import digest
from ztsession.wire.names import is_name
from ztsession.wire.operator_file import Table
from ztsession.wire.schema import Message, Octets, OneOf, Text

__all__ = ["TOKEN_MAX_BYTES", "OidcEvidence", "OidcIdentity", "OidcIssuer", "OidcVerifier", "ProofKey"]

TOKEN_MAX_BYTES = 16384


@dataclass(frozen=True)
class OidcEvidence(Message, kind="identity.oidc", max_bytes=17408):
    """A token, the public key that it names, and what that key signed for this handshake.

    ``key`` is an uncompressed P-256 point (65 bytes) or an Ed25519 key (32 bytes). ``signature`` is over
    ``digest("oidc identity", binding, sha256(token))``: r and s of 32 bytes each with s in the lower half of
    the group, over that digest's SHA-256 (ES256); or RFC 8032's 64 bytes (EdDSA).
    """

    token: Annotated[str, Text(TOKEN_MAX_BYTES, 1)]
    algorithm: Annotated[str, OneOf(PROOF_ALGORITHMS)]
    key: Annotated[bytes, Octets(POINT_BYTES, 32)]
    signature: Annotated[bytes, Octets.exactly(64)]


@dataclass(frozen=True)
class OidcIdentity:
    """The client's side: a current access token, the key that it is bound to, and the handshake's own key.

    ``token`` is the compact text, or what returns it for each handshake: tokens end. ``static_private`` is
    the X25519 key, 32 bytes, fresh if not given.
    """

    subject: str
    token: str | Callable[[], str] = field(repr=False)
    key: ProofKey
    static_private: bytes = field(default_factory=lambda: os.urandom(32), repr=False)

    def __post_init__(self) -> None:
        if not is_name(self.subject):
            raise ConfigurationError("subject: expected 1 to 128 characters from A-Z a-z 0-9 . _ : / @ -")
        if len(self.static_private) != 32:
            raise ConfigurationError("static_private: expected 32 bytes")

    def prove(self, binding: bytes) -> bytes:
        """Return evidence for this 32-byte ``binding``; ``WireError`` if the token is over 16384 bytes."""
        token = self.token if isinstance(self.token, str) else self.token()
        signature = self.key.sign(_signed(token, binding))
        return OidcEvidence(token, self.key.algorithm, self.key.public, signature).to_bytes()


class OidcVerifier:
    """The Authority's side: whom its issuers vouch for, if that one is there and enrolled."""

    kind = OidcEvidence.kind

    def __init__(
        self,
        issuers: Iterable[OidcIssuer],
        subjects: SubjectRegistry,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._issuers = {each.issuer: each for each in issuers}
        self._subjects, self._clock = subjects, clock

    @classmethod
    def from_table(
        cls,
        table: Table,
        directory: Path,
        subjects: SubjectRegistry,
        *,
        clock: Callable[[], float] = time.time,
    ) -> Self:
        """Read ``[oidc]`` of ``identity.toml``, as :mod:`ztsession.identity.oidc_settings` explains it;
        ``ConfigurationError`` names the place and what was expected.
        """
        return cls(read_issuers(table, directory), subjects, clock=clock)

    def verify(self, evidence: bytes, binding: bytes) -> VerifiedIdentity:
        """Return the enrolled subject that made ``evidence`` for ``binding``; ``EvidenceError`` otherwise."""
        try:
            shown = OidcEvidence.from_bytes(evidence)
        except WireError as error:
            raise EvidenceError(f"the identity evidence is malformed: {error}") from None
        # Before any key is asked for: of this handshake, by the one who holds the key that is claimed.
        check_proof(shown.algorithm, shown.key, shown.signature, _signed(shown.token, binding))
        token = CompactJws.read(shown.token)
        name = token.claims.get("iss")
        issuer = self._issuers.get(name) if isinstance(name, str) else None
        if issuer is None:
            raise EvidenceError("the token is of an issuer that is not trusted here")
        issuer.check(token, self._clock())
        check_confirmation(token.claims.get("cnf"), shown.algorithm, shown.key)
        keys = key_digests(proof_key(shown.algorithm, shown.key))
        return self._enrolled(issuer, token.claims, keys)

    def _enrolled(
        self, issuer: OidcIssuer, claims: Mapping[str, Any], keys: tuple[str, ...]
    ) -> VerifiedIdentity:
        named, acr = claims.get("sub"), claims.get("acr")
        if not isinstance(named, str) or not isinstance(acr, str | None):
            raise EvidenceError("the token's sub or acr is not a text")
        if not is_subject(named):
            raise EvidenceError(f"the token's sub is not 1 to {SUBJECT_MAX_BYTES} printable ASCII characters")
        credential = oidc_credential(issuer.issuer, named)
        subject = self._subjects.holder(credential)
        if subject is None:
            raise EvidenceError("the token's subject is not enrolled")
        assurance = 1 if acr is None else issuer.assurance.get(acr, 1)
        return subject.identity(assurance, credential, until=claims["exp"], keys=keys)


def _signed(token: str, binding: bytes) -> bytes:
    if len(binding) != BINDING_BYTES:
        raise EvidenceError(f"a binding has {BINDING_BYTES} bytes, not {len(binding)}")
    return digest("oidc identity", binding, hashlib.sha256(token.encode("utf-8", "replace")).digest())
