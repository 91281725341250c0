"""The payloads of the handshake, in the order in which they are said.

Hello travels in the clear and is anybody's word. Offer is encrypted to whoever sent it. Proof is the
first thing that is said by somebody known. Outcome goes through the finished channel, and so does what
continues it: a Supplement of more evidence, answered by another Outcome. A Renewal begins a new channel in
one round trip. No secret is in any of them: both sides derive the session's keys and never send one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from ztsession.errors import WireError
from ztsession.wire.schema import Integer, ListOf, Message, Octets, OneOf, Scope, Text

__all__ = [
    "COOKIE_BYTES_MAX",
    "MAX_SCOPES",
    "CookieDemand",
    "Hello",
    "Offer",
    "Outcome",
    "Proof",
    "Renewal",
    "RenewalAnswer",
    "RenewalRequest",
    "Supplement",
    "demanded_cookie",
]

MAX_SCOPES = 64
COOKIE_BYTES_MAX = 64
SESSION_ID_BYTES = 16
_WORD = Text(32, min_bytes=1)


@dataclass(frozen=True)
class Hello(Message, kind="hello", max_bytes=16384):
    """Message 1, client to Authority: which operations are wanted, and which session this replaces."""

    scopes: Annotated[list[str], ListOf(Scope(), MAX_SCOPES, min_items=1)]
    supersedes: Annotated[bytes, Octets.exactly(SESSION_ID_BYTES, or_empty=True)] = b""
    cookie: Annotated[bytes, Octets(COOKIE_BYTES_MAX)] = b""


@dataclass(frozen=True)
class CookieDemand(Message, kind="cookie-demand", max_bytes=256):
    """Instead of message 2, in the clear, from an Authority under load: say Hello again with this cookie."""

    cookie: Annotated[bytes, Octets(COOKIE_BYTES_MAX, min_bytes=16)]


@dataclass(frozen=True)
class Offer(Message, kind="offer", max_bytes=4096):
    """Message 2, Authority to client: who it is, which evidence it wants, and a nonce for the posture."""

    certificate: Annotated[bytes, Octets(2048, min_bytes=1)]
    required: Annotated[list[str], ListOf(_WORD, 8)]
    posture_nonce: Annotated[bytes, Octets.exactly(32)]


@dataclass(frozen=True)
class Proof(Message, kind="proof", max_bytes=61440):
    """Message 3, client to Authority: evidence, each bound to this handshake; empty where there is none."""

    identity: Annotated[bytes, Octets(24576)] = b""
    posture: Annotated[bytes, Octets(24576)] = b""
    mfa: Annotated[bytes, Octets(8192)] = b""


#: So that an Outcome also fits the answer to a renewal, once it is sealed (16 bytes more).
OUTCOME_MAX_BYTES = 59984


@dataclass(frozen=True)
class Outcome(Message, kind="outcome", max_bytes=OUTCOME_MAX_BYTES):
    """Message 4, through the channel: what was decided.

    ``reason`` is one of the coarse words of the errors. ``missing`` names what would help, "posture" or
    "mfa", and ``factors`` by which second factors. ``nonce`` is what evidence that is shown next must be made
    for; it is empty when nothing can follow. ``session`` is empty unless granted. ``lifetime_s`` counts from
    the moment of the decision.
    """

    status: Annotated[str, OneOf(("granted", "refused", "step-up"))]
    reason: Annotated[str, Text(64)] = ""
    session: Annotated[bytes, Octets.exactly(SESSION_ID_BYTES, or_empty=True)] = b""
    tickets: Annotated[list[bytes], ListOf(Octets(16384, min_bytes=1), 64)] = field(default_factory=list)
    grants: Annotated[list[bytes], ListOf(Octets(16384, min_bytes=1), 64)] = field(default_factory=list)
    assurance: Annotated[int, Integer(0, 3)] = 0
    lifetime_s: Annotated[int, Integer(0, 7 * 86400)] = 0
    missing: Annotated[list[str], ListOf(_WORD, 8)] = field(default_factory=list)
    factors: Annotated[list[str], ListOf(_WORD, 8)] = field(default_factory=list)
    nonce: Annotated[bytes, Octets.exactly(32, or_empty=True)] = b""


@dataclass(frozen=True)
class Supplement(Message, kind="supplement", max_bytes=40960):
    """Through the channel, client to Authority: more evidence, each for the last Outcome's nonce.

    ``scopes`` is empty to ask for the same as before.
    """

    scopes: Annotated[list[str], ListOf(Scope(), MAX_SCOPES)] = field(default_factory=list)
    posture: Annotated[bytes, Octets(24576)] = b""
    mfa: Annotated[bytes, Octets(8192)] = b""


@dataclass(frozen=True)
class RenewalRequest(Message, kind="renewal-request", max_bytes=49152):
    """The first of two messages that renew a session: a Noise IKhfs message, and what is needed to read it.

    ``key_id`` names the Authority's static key that it was made for.
    """

    key_id: Annotated[bytes, Octets.exactly(8)]
    noise: Annotated[bytes, Octets(40960, min_bytes=1)]
    cookie: Annotated[bytes, Octets(COOKIE_BYTES_MAX)] = b""


@dataclass(frozen=True)
class RenewalAnswer(Message, kind="renewal-answer"):
    """The second: the Noise message that answers, and an Outcome, the first through the new channel."""

    noise: Annotated[bytes, Octets(4096, min_bytes=1)]
    outcome: Annotated[bytes, Octets(OUTCOME_MAX_BYTES + 16, min_bytes=1)]


@dataclass(frozen=True)
class Renewal(Message, kind="renewal", max_bytes=32768):
    """Inside of it: the session to go on with, and posture evidence for that session's last nonce.

    ``scopes`` is empty to ask for the same as before.
    """

    session: Annotated[bytes, Octets.exactly(SESSION_ID_BYTES)]
    scopes: Annotated[list[str], ListOf(Scope(), MAX_SCOPES)] = field(default_factory=list)
    posture: Annotated[bytes, Octets(24576)] = b""


def demanded_cookie(message: bytes) -> bytes | None:
    """Return the cookie if ``message`` is a :class:`CookieDemand`, None if it must be a message 2."""
    # A message 2 holds a KEM ciphertext and is far longer.
    if len(message) > CookieDemand.max_bytes:
        return None
    try:
        return CookieDemand.from_bytes(message).cookie
    except WireError:
        return None
