"""EATs made with cbor2, joserfc and cryptography alone, so that no mistake of ours is on both sides."""

from __future__ import annotations

import base64
import json
from functools import cache
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from joserfc import jws
from joserfc.jwk import ECKey, OKPKey

from ztsession.wire import digest, encode

BINDING, NONCE = bytes(range(32)), bytes(range(32, 64))
NOW = 1_800_000_000.0
UEID = b"\x01" + bytes(range(16))
WORDS = ("enabled", "disabled", "disabled-since-boot", "disabled-permanently")
WORDS = (*WORDS, "disabled-fully-and-permanently")
LABELS = {"iss": 1, "sub": 2, "exp": 4, "nbf": 5, "iat": 6, "eat_nonce": 10, "ueid": 256, "oemid": 258}
LABELS |= {"hwmodel": 259, "oemboot": 262, "dbgstat": 263, "location": 264, "submods": 266, "swname": 270}
LABELS |= {"swversion": 271, "ztsession_measurements": -70101}


@cache
def p256(name: str) -> ec.EllipticCurvePrivateKey:
    """The EC key of a device; the same each time, so that a device can be made twice."""
    return ec.derive_private_key(int.from_bytes(digest(name)[:31], "big"), ec.SECP256R1())


@cache
def ed(name: str) -> ed25519.Ed25519PrivateKey:
    """The Ed25519 key of a device."""
    return ed25519.Ed25519PrivateKey.from_private_bytes(digest(name))


def pem(key: Any) -> str:
    """What the operator writes down of a private key."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def entry(name: str, key: Any, *more: str) -> str:
    """The device's table in devices.toml."""
    return "\n".join([f'[devices."{name}"]', f"eat_key = '''\n{pem(key)}'''", *more, ""])


def expected_nonce(binding: bytes = BINDING, nonce: bytes = NONCE) -> bytes:
    """Written out, as the protocol has it."""
    return digest("posture eat", binding, nonce)


def healthy(**changed: Any) -> dict[str, Any]:
    """Claims in the shape of a CWT; a claim that is changed to None is left out."""
    claims = {"eat_nonce": expected_nonce(), "iat": int(NOW), "ueid": UEID, "oemboot": True, "dbgstat": 2}
    return {name: value for name, value in {**claims, **changed}.items() if value is not None}


def sign(key: Any, message: bytes) -> bytes:
    """R and S, 64 bytes, as COSE and JOSE both want them."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(message)
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def sign1(key: Any, protected: bytes, payload: bytes, unprotected: Any = None) -> list[Any]:
    """The four parts of a COSE_Sign1 (RFC 9052, section 4.2)."""
    signature = sign(key, cbor2.dumps(["Signature1", protected, b"", payload]))
    return [protected, unprotected or {}, payload, signature]


def cose_alg(key: Any) -> int:
    return -8 if isinstance(key, ed25519.Ed25519PrivateKey) else -7


def cwt(key: Any, claims: Any, header: Any = None, unprotected: Any = None) -> bytes:
    """A tagged CWT; ``claims`` by name, or the bytes of the payload."""
    protected = cbor2.dumps({1: cose_alg(key)} if header is None else header)
    if not isinstance(claims, bytes):
        claims = cbor2.dumps({LABELS.get(name, name): value for name, value in claims.items()})
    return cbor2.dumps(cbor2.CBORTag(18, sign1(key, protected, claims, unprotected)))


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def json_claims(claims: dict[str, Any]) -> bytes:
    """The same claims in the shape of a JWT (RFC 9711, section 7.2)."""
    shaped = {name: b64(v) if isinstance(v, bytes) else v for name, v in claims.items()}
    if type(shaped.get("dbgstat")) is int and 0 <= shaped["dbgstat"] < len(WORDS):
        shaped["dbgstat"] = WORDS[shaped["dbgstat"]]
    return json.dumps(shaped).encode()


def jwt(key: Any, claims: Any, **header: Any) -> str:
    """A JWT by joserfc; ``claims`` by name, or the bytes of the payload."""
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    edwards = isinstance(key, ed25519.Ed25519PrivateKey)
    head = {"alg": "Ed25519" if edwards else "ES256", "typ": "eat+jwt", **header}
    signer = OKPKey.import_key(private) if edwards else ECKey.import_key(private)
    payload = claims if isinstance(claims, bytes) else json_claims(claims)
    return jws.serialize_compact(head, payload, signer, algorithms=[head["alg"]])


def raw_jwt(key: Any, head: bytes, payload: bytes) -> str:
    """A JWT of exactly these octets, well signed, whatever they say."""
    signed = f"{b64(head)}.{b64(payload)}"
    return f"{signed}.{b64(sign(key, signed.encode()))}"


def evidence(token: bytes | str, device: str = "host-1") -> bytes:
    """The message of the handshake, encoded without our classes."""
    kind = "posture.eat-cwt" if isinstance(token, bytes) else "posture.eat-jwt"
    return encode({"v": 1, "kind": kind, "device": device, "token": token})
