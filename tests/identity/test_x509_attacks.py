"""What a stranger, a neighbour or a fallen authority can do with certificates, and what comes of it."""

from __future__ import annotations

import hashlib
import itertools
import os
import time
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from x509_makers import ANY, BINDING, CLIENT, NOW, SERVER, Holder, Issuer, dns, element, key, uri, usage
from x509_makers import with_signature as resigned

from ztsession.errors import EvidenceError
from ztsession.identity import x509 as x509_room
from ztsession.identity.chain import untrusted
from ztsession.identity.protocol import EVIDENCE_MAX_BYTES
from ztsession.identity.subjects import Subject
from ztsession.identity.x509 import X509Evidence, X509Verifier
from ztsession.identity.x509_signature import sign
from ztsession.wire import canonical
from ztsession.wire.digest import digest

ID = "spiffe://firm.example/algo-7"
HOST = "algo-7.firm.example"
KINDS = ("p256", "p384", "ed25519", "rsa2048")
P256_ORDER = ec.SECP256R1().group_order


class Enrolled:
    """Subjects by credential, and a count of how often somebody was looked for."""

    def __init__(self, *credentials: str) -> None:
        self.subjects = {text: Subject("algo-7", "algorithm", credentials=(text,)) for text in credentials}
        self.asked = 0

    def named(self, name: str) -> Subject | None:
        return None

    def holder(self, credential: str) -> Subject | None:
        self.asked += 1
        return self.subjects.get(credential)


@pytest.fixture(scope="module")
def root() -> Issuer:
    return Issuer.root()


@pytest.fixture(scope="module")
def between(root: Issuer) -> Issuer:
    return root.intermediate("between", path_length=0)


def verifier_of(*roots: Issuer, clock=NOW.timestamp, revoked=(), **options) -> X509Verifier:
    certificates = [each.certificate for each in roots]
    options.setdefault("trust_domains", ["firm.example"])
    fingerprints = [hashlib.sha256(each).digest() for each in revoked]
    return X509Verifier(
        Enrolled(ID, f"dns:{HOST}"), certificates, revoked=fingerprints, clock=clock, **options
    )


@pytest.fixture(scope="module")
def verifier(root: Issuer) -> X509Verifier:
    return verifier_of(root)


def refused(
    verifier: X509Verifier, evidence: bytes, expected: str | None = None, binding: bytes = BINDING
) -> str:
    with pytest.raises(EvidenceError, match=expected) as caught:
        verifier.verify(evidence, binding)
    assert type(caught.value) is EvidenceError
    return str(caught.value)


# ---- The signature


def test_H1_evidence_holds_for_its_binding_only(verifier, root):
    """Evidence made for one handshake is refused for another."""
    evidence = root.leaf(uri(ID)).evidence()
    assert verifier.verify(evidence, BINDING).subject == "algo-7"
    refused(verifier, evidence, "does not hold", bytes(32))
    refused(verifier, evidence, "32 bytes", BINDING[:31])


@pytest.mark.parametrize("kind", KINDS)
def test_H2_a_certificate_is_worth_nothing_without_its_key(verifier, root, kind):
    """Somebody else's chain under one's own signature is refused, and so is a signature moved over."""
    owner = root.leaf(uri(ID), holder=key(kind, 3))
    other = root.leaf(uri(ID), holder=key(kind, 4) if kind != "rsa2048" else key("rsa3072"))
    assert verifier.verify(owner.evidence(), BINDING)
    assert verifier.verify(other.evidence(), BINDING)
    stolen = sign(other.key, digest("x509 identity", BINDING, owner.chain[0]))
    moved = X509Evidence.from_bytes(other.evidence()).signature
    for signature in (stolen, moved, bytes(len(moved)), b"\0"):
        refused(verifier, X509Evidence(owner.chain, signature).to_bytes(), "signature")


def test_H2_a_new_certificate_for_the_same_key_needs_a_new_signature(verifier, root):
    """The signature covers the leaf itself: with a sister certificate of the same key it does not hold."""
    first, second = root.leaf(uri(ID)), root.leaf(dns(HOST))
    signature = X509Evidence.from_bytes(first.evidence()).signature
    refused(verifier, X509Evidence(second.chain, signature).to_bytes(), "does not hold")
    assert verifier.verify(second.evidence(), BINDING).credential == f"dns:{HOST}"


@pytest.mark.parametrize("kind", ["p256", "p384"])
def test_H11_the_second_form_of_an_ecdsa_signature_is_refused(verifier, root, kind):
    """(r, n - s), and integers in any but the shortest form, are refused; the lower s in DER is taken."""
    holder = root.leaf(uri(ID), holder=key(kind, 3))
    for _ in range(4):  # half of all signatures come out of the library with the larger s
        evidence = X509Evidence.from_bytes(holder.evidence())
        assert verifier.verify(evidence.to_bytes(), BINDING)
    r, s = decode_dss_signature(evidence.signature)
    twin = encode_dss_signature(r, holder.key.curve.group_order - s)
    long = element(0x30, b"".join(element(2, b"\0\0" + n.to_bytes(50).lstrip(b"\0")) for n in (r, s)))
    for signature in (twin, long, evidence.signature + b"\0"):
        refused(verifier, X509Evidence(holder.chain, signature).to_bytes(), "malleable|does not hold")


