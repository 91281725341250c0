"""Whom a leaf certificate names: exactly one SPIFFE ID, or else exactly one DNS name.

A certificate with two names lets its holder choose after the check which one counts, and two spellings of a
name are two people for a log and one for a reader. So there is one name or none, in one spelling. The common
name in the subject never counts: no rule says what an issuer may write there (RFC 9525, section 2).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cryptography import x509

from ztsession.errors import EvidenceError

__all__ = ["SPIFFE_ID_MAX_BYTES", "LeafName", "is_host_name", "is_trust_domain", "name_of", "trust_domain_of"]

#: SPIFFE-ID, section 2.3.
SPIFFE_ID_MAX_BYTES = 2048
_DNS_NAME_MAX_BYTES = 253

_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}", re.ASCII)
_SEGMENT = re.compile(r"[A-Za-z0-9._-]+", re.ASCII)
_DNS_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?", re.ASCII)
_SCHEME = "spiffe://"


@dataclass(frozen=True)
class LeafName:
    """The credential's text, a SPIFFE ID or "dns:" and a name; ``trust_domain`` is empty for the latter."""

    credential: str
    trust_domain: str = ""

    @property
    def text(self) -> str:
        """The SPIFFE ID, or the DNS name."""
        return self.credential.removeprefix("dns:")


def name_of(leaf: x509.Certificate) -> LeafName:
    """Return whom the certificate names; ``EvidenceError`` for none, several or a malformed one.

    With a URI among the alternative names there must be one alone, and it a SPIFFE ID (X509-SVID, section 2);
    DNS names beside it are not looked at.
    """
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        raise EvidenceError("the leaf certificate has no subjectAltName") from None
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if uris:
        return _spiffe_name(uris)
    return _dns_name(names.get_values_for_type(x509.DNSName))


def trust_domain_of(spiffe_id: str) -> str:
    """Return the trust domain of a workload's SPIFFE ID; ``EvidenceError`` if it is not one.

    spiffe://trust-domain/segment/..., where nothing is percent-encoded and no segment is empty, "." or ".."
    (SPIFFE-ID, sections 2.1 and 2.2). The path is not optional: without one it names an authority.
    """
    if len(spiffe_id) > SPIFFE_ID_MAX_BYTES:
        raise EvidenceError(f"a SPIFFE ID has at most {SPIFFE_ID_MAX_BYTES} bytes")
    domain, *path = spiffe_id.removeprefix(_SCHEME).split("/")
    well_formed = (
        spiffe_id.startswith(_SCHEME)
        and is_trust_domain(domain)
        and bool(path)
        and all(_SEGMENT.fullmatch(segment) and segment not in (".", "..") for segment in path)
    )
    if not well_formed:
        raise EvidenceError("the leaf certificate's URI is not a workload's SPIFFE ID")
    return domain


def is_trust_domain(text: str) -> bool:
    """Say whether ``text`` is 1 to 255 of ``a-z 0-9 . _ -``."""
    return _TRUST_DOMAIN.fullmatch(text) is not None


def is_host_name(text: str) -> bool:
    """Say whether ``text`` is one host's DNS name: labels of ``A-Z a-z 0-9 -``, no wildcard, no last dot."""
    return len(text) <= _DNS_NAME_MAX_BYTES and all(map(_DNS_LABEL.fullmatch, text.split(".")))


def _spiffe_name(uris: list[str]) -> LeafName:
    if len(uris) != 1:
        raise EvidenceError(f"the leaf certificate names {len(uris)} URIs, expected one SPIFFE ID")
    return LeafName(uris[0], trust_domain_of(uris[0]))


def _dns_name(names: list[str]) -> LeafName:
    if len(names) != 1:
        raise EvidenceError(
            f"the leaf certificate names no URI and {len(names)} DNS names, expected one name"
        )
    name = names[0]
    # A wildcard is nobody: whoever is admitted by one cannot be told from the next.
    if not is_host_name(name):
        raise EvidenceError("the leaf certificate's DNS name is not one host's name")
    return LeafName(f"dns:{name.lower()}")
