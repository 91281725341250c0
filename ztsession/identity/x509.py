"""Identity by an X.509 certificate: a SPIFFE ID or a DNS name that one of the operator's roots vouches for.

What certificates add to enrolled keys is that keys change without anybody being told, and what they take away
is that somebody else says who is who. So the roots are named by the operator, each SPIFFE trust domain can
have roots that speak for it alone, and a name that no subject is enrolled with opens nothing.

Possession of the leaf's key is shown first, by a signature over the binding and the leaf. A stranger who has
somebody's certificate, which is public, thereby learns nothing from the rest: neither whether it is trusted
or revoked here, nor whether anybody is enrolled with it.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.verification import Store

from ztsession.errors import ConfigurationError, EvidenceError, WireError
from ztsession.identity.chain import (
    CERTIFICATE_MAX_BYTES,
    CHAIN_MAX,
    fingerprints,
    path_of,
    read_certificates,
    untrusted,
)
from ztsession.identity.key_digests import key_digests
from ztsession.identity.protocol import BINDING_BYTES, EVIDENCE_MAX_BYTES, VerifiedIdentity
from ztsession.identity.subjects import SubjectRegistry
from ztsession.identity.x509_files import read_pem, read_private_key, read_roots
from ztsession.identity.x509_name import LeafName, is_trust_domain, name_of
from ztsession.identity.x509_signature import PrivateKey, key_of, sign, verify
from ztsession.wire.digest import digest
from ztsession.wire.operator_file import Table
from ztsession.wire.schema import ListOf, Message, Octets

__all__ = ["ASSURANCE", "X509Evidence", "X509Identity", "X509Verifier"]

#: Single-factor cryptographic proof: NIST SP 800-63B-4, AAL1.
ASSURANCE = 1
SIGNATURE_MAX_BYTES = 1024
#: Chains whose judgement is kept for the next time; all are dropped when there are more.
CHAINS_KEPT = 4096

_LABEL = "x509 identity"
_FINGERPRINT = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True)
class X509Evidence(Message, kind="identity.x509", max_bytes=EVIDENCE_MAX_BYTES):
    """Certificates in DER, leaf first, each certified by the next; and the signature of the leaf's key."""

    chain: Annotated[list[bytes], ListOf(Octets(CERTIFICATE_MAX_BYTES, 1), CHAIN_MAX, 1)]
    signature: Annotated[bytes, Octets(SIGNATURE_MAX_BYTES, 1)]


class X509Identity:
    """The client's side: a chain of certificates, the key of its leaf, and a static key of the handshake."""

    def __init__(
        self, chain: Sequence[bytes], key: PrivateKey, *, static_private: bytes | None = None
    ) -> None:
        """``chain``: DER, leaf first, the root left out or in; ``static_private``: X25519, 32 bytes, fresh
        when None. ``ConfigurationError`` when they do not belong together, name nobody or are too long.
        """
        self._chain, self._key = list(chain), key
        self._static_private = os.urandom(32) if static_private is None else static_private
        if len(self._static_private) != 32:
            raise ConfigurationError("the static private key has 32 bytes")
        try:
            self._name = self._checked()
        except (EvidenceError, WireError) as error:
            raise ConfigurationError(f"this chain proves no identity: {error}") from None

    @classmethod
    def from_files(
        cls,
        chain: str | os.PathLike[str],
        key: str | os.PathLike[str],
        *,
        static_private: bytes | None = None,
    ) -> X509Identity:
        """Read PEM files: certificates, leaf first, and an unencrypted key that others may not read."""
        certificates = read_pem(chain)
        encoded = [one.public_bytes(Encoding.DER) for one in certificates]
        private = read_private_key(key)
        try:
            return cls(encoded, private, static_private=static_private)
        except ConfigurationError as error:
            raise ConfigurationError(str(error), file=os.fspath(chain)) from None

    def __repr__(self) -> str:
        return f"X509Identity({self.subject!r})"

    @property
    def subject(self) -> str:
        """The SPIFFE ID, or the DNS name in lower case."""
        return self._name.text

    @property
    def static_private(self) -> bytes:
        """The X25519 private key of the handshake, 32 bytes."""
        return self._static_private

    def prove(self, binding: bytes) -> bytes:
        """Return evidence for this 32-byte ``binding``."""
        signature = sign(self._key, _signed(binding, self._chain[0]))
        return X509Evidence(self._chain, signature).to_bytes()

    def _checked(self) -> LeafName:
        # With the longest signature, so that no proof can turn out too long later.
        X509Evidence(self._chain, bytes(SIGNATURE_MAX_BYTES)).to_bytes()
        leaf = read_certificates(self._chain)[0]
        with untrusted("the leaf certificate cannot be read"):
            if key_of(leaf) != self._key.public_key():
                raise EvidenceError("the private key is not the leaf certificate's")
            return name_of(leaf)


