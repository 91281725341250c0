"""A certificate that leads to a trusted root proves its one name: whoever holds its key is that subject."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from x509_makers import BINDING, CLIENT, NOW, Issuer, dns, key, uri, usage

import ztsession as zts
from ztsession.errors import ConfigurationError, EvidenceError, HandshakeError
from ztsession.identity import IdentityProver, IdentityVerifier, VerifiedIdentity
from ztsession.identity.chain import fingerprints
from ztsession.identity.key_digests import KEY_DIGESTS_MAX, key_digests
from ztsession.identity.protocol import EVIDENCE_MAX_BYTES
from ztsession.identity.subjects import FileSubjects
from ztsession.identity.verifiers import IdentityVerifiers
from ztsession.identity.x509 import X509Identity, X509Verifier

ID = "spiffe://firm.example/desk/algo-7"
KINDS = ("p256", "p384", "ed25519", "rsa2048")
SETTING = 'roots = ["roots.pem"]\ntrust_domains = ["firm.example"]\n'
ENTRY = '[subjects."{name}"]\nkind = "algorithm"\nroles = ["trading"]\ndesk = "rates"\n{way}\n'


@pytest.fixture(scope="module")
def root() -> Issuer:
    return Issuer.root()


@pytest.fixture(scope="module")
def between(root: Issuer) -> Issuer:
    return root.intermediate("between", "p384", days=(-20, 20))


@pytest.fixture
def directory(tmp_path: Path, root: Issuer) -> Path:
    """A policy directory that takes certificates of this root."""
    write(tmp_path, root.pem, SETTING)
    return tmp_path


def write(
    directory: Path, roots: bytes, settings: str, ways: Iterable[str] = (f'spiffe_id = "{ID}"',)
) -> None:
    (directory / "roots.pem").write_bytes(roots)
    (directory / "identity.toml").write_text("[x509]\n" + settings)
    entries = (ENTRY.format(name=f"algo-{7 + n}", way=way) for n, way in enumerate(ways))
    (directory / "subjects.toml").write_text("\n".join(entries))


def opened(directory: Path, clock=NOW.timestamp) -> IdentityVerifiers:
    return IdentityVerifiers.from_directory(directory, FileSubjects(directory / "subjects.toml"), clock=clock)


@pytest.mark.parametrize("kind", KINDS)
def test_the_key_of_a_certificate_proves_its_spiffe_id(directory, root, between, kind):
    """A key of any kind proves the subject enrolled, until the first certificate of the chain ends."""
    for issuer, leaf_days, days in ((root, 10, 10), (between, 25, 20)):
        holder = issuer.leaf(uri(ID), dns("beside.it"), holder=key(kind, 5), days=(-1, leaf_days))
        proven = opened(directory).verify(holder.identity.prove(BINDING), BINDING)
        until = int((NOW + timedelta(days=days)).timestamp())
        keys = proven.keys
        assert proven == VerifiedIdentity("algo-7", "algorithm", ("trading",), "rates", 1, ID, until, keys)
        # The key and the certificate of each link, up to the root.
        for der in (*holder.chain, root.der):
            link = x509.load_der_x509_certificate(der)
            assert {*key_digests(link.public_key()), hashlib.sha256(der).hexdigest()} <= set(keys)
        assert len(keys) <= KEY_DIGESTS_MAX
    assert isinstance(holder.identity, IdentityProver)
    assert isinstance(X509Verifier(FileSubjects(directory / "subjects.toml"), []), IdentityVerifier)


def test_a_dns_name_proves_its_holder_in_any_case(directory, root):
    """Without a URI the one DNS name counts, and letters of both cases are one name."""
    write(directory, root.pem, 'roots = ["roots.pem"]\n', ['dns_name = "algo-7.firm.example"'])
    for name in ("algo-7.firm.example", "ALGO-7.firm.Example"):
        identity = root.leaf(dns(name)).identity
        assert identity.subject == "algo-7.firm.example"
        proven = opened(directory).verify(identity.prove(BINDING), BINDING)
        assert (proven.subject, proven.credential) == ("algo-7", "dns:algo-7.firm.example")


@pytest.mark.parametrize("kind", ["rsa2048", "p384"])
def test_roots_of_each_kind_and_a_root_that_is_sent_along_are_taken(directory, kind):
    """RSA and P-384 authorities certify like P-256 ones, and sending the root too changes nothing."""
    root = Issuer.root(kind=kind)
    write(directory, root.pem, SETTING)
    between = root.intermediate("between", "rsa2048", 3)
    holder = between.leaf(uri(ID), purposes=(CLIENT, x509.oid.ExtendedKeyUsageOID.SERVER_AUTH))
    for chain in (holder.chain, [*holder.chain, root.der]):
        assert opened(directory).verify(X509Identity(chain, holder.key).prove(BINDING), BINDING)


def test_an_intermediate_can_be_the_trusted_root(directory, between):
    """Where only an intermediate is trusted, chains that carry it lead to it."""
    write(directory, between.pem, SETTING)
    assert opened(directory).verify(between.leaf(uri(ID)).evidence(), BINDING).subject == "algo-7"


def test_roots_of_one_name_are_tried_each(directory):
    """While an authority changes its key, both of its roots count."""
    old, new = Issuer.root(number=0), Issuer.root(number=9)
    write(directory, new.pem + old.pem, SETTING)
    for root in (old, new):
        assert opened(directory).verify(root.leaf(uri(ID)).evidence(), BINDING)


@pytest.fixture
def files(tmp_path, between):
    holder = between.leaf(uri(ID))
    chain, private = tmp_path / "svid.pem", tmp_path / "svid.key"
    chain.write_bytes(holder.pem)
    private.touch(0o600)
    private.write_bytes(holder.key_pem)
    return chain, private


def test_identities_are_read_from_files(directory, files):
    """Chain and key in PEM make an identity with a static key that is given, or else fresh each time."""
    identity = X509Identity.from_files(*files)
    assert identity.subject == ID
    assert opened(directory).verify(identity.prove(BINDING), BINDING).subject == "algo-7"
    assert identity.static_private != X509Identity.from_files(*files).static_private
    assert X509Identity.from_files(*files, static_private=b"s" * 32).static_private == b"s" * 32
    assert repr(identity) == f"X509Identity('{ID}')"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644])
def test_a_key_that_others_may_read_is_refused(files, mode):
    """A private key that group or others can read or write is not used; the owner's alone is."""
    files[1].chmod(mode)
    with pytest.raises(ConfigurationError, match=f"0600, not {mode:04o}") as caught:
        X509Identity.from_files(*files)
    assert caught.value.file == str(files[1])
    files[1].chmod(0o400)
    assert X509Identity.from_files(*files)


