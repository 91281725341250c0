"""Authenticators: enrolled by an answer to our challenge, taken for a binding that they signed."""

from __future__ import annotations

import dataclasses
import os
import random
import threading

import cbor2
import pytest
from soft_authenticator import AT, BE, BS, ED, ORIGIN, UP, UV, Authenticator, client_data

from ztsession.errors import ConfigurationError, EvidenceError
from ztsession.mfa.factors import Factors
from ztsession.mfa.protocol import FactorShown
from ztsession.mfa.settings import MfaSettings
from ztsession.mfa.webauthn import WebAuthnEvidence

BINDING = bytes(range(32))
SHOWN = FactorShown("webauthn", 3)


def enrol(factors: Factors, authenticator: Authenticator, subject: str = "ada") -> str:
    options = factors.begin_webauthn(subject)
    return factors.complete_webauthn(subject, *authenticator.create(options.challenge))


def refused(factors: Factors, shown: WebAuthnEvidence, binding: bytes = BINDING, subject: str = "ada") -> str:
    with pytest.raises(EvidenceError) as caught:
        factors.verify(subject, shown.to_bytes(), binding)
    return str(caught.value)


@pytest.fixture(params=[-7, -8], ids=["ES256", "EdDSA"])
def key(request, factors) -> Authenticator:
    """An enrolled authenticator of ada, once for each algorithm."""
    made = Authenticator(request.param)
    enrol(factors, made)
    return made


# What holds


def test_a_device_bound_key_lifts_to_assurance_3(factors, key):
    """Assertion after assertion holds, each for its own binding."""
    assert factors.enrolled("ada") == ("webauthn",)
    for _ in range(20):
        binding = os.urandom(32)
        assert factors.verify("ada", key.get(binding).to_bytes(), binding) == SHOWN


def test_a_syncable_key_lifts_to_assurance_2(factors):
    """Backup eligible, whether backed up yet or not, is worth one level less."""
    key = Authenticator(flags=UP | UV | BE)
    enrol(factors, key)
    assert factors.verify("ada", key.get(BINDING).to_bytes(), BINDING) == FactorShown("webauthn", 2)
    key.flags |= BS
    assert factors.verify("ada", key.get(bytes(32)).to_bytes(), bytes(32)) == FactorShown("webauthn", 2)
    assert [held.assurance for held in factors.held("ada")] == [2]


def test_every_allowed_origin_holds(factors, key):
    """The settings' second origin is as good as the first."""
    key.origin = "https://trading.example"
    assert factors.verify("ada", key.get(BINDING).to_bytes(), BINDING) == SHOWN


def test_what_a_client_is_asked_for(factors, key):
    """User verification, no attestation, our two algorithms, no name in the handle, no key twice."""
    asked = dict(factors.begin_webauthn("ada"))
    assert asked["rp"] == {"id": "trading.example", "name": "Example Desk"}
    assert asked["authenticatorSelection"]["userVerification"] == "required"
    assert asked["attestation"] == "none"
    assert [each["alg"] for each in asked["pubKeyCredParams"]] == [-7, -8]
    assert len(asked["excludeCredentials"]) == 1
    assert "ada" not in asked["user"]["id"]


def test_extensions_are_signed_and_not_in_the_way(factors, key):
    """Extension outputs in the authenticator data are read over."""
    key.flags |= ED
    shown = key.get(BINDING, rest=cbor2.dumps({"credProtect": 2}))
    assert factors.verify("ada", shown.to_bytes(), BINDING) == SHOWN


def test_several_authenticators_live_side_by_side(factors):
    """Eight can be enrolled and each is taken; the ninth is an operator's mistake; one can be removed."""
    keys = [Authenticator() for _ in range(8)]
    ids = [enrol(factors, key) for key in keys]
    assert [held.id for held in factors.held("ada")] == ids
    with pytest.raises(ConfigurationError, match="8 authenticators"):
        factors.begin_webauthn("ada")
    assert factors.remove("ada", ids[3])
    assert not factors.remove("ada", ids[3])
    assert "does not hold" in refused(factors, keys[3].get(BINDING))
    assert factors.verify("ada", keys[4].get(BINDING).to_bytes(), BINDING) == SHOWN
    assert factors.remove("ada", "webauthn")
    refused(factors, keys[5].get(BINDING))
    assert factors.enrolled("ada") == ()


# What is refused


