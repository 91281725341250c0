"""The demo firm's CA."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from ztsession.demo.certification import Certification
from ztsession.demo.clearing_role import SPIFFE_ID
from ztsession.demo.staging import Stage
from ztsession.errors import EvidenceError
from ztsession.identity.subjects import FileSubjects
from ztsession.identity.verifiers import IdentityVerifiers
from ztsession.identity.x509 import X509Identity

BINDING = bytes(range(32))
SUBJECT = f'[subjects."clearing"]\nkind = "service"\nspiffe_id = "{SPIFFE_ID}"\n'


def request_of(key: ec.EllipticCurvePrivateKey) -> str:
    made = x509.CertificateSigningRequestBuilder(x509.Name([])).sign(key, SHA256())
    return made.public_bytes(Encoding.PEM).decode()


def identity_of(chain: list[str], key: ec.EllipticCurvePrivateKey) -> X509Identity:
    return X509Identity([bytes.fromhex(each) for each in chain], key)


def test_a_certified_service_is_known_by_its_name(tmp_path: Path) -> None:
    """What the stage writes is enough for an Authority to take the certificate, and another CA's is not."""
    key, stage = ec.generate_private_key(ec.SECP256R1()), Stage(tmp_path)
    chain = stage.certify(request_of(key), SPIFFE_ID)
    (stage.policy / "subjects.toml").write_text(SUBJECT)
    verifiers = IdentityVerifiers.from_directory(stage.policy, FileSubjects(stage.policy / "subjects.toml"))
    assert verifiers.verify(identity_of(chain, key).prove(BINDING), BINDING).subject == "clearing"
    foreign = Certification().issue(request_of(key), SPIFFE_ID)
    with pytest.raises(EvidenceError):
        verifiers.verify(identity_of(foreign, key).prove(BINDING), BINDING)


def test_a_name_of_another_trust_domain_is_not_taken(tmp_path: Path) -> None:
    """The root vouches for its own trust domain, whatever it signs."""
    key, stage = ec.generate_private_key(ec.SECP256R1()), Stage(tmp_path)
    stage.certify(request_of(key), SPIFFE_ID)
    other = "spiffe://other.firm/clearing"
    (stage.policy / "subjects.toml").write_text(SUBJECT.replace(SPIFFE_ID, other))
    authority = Certification()
    (stage.policy / "roots.pem").write_bytes(authority.root_pem)
    verifiers = IdentityVerifiers.from_directory(stage.policy, FileSubjects(stage.policy / "subjects.toml"))
    with pytest.raises(EvidenceError, match="no root vouches"):
        verifiers.verify(identity_of(authority.issue(request_of(key), other), key).prove(BINDING), BINDING)


def test_a_request_that_shows_no_key_is_refused() -> None:
    """Nobody has another's key certified under a name: the request is signed with it, or refused."""
    key = ec.generate_private_key(ec.SECP256R1())
    asked = x509.load_pem_x509_csr(request_of(key).encode())
    data = bytearray(asked.public_bytes(Encoding.DER))
    data[-1] ^= 1
    altered = x509.load_der_x509_csr(bytes(data)).public_bytes(Encoding.PEM).decode()
    of_another_kind = x509.CertificateSigningRequestBuilder(x509.Name([])).sign(
        ed25519.Ed25519PrivateKey.generate(), None
    )
    for wrong in (altered, of_another_kind.public_bytes(Encoding.PEM).decode()):
        with pytest.raises(EvidenceError, match="shows no key"):
            Certification().issue(wrong, SPIFFE_ID)
    assert Certification().issue(request_of(key), SPIFFE_ID)
