"""The vectors that stand by themselves: encodings, digests, frames, cookies, tokens' headers, the feed."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping
from typing import Any

from vector_fixed import NOW, fixed

from ztsession.bus.change import Change
from ztsession.bus.feed import FeedAnswer, FeedRequest
from ztsession.handshake.messages import CookieDemand, Hello
from ztsession.handshake.refusal import Refusal
from ztsession.hazmat import hmac_sha256
from ztsession.posture.eat_claims import eat_nonce
from ztsession.posture.statement import PostureStatement
from ztsession.posture.tpm import qualifying_data
from ztsession.risk.levels import Mode
from ztsession.wire import canonical
from ztsession.wire.digest import digest
from ztsession.wire.framing import frame
from ztsession.wire.signature import Signer

Vector = dict[str, Any]
_HEADER = struct.Struct("<BBHIQQQ")

# ---- Canonical msgpack

ACCEPTED: tuple[Any, ...] = (
    None,
    False,
    True,
    *(0, 1, 127, 128, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1),
    *(-1, -32, -33, -128, -129, -32768, -32769, -(2**31), -(2**31) - 1, -(2**63)),
    *("", "a", "a" * 31, "a" * 32, "a" * 255, "a" * 256, "ä€😀", "a\0b"),
    *(b"", b"\0", b"\xff" * 255, b"\xff" * 256),
    [],
    [None] * 15,
    [None] * 16,
    {},
    {"": 0},
    {"a": 1, "aa": 2, "b": 3, "ä": 4, "€": 5},
    {str(n).zfill(2): n for n in range(16)},
    {"v": 1, "kind": "x", "list": [[], [{}], b"\x00\x01"]},
    [[[[[[[[]]]]]]]],
)

REFUSED: tuple[tuple[str, str], ...] = (
    ("nothing at all", ""),
    ("bytes follow", "c0c0"),
    ("cut short: text", "a261"),
    ("cut short: list", "92c0"),
    ("cut short: map", "81a161"),
    ("0 in two bytes", "cc00"),
    ("127 in two bytes", "cc7f"),
    ("255 in three bytes", "cd00ff"),
    ("65535 in five bytes", "ce0000ffff"),
    ("2^32 - 1 in nine bytes", "cf00000000ffffffff"),
    ("1 as a signed integer", "d001"),
    ("128 as a signed integer", "d10080"),
    ("-1 in two bytes", "d0ff"),
    ("-128 in three bytes", "d1ff80"),
    ("-32768 in five bytes", "d2ffff8000"),
    ("text of 1 in the form for 32", "d90161"),
    ("text of 1 in the form for 256", "da000161"),
    ("binary of 1 in the form for 256", "c5000100"),
    ("binary of 1 in the form for 65536", "c60000000100"),
    ("list of 1 in the form for 16", "dc0001c0"),
    ("map of 1 in the form for 16", "de0001a161c0"),
    ("text that is not UTF-8", "a1ff"),
    ("text with an overlong form", "a2c080"),
    ("text with a surrogate", "a3eda080"),
    ("keys out of order", "82a16201a16101"),
    ("keys in order of their length", "83a16101a16203a2616102"),
    ("a key twice", "82a16101a16101"),
    ("a key that is a number", "810101"),
    ("a key that is binary", "81c4016101"),
    ("a key that is nil", "81c001"),
    ("a float of 32 bits", "ca3f800000"),
    ("a float of 64 bits", "cb3ff0000000000000"),
    ("an extension", "d40100"),
    ("a timestamp", "d6ff00000000"),
    ("the byte that is no type", "c1"),
    ("nine lists deep", "9191919191919191" + "90"),
    ("nine maps deep", "81a16b" * 8 + "80"),
    ("a list that claims 2^32 - 1 items", "ddffffffff"),
    ("a map that claims 2^32 - 1 entries", "dfffffffff"),
    ("binary that claims 2^32 - 1 bytes", "c6ffffffff"),
)


def canonical_cases() -> Vector:
    """Values with their one encoding, and bytes that are the encoding of nothing."""
    return {
        "accepted": [
            {"value": tagged(value), "encoded": canonical.encode(value).hex()} for value in ACCEPTED
        ],
        "refused": [{"why": why, "encoded": encoded} for why, encoded in REFUSED],
    }


def tagged(value: Any) -> Any:
    """A value in JSON that keeps text, binary and big numbers apart."""
    if isinstance(value, dict):
        return {"map": [[key, tagged(item)] for key, item in value.items()]}
    if isinstance(value, list):
        return {"list": [tagged(item) for item in value]}
    if isinstance(value, bytes):
        return {"binary": value.hex()}
    if isinstance(value, str):
        return {"text": value}
    return value if value is None or isinstance(value, bool) else {"integer": str(value)}


# ---- Digests


def digests() -> list[Vector]:
    """Labelled digests: the lengths count, so no two lists of parts are one."""
    cases: list[tuple[str, list[bytes]]] = [
        ("x", []),
        ("x", [b""]),
        ("x", [b"", b""]),
        ("x", [b"ab"]),
        ("x", [b"a", b"b"]),
        ("xa", [b"b"]),
        ("binding identity", [fixed("h"), fixed("key")]),
    ]
    return [
        {"label": label, "parts": [part.hex() for part in parts], "digest": digest(label, *parts).hex()}
        for label, parts in cases
    ]


def signed_digests(bound: bytes) -> Vector:
    """What evidence of the other kinds is made over, for one binding."""
    leaf, token, nonce = b"a certificate in DER", "header.claims.signature", fixed("posture nonce")
    statement = PostureStatement("host-1", NOW, nonce, {}).to_bytes()
    events = [[4, fixed("event 1")], [7, fixed("event 2")]]
    return {
        "binding": bound.hex(),
        "x509_leaf": leaf.hex(),
        "x509": digest("x509 identity", bound, leaf).hex(),
        "oidc_token": token,
        "oidc": digest("oidc identity", bound, hashlib.sha256(token.encode()).digest()).hex(),
        "posture_nonce": nonce.hex(),
        "eat": eat_nonce(bound, nonce).hex(),
        "tpm_statement": statement.hex(),
        "tpm": qualifying_data(bound, nonce, statement).hex(),
        "tpm_events": [[pcr, event.hex()] for pcr, event in events],
        "tpm_event_log": digest("posture event log", canonical.encode(events)).hex(),
    }


# ---- Before the channel


def frames() -> list[Vector]:
    """Messages on a stream socket."""
    return [{"message": body.hex(), "frame": frame(body).hex()} for body in (b"", b"\x80", bytes(300))]


def cookie() -> Vector:
    """A demand, the hello that answers it, and a refusal. The cookie itself is opaque."""
    given = (1).to_bytes(8, "big") + fixed("cookie", 24)
    return {
        "cookie": given.hex(),
        "demand": CookieDemand(given).to_bytes().hex(),
        "hello": Hello(["orders.*", "md.read"], fixed("old session", 16), given).to_bytes().hex(),
        "refusal": Refusal("busy").to_bytes().hex(),
        "reason": "busy",
    }


# ---- Tokens


def header_of(token: bytes) -> Vector:
    """A token's fields by name."""
    names = ("version", "flags", "operation", "epoch", "handle", "sequence", "issued_at")
    fields = dict(zip(names, _HEADER.unpack(token[:32]), strict=True))
    return {**fields, "handle": f"{fields['handle']:016x}"}


