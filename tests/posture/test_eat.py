"""An EAT counts in either form for what it says, from its own device, once, and for nothing else."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from eat_makers import BINDING, NONCE, NOW, UEID, cwt, ed, entry, evidence, expected_nonce, healthy, jwt, p256

from ztsession.errors import ConfigurationError, EvidenceError, WireError
from ztsession.handshake import binding
from ztsession.posture import Appraisal, PostureAppraiser
from ztsession.posture.eat_prover import EatPosture
from ztsession.wire import encode

MEASURED = {"kernel": "6.1", "packages": "ab" * 32, "program": "cd" * 32, "disk_encryption": "enabled"}
REFERENCE = f"""
[posture]
kernels = ["6.1"]
secure_boot = true
disk_encryption = true
packages = ["{"ab" * 32}"]
programs = ["{"cd" * 32}", "trader 4.2"]
"""
FORMS = {"cwt": cwt, "jwt": jwt}
KEYS = {"ES256": p256, "EdDSA": ed}


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "devices.toml"
    ueid = f'ueid = "{UEID.hex()}"'
    devices = entry("host-1", p256("host-1"), ueid) + entry("host-2", p256("host-2"))
    file.write_text(devices + entry("host-3", ed("host-3")) + REFERENCE)
    return file


@pytest.fixture
def appraiser(path):
    return PostureAppraiser(path)


@pytest.fixture(params=FORMS)
def make(request):
    """Each test that takes it holds for both forms."""
    return FORMS[request.param]


def appraise(appraiser: PostureAppraiser, token: Any, named: str = "host-1", **given: Any) -> Appraisal:
    given = {"now": NOW, "binding": BINDING, "nonce": NONCE, **given}
    return appraiser.appraise(evidence(token, named), **given)


@pytest.mark.parametrize(("name", "key"), [("host-1", p256("host-1")), ("host-3", ed("host-3"))])
def test_a_token_counts_for_what_it_says(appraiser, make, name, key):
    """A good token of either form and either algorithm gives the items it speaks of, and a device."""
    appraisal = appraise(appraiser, make(key, healthy(ztsession_measurements=MEASURED)), name)
    unknown = dict.fromkeys(("boot", "hardware"), "unknown")
    assert appraisal.vector == dict.fromkeys(appraisal.vector, "good") | unknown
    assert (appraisal.device, appraisal.collected_at) == (name, int(NOW))
    assert appraisal.trust["configuration"] == appraisal.trust["executables"] == "affirming"


@pytest.mark.parametrize(
    ("claims", "item", "expected"),
    [
        ({"dbgstat": 0}, "debug", "bad"),
        *[({"dbgstat": state}, "debug", "good") for state in (1, 2, 3, 4)],
        ({"dbgstat": None}, "debug", "unknown"),
        ({"oemboot": True}, "secure_boot", "good"),
        ({"oemboot": False}, "secure_boot", "bad"),
        ({"oemboot": None}, "secure_boot", "unknown"),
        ({"swname": "trader", "swversion": ["4.2"]}, "program", "good"),
        ({"swname": "trader", "swversion": ["4.2", 1]}, "program", "good"),
        ({"swname": "trader", "swversion": ["4.3"]}, "program", "bad"),
        ({"swname": "trader"}, "program", "unknown"),
        ({"swversion": ["4.2"]}, "program", "unknown"),
        ({"swname": "trad", "swversion": ["er 4.2"]}, "program", "unknown"),
        ({"ztsession_measurements": {"kernel": "6.1"}}, "kernel", "good"),
        ({"ztsession_measurements": {"kernel": "6.0"}}, "kernel", "bad"),
        ({"ztsession_measurements": {"kernel": "unknown"}}, "kernel", "unknown"),
        ({"ztsession_measurements": {"secure_boot": "enabled"}, "oemboot": None}, "secure_boot", "good"),
        ({"ztsession_measurements": {"pcr.7": "00" * 32}}, "boot", "unknown"),
        ({"submods": {"tee": {"oemboot": True}}, "oemboot": None}, "secure_boot", "unknown"),
        ({"iss": "x", "sub": "y", "location": {"a": 1.5}}, "debug", "good"),
    ],
)
def test_each_claim_has_one_meaning(appraiser, make, claims, item, expected):
    """What a claim says is in its item; what is not said, or said elsewhere, is unknown."""
    assert appraise(appraiser, make(p256("host-1"), healthy(**claims))).vector[item] == expected


def test_what_is_only_told_is_kept_beside_the_vector(appraiser, make):
    """The maker and the model are there to be logged and change nothing."""
    more = {"hwmodel": b"\x0a\x0b", "oemid": 32473}
    told = appraise(appraiser, make(p256("host-1"), healthy(**more)))
    assert (told.measurements["hwmodel"], told.measurements["oemid"]) == ("0a0b", "32473")
    assert told.digest == appraise(appraiser, make(p256("host-1"), healthy(oemid=b"\x01\x02\x03"))).digest


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"dbgstat": 5}, "dbgstat"),
        ({"dbgstat": True}, "dbgstat"),
        ({"dbgstat": "off"}, "dbgstat"),
        ({"oemboot": 1}, "oemboot"),
        ({"oemboot": "true"}, "oemboot"),
        ({"swversion": "4.2"}, "swversion"),
        ({"swversion": []}, "swversion"),
        ({"swversion": [42]}, "swversion"),
        ({"swname": "x" * 121}, "swname"),
        ({"hwmodel": bytes(33)}, "hwmodel"),
        ({"oemid": -1}, "oemid"),
        ({"ueid": bytes(6)}, "ueid"),
        ({"ztsession_measurements": {"kernel": 6}}, "ztsession_measurements"),
        ({"ztsession_measurements": {f"m{n}": "" for n in range(33)}}, "ztsession_measurements"),
        ({"ztsession_measurements": {"kernel": "x\ny"}}, "printed"),
        ({"ztsession_measurements": {"debug": "disabled"}}, "claims of their own"),
        ({"ztsession_measurements": {"secure_boot": "enabled"}, "oemboot": False}, "two things"),
        ({"iat": None}, "no iat"),
        ({"iat": -1}, "iat"),
        ({"iat": float(NOW)}, "iat"),
        ({"iat": True}, "iat"),
        ({"exp": "soon"}, "exp"),
    ],
)
def test_a_claim_of_another_shape_is_refused(appraiser, make, claims, why):
    """A claim that cannot be read in its one way makes the token no evidence; the next one counts as ever."""
    with pytest.raises(EvidenceError, match=why):
        appraise(appraiser, make(p256("host-1"), healthy(**claims)))
    assert appraise(appraiser, make(p256("host-1"), healthy())).device == "host-1"


@pytest.mark.parametrize("age_s", [601, 10**9, -61, -(10**9)])
def test_H19_stale_or_future_tokens_are_refused(appraiser, make, age_s):
    """A token issued too long ago or ahead of time is refused; at the edges it passes."""
    with pytest.raises(EvidenceError, match="old" if age_s > 0 else "future"):
        appraise(appraiser, make(p256("host-1"), healthy(iat=int(NOW) - age_s)))
    for edge_s in (600, 0, -60):
        assert appraise(appraiser, make(p256("host-1"), healthy(iat=int(NOW) - edge_s))).device


def test_H24_a_token_from_the_future_locks_nobody_out(appraiser, make):
    """After a token from the future was refused, the same device passes with a right clock."""
    with pytest.raises(EvidenceError, match="future"):
        appraise(appraiser, make(p256("host-1"), healthy(iat=int(NOW) + 10**6)))
    assert appraise(appraiser, make(p256("host-1"), healthy())).device == "host-1"


@pytest.mark.parametrize(
    ("validity", "refused"),
    [
        ({"exp": int(NOW) + 1}, None),
        ({"exp": int(NOW)}, "expired"),
        ({"nbf": int(NOW) + 60}, None),
        ({"nbf": int(NOW) + 61}, "not valid yet"),
    ],
)
def test_H19_a_token_ends_when_it_says(appraiser, make, validity, refused):
    """exp and nbf hold where they are given."""
    token = make(p256("host-1"), healthy(**validity))
    if refused is None:
        assert appraise(appraiser, token).device == "host-1"
    else:
        with pytest.raises(EvidenceError, match=refused):
            appraise(appraiser, token)


def test_a_time_that_is_no_number_is_refused(appraiser, make):
    """If the Authority's clock gave NaN, tokens would be refused and not admitted."""
    for claims in (healthy(), healthy(exp=int(NOW) + 9), healthy(nbf=int(NOW) - 9)):
        with pytest.raises(EvidenceError):
            appraise(appraiser, make(p256("host-1"), claims), now=float("nan"))


