"""A key is known to others by digests that any tool gives for it."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ztsession.identity.key_digests import ed25519_key_digests, key_digests, x25519_key_digests

KEYS = [
    ed25519.Ed25519PrivateKey.generate(),
    x25519.X25519PrivateKey.generate(),
    ec.generate_private_key(ec.SECP256R1()),
    rsa.generate_private_key(65537, 2048),
]


@pytest.mark.parametrize("key", KEYS, ids=["ed25519", "x25519", "p256", "rsa"])
@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_the_digest_is_that_of_other_tools(key: Any):
    """What openssl makes of the PEM text is the first digest."""
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    der = subprocess.run(
        ["openssl", "pkey", "-pubin", "-outform", "DER"], input=pem, capture_output=True, check=True
    ).stdout
    assert key_digests(key.public_key())[0] == hashlib.sha256(der).hexdigest()


def test_a_key_of_32_bytes_has_a_second_digest():
    """Where a key is nothing but its bytes, these are looked for as well; and the two kinds differ."""
    one, two = KEYS[0].public_key(), KEYS[1].public_key()
    assert key_digests(one) == ed25519_key_digests(one.public_bytes_raw())
    assert key_digests(two) == x25519_key_digests(two.public_bytes_raw())
    assert key_digests(one)[1] == hashlib.sha256(one.public_bytes_raw()).hexdigest()
    assert ed25519_key_digests(b"k" * 32)[0] != x25519_key_digests(b"k" * 32)[0]
    assert [len(key_digests(key.public_key())) for key in KEYS] == [2, 2, 1, 1]
