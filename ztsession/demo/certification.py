"""The demo firm's CA: it says which key belongs to which service, for an hour, and nothing else.

Certificates of this kind are X.509-SVIDs (SPIFFE): the name is one URI in the certificate, and the root
vouches for names of its own trust domain alone. The name is the operator's word, and not the asker's, whose
request shows only that it has the key.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ztsession.errors import EvidenceError

__all__ = ["Certification"]

_VALID = timedelta(hours=1)
# Clocks differ, on one machine too if it is set back meanwhile.
_BEFORE = timedelta(minutes=1)


class Certification:
    """A root key in memory, and the certificates that it signs."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = self._named("demo firm root")
        self._root = self._signed(name, name, self._key.public_key(), ca=True, usage="key_cert_sign", more=[])

    @property
    def root_pem(self) -> bytes:
        """The root's certificate."""
        return self._root.public_bytes(Encoding.PEM)

    def issue(self, request: str, spiffe_id: str) -> list[str]:
        """Certify the key of a PEM request under this name; the chain, DER in hexadecimal, leaf first.

        EvidenceError when the request was not made with that key.
        """
        asked = x509.load_pem_x509_csr(request.encode("ascii"))
        key = asked.public_key()
        if not asked.is_signature_valid or not isinstance(key, ec.EllipticCurvePublicKey):
            raise EvidenceError("the request shows no key of an elliptic curve")
        more: list[x509.ExtensionType] = [
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(spiffe_id)]),
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]),
            x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
        ]
        leaf = self._signed(
            self._named("a service"), self._root.subject, key, ca=False, usage="digital_signature", more=more
        )
        return [leaf.public_bytes(Encoding.DER).hex()]

    def _signed(
        self,
        subject: x509.Name,
        issuer: x509.Name,
        key: ec.EllipticCurvePublicKey,
        *,
        ca: bool,
        usage: str,
        more: list[x509.ExtensionType],
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number())
            .not_valid_before(now - _BEFORE)
            .not_valid_after(now + _VALID)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(_usage(usage), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        )
        for extension in more:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(self._key, SHA256())

    @staticmethod
    def _named(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _usage(what: str) -> x509.KeyUsage:
    uses = dict.fromkeys(
        (
            *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
            *("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
        ),
        False,
    )
    return x509.KeyUsage(**{**uses, what: True})
