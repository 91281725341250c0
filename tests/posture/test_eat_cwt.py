"""CBOR and COSE leave a reader much room; of all that, one form of a CWT is taken."""

from __future__ import annotations

import time
from typing import Any

import cbor2
import pytest
from eat_makers import (
    BINDING,
    LABELS,
    NONCE,
    NOW,
    cwt,
    ed,
    entry,
    evidence,
    expected_nonce,
    healthy,
    jwt,
    p256,
    sign,
    sign1,
)

from ztsession.errors import EvidenceError, WireError
from ztsession.posture import PostureAppraiser
from ztsession.posture.cbor import DEPTH_MAX, ITEMS_MAX, read_cbor

KEY = p256("host-1")
ES256 = cbor2.dumps({1: -7})


@pytest.fixture(scope="module")
def appraiser(tmp_path_factory):
    file = tmp_path_factory.mktemp("devices") / "devices.toml"
    file.write_text(entry("host-1", p256("host-1")) + entry("host-3", ed("host-3")))
    return PostureAppraiser(file)


def appraise(appraiser: PostureAppraiser, token: bytes, named: str = "host-1") -> Any:
    return appraiser.appraise(evidence(token, named), BINDING, NONCE, now=NOW)


def payload(**changed: Any) -> bytes:
    return cbor2.dumps({LABELS[name]: value for name, value in healthy(**changed).items()})


def tagged(parts: Any, tag: int = 18) -> bytes:
    return cbor2.dumps(cbor2.CBORTag(tag, parts))


def test_the_signature_is_over_the_structure_of_rfc_9052(appraiser):
    """A token put together octet by octet is accepted, with the tag of a CWT around it or without."""
    claims = payload()
    signed = b"\x84\x6aSignature1\x43\xa1\x01\x26\x40\x58" + bytes([len(claims)]) + claims
    token = b"\xd2\x84\x43\xa1\x01\x26\xa0\x58" + bytes([len(claims)]) + claims + b"\x58\x40"
    token += sign(KEY, signed)
    assert appraise(appraiser, token).device == "host-1"
    assert appraise(appraiser, b"\xd8\x3d" + token).device == "host-1"


def padded(signature: bytes) -> bytes:
    return signature[:32] + b"\x00" + signature[32:]


@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(lambda parts: cbor2.dumps(parts), id="1 no tag"),
        pytest.param(lambda parts: tagged(parts, 17), id="2 the tag of a COSE_Mac0"),
        pytest.param(lambda parts: tagged(parts, 98), id="3 the tag of a COSE_Sign"),
        pytest.param(lambda parts: tagged(cbor2.CBORTag(18, parts)), id="4 its tag twice"),
        pytest.param(lambda parts: b"\xd8\x3d" + cbor2.dumps(parts), id="5 only the tag of a CWT"),
        pytest.param(lambda parts: b"\xd8\x12" + cbor2.dumps(parts), id="6 its tag in two bytes"),
        pytest.param(lambda parts: tagged(parts) + b"\x00", id="7 a byte behind it"),
        pytest.param(lambda parts: tagged([*parts, b""]), id="8 a fifth part"),
        pytest.param(lambda parts: tagged(parts[:3]), id="9 no signature"),
        pytest.param(lambda parts: tagged([*parts[:2], None, parts[3]]), id="10 its payload elsewhere"),
        pytest.param(lambda parts: tagged([{1: -7}, *parts[1:]]), id="11 an unprotected protected header"),
        pytest.param(lambda parts: tagged([*parts[:3], parts[3] + b"\x00"]), id="12 a longer signature"),
        pytest.param(lambda parts: tagged([*parts[:3], bytes(64)]), id="13 a signature of zeros"),
        pytest.param(lambda parts: tagged([*parts[:3], b"\xff" * 64]), id="14 a signature out of range"),
        pytest.param(lambda parts: b"\xd2\x9f" + tagged(parts)[2:] + b"\xff", id="15 of indefinite length"),
        pytest.param(lambda parts: b"\xd2\x98\x04" + tagged(parts)[2:], id="16 its length in two bytes"),
        pytest.param(lambda parts: tagged([*parts[:3], [parts[3]]]), id="17 a signature in a list"),
        pytest.param(lambda parts: tagged([*parts[:3], padded(parts[3])]), id="18 an S of 33 bytes"),
    ],
)
def test_H15_other_forms_of_the_same_token_are_refused(appraiser, wrap):
    """The same well signed token in any other wrapping is refused, and in its own it passes."""
    parts = sign1(KEY, ES256, payload())
    assert appraise(appraiser, tagged(parts)).device == "host-1"
    with pytest.raises(EvidenceError):
        appraise(appraiser, wrap(parts))


