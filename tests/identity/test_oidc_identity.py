"""Who shows an issuer's token and holds the key that it names is that subject, and nobody else is."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import threading
import time
import zlib
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jwe, jwk, jwt
from oidc_makers import BINDING, FIRM, NOW, OTHER, Issuer, as_json, b64, jwks, shown

import ztsession as zts
from ztsession.errors import ConfigurationError, EvidenceError, HandshakeError, WireError
from ztsession.identity import IdentityProver, IdentityVerifier, VerifiedIdentity
from ztsession.identity.key_digests import key_digests
from ztsession.identity.oidc import OidcEvidence, OidcIdentity, OidcVerifier, ProofKey, _signed
from ztsession.identity.oidc_key import proof_key
from ztsession.identity.subjects import FileSubjects, oidc_credential
from ztsession.identity.verifiers import IdentityVerifiers
from ztsession.wire import canonical
from ztsession.wire.operator_file import read_toml

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
BASE64URL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
EVERY = ("ES256", "ES384", "ES512", "EdDSA", "Ed25519", "RS256", "PS256")
ENROLLED = f"""
[subjects.algo-7]
kind = "algorithm"
roles = ["trading"]
desk = "rates"
oidc_issuer = "{FIRM}"
oidc_subject = "00u1x8"

[subjects.algo-8]
kind = "algorithm"
oidc_issuer = "{OTHER}"
oidc_subject = "00u1x8"
"""
KEYS = f"""
[oidc."{FIRM}"]
audience = "ztsession"
jwks = "firm.json"

[oidc."{FIRM}".assurance]
"urn:firm:hardware-key" = 3

[oidc."{OTHER}"]
audience = "ztsession"
jwks = "other.json"
"""


def verifier_of(directory, text=KEYS):
    (directory / "identity.toml").write_text(text)
    subjects = FileSubjects(directory / "subjects.toml")
    table = read_toml(directory / "identity.toml").table("oidc")
    return OidcVerifier.from_table(table, directory, subjects, clock=lambda: NOW)


@pytest.fixture(scope="module")
def firm():
    return Issuer(FIRM)


@pytest.fixture(scope="module")
def other():
    return Issuer(OTHER)  # its key has the same id as the firm's


@pytest.fixture
def directory(tmp_path, firm, other):
    (tmp_path / "subjects.toml").write_text(ENROLLED)
    (tmp_path / "firm.json").write_bytes(jwks(firm))
    (tmp_path / "other.json").write_bytes(jwks(other))
    return tmp_path


@pytest.fixture
def verifier(directory):
    return verifier_of(directory)


@pytest.fixture(params=["ES256", "EdDSA"])
def key(request):
    return ProofKey.generate(request.param)


@pytest.fixture(scope="module")
def thief():
    return ProofKey.generate()


def refused(verifier, evidence, match, binding=BINDING, case=0):
    with pytest.raises(EvidenceError) as caught:
        verifier.verify(evidence, binding)
    assert re.search(match, str(caught.value)), (case, str(caught.value))
    assert caught.value.reason == "refused"


def test_a_token_and_its_key_give_the_enrolled_identity(verifier, firm, other, key):
    """A token's subject, as enrolled for its issuer, is who is there, until the token ends."""
    identity = OidcIdentity("algo-7", firm.token(key), key)
    credential, keys = oidc_credential(FIRM, "00u1x8"), key_digests(proof_key(key.algorithm, key.public))
    assert verifier.verify(identity.prove(BINDING), BINDING) == VerifiedIdentity(
        "algo-7", "algorithm", ("trading",), "rates", 1, credential, NOW + 3600, keys
    )
    assert verifier.verify(shown(other.token(key), key), BINDING).subject == "algo-8"
    assert isinstance(verifier, IdentityVerifier)
    assert isinstance(identity, IdentityProver)
    assert len(identity.static_private) == 32


@pytest.mark.parametrize("algorithm", EVERY)
def test_every_asymmetric_algorithm_can_be_listed(directory, algorithm, thief):
    """An issuer may use the algorithm that the operator listed for it, and then no other."""
    issuer = Issuer(algorithm=algorithm)
    (directory / "firm.json").write_bytes(jwks(issuer))
    listed = KEYS.replace('jwks = "firm', f'algorithms = ["{algorithm}"]\njwks = "firm')
    evidence = shown(issuer.token(thief), thief)
    assert verifier_of(directory, listed).verify(evidence, BINDING).subject == "algo-7"
    without = KEYS.replace('jwks = "firm', 'algorithms = ["RS512"]\njwks = "firm')
    refused(verifier_of(directory, without), evidence, "not one that this issuer may use")


def test_the_current_token_is_asked_for_each_time(verifier, firm, key):
    """A source of tokens is called for every handshake, so that a renewed token is used."""
    tokens = [firm.token(key, jti="1"), firm.token(key, jti="2")]
    identity = OidcIdentity("algo-7", iter(tokens).__next__, key)
    for token in tokens:
        evidence = identity.prove(BINDING)
        assert OidcEvidence.from_bytes(evidence).token == token
        verifier.verify(evidence, BINDING)


