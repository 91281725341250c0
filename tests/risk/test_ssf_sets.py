"""A SET is read in one way or not at all, and each refusal has RFC 8935's word."""

from __future__ import annotations

import json
import warnings
from typing import Any

import pytest

pytest.importorskip("joserfc", reason="SETs need ztsession[authority]")

from joserfc import jwk, jws
from ssf_makers import AUDIENCE, CAEP, FIRM, NOW, OTHER, USER, Issuer, as_json, b64

from ztsession.errors import EventRefused, KeysUnavailable
from ztsession.identity.jwks import FixedJwks, JwksCache, read_jwks
from ztsession.risk.ssf.sets import LEEWAY_S, SET_MAX_BYTES, SetIssuer, read_event

ISSUER = Issuer()


def expected(issuer: Issuer = ISSUER, **changed: Any) -> SetIssuer:
    given = {"keys": FixedJwks(read_jwks(issuer.jwks)), "algorithms": (issuer.algorithm,), **changed}
    return SetIssuer(FIRM, AUDIENCE, **given)


def read(data: bytes, sets: SetIssuer | None = None) -> Any:
    return read_event((sets or expected()).authenticated(data), NOW)


def refused(data: bytes, sets: SetIssuer | None = None) -> tuple[str, str]:
    with pytest.raises(EventRefused) as error:
        read(data, sets)
    return error.value.err, str(error.value)


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "EdDSA", "RS256", "PS256"])
def test_what_joserfc_signs_is_read(algorithm: str):
    """Every kind of signature that an operator may list, with its type, its members and whom it is about."""
    issuer = Issuer(algorithm=algorithm)
    event = read(
        issuer.set(CAEP + "session-revoked", {"reason_user": {"en": "x"}}, jti="a"), expected(issuer)
    )
    assert (event.jti, event.issued_at, event.type) == ("a", NOW, CAEP + "session-revoked")
    assert event.members == {"reason_user": {"en": "x"}}
    assert [each.text for each in event.principal.members[""]] == [USER["email"]]


def test_members_that_are_not_known_are_passed_over():
    """Anywhere in a SET, as the specification demands."""
    claims = ISSUER.claims(txn="8675309", toe=NOW, colour="red", sub_id={**USER, "colour": "red"})
    assert read(ISSUER.signed(ISSUER.header(colour="red"), claims)).issued_at == NOW


@pytest.mark.parametrize("audience", [AUDIENCE, [AUDIENCE], ["https://other.example", AUDIENCE]])
def test_the_audience_may_be_one_of_several(audience: Any):
    """A text, or a list in which ours is."""
    assert read(ISSUER.set(aud=audience)).issued_at == NOW


