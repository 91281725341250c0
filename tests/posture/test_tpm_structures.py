"""Structures of a TPM have one reading, and every other string of bytes has none."""

from __future__ import annotations

import hashlib
import struct

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from ztsession.errors import WireError
from ztsession.posture.tpm_structures import Algorithm, Attribute, Public, Quote, Signature

POINT = ec.derive_private_key(7, ec.SECP256R1()).public_key().public_numbers()
MODULUS = ((1 << 2047) + 12345).to_bytes(256, "big")
X, Y = POINT.x.to_bytes(32, "big"), POINT.y.to_bytes(32, "big")
AK, EK = 0x00050072, 0x000300B2
ECDSA, NULL = b"\x00\x18\x00\x0b", b"\x00\x10"
AES = struct.pack(">HHH", 6, 128, 0x43)


def sized(data: bytes) -> bytes:
    return struct.pack(">H", len(data)) + data


def attest(
    magic=0xFF544347, kind=0x8018, banks=1, bank=0x0B, select=b"\x81\x00\x01", digest=bytes(32)
) -> bytes:
    head = struct.pack(">IH", magic, kind) + sized(bytes(34)) + sized(b"asked") + bytes(25)
    return head + struct.pack(">IHB", banks, bank, len(select)) + select + sized(digest)


def ecc(name_alg=0x0B, attributes=AK, symmetric=NULL, scheme=ECDSA, curve=3, kdf=NULL, x=X, y=Y) -> bytes:
    body = struct.pack(">HHI", 0x23, name_alg, attributes) + sized(b"") + symmetric + scheme
    return sized(body + struct.pack(">H", curve) + kdf + sized(x) + sized(y))


def rsa_public(bits=2048, exponent=0, modulus=MODULUS) -> bytes:
    body = struct.pack(">HHI", 1, 0x0B, AK) + sized(b"") + NULL + b"\x00\x14\x00\x0b"
    return sized(body + struct.pack(">HI", bits, exponent) + sized(modulus))


SIGNATURE = struct.pack(">HHH32sH32s", 0x18, 0x0B, 32, b"r" * 32, 32, b"s" * 32)


def test_a_quote_is_read():
    """Its qualifying data, the registers that it selects (lowest bit first), and their digest."""
    assert Quote.read(attest()) == Quote(b"asked", (0, 7, 16), bytes(32))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (attest(magic=0xFF544346), "not made by a TPM"),
        (attest(kind=0x8017), "is no quote"),
        (attest(banks=0), "number of banks"),
        (attest(banks=2), "number of banks"),
        (attest(bank=0x04), "expected SHA256"),
        (attest(select=b"\x81\x00"), "three"),
        (attest(select=b"\x81\x00\x01\x00"), "three"),
        (attest(digest=bytes(33)), "33 bytes, expected at most 32"),
        (attest() + b"\0", "bytes follow"),
        (attest() + bytes(1024), "expected at most 1024"),
    ],
)
def test_what_is_no_quote_is_refused(data, says):
    """Another maker, type, bank or size is no quote of the SHA-256 registers."""
    with pytest.raises(WireError, match=says):
        Quote.read(data)


def test_an_elliptic_key_is_read():
    """The key, its attributes, and the Name that its TPM knows it by."""
    public = Public.read(ecc())
    assert public.key == POINT.public_key()
    assert public.name == b"\x00\x0b" + hashlib.sha256(ecc()[2:]).digest()
    assert (public.scheme, public.storage) == (Algorithm.ECDSA, False)
    assert public.has(Attribute.RESTRICTED, Attribute.SIGN)
    assert not public.has(Attribute.RESTRICTED, Attribute.DECRYPT)
    storage = Public.read(ecc(attributes=EK, symmetric=AES, scheme=NULL))
    assert (storage.scheme, storage.storage) == (Algorithm.NULL, True)


def test_leading_zeros_of_a_point_may_be_left_out():
    """A TPM that writes short coordinates is read, and its Name is over the bytes as they came."""
    for number in range(1, 2000):
        point = ec.derive_private_key(number, ec.SECP256R1()).public_key().public_numbers()
        if point.x < 1 << 248:
            break
    x, y = point.x.to_bytes(31, "big"), point.y.to_bytes(32, "big")
    short, full = Public.read(ecc(x=x, y=y)), Public.read(ecc(x=b"\0" + x, y=y))
    assert short.key == full.key
    assert short.name != full.name