@pytest.mark.parametrize(
    ("acr", "level"), [(None, 1), ("urn:firm:hardware-key", 3), ("urn:firm:password", 1), ("3", 1), ("", 1)]
)
def test_an_assurance_is_believed_only_if_listed(verifier, firm, key, acr, level):
    """An acr counts for what the operator's table says, and for level 1 if it says nothing."""
    assert verifier.verify(shown(firm.token(key, acr=acr), key), BINDING).assurance == level


# ---- Binding


def test_H1_evidence_holds_for_its_binding_only(verifier, firm, key):
    """Evidence made for one handshake is refused for another."""
    evidence = shown(firm.token(key), key)
    refused(verifier, evidence, "does not hold", bytes(32))
    refused(verifier, evidence, "32 bytes", BINDING[:31])
    verifier.verify(evidence, BINDING)


def test_H2_a_proof_cannot_be_moved_to_another_token(verifier, firm, key):
    """A signature that was made with one token does not show another one, though both are of one key."""
    mine, better = firm.token(key), firm.token(key, acr="urn:firm:hardware-key")
    moved = OidcEvidence(better, key.algorithm, key.public, key.sign(_signed(mine, BINDING)))
    refused(verifier, moved.to_bytes(), "does not hold")
    verifier.verify(shown(better, key), BINDING)


def test_H2_a_proof_key_signs_under_its_own_label(verifier, firm, key):
    """A DPoP proof's signature, or one over the bare binding, is no proof here."""
    token = firm.token(key)
    for message in (BINDING, hashlib.sha256(token.encode()).digest(), token.encode()):
        evidence = OidcEvidence(token, key.algorithm, key.public, key.sign(message))
        refused(verifier, evidence.to_bytes(), "does not hold")
    verifier.verify(shown(token, key), BINDING)


def test_H11_a_malleable_proof_is_refused(verifier, firm):
    """The other s of the same P-256 signature, which is as valid, is refused."""
    key = ProofKey.generate()
    for number in range(8):
        evidence = OidcEvidence.from_bytes(shown(firm.token(key, jti=str(number)), key))
        verifier.verify(evidence.to_bytes(), BINDING)
        s = P256_ORDER - int.from_bytes(evidence.signature[32:], "big")
        twin = evidence.signature[:32] + s.to_bytes(32, "big")
        twin_evidence = OidcEvidence(evidence.token, "ES256", key.public, twin)
        refused(verifier, twin_evidence.to_bytes(), "malleable")


def test_proof_keys_have_one_form(verifier, firm):
    """Compressed and hybrid points, points off the curve and keys of small order are refused."""
    key = ProofKey.generate()
    token, good = firm.token(key), key.public
    signature = key.sign(_signed(token, BINDING))
    wrong = [
        ("ES256", bytes([2 + good[-1] % 2]) + good[1:33], "uncompressed"),
        ("ES256", bytes([6 + good[-1] % 2]) + good[1:], "uncompressed"),
        ("ES256", good[:-1] + bytes([good[-1] ^ 1]), "not a point"),
        ("EdDSA", good, "32 bytes"),
        ("EdDSA", bytes(32), "small order"),
    ]
    for algorithm, public, match in wrong:
        refused(verifier, OidcEvidence(token, algorithm, public, signature).to_bytes(), match)
    verifier.verify(OidcEvidence(token, "ES256", good, signature).to_bytes(), BINDING)


# ---- Tokens of others, for others, without a key, at another time

