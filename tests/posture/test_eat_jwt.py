"""JSON, base64 and JOSE leave a reader much room; of all that, one form of a JWT is taken."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from eat_makers import (
    BINDING,
    NONCE,
    NOW,
    b64,
    cwt,
    ed,
    entry,
    evidence,
    expected_nonce,
    healthy,
    json_claims,
    jwt,
    p256,
    pem,
    raw_jwt,
)

from ztsession.errors import EvidenceError
from ztsession.posture import PostureAppraiser

KEY = p256("host-1")
HEADER = {"alg": "ES256", "typ": "eat+jwt"}
CLAIMS = json_claims(healthy())


@pytest.fixture(scope="module")
def appraiser(tmp_path_factory):
    file = tmp_path_factory.mktemp("devices") / "devices.toml"
    file.write_text(entry("host-1", p256("host-1")) + entry("host-3", ed("host-3")))
    return PostureAppraiser(file)


def appraise(appraiser: PostureAppraiser, token: str, named: str = "host-1") -> Any:
    return appraiser.appraise(evidence(token, named), BINDING, NONCE, now=NOW)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"alg": "none"}, "none of"),
        ({"alg": "HS256"}, "none of"),
        ({"alg": "ES384"}, "none of"),
        ({"alg": "es256"}, "none of"),
        ({"alg": ["ES256"]}, "none of"),
        ({"alg": None}, "none of"),
        ({"alg": "EdDSA"}, "not that of the enrolled key"),
        ({"alg": "Ed25519"}, "not that of the enrolled key"),
        ({"typ": "JWT"}, "type"),
        ({"typ": "application/eat+jwt"}, "type"),
        ({"typ": None}, "type"),
        ({"crit": ["b64"], "b64": True}, "more than"),
        ({"crit": []}, "more than"),
        ({"b64": False}, "more than"),
        ({"jwk": {"kty": "EC"}}, "more than"),
        ({"jku": "https://evil.example/keys"}, "more than"),
        ({"x5c": ["MIIB"]}, "more than"),
        ({"x5u": "https://evil.example/chain"}, "more than"),
        ({"kid": 7}, "does not hold"),
    ],
)
def test_H15_other_headers_are_refused(appraiser, changed, why):
    """Signed by the right key, a token with any other header than the pinned one is refused."""
    for fine in (HEADER, {"typ": "eat+jwt", "kid": "k1", "alg": "ES256"}):
        assert appraise(appraiser, raw_jwt(KEY, json.dumps(fine).encode(), CLAIMS)).device == "host-1"
    with pytest.raises(EvidenceError, match=why):
        appraise(appraiser, raw_jwt(KEY, json.dumps(HEADER | changed).encode(), CLAIMS))


def test_an_algorithm_is_confused_by_no_key(appraiser):
    """No signature, a MAC keyed with the public key, RSA, and the other curve's key are all refused."""
    claims = b64(CLAIMS)
    for public in (pem(KEY).encode(), pem(KEY).strip().encode()):
        signed = f"{b64(json.dumps(HEADER | {'alg': 'HS256'}).encode())}.{claims}"
        mac = hmac.digest(public, signed.encode(), hashlib.sha256)
        with pytest.raises(EvidenceError, match="none of"):
            appraise(appraiser, f"{signed}.{b64(mac)}")
    for head, tail in (
        ({"alg": "none"}, ""),
        ({"alg": "none"}, b64(bytes(64))),
        ({}, ""),
        ({}, b64(bytes(64))),
    ):
        with pytest.raises(EvidenceError):
            appraise(appraiser, f"{b64(json.dumps(HEADER | head).encode())}.{claims}.{tail}")
    other = rsa.generate_private_key(65537, 2048)
    signed = f"{b64(json.dumps(HEADER).encode())}.{claims}"
    with pytest.raises(EvidenceError, match="does not hold"):
        appraise(appraiser, f"{signed}.{b64(other.sign(signed.encode(), PKCS1v15(), SHA256()))}")
    for key, named in ((ed("host-3"), "host-1"), (KEY, "host-3")):
        with pytest.raises(EvidenceError, match="not that of the enrolled key"):
            appraise(appraiser, jwt(key, healthy()), named)


