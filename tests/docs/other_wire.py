"""Another client's messages, written from docs/protocol.md alone: canonical msgpack, and the fields of each.

It checks what it reads to the letter, since a reader that lets more through than the page says would hide
that the page is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgpack
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from other_client import labelled_digest


class MalformedError(Exception):
    """What was read is not what the page allows."""


# ---- Canonical msgpack


def encode(value: Any) -> bytes:
    """The one encoding of a value; MalformedError if it has none."""
    try:
        return bytes(msgpack.packb(ordered(value, 8), use_bin_type=True))
    except (ValueError, OverflowError) as error:
        raise MalformedError(str(error)) from None


def decode(data: bytes) -> Any:
    """The value that has exactly this encoding; MalformedError if there is none."""
    try:
        value = msgpack.unpackb(data, raw=False, strict_map_key=True, ext_hook=no_extension)
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise MalformedError(f"no msgpack: {type(error).__name__}") from None
    if encode(value) != data:
        raise MalformedError("not in the one form")
    return value


def ordered(value: Any, depth: int) -> Any:
    """The value with its maps in order; MalformedError for types that do not exist here."""
    if isinstance(value, dict | list) and not depth:
        raise MalformedError("nested too deep")
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise MalformedError("a key is no text")
        keys = sorted(value, key=lambda key: key.encode())
        return {key: ordered(value[key], depth - 1) for key in keys}
    if isinstance(value, list):
        return [ordered(item, depth - 1) for item in value]
    if value is None or isinstance(value, bool | int | str | bytes):
        return value
    raise MalformedError(f"a {type(value).__name__} does not exist here")


def no_extension(code: int, data: bytes) -> Any:
    """There are none."""
    raise ValueError("an extension type")


# ---- Messages

Check = Callable[[Any], bool]


def octets(low: int, high: int, *, or_empty: bool = False) -> Check:
    """Binary of so many bytes."""
    return lambda value: isinstance(value, bytes) and (low <= len(value) <= high or (or_empty and not value))


def text(low: int, high: int) -> Check:
    """Text of so many bytes."""
    return lambda value: isinstance(value, str) and low <= len(value.encode()) <= high


def integer(low: int, high: int) -> Check:
    """An integer within bounds; a boolean is none."""
    return lambda value: type(value) is int and low <= value <= high


def listed(low: int, high: int, item: Check) -> Check:
    """A list of so many items."""
    return lambda value: isinstance(value, list) and low <= len(value) <= high and all(map(item, value))


def name(value: Any) -> bool:
    """A name."""
    return isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9._:/@-]{1,128}", value) is not None


def one_of(*words: str) -> Check:
    """One of these words."""
    return lambda value: isinstance(value, str) and value in words


def operations(value: Any) -> bool:
    """A grant's operations."""
    bounds = (integer(0, 63), integer(1000, 60_000_000), integer(0, 2**32 - 1), integer(0, 1))
    return (
        isinstance(value, dict)
        and len(value) <= 64
        and all(text(3, 65)(key) for key in value)
        and all(isinstance(row, list) and len(row) == 4 for row in value.values())
        and all(check(item) for row in value.values() for check, item in zip(bounds, row, strict=True))
    )


U63, U64 = integer(0, 2**63 - 1), integer(0, 2**64 - 1)
WORDS, SEGMENT, BITMAPS = listed(0, 8, text(1, 32)), text(1, 32), listed(3, 3, U64)
CHANGES = ("mode", "revoke", "retire", "narrow", "tighten", "signing-key", "retire-key", "heartbeat")