CASES = [
    (1, {"aud": "payments"}, "another audience"),
    (2, {"aud": ["payments", "ztsession2"]}, "another audience"),
    (3, {"aud": None}, "audience is malformed"),
    (4, {"aud": []}, "another audience"),
    (5, {"aud": ["ztsession", 1]}, "audience is malformed"),
    (6, {"aud": ["ztsession"] * 17}, "audience is malformed"),
    (7, {"aud": {"ztsession": 1}}, "audience is malformed"),
    (8, {"iss": "https://login.evil.example"}, "not trusted here"),
    (9, {"iss": None}, "not trusted here"),
    (10, {"iss": [FIRM]}, "not trusted here"),
    (11, {"iss": FIRM + "/"}, "not trusted here"),
    (12, {"iss": OTHER}, "signature does not hold"),
    (13, {"cnf": None}, "not bound to a key"),
    (14, {"cnf": {}}, "not bound to a key"),
    (15, {"cnf": "jkt"}, "not bound to a key"),
    (16, {"cnf": {"kid": "k1"}}, "another key"),
    (17, {"cnf": {"jkt": ProofKey.generate().jkt}}, "another key"),
    (18, {"cnf": {"jwk": ProofKey.generate().jwk}}, "another key"),
    (19, {"cnf": {"jkt": ["x"]}}, "another key"),
    (20, {"cnf": {"jwk": "x"}}, "another key"),
    (21, {"exp": NOW - 30}, "expired"),
    (22, {"exp": None}, "exp is not"),
    (23, {"nbf": NOW + 31}, "not valid yet"),
    (24, {"iat": NOW + 31}, "not valid yet"),
    (25, {"iat": None}, "iat is not"),
    (26, {"iat": NOW - 60, "exp": NOW - 60 + 86401}, "does not live"),
    (27, {"iat": NOW + 10, "exp": NOW + 10}, "does not live"),
    (28, {"iat": NOW + 10, "exp": NOW}, "does not live"),
    (29, {"exp": float(NOW + 3600)}, "exp is not"),
    (30, {"exp": str(NOW + 3600)}, "exp is not"),
    (31, {"exp": True}, "exp is not"),
    (32, {"exp": -1}, "exp is not"),
    (33, {"exp": 2**53}, "exp is not"),
    (34, {"nbf": [NOW]}, "nbf is not"),
    (35, {"sub": None}, "not a text"),
    (36, {"sub": 7}, "not a text"),
    (37, {"sub": ""}, "printable"),
    (38, {"sub": "a" * 256}, "printable"),
    (39, {"sub": "00u1x8\n"}, "printable"),
    (40, {"sub": "00u1х8"}, "printable"),  # noqa: RUF001 - a Cyrillic letter
    (41, {"sub": "\ud800"}, "printable"),
    (42, {"sub": "somebody"}, "not enrolled"),
    (43, {"acr": 3}, "not a text"),
    (44, {"iat": NOW + 31, "nbf": NOW}, "not valid yet"),
]


@pytest.mark.parametrize(("changed", "match"), [case[1:] for case in CASES], ids=lambda _: "")
def test_H26_a_token_that_does_not_fit_is_refused(verifier, firm, key, changed, match):
    """Whatever claim is another's, missing, of another type or of another time, the token is refused."""
    claims = firm.claims(key) | changed
    claims = {name: value for name, value in claims.items() if value is not None}
    refused(verifier, shown(firm.crafted(firm.header(), claims), key), match)
    verifier.verify(shown(firm.crafted(firm.header(), firm.claims(key)), key), BINDING)


def test_honest_variants_are_taken(verifier, firm, key):
    """One of several audiences, a key as JWK, times at the edge, and the long form of typ are all right."""
    for changed in (
        {"aud": ["ztsession"]},
        {"aud": ["account", "ztsession"]},
        {"cnf": {"jwk": key.jwk}},
        {"cnf": {"jwk": {**key.jwk, "kid": "mine", "use": "sig"}}},
        {"exp": NOW - 29},
        {"iat": NOW + 30, "nbf": NOW + 30},
        {"iat": NOW - 60, "exp": NOW - 60 + 86400},
        {"auth_time": 1.5, "nested": {"exp": 1e300}},
    ):
        verifier.verify(shown(firm.token(key, **changed), key), BINDING)
    long_form = firm.crafted(firm.header(typ="application/at+jwt"), firm.claims(key))
    verifier.verify(shown(long_form, key), BINDING)


def test_H26_a_token_is_no_use_without_its_key(verifier, firm, key):
    """Whoever has seen a token and the evidence made with it cannot make evidence of his own."""
    thief = ProofKey.generate(key.algorithm)
    token = firm.token(key)
    refused(verifier, shown(token, thief), "another key")
    own = thief.sign(_signed(token, BINDING))
    refused(verifier, OidcEvidence(token, key.algorithm, key.public, own).to_bytes(), "does not hold")
    verifier.verify(shown(token, key), BINDING)


def test_H26_one_condition_of_two_is_not_enough(verifier, firm, key, thief):
    """A token that names two keys, or a key and a certificate, is not taken for one of them."""
    for cnf in (
        {"jkt": key.jkt, "jwk": thief.jwk},
        {"jwk": key.jwk, "jkt": thief.jkt},
        {"jkt": key.jkt, "x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"},
    ):
        refused(verifier, shown(firm.token(key, cnf=cnf), key), "exactly one")
    leaked = {"jwk": {**key.jwk, "d": b64(bytes(32))}}
    refused(verifier, shown(firm.token(key, cnf=leaked), key), "another key")
    verifier.verify(shown(firm.token(key, cnf={"jwk": key.jwk}), key), BINDING)


def test_H26_a_key_id_belongs_to_its_issuer(verifier, firm, other, key):
    """A key that two issuers call the same signs for its own issuer only."""
    assert firm.kid == other.kid
    for signer, named in ((firm, other), (other, firm)):
        refused(verifier, shown(signer.token(key, iss=named.name), key), "signature does not hold")
        verifier.verify(shown(signer.token(key), key), BINDING)


