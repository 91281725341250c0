"""What holds for second factors of every kind."""

from __future__ import annotations

import hmac
import logging
import os
import time

import pyotp
import pytest
from fido2.cose import ES256
from soft_authenticator import Authenticator

from ztsession.errors import ConfigurationError, EvidenceError, StoreError
from ztsession.mfa.factors import Factors
from ztsession.mfa.protocol import EVIDENCE_MAX_BYTES, FactorShown, FactorVerifier
from ztsession.mfa.recovery import RecoveryEvidence, as_typed
from ztsession.mfa.sealed import Sealer
from ztsession.mfa.settings import MfaSettings
from ztsession.mfa.totp import TotpEvidence
from ztsession.store.enrolments import SqliteEnrolments
from ztsession.store.sqlite import SqliteStore
from ztsession.wire import encode

BINDING = bytes(range(32))
KEY = bytes(range(32))
WRONG = {
    "totp": TotpEvidence("12345678").to_bytes(),
    "recovery": RecoveryEvidence("a" * 24).to_bytes(),
    "webauthn": Authenticator().get(BINDING).to_bytes(),  # of a key that nobody has enrolled
}


@pytest.fixture
def key(factors, app) -> Authenticator:
    """Ada has everything: her app, an authenticator, and recovery codes."""
    made = Authenticator()
    factors.complete_webauthn("ada", *made.create(factors.begin_webauthn("ada").challenge))
    factors.recovery_codes("ada")
    return made


class Counted:
    """The real enrolments, with what was asked of them."""

    def __init__(self, inner: SqliteEnrolments) -> None:
        self.inner, self.asked = inner, []

    def get(self, kind, name):
        self.asked.append("get")
        return self.inner.get(kind, name)

    def put(self, kind, name, data, *, expected):
        done = self.inner.put(kind, name, data, expected=expected)
        self.asked.append(f"put of {len(data)} bytes: {done}")
        return done


def test_the_authority_gets_what_it_asks_for(factors):
    """Factors is the verifier of the seam."""
    verifier: FactorVerifier = factors
    assert verifier.enrolled("ada") == ()


def test_all_that_is_enrolled_is_told_the_strongest_first(factors, key):
    """The Authority hears the kinds, an operator the details."""
    assert factors.enrolled("ada") == ("webauthn", "totp", "recovery")
    assert factors.enrolled("bob") == ()
    assert [(held.id.partition(":")[0], held.assurance, held.state) for held in factors.held("ada")] == [
        ("webauthn", 3, "0 on its counter"),
        ("totp", 2, "sha1-6, open, 0 wrong codes in a row"),
        ("recovery", 2, "10 left, open, 0 wrong codes in a row"),
    ]


@pytest.mark.parametrize("kind", WRONG)
def test_H23_strangers_are_refused_in_the_same_words_and_at_the_same_cost(
    factors, key, enrolments, clock, kind
):
    """A subject without the factor hears what one with it hears, after as many durable writes."""
    told, wrote = {}, {}
    for subject in ("ada", "bob", "carol"):
        counted = Counted(enrolments)
        side = Factors(counted, KEY, MfaSettings("trading.example", ("https://desk.trading.example",)))
        with pytest.raises(EvidenceError) as caught:
            side.verify(subject, WRONG[kind], BINDING)
        told[subject] = str(caught.value)
        wrote[subject] = [each.endswith("True") for each in counted.asked if each.startswith("put")]
    assert len(set(told.values())) == 1
    assert len(set(map(tuple, wrote.values()))) == 1
    assert wrote["bob"] == ([] if kind == "webauthn" else [True])
    assert enrolments.get(f"mfa.{kind}.record", "bob") is None