@pytest.mark.parametrize(
    "nonce",
    [
        expected_nonce(nonce=bytes(32)),
        expected_nonce()[:31],
        NONCE,
        BINDING,
        [expected_nonce()],
        [expected_nonce(), bytes(32)],
        "text",
        7,
        None,
    ],
)
def test_H19_another_nonce_is_refused(appraiser, make, nonce):
    """Only the one nonce of this handshake will do: not another, not a list that has it, not none."""
    if isinstance(nonce, list) and make is jwt:
        nonce = [entry.hex() for entry in nonce]
    with pytest.raises(EvidenceError, match=r"eat_nonce|another nonce"):
        appraise(appraiser, make(p256("host-1"), healthy(eat_nonce=nonce)))
    assert appraise(appraiser, make(p256("host-1"), healthy())).device == "host-1"


def test_H1_H2_a_token_is_good_for_one_handshake_and_one_key(appraiser, make):
    """A healthy device's token, taken to another handshake, client key or kind of binding, is refused."""
    h, key = bytes(32), bytes(range(32))
    right = binding("posture", h, key)
    token = make(p256("host-1"), healthy(eat_nonce=expected_nonce(right)))
    assert appraise(appraiser, token, binding=right).device == "host-1"
    for wrong in (binding("posture", key, key), binding("posture", h, h), binding("identity", h, key)):
        with pytest.raises(EvidenceError, match="another handshake"):
            appraise(appraiser, token, binding=wrong)
    for short in ({"binding": right[:31]}, {"nonce": NONCE[:31]}):
        with pytest.raises(EvidenceError, match="32 bytes"):
            appraise(appraiser, token, **short)