def test_H26_a_stranger_with_the_right_key_id_is_refused(verifier, firm, key):
    """A token with the issuer's name and key id, signed by somebody else, is refused."""
    refused(verifier, shown(Issuer(FIRM).token(key), key), "signature does not hold")
    refused(verifier, shown(Issuer(FIRM, kid="k2").token(key), key), "no key")
    verifier.verify(shown(firm.token(key), key), BINDING)


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "HS256", "HS512", "", None, ["ES256"], 7])
def test_H26_only_pinned_algorithms_are_taken(verifier, firm, key, algorithm):
    """Without a signature, with a MAC, or with no algorithm's name at all a token is refused."""
    header = {**firm.header(), "alg": algorithm}
    signed = f"{b64(as_json(header))}.{b64(as_json(firm.claims(key)))}"
    refused(verifier, shown(signed + ".", key), "algorithm is not one")
    verifier.verify(shown(firm.token(key), key), BINDING)


def test_H26_a_public_key_is_no_secret(verifier, firm, key):
    """A token whose HS256 is keyed with any form of the issuer's public key is refused, at both doors."""
    public = firm.key.public_key
    forms = [
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint),
        as_json(firm.jwk),
    ]
    signed = f"{b64(as_json(firm.header(alg='HS256')))}.{b64(as_json(firm.claims(key)))}"
    known = verifier._issuers[FIRM].keys.key("k1")
    for secret in forms:
        tag = hmac.digest(secret, signed.encode(), "sha256")
        refused(verifier, shown(f"{signed}.{b64(tag)}", key), "algorithm is not one")
        with pytest.raises(EvidenceError, match="not one of its key"):
            known.verify("HS256", signed.encode(), tag)
    verifier.verify(shown(firm.token(key), key), BINDING)


def test_H26_a_key_serves_its_own_algorithm_only(directory, key):
    """Where several algorithms are listed, a token still cannot choose one that is not its key's."""
    curve, rsa = Issuer(kid="c"), Issuer(kid="r", algorithm="RS256")
    (directory / "firm.json").write_bytes(jwks(curve, rsa))
    listed = 'algorithms = ["ES256", "ES384", "RS256", "PS256"]\njwks = "firm'
    both = verifier_of(directory, KEYS.replace('jwks = "firm', listed))
    for issuer in (curve, rsa):
        both.verify(shown(issuer.token(key), key), BINDING)
        for algorithm in {"ES256", "ES384", "RS256", "PS256"} - {issuer.algorithm}:
            crossed = issuer.crafted(issuer.header(alg=algorithm), issuer.claims(key))
            refused(both, shown(crossed, key), "not one of its key")


@pytest.mark.parametrize("typ", [None, "JWT", "at+JWT", "dpop+jwt", "application/JWT", "", ["at+jwt"], 1])
def test_H26_another_type_of_token_is_refused(verifier, firm, key, typ):
    """An ID token, a DPoP proof or anything else the issuer signs is no access token."""
    refused(verifier, shown(firm.crafted(firm.header(typ=typ), firm.claims(key)), key), "typ is not")
    verifier.verify(shown(firm.token(key), key), BINDING)


def test_an_operator_may_pin_the_older_type(directory, firm, key):
    """With typ = "JWT" that one is taken, and at+jwt no longer."""
    older = verifier_of(directory, KEYS.replace('jwks = "firm', 'typ = "JWT"\njwks = "firm'))
    older.verify(shown(firm.crafted(firm.header(typ="JWT"), firm.claims(key)), key), BINDING)
    refused(older, shown(firm.token(key), key), "typ is not JWT")