def test_a_signature_of_another_scheme_is_refused(verifier, root):
    """The key alone says how it signs: other padding, other salt and other hashes of it are refused."""
    rsa_holder, ec_holder = (
        root.leaf(uri(ID), holder=key("rsa2048")),
        root.leaf(uri(ID), holder=key("p256", 3)),
    )
    message = digest("x509 identity", BINDING, rsa_holder.chain[0])
    pss = [padding.PSS(padding.MGF1(hashes.SHA256()), salt) for salt in (0, 31, 33, 222)]
    other = padding.PSS(padding.MGF1(hashes.SHA384()), 32)
    made = [rsa_holder.key.sign(message, each, hashes.SHA256()) for each in (padding.PKCS1v15(), *pss, other)]
    made.append(rsa_holder.key.sign(message, pss[0], hashes.SHA384()))
    for signature in made:
        refused(verifier, X509Evidence(rsa_holder.chain, signature).to_bytes(), "does not hold")
    assert verifier.verify(rsa_holder.evidence(), BINDING)
    r, s = decode_dss_signature(
        ec_holder.key.sign(digest("x509 identity", BINDING, ec_holder.chain[0]), ec.ECDSA(hashes.SHA384()))
    )
    signature = encode_dss_signature(r, min(s, P256_ORDER - s))
    refused(verifier, X509Evidence(ec_holder.chain, signature).to_bytes(), "does not hold")


# ---- H12: time


def test_H12_certificates_count_from_their_first_second_to_their_last(root):
    """The same evidence is refused before the certificate begins and after it ended, and taken in between."""
    now = [0.0]
    verifier = verifier_of(root, clock=lambda: now[0])
    evidence = root.leaf(uri(ID), days=(-1, 1)).evidence()
    day = timedelta(days=1).total_seconds()
    for offset, held in ((-day - 1, False), (-day, True), (0, True), (day, True), (day + 1, False)):
        now[0] = NOW.timestamp() + offset
        if held:
            assert verifier.verify(evidence, BINDING).until == int(NOW.timestamp() + day)
        else:
            refused(verifier, evidence, "not valid yet" if offset < 0 else "has expired")


TIMES = [
    ("leaf", (-9, -1), "has expired"),
    ("leaf", (1, 9), "not valid yet"),
    ("between", (-9, -1), "has expired"),
    ("between", (1, 9), "not valid yet"),
    ("root", (-9, -1), "no trusted root"),
    ("root", (1, 9), "no trusted root"),
]


@pytest.mark.parametrize(("which", "days", "expected"), TIMES, ids=range(len(TIMES)))
def test_H12_every_certificate_of_the_chain_has_to_be_valid(which, days, expected):
    """Wherever in the chain one has expired or not begun, the chain is refused; valid, it is taken."""
    for span in ((-9, 9), days):
        spans = {"leaf": (-9, 9), "between": (-9, 9), "root": (-9, 9), which: span}
        root = Issuer.root(days=spans["root"])
        evidence = (
            root.intermediate("between", days=spans["between"]).leaf(uri(ID), days=spans["leaf"]).evidence()
        )
        if span == days:
            refused(verifier_of(root), evidence, expected)
        else:
            assert verifier_of(root).verify(evidence, BINDING)


# ---- H13: what a certificate is good for


UNUSABLE_LEAVES = [
    ({"purposes": (SERVER,)}, "clientAuth"),
    ({"purposes": ()}, "clientAuth"),
    ({"purposes": (ANY,)}, "clientAuth"),
    ({"ca": True}, "is a CA's"),
    ({"ca": True, "usage": usage("digital_signature", "key_cert_sign")}, "is a CA's"),
    ({"usage": usage("digital_signature", "key_cert_sign")}, "no signing of others"),
    ({"usage": usage("digital_signature", "crl_sign")}, "no signing of others"),
    ({"usage": usage("key_encipherment")}, "expected digitalSignature"),
    ({"usage": None}, "expected digitalSignature"),
    ({"holder": key("p521")}, "another curve"),
    (
        {"extra": [(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"x"), True)]},
        "no trusted root",
    ),
    ({"extra": [(x509.NameConstraints([x509.DNSName("a")], None), True)]}, "no trusted root"),
]


@pytest.mark.parametrize(("changed", "expected"), UNUSABLE_LEAVES, ids=range(len(UNUSABLE_LEAVES)))
def test_H13_a_leaf_that_is_not_for_this_is_refused(verifier, root, changed, expected):
    """A leaf for something else, an authority's, or with what nobody understands, is refused."""
    if "holder" in changed:
        evidence = X509Evidence(root.leaf(uri(ID), **changed).chain, b"x").to_bytes()
    else:
        evidence = root.leaf(uri(ID), **dict(changed)).evidence()
    refused(verifier, evidence, expected)
    for purposes in ((CLIENT,), (SERVER, CLIENT), (CLIENT, ANY)):
        assert verifier.verify(root.leaf(uri(ID), purposes=purposes).evidence(), BINDING)


def public(bits: int, exponent: int = 65537):
    """An RSA public key of any size; nobody has its private half, nor does anything ask for it."""
    return rsa.RSAPublicNumbers(exponent, (1 << bits - 1) | int.from_bytes(os.urandom(64)) | 1).public_key()