def test_H20_a_token_of_another_device_is_refused(appraiser, make):
    """Another device's key, another's name on one's own token, and a device not enrolled are all refused."""
    assert appraise(appraiser, make(p256("host-2"), healthy()), "host-2").device == "host-2"
    for signer, named in (("host-2", "host-1"), ("host-1", "host-2"), ("host-9", "host-9")):
        with pytest.raises(EvidenceError, match="does not hold"):
            appraise(appraiser, make(p256(signer), healthy()), named)
    with pytest.raises(EvidenceError, match="another device"):
        appraise(appraiser, make(p256("host-2"), healthy()), "host-2", device="host-1")


@pytest.mark.parametrize("ueid", [b"\x01" + bytes(16), UEID + b"\x00", None])
def test_H20_another_entity_behind_the_same_key_is_refused(appraiser, make, ueid):
    """Where a UEID is enrolled the token must have it; where none is, any will do."""
    with pytest.raises(EvidenceError, match="another entity"):
        appraise(appraiser, make(p256("host-1"), healthy(ueid=ueid)))
    assert appraise(appraiser, make(p256("host-2"), healthy(ueid=ueid)), "host-2").device == "host-2"


@pytest.mark.parametrize("key", KEYS)
def test_the_stand_in_keys_enrol_no_device(path, make, key):
    """A token by the key that stands in for devices without one is refused, be the device enrolled or not."""
    path.write_text(
        f'[devices.host-4]\npublic_key = "{ed("host-4").public_key().public_bytes_raw().hex()}"\n'
    )
    for name in ("host-4", "host-9"):
        with pytest.raises(EvidenceError, match="not enrolled with a key for EATs"):
            appraise(PostureAppraiser(path), make(KEYS[key]("no device"), healthy()), name)


def test_H14_a_device_taken_out_is_refused_after_reload(appraiser, path, make):
    """A device that the operator removed is refused once the file is read again; the other stays."""
    path.write_text(entry("host-2", p256("host-2")))
    assert appraise(appraiser, make(p256("host-1"), healthy())).device == "host-1"
    appraiser.reload()
    with pytest.raises(EvidenceError):
        appraise(appraiser, make(p256("host-1"), healthy()))
    assert appraise(appraiser, make(p256("host-2"), healthy()), "host-2").device == "host-2"