@pytest.mark.parametrize("name", ["EdDSA", "Ed25519"])
def test_both_names_of_the_Edwards_curve_are_known(appraiser, name):
    """RFC 8037's name and RFC 9864's are accepted for an Ed25519 key, without a warning."""
    head = json.dumps({"alg": name, "typ": "eat+jwt"}).encode()
    assert appraise(appraiser, raw_jwt(ed("host-3"), head, CLAIMS), "host-3").device == "host-3"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda h, p, s: f"{h}.{p}.{s}=", id="1 padding"),
        pytest.param(lambda h, p, s: f"{h}.{p}.{s}==", id="2 right padding"),
        pytest.param(lambda h, p, s: f" {h}.{p}.{s}", id="3 a blank before"),
        pytest.param(lambda h, p, s: f"{h}.{p}.{s}\n", id="4 a line end"),
        pytest.param(lambda h, p, s: f"{h}.{p}.{s[:-1]}{chr(ord(s[-1]) + 1)}", id="5 spare bits"),
        pytest.param(lambda h, p, s: f"{h}.{p}.{s}.", id="6 a fourth part"),
        pytest.param(lambda h, p, s: f"{h}.{p}.{s}.{s}.{s}", id="7 five parts"),
        pytest.param(lambda h, p, s: f"{h}.{p}", id="8 two parts"),
        pytest.param(lambda h, p, s: f"{h}..{s}", id="9 no payload"),
        pytest.param(lambda h, p, s: f".{p}.{s}", id="10 no header"),
        pytest.param(lambda h, p, s: f"{h}.{p}.", id="11 no signature"),
        pytest.param(lambda h, p, s: f"{h}.{p}.{s[:-2]}", id="12 a short signature"),
        pytest.param(lambda h, p, s: f"{h}.{p}.{s}\u0430", id="13 a look-alike letter"),
        pytest.param(lambda h, p, s: f"{h}.{p}.{s[:40]}\n{s[40:]}", id="14 a line end within"),
        pytest.param(
            lambda h, p, s: json.dumps({"payload": p, "protected": h, "signature": s}), id="15 JSON"
        ),
    ],
)
def test_H15_other_forms_of_the_same_token_are_refused(appraiser, change):
    """The same well signed token in any other spelling is refused, and in its own it passes."""
    # The last letter of 64 octets has four spare bits; A, Q, g and w leave them empty.
    parts = jwt(KEY, healthy()).split(".")
    assert parts[2][-1] in "AQgw"
    assert appraise(appraiser, ".".join(parts)).device == "host-1"
    with pytest.raises(EvidenceError):
        appraise(appraiser, change(*parts))


NONCE_CLAIM = f'"eat_nonce":"{b64(expected_nonce())}"'
#: The last letter of 32 octets has two spare bits: the one after it in the alphabet sets one of them.
SPARE_BITS = NONCE_CLAIM[:-2] + chr(ord(NONCE_CLAIM[-2]) + 1) + '"'
IAT_CLAIM = f'"iat":{int(NOW)}'


@pytest.mark.parametrize(
    ("claims", "passes"),
    [
        pytest.param(f"{{{NONCE_CLAIM},{IAT_CLAIM}}}", True, id="1 as it should be"),
        pytest.param(f"{{{IAT_CLAIM},{NONCE_CLAIM}}}", True, id="2 in another order"),
        pytest.param(f"{{{NONCE_CLAIM},{IAT_CLAIM},{NONCE_CLAIM}}}", False, id="3 a name twice"),
        pytest.param(f'{{"iat":0,{NONCE_CLAIM},{IAT_CLAIM}}}', False, id="4 a name with two values"),
        pytest.param(f'{{{NONCE_CLAIM},"\\u0069at":0,{IAT_CLAIM}}}', False, id="5 a name twice, escaped"),
        pytest.param(f'{{{NONCE_CLAIM},{IAT_CLAIM},"a":{{"b":1,"b":2}}}}', False, id="6 a name twice below"),
        pytest.param(f'{{{NONCE_CLAIM},{IAT_CLAIM},"a":NaN}}', False, id="7 NaN"),
        pytest.param(f'{{{NONCE_CLAIM},{IAT_CLAIM},"a":-Infinity}}', False, id="8 infinity"),
        pytest.param(f'{{{NONCE_CLAIM},{IAT_CLAIM},"a":1.5}}', True, id="9 a number elsewhere"),
        pytest.param(f"{{{NONCE_CLAIM},{IAT_CLAIM}.0}}", False, id="10 a time that is no integer"),
        pytest.param(f'{{{NONCE_CLAIM},"iat":"{int(NOW)}"}}', False, id="11 a time in text"),
        pytest.param(f'{{{NONCE_CLAIM[:-1]}=",{IAT_CLAIM}}}', False, id="12 a padded nonce"),
        pytest.param(f"{{{SPARE_BITS},{IAT_CLAIM}}}", False, id="13 spare bits in the nonce"),
        pytest.param(
            f'{{"eat_nonce":"{expected_nonce().hex()}",{IAT_CLAIM}}}', False, id="14 a nonce in hex"
        ),
        pytest.param(f"[{{{NONCE_CLAIM},{IAT_CLAIM}}}]", False, id="15 a list"),
        pytest.param(f"{{{NONCE_CLAIM},{IAT_CLAIM}}} x", False, id="16 words behind"),
        pytest.param(f"\ufeff{{{NONCE_CLAIM},{IAT_CLAIM}}}", False, id="17 a byte order mark"),
        pytest.param("null", False, id="18 null"),
        pytest.param(f'{{"10":"{b64(expected_nonce())}",{IAT_CLAIM}}}', False, id="19 a label for a name"),
        pytest.param(f'{{{NONCE_CLAIM},{IAT_CLAIM},"dbgstat":2}}', False, id="20 a label for a state"),
        pytest.param(f'{{{NONCE_CLAIM},{IAT_CLAIM},"dbgstat":"Disabled"}}', False, id="21 a capital"),
    ],
)
def test_H15_claims_have_one_encoding(appraiser, claims, passes):
    """Well signed claims are read in one way, and where two could be read, in none."""
    token = jwt(KEY, claims.encode())
    if passes:
        assert appraise(appraiser, token).device == "host-1"
    else:
        with pytest.raises(EvidenceError):
            appraise(appraiser, token)