UNUSABLE_KEYS = [
    (public(1024), "1024 bits"),
    (public(2047), "2047 bits"),
    (public(8200), "8200 bits"),
    (public(2048, 3), "exponent"),
    (public(2048, 2**32 + 1), "exponent"),
]


@pytest.mark.parametrize(("weak", "expected"), UNUSABLE_KEYS, ids=range(len(UNUSABLE_KEYS)))
def test_H13_a_weak_or_an_unwieldy_rsa_key_is_refused(verifier, root, weak, expected):
    """RSA keys outside of 2048 to 8192 bits, or with odd exponents, are refused before they are used."""
    chain = root.leaf(uri(ID), public=weak).chain
    refused(verifier, X509Evidence(chain, b"x").to_bytes(), expected)
    for bits in (2048, 8192):
        chain = root.leaf(uri(ID), public=public(bits)).chain
        refused(verifier, X509Evidence(chain, b"x").to_bytes(), "signature does not hold")


def test_H13_a_weak_key_within_the_chain_is_refused(verifier, root):
    """An intermediate with RSA-1024, on P-521 or with Ed25519 carries no leaf; P-384 and RSA-2048 do."""
    for kind, expected in (("rsa1024", "1024 bits"), ("p521", "another curve"), ("ed25519", "Ed25519")):
        refused(verifier, root.intermediate("weak", kind).leaf(uri(ID)).evidence(), expected)
    for kind in ("p384", "rsa2048"):
        assert verifier.verify(root.intermediate("good", kind).leaf(uri(ID)).evidence(), BINDING)


def test_H13_an_rsa_key_for_pss_alone_is_refused(verifier, root):
    """A key whose certificate gives it parameters of its own is refused, not read as a plain RSA key."""
    der = root.leaf(uri(ID), holder=key("rsa2048")).chain[0]
    plain, pss = bytes.fromhex("06092a864886f70d0101010500"), bytes.fromhex("06092a864886f70d01010a0500")
    assert der.count(plain) == 1
    refused(verifier, X509Evidence([der.replace(plain, pss)], b"x").to_bytes())
    bare = der.replace(plain, pss[:-2] + b"\x30\x00")
    assert x509.load_der_x509_certificate(bare).public_key_algorithm_oid.dotted_string.endswith("1.1.10")
    assert "kind" in refused(verifier, X509Evidence([bare], b"x").to_bytes())


SIGNATURES = [(0x05, hashes.SHA1()), (0x04, hashes.MD5()), (0x0E, hashes.SHA224()), (0x0C, hashes.SHA384())]


@pytest.mark.parametrize(
    ("identifier", "algorithm"), SIGNATURES, ids=lambda value: getattr(value, "name", "")
)
@pytest.mark.parametrize("where", ["leaf", "between"])
def test_H13_signatures_over_weak_hashes_are_refused(identifier, algorithm, where):
    """A certificate signed over SHA-1, MD5 or SHA-224 is refused wherever it stands; SHA-384 is taken."""
    signer = key("rsa2048", 0)
    root = Issuer.root("rsa-root", "rsa2048")
    between = root.intermediate("rsa-between", "rsa2048", 0)
    holder = between.leaf(uri(ID))
    position = 0 if where == "leaf" else 1
    weak = resign(holder.chain[position], signer, identifier, algorithm)
    chain = [weak if number == position else der for number, der in enumerate(holder.chain)]
    evidence = Holder(chain, holder.key).evidence()
    if algorithm.name == "sha384":
        assert verifier_of(root).verify(evidence, BINDING)
    else:
        refused(verifier_of(root), evidence, "SHA-256, SHA-384 or SHA-512")


def resign(der: bytes, signer, identifier: int, algorithm: hashes.HashAlgorithm) -> bytes:
    """Sign a certificate anew over another hash, whose name is as long: that of SHA-256 ends in 11."""
    name = bytes.fromhex("2a864886f70d0101")
    assert der.count(name + b"\x0b") == 2
    changed = der.replace(name + b"\x0b", name + bytes([identifier]))
    signed = x509.load_der_x509_certificate(changed).tbs_certificate_bytes
    return resigned(changed, signer.sign(signed, padding.PKCS1v15(), algorithm))


def test_H13_a_path_longer_than_an_authority_allowed_is_refused(verifier, root):
    """Below a CA of path length 0 there are leaves and no CAs; a CA may not give itself more than it has."""
    narrow = root.intermediate("narrow", path_length=0)
    assert verifier.verify(narrow.leaf(uri(ID)).evidence(), BINDING)
    refused(verifier, narrow.intermediate("sub", number=6).leaf(uri(ID)).evidence(), "no trusted root")
    wide = root.intermediate("wide", path_length=1)
    assert verifier.verify(wide.intermediate("sub", number=6).leaf(uri(ID)).evidence(), BINDING)


def test_H13_a_chain_has_six_certificates_at_most(verifier, root):
    """Five intermediates are taken and a sixth is refused before anything is parsed."""
    issuer = root
    for number in range(5):
        issuer = issuer.intermediate(f"ca-{number}", number=10 + number)
    holder = issuer.leaf(uri(ID))
    assert len(holder.chain) == 6
    assert verifier.verify(holder.evidence(), BINDING)
    holder = issuer.intermediate("ca-5", number=15).leaf(uri(ID))
    fields = canonical.decode(root.leaf(uri(ID)).evidence(), max_bytes=EVIDENCE_MAX_BYTES)
    refused(verifier, canonical.encode({**fields, "chain": holder.chain}), "1 to 6 items")
    refused(verifier, canonical.encode({**fields, "chain": []}), "1 to 6 items")