@pytest.mark.parametrize("kind", WRONG)
def test_H23_strangers_are_looked_at_as_closely(factors, key, kind, monkeypatch):
    """For who has no such factor as much is opened, hashed and verified as for who has."""
    done: list[str] = []

    def spied(owner: type, name: str) -> None:
        real = getattr(owner, name)

        def spy(*arguments: object) -> object:
            done.append(name)
            return real(*arguments)

        monkeypatch.setattr(owner, name, spy)

    spied(Sealer, "open")
    spied(pyotp.TOTP, "generate_otp")
    spied(hmac, "digest")
    spied(ES256, "verify")
    counts = {}
    for subject in ("ada", "bob"):
        done.clear()
        with pytest.raises(EvidenceError):
            factors.verify(subject, WRONG[kind], BINDING)
        counts[subject] = {name: done.count(name) for name in set(done)}
    # A stranger's own record is not there, so nobody's is opened besides.
    counts["bob"]["open"] -= kind != "webauthn"
    assert counts["ada"] == counts["bob"]
    assert counts["ada"]["open"] == 1
    assert len(counts["ada"]) == 2


def test_H23_a_stranger_never_gets_in_by_the_stand_in(enrolments, monkeypatch):
    """Even a code that holds for the stand-in that keeps us busy holds for nobody."""
    right = pyotp.TOTP("A" * 32)
    monkeypatch.setattr(os, "urandom", bytes)
    side = Factors(enrolments, KEY, MfaSettings())
    shown = TotpEvidence(right.at(time.time())).to_bytes()
    with pytest.raises(EvidenceError, match="does not hold"):
        side.verify("bob", shown, BINDING)
    assert side.enrolled("bob") == ()


@pytest.mark.parametrize(
    "evidence",
    [
        b"",
        b"\xc1",
        b"\x81" * 8192,
        b"\xdf\xff\xff\xff\xff",
        encode({"v": 1, "kind": "mfa.sms", "code": "123456"}),
        encode({"v": 2, "kind": "mfa.totp", "code": "123456"}),
        encode({"v": 1, "kind": "mfa.totp"}),
        encode({"v": 1, "kind": "mfa.totp", "code": "123456", "more": 1}),
        encode({"v": 1, "kind": "mfa.totp", "code": 123456}),
        encode({"v": 1, "kind": "mfa.totp", "code": "123456"}) + b"\0",
        encode({"v": 1, "kind": "mfa.recovery", "code": b"a" * 24}),
        encode({"v": 1, "kind": "mfa.webauthn", "signature": bytes(64)}),
        encode({"v": 1, "kind": "mfa.totp.record"}),
        bytes(EVIDENCE_MAX_BYTES + 1),
    ],
)
def test_D7_malformed_evidence_is_refused_and_not_counted(factors, key, evidence):
    """Whatever is no evidence ends as EvidenceError and changes nothing."""
    before = factors.held("ada")
    with pytest.raises(EvidenceError):
        factors.verify("ada", evidence, BINDING)
    assert factors.held("ada") == before


@pytest.mark.parametrize("binding", [b"", bytes(31), bytes(33)])
def test_a_binding_has_32_bytes(factors, code, binding):
    """Any other length is refused before a code is used up."""
    with pytest.raises(EvidenceError, match="32 bytes"):
        factors.verify("ada", code(), binding)
    assert factors.verify("ada", code(), BINDING) == FactorShown("totp", 2)


@pytest.mark.parametrize("subject", ["", "ada\n", "a" * 129, "ädä"])
def test_a_name_that_is_none_has_no_factors(factors, subject):
    """Neither evidence nor enrolment takes a name that cannot be a subject's, least of all nobody's."""
    with pytest.raises(EvidenceError, match="belongs to a subject"):
        factors.verify(subject, WRONG["totp"], BINDING)
    for enrol in (factors.enrol_totp, factors.recovery_codes, factors.begin_webauthn, factors.held):
        with pytest.raises(ConfigurationError, match="subject"):
            enrol(subject)


def test_an_unknown_factor_is_an_operators_mistake(factors):
    """What can be removed is named in the error."""
    with pytest.raises(ConfigurationError, match="totp, recovery, webauthn"):
        factors.remove("ada", "sms")