@pytest.mark.parametrize("step", [0, 1], ids=["without a counter", "with a counter"])
def test_H25_an_assertion_holds_once(factors, another, step):
    """The same assertion for the same binding is refused on every connection; a fresh one holds."""
    key = Authenticator(step=step)
    enrol(factors, key)
    shown = key.get(BINDING)
    assert factors.verify("ada", shown.to_bytes(), BINDING) == SHOWN
    for side in (factors, another):
        assert "shown already" in refused(side, shown)
    assert "shown already" in refused(factors, key.get(BINDING))
    fresh = key.get(bytes(32))
    assert factors.verify("ada", fresh.to_bytes(), bytes(32)) == SHOWN


def test_H25_of_two_connections_with_one_assertion_exactly_one_wins(factors, another):
    """An assertion without a counter, shown by threads on two connections, is taken once."""
    key = Authenticator(step=0)
    enrol(factors, key)
    for _ in range(5):
        binding, barrier, won = os.urandom(32), threading.Barrier(6), []
        shown = key.get(binding).to_bytes()

        def run(side, shown=shown, binding=binding, barrier=barrier, won=won):
            barrier.wait()
            try:
                won.append(side.verify("ada", shown, binding))
            except EvidenceError:
                won.append(None)

        threads = [threading.Thread(target=run, args=(side,)) for side in (factors, another) * 3]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert won.count(SHOWN) == 1
        assert len(won) == 6


@pytest.mark.parametrize("seen", [5, 4, 0])
def test_H25_a_counter_that_does_not_grow_is_a_clone(factors, key, seen):
    """Equal, lower and back to none are refused and change nothing; a higher counter holds."""
    key.counter = 4
    assert factors.verify("ada", key.get(BINDING).to_bytes(), BINDING) == SHOWN
    before = factors.held("ada")
    key.counter, key.step = seen, 0
    assert "cloned" in refused(factors, key.get(bytes(32)), bytes(32))
    assert factors.held("ada") == before
    key.counter = 6
    assert factors.verify("ada", key.get(bytes(32)).to_bytes(), bytes(32)) == SHOWN


def test_H25_the_counter_of_the_registration_counts(factors):
    """A first assertion must count on from what the authenticator said when it was enrolled."""
    key = Authenticator(counter=100)
    enrol(factors, key)
    key.counter = 50
    assert "cloned" in refused(factors, key.get(BINDING))
    key.counter = 100
    assert factors.verify("ada", key.get(BINDING).to_bytes(), BINDING) == SHOWN


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"origin": "https://desk.trading.example.evil.example"}, "origin"),
        ({"origin": ORIGIN + ":8443"}, "origin"),
        ({"origin": "http://desk.trading.example"}, "origin"),
        ({"origin": "https://other.trading.example"}, "origin"),
        ({"rp": "evil.example"}, "relying party"),
        ({"flags": UP}, "did not verify"),
        ({"flags": UV}, "saw no user"),
        ({"flags": UP | UV | BE}, "may be copied"),
        ({"flags": UP | UV | BS}, "was copied"),
        ({"credential_id": bytes(32)}, "does not hold"),
    ],
)
def test_H25_an_assertion_of_another_kind_does_not_hold(factors, key, changed, told):
    """Another origin, relying party, user state, backup state or credential: refused, and nothing used up."""
    right = {name: getattr(key, name) for name in changed}
    for name, value in changed.items():
        setattr(key, name, value)
    assert told in refused(factors, key.get(BINDING))
    for name, value in right.items():
        setattr(key, name, value)
    assert factors.verify("ada", key.get(BINDING).to_bytes(), BINDING) == SHOWN


@pytest.mark.parametrize(
    ("saying", "told"),
    [
        ({"type": "webauthn.create"}, "another type"),
        ({"crossOrigin": True}, "within another origin"),
        ({"crossOrigin": None}, "within another origin"),
        ({"topOrigin": "https://evil.example"}, "within another origin"),
        ({"challenge": "AAAA"}, "another challenge"),
        ({"challenge": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}, "another challenge"),
        ({"challenge": None}, "another challenge"),
        ({"challenge": "\ud800"}, "another challenge"),
        ({"origin": ["https://desk.trading.example"]}, "origin"),
    ],
)
def test_H25_client_data_of_another_kind_does_not_hold(factors, key, saying, told):
    """Another type, frame or spelling of the challenge: refused although well signed."""
    assert told in refused(factors, key.get(BINDING, saying=saying))
    assert factors.verify("ada", key.get(BINDING).to_bytes(), BINDING) == SHOWN