@pytest.mark.parametrize(
    ("header", "why"),
    [
        ({1: -8}, "not that of the enrolled key"),
        ({1: 5}, "neither"),
        ({1: -35}, "neither"),
        ({1: -257}, "neither"),
        ({1: "ES256"}, "neither"),
        ({1: -7.0}, "neither"),
        ({}, "neither"),
        ({1: -7, 2: [1]}, "extension"),
        ({1: -7, 16: "application/cwt"}, "type"),
        ([1, -7], "no map"),
    ],
)
def test_an_algorithm_is_not_the_tokens_choice(appraiser, header, why):
    """Signed by the right key, a token whose header names anything but the key's algorithm is refused."""
    for fine in ({1: -7}, {1: -7, 16: "application/eat+cwt"}, {1: -7, 16: 263}, {1: -7, 4: b"kid"}):
        assert appraise(appraiser, cwt(KEY, payload(), fine)).device == "host-1"
    with pytest.raises(EvidenceError, match=why):
        appraise(appraiser, cwt(KEY, payload(), header))


def test_an_algorithm_is_confused_by_neither_key(appraiser):
    """An Ed25519 token for a P-256 device is refused, and the other way round."""
    assert appraise(appraiser, cwt(ed("host-3"), payload()), "host-3").device == "host-3"
    for key, named in ((ed("host-3"), "host-1"), (KEY, "host-3")):
        with pytest.raises(EvidenceError, match="not that of the enrolled key"):
            appraise(appraiser, cwt(key, payload()), named)


@pytest.mark.parametrize("unprotected", [{1: -7}, {1: -8}, {2: [4]}, {4: [[[[[[[[0]]]]]]]]}])
def test_nothing_counts_that_nobody_signed(appraiser, unprotected):
    """An algorithm, or a demand, in the unprotected header is refused; a key identifier is let be."""
    assert appraise(appraiser, cwt(KEY, payload(), None, {4: b"kid"})).device == "host-1"
    with pytest.raises(EvidenceError):
        appraise(appraiser, cwt(KEY, payload(), None, unprotected))


def test_H20_a_cwt_and_a_jwt_are_not_each_other(appraiser):
    """A token in the message of the other form is refused."""
    with pytest.raises(EvidenceError):
        appraise(appraiser, jwt(KEY, healthy()).encode())
    with pytest.raises(EvidenceError):
        appraiser.appraise(evidence(cwt(KEY, payload()).hex()), BINDING, NONCE, now=NOW)


def test_H15_a_header_has_one_encoding(appraiser):
    """1.0 and true equal 1 to Python, and are no labels to COSE, in neither header."""
    for label in (1.0, True):
        with pytest.raises(EvidenceError, match="label"):
            appraise(appraiser, cwt(KEY, payload(), header={label: -7}))
    with pytest.raises(EvidenceError, match="label"):
        appraise(appraiser, cwt(KEY, payload(), unprotected={4.0: b"x"}))
    assert appraise(appraiser, cwt(KEY, payload(), unprotected={4: b"x"})).device == "host-1"


NONCE_CLAIM = b"\x0a\x58\x20" + expected_nonce()
IAT_CLAIM = b"\x06" + cbor2.dumps(int(NOW))


@pytest.mark.parametrize(
    ("claims", "passes"),
    [
        pytest.param(b"\xa2" + NONCE_CLAIM + IAT_CLAIM, True, id="1 as it should be"),
        pytest.param(b"\xa2" + IAT_CLAIM + NONCE_CLAIM, True, id="2 in another order"),
        pytest.param(b"\xa3" + NONCE_CLAIM + IAT_CLAIM + NONCE_CLAIM, False, id="3 a label twice"),
        pytest.param(b"\xa3" + NONCE_CLAIM + IAT_CLAIM + b"\x06\x00", False, id="4 a label with two values"),
        pytest.param(b"\xbf" + NONCE_CLAIM + IAT_CLAIM + b"\xff", False, id="5 an indefinite map"),
        pytest.param(b"\xa2" + IAT_CLAIM + b"\x0a\x5f\x58\x20" + expected_nonce() + b"\xff", False, id="6"),
        pytest.param(b"\xa2" + NONCE_CLAIM + b"\x06\xc1" + IAT_CLAIM[1:], False, id="7 a tagged time"),
        pytest.param(b"\xa2" + NONCE_CLAIM + b"\x18\x06" + IAT_CLAIM[1:], False, id="8 a longer label"),
        pytest.param(b"\xa2" + NONCE_CLAIM + b"\x63iat" + IAT_CLAIM[1:], False, id="9 a name for a label"),
        pytest.param(b"\xa3" + NONCE_CLAIM + IAT_CLAIM + b"\x18\x63\xf7", False, id="10 undefined"),
        pytest.param(b"\xa3" + NONCE_CLAIM + IAT_CLAIM + b"\x18\x63\xf9\x7e\x00", True, id="11 a float"),
        pytest.param(b"\xa2" + NONCE_CLAIM + IAT_CLAIM + b"\x00", False, id="12 a byte behind"),
        pytest.param(b"\x82" + NONCE_CLAIM + IAT_CLAIM, False, id="13 no map"),
        pytest.param(b"", False, id="14 nothing"),
        pytest.param(b"\xa2\xf9\x49\x00" + NONCE_CLAIM[1:] + IAT_CLAIM, False, id="15 a float for a label"),
        pytest.param(b"\xa3" + NONCE_CLAIM + IAT_CLAIM + b"\xf5\x00", False, id="16 a truth for a label"),
        pytest.param(b"\xa3" + NONCE_CLAIM + IAT_CLAIM + b"\x61x\x00", True, id="17 a name of another"),
    ],
)
def test_H15_claims_have_one_encoding(appraiser, claims, passes):
    """Well signed claims are read in one encoding, and in no other."""
    token = cwt(KEY, claims)
    if passes:
        assert appraise(appraiser, token).device == "host-1"
    else:
        with pytest.raises(EvidenceError):
            appraise(appraiser, token)