@pytest.mark.parametrize(("lists", "passes"), [(255, True), (256, False)])
def test_D7_JSON_has_a_limit_of_parts(appraiser, lists, passes):
    """An object of 256 parts is read, one of more is not, be the parts in or beside each other."""
    for value in ("[" * (lists - 1) + "]" * (lists - 1), ",".join(["[]"] * (lists - 1))):
        token = jwt(KEY, f'{{{NONCE_CLAIM},{IAT_CLAIM},"a":[{value}]}}'.encode())
        if passes:
            assert appraise(appraiser, token).device == "host-1"
        else:
            with pytest.raises(EvidenceError, match="over the limit"):
                appraise(appraiser, token)


BOMBS = {
    "1 lists in lists": b"[" * 15000,
    "2 closed lists in lists": b"[" * 7500 + b"]" * 7500,
    "3 objects in objects": b'{"a":' * 3000 + b"1" + b"}" * 3000,
    "4 hidden in text": b'{"a":"' + b"]" * 5000 + b'","b":' + b"[" * 5000,
    "5 a number of many digits": b'{"iat":' + b"9" * 15000 + b"}",
    "6 an exponent": b'{"iat":1e999999999}',
    "7 half a pair": b'{"ztsession_measurements":{"kernel":"\\ud800"}}',
    "8 no text": b"\xff\xfe\xfd",
    "9 many names": b"{" + b",".join(b'"%d":0' % n for n in range(1500)) + b"}",
    "10 one name many times": b"{" + b'"a":0,' * 2000 + b'"a":0}',
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS.keys())
def test_D7_JWT_bombs_are_refused_at_once(appraiser, bomb):
    """Whatever JSON is sent as header or as claims, and though it be signed, the answer is no, soon."""
    began = time.process_time()
    for token in (raw_jwt(KEY, bomb, CLAIMS), raw_jwt(KEY, json.dumps(HEADER).encode(), bomb)):
        with pytest.raises(EvidenceError):
            appraise(appraiser, token)
    assert time.process_time() - began < 0.5


def test_half_a_pair_in_a_name_or_a_text_goes_no_further(appraiser):
    """A text that no encoding can hold is refused, so that it cannot stop the log that it would go into."""
    for told in ({"kernel": "\ud800"}, {"\udc00": "x"}):
        with pytest.raises(EvidenceError, match="printed"):
            appraise(appraiser, jwt(KEY, healthy(ztsession_measurements=told)))
    assert appraise(appraiser, jwt(KEY, healthy(ztsession_measurements={"kernel": "é"}))).device == "host-1"


def test_H20_a_cwt_is_no_jwt(appraiser):
    """A CWT in the message of a JWT is refused."""
    with pytest.raises(EvidenceError):
        appraise(appraiser, b64(cwt(KEY, healthy())))