def test_H13_a_leaf_cannot_certify(verifier, root):
    """A chain over another's leaf, or over a CA that may not sign certificates, is refused."""
    owner = root.leaf(uri(ID), subject="owner", holder=key("p256", 3))
    certificate = x509.load_der_x509_certificate(owner.chain[0])
    forged = Issuer("owner", owner.key, certificate, (certificate,)).leaf(uri(ID))
    refused(verifier, forged.evidence(), "none of a CA")
    mute = root.intermediate("mute", usage=usage("crl_sign"))
    refused(verifier, mute.leaf(uri(ID)).evidence(), "none of a CA")
    assert verifier.verify(root.intermediate("able").leaf(uri(ID)).evidence(), BINDING)


def test_H13_another_root_of_the_same_name_is_not_the_root(verifier, root):
    """A stranger's root certifies nothing here, whatever it is called and whatever it sends along."""
    stranger = Issuer.root(number=6)
    assert stranger.certificate.subject == root.certificate.subject
    holder = stranger.leaf(uri(ID))
    refused(verifier, holder.evidence(), "no trusted root")
    for above in (stranger.der, root.der):
        refused(verifier, Holder([*holder.chain, above], holder.key).evidence(), "no trusted root")
    own = Issuer("root", stranger.key, stranger.certificate)
    assert verifier_of(own).verify(holder.evidence(), BINDING)


def test_H13_a_self_signed_leaf_is_no_root(verifier, root):
    """A leaf that certifies itself leads nowhere."""
    mine = Issuer("leaf", key("p256", 2), root.certificate).leaf(uri(ID))
    refused(verifier, mine.evidence(), "no trusted root")


def test_H13_a_chain_out_of_order_is_refused(verifier, root):
    """A chain has one order, without gaps, repetitions or two authorities of one name."""
    top = root.intermediate("top")
    holder = top.intermediate("low", number=6).leaf(uri(ID))
    leaf, low, high = holder.chain
    assert verifier.verify(holder.evidence(), BINDING)
    for chain in ([leaf, high, low], [leaf, high], [leaf, low, low, high], [leaf, low, high, high]):
        refused(verifier, Holder(chain, holder.key).evidence(), "not in order")
    twice = root.intermediate("root", number=6)
    refused(verifier, Holder([*twice.leaf(uri(ID)).chain, root.der], key("p256", 2)).evidence(), "one name")


def test_H13_name_constraints_hold(root):
    """A CA that may name one DNS domain names no other; one limited over URIs carries no chain at all."""
    walled = root.intermediate("walled", extra=[(x509.NameConstraints([dns("firm.example")], None), True)])
    assert verifier_of(root).verify(walled.leaf(dns(HOST)).evidence(), BINDING)
    refused(verifier_of(root), walled.leaf(dns("algo-7.other.example")).evidence(), "no trusted root")
    for limits in (x509.NameConstraints([uri(".example")], None), x509.NameConstraints(None, [uri("a.b")])):
        over = root.intermediate("over", extra=[(limits, True)])
        refused(verifier_of(root), over.leaf(uri(ID)).evidence(), "constraints over URIs")


# ---- H13: whom a certificate names


NAMES = [
    ((uri(ID), uri("spiffe://firm.example/algo-8")), "2 URIs"),
    ((uri(ID), uri(ID)), "2 URIs"),
    ((uri(ID), uri("https://firm.example/")), "2 URIs"),
    ((uri("https://firm.example/algo-7"),), "not a workload's SPIFFE ID"),
    ((uri("https://firm.example/algo-7"), dns(HOST)), "not a workload's SPIFFE ID"),
    ((dns(HOST), dns("algo-8.firm.example")), "2 DNS names"),
    ((dns(HOST), dns(HOST)), "2 DNS names"),
    ((x509.RFC822Name("algo-7@firm.example"),), "0 DNS names"),
    ((), "no subjectAltName"),
    ((dns("*.firm.example"),), "one host's name"),
    ((dns("algo-7.firm.example."),), "one host's name"),
    ((dns(".firm.example"),), "one host's name"),
    ((dns("algo-7..example"),), "one host's name"),
    ((dns("algo_7.firm.example"),), "one host's name"),
    ((dns(""),), "one host's name"),
    ((dns("algo-7.firm.example\0.evil.example"),), "one host's name"),
    ((dns("algo-7.firm.example\n"),), "one host's name"),
    ((dns("-algo.firm.example"),), "one host's name"),
    ((dns(".".join(["a" * 50] * 6)),), "one host's name"),
    ((dns("a" * 64 + ".example"),), "one host's name"),
]


@pytest.mark.parametrize(("names", "expected"), NAMES, ids=range(len(NAMES)))
def test_H13_a_certificate_names_exactly_one(verifier, root, names, expected):
    """Several names, none, a wildcard or a name that hides another are refused; one name is taken."""
    refused(verifier, root.leaf(*names).evidence(), expected)
    for good in (uri(ID), dns(HOST)):
        assert verifier.verify(root.leaf(good).evidence(), BINDING)


