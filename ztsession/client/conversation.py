"""The client's side of every conversation with an Authority, sans-I/O.

Each is a generator: it yields the message to send, is sent the answer, and returns a session. So there is one
protocol logic, and whoever drives it may block on a socket or await an event loop.

What the Authority asks for is shown to nobody else: no evidence is made before the certificate over the
peer's static key held against the pinned root.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from ztsession.client.held import Channelled, Held, Known
from ztsession.errors import EvidenceError, HandshakeError, StepUpRequired, WireError
from ztsession.handshake.binding import EvidenceKind, binding, continued
from ztsession.handshake.keys import DhKeyPair
from ztsession.handshake.messages import (
    Hello,
    Offer,
    Outcome,
    Proof,
    Renewal,
    RenewalAnswer,
    RenewalRequest,
    Supplement,
    demanded_cookie,
)
from ztsession.handshake.refusal import raise_if_refused
from ztsession.handshake.renewal import AwaitingRenewal, start_renewal, static_key_id
from ztsession.handshake.states import AwaitingOffer, Offered, start_initiator
from ztsession.identity import certificate
from ztsession.identity.protocol import IdentityProver
from ztsession.mfa.protocol import MfaProver
from ztsession.policy.grant import Grant
from ztsession.posture.protocol import PostureProver
from ztsession.tickets.secrets import continued_secret

__all__ = ["Conversation", "Subject", "handshake", "renew", "step_up"]

#: How often one conversation answers that what was shown did not do.
TRIES_MAX = 3

_T = TypeVar("_T")
#: Yields messages, is sent the answers, returns ``_T``.
Conversation = Generator[bytes, bytes, _T]


@dataclass(frozen=True)
class Subject:
    """Who a client is, and what it wants: the same from one conversation to the next."""

    identity: IdentityProver
    root: bytes
    scopes: tuple[str, ...]
    posture: PostureProver | None
    mfa: MfaProver | None

    @property
    def static_public(self) -> bytes:
        """The public half of the handshake key, 32 bytes."""
        return DhKeyPair(self.identity.static_private).public


def handshake(
    subject: Subject, *, supersedes: bytes = b"", channel_binding: bytes = b""
) -> Conversation[Held]:
    """Prove everything; ``supersedes`` is the session (16 bytes) that ends with it."""
    offered = yield from _offered(subject, supersedes, channel_binding)
    offer = Offer.from_bytes(offered.payload)
    said = certificate.verify(offer.certificate, subject.root, offered.remote_static, time.time())
    hash_ = offered.handshake_hash
    posture = (
        b""
        if subject.posture is None
        else subject.posture.prove(_bound(subject, "posture", hash_), offer.posture_nonce)
    )
    proof = Proof(identity=subject.identity.prove(_bound(subject, "identity", hash_)), posture=posture)
    message3, channel = offered.write(proof.to_bytes())
    known = Known(offered.remote_static, said.not_after)
    through = Channelled(channel, hash_, channel.session_secret, known)
    reply = yield message3
    raise_if_refused(reply)
    return (yield from _settled(subject, through, _opened(through, reply), subject.mfa, subject.posture))


def step_up(
    subject: Subject,
    held: Held,
    *,
    mfa: MfaProver | None = None,
    posture: PostureProver | None = None,
    scopes: Sequence[str] = (),
) -> Conversation[Held]:
    """Show more in the channel of a session: a second factor, fresh posture, or both."""
    wider = replace(subject, scopes=tuple(scopes) or subject.scopes)
    # Evidence answers what was known when it was asked for, so it is asked for now.
    asked = yield from _supplemented(held.through, Supplement())
    outcome = replace(asked, status="step-up", missing=_wanted(mfa, posture, asked.missing))
    # Posture that has become too old is shown again unasked.
    posture = posture or subject.posture
    return (yield from _settled(wider, held.through, outcome, mfa, posture, asked_scopes=list(scopes)))


def renew(
    subject: Subject, held: Held, *, scopes: Sequence[str] = (), channel_binding: bytes = b""
) -> Conversation[Held]:
    """Go on with a session in one round trip: fresh posture, fresh keys, the same absolute end."""
    known = held.through.known
    if not time.time() < known.authority_until:
        raise EvidenceError("the Authority's certificate has expired meanwhile: authenticate in full")
    bound = continued(held.through.handshake_hash, held.outcome.nonce)
    posture = (
        b""
        if subject.posture is None
        else subject.posture.prove(_bound(subject, "posture", bound), held.outcome.nonce)
    )
    payload = Renewal(held.outcome.session, list(scopes), posture).to_bytes()
    reply, awaiting = yield from _renewal(subject, known, payload, b"", channel_binding)
    cookie = demanded_cookie(reply)
    if cookie is not None:
        reply, awaiting = yield from _renewal(subject, known, payload, cookie, channel_binding)
    raise_if_refused(reply)
    answer = RenewalAnswer.from_bytes(reply)
    channel = awaiting.read(answer.noise)
    through = Channelled(channel, channel.handshake_hash, channel.session_secret, known)
    outcome = _opened(through, answer.outcome)
    if outcome.status != "granted":
        raise HandshakeError(f"the Authority did not renew the session: {outcome.reason}")
    return _held(through, outcome)


# ---- The first messages


def _offered(subject: Subject, supersedes: bytes, channel_binding: bytes) -> Conversation[Offered]:
    reply, awaiting = yield from _hello(subject, supersedes, b"", channel_binding)
    cookie = demanded_cookie(reply)
    if cookie is not None:
        reply, awaiting = yield from _hello(subject, supersedes, cookie, channel_binding)
    raise_if_refused(reply)
    return awaiting.read(reply)


def _hello(
    subject: Subject, supersedes: bytes, cookie: bytes, channel_binding: bytes
) -> Conversation[tuple[bytes, AwaitingOffer]]:
    hello = Hello(list(subject.scopes), supersedes, cookie)
    private = subject.identity.static_private
    message1, awaiting = start_initiator(private, hello.to_bytes(), channel_binding=channel_binding)
    reply = yield message1
    return reply, awaiting


def _renewal(
    subject: Subject, known: Known, payload: bytes, cookie: bytes, channel_binding: bytes
) -> Conversation[tuple[bytes, AwaitingRenewal]]:
    private = subject.identity.static_private
    noise, awaiting = start_renewal(private, known.authority_static, payload, channel_binding=channel_binding)
    reply = yield RenewalRequest(static_key_id(known.authority_static), noise, cookie).to_bytes()
    return reply, awaiting


# ---- In the channel


def _settled(
    subject: Subject,
    through: Channelled,
    outcome: Outcome,
    mfa: MfaProver | None,
    posture: PostureProver | None,
    *,
    asked_scopes: list[str] | None = None,
) -> Conversation[Held]:
    """Show what is missing until it is granted, or nothing more can be shown."""
    wanted, factors = list(outcome.missing), list(outcome.factors)
    for _ in range(TRIES_MAX):
        if outcome.status == "granted":
            break
        if outcome.status == "refused" and not outcome.nonce:
            raise HandshakeError(f"the Authority refused: {outcome.reason}")
        # A refusal says nothing of what was wrong: what was asked for is still wanted.
        wanted, factors = list(outcome.missing) or wanted, list(outcome.factors) or factors
        asked = replace(outcome, missing=wanted, factors=factors)
        supplement = _shown(subject, through, asked, mfa, posture)
        nonce = outcome.nonce
        outcome = yield from _supplemented(through, replace(supplement, scopes=asked_scopes or []))
        if outcome.status != "refused":
            through = replace(through, secret=continued_secret(through.secret, nonce))
    if outcome.status != "granted":
        raise HandshakeError(f"the Authority refused: {outcome.reason}")
    return _held(through, outcome)


def _shown(
    subject: Subject,
    through: Channelled,
    asked: Outcome,
    mfa: MfaProver | None,
    posture: PostureProver | None,
) -> Supplement:
    bound = continued(through.handshake_hash, asked.nonce)
    shown_posture = shown_mfa = b""
    if "posture" in asked.missing and posture is not None:
        shown_posture = posture.prove(_bound(subject, "posture", bound), asked.nonce)
    if "mfa" in asked.missing and mfa is not None:
        shown_mfa = mfa.prove(_bound(subject, "mfa", bound), asked.factors)
    shown = {"posture": shown_posture, "mfa": shown_mfa}
    lacking = [what for what in asked.missing if not shown.get(what)]
    if lacking or not asked.missing:
        raise StepUpRequired(_lacking(lacking, asked.factors))
    return Supplement(posture=shown_posture, mfa=shown_mfa)


def _lacking(lacking: Sequence[str], factors: Sequence[str]) -> str:
    ways = f" (second factors: {', '.join(factors) or 'none enrolled'})" if "mfa" in lacking else ""
    return f"the Authority wants more evidence: {', '.join(lacking) or 'none was given'}{ways}"


def _supplemented(through: Channelled, supplement: Supplement) -> Conversation[Outcome]:
    reply = yield through.channel.seal(supplement.to_bytes())
    try:
        raise_if_refused(reply)
    except HandshakeError as refusal:
        # In the clear: it was not read in the channel. Behind HTTP this is what long silence ends in.
        raise HandshakeError(f"{refusal}; if the channel is over there, renew the session first") from None
    return _opened(through, reply)


def _opened(through: Channelled, sealed: bytes) -> Outcome:
    return Outcome.from_bytes(through.channel.open(sealed))


def _held(through: Channelled, outcome: Outcome) -> Held:
    grants = [Grant.from_bytes(grant) for grant in outcome.grants]
    if len(grants) != len(outcome.tickets) or any(grant.session != outcome.session for grant in grants):
        raise WireError("outcome: expected one ticket for each grant of this session")
    return Held(through, outcome, {grant.segment: grant for grant in grants})


def _bound(subject: Subject, kind: EvidenceKind, handshake_hash: bytes) -> bytes:
    return binding(kind, handshake_hash, subject.static_public)


def _wanted(mfa: MfaProver | None, posture: PostureProver | None, asked: Sequence[str]) -> list[str]:
    given = (("posture", posture), ("mfa", mfa))
    return [what for what, prover in given if prover is not None or what in asked]