def test_files_that_make_no_identity_are_named(files, root, tmp_path):
    """What is wrong with a chain or a key is said with the file's name, and no error shows the key."""
    chain, private = files
    good = private.read_bytes()
    locked = key("p256", 2).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"x"),
    )
    x25519 = b"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VuBCIEIKAuSXkGvsTRBoMfKn97xyuBUv/0GDlxwdaXhRs1Zvd1"
    x25519 += b"\n-----END PRIVATE KEY-----\n"
    cases = [
        (locked, "an unencrypted private key"),
        (b"-----BEGIN", "an unencrypted private key"),
        (x25519, "ECDSA, Ed25519 or RSA"),
        (root.leaf(uri(ID), holder=key("p256", 4)).key_pem, "not the leaf certificate's"),
        (b"x" * (1 << 20) + b"x", "at most"),
    ]
    for data, expected in cases:
        private.write_bytes(data)
        with pytest.raises(ConfigurationError, match=expected) as caught:
            X509Identity.from_files(chain, private)
        assert str(caught.value).startswith(str(tmp_path))
    private.write_bytes(good)
    for data, expected in (
        (b"", "certificates in PEM"),
        (root.pem, "not the leaf"),
        (root.pem * 7, "1 to 6"),
    ):
        chain.write_bytes(data)
        with pytest.raises(ConfigurationError, match=expected):
            X509Identity.from_files(chain, private)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        X509Identity.from_files(tmp_path / "absent", private)


def test_a_static_key_has_32_bytes(root):
    """A static key of another length is refused when it is given."""
    holder = root.leaf(uri(ID))
    with pytest.raises(ConfigurationError, match="32 bytes"):
        X509Identity(holder.chain, holder.key, static_private=b"short")