BOMBS = {
    "1 lists in lists": b"\x81" * 23000 + b"\x00",
    "2 maps in maps": b"\xa1\x00" * 11000 + b"\x00",
    "3 a list of 2^64 items": b"\x9b" + b"\xff" * 8,
    "4 a map of 2^64 items": b"\xbb" + b"\xff" * 8,
    "5 a byte string of 2^63 bytes": b"\x5b\x7f" + b"\xff" * 7,
    "6 a text of 2^32 bytes": b"\x7a" + b"\xff" * 4,
    "7 tags on tags": b"\xc6" * 23000 + b"\x00",
    "8 a big number": b"\xc2\x59\x50\x00" + bytes(0x5000),
    "9 a decimal fraction": b"\xc4\x82\x1b\x7f" + b"\xff" * 7 + b"\x01",
    "10 a regular expression": b"\xd8\x23\x68(a+)+$b!",
    "11 shared references": b"\xd8\x1c\x82\xd8\x1d\x00\xd8\x1d\x00",
    "12 an indefinite list": b"\x9f" + b"\x00" * 20000 + b"\xff",
    "13 many small items": b"\x99\x50\x00" + b"\x00" * 0x5000,
    "14 many empty lists": b"\x99\x50\x00" + b"\x80" * 0x5000,
    "15 a reserved length": b"\x1c",
    "16 a lone break": b"\xff",
    "17 a text that is no text": b"\x62\xff\xff",
    "18 a key that is a map": b"\xa1\xa0\x00" + b"\x00",
    "19 a cut number": b"\x1a\x00\x00",
    "20 an odd simple value": b"\xf8\x20",
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS.keys())
@pytest.mark.parametrize("place", ["token", "protected", "unprotected", "payload"])
def test_D7_CBOR_bombs_are_refused_at_once(appraiser, bomb, place):
    """Whatever a few bytes announce, wherever they stand, signed or not, the answer is a quick no."""
    if place == "unprotected":
        parts = sign1(KEY, ES256, payload())
        token = b"\xd2\x84" + b"".join(
            (cbor2.dumps(parts[0]), b"\xa1\x04" + bomb, cbor2.dumps(parts[2]), cbor2.dumps(parts[3]))
        )
    else:
        token = {
            "token": b"\xd2" + bomb,
            "protected": tagged(sign1(KEY, bomb, payload())),
            "payload": cwt(KEY, bomb),
        }[place]
    began = time.process_time()
    with pytest.raises(EvidenceError):
        appraise(appraiser, token)
    assert time.process_time() - began < 0.5


def test_D7_limits_of_CBOR_are_where_they_are_written():
    """Depth and number of items pass at their limit and not one above."""
    assert read_cbor(b"\x81" * DEPTH_MAX + b"\x00")
    assert (
        len(read_cbor(b"\x99" + (ITEMS_MAX - 1).to_bytes(2, "big") + bytes(ITEMS_MAX - 1))) == ITEMS_MAX - 1
    )
    for over in (
        b"\x81" * (DEPTH_MAX + 1) + b"\x00",
        b"\x99" + ITEMS_MAX.to_bytes(2, "big") + bytes(ITEMS_MAX),
    ):
        with pytest.raises(WireError, match="over the limit"):
            read_cbor(over)
    assert read_cbor(b"\x82\xf4\x18\x18") == [False, 24]