@pytest.fixture
def listener():
    """A server that counts who calls."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.asked = []
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_H26_a_token_cannot_bring_its_own_key(verifier, firm, key, listener):
    """Headers that name or hold a key are refused, and nobody is asked at the address they give."""
    url = f"http://127.0.0.1:{listener.server_port}/keys"
    evil = Issuer(FIRM)
    for extra in ({"jku": url}, {"x5u": url}, {"jwk": evil.jwk}, {"x5c": ["MIIB"]}):
        for issuer in (evil, firm):
            header = issuer.header() | extra
            refused(verifier, shown(issuer.crafted(header, issuer.claims(key)), key), "not taken")
    assert listener.asked == []
    verifier.verify(shown(firm.crafted(firm.header(cty="x", x5t="y"), firm.claims(key)), key), BINDING)


# ---- Revoked, changed, told apart


def test_H14_a_subject_or_key_taken_out_is_refused_after_reading_again(directory, firm, other, key):
    """Once the files are read again, a removed subject and a withdrawn key are refused; the rest stays."""
    evidence, rest = shown(firm.token(key), key), shown(other.token(key), key)
    verifier_of(directory).verify(evidence, BINDING)
    (directory / "subjects.toml").write_text(
        ENROLLED.partition("[subjects.algo-8]")[2].join(["[subjects.algo-8]", ""])
    )
    refused(verifier_of(directory), evidence, "not enrolled")
    (directory / "subjects.toml").write_text(ENROLLED)
    (directory / "firm.json").write_bytes(jwks(Issuer(kid="k2")))
    changed = verifier_of(directory)
    refused(changed, evidence, "no key")
    changed.verify(rest, BINDING)


def test_H15_evidence_with_any_bit_changed_is_refused(verifier, firm, key):
    """Whatever bit of the evidence is flipped, it is refused."""
    evidence = shown(firm.token(key), key)
    for position in range(len(evidence) * 8):
        changed = bytearray(evidence)
        changed[position // 8] ^= 1 << position % 8
        with pytest.raises(EvidenceError):
            verifier.verify(bytes(changed), BINDING)
    verifier.verify(evidence, BINDING)


def test_H15_a_token_with_any_character_changed_is_refused(verifier, firm, key):
    """Whatever character of the token its own holder changes, and proves anew, it is refused."""
    token = firm.token(key)
    for position, character in enumerate(token):
        value = BASE64URL.find(character)
        near = [BASE64URL[value ^ 1 << bit] for bit in range(6)] if value >= 0 else ["A"]
        for other_one in {".", "=", *near} - {character}:
            changed = token[:position] + other_one + token[position + 1 :]
            with pytest.raises(EvidenceError):
                verifier.verify(shown(changed, key), BINDING)
    verifier.verify(shown(token, key), BINDING)


def test_H23_refusals_tell_the_peer_one_word(verifier, firm, key, thief):
    """Unknown subject, unknown issuer, wrong key and expired token are one word outside."""
    evidence = [
        shown(firm.token(key, sub="nobody"), key),
        shown(firm.token(key, iss="https://x.example"), key),
        shown(firm.token(key), thief),
        shown(firm.token(key, exp=NOW - 59), key),
    ]
    told = set()
    for each in evidence:
        with pytest.raises(EvidenceError) as caught:
            verifier.verify(each, BINDING)
        told.add((type(caught.value), caught.value.reason))
    assert told == {(EvidenceError, "refused")}


# ---- Bombs and malformed tokens


def body_of(firm, key, extra: bytes) -> bytes:
    """Honest claims with a further member written by hand, which may name a claim again."""
    return as_json(firm.claims(key))[:-1] + b"," + extra + b"}"


BOMBS = [
    (1, b'"exp":1e400', "one reading"),
    (2, b'"x":1e400', "one reading"),
    (3, b'"x":NaN', "one reading"),
    (4, b'"x":-Infinity', "one reading"),
    (5, b'"x":' + b"9" * 5000, "one reading"),
    (6, b'"x":' + b"9" * 21, "one reading"),
    (7, b'"x":' + b"[" * 5000 + b"]" * 5000, "one reading"),
    (8, b'"x":' + b'{"a":' * 1500 + b"1" + b"}" * 1500, "one reading"),
    (9, b'"sub":"00u1x8"', "one reading"),
    (10, b'"cnf":{"jkt":"x"}', "one reading"),
    (11, b'"x":{"a":1,"a":1}', "one reading"),
    (12, b'"\\u0073ub":"00u1x8"', "one reading"),
    (13, b'"x":"\xff"', "one reading"),
    (14, b'"x":01', "one reading"),
]


@pytest.mark.parametrize(("extra", "match"), [case[1:] for case in BOMBS], ids=lambda _: "")
def test_D7_claims_that_are_bombs_or_have_two_readings_are_refused(verifier, firm, key, extra, match):
    """Numbers without end, nesting without end and names that stand twice are refused, signed or not."""
    refused(verifier, shown(firm.crafted(firm.header(), body_of(firm, key, extra)), key), match)
    header = as_json(firm.header())[:-1] + b"," + extra[: extra.index(b":")] + b":1}"
    harmless = firm.crafted(header.replace(b'"sub":1', b'"x":1'), body_of(firm, key, b'"x":[[[1]]]'))
    verifier.verify(shown(harmless, key), BINDING)


def test_D7_a_token_is_measured_before_it_is_read(verifier, firm, key):
    """Tokens and headers over their limits, and thousands of parts, are refused without being parsed."""
    honest = firm.token(key)
    verifier.verify(shown(firm.token(key, x="y" * 11000), key), BINDING)
    with pytest.raises(WireError, match="16384"):
        shown(firm.token(key, x="y" * 16000), key)
    by_hand = {"v": 1, "kind": "identity.oidc", "token": "a" * 16385, "algorithm": key.algorithm}
    by_hand |= {"key": key.public, "signature": bytes(64)}
    refused(verifier, canonical.encode(by_hand), "malformed.*16384")
    long_header = firm.crafted(firm.header(x="y" * 4096), firm.claims(key))
    refused(verifier, shown(long_header, key), "header is over")
    refused(verifier, shown("." * 16384, key), "compact JWS")
    refused(verifier, shown(honest + "." * 10000, key), "compact JWS")
    refused(verifier, bytes(30000), "malformed")


def test_D7_encrypted_and_compressed_tokens_are_refused(verifier, firm, key):
    """A JWE, compressed or not, in five parts or dressed up as three, is refused before it is opened."""
    secret = jwk.generate_key("oct", 256)
    body = zlib.compress(b"0" * 8000)
    sealed = jwe.encrypt_compact({"alg": "dir", "enc": "A256GCM", "zip": "DEF"}, body, secret)
    refused(verifier, shown(sealed, key), "compact JWS")
    for extra in ({"zip": "DEF"}, {"enc": "A256GCM"}, {"b64": False}, {"crit": ["b64"], "b64": False}):
        dressed = firm.crafted(firm.header() | extra, firm.claims(key))
        refused(verifier, shown(dressed, key), "not taken")
    for crit in (["exp"], [], "x", ["https://x.example/new"]):
        dressed = firm.crafted(firm.header(crit=crit), firm.claims(key))
        refused(verifier, shown(dressed, key), "crit, which is not taken")
    verifier.verify(shown(firm.token(key), key), BINDING)


def test_malformed_tokens_are_refused(verifier, firm, key):
    """Each of these is not the one form of a token, though most differ by one character from one."""
    honest = firm.token(key)
    header, claims, signature = honest.split(".")
    loose = signature[:-1] + chr(ord(signature[-1]) + 1)  # bits that belong to no byte
    raw_header, raw_claims = as_json(firm.header()), as_json(firm.claims(key))
    table = [
        (1, "x", "compact JWS"),
        (2, f"{header}.{claims}", "compact JWS"),
        (3, f"{honest}.", "compact JWS"),
        (4, f".{claims}.{signature}", "one reading"),
        (5, f"{header}..{signature}", "one reading"),
        (6, f"{header}.{claims}.", "does not hold"),
        (7, f"{header}.{claims}.{signature}=", "base64url"),
        (8, f"{header}.{claims}.{signature}==", "base64url"),
        (9, f"{header}.{claims}.{loose}", "base64url"),
        (10, f" {honest}", "base64url"),
        (11, f"{honest}\n", "base64url"),
        (12, f"{header}.{claims}\u200b.{signature}", "compact JWS"),
        (13, f"{header}.{claims}.{signature[:-1]}", "base64url|does not hold"),
        (14, f"{header}.{claims}.{signature[:-4]}", "base64url|does not hold"),
        (15, f"{header}.{claims}.{signature}AAAA", "does not hold"),
        (16, f"{header}.{claims}.{'A' * len(signature)}", "does not hold"),
        (17, f"{header}.{claims}.+{signature[1:]}", "base64url"),
        (18, firm.crafted(b"[]", raw_claims), "not a JSON object"),
        (19, firm.crafted(b"null", raw_claims), "not a JSON object"),
        (20, firm.crafted(raw_header, b"[1]"), "not a JSON object"),
        (21, firm.crafted(raw_header, b'"text"'), "not a JSON object"),
        (22, firm.crafted(raw_header + b"{}", raw_claims), "one reading"),
        (23, firm.crafted(raw_header, raw_claims + b"\x00"), "one reading"),
        (24, firm.crafted(b"\xef\xbb\xbf" + raw_header, raw_claims), "one reading"),
        (25, firm.crafted(raw_header.decode().encode("utf-16"), raw_claims), "one reading"),
        (26, firm.crafted(raw_header[:-1] + b',"alg":"ES256"}', raw_claims), "one reading"),
        (27, firm.crafted(firm.header(kid=None), raw_claims), "names no key"),
        (28, firm.crafted(firm.header(kid=1), raw_claims), "names no key"),
        (29, firm.crafted(firm.header(kid=["k1"]), raw_claims), "names no key"),
        (30, firm.crafted(firm.header(kid=""), raw_claims), "names no key"),
        (31, firm.crafted(firm.header(kid="k" * 257), raw_claims), "names no key"),
        (32, firm.crafted(firm.header(kid="../k1"), raw_claims), "no key"),
        (33, json.dumps({"protected": header, "payload": claims, "signature": signature}), "compact JWS"),
    ]
    for number, token, match in table:
        refused(verifier, shown(token, key), match, case=number)
    verifier.verify(shown(honest, key), BINDING)


@pytest.mark.parametrize("evidence", [b"", b"\x80", b"\x81\xa1a\x01", bytes(64)])
def test_malformed_evidence_is_refused(verifier, evidence):
    """Bytes that are no evidence are refused as such."""
    refused(verifier, evidence, "malformed")


# ---- The client's side


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA"])
def test_proof_keys_survive_pem_and_print_nothing(algorithm):
    """A key read back is the same key, its thumbprint is joserfc's, and no repr shows a secret."""
    key = ProofKey.generate(algorithm)
    again = ProofKey.from_pem(key.to_pem())
    assert (again.algorithm, again.public, again.jkt) == (algorithm, key.public, key.jkt)
    assert key.jkt == jwk.import_key(key.jwk).thumbprint()
    identity = OidcIdentity("algo-7", "secret-token", key)
    assert repr(key) == "ProofKey()"
    assert "secret-token" not in repr(identity)
    assert "static_private" not in repr(identity)