def test_a_chain_that_is_too_long_to_be_sent_makes_no_identity(root):
    """What no Authority would read is refused before the first handshake."""
    big = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), os.urandom(3400))
    issuer = root
    for number in range(5):
        issuer = issuer.intermediate(f"ca-{number}", number=10 + number, extra=[(big, False)])
    assert issuer.above[0].public_bytes(serialization.Encoding.DER)
    holder = issuer.leaf(uri(ID), extra=[(big, False)])
    assert 20000 < sum(map(len, holder.chain)) < EVIDENCE_MAX_BYTES
    X509Identity(holder.chain[:5], holder.key)
    huge = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), os.urandom(4096))
    for chain in (root.leaf(uri(ID), extra=[(huge, False)]).chain, [*holder.chain, root.der]):
        with pytest.raises(ConfigurationError, match="proves no identity"):
            X509Identity(chain, holder.key)


SETTINGS = [
    ("", 1, "expected the names of PEM files"),
    ("roots = []\n", 2, "expected the names of PEM files"),
    ('roots = ["../roots.pem"]\n', 2, "same directory"),
    ('roots = ["/etc/ssl/roots.pem"]\n', 2, "same directory"),
    ('roots = [".."]\n', 2, "same directory"),
    ('roots = "roots.pem"\n', 2, "list of texts"),
    ('roots = ["roots.pem"]\ntrust_domains = ["spiffe://firm.example"]\n', 3, "trust domains"),
    ('roots = ["roots.pem"]\ntrust_domains = ["Firm.example"]\n', 3, "trust domains"),
    ('roots = ["roots.pem"]\ntrust_domains = [""]\n', 3, "trust domains"),
    (f'roots = ["roots.pem"]\nrevoked = ["{"A" * 64}"]\n', 3, "lower-case hexadecimal"),
    ('roots = ["roots.pem"]\nrevoked = ["ab:cd"]\n', 3, "fingerprints"),
    ('roots = ["roots.pem"]\nroot = 1\n', 3, "unknown key"),
    (
        'trust_domains = ["firm.example"]\n[x509.bundles."a.example"]\nroots = ["roots.pem"]\n',
        1,
        "names of PEM",
    ),
    ('[x509.bundles."a.example"]\nroots = []\n', 3, "names of PEM files"),
    ('[x509.bundles."A"]\nroots = ["roots.pem"]\n', 2, "a trust domain"),
    ('[x509.bundles."a.example"]\nroots = ["roots.pem"]\nmore = 1\n', 4, "unknown key"),
    (
        'roots = ["roots.pem"]\ntrust_domains = ["a.example"]\n'
        '[x509.bundles."a.example"]\nroots = ["roots.pem"]\n',
        4,
        "does not list",
    ),
]


@pytest.mark.parametrize(("text", "line", "expected"), SETTINGS, ids=range(len(SETTINGS)))
def test_a_mistake_in_the_settings_is_reported(directory, root, text, line, expected):
    """A mistake names file, line and what was expected."""
    assert opened(directory)
    write(directory, root.pem, text)
    with pytest.raises(ConfigurationError, match=expected) as caught:
        opened(directory)
    assert (caught.value.file, caught.value.line) == (str(directory / "identity.toml"), line)


def test_a_root_file_that_holds_no_root_is_reported(directory, root, between):
    """A file without certificates, or with one that no path can lead over, is named with what is wrong."""
    ed = Issuer.root(kind="ed25519").pem
    walled = Issuer.root(extra=[(x509.NameConstraints([uri("firm.example")], None), True)]).pem
    cases = [
        (b"", "expected certificates in PEM"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "expected certificates in PEM"),
        (root.pem + root.leaf(uri(ID)).pem, "certificate 2 cannot be a root: .*none of a CA"),
        (Issuer.root(ca=False).pem, "none of a CA"),
        (Issuer.root(usage=usage("digital_signature")).pem, "none of a CA"),
        (ed, "Ed25519"),
        (walled, "constraints over URIs"),
        (Issuer.root(kind="rsa1024").pem, "RSA key of 1024 bits"),
        (Issuer.root(kind="p521").pem, "another curve"),
        (b"x" * (1 << 20) + b"x", "at most"),
    ]
    for data, expected in cases:
        (directory / "roots.pem").write_bytes(data)
        with pytest.raises(ConfigurationError, match=expected) as caught:
            opened(directory)
        assert caught.value.file == str(directory / "roots.pem")
    (directory / "roots.pem").unlink()
    with pytest.raises(ConfigurationError, match="cannot be read"):
        opened(directory)
    (directory / "roots.pem").write_bytes(root.pem + between.pem)
    assert opened(directory)