def test_H15_evidence_with_any_byte_changed_is_refused(appraiser, make):
    """Whatever byte of the evidence is changed, in its lowest or highest bit, it is refused."""
    whole = evidence(make(p256("host-1"), healthy()))
    for position in range(len(whole)):
        for bit in (0, 7):
            changed = bytearray(whole)
            changed[position] ^= 1 << bit
            with pytest.raises(EvidenceError):
                appraiser.appraise(bytes(changed), BINDING, NONCE, now=NOW)
    assert appraiser.appraise(whole, BINDING, NONCE, now=NOW).device == "host-1"


@pytest.mark.parametrize("cut", [1, 2, 40, 100])
def test_H15_evidence_that_is_cut_or_grown_is_refused(appraiser, make, cut):
    """A token that ends early or late is refused."""
    token = make(p256("host-1"), healthy())
    more = b"\x00" * cut if isinstance(token, bytes) else "A" * cut
    for changed in (token[:-cut], token + more, more + token):
        with pytest.raises(EvidenceError):
            appraise(appraiser, changed)


def test_a_bad_signature_fails_closed(appraiser, make):
    """A token whose signature does not hold is no evidence at all, and not an appraisal with a note
    (CVE-2023-3674).
    """
    bad, good = (make(p256(name), healthy()) for name in ("host-9", "host-1"))
    appraisal = None
    with pytest.raises(EvidenceError, match="does not hold"):
        appraisal = appraise(appraiser, bad)
    assert appraisal is None
    assert appraise(appraiser, good).vector["device"] == "good"


def test_D7_evidence_over_the_limit_is_refused_before_it_is_read(appraiser):
    """More than 24576 bytes are refused for their number alone, and a kind that nobody knows by its name."""
    with pytest.raises(EvidenceError, match="over the limit of 24576"):
        appraiser.appraise(evidence(bytes(24576)), BINDING, NONCE, now=NOW)
    with pytest.raises(EvidenceError, match="over the limit of 24576"):
        appraiser.appraise(encode({"v": 1, "kind": "x", "pad": bytes(24576)}), BINDING, NONCE, now=NOW)
    with pytest.raises(EvidenceError, match="expected 1 to 24000"):
        appraise(appraiser, bytes(24100))
    with pytest.raises(EvidenceError, match="not taken here"):
        appraiser.appraise(b"\x81\xa4kind\xabposture.eat", BINDING, NONCE, now=NOW)


@pytest.mark.parametrize(("form", "library"), [("cwt", "cbor2"), ("jwt", "joserfc")])
def test_without_the_library_a_token_is_refused(appraiser, monkeypatch, form, library):
    """Where what reads a form is not installed, its tokens are refused and nothing falls over."""
    token = FORMS[form](p256("host-1"), healthy())
    assert appraise(appraiser, token).device == "host-1"
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(EvidenceError, match="cannot be checked here"):
        appraise(appraiser, token)


def attester(make: Any, device: str, asked: list[bytes]) -> Any:
    def attest(nonce: bytes) -> bytes | str:
        asked.append(nonce)
        token: bytes | str = make(p256(device), healthy(eat_nonce=nonce))
        return token

    return attest


@pytest.mark.parametrize("form", FORMS)
def test_the_client_asks_its_attester_for_the_right_nonce(appraiser, form):
    """What the prover hands on is accepted, and the attester saw the nonce of this handshake alone."""
    asked: list[bytes] = []
    posture = EatPosture("host-1", attester(FORMS[form], "host-1", asked), form)
    proof = posture.prove(BINDING, NONCE)
    assert asked == [expected_nonce()]
    assert appraiser.appraise(proof, BINDING, NONCE, now=NOW).device == "host-1"
    assert "attest" not in repr(posture)


def test_an_attester_that_gives_no_token_is_told_so():
    """The wrong type, the wrong size, the wrong form and an odd name never leave the host."""
    with pytest.raises(ConfigurationError, match="expected bytes"):
        EatPosture("host-1", lambda _: "text").prove(BINDING, NONCE)
    with pytest.raises(ConfigurationError, match="expected text"):
        EatPosture("host-1", lambda _: b"bytes", "jwt").prove(BINDING, NONCE)
    with pytest.raises(WireError, match="24000"):
        EatPosture("host-1", lambda _: bytes(24001)).prove(BINDING, NONCE)
    with pytest.raises(ConfigurationError, match="form"):
        EatPosture("host-1", lambda _: b"", "cbor")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="device"):
        EatPosture("a b", lambda _: b"")