def test_H25_client_data_that_says_something_twice_does_not_hold(factors, key):
    """Readers differ in which of two origins they take, so even two equal ones are refused."""
    usual = client_data("webauthn.get", BINDING)
    twice = usual.replace(b'"crossOrigin"', b'"origin":"' + ORIGIN.encode() + b'","crossOrigin"')
    assert "no JSON" in refused(factors, key.get(BINDING, saying=twice))
    assert factors.verify("ada", key.get(BINDING, saying=usual).to_bytes(), BINDING) == SHOWN


def test_H25_an_assertion_that_attests_a_credential_does_not_hold(factors, key):
    """A credential is made by a registration and in no other way."""
    key.flags |= AT
    assert "attests no new" in refused(factors, key.get(BINDING, rest=key.attested()))
    key.flags ^= AT
    assert factors.verify("ada", key.get(BINDING).to_bytes(), BINDING) == SHOWN


def test_H22_an_assertion_for_another_handshake_does_not_hold(factors, key):
    """What was signed for one binding is refused for every other."""
    shown = key.get(BINDING)
    for bit in range(0, 256, 17):
        other = (int.from_bytes(BINDING, "big") ^ 1 << bit).to_bytes(32, "big")
        assert "another challenge" in refused(factors, shown, other)
    assert factors.verify("ada", shown.to_bytes(), BINDING) == SHOWN


def test_H2_an_authenticator_is_its_own_subjects(factors, key):
    """Ada's assertion is refused for bob, with an authenticator of his own or without."""
    shown = key.get(BINDING)
    assert "hold" in refused(factors, shown, subject="bob")
    enrol(factors, Authenticator(), "bob")
    assert "hold" in refused(factors, shown, subject="bob")
    assert factors.verify("ada", shown.to_bytes(), BINDING) == SHOWN


def test_H2_bob_enrolling_adas_credential_id_does_not_speak_for_ada(factors, key):
    """A credential id is not a secret; whoever enrols it with another key has only that key."""
    thief = Authenticator(key.algorithm, credential_id=key.credential_id)
    enrol(factors, thief, "bob")
    refused(factors, thief.get(BINDING), subject="ada")
    assert factors.verify("ada", key.get(BINDING).to_bytes(), BINDING) == SHOWN
    assert factors.verify("bob", thief.get(BINDING).to_bytes(), BINDING) == SHOWN


def test_H15_each_flipped_byte_is_refused(factors, key):
    """No byte of an assertion can change, in any of its parts or around them; then the true one holds."""
    shown = key.get(BINDING)
    data = shown.to_bytes()
    for at in range(len(data)):
        bad = data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]
        with pytest.raises(EvidenceError):
            factors.verify("ada", bad, BINDING)
    assert factors.verify("ada", data, BINDING) == SHOWN


def test_the_stand_in_for_unknown_keys_lets_nobody_in(factors):
    """The key that keeps the Authority busy for strangers has a known private half, which opens nothing."""
    from cryptography.hazmat.primitives.asymmetric import ec

    key = Authenticator(credential_id=bytes(16))
    key.private = ec.derive_private_key(1, ec.SECP256R1())
    assert refused(factors, key.get(BINDING)) == "the second factor does not hold"
    enrol(factors, Authenticator())
    assert refused(factors, key.get(BINDING)) == "the second factor does not hold"


# Hostile structures


@pytest.mark.parametrize(
    "rest",
    [
        b"",
        b"\x81" * 900,
        b"\xa1" * 900,
        b"\xbf\x61a",
        b"\x9b" + b"\xff" * 8,
        b"\x5b" + b"\xff" * 8,
        b"\xff",
        b"\xfb" + bytes(8),
        cbor2.dumps({}) + b"\0",
    ],
)
def test_D7_garbage_in_extensions_is_refused(factors, key, rest):
    """CBOR that nests, claims to be huge, or is none, ends as a refusal even when well signed."""
    key.flags |= ED
    assert "malformed" in refused(factors, key.get(BINDING, rest=rest))


