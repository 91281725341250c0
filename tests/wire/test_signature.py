"""A signature that is accepted has one form, one key and one purpose."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ztsession.errors import EvidenceError, WireError
from ztsession.wire.signature import SeedSigner, Signed, check_public_key, public_key, sign, verify

SEED = bytes(range(32))
ORDER = 2**252 + 27742317777372353535851937790883648493
PRIME = 2**255 - 19


def test_signatures_are_those_of_rfc_8032():
    """Keys and signatures are the same as another implementation's."""
    other = Ed25519PrivateKey.from_private_bytes(SEED)
    assert public_key(SEED) == other.public_key().public_bytes_raw()
    assert sign(SEED, b"message") == other.sign(b"message")
    verify(public_key(SEED), b"message", other.sign(b"message"))


def test_H11_a_malleable_S_is_refused():
    """Adding the group order to S, which some verifiers accept, is refused; the original passes."""
    signature = sign(SEED, b"message")
    verify(public_key(SEED), b"message", signature)
    s = int.from_bytes(signature[32:], "little")
    for multiple in (1, 2, 7):
        other = signature[:32] + (s + multiple * ORDER).to_bytes(32, "little")
        with pytest.raises(EvidenceError, match="malleable"):
            verify(public_key(SEED), b"message", other)


@pytest.mark.parametrize(
    "key",
    [
        bytes(32),  # order 4
        (1).to_bytes(32, "little"),  # the neutral element
        (PRIME - 1).to_bytes(32, "little"),  # order 2
        (PRIME + 1).to_bytes(32, "little"),  # the neutral element, in a second form
        bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),  # order 8
        bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),  # order 8
        (2).to_bytes(32, "little"),  # off the curve
        b"\xff" * 32,
    ],
)
def test_small_order_and_non_canonical_keys_are_refused(key):
    """A key under which one signature could fit every message is refused; an honest key passes."""
    check_public_key(public_key(SEED))
    with pytest.raises(EvidenceError, match="public key"):
        check_public_key(key)
    with pytest.raises(EvidenceError, match="public key"):
        # R = key and S = 0 satisfies the equation for small orders.
        verify(key, b"message", key + bytes(32))


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_sizes_are_exact(size):
    """Keys, seeds and signatures of another size are refused."""
    with pytest.raises(EvidenceError):
        check_public_key(bytes(size))
    with pytest.raises(EvidenceError):
        verify(public_key(SEED), b"", bytes(size if size != 64 else 63))
    with pytest.raises(ValueError, match="seed"):
        sign(bytes(size), b"")


def test_an_envelope_holds_for_its_label_context_and_body_only():
    """Each of key, label, context and body is covered by the signature."""
    signed = Signed.make(SeedSigner(SEED), "label", b"body", b"context")
    again = Signed.from_bytes(signed.to_bytes())
    assert again.check(public_key(SEED), "label", b"context") == b"body"
    for key, label, context in [
        (public_key(bytes(32)), "label", b"context"),
        (public_key(SEED), "other", b"context"),
        (public_key(SEED), "label", b"other"),
    ]:
        with pytest.raises(EvidenceError):
            again.check(key, label, context)
    with pytest.raises(EvidenceError):
        Signed(b"bodY", again.signature).check(public_key(SEED), "label", b"context")


def test_every_bit_of_an_envelope_counts():
    """Whatever bit of the encoded envelope is flipped, it no longer holds."""
    data = Signed.make(SeedSigner(SEED), "label", b"body").to_bytes()
    for position in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[position // 8] ^= 1 << position % 8
        with pytest.raises((EvidenceError, WireError)):
            Signed.from_bytes(bytes(flipped)).check(public_key(SEED), "label")