@pytest.mark.parametrize("algorithm", ["ES256", "EdDSA"])
def test_a_dpop_proof_names_the_key_and_the_request(algorithm):
    """A token endpoint can check the proof with the key in it, and finds what RFC 9449 asks for."""
    key = ProofKey.generate(algorithm)
    proof = key.dpop_proof("POST", f"{FIRM}/token", nonce="n1")
    header = json.loads(from_b64(proof.split(".")[0]))
    assert (header["typ"], header["alg"], header["jwk"]) == ("dpop+jwt", algorithm, key.jwk)
    model = jwt.JWSRegistry.algorithms[algorithm]
    signed, _, signature = proof.rpartition(".")
    assert model.verify(signed.encode(), from_b64(signature), jwk.import_key(header["jwk"]))
    claims = json.loads(from_b64(proof.split(".")[1]))
    assert (claims["htm"], claims["htu"], claims["nonce"]) == ("POST", f"{FIRM}/token", "n1")
    assert claims["jti"] != json.loads(from_b64(key.dpop_proof("POST", "u").split(".")[1]))["jti"]


def from_b64(text):
    return base64.urlsafe_b64decode(text + "==")


def test_unfit_keys_and_names_make_no_identity(thief):
    """Keys of other kinds, odd subjects and short handshake keys are refused where they are given."""
    for pem in (Issuer(algorithm="ES384").key.as_pem(), Issuer(algorithm="RS256").key.as_pem(), b"", b"x"):
        with pytest.raises(ConfigurationError, match="proof key"):
            ProofKey.from_pem(pem)
    with pytest.raises(ConfigurationError, match="one of ES256, EdDSA"):
        ProofKey.generate("RS256")
    with pytest.raises(ConfigurationError, match="subject"):
        OidcIdentity("a b", "t", thief)
    with pytest.raises(ConfigurationError, match="32 bytes"):
        OidcIdentity("a", "t", thief, b"short")