@pytest.mark.parametrize(
    "said",
    [
        b"{}",
        b"[]",
        b"nul",
        b"\xff\xfe",
        b"[" * 2048,
        b'{"type":' * 200 + b"1",
        b'{"type":"webauthn.get","type":"webauthn.get"}',
        b"9" * 2048,
    ],
)
def test_D7_garbage_as_client_data_is_refused(factors, key, said):
    """JSON that nests, repeats or is none ends as a refusal."""
    shown = dataclasses.replace(key.get(BINDING), client_data=said)
    assert "client data" in refused(factors, shown)


@pytest.mark.parametrize(
    ("name", "size"),
    [("credential_id", 1024), ("authenticator_data", 1025), ("client_data", 2049), ("signature", 129)],
)
def test_D7_each_part_is_bounded(factors, key, name, size):
    """A part that is too long is refused by its length, before it is read."""
    from ztsession.wire import encode

    parts = {part.name: getattr(key.get(BINDING), part.name) for part in dataclasses.fields(WebAuthnEvidence)}
    data = encode({"v": 1, "kind": "mfa.webauthn", **parts, name: bytes(size)})
    with pytest.raises(EvidenceError, match=f"{name}: {size} bytes"):
        factors.verify("ada", data, BINDING)
    with pytest.raises(EvidenceError, match="over the limit"):
        factors.verify("ada", data + bytes(8192), BINDING)


def answer(**changed: object) -> object:
    """A registration's answer with one thing changed: f(authenticator, challenge) -> two byte strings."""

    def made(key: Authenticator, challenge: bytes) -> tuple[bytes, bytes]:
        attestation = changed.get("attestation")
        if "data" in changed:
            statement = changed.get("statement", {})
            attestation = cbor2.dumps({"fmt": "none", "attStmt": statement, "authData": changed["data"](key)})
        elif "cose" in changed:
            data = key.data(0x45, key.attested(changed["cose"](key.cose)))
            attestation = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})
        usual, said = key.create(challenge)
        return attestation or usual, changed.get("said", lambda _: said)(challenge)

    return made


