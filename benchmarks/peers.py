"""What users would otherwise take, each on the same message of 64 bytes and in the same loop shape.

None of them checks what a session needs (replay, operation, mode, freshness of the decision); some check less
than a signature and an age. Each gets its best form: keys prepared beforehand, no options that cost and are
not needed. Where a peer makes tokens, each is made before the loop and read once.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.measure import Loop

__all__ = ["HMAC_DIGEST", "ITSDANGEROUS", "PYJWT", "peers"]

HMAC_DIGEST = "hmac.digest"
ITSDANGEROUS = "itsdangerous TimestampSigner.unsign"
PYJWT = "PyJWT HS256 decode with claims"

_KEY = os.urandom(32)
MESSAGE_BYTES = 64

#: What one peer does: (how a message becomes its token, how the token is checked).
Pair = tuple[Callable[[bytes], Any], Callable[[Any], object]]


def peers(calls: int) -> list[Loop]:
    """All peers; ``calls`` is for those that cost a microsecond, dearer ones take a share of it."""
    return [
        _loop(HMAC_DIGEST, calls, _hmac_digest()),
        _loop("hmac.new().digest()", calls, _hmac_new()),
        _loop("hmac, prepared key, .copy()", calls, _hmac_copy()),
        _loop("cryptography HMAC", calls, _cryptography_hmac()),
        _loop("hashlib.blake2b keyed", calls, _blake2b()),
        _loop(ITSDANGEROUS, calls // 4, _timestamp_signer()),
        _loop("itsdangerous URLSafeTimedSerializer.loads", calls // 8, _timed_serializer()),
        _loop("pyseto v4.local decode", calls // 12, _pyseto()),
        _loop("joserfc HS256 decode with claims", calls // 12, _joserfc()),
        _loop(PYJWT, calls // 16, _pyjwt()),
        _loop("PyNaCl Ed25519 verify", calls // 40, _pynacl()),
        _loop("cryptography Ed25519 verify", calls // 60, _cryptography_ed25519()),
    ]


def _loop(name: str, calls: int, pair: Pair) -> Loop:
    make, check = pair

    def prepare(count: int) -> list[Any]:
        joined = os.urandom(count * MESSAGE_BYTES)
        return [make(joined[i : i + MESSAGE_BYTES]) for i in range(0, len(joined), MESSAGE_BYTES)]

    def run(items: Sequence[Any]) -> None:
        for item in items:
            check(item)

    return Loop(name, max(calls, 20), prepare, run)


# ---- A MAC alone ---------------------------------------------------------------------------------


def _same(message: bytes) -> bytes:
    return message


def _hmac_digest() -> Pair:
    return _same, lambda message, key=_KEY, digest=hmac.digest: digest(key, message, "sha256")


def _hmac_new() -> Pair:
    return _same, lambda message, key=_KEY, new=hmac.new: new(key, message, "sha256").digest()


def _hmac_copy() -> Pair:
    prepared = hmac.new(_KEY, digestmod="sha256")

    def check(message: bytes) -> bytes:
        mac = prepared.copy()
        mac.update(message)
        return mac.digest()

    return _same, check


def _cryptography_hmac() -> Pair:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.hmac import HMAC

    algorithm = SHA256()

    def check(message: bytes) -> bytes:
        mac = HMAC(_KEY, algorithm)
        mac.update(message)
        return mac.finalize()

    return _same, check


def _blake2b() -> Pair:
    return _same, lambda message, key=_KEY, new=hashlib.blake2b: new(
        message, key=key, digest_size=16
    ).digest()


# ---- Signed tokens -------------------------------------------------------------------------------


def _timestamp_signer() -> Pair:
    from itsdangerous import TimestampSigner

    signer = TimestampSigner(_KEY)
    return signer.sign, lambda token: signer.unsign(token, max_age=60)


def _timed_serializer() -> Pair:
    from itsdangerous import URLSafeTimedSerializer

    serializer = URLSafeTimedSerializer(_KEY)
    return lambda message: serializer.dumps(_claims(message)), lambda token: serializer.loads(
        token, max_age=60
    )


def _pyjwt() -> Pair:
    import jwt

    def make(message: bytes) -> str:
        return jwt.encode(_claims(message), _KEY, algorithm="HS256")

    return make, lambda token: jwt.decode(token, _KEY, algorithms=["HS256"])


def _joserfc() -> Pair:
    from joserfc import jwt
    from joserfc.jwk import OctKey

    key, registry = OctKey.import_key(_KEY), jwt.JWTClaimsRegistry(exp={"essential": True})

    def check(token: str) -> object:
        found = jwt.decode(token, key, algorithms=["HS256"])
        registry.validate(found.claims)
        return found

    return lambda message: jwt.encode({"alg": "HS256"}, _claims(message), key), check


def _pyseto() -> Pair:
    import pyseto
    from pyseto import Key

    key = Key.new(version=4, purpose="local", key=_KEY)
    return lambda message: pyseto.encode(key, message), lambda token: pyseto.decode(key, token)


def _claims(message: bytes) -> dict[str, Any]:
    """The message as JSON can carry it, with what a token says of itself."""
    now = int(time.time())
    text = base64.b64encode(message).decode("ascii")
    return {"sub": "algo-1", "op": "orders.submit", "iat": now, "exp": now + 60, "msg": text}


# ---- Signatures ----------------------------------------------------------------------------------


def _pynacl() -> Pair:
    from nacl.signing import SigningKey

    signing = SigningKey(_KEY)
    verify = signing.verify_key.verify
    return lambda message: bytes(signing.sign(message)), verify


def _cryptography_ed25519() -> Pair:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = Ed25519PrivateKey.from_private_bytes(_KEY)
    verify = private.public_key().verify
    return lambda message: (private.sign(message), message), lambda signed: verify(*signed)