# ---- Settings

ONE = f'[oidc."{FIRM}"]\n'


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        ("[oidc]\n", 1, "one table or more"),
        ("oidc = 1\n", 1, "a table"),
        (ONE + 'jwks = "firm.json"\n', 1, "text"),
        (ONE + 'audience = ""\njwks = "firm.json"\n', 2, "audience"),
        (ONE + 'audience = "a"\n', 1, "either jwks"),
        (ONE + 'audience = "a"\njwks = "firm.json"\njwks_url = "https://x.example"\n', 1, "either jwks"),
        (ONE + 'audience = "a"\njwks = "../firm.json"\n', 3, "name of a file"),
        (ONE + 'audience = "a"\njwks = "/etc/hostname"\n', 3, "name of a file"),
        (ONE + 'audience = "a"\njwks = ""\n', 3, "name of a file"),
        (ONE + 'audience = "a"\njwks_url = "http://login.firm.example/jwks"\n', 3, "https://"),
        (ONE + 'audience = "a"\njwks_url = "file:///etc/passwd"\n', 3, "https://"),
        (ONE + 'audience = "a"\njwks = "firm.json"\nalgorithms = ["none"]\n', 4, "some of ES256"),
        (ONE + 'audience = "a"\njwks = "firm.json"\nalgorithms = ["HS256"]\n', 4, "some of ES256"),
        (ONE + 'audience = "a"\njwks = "firm.json"\nalgorithms = []\n', 4, "some of ES256"),
        (ONE + 'audience = "a"\njwks = "firm.json"\nalgorithms = "ES256"\n', 4, "list of texts"),
        (ONE + 'audience = "a"\njwks = "firm.json"\ntyp = "dpop+jwt"\n', 4, "one of at\\+jwt, JWT"),
        (ONE + 'audience = "a"\njwks = "firm.json"\nleeway_s = 301\n', 4, "0 to 300"),
        (ONE + 'audience = "a"\njwks = "firm.json"\nmax_lifetime_s = 0\n', 4, "1 to 2592000"),
        (ONE + 'audience = "a"\njwks = "firm.json"\nissuer = "x"\n', 4, "unknown key"),
        (ONE + f'audience = "a"\njwks = "firm.json"\n[oidc."{FIRM}".assurance]\nhigh = 4\n', 5, "1 to 3"),
        (ONE + f'audience = "a"\njwks = "firm.json"\n[oidc."{FIRM}".assurance]\nhigh = true\n', 5, "1 to 3"),
        ('[oidc."http://login.firm.example"]\naudience = "a"\njwks = "firm.json"\n', 1, "https://"),
        ('[oidc."https://login firm"]\naudience = "a"\njwks = "firm.json"\n', 1, "https://"),
        ('[oidc."https://"]\naudience = "a"\njwks = "firm.json"\n', 1, "https://"),
    ],
)
def test_a_wrong_setting_is_reported_with_its_place(directory, text, line, expected):
    """A mistake in the settings names file, line and what was expected."""
    with pytest.raises(ConfigurationError, match=expected) as caught:
        verifier_of(directory, text)
    assert (caught.value.file, caught.value.line) == (str(directory / "identity.toml"), line)