def reply(request: bytes, sequence: int, at_us: int, body: bytes, replying: Mapping[int, bytes]) -> bytes:
    """The point's reply to a call, by the text of the page; the core opens it in the tests."""
    _, _, operation, epoch, handle, _, _ = _HEADER.unpack(request[:32])
    header = _HEADER.pack(1, 1, operation, epoch, handle, sequence, at_us)
    return header + hmac_sha256(replying[epoch], header + body)[:16]


# ---- Feed


def all_changes() -> list[Change]:
    """One change of each kind."""
    at = {"sent_at": NOW * 1_000_000}
    return [
        Change.set_mode(fixed("session", 16), Mode.SUSPENDED, number=1, **at),
        Change.revoke(fixed("session", 16), number=2, **at),
        Change.retire(fixed("old session", 16), number=3, **at),
        Change.narrow(fixed("profile"), [2, 2, 0], number=4, **at),
        Change.tighten(fixed("profile"), [3, 2, 0], 1, session=fixed("session", 16), number=5, **at),
        Change.signing_key(fixed("next signing key"), number=6, **at),
        Change.retire_key(fixed("old segment key"), number=7, **at),
        Change.heartbeat(number=7, **at),
    ]


def changes() -> list[Vector]:
    """Each kind of change, encoded."""
    return [
        {
            "number": change.number,
            "what": change.what,
            "session": change.session.hex(),
            "mode": change.mode,
            "profile": change.profile.hex(),
            "allowed": change.allowed,
            "sent_at": change.sent_at,
            "key": change.key.hex(),
            "step_up": change.step_up,
            "change": change.to_bytes().hex(),
        }
        for change in all_changes()
    ]


def feed(signer: Signer) -> Vector:
    """A question, and the answer to it."""
    request = FeedRequest("orders", fixed("feed nonce"), 1, 1500)
    told = [change.to_bytes() for change in all_changes()[1:7]]
    answer = FeedAnswer("orders", request.nonce, 1, told, complete=True)
    return {
        "segment": "orders",
        "nonce": request.nonce.hex(),
        "after": 1,
        "wait_ms": 1500,
        "request": request.to_bytes().hex(),
        "body": answer.to_bytes().hex(),
        "answer": answer.sign(signer).hex(),
    }