def test_H13_a_common_name_is_no_name(verifier, root):
    """What the subject says, even the enrolled name, counts for nothing."""
    refused(verifier, root.leaf(subject=HOST).evidence(), "no subjectAltName")


MALFORMED_IDS = [
    "firm.example/algo-7",
    "//firm.example/algo-7",
    "SPIFFE://firm.example/algo-7",
    "spiffe:/firm.example/algo-7",
    "spiffe:firm.example/algo-7",
    "spiffes://firm.example/algo-7",
    " spiffe://firm.example/algo-7",
    "spiffe://firm.example",
    "spiffe://firm.example/",
    "spiffe://",
    "spiffe:///algo-7",
    "spiffe://firm.example//algo-7",
    "spiffe://firm.example/algo-7/",
    "spiffe://firm.example/./algo-7",
    "spiffe://firm.example/x/../algo-7",
    "spiffe://firm.example/..",
    "spiffe://Firm.example/algo-7",
    "spiffe://firm.example:443/algo-7",
    "spiffe://user@firm.example/algo-7",
    "spiffe://user:word@firm.example/algo-7",
    "spiffe://firm.example/algo-7?x=1",
    "spiffe://firm.example/algo-7?",
    "spiffe://firm.example/algo-7#x",
    "spiffe://firm.example/algo-7#",
    "spiffe://firm.example/algo%2d7",
    "spiffe://firm%2eexample/algo-7",
    "spiffe://firm.example\\algo-7",
    "spiffe://[::1]/algo-7",
    "spiffe://firm.example/algo 7",
    "spiffe://firm.example/algo-7\n",
    "spiffe://firm.example/algo-7\0",
    "spiffe://firm.example/algo:7",
    "spiffe://firm!example/algo-7",
    f"spiffe://{'a' * 256}/algo-7",
    f"spiffe://firm.example/{'a' * 2027}",
    "",
]


@pytest.mark.parametrize("text", MALFORMED_IDS, ids=range(len(MALFORMED_IDS)))
def test_H13_a_malformed_spiffe_id_is_refused(root, text):
    """What is not a workload's SPIFFE ID in its one spelling is refused, even were it enrolled."""
    verifier = X509Verifier(
        Enrolled(text, ID), [root.certificate], trust_domains=["firm.example", "a" * 256], clock=NOW.timestamp
    )
    refused(verifier, root.leaf(uri(text)).evidence(), "SPIFFE ID")
    assert verifier.verify(root.leaf(uri(ID)).evidence(), BINDING)


def test_the_longest_and_the_oddest_spiffe_ids_are_taken(root):
    """2048 bytes, a trust domain of 255, dots and underscores, and an address for a trust domain are fine."""
    texts = [f"spiffe://firm.example/{'a' * 2026}", f"spiffe://{'a' * 255}/x", "spiffe://a_b-c.9/..a/_/-/A.b"]
    texts.append("spiffe://10.0.0.1/x")
    domains = [text.split("/")[2] for text in texts]
    verifier = X509Verifier(Enrolled(*texts), [root.certificate], trust_domains=domains, clock=NOW.timestamp)
    assert len(texts[0]) == 2048
    for text in texts:
        assert verifier.verify(root.leaf(uri(text)).evidence(), BINDING).credential == text


def test_H13_a_name_that_is_no_ascii_is_refused(verifier, root):
    """A look-alike letter inside a URI or a DNS name is refused."""
    for name, fake in ((uri(ID), "\uff41".encode()), (dns(HOST), "é".encode())):
        holder = root.leaf(name)
        text = (ID if isinstance(name, x509.UniformResourceIdentifier) else HOST).encode()
        der = holder.chain[0].replace(text, fake + text[len(fake) :])
        refused(verifier, Holder([der], holder.key).evidence())


def test_H13_a_foreign_trust_domain_is_refused(root):
    """The same root vouches for the trust domains that it is listed for, and for no other."""
    foreign = root.leaf(uri("spiffe://other.example/algo-7")).evidence()
    refused(verifier_of(root), foreign, "no root vouches for other.example")
    refused(
        verifier_of(root, trust_domains=[]), root.leaf(uri(ID)).evidence(), "no root vouches for firm.example"
    )
    for near in ("firm.example.other", "xfirm.example", "sub.firm.example", "firm"):
        refused(verifier_of(root), root.leaf(uri(f"spiffe://{near}/algo-7")).evidence(), "no root vouches")
    assert verifier_of(root).verify(root.leaf(uri(ID)).evidence(), BINDING)