@pytest.mark.parametrize(
    ("content", "expected"),
    [(None, "cannot be read"), (b"{}", "list of"), (b"x", "one reading"), (b" " * 262145, "262144")],
)
def test_an_unfit_key_file_is_reported(directory, content, expected):
    """A key file that is missing or no key set is an error that names it."""
    (directory / "firm.json").unlink()
    if content is not None:
        (directory / "firm.json").write_bytes(content)
    with pytest.raises(ConfigurationError, match=expected) as caught:
        verifier_of(directory)
    assert caught.value.file == str(directory / "firm.json")


def test_a_key_file_may_have_other_peoples_keys_and_no_secrets(directory, firm):
    """A private key in the file is an error; an encryption key beside the signing one is not."""
    sealing = {**jwk.generate_key("RSA", 2048, private=False).as_dict(), "kid": "e", "use": "enc"}
    (directory / "firm.json").write_bytes(as_json({"keys": [firm.jwk, sealing]}))
    verifier_of(directory)
    (directory / "firm.json").write_bytes(as_json({"keys": [firm.key.as_dict(private=True)]}))
    with pytest.raises(ConfigurationError, match="secret key"):
        verifier_of(directory)


def test_evidence_finds_its_verifier_by_its_kind(directory, firm, key):
    """Where identity.toml has an oidc table, tokens are taken beside Ed25519 keys; else they are not."""
    subjects = FileSubjects(directory / "subjects.toml")
    evidence = shown(firm.token(key), key)
    (directory / "identity.toml").write_text(KEYS)
    verifiers = IdentityVerifiers.from_directory(directory, subjects, clock=lambda: NOW)
    assert set(verifiers.kinds) == {"identity.ed25519", "identity.oidc"}
    assert verifiers.verify(evidence, BINDING).subject == "algo-7"
    (directory / "identity.toml").unlink()
    with pytest.raises(EvidenceError, match="not taken here"):
        IdentityVerifiers.from_directory(directory, subjects).verify(evidence, BINDING)


# ---- The whole way


@pytest.fixture
def firm_house(house, firm):
    """A house where algo-7 logs in at the firm's issuer."""
    (house.rules / "subjects.toml").write_text(ENROLLED)
    (house.rules / "firm.json").write_bytes(jwks(firm))
    (house.rules / "identity.toml").write_text(KEYS.partition(f'[oidc."{OTHER}"]')[0])
    return house


def test_H26_a_handshake_by_token(firm_house, firm, thief):
    """An enrolled subject gets its session by token and key; the same token with another key gets none."""
    now = int(time.time())
    key = ProofKey.generate()
    fresh = {"iat": now - 60, "exp": now + 3600}
    token = firm.token(key, **fresh)
    with_authority = firm_house.authority()
    session = firm_house.connect(with_authority, identity=OidcIdentity("algo-7", token, key))
    assert with_authority.session(session.id).subject == "algo-7"
    told = set()
    for identity in (
        OidcIdentity("algo-7", token, thief),
        OidcIdentity("algo-7", firm.token(key, **fresh, aud="payments"), key),
        OidcIdentity("algo-7", firm.token(key, **fresh, cnf=None), key),
        OidcIdentity("algo-7", firm.token(key, **fresh, sub="nobody"), key),
    ):
        with pytest.raises(HandshakeError) as caught:
            firm_house.connect(with_authority, identity=identity)
        told.add(str(caught.value))
    assert len(told) == 1  # H23: one sentence for all of them
    assert len(with_authority.sessions()) == 1
    assert isinstance(session, zts.Session)


def test_H14_a_reload_ends_what_a_key_file_allowed(firm_house, firm):
    """Once the operator took the key out and reloaded, its tokens open nothing; put back, they do again."""
    now, key = int(time.time()), ProofKey.generate()
    identity = OidcIdentity("algo-7", firm.token(key, iat=now - 60, exp=now + 3600), key)
    with_authority = firm_house.authority()
    for keys, holds in ((firm, True), (Issuer(kid="k2"), False), (firm, True)):
        (firm_house.rules / "firm.json").write_bytes(jwks(keys))
        with_authority.reload()
        if holds:
            firm_house.connect(with_authority, identity=identity)
        else:
            with pytest.raises(HandshakeError):
                firm_house.connect(with_authority, identity=identity)
