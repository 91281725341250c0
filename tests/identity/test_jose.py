"""What a stranger encoded has one reading, or it is refused."""

from __future__ import annotations

import pytest

from ztsession.errors import EvidenceError
from ztsession.identity.jose import from_base64url, strict_json, thumbprint

ODD_JSON = [
    *(b"", b"{", b"{}{}", b"{'a':1}", b"\xef\xbb\xbf{}", b'{"a":"\xc0\x80"}', b'{"a":1,"a":1}'),
    *(b'{"a":NaN}', b'{"a":Infinity}', b'{"a":1e999}', b'{"a":-1e999}', b'{"a":%s}' % (b"1" * 21)),
    b'{"a":' * 9000,
]


@pytest.mark.parametrize("data", ODD_JSON, ids=range(len(ODD_JSON)))
def test_json_has_one_reading_or_is_refused(data):
    """What one parser takes and another does not, or reads otherwise, is refused."""
    with pytest.raises(EvidenceError, match="one reading"):
        strict_json(data, "it")
    for other in (b"[]", b"1", b"null", b'"text"'):
        with pytest.raises(EvidenceError, match="not a JSON object"):
            strict_json(other, "it")
    assert strict_json(b' {"a": [1.5, 99999999999999999999, null]}', "it") == {"a": [1.5, 10**20 - 1, None]}


def test_base64url_has_one_form():
    """Padding, the other alphabet, blanks, loose bits and impossible lengths are refused."""
    assert [from_base64url(text, "it") for text in ("", "AA", "AAE", "-_8A")] == [
        b"",
        b"\0",
        b"\0\1",
        b"\xfb\xff\0",
    ]
    for text in ("A", "AB", "AAF", "AA==", "AA=", "+/8A", "A A", "AA\n", "ÄA", "A" * 5, None, 7, b"AA"):
        with pytest.raises(EvidenceError, match="it is not base64url"):
            from_base64url(text, "it")


def test_thumbprints_are_those_of_the_rfcs():
    """RFC 7638 section 3.1 and RFC 8037 appendix A.3 give the same thumbprints."""
    modulus = (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n"
        "3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zg"
        "dAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFC"
        "ur-kEgU8awapJzKnqDKgw"
    )
    assert (
        thumbprint({"kty": "RSA", "n": modulus, "e": "AQAB"}) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
    )
    ed = {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}
    assert thumbprint(ed) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