@pytest.fixture
def firm(house):
    """A house whose algorithm is enrolled by SPIFFE ID, and the authority that certifies it."""
    today = Issuer.root("today")
    write(house.rules, today.pem, SETTING)
    house.identity = today.leaf(uri(ID)).identity
    return house, today


def test_a_certificate_opens_a_session(firm):
    """Through a whole handshake the subject enrolled with the SPIFFE ID gets its grants."""
    house, _ = firm
    authority = house.authority()
    session = house.connect(authority)
    assert "orders" in session.grants
    assert authority.sessions()[0].subject == "algo-7"


def test_H14_a_root_taken_out_is_refused_after_reload(firm):
    """Who was admitted by a root is refused as soon as the Authority has read that it is gone."""
    house, today = firm
    authority = house.authority()
    house.connect(authority)
    (house.rules / "roots.pem").write_bytes(Issuer.root("another", number=8).pem)
    house.connect(authority)
    authority.reload()
    with pytest.raises(HandshakeError, match="refused"):
        house.connect(authority)
    (house.rules / "roots.pem").write_bytes(today.pem)
    authority.reload()
    house.connect(authority)


def test_H14_a_subject_taken_out_is_refused_after_reload(firm):
    """A certificate stays valid, and opens nothing once its subject is no longer enrolled."""
    house, today = firm
    authority = house.authority()
    house.connect(authority)
    entry = (house.rules / "subjects.toml").read_text()
    (house.rules / "subjects.toml").write_text(entry.replace("desk/algo-7", "desk/algo-8"))
    authority.reload()
    with pytest.raises(HandshakeError, match="refused"):
        house.connect(authority)
    house.connect(authority, identity=today.leaf(uri(ID.replace("7", "8"))).identity)


def test_H14_a_certificate_is_refused_after_its_fingerprint_is_revoked(firm):
    """The fingerprint in the settings closes the door to one certificate, and to no other of that subject."""
    house, today = firm
    authority = house.authority()
    first, second = today.leaf(uri(ID)), today.leaf(uri(ID))
    house.connect(authority, identity=first.identity)
    with (house.rules / "identity.toml").open("a") as settings:
        settings.write(f'revoked = ["{hashlib.sha256(first.chain[0]).hexdigest()}"]\n')
    authority.reload()
    with pytest.raises(HandshakeError, match="refused"):
        house.connect(authority, identity=first.identity)
    house.connect(authority, identity=second.identity)


def test_a_mistake_keeps_the_roots_in_force(firm):
    """When the new settings are wrong the old roots stay, and the error says where."""
    house, _ = firm
    authority = house.authority()
    (house.rules / "roots.pem").write_bytes(b"")
    with pytest.raises(ConfigurationError, match=r"roots\.pem"):
        authority.reload()
    assert isinstance(house.connect(authority), zts.Session)


def test_fingerprints_begin_with_what_tools_print(root):
    """The SHA-256 of the file in DER is among a certificate's fingerprints, whatever signed it."""
    for issuer in (root, Issuer.root(kind="rsa2048")):
        der = issuer.leaf(uri(ID)).chain[0]
        assert hashlib.sha256(der).digest() in fingerprints(x509.load_der_x509_certificate(der))


def test_evidence_of_other_kinds_is_not_taken_for_a_certificate(directory):
    """Bytes that are no evidence of this kind are refused as such."""
    verifier = X509Verifier(FileSubjects(directory / "subjects.toml"), [])
    for evidence in (b"", b"\x80", zts.Ed25519Identity.generate("algo-7").prove(BINDING)):
        with pytest.raises(EvidenceError, match="malformed"):
            verifier.verify(evidence, BINDING)
