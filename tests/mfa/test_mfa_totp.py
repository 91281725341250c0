"""Which step a code belongs to (RFC 6238)."""

from __future__ import annotations

import pytest

from ztsession.errors import EvidenceError, WireError
from ztsession.mfa.totp import TotpEvidence, code_at, matched_step, secret_bytes, uri
from ztsession.wire import encode

SHA1 = b"12345678901234567890"
SHA256 = b"12345678901234567890123456789012"
NOW = 1_900_000_000.0
STEP = int(NOW) // 30

#: RFC 6238, appendix B: Unix time, then the codes of eight digits under SHA-1 and SHA-256.
VECTORS = [
    (59, "94287082", "46119246"),
    (1111111109, "07081804", "68084774"),
    (1111111111, "14050471", "67062674"),
    (1234567890, "89005924", "91819424"),
    (2000000000, "69279037", "90698825"),
    (20000000000, "65353130", "77737706"),
]


@pytest.mark.parametrize(("time", "sha1", "sha256"), VECTORS)
def test_the_vectors_of_the_rfc(time, sha1, sha256):
    """Both profiles give the published codes at their step and no other; six digits are the last of eight."""
    assert matched_step(sha1[2:], SHA1, "sha1-6", time, 0) == time // 30
    assert matched_step(sha256, SHA256, "sha256-8", time, 0) == time // 30
    with pytest.raises(EvidenceError):
        matched_step(sha1[2:], SHA1, "sha1-6", time + 90, 0)
    with pytest.raises(EvidenceError):
        matched_step(sha256, SHA1 + bytes(12), "sha256-8", time, 0)


@pytest.mark.parametrize("steps", range(-3, 4))
def test_the_window_is_one_step_each_way(steps):
    """The codes of the last, the present and the next step hold; those further away do not."""
    code = code_at(SHA1, "sha1-6", STEP + steps)
    if abs(steps) <= 1:
        assert matched_step(code, SHA1, "sha1-6", NOW, 0) == STEP + steps
    else:
        with pytest.raises(EvidenceError, match="does not hold"):
            matched_step(code, SHA1, "sha1-6", NOW, 0)


@pytest.mark.parametrize("steps", [-1, 0, 1])
def test_H25_a_step_that_is_not_after_the_last_is_used_up(steps):
    """An equal or lower step is refused even if its code was never shown; a higher one holds."""
    code = code_at(SHA1, "sha1-6", STEP + steps)
    assert matched_step(code, SHA1, "sha1-6", NOW, STEP + steps - 1) == STEP + steps
    for last in (STEP + steps, STEP + steps + 1):
        with pytest.raises(EvidenceError, match="used up"):
            matched_step(code, SHA1, "sha1-6", NOW, last)


def test_H25_a_code_that_two_steps_share_is_used_up_for_both():
    """When neighbouring steps have the same code, it counts as the later one's."""
    assert code_at(SHA1, "sha1-6", 910737) == code_at(SHA1, "sha1-6", 910738) == "911617"
    assert matched_step("911617", SHA1, "sha1-6", 910737 * 30.0, 0) == 910738


@pytest.mark.parametrize("now", [-1.0, float("nan"), float("inf"), 1e300])
def test_at_an_impossible_time_no_code_holds(now):
    """A clock that reads nonsense refuses; just after the epoch the window is cut and codes hold."""
    with pytest.raises(EvidenceError, match="such a time"):
        matched_step(code_at(SHA1, "sha1-6", 0), SHA1, "sha1-6", now, -1)
    assert matched_step(code_at(SHA1, "sha1-6", 1), SHA1, "sha1-6", 0.0, 0) == 1


@pytest.mark.parametrize(
    "code",
    ["", "12345", "1234567", "123456789", "12345a", " 123456", "123456\n", "٠١٢٣٤٥", "+12345", "12 456"],
)
def test_a_code_has_one_form(code):
    """Six or eight ASCII digits are evidence, nothing else is, and its repr shows none of them."""
    assert TotpEvidence.from_bytes(TotpEvidence("012345").to_bytes()).code == "012345"
    assert "012345" not in repr(TotpEvidence("012345"))
    with pytest.raises(WireError, match="digits"):
        TotpEvidence.from_bytes(encode({"v": 1, "kind": "mfa.totp", "code": code}))


def test_secrets_are_as_long_as_the_hash():
    """New secrets have 160 and 256 bits."""
    assert (secret_bytes("sha1-6"), secret_bytes("sha256-8")) == (20, 32)


def test_the_uri_says_all_that_an_app_needs():
    """Defaults are left out as apps expect, everything else is named and quoted."""
    assert uri(SHA1, "sha1-6", "ada", "My Desk") == (
        "otpauth://totp/My%20Desk:ada?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=My%20Desk"
    )
    assert uri(SHA256, "sha256-8", "a:b@c", "x").endswith("&issuer=x&algorithm=SHA256&digits=8")
    assert uri(SHA256, "sha256-8", "a:b@c", "x").startswith("otpauth://totp/x:a%3Ab%40c?secret=")
