"""MakeCredential in software: a secret that only one TPM can read, and only if it also holds one certain key.

The secret is encrypted to an endorsement key, which never leaves its TPM, together with the Name of an
attestation key. TPM2_ActivateCredential gives the secret back only when an object with that very Name is
loaded in the same TPM; the Name is a digest over the key and its attributes. So whoever comes back with the
secret has shown that the attestation key lives in the TPM of the endorsement key.

TPM 2.0 Library, Part 1: Credential Protection; KDFa and KDFe; secret sharing in Annex B (RSA) and C (ECC).
The fixed initialisation vector is the TPM's: each key encrypts one message.
"""

from __future__ import annotations

import hashlib
import hmac
import os

from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.hashes import SHA256

from ztsession.posture.tpm_structures import Public

__all__ = ["SECRET_BYTES", "make_credential"]

#: As much as the Name's hash has is the most that a TPM takes.
SECRET_BYTES = 32

#: The head of the file that tpm2_activatecredential reads: a magic number, and version 1.
_TOOLS_HEAD = bytes.fromhex("badcc0de00000001")
_SEED_BYTES = 32


def make_credential(ek: Public, ak_name: bytes, secret: bytes) -> bytes:
    """Return the file for ``tpm2_activatecredential`` from which only the TPM of ``ek`` reads ``secret``.

    ``ek``: EC P-256 or RSA, that protects by AES-128-CFB. ``ak_name``: 34 bytes. ``secret``: 32 bytes.
    """
    seed, shared = _rsa_seed(ek.key) if isinstance(ek.key, RSAPublicKey) else _ecc_seed(ek.key)
    encryptor = Cipher(AES(_kdfa(seed, b"STORAGE", ak_name, 128)), CFB(bytes(16))).encryptor()
    identity = encryptor.update(_sized(secret)) + encryptor.finalize()
    integrity = hmac.digest(_kdfa(seed, b"INTEGRITY", b"", 256), identity + ak_name, "sha256")
    return _TOOLS_HEAD + _sized(_sized(integrity) + identity) + _sized(shared)


def _rsa_seed(ek: RSAPublicKey) -> tuple[bytes, bytes]:
    seed = os.urandom(_SEED_BYTES)
    oaep = padding.OAEP(padding.MGF1(SHA256()), SHA256(), label=b"IDENTITY\0")
    return seed, ek.encrypt(seed, oaep)


def _ecc_seed(ek: ec.EllipticCurvePublicKey) -> tuple[bytes, bytes]:
    ephemeral = ec.generate_private_key(ec.SECP256R1())
    mine, theirs = ephemeral.public_key().public_numbers(), ek.public_numbers()
    x, y = mine.x.to_bytes(32, "big"), mine.y.to_bytes(32, "big")
    agreed = ephemeral.exchange(ec.ECDH(), ek)
    return _kdfe(agreed, b"IDENTITY", x, theirs.x.to_bytes(32, "big")), _sized(x) + _sized(y)


def _kdfa(key: bytes, label: bytes, context: bytes, bits: int) -> bytes:
    # NIST SP 800-108 in counter mode; one block is all that is ever asked for.
    block = (1).to_bytes(4, "big") + label + b"\0" + context + bits.to_bytes(4, "big")
    return hmac.digest(key, block, "sha256")[: bits // 8]


def _kdfe(agreed: bytes, label: bytes, mine: bytes, theirs: bytes) -> bytes:
    # NIST SP 800-56A, one-step; again one block.
    return hashlib.sha256((1).to_bytes(4, "big") + agreed + label + b"\0" + mine + theirs).digest()


def _sized(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data
