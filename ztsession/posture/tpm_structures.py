"""The structures that a TPM writes, read to the last byte (TPM 2.0 Library, Part 2).

They arrive from strangers, and most of them are signed only as a whole, so a lenient reading would let one
signature stand for two meanings. Every size is bounded before it is believed, every union is read for the few
algorithms that are taken here (SHA-256, EC P-256, RSA, AES-128-CFB) and no other, and nothing may follow.
Whatever differs is a WireError.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import IntEnum, IntFlag

from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePublicKey,
    EllipticCurvePublicNumbers,
)
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ztsession.errors import WireError

__all__ = ["PCRS", "STRUCTURE_MAX_BYTES", "Algorithm", "Attribute", "Public", "Quote", "Signature"]

#: No structure that is read here is longer.
STRUCTURE_MAX_BYTES = 1024
#: A PC client's TPM has this many registers in a bank.
PCRS = 24

_GENERATED = 0xFF544347
_ATTEST_QUOTE = 0x8018
_P256 = 0x0003
_P256_BYTES = 32
_RSA_BITS = (2048, 3072, 4096)
_RSA_EXPONENT = 65537
_DATA_MAX_BYTES = 66


class Algorithm(IntEnum):
    """The algorithm identifiers that are taken here (Part 2, 6.3)."""

    RSA = 0x0001
    AES = 0x0006
    SHA256 = 0x000B
    NULL = 0x0010
    RSASSA = 0x0014
    RSAPSS = 0x0016
    ECDSA = 0x0018
    ECC = 0x0023
    CFB = 0x0043


class Attribute(IntFlag):
    """What a TPM lets be done with a key (Part 2, 8.3)."""

    FIXED_TPM = 1 << 1
    FIXED_PARENT = 1 << 4
    SENSITIVE_DATA_ORIGIN = 1 << 5
    RESTRICTED = 1 << 16
    DECRYPT = 1 << 17
    SIGN = 1 << 18


@dataclass(frozen=True)
class Quote:
    """A TPMS_ATTEST of the type quote: what was asked with, which SHA-256 registers, and their digest."""

    extra_data: bytes
    pcrs: tuple[int, ...]
    pcr_digest: bytes

    @classmethod
    def read(cls, data: bytes) -> Quote:
        """Read a TPMS_ATTEST (Part 2, 10.12.12)."""
        source = _Reader(data, "attest")
        source.expect(4, _GENERATED, "was not made by a TPM: another magic")
        source.expect(2, _ATTEST_QUOTE, "is no quote: another type of attestation")
        source.sized(_DATA_MAX_BYTES)  # the signer's qualified name: the key itself is known
        extra_data = source.sized(_DATA_MAX_BYTES)
        source.octets(8 + 4 + 4 + 1 + 8)  # clock, resets, restarts, safe, firmware version
        pcrs = _read_selection(source)
        pcr_digest = source.sized(hashlib.sha256().digest_size)
        source.end()
        return cls(extra_data, pcrs, pcr_digest)


@dataclass(frozen=True)
class Signature:
    """A TPMT_SIGNATURE with SHA-256: ``parts`` are r and s (32 bytes each), or the one number of RSA."""

    algorithm: Algorithm
    parts: tuple[bytes, ...]

    @classmethod
    def read(cls, data: bytes) -> Signature:
        """Read a TPMT_SIGNATURE (Part 2, 11.3.4)."""
        signature = cls._read(data)
        if signature.algorithm == Algorithm.ECDSA and any(len(p) != _P256_BYTES for p in signature.parts):
            raise WireError("signature: expected two numbers of 32 bytes")
        return signature

    @classmethod
    def padded(cls, data: bytes) -> bytes:
        """Return a TPMT_SIGNATURE in the form that :meth:`read` takes: some TPMs leave out leading zeros."""
        signature = cls._read(data)
        size = _P256_BYTES if signature.algorithm == Algorithm.ECDSA else 0
        parts = [part.rjust(size, b"\0") for part in signature.parts]
        return data[:4] + b"".join(len(part).to_bytes(2, "big") + part for part in parts)

    @classmethod
    def _read(cls, data: bytes) -> Signature:
        source = _Reader(data, "signature")
        algorithm = source.algorithm(Algorithm.ECDSA, Algorithm.RSASSA, Algorithm.RSAPSS)
        source.algorithm(Algorithm.SHA256)
        if algorithm == Algorithm.ECDSA:
            parts: tuple[bytes, ...] = (source.sized(_P256_BYTES), source.sized(_P256_BYTES))
        else:
            parts = (source.sized(max(_RSA_BITS) // 8),)
        source.end()
        return cls(algorithm, parts)


@dataclass(frozen=True)
class Public:
    """A TPM2B_PUBLIC of an attestation or endorsement key.

    ``encoded``: the TPMT_PUBLIC inside, as it came. ``storage``: it protects others by AES-128-CFB.
    ``scheme``: what it signs by, NULL if left open.
    """

    encoded: bytes
    attributes: int
    storage: bool
    scheme: Algorithm
    key: EllipticCurvePublicKey | RSAPublicKey

    @classmethod
    def read(cls, data: bytes) -> Public:
        """Read a TPM2B_PUBLIC (Part 2, 12.2.5)."""
        outer = _Reader(data, "public")
        encoded = outer.sized(STRUCTURE_MAX_BYTES)
        outer.end()
        source = _Reader(encoded, "public")
        kind = source.algorithm(Algorithm.ECC, Algorithm.RSA)
        source.algorithm(Algorithm.SHA256)
        attributes = source.number(4)
        source.sized(_DATA_MAX_BYTES)  # the policy, which is part of the name
        storage = _read_symmetric(source)
        scheme = _read_scheme(source)
        key = _read_point(source) if kind == Algorithm.ECC else _read_modulus(source)
        source.end()
        return cls(encoded, attributes, storage, scheme, key)

    @property
    def name(self) -> bytes:
        """The Name by which a TPM knows the object: 34 bytes (Part 1, 16)."""
        return Algorithm.SHA256.to_bytes(2, "big") + hashlib.sha256(self.encoded).digest()

    @property
    def der(self) -> bytes:
        """The key as SubjectPublicKeyInfo."""
        return self.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    @property
    def pem(self) -> str:
        """The key as PEM text."""
        return self.key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")

    def has(self, *attributes: Attribute) -> bool:
        """Say whether the key has all of these attributes."""
        return all(self.attributes & attribute for attribute in attributes)


def _read_selection(source: _Reader) -> tuple[int, ...]:
    source.expect(4, 1, "selects from another number of banks than one")
    source.algorithm(Algorithm.SHA256)
    source.expect(1, PCRS // 8, "selects by another number of bytes than three")
    bits = int.from_bytes(source.octets(PCRS // 8), "little")
    return tuple(index for index in range(PCRS) if bits >> index & 1)


def _read_symmetric(source: _Reader) -> bool:
    if source.algorithm(Algorithm.NULL, Algorithm.AES) == Algorithm.NULL:
        return False
    source.expect(2, 128, "protects by AES of another size than 128 bits")
    source.algorithm(Algorithm.CFB)
    return True


def _read_scheme(source: _Reader) -> Algorithm:
    scheme = source.algorithm(Algorithm.NULL, Algorithm.ECDSA, Algorithm.RSASSA, Algorithm.RSAPSS)
    if scheme != Algorithm.NULL:
        source.algorithm(Algorithm.SHA256)
    return scheme


def _read_point(source: _Reader) -> EllipticCurvePublicKey:
    source.expect(2, _P256, "is on another curve than P-256")
    source.algorithm(Algorithm.NULL)  # no key derivation
    x, y = (int.from_bytes(source.sized(_P256_BYTES), "big") for _ in range(2))
    try:
        return EllipticCurvePublicNumbers(x, y, SECP256R1()).public_key()
    except ValueError:
        raise WireError("public: expected a point of P-256") from None


def _read_modulus(source: _Reader) -> RSAPublicKey:
    bits, exponent = source.number(2), source.number(4)
    modulus = int.from_bytes(source.sized(max(_RSA_BITS) // 8), "big")
    sound = bits in _RSA_BITS and modulus.bit_length() == bits and modulus % 2 == 1
    # 0 stands for the usual exponent (Part 2, 12.2.3.5).
    if not sound or exponent not in (0, _RSA_EXPONENT):
        raise WireError("public: expected an RSA key of 2048, 3072 or 4096 bits with the exponent 65537")
    return RSAPublicNumbers(_RSA_EXPONENT, modulus).public_key()


class _Reader:
    """Big-endian fields one after the other, and never past the end."""

    def __init__(self, data: bytes, what: str) -> None:
        if len(data) > STRUCTURE_MAX_BYTES:
            raise WireError(f"{what}: {len(data)} bytes, expected at most {STRUCTURE_MAX_BYTES}")
        self._data, self._what, self._at = data, what, 0

    def octets(self, size_bytes: int) -> bytes:
        """Return that many bytes."""
        taken = self._data[self._at : self._at + size_bytes]
        if len(taken) != size_bytes:
            raise WireError(f"{self._what}: is cut short")
        self._at += size_bytes
        return taken

    def number(self, size_bytes: int) -> int:
        """Return an unsigned number of that many bytes."""
        return int.from_bytes(self.octets(size_bytes), "big")

    def sized(self, max_bytes: int) -> bytes:
        """Return a TPM2B: two bytes of length, and what they count."""
        size = self.number(2)
        if size > max_bytes:
            raise WireError(f"{self._what}: a field of {size} bytes, expected at most {max_bytes}")
        return self.octets(size)

    def algorithm(self, *accepted: Algorithm) -> Algorithm:
        """Return the algorithm, which is one of these."""
        found = self.number(2)
        for algorithm in accepted:
            if found == algorithm:
                return algorithm
        raise WireError(
            f"{self._what}: algorithm {found:#06x}, expected {', '.join(a.name for a in accepted)}"
        )

    def expect(self, size_bytes: int, value: int, otherwise: str) -> None:
        """Read a number that can only be this one."""
        if self.number(size_bytes) != value:
            raise WireError(f"{self._what}: {otherwise}")

    def end(self) -> None:
        """Nothing may follow."""
        if self._at != len(self._data):
            raise WireError(f"{self._what}: bytes follow")