HOSTILE = {
    "another challenge": answer(said=lambda c: client_data("webauthn.create", bytes(32))),
    "an assertion's type": answer(said=lambda c: client_data("webauthn.get", c)),
    "another origin": answer(said=lambda c: client_data("webauthn.create", c, "https://evil.example")),
    "long client data": answer(said=lambda c: client_data("webauthn.create", c, more="x" * 2048)),
    "UV missing": answer(data=lambda k: k.data(0x41, k.attested())),
    "UP missing": answer(data=lambda k: k.data(0x44, k.attested())),
    "another rp": answer(data=lambda k: bytes(32) + k.data(0x45, k.attested())[32:]),
    "no credential": answer(data=lambda k: k.data(0x05)),
    "trailing bytes": answer(data=lambda k: k.data(0x45, k.attested() + b"\0")),
    "cut short": answer(data=lambda k: k.data(0x45, k.attested()[:-1])),
    "not CBOR": answer(attestation=b"\xff"),
    "a bare array": answer(attestation=b"\x80"),
    "nested": answer(attestation=b"\x81" * 8000),
    "huge claim": answer(attestation=b"\xa3" + b"\xbb" + b"\xff" * 8),
    "too long": answer(data=lambda k: k.data(0x45, k.attested()), statement={"x": bytes(8192)}),
    "a list for data": answer(data=lambda k: list(k.data(0x45, k.attested()))),
    "text for data": answer(attestation=cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": "x" * 200})),
    "no data": answer(attestation=cbor2.dumps({"fmt": "none", "attStmt": {}})),
    "RS256": answer(cose=lambda k: {1: 3, 3: -257, -1: bytes(256), -2: b"\1\0\1"}),
    "ES384's number": answer(cose=lambda k: {**k, 3: -35}),
    "another curve": answer(cose=lambda k: {**k, -1: 2}),
    "a bool for a curve": answer(cose=lambda k: {**k, -1: True}),
    "another key type": answer(cose=lambda k: {**k, 1: 4}),
    "a private key": answer(cose=lambda k: {**k, -4: bytes(32)}),
    "off the curve": answer(cose=lambda k: {**k, -2: b"\xff" * 32}),
    "short coordinate": answer(cose=lambda k: {**k, -2: k[-2][1:]}),
    "small order": answer(cose=lambda k: {1: 1, 3: -8, -1: 6, -2: bytes(32)}),
    "no algorithm": answer(cose=lambda k: {1: 2}),
    "a list for a key": answer(cose=lambda k: [1, 2, 3]),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_D7_a_hostile_registration_enrols_nothing(factors, name):
    """It is refused and ends the registration even for a good answer; then a new one works."""
    key = Authenticator()
    challenge = factors.begin_webauthn("ada").challenge
    for answered in (HOSTILE[name](key, challenge), key.create(challenge)):
        with pytest.raises(EvidenceError):
            factors.complete_webauthn("ada", *answered)
    assert factors.enrolled("ada") == ()
    enrol(factors, key)
    assert factors.verify("ada", key.get(BINDING).to_bytes(), BINDING) == SHOWN


def test_a_statement_that_was_not_asked_for_is_not_looked_at(factors):
    """Some clients send one all the same; the key is enrolled."""
    key = Authenticator()
    challenge = factors.begin_webauthn("ada").challenge
    made = answer(
        data=lambda k: k.data(0x45, k.attested()), statement={"sig": bytes(70), "x5c": [bytes(900)]}
    )
    factors.complete_webauthn("ada", *made(key, challenge))
    assert factors.verify("ada", key.get(BINDING).to_bytes(), BINDING) == SHOWN


def test_D7_random_damage_never_escapes(factors):
    """Whatever becomes of an attestation object's bytes, the answer is a refusal or a credential."""
    chance, enrolled = random.Random(5), 0
    for _ in range(80):
        key = Authenticator(-8)
        challenge = factors.begin_webauthn("ada").challenge
        data, said = key.create(challenge)
        bad = bytearray(data)
        for _ in range(chance.randint(1, 3)):
            bad[chance.randrange(len(bad))] = chance.randrange(256)
        try:
            factors.complete_webauthn("ada", bytes(bad), said)
        except EvidenceError:
            continue
        enrolled += 1
        assert factors.remove("ada", "webauthn")
    # Damage to what is not attested, such as the model's number, is no damage.
    assert 0 < enrolled < 80


def test_an_id_of_a_credential_that_is_too_short_is_refused(factors):
    """Fewer than 16 bytes cannot be told apart from others (section 4, credential id); 16 can."""
    with pytest.raises(EvidenceError, match="out of bounds"):
        enrol(factors, Authenticator(credential_id=bytes(15)))
    enrol(factors, Authenticator(credential_id=bytes(16)))


def test_H25_a_registration_answers_its_own_challenge_once(factors, clock):
    """The answer is taken once, by its own subject, within five minutes, and no key twice."""
    key = Authenticator()
    challenge = factors.begin_webauthn("ada").challenge
    with pytest.raises(EvidenceError, match="no registration"):
        factors.complete_webauthn("bob", *key.create(challenge))
    clock.advance(300)
    factors.complete_webauthn("ada", *key.create(challenge))
    with pytest.raises(EvidenceError, match="no registration"):
        factors.complete_webauthn("ada", *key.create(challenge))
    with pytest.raises(EvidenceError, match="enrolled already"):
        enrol(factors, key)
    challenge = factors.begin_webauthn("ada").challenge
    clock.advance(301)
    with pytest.raises(EvidenceError, match="no registration"):
        factors.complete_webauthn("ada", *Authenticator().create(challenge))


def test_a_challenge_replaces_the_one_before(factors):
    """Of two registrations begun, the second can be completed."""
    first, second = (factors.begin_webauthn("ada").challenge for _ in range(2))
    assert first != second
    key = Authenticator()
    factors.complete_webauthn("ada", *key.create(second))
    factors.begin_webauthn("ada")
    with pytest.raises(EvidenceError, match="another challenge"):
        factors.complete_webauthn("ada", *Authenticator().create(first))


def test_without_a_relying_party_there_is_no_webauthn(factors, enrolments, clock):
    """Settings that name none refuse to enrol, and refuse assertions of keys enrolled before."""
    key = Authenticator()
    enrol(factors, key)
    bare = Factors(enrolments, bytes(range(32)), MfaSettings(), clock=clock.time)
    with pytest.raises(ConfigurationError, match="rp_id and origins"):
        bare.begin_webauthn("ada")
    refused(bare, key.get(BINDING))
    nowhere = Factors(enrolments, bytes(range(32)), MfaSettings(origins=(ORIGIN,)), clock=clock.time)
    key.rp = ""
    assert "relying party" in refused(nowhere, key.get(BINDING))
