"""The client believes a static key only on the word of the root that it pins, and only in time."""

from __future__ import annotations

import pytest

from ztsession.errors import EvidenceError
from ztsession.handshake import start_initiator, start_responder
from ztsession.handshake.keys import DhKeyPair
from ztsession.identity.certificate import issue, verify
from ztsession.wire.signature import SeedSigner, Signed, public_key

ROOT, OTHER_ROOT = b"r" * 32, b"o" * 32
SERVER, THIEF = b"s" * 32, b"t" * 32
STATIC = DhKeyPair(SERVER).public
BEGIN, END = 1_000_000, 2_000_000


@pytest.fixture
def certificate():
    return issue(SeedSigner(ROOT), STATIC, "authority-1", BEGIN, END)


@pytest.mark.parametrize("now", [BEGIN, BEGIN + 0.5, END - 0.001])
def test_a_certificate_holds_in_its_time(certificate, now):
    """From its first second to just before its last, the certificate says what was issued."""
    said = verify(certificate, public_key(ROOT), STATIC, now)
    assert (said.name, said.static_public, said.not_before, said.not_after) == (
        "authority-1",
        STATIC,
        BEGIN,
        END,
    )


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (0, "not valid before"),
        (BEGIN - 0.001, "not valid before"),
        (END, "expired"),
        (float("nan"), "expired"),
    ],
)
def test_H12_outside_its_time_a_certificate_is_refused(certificate, now, expected):
    """Before it begins and once it has ended, and at a time that is no number, it does not hold."""
    with pytest.raises(EvidenceError, match=expected):
        verify(certificate, public_key(ROOT), STATIC, now)


def test_another_root_or_key_is_refused(certificate):
    """A certificate of another root, or over another static key, is refused with its own sentence."""
    with pytest.raises(EvidenceError, match="not from the pinned root"):
        verify(certificate, public_key(OTHER_ROOT), STATIC, BEGIN)
    with pytest.raises(EvidenceError, match="another static key"):
        verify(certificate, public_key(ROOT), DhKeyPair(THIEF).public, BEGIN)
    foreign = Signed.make(
        SeedSigner(ROOT), "some other purpose", Signed.from_bytes(certificate).body
    ).to_bytes()
    with pytest.raises(EvidenceError, match="not from the pinned root"):
        verify(foreign, public_key(ROOT), STATIC, BEGIN)


def test_H15_a_certificate_with_any_bit_changed_is_refused(certificate):
    """Whatever bit is flipped, the certificate no longer holds."""
    for position in range(len(certificate) * 8):
        changed = bytearray(certificate)
        changed[position // 8] ^= 1 << position % 8
        with pytest.raises(EvidenceError):
            verify(bytes(changed), public_key(ROOT), STATIC, BEGIN)


@pytest.mark.parametrize("data", [b"", b"\x80", bytes(40000)])
def test_malformed_certificates_are_refused(data):
    """Bytes that are no certificate are refused as malformed."""
    with pytest.raises(EvidenceError, match="malformed"):
        verify(data, public_key(ROOT), STATIC, BEGIN)


def test_a_certificate_needs_time():
    """No certificate is issued that ends before it begins."""
    with pytest.raises(ValueError, match="not_before"):
        issue(SeedSigner(ROOT), STATIC, "authority-1", BEGIN, BEGIN)


@pytest.mark.parametrize(("server", "holds"), [(SERVER, True), (THIEF, False)])
def test_H16_a_stolen_certificate_does_not_fit_another_key(certificate, server, holds):
    """Who offers the Authority's certificate from another static key, even the client's own, is found out."""
    message1, client = start_initiator(b"c" * 32, b"")
    message2, _ = start_responder(server, message1).write(certificate)
    offered = client.read(message2)
    if holds:
        assert verify(offered.payload, public_key(ROOT), offered.remote_static, BEGIN).name == "authority-1"
    else:
        with pytest.raises(EvidenceError, match="another static key"):
            verify(offered.payload, public_key(ROOT), offered.remote_static, BEGIN)
