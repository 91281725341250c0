"""Connecting: a handshake with the Authority, and a session comes out."""

from __future__ import annotations

from collections.abc import Sequence

from ztsession.client.conversation import Subject, handshake
from ztsession.client.drive import drive, drive_async
from ztsession.client.session import Session
from ztsession.client.transport import AsyncTransport, Transport, binding_of
from ztsession.identity.protocol import IdentityProver
from ztsession.mfa.protocol import MfaProver
from ztsession.posture.protocol import PostureProver

__all__ = ["connect", "connect_async"]


def connect(
    transport: Transport,
    *,
    identity: IdentityProver,
    root: bytes,
    scopes: Sequence[str],
    posture: PostureProver | None = None,
    mfa: MfaProver | None = None,
) -> Session:
    """Run the handshake with the Authority behind ``transport``.

    ``root``: the Authority's root key to trust, 32 bytes of Ed25519. ``scopes``: what is wanted,
    "orders.submit" or "orders.*". ``mfa`` is asked for a second factor when the Authority wants one. Raises
    HandshakeError when refused, EvidenceError when the Authority is not who it must be, StepUpRequired when
    evidence is wanted that is not at hand, TransportError when the connection fails.
    """
    subject = Subject(identity, root, tuple(scopes), posture, mfa)
    bound = binding_of(transport)
    return Session.of(subject, drive(handshake(subject, channel_binding=bound), transport), transport)


async def connect_async(
    transport: AsyncTransport,
    *,
    identity: IdentityProver,
    root: bytes,
    scopes: Sequence[str],
    posture: PostureProver | None = None,
    mfa: MfaProver | None = None,
) -> Session:
    """The same in an event loop; use the session's ``..._async`` methods from there on.

    Evidence is made in the loop's own thread, which takes some milliseconds.
    """
    subject = Subject(identity, root, tuple(scopes), posture, mfa)
    bound = binding_of(transport)
    held = await drive_async(handshake(subject, channel_binding=bound), transport)
    return Session.of(subject, held, None, transport)