#: By number what is changed in the claims, and the word for it.
CLAIMS: dict[str, tuple[dict[str, Any], str]] = {
    "01 another issuer": ({"iss": OTHER}, "invalid_issuer"),
    "02 no issuer": ({"iss": None}, "invalid_issuer"),
    "03 an issuer with a slash more": ({"iss": FIRM + "/"}, "invalid_issuer"),
    "04 an issuer in other letters": ({"iss": FIRM.replace("i", "\u0456")}, "invalid_issuer"),
    "05 a list of issuers": ({"iss": [FIRM]}, "invalid_issuer"),
    "06 another audience": ({"aud": "https://other.example"}, "invalid_audience"),
    "07 no audience": ({"aud": None}, "invalid_audience"),
    "08 an audience of none": ({"aud": []}, "invalid_audience"),
    "09 an audience of many": ({"aud": [AUDIENCE] * 17}, "invalid_audience"),
    "10 an audience that is no text": ({"aud": [AUDIENCE, 5]}, "invalid_audience"),
    "11 sub": ({"sub": "algo-7"}, "invalid_request"),
    "12 exp": ({"exp": NOW + 60}, "invalid_request"),
    "13 no jti": ({"jti": None}, "invalid_request"),
    "14 an empty jti": ({"jti": ""}, "invalid_request"),
    "15 an endless jti": ({"jti": "x" * 513}, "invalid_request"),
    "16 a number as jti": ({"jti": 5}, "invalid_request"),
    "17 no iat": ({"iat": None}, "invalid_request"),
    "18 iat before there was time": ({"iat": -0.5}, "invalid_request"),
    "19 iat as text": ({"iat": str(NOW)}, "invalid_request"),
    "20 iat as yes": ({"iat": True}, "invalid_request"),
    "21 iat in milliseconds": ({"iat": NOW * 1000}, "invalid_request"),
    "22 iat from the future": ({"iat": NOW + LEEWAY_S + 1}, "invalid_request"),
    "23 no events": ({"events": {}}, "invalid_request"),
    "24 two events": ({"events": {CAEP + "session-revoked": {}, CAEP + "x": {}}}, "invalid_request"),
    "25 a list of events": ({"events": [CAEP + "session-revoked"]}, "invalid_request"),
    "26 an event that is no object": ({"events": {CAEP + "session-revoked": True}}, "invalid_request"),
    "27 an endless type": ({"events": {"u" * 257: {}}}, "invalid_request"),
    "28 no subject": ({"sub_id": None}, "invalid_request"),
    "29 a subject without a format": ({"sub_id": {"email": "a@b.example"}}, "invalid_request"),
    "30 an email without one": ({"sub_id": {"format": "email"}}, "invalid_request"),
    "31 an iss_sub without its issuer": ({"sub_id": {"format": "iss_sub", "sub": "x"}}, "invalid_request"),
    "32 an account that is none": ({"sub_id": {"format": "account", "uri": "x:y"}}, "invalid_request"),
    "33 a did that is none": ({"sub_id": {"format": "did", "url": "https:x"}}, "invalid_request"),
    "34 an endless identifier": ({"sub_id": {"format": "opaque", "id": "x" * 513}}, "invalid_request"),
    "35 a complex of nobody": ({"sub_id": {"format": "complex", "colour": {}}}, "invalid_request"),
    "36 a complex in a complex": (
        {"sub_id": {"format": "complex", "user": {"format": "complex", "user": USER}}},
        "invalid_request",
    ),
    "37 a complex without end": (
        {"sub_id": {"format": "complex", "user": USER, **{f"m{n}": USER for n in range(16)}}},
        "invalid_request",
    ),
    "38 aliases of none": ({"sub_id": {"format": "aliases", "identifiers": []}}, "invalid_request"),
    "39 aliases without end": (
        {"sub_id": {"format": "aliases", "identifiers": [USER] * 17}},
        "invalid_request",
    ),
    "40 aliases in aliases": (
        {"sub_id": {"format": "aliases", "identifiers": [{"format": "aliases", "identifiers": [USER]}]}},
        "invalid_request",
    ),
    "41 a user that is a text": ({"sub_id": {"format": "complex", "user": "algo-7"}}, "invalid_request"),
}


@pytest.mark.parametrize("case", CLAIMS)
def test_each_claim_is_as_it_must_be(case: str):
    """Whatever else is right and really signed."""
    changed, word = CLAIMS[case]
    assert refused(ISSUER.set(**changed))[0] == word


@pytest.mark.parametrize("typ", ["application/secevent+jwt", "SECEVENT+JWT", "Application/SecEvent+JWT"])
def test_a_type_may_be_spelled_in_full(typ: str):
    """As a media type, whose case says nothing (RFC 7515, section 4.1.9)."""
    assert read(ISSUER.signed(ISSUER.header(typ=typ), ISSUER.claims())).type == CAEP + "session-presented"


def test_a_moment_may_have_parts_of_a_second():
    """As RFC 7519 has it; they are cut off."""
    assert read(ISSUER.set(iat=NOW + 0.75)).issued_at == NOW


def test_a_clock_may_be_a_minute_ahead():
    """And no more, or one SET would be newer than all that is said until then."""
    assert read(ISSUER.set(iat=NOW + LEEWAY_S)).issued_at == NOW + LEEWAY_S


#: By number what is changed in the header, and the word for it.
HEADERS: dict[str, tuple[dict[str, Any], str]] = {
    "01 no typ": ({"typ": None}, "invalid_request"),
    "02 an access token": ({"typ": "at+jwt"}, "invalid_request"),
    "03 JWT": ({"typ": "JWT"}, "invalid_request"),
    "04 of another kind": ({"typ": "text/secevent+jwt"}, "invalid_request"),
    "05 in a list": ({"typ": ["secevent+jwt"]}, "invalid_request"),
    "06 an algorithm of another key": ({"alg": "ES384"}, "invalid_key"),
    "07 none": ({"alg": "none"}, "invalid_key"),
    "08 a symmetric one": ({"alg": "HS256"}, "invalid_key"),
    "09 a number": ({"alg": 5}, "invalid_key"),
    "10 no key": ({"kid": None}, "invalid_key"),
    "11 an unknown key": ({"kid": "k2"}, "invalid_key"),
    "12 an endless key": ({"kid": "k" * 257}, "invalid_key"),
    "13 a key of its own": ({"jwk": ISSUER.key.as_dict(private=False)}, "invalid_request"),
    "14 where its key is": ({"jku": "https://evil.example/keys"}, "invalid_request"),
    "15 a critical header": ({"crit": ["x"], "x": 1}, "invalid_request"),
    "16 another body": ({"b64": False}, "invalid_request"),
    "17 compressed": ({"zip": "DEF"}, "invalid_request"),
}


