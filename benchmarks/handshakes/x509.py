"""Identity by certificates: a leaf with a SPIFFE ID under an intermediate under the operator's root, all of
P-256, of which two are shown.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from benchmarks.firm import Enrolment
from benchmarks.handshakes.kind import Kind, connecting
from benchmarks.handshakes.operations import Operations
from ztsession.identity.x509 import X509Identity

__all__ = ["certificates"]

SPIFFE_ID = "spiffe://firm.example/algo-8"

_Extensions = tuple[tuple[x509.ExtensionType, bool], ...]


def certificates() -> Kind:
    """Three signatures of P-256 in place of one of Ed25519: the binding, the leaf, the intermediate."""
    keys = [generate_private_key(SECP256R1()) for _ in range(3)]
    root = _certificate("root", keys[0], "root", keys[0], _authority(keys[0]))
    issuing = _certificate("issuing", keys[1], "root", keys[0], _authority(keys[1]))
    leaf = _certificate("algo-8", keys[2], "issuing", keys[1], _client())
    identity = X509Identity([each.public_bytes(Encoding.DER) for each in (leaf, issuing)], keys[2])
    subject = '[subjects."algo-8"]\nkind = "algorithm"\nroles = ["trading"]\ndesk = "rates"\n'
    enrolment = Enrolment(
        subjects=f'{subject}spiffe_id = "{SPIFFE_ID}"\n',
        identity='[x509]\nroots = ["roots.pem"]\ntrust_domains = ["firm.example"]\n',
        files={"roots.pem": root.public_bytes(Encoding.PEM)},
    )
    least = Operations(ed25519=1, p256=3)
    return Kind(
        "X.509 (P-256, 2 certificates), statement", "P11 X.509", connecting(identity), least, enrolment
    )


def _certificate(
    subject: str,
    key: EllipticCurvePrivateKey,
    issuer: str,
    signer: EllipticCurvePrivateKey,
    extensions: _Extensions,
) -> x509.Certificate:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(_name(issuer), _name(subject), key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=30))
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    pointer = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    return builder.add_extension(pointer, False).sign(signer, SHA256())


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _authority(key: EllipticCurvePrivateKey) -> _Extensions:
    return (
        (x509.BasicConstraints(ca=True, path_length=None), True),
        (_usage("key_cert_sign", "crl_sign"), True),
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
    )


def _client() -> _Extensions:
    return (
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_usage("digital_signature"), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False),
        (x509.SubjectAlternativeName([x509.UniformResourceIdentifier(SPIFFE_ID)]), False),
    )


def _usage(*names: str) -> x509.KeyUsage:
    usages: tuple[str, ...] = ("digital_signature", "content_commitment", "key_encipherment")
    usages += (
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{usage: usage in names for usage in usages})