def test_H13_a_partners_roots_speak_for_the_partner_alone(root):
    """Roots of one trust domain's bundle vouch for no other trust domain and for no DNS name."""
    partner, theirs = Issuer.root("partner", number=6), "spiffe://partner.example/algo-7"
    bundles = {"partner.example": [partner.certificate]}
    enrolled = Enrolled(ID, theirs, f"dns:{HOST}")
    verifier = X509Verifier(
        enrolled, [root.certificate], trust_domains=["firm.example"], bundles=bundles, clock=NOW.timestamp
    )
    assert verifier.verify(partner.leaf(uri(theirs)).evidence(), BINDING).credential == theirs
    assert verifier.verify(root.leaf(uri(ID)).evidence(), BINDING).credential == ID
    for evidence in (
        partner.leaf(uri(ID)).evidence(),
        partner.leaf(dns(HOST)).evidence(),
        root.leaf(uri(theirs)).evidence(),
    ):
        refused(verifier, evidence, "no trusted root")
    alone = X509Verifier(enrolled, [], bundles=bundles, clock=NOW.timestamp)
    assert alone.verify(partner.leaf(uri(theirs)).evidence(), BINDING)
    refused(alone, partner.leaf(dns(HOST)).evidence(), "no root vouches for DNS names")


# ---- H14: revocation


def test_H14_a_revoked_certificate_is_refused_wherever_it_stands(root, between):
    """A fingerprint closes the leaf, or every chain over the intermediate; others of that name stay open."""
    holder, sister = between.leaf(uri(ID)), between.leaf(uri(ID))
    beside = root.intermediate("beside", number=6).leaf(uri(ID))
    for revoked, still_open in ((holder.chain[0], sister), (holder.chain[1], beside)):
        verifier = verifier_of(root, revoked=[b"another", revoked])
        refused(verifier, holder.evidence(), "revoked")
        assert verifier.verify(still_open.evidence(), BINDING)
    refused(verifier_of(root, revoked=[holder.chain[1]]), sister.evidence(), "revoked")
    refused(verifier_of(root, revoked=[root.der]), holder.evidence(), "revoked")
    assert verifier_of(root).verify(holder.evidence(), BINDING)


@pytest.mark.parametrize("kind", ["p256", "p384"])
@pytest.mark.parametrize("position", [0, 1])
def test_H14_a_revoked_certificate_cannot_be_given_another_fingerprint(kind, position):
    """The other ECDSA signature that a holder can compute makes no other certificate: revoked it stays."""
    root = Issuer.root("ec-root", kind)
    holder = root.intermediate("ec-between", kind, 6).leaf(uri(ID))
    chain = list(holder.chain)
    r, s = decode_dss_signature(x509.load_der_x509_certificate(chain[position]).signature)
    chain[position] = resigned(chain[position], encode_dss_signature(r, key(kind, 6).curve.group_order - s))
    assert chain != holder.chain
    twin = Holder(chain, holder.key)
    for revoked in (holder.chain[position], chain[position]):
        for shown in (holder, twin):
            refused(verifier_of(root, revoked=[revoked]), shown.evidence(), "revoked")
    for shown in (holder, twin):
        assert verifier_of(root).verify(shown.evidence(), BINDING)


REWRITTEN = ["null in the algorithm", "unused bits", "longer length", "padded integer", "trailing byte"]


@pytest.mark.parametrize("way", REWRITTEN)
def test_H14_a_certificate_has_one_encoding(root, way):
    """Whatever else in its certificate a holder can rewrite outside of what the issuer signed is refused."""
    # One whose signature ends in a bit of zero, which a parser may be told to leave out.
    holder = next(
        each for each in (root.leaf(uri(ID)) for _ in itertools.count()) if not each.chain[0][-1] & 1
    )
    der = holder.chain[0]
    signature = x509.load_der_x509_certificate(der).signature
    numbers = (element(2, b"\0\0" + number.to_bytes(32)) for number in decode_dss_signature(signature))
    body = der[4:]
    assert resigned(der, signature) == der == element(0x30, body)
    changed = {
        "null in the algorithm": resigned(der, signature, also=b"\x05\x00"),
        "unused bits": resigned(der, signature, unused_bits=1),
        "longer length": element(0x30, body, long=True),
        "padded integer": resigned(der, element(0x30, b"".join(numbers))),
        "trailing byte": der + b"\0",
    }[way]
    expected = "cannot be read|not in DER|no trusted root"
    refused(verifier_of(root, revoked=[der]), Holder([changed], holder.key).evidence(), expected)
    assert verifier_of(root).verify(holder.evidence(), BINDING)


def test_H14_no_changed_byte_of_a_revoked_certificate_opens(root):
    """The holder of a revoked certificate, signing each changed form anew, gets in with none of them."""
    holder = root.leaf(uri(ID))
    verifier = verifier_of(root, revoked=[holder.chain[0]])
    for position, bit in itertools.product(range(len(holder.chain[0])), (0x01, 0x80)):
        changed = bytearray(holder.chain[0])
        changed[position] ^= bit
        refused(verifier, Holder([bytes(changed)], holder.key).evidence())


# ---- H15, H23, A12