def test_a_restart_keeps_everything(path, clock):
    """A new process on the same file knows factors, used codes, counters, waits and challenges."""
    settings = MfaSettings("trading.example", ("https://desk.trading.example",))

    def started(store: SqliteStore) -> Factors:
        return Factors(SqliteEnrolments(store), KEY, settings, clock=clock.time)

    key = Authenticator()
    with SqliteStore(path) as store:
        factors = started(store)
        app = pyotp.parse_uri(factors.enrol_totp("ada").uri)
        challenge = factors.begin_webauthn("ada").challenge
    with SqliteStore(path) as store:
        factors = started(store)
        factors.confirm_totp("ada", app.at(clock.time()))
        factors.complete_webauthn("ada", *key.create(challenge))
        code, *codes = factors.recovery_codes("ada")
        shown, used = key.get(BINDING).to_bytes(), RecoveryEvidence(as_typed(code)).to_bytes()
        factors.verify("ada", shown, BINDING)
        factors.verify("ada", used, BINDING)
        for _ in range(5):
            with pytest.raises(EvidenceError, match="does not hold"):
                factors.verify("ada", WRONG["totp"], BINDING)
    with SqliteStore(path) as store:
        factors = started(store)
        assert factors.enrolled("ada") == ("webauthn", "totp", "recovery")
        for evidence in (shown, used):
            with pytest.raises(EvidenceError):
                factors.verify("ada", evidence, BINDING)
        with pytest.raises(EvidenceError, match="has to wait"):
            factors.verify("ada", TotpEvidence(app.at(clock.time() + 30)).to_bytes(), BINDING)
        clock.advance(31)
        factors.verify("ada", TotpEvidence(app.at(clock.time())).to_bytes(), BINDING)
        factors.verify("ada", RecoveryEvidence(as_typed(codes[0])).to_bytes(), BINDING)
        factors.verify("ada", key.get(bytes(32)).to_bytes(), bytes(32))


@pytest.mark.parametrize("kind", ["totp", "recovery", "webauthn"])
def test_another_sealing_key_fails_closed(factors, key, enrolments, kind):
    """Under a wrong key nothing is read, nothing is overwritten, and nobody passes for having no factor."""
    other = Factors(enrolments, bytes(32), MfaSettings())
    before = enrolments.get(f"mfa.{kind}.record", "ada")
    for ask in (
        lambda: other.enrolled("ada"),
        lambda: other.verify("ada", WRONG[kind], BINDING),
        lambda: other.remove("ada", kind),
        lambda: other.recovery_codes("ada"),
    ):
        with pytest.raises(StoreError, match="another key"):
            ask()
    assert enrolments.get(f"mfa.{kind}.record", "ada") == before


def test_a_code_counts_only_when_its_use_is_durable(factors, store, code):
    """When the store fails, nothing is reported good; when it works again, the code is still unused."""
    store.execute("PRAGMA query_only = ON")
    with pytest.raises(StoreError):
        factors.verify("ada", code(), BINDING)
    store.execute("PRAGMA query_only = OFF")
    assert factors.verify("ada", code(), BINDING) == FactorShown("totp", 2)


def test_A13_no_secret_in_the_file_in_logs_or_in_errors(factors, path, clock, caplog):
    """Not the bytes on disk, not the log at its most talkative, not an error says a secret or a code."""
    caplog.set_level(logging.DEBUG)
    offer = factors.enrol_totp("ada")
    app = pyotp.parse_uri(offer.uri)
    right = app.at(clock.time())
    factors.confirm_totp("ada", right)
    codes = factors.recovery_codes("ada")
    told = []
    for evidence in (TotpEvidence(right), RecoveryEvidence(as_typed(codes[0]))) * 105:
        try:
            factors.verify("ada", evidence.to_bytes(), BINDING)
        except EvidenceError as error:
            told.append(repr(error))
        clock.advance(1000)
    assert "is locked" in caplog.text
    secrets = [app.byte_secret(), offer.secret.encode()]
    secrets += [form.encode() for code in codes for form in (code, as_typed(code))]
    said = (caplog.text + "".join(told) + repr(offer) + repr(factors.held("ada"))).encode()
    files = [file.read_bytes() for file in path.parent.iterdir()]
    # The subject's name shows that this is where it would be found.
    assert any(b"ada" in data for data in files)
    for secret in secrets:
        assert secret not in said
        assert not any(secret in data for data in files)
    assert right.encode() not in said.replace(offer.uri.encode(), b"")
