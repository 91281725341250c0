"""The client's side of the handshake: four messages, and a session comes out."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ztsession.client.session import Session
from ztsession.client.transport import Transport
from ztsession.errors import HandshakeError, StepUpRequired, WireError
from ztsession.handshake.binding import binding
from ztsession.handshake.keys import DhKeyPair
from ztsession.handshake.messages import Hello, Offer, Outcome, Proof, demanded_cookie
from ztsession.handshake.refusal import raise_if_refused
from ztsession.handshake.states import AwaitingOffer, Offered, start_initiator
from ztsession.identity import certificate
from ztsession.identity.protocol import IdentityProver
from ztsession.policy.grant import Grant
from ztsession.posture.device import DevicePosture

__all__ = ["connect"]


def connect(
    transport: Transport,
    *,
    identity: IdentityProver,
    root: bytes,
    scopes: Sequence[str],
    posture: DevicePosture | None = None,
) -> Session:
    """Run the handshake with the Authority behind ``transport``.

    ``root``: the Authority's root key to trust, 32 bytes of Ed25519. ``scopes``: what is wanted,
    "orders.submit" or "orders.*". Raises HandshakeError when refused, EvidenceError when the Authority is not
    who it must be, StepUpRequired when more evidence is wanted, TransportError when the connection fails.
    """
    return _Connecting(identity, root, tuple(scopes), posture).run(transport, transport, b"")


class _Connecting:
    """What stays the same from a handshake to the next one, when a session re-authenticates."""

    def __init__(
        self, identity: IdentityProver, root: bytes, scopes: tuple[str, ...], posture: DevicePosture | None
    ) -> None:
        self._identity, self._root, self._scopes, self._posture = identity, root, scopes, posture

    def run(self, given: Transport | None, usual: Transport, supersedes: bytes) -> Session:
        transport = given or usual
        offered = self._offered(transport, supersedes)
        offer = Offer.from_bytes(offered.payload)
        certificate.verify(offer.certificate, self._root, offered.remote_static, time.time())
        message3, channel = offered.write(self._proof(offered, offer).to_bytes())
        reply = transport.exchange(message3)
        raise_if_refused(reply)
        outcome = Outcome.from_bytes(channel.open(reply))
        if outcome.status == "step-up":
            raise StepUpRequired(f"the Authority wants more evidence: {', '.join(outcome.missing)}")
        if outcome.status != "granted":
            raise HandshakeError(f"the Authority refused: {outcome.reason}")
        return self._session(outcome, channel.session_secret, transport)

    def _offered(self, transport: Transport, supersedes: bytes) -> Offered:
        reply, awaiting = self._hello(transport, supersedes, b"")
        cookie = demanded_cookie(reply)
        if cookie is not None:
            reply, awaiting = self._hello(transport, supersedes, cookie)
        raise_if_refused(reply)
        return awaiting.read(reply)

    def _hello(self, transport: Transport, supersedes: bytes, cookie: bytes) -> tuple[bytes, AwaitingOffer]:
        hello = Hello(list(self._scopes), supersedes, cookie)
        message1, awaiting = start_initiator(self._identity.static_private, hello.to_bytes())
        return transport.exchange(message1), awaiting

    def _proof(self, offered: Offered, offer: Offer) -> Proof:
        static_public = DhKeyPair(self._identity.static_private).public
        bound = {
            kind: binding(kind, offered.handshake_hash, static_public) for kind in ("identity", "posture")
        }
        posture = b"" if self._posture is None else self._posture.prove(bound["posture"], offer.posture_nonce)
        return Proof(identity=self._identity.prove(bound["identity"]), posture=posture)

    def _session(self, outcome: Outcome, secret: bytes, transport: Transport) -> Session:
        grants = [Grant.from_bytes(grant) for grant in outcome.grants]
        if len(grants) != len(outcome.tickets) or any(grant.session != outcome.session for grant in grants):
            raise WireError("outcome: expected one ticket for each grant of this session")
        return Session(
            id=outcome.session,
            assurance=outcome.assurance,
            grants={grant.segment: grant for grant in grants},
            tickets=dict(zip((grant.segment for grant in grants), outcome.tickets, strict=True)),
            _secret=secret,
            _again=lambda given, supersedes: self.run(given, transport, supersedes),
        )