def test_H15_evidence_with_any_bit_changed_is_refused(verifier, between):
    """Whatever bit of the evidence is flipped, it is refused."""
    evidence = between.leaf(uri(ID)).evidence()
    for position in range(len(evidence) * 8):
        changed = bytearray(evidence)
        changed[position // 8] ^= 1 << position % 8
        refused(verifier, bytes(changed))
    assert verifier.verify(evidence, BINDING)


def test_H15_shortened_or_extended_evidence_is_refused(verifier, root):
    """Evidence cut at any length, or with a byte more, is refused."""
    evidence = root.leaf(uri(ID)).evidence()
    for size in range(len(evidence)):
        refused(verifier, evidence[:size])
    refused(verifier, evidence + b"\0")


def test_H23_without_the_key_nothing_is_learnt(root, between):
    """A certificate, trusted, revoked, expired, strange or not enrolled, is refused alike to a thief."""
    stranger = Issuer.root("stranger", number=6)
    chains = [
        between.leaf(uri(ID)),
        between.leaf(uri(ID + "1")),
        between.leaf(uri(ID), days=(-9, -1)),
        between.leaf(uri("spiffe://other.example/x")),
        between.leaf(dns("a"), dns("b")),
        between.leaf(uri(ID), purposes=()),
        stranger.leaf(uri(ID)),
    ]
    revoked = between.leaf(uri(ID))
    enrolled = Enrolled(ID)
    verifier = X509Verifier(
        enrolled,
        [root.certificate],
        trust_domains=["firm.example"],
        revoked=[hashlib.sha256(revoked.chain[0]).digest()],
        clock=NOW.timestamp,
    )
    thief = key("p256", 20)
    told = set()
    for holder in (*chains, revoked):
        signature = sign(thief, digest("x509 identity", BINDING, holder.chain[0]))
        told.add(refused(verifier, X509Evidence(holder.chain, signature).to_bytes()))
    assert told == {"the signature does not hold"}
    assert enrolled.asked == 0
    assert verifier.verify(chains[0].evidence(), BINDING)


def test_H23_a_stranger_with_a_valid_certificate_is_not_enrolled(verifier, root):
    """Who is certified and not enrolled is refused, with the coarse word that every refusal has."""
    evidence = root.leaf(uri("spiffe://firm.example/stranger")).evidence()
    with pytest.raises(EvidenceError, match="no subject is enrolled with spiffe://firm") as caught:
        verifier.verify(evidence, BINDING)
    with pytest.raises(EvidenceError) as other:
        verifier.verify(evidence, bytes(32))
    assert caught.value.reason == other.value.reason == "refused"


def test_A12_no_name_of_a_certificate_forges_a_log_line(verifier, root):
    """What a refusal quotes out of a certificate has no newline in it, and no great length."""
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"")
    holder = root.leaf(uri(ID), subject="y" * 1024 + "x\nhandshake.granted\x1b[2J", extra=[(unknown, True)])
    text = refused(verifier, holder.evidence(), "handshake.granted")
    assert text.isprintable()
    assert len(text) < 400
    long = root.leaf(uri(f"spiffe://firm.example/{'a' * 2000}"))
    assert len(refused(verifier, long.evidence(), "no subject")) < 600


# ---- D7: bombs


def fields(**changed) -> bytes:
    return canonical.encode({"v": 1, "kind": "identity.x509", "chain": [b"x"], "signature": b"x"} | changed)


def test_D7_what_is_too_large_is_refused_before_it_is_parsed(verifier, root, monkeypatch):
    """Evidence, a certificate, a signature or a number of certificates over its limit reaches no parser."""
    good = root.leaf(uri(ID)).evidence()

    def parsed(_: bytes) -> None:
        raise AssertionError("it was parsed")

    with monkeypatch.context() as patch:
        patch.setattr(x509, "load_der_x509_certificate", parsed)
        for evidence in (
            bytes(EVIDENCE_MAX_BYTES + 1),
            fields(chain=[b"\x30" * 4097]),
            fields(chain=[b"\x30" * 4096] * 6),
            fields(chain=[b"x"] * 7),
            fields(chain=[[b"x"]]),
            fields(chain=[]),
            fields(chain=[b""]),
            fields(signature=bytes(1025)),
            fields(signature=b""),
            fields(chain="x"),
            fields(more=1),
        ):
            refused(verifier, evidence, "malformed")
        assert "AssertionError" in refused(verifier, good, "cannot be read")
    assert verifier.verify(good, BINDING)


def nested(depth: int) -> bytes:
    value = b""
    for _ in range(depth):
        value = element(0x30, value)
    return value


GARBAGE = [
    os.urandom(4096),
    bytes(4096),
    b"\x30\x80" * 2048,
    b"\x30\x84\xff\xff\xff\xff" + bytes(64),
    b"\x30\x88" + b"\xff" * 8,
    nested(1000),
    nested(3),
    b"-----BEGIN CERTIFICATE-----\n",
]


@pytest.mark.parametrize("garbage", GARBAGE, ids=range(len(GARBAGE)))
def test_D7_garbage_is_refused_as_such(verifier, root, garbage):
    """Bytes that are no certificate, nested a thousand deep or said to be endless, are refused at once."""
    holder = root.leaf(uri(ID))
    began = time.process_time()
    refused(verifier, fields(chain=[garbage]), "cannot be read")
    refused(verifier, Holder([holder.chain[0], garbage], holder.key).evidence(), "cannot be read")
    assert time.process_time() - began < 0.5
    assert verifier.verify(holder.evidence(), BINDING)


def test_D7_garbage_within_a_certificate_is_refused(verifier, root):
    """An extension that is not what its identifier says, or is there twice, is refused without more ado."""
    for oid in ("2.5.29.14", "2.5.29.32", "2.5.29.31", "1.3.6.1.5.5.7.1.1"):
        for content in (b"", b"\xff", nested(300), os.urandom(64)):
            bad = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), content)
            refused(verifier, root.leaf(uri(ID), extra=[(bad, False)]).evidence())
    holder = root.leaf(uri(ID))
    # basicConstraints and keyUsage change identifiers: two of one kind
    twice = holder.chain[0].replace(bytes.fromhex("0603551d13"), bytes.fromhex("0603551d0f"))
    assert twice != holder.chain[0]
    refused(verifier, Holder([twice], holder.key).evidence())