class X509Verifier:
    """The Authority's side: who holds the key of a certificate that a trusted root leads to."""

    kind = X509Evidence.kind

    def __init__(
        self,
        subjects: SubjectRegistry,
        roots: Sequence[x509.Certificate],
        *,
        trust_domains: Collection[str] = (),
        bundles: Mapping[str, Sequence[x509.Certificate]] | None = None,
        revoked: Collection[bytes] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``roots`` vouch for DNS names and for the SPIFFE IDs of ``trust_domains``; each of ``bundles`` for
        the SPIFFE IDs of its own trust domain alone. ``revoked``: SHA-256 fingerprints, 32 bytes each;
        ``clock``: Unix seconds.
        """
        self._subjects, self._clock = subjects, clock
        self._revoked = frozenset(revoked)
        # The empty trust domain stands for DNS names, as it does in LeafName.
        named = dict.fromkeys(("", *trust_domains), roots) | dict(bundles or {})
        self._roots = {domain: Store(list(trusted)) for domain, trusted in named.items() if trusted}
        # Roots and revocations are this verifier's for good: new ones make a new verifier.
        self._accepted: dict[tuple[bytes, ...], _Accepted] = {}

    @classmethod
    def from_table(
        cls,
        table: Table,
        directory: Path,
        subjects: SubjectRegistry,
        *,
        clock: Callable[[], float] = time.time,
    ) -> X509Verifier:
        """Read ``[x509]`` of identity.toml; ``ConfigurationError`` names the file and what was expected.

        [x509]
        roots = ["roots.pem"]                  # PEM files beside this one, CA certificates
        trust_domains = ["firm.example"]       # whose SPIFFE IDs these roots vouch for, default none
        revoked = ["64 hexadecimal digits"]    # SHA-256 fingerprints of certificates, default none
        [x509.bundles."partner.example"]       # roots that vouch for one trust domain alone, default none
        roots = ["partner.pem"]
        """
        table.allow_only("roots", "trust_domains", "revoked", "bundles")
        roots, domains = _read_root_files(table, directory), table.texts("trust_domains")
        bundles = _read_bundles(table.table("bundles"), directory, domains)
        if not roots and (domains or not bundles):
            raise table.error("expected the names of PEM files with CA certificates", "roots")
        if not all(map(is_trust_domain, domains)):
            raise table.error("expected trust domains, without spiffe:// and in lower case", "trust_domains")
        revoked = table.texts("revoked")
        if not all(map(_FINGERPRINT.fullmatch, revoked)):
            raise table.error("expected fingerprints, 64 digits of lower-case hexadecimal each", "revoked")
        return cls(
            subjects,
            roots,
            trust_domains=domains,
            bundles=bundles,
            revoked=[bytes.fromhex(each) for each in revoked],
            clock=clock,
        )

    def verify(self, evidence: bytes, binding: bytes) -> VerifiedIdentity:
        """Return the subject enrolled with the certificate's name, until the chain's first certificate ends;
        ``EvidenceError`` for anything else.
        """
        try:
            claim = X509Evidence.from_bytes(evidence)
        except WireError as error:
            raise EvidenceError(f"the identity evidence is malformed: {error}") from None
        with untrusted("the certificate chain cannot be read"):
            proven = self._proven(claim, binding)
        # Last, when everything else holds: only a certificate's own holder learns that nobody has its name.
        subject = self._subjects.holder(proven.credential)
        if subject is None:
            raise EvidenceError(f"no subject is enrolled with {proven.credential[:512]}")
        return subject.identity(ASSURANCE, proven.credential, proven.until, keys=proven.keys)

    def _proven(self, claim: X509Evidence, binding: bytes) -> _Accepted:
        # A known chain is read anew, too: else a thief, who gets no further, could time which are known (H23)
        chain = read_certificates(claim.chain)
        verify(key_of(chain[0]), _signed(binding, claim.chain[0]), claim.signature)
        now, presented = self._clock(), tuple(claim.chain)
        known = self._accepted.get(presented)
        if known is None or not known.since <= now < known.until:
            known = self._judged(chain, now)
            if len(self._accepted) >= CHAINS_KEPT:
                self._accepted.clear()
            self._accepted[presented] = known
        return known

    def _judged(self, chain: Sequence[x509.Certificate], now: float) -> _Accepted:
        name = name_of(chain[0])
        roots = self._roots.get(name.trust_domain)
        if roots is None:
            raise EvidenceError(f"no root vouches for {name.trust_domain or 'DNS names'}")
        path = path_of(chain, roots, now)
        if any(fingerprints(each) & self._revoked for each in path):
            raise EvidenceError("a certificate of the chain is revoked")
        since = max(each.not_valid_before_utc for each in path).timestamp()
        until = int(min(each.not_valid_after_utc for each in path).timestamp())
        return _Accepted(name.credential, since, until, _key_digests(path))


@dataclass(frozen=True)
class _Accepted:
    """What a chain was judged to be, and between which Unix seconds that holds."""

    credential: str
    since: float
    until: int
    #: Of every key and certificate from the leaf to the root.
    keys: tuple[str, ...]


def _key_digests(path: Sequence[x509.Certificate]) -> tuple[str, ...]:
    keys = [each for certificate in path for each in key_digests(certificate.public_key())]
    return (*keys, *sorted(each.hex() for certificate in path for each in fingerprints(certificate)))


def _signed(binding: bytes, leaf: bytes) -> bytes:
    if len(binding) != BINDING_BYTES:
        raise EvidenceError(f"a binding has {BINDING_BYTES} bytes, not {len(binding)}")
    return digest(_LABEL, binding, leaf)


def _read_bundles(
    table: Table, directory: Path, others: Collection[str]
) -> dict[str, list[x509.Certificate]]:
    bundles = {}
    for domain, bundle in table.tables():
        bundle.allow_only("roots")
        if not is_trust_domain(domain) or domain in others:
            raise bundle.error("expected a trust domain in lower case that trust_domains does not list")
        bundles[domain] = _read_root_files(bundle, directory)
        if not bundles[domain]:
            raise bundle.error("expected the names of PEM files with CA certificates", "roots")
    return bundles


def _read_root_files(table: Table, directory: Path) -> list[x509.Certificate]:
    names = table.texts("roots")
    if any(name in ("", ".", "..") or "/" in name or "\0" in name for name in names):
        raise table.error("expected names of files in the same directory", "roots")
    return [root for name in names for root in read_roots(directory / name)]
