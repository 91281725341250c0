"""A certification authority for tests: makes any certificate, above all those that none should make."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ztsession.identity.x509 import X509Evidence, X509Identity
from ztsession.identity.x509_signature import sign
from ztsession.wire.digest import digest

#: The moment of all tests. It is a real one, because whole handshakes run by the real clock.
NOW = datetime.now(UTC).replace(microsecond=0)
CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
ANY = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE
BINDING = bytes(range(32))
_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
)
_USAGES += ("key_cert_sign", "crl_sign", "encipher_only", "decipher_only")


@functools.cache
def key(kind: str, number: int = 0) -> Any:
    """One key of each kind and number for the whole run: making RSA keys is slow."""
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if kind.startswith("rsa"):
        return rsa.generate_private_key(65537, int(kind.removeprefix("rsa")))
    return ec.generate_private_key(
        {"p256": ec.SECP256R1(), "p384": ec.SECP384R1(), "p521": ec.SECP521R1()}[kind]
    )


def usage(*names: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{name: name in names for name in _USAGES})


def uri(text: str) -> x509.UniformResourceIdentifier:
    # Without the builder's own look at the text: it is to be wrong.
    return x509.UniformResourceIdentifier._init_without_validation(text)


def dns(text: str) -> x509.DNSName:
    return x509.DNSName._init_without_validation(text)


def named(text: str) -> x509.Name:
    parts = (text[start : start + 64] for start in range(0, len(text), 64))
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, part) for part in parts])


def made(
    subject: str,
    public: Any,
    issuer: str,
    signer: Any,
    extensions: Sequence[tuple[x509.ExtensionType, bool]],
    days: tuple[float, float],
    **options: Any,
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(named(subject))
        .issuer_name(named(issuer))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + timedelta(days=days[0]))
        .not_valid_after(NOW + timedelta(days=days[1]))
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    default = None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(signer, options.pop("algorithm", default), **options)


@dataclass(frozen=True)
class Holder:
    """A chain of certificates, leaf first, and the key of the leaf."""

    chain: list[bytes]
    key: Any

    @property
    def identity(self) -> X509Identity:
        return X509Identity(self.chain, self.key)

    def evidence(self, binding: bytes = BINDING) -> bytes:
        """What the identity would say, had it not looked at its own chain first."""
        signature = sign(self.key, digest("x509 identity", binding, self.chain[0]))
        return X509Evidence(self.chain, signature).to_bytes()

    @property
    def pem(self) -> bytes:
        read = map(x509.load_der_x509_certificate, self.chain)
        return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in read)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )


@dataclass(frozen=True)
class Issuer:
    """A CA: its key, its certificate and, above it, what has to be sent along."""

    name: str
    key: Any
    certificate: x509.Certificate
    above: tuple[x509.Certificate, ...] = ()

    @classmethod
    def root(cls, name: str = "root", kind: str = "p256", number: int = 0, **options: Any) -> Issuer:
        own = key(kind, number)
        extensions = _for_authority(own, options)
        return cls(name, own, made(name, own.public_key(), name, own, extensions, **options))

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    def intermediate(self, name: str, kind: str = "p256", number: int = 1, **options: Any) -> Issuer:
        own = key(kind, number)
        extensions = [*_for_authority(own, options), self._pointer()]
        certificate = made(name, own.public_key(), self.name, self.key, extensions, **options)
        return Issuer(name, own, certificate, (certificate, *self.above))

    def leaf(self, *names: x509.GeneralName, holder: Any = None, **options: Any) -> Holder:
        """A leaf; each option takes the place of what a good one has."""
        own = key("p256", 2) if holder is None else holder
        public = options.pop("public", None) or own.public_key()
        extensions = _for_leaf(names, options)
        extensions.append(self._pointer())
        certificate = made(options.pop("subject", "leaf"), public, self.name, self.key, extensions, **options)
        ders = [one.public_bytes(serialization.Encoding.DER) for one in (certificate, *self.above)]
        return Holder(ders, own)

    def _pointer(self) -> tuple[x509.ExtensionType, bool]:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False


def _for_authority(own: Any, options: dict[str, Any]) -> list[tuple[x509.ExtensionType, bool]]:
    options.setdefault("days", (-30, 30))
    return [
        (x509.BasicConstraints(options.pop("ca", True), options.pop("path_length", None)), True),
        (options.pop("usage", usage("key_cert_sign", "crl_sign")), True),
        (x509.SubjectKeyIdentifier.from_public_key(own.public_key()), False),
        *options.pop("extra", []),
    ]


def _for_leaf(
    names: Sequence[x509.GeneralName], options: dict[str, Any]
) -> list[tuple[x509.ExtensionType, bool]]:
    options.setdefault("days", (-1, 10))
    found = [
        (x509.BasicConstraints(options.pop("ca", False), None), True),
        (options.pop("usage", usage("digital_signature")), True),
    ]
    purposes = options.pop("purposes", (CLIENT,))
    found += [(x509.ExtendedKeyUsage(purposes), False)] if purposes else []
    found += [(x509.SubjectAlternativeName(names), False)] if names else []
    found = [(each, critical) for each, critical in found if each is not None]
    return found + options.pop("extra", [])


def with_signature(certificate: bytes, signature: bytes, *, unused_bits: int = 0, also: bytes = b"") -> bytes:
    """The same certificate with another signature; ``also`` goes into the outer algorithm identifier."""
    read = x509.load_der_x509_certificate(certificate)
    start = certificate.index(read.tbs_certificate_bytes) + len(read.tbs_certificate_bytes)
    algorithm = certificate[start : start + 2 + certificate[start + 1]]
    bits = element(0x03, bytes([unused_bits]) + signature)
    return element(0x30, read.tbs_certificate_bytes + element(0x30, algorithm[2:] + also) + bits)


def element(tag: int, content: bytes, *, long: bool = False) -> bytes:
    size = len(content)
    if size < 0x80 and not long:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8 + long, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content