@pytest.mark.parametrize("exponent", [0, 65537])
def test_an_rsa_key_is_read(exponent):
    """The usual exponent may be written as zero."""
    public = Public.read(rsa_public(exponent=exponent))
    assert isinstance(public.key, rsa.RSAPublicKey)
    assert public.key.public_numbers() == rsa.RSAPublicNumbers(65537, int.from_bytes(MODULUS, "big"))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (ecc(name_alg=0x04), "expected SHA256"),
        (ecc(curve=4), "another curve"),
        (ecc(kdf=b"\x00\x20\x00\x0b"), "expected NULL"),
        (ecc(symmetric=struct.pack(">HHH", 6, 256, 0x43)), "128 bits"),
        (ecc(symmetric=struct.pack(">HHH", 6, 128, 0x44)), "expected CFB"),
        (ecc(scheme=b"\x00\x1a\x00\x0b\x00\x00"), "expected NULL, ECDSA"),
        (ecc(scheme=b"\x00\x18\x00\x04"), "expected SHA256"),
        (ecc(x=Y, y=X), "a point of P-256"),
        (ecc(x=b"\0" + X), "33 bytes"),
        (rsa_public(bits=1024, modulus=b"\x80" + bytes(126) + b"\1"), "RSA key of 2048"),
        (rsa_public(modulus=bytes(1) + b"\x80" + bytes(253) + b"\1"), "RSA key of 2048"),
        (rsa_public(exponent=3), "exponent 65537"),
        (rsa_public(modulus=b"\x80" + bytes(255)), "RSA key of 2048"),
        (ecc() + b"\0", "bytes follow"),
        (sized(ecc()[2:] + b"\0"), "bytes follow"),
        (sized(b"\x00\x08" + ecc()[4:]), "expected ECC, RSA"),
        (b"\xff\xff" + bytes(1000), "expected at most 1024"),
    ],
)
def test_what_is_no_key_for_a_tpm_here_is_refused(data, says):
    """Other algorithms, sizes and encodings than the few that are needed have no reading."""
    with pytest.raises(WireError, match=says):
        Public.read(data)


def test_a_signature_is_read():
    """Its algorithm and its numbers."""
    assert Signature.read(SIGNATURE) == Signature(Algorithm.ECDSA, (b"r" * 32, b"s" * 32))
    assert Signature.read(struct.pack(">HHH256s", 0x16, 0x0B, 256, b"x")).algorithm == Algorithm.RSAPSS


def test_a_short_signature_is_padded_at_the_host_and_refused_elsewhere():
    """Leading zeros that a TPM left out are put back before it is sent: there is one form on the wire."""
    short = struct.pack(">HHH31sH32s", 0x18, 0x0B, 31, b"r" * 31, 32, b"s" * 32)
    with pytest.raises(WireError, match="32 bytes"):
        Signature.read(short)
    assert Signature.read(Signature.padded(short)).parts == (b"\0" + b"r" * 31, b"s" * 32)
    assert Signature.padded(SIGNATURE) == SIGNATURE


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\x00\x10" + SIGNATURE[2:], "expected ECDSA, RSASSA, RSAPSS"),
        (b"\x00\x05\x00\x0b" + sized(bytes(32)), "expected ECDSA, RSASSA, RSAPSS"),
        (SIGNATURE[:2] + b"\x00\x04" + SIGNATURE[4:], "expected SHA256"),
        (SIGNATURE + b"\0", "bytes follow"),
        (struct.pack(">HHH", 0x14, 0x0B, 513) + bytes(513), "513 bytes"),
    ],
)
def test_what_is_no_signature_is_refused(data, says):
    """No null signature, no HMAC, no other hash, and nothing after it."""
    with pytest.raises(WireError, match=says):
        Signature.read(data)


@pytest.mark.parametrize(
    ("read", "data"),
    [(Quote.read, attest()), (Public.read, ecc()), (Public.read, rsa_public()), (Signature.read, SIGNATURE)],
)
def test_D7_each_truncated_length_is_refused(read, data):
    """A structure that is cut anywhere is a WireError, and the whole one is read."""
    for length in range(len(data)):
        with pytest.raises(WireError, match="cut short"):
            read(data[:length])
    read(data)