def test_D7_a_thousand_names_cost_little(verifier, root):
    """A certificate full of names is refused for their number, under constraints as without."""
    many = [uri(f"s:{n}") for n in range(400)]
    hosts = [dns(f"{n}.a") for n in range(400)]
    walls = x509.NameConstraints([dns(f"{n}.b") for n in range(400)], None)
    walled = root.intermediate("walled", extra=[(walls, True)])
    began = time.process_time()
    refused(verifier, root.leaf(*many).evidence(), "400 URIs")
    refused(verifier, root.leaf(*hosts).evidence(), "400 DNS names")
    refused(verifier, walled.leaf(*hosts).evidence(), "400 DNS names")
    # With one URI among them the names are left to the verifier of the path, which has a bound of its own.
    refused(verifier, walled.leaf(uri(ID), *hosts).evidence(), "no trusted root")
    assert time.process_time() - began < 1
    assert verifier.verify(root.leaf(uri(ID), *hosts).evidence(), BINDING)


def test_D7_a_chain_of_look_alikes_is_not_searched(verifier, root):
    """Five CAs of one name could be put together in over three hundred ways; they are not tried."""
    same = [Issuer.root("twin", number=30 + n) for n in range(5)]
    holder = same[0].leaf(uri(ID))
    began = time.process_time()
    refused(
        verifier, Holder([*holder.chain, *(each.der for each in same)], holder.key).evidence(), "one name"
    )
    assert time.process_time() - began < 0.5


def test_a_parsers_panic_becomes_a_refusal_and_an_interrupt_does_not():
    """Whatever goes wrong over a stranger's bytes is evidence that does not hold; Ctrl-C stays what it is."""
    panic = type("PanicException", (BaseException,), {"__module__": "pyo3_runtime"})
    for error in (ValueError("secret"), RecursionError(), panic("index out of bounds")):
        with pytest.raises(EvidenceError, match="the bytes") as caught, untrusted("the bytes"):
            raise error
        assert "secret" not in str(caught.value)
    with pytest.raises(KeyboardInterrupt), untrusted("the bytes"):
        raise KeyboardInterrupt


def test_H12_a_chain_that_was_taken_is_refused_once_its_time_is_over(root):
    """What was judged of a chain is kept, and not a second longer than its certificates hold."""
    time = {"now": NOW.timestamp()}
    verifier = verifier_of(root, clock=lambda: time["now"])
    holder = root.leaf(uri(ID), days=(-1, 1))
    evidence = holder.evidence()
    for _ in range(3):
        assert verifier.verify(evidence, BINDING).until == int(NOW.timestamp()) + 86400
    for away in (86401, -86401):
        time["now"] = NOW.timestamp() + away
        refused(verifier, evidence)
    time["now"] = NOW.timestamp()
    assert verifier.verify(evidence, BINDING)


def test_H2_a_chain_that_was_taken_is_worth_nothing_to_a_thief(verifier, root):
    """Whoever shows a known chain without its key is refused, as if it had never been seen."""
    holder, thief = root.leaf(uri(ID)), key("p256", 9)
    assert verifier.verify(holder.evidence(), BINDING)
    forged = sign(thief, digest("x509 identity", BINDING, holder.chain[0]))
    refused(verifier, X509Evidence(holder.chain, forged).to_bytes(), "does not hold")
    refused(verifier, holder.evidence(), "does not hold", bytes(32))
    assert verifier.verify(holder.evidence(), BINDING)


def test_H23_whether_a_chain_was_taken_before_a_thief_cannot_time(root, between, monkeypatch):
    """A refusal without the key has the same work behind it, whether the chain is known here or not."""
    verifier, work = verifier_of(root), []
    for step in ("read_certificates", "key_of", "verify"):
        monkeypatch.setattr(f"ztsession.identity.x509.{step}", _noted(getattr(x509_room, step), work))
    known, unknown = between.leaf(uri(ID)), between.leaf(uri(ID))
    assert verifier.verify(known.evidence(), BINDING)
    work.clear()
    done = []
    for holder in (known, unknown):
        forged = sign(key("p256", 9), digest("x509 identity", BINDING, holder.chain[0]))
        refused(verifier, X509Evidence(holder.chain, forged).to_bytes(), "does not hold")
        done.append(work.copy())
        work.clear()
    assert done[0] == done[1] == ["read_certificates", "key_of", "verify"]
    assert verifier.verify(known.evidence(), BINDING)


def _noted(step, work):
    def run(*given):
        work.append(step.__name__)
        return step(*given)

    return run


def test_chains_that_are_kept_are_bounded(root, monkeypatch):
    """However many certificates are shown, so many are remembered and no more."""
    monkeypatch.setattr("ztsession.identity.x509.CHAINS_KEPT", 3)
    verifier = verifier_of(root)
    for _ in range(8):
        assert verifier.verify(root.leaf(uri(ID)).evidence(), BINDING)
        assert len(verifier._accepted) <= 3