@pytest.mark.parametrize("case", HEADERS)
def test_H26_each_header_is_as_it_must_be(case: str):
    """Type, algorithm and key are pinned, and nothing in a token changes that."""
    changed, word = HEADERS[case]
    assert refused(ISSUER.crafted(ISSUER.header(**changed), ISSUER.claims()))[0] == word


def test_R5_a_forged_set_is_refused():
    """Signed by another key of the same id, by nobody, by the public key as a secret, or for other claims."""
    other = Issuer()
    assert refused(other.set())[0] == "authentication_failed"
    honest = ISSUER.set().split(b".")
    changed = [honest[0], b64(as_json(ISSUER.claims())).encode(), honest[2]]
    assert refused(b".".join(changed))[0] == "authentication_failed"
    assert refused(b".".join([*honest[:2], b""]))[0] == "authentication_failed"
    header = {"alg": "HS256", "typ": "secevent+jwt", "kid": "k1"}
    secret = jwk.import_key(ISSUER.key.as_pem(private=False).hex(), "oct")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        forged = jws.serialize_compact(header, as_json(ISSUER.claims()), secret, ["HS256"])
    assert refused(forged.encode())[0] == "invalid_key"
    assert refused(forged.encode(), expected(algorithms=("ES256", "HS256")))[0] == "authentication_failed"


def test_D7_a_set_is_measured_before_it_is_read():
    """One byte over the limit is refused whatever it holds; the limit itself is no limit of fields."""
    assert refused(b"x" * (SET_MAX_BYTES + 1))[1] == f"the SET has over {SET_MAX_BYTES} bytes"
    assert refused(b"x" * SET_MAX_BYTES)[1] == "the token is not a compact JWS"


@pytest.mark.parametrize(
    "body",
    [
        b'{"iss": "%s", "iss": "%s"}' % (OTHER.encode(), FIRM.encode()),
        b'{"a": ' * 5000 + b"1" + b"}" * 5000,
        b'{"iat": NaN}',
        b'{"iat": 1e999}',
        b'{"iat": ' + b"9" * 5000 + b"}",
        b"[]",
        b"\xff",
        b"",
    ],
)
def test_D7_claims_have_one_reading(body: bytes):
    """Names that stand twice, depth, and numbers that are none: malformed before a key is looked at."""
    assert refused(ISSUER.crafted(ISSUER.header(), body))[0] == "invalid_request"
    assert refused(ISSUER.crafted(body, ISSUER.claims()))[0] == "invalid_request"


@pytest.mark.parametrize(
    "data", [b"", b"..", b"a.b", b"a.b.c.d.e", "\u0435yJ".encode(), b"a.b.c\n", b"\xff.a.b"]
)
def test_D7_garbage_is_refused_as_such(data: bytes):
    """None of it is a token."""
    assert refused(data)[0] == "invalid_request"


def test_the_claims_of_every_case_are_wrong_in_one_thing():
    """The honest SET that the cases change is taken."""
    assert json.loads(as_json(ISSUER.claims()))["iss"] == FIRM
    assert read(ISSUER.set()).type == CAEP + "session-presented"


def test_a_key_that_could_not_be_asked_for_is_no_refusal():
    """While the issuer is silent nothing is said of a SET, so that it comes again; once it answers, it is."""
    answers: list[bytes | Exception] = [OSError("silent"), Issuer(kid="k9").jwks, ISSUER.jwks]
    time = [0.0]

    def fetch() -> bytes:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    sets = expected(keys=JwksCache(fetch, clock=lambda: time[0]))
    with pytest.raises(KeysUnavailable):
        read(ISSUER.set(), sets)
    time[0] = 20.0
    # The issuer was asked for this very SET, and does not know the key.
    assert refused(ISSUER.set(), sets)[0] == "invalid_key"
    time[0] = 25.0
    # Within ten seconds it is not asked again, and may have the key by now.
    with pytest.raises(KeysUnavailable):
        read(ISSUER.set(), sets)
    time[0] = 40.0
    assert read(ISSUER.set(), sets).issued_at == NOW
