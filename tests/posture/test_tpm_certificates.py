"""A certificate of a TPM's key counts if its chain holds, to a root of the operator, for this purpose."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA224, SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ztsession.errors import ConfigurationError, EvidenceError
from ztsession.posture.keys import attestation_key
from ztsession.posture.tpm_certificates import AK_PURPOSE, EK_PURPOSE, certified_key, read_roots
from ztsession.posture.tpm_enrolment import ak_from_certificate

NOW = datetime(2027, 1, 15, tzinfo=UTC)


@cache
def key(name: str) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@cache
def rsa_key(bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


def named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else [])


def certificate(
    subject: str,
    issuer: str,
    *extensions: tuple[x509.ExtensionType, bool],
    public=None,
    signer=None,
    hashed=None,
    days: tuple[int, int] = (-1, 1),
) -> x509.Certificate:
    builder = x509.CertificateBuilder(named(issuer), named(subject), public or key(subject).public_key())
    builder = builder.serial_number(7).not_valid_before(NOW + timedelta(days[0]))
    builder = builder.not_valid_after(NOW + timedelta(days[1]))
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(signer or key(issuer), hashed or SHA256())


def ca(subject: str, issuer: str = "root", *more, path=None, **options) -> bytes:
    constraints = (x509.BasicConstraints(ca=True, path_length=path), True)
    return der(certificate(subject, issuer, constraints, *more, **options))


def purpose(*which: x509.ObjectIdentifier) -> tuple[x509.ExtensionType, bool]:
    return (x509.ExtendedKeyUsage(which or [AK_PURPOSE]), False)


def ak(issuer: str = "root", *more, **options) -> bytes:
    return der(certificate("ak", issuer, *(more or [purpose()]), **options))


def der(made: x509.Certificate) -> bytes:
    return made.public_bytes(Encoding.DER)


def usage(**set_to: bool) -> tuple[x509.ExtensionType, bool]:
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment")
    names += ("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
    return (x509.KeyUsage(**(dict.fromkeys(names, False) | set_to)), True)


ROOT = ca("root", "root", usage(key_cert_sign=True))
ROOTS = [ca("another", "another"), ROOT]


def enrol(*chain: bytes, roots=ROOTS, now: datetime = NOW) -> str:
    return ak_from_certificate(chain, roots, now.timestamp())


@pytest.mark.parametrize(
    "chain", [(ak(),), (ak("middle"), ca("middle")), (ak("low"), ca("low", "middle", path=0), ca("middle"))]
)
def test_a_chain_that_holds_gives_the_key(chain):
    """One, two or three certificates below a root: the first one's key comes out, in PEM."""
    assert attestation_key(enrol(*chain)) == key("ak").public_key()


def test_what_such_certificates_usually_hold_is_understood():
    """An empty subject with a critical alternative name, and a non-critical constraint, is no obstacle."""
    name = x509.SubjectAlternativeName([x509.DirectoryName(named("tpm"))])
    leaf = certificate(
        "",
        "root",
        purpose(),
        (name, True),
        (x509.BasicConstraints(False, None), False),
        public=rsa_key(2048).public_key(),
    )
    assert attestation_key(enrol(der(leaf))) == rsa_key(2048).public_key()


def test_H13_a_certificate_for_another_purpose_enrols_nothing():
    """Neither an EK's certificate nor a web server's makes an attestation key, whoever signed it."""
    server = purpose(ExtendedKeyUsageOID.SERVER_AUTH)
    none = (x509.BasicConstraints(False, None), True)
    for more in (purpose(EK_PURPOSE), server, none):
        with pytest.raises(EvidenceError, match="is not for the purpose"):
            enrol(ak("root", more))
    certified_key([ak("root", purpose(EK_PURPOSE))], ROOTS, NOW.timestamp(), EK_PURPOSE)


@pytest.mark.parametrize(
    ("chain", "says"),
    [
        ((), "1 to 3 certificates"),
        ((ak("low"), ca("low", "middle"), ca("middle", "high"), ca("high")), "1 to 3 certificates"),
        ((ak("stranger"),), "none of the given roots"),
        ((ak("middle"), ca("middle", "stranger")), "none of the given roots"),
        ((ak(signer=key("stranger")),), "none of the given roots"),
        ((ak("middle", signer=key("stranger")), ca("middle")), "not signed by the next"),
        ((ca("middle"), ak("middle")), "none of the given roots"),
        ((ak("ak"), ak()), "is no CA"),
        ((ak("middle"), ca("middle", "root", usage(crl_sign=True))), "for something else"),
        ((ak("low"), ca("low", "middle"), ca("middle", path=0)), "longer than one of its CAs"),
        ((ca("ak", "root", purpose()),), "none of a TPM's key"),
        (
            (ak("root", purpose(), (x509.NameConstraints(None, [x509.DNSName("a")]), True)),),
            "critical extension",
        ),
        ((ak(public=rsa_key(1024).public_key()),), "weak key"),
        ((ak("middle", signer=rsa_key(1024)), ca("middle", public=rsa_key(1024).public_key())), "weak key"),
        ((ak(public=ec.generate_private_key(ec.SECP192R1()).public_key()),), "weak key"),
    ],
)
def test_H13_a_chain_that_does_not_hold_enrols_nothing(chain, says):
    """Each way in which a chain can be none is told by its own sentence."""
    with pytest.raises(EvidenceError, match=says):
        enrol(*chain)


@pytest.mark.parametrize("days", [(1, 2), (-2, -1)])
def test_H12_a_chain_out_of_its_time_enrols_nothing(days):
    """Not yet or no longer valid, at any place of the chain, root included."""
    for chain, roots in (
        ([ak(days=days)], ROOTS),
        ([ak("middle"), ca("middle", days=days)], ROOTS),
        ([ak()], [ca("root", "root", days=days)]),
    ):
        with pytest.raises(EvidenceError, match="not yet or no longer valid"):
            enrol(*chain, roots=roots)
    enrol(ak("middle"), ca("middle"))


def test_a_root_that_is_no_CA_is_none():
    """An operator who names a leaf as root does not make an issuer of it."""
    with pytest.raises(EvidenceError, match="is no CA"):
        enrol(ak(), roots=[der(certificate("root", "root"))])


def test_D7_each_flipped_byte_and_each_bomb_is_refused():
    """Whatever the parser makes of a hostile certificate, it is an EvidenceError and enrols nothing else."""
    good = ak()
    for position in range(len(good)):
        flipped = bytearray(good)
        flipped[position] ^= 0x10
        with pytest.raises(EvidenceError):
            enrol(bytes(flipped))
    for bomb, says in (
        (b"", "malformed"),
        (b"\x30\x80" * 2000, "malformed"),
        (b"\x30\x84\xff\xff\xff\xff", "malformed"),
        (bytes(4097), "at most 4096 bytes"),
    ):
        with pytest.raises(EvidenceError, match=says):
            enrol(bomb)
    enrol(good)


def test_roots_are_read_from_pem(tmp_path):
    """A file of several certificates gives all of them; one without any is told by its name."""
    path = tmp_path / "roots.pem"
    both = [x509.load_der_x509_certificate(each) for each in ROOTS]
    path.write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in both))
    assert read_roots(path) == ROOTS
    path.write_text("nothing")
    for where in (path, tmp_path / "none"):
        with pytest.raises(ConfigurationError) as told:
            read_roots(where)
        assert told.value.file == str(where)


def test_H13_weak_hashes_are_refused():
    """A signature over a shorter hash counts for nothing, wherever it stands in the chain."""
    with pytest.raises(EvidenceError, match="another hash"):
        enrol(ak(hashed=SHA224()))