#: The longest encoding and the fields of every message that a client or an enforcement point reads.
READ: dict[str, tuple[int, dict[str, Check]]] = {
    "signed": (32768, {"body": octets(0, 32000), "signature": octets(64, 64)}),
    "cookie-demand": (256, {"cookie": octets(16, 64)}),
    "refusal": (128, {"reason": text(1, 64)}),
    "offer": (
        4096,
        {"certificate": octets(1, 2048), "required": WORDS, "posture_nonce": octets(32, 32)},
    ),
    "authority-certificate": (
        512,
        {"name": name, "static_public": octets(32, 32), "not_before": U63, "not_after": U63},
    ),
    "outcome": (
        65519,
        {
            "status": one_of("granted", "refused", "step-up"),
            "reason": text(0, 64),
            "session": octets(16, 16, or_empty=True),
            "tickets": listed(0, 64, octets(1, 16384)),
            "grants": listed(0, 64, octets(1, 16384)),
            "assurance": integer(0, 3),
            "lifetime_s": integer(0, 604800),
            "missing": WORDS,
            "factors": WORDS,
            "nonce": octets(32, 32, or_empty=True),
        },
    ),
    "grant": (
        16384,
        {
            "session": octets(16, 16),
            "subject": name,
            "device": name,
            "segment": SEGMENT,
            "environment": SEGMENT,
            "catalog": octets(32, 32),
            "policy": octets(32, 32),
            "version": integer(1, 2**63 - 1),
            "posture": octets(32, 32),
            "assurance": integer(1, 3),
            "operations": operations,
            "allowed": BITMAPS,
            "step_up": U64,
            "epoch_length_us": integer(1_000_000, 3_600_000_000),
            "lifetime_s": integer(1, 86400),
            "idle_s": integer(1, 86400),
            "until": U64,
            "lasting": BITMAPS,
            "issued_at": U64,
        },
    ),
    "renewal-answer": (65519, {"noise": octets(1, 4096), "outcome": octets(1, 60000)}),
    "installed": (
        256,
        {
            "handle": U64,
            "nonce": octets(32, 32),
            "now_us": U64,
            "epoch_length_us": U64,
            "mac": octets(32, 32),
        },
    ),
    "not-installed": (256, {"reason": text(1, 64)}),
    "feed-answer": (
        32768,
        {
            "segment": SEGMENT,
            "nonce": octets(32, 32),
            "after": U63,
            "changes": listed(0, 128, octets(1, 1024)),
            "complete": lambda value: isinstance(value, bool),
        },
    ),
    "change": (
        320,
        {
            "number": U63,
            "what": one_of(*CHANGES),
            "session": octets(16, 16, or_empty=True),
            "mode": integer(0, 3),
            "profile": octets(32, 32, or_empty=True),
            "allowed": BITMAPS,
            "sent_at": U64,
            "key": octets(32, 32, or_empty=True),
            "step_up": U64,
        },
    ),
    "ticket": (
        16384,
        {
            "segment": SEGMENT,
            "key_id": octets(8, 8),
            "not_after": U63,
            "sealed": octets(1, 16384),
            "signature": octets(64, 64),
        },
    ),
}


def message(kind: str, **fields: Any) -> bytes:
    """A message of this kind."""
    return encode({"v": 1, "kind": kind, **fields})


def read(kind: str, data: bytes) -> dict[str, Any]:
    """The fields of a message of this kind; MalformedError for anything else."""
    max_bytes, checks = READ[kind]
    if len(data) > max_bytes:
        raise MalformedError(f"{kind}: too long")
    value = decode(data)
    if not isinstance(value, dict) or (type(value.get("v")), value.get("v")) != (int, 1):
        raise MalformedError(f"{kind}: no message of version 1")
    if value.get("kind") != kind or value.keys() != {"v", "kind", *checks}:
        raise MalformedError(f"{kind}: another kind, or other fields")
    wrong = [field for field, check in checks.items() if not check(value[field])]
    if wrong:
        raise MalformedError(f"{kind}: {', '.join(wrong)}")
    return {field: value[field] for field in checks}


def is_kind(kind: str, data: bytes) -> bool:
    """Whether this is a message of this kind."""
    try:
        read(kind, data)
    except MalformedError:
        return False
    return True


# ---- Signatures


def sign(seed: bytes, message_: bytes) -> bytes:
    """An Ed25519 signature."""
    return Ed25519PrivateKey.from_private_bytes(seed).sign(message_)


def verified(key: bytes, message_: bytes, signature: bytes) -> bool:
    """Whether a key that was pinned, and so needs no check of its own, made this signature."""
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message_)
    except InvalidSignature:
        return False
    return True


def signed(seed: bytes, label: str, body: bytes, *context: bytes) -> bytes:
    """A ``signed`` message."""
    signature = sign(seed, labelled_digest(label, *context, body))
    return message("signed", body=body, signature=signature)


def signed_body(data: bytes, key: bytes, label: str, *context: bytes) -> bytes:
    """The body of a ``signed`` message; MalformedError unless the key signed it so."""
    fields = read("signed", data)
    if not verified(key, labelled_digest(label, *context, fields["body"]), fields["signature"]):
        raise MalformedError("the signature does not hold")
    return bytes(fields["body"])


# ---- Frames


def frame(message_: bytes) -> bytes:
    """A message as it stands on a stream socket."""
    return len(message_).to_bytes(4, "big") + message_
