"""A session as the client holds it: who it is for, what was granted, and the ways to go on from there.

A session is never changed. Stepping up, renewing and re-authenticating each give another one that takes its
place; install that one, sign with it from then on, and let the old one go. The old keys stay good for the
protocol's overlap after a step-up or a renewal, so that a stream of calls need not stop in between.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

from ztsession.client.conversation import Conversation, Subject, handshake, renew, step_up
from ztsession.client.drive import drive, drive_async
from ztsession.client.held import Held
from ztsession.client.installed import InstalledSession
from ztsession.client.installing import install_ticket, install_ticket_async
from ztsession.client.transport import AsyncTransport, Transport, binding_of
from ztsession.errors import SessionEnded, TransportError
from ztsession.mfa.protocol import MfaProver
from ztsession.policy.grant import Grant
from ztsession.posture.protocol import PostureProver
from ztsession.tickets.secrets import segment_secret

__all__ = ["Session"]


class Session:
    """The outcome of a handshake.

    Every secret here is a ``bytes`` object, which Python cannot erase: drop the session when it is no longer
    needed. The keys of installed segments live in memory of the core's and are wiped by
    ``InstalledSession.close``.
    """

    def __init__(
        self, subject: Subject, held: Held, transport: Transport | None, aio: AsyncTransport | None
    ) -> None:
        self._subject, self._held, self._transport, self._aio = subject, held, transport, aio
        self._going_on = threading.Lock()
        self._replaced = False

    @classmethod
    def of(
        cls, subject: Subject, held: Held, transport: Transport | None, aio: AsyncTransport | None = None
    ) -> Session:
        """The session that a conversation came to, on the transport that it was held over."""
        return cls(subject, held, transport, aio)

    # ---- What was granted

    @property
    def id(self) -> bytes:
        """The session's id, 16 bytes."""
        return self._held.outcome.session

    @property
    def assurance(self) -> int:
        """How sure the Authority is, 1 to 3."""
        return self._held.outcome.assurance

    @property
    def lifetime_s(self) -> int:
        """How long the session could live from the moment it was granted, in seconds."""
        return self._held.outcome.lifetime_s

    @property
    def grants(self) -> dict[str, Grant]:
        """What may be done, by segment."""
        return dict(self._held.grants)

    @property
    def segments(self) -> tuple[str, ...]:
        """Where this session may be installed."""
        return tuple(self._held.grants)

    @property
    def factors(self) -> tuple[str, ...]:
        """The second factors that :meth:`step_up` could show, as the Authority has them enrolled."""
        return tuple(self._held.outcome.factors)

    @property
    def tickets(self) -> dict[str, bytes]:
        """The ticket of each grant, by segment."""
        return dict(zip(self._held.grants, self._held.outcome.tickets, strict=True))

    def __repr__(self) -> str:
        return f"<Session {self.id.hex()} of {self._subject.identity.subject}: {', '.join(self.segments)}>"

    # ---- At enforcement points

    def install(self, transport: Transport, segment: str) -> InstalledSession:
        """Present the ticket for ``segment`` to one enforcement point of it.

        May be done again after a long silence or a restart of the point. InstallationError when the point
        refuses or its answer was altered.
        """
        grant, secret = self._secret_of(segment)
        return install_ticket(transport, grant, self.tickets[segment], secret)

    async def install_async(self, transport: AsyncTransport, segment: str) -> InstalledSession:
        """The same in an event loop."""
        grant, secret = self._secret_of(segment)
        return await install_ticket_async(transport, grant, self.tickets[segment], secret)

    # ---- Going on

    def step_up(
        self,
        *,
        mfa: MfaProver | None = None,
        posture: PostureProver | None = None,
        scopes: Sequence[str] = (),
    ) -> Session:
        """Show more in the channel of the handshake: a second factor, fresh posture, or both; of what was
        given at :func:`connect` by default the factor alone. Returns the session that takes this one's place.

        ``scopes``: ask for others than before. HandshakeError when refused, StepUpRequired when nothing of it
        could be shown.
        """
        with _Going(self):
            going = self._stepping(mfa, posture, scopes)
            return self._next(drive(going, self._given(None)))

    def renew(self, transport: Transport | None = None, *, scopes: Sequence[str] = ()) -> Session:
        """Go on in one round trip, with fresh posture and fresh keys; returns the session that takes this
        one's place. The absolute end stays where it was.

        HandshakeError when the Authority wants everything proven anew: see :meth:`reauthenticate`.
        """
        with _Going(self):
            over = self._given(transport)
            going = renew(self._subject, self._held, scopes=scopes, channel_binding=binding_of(over))
            return self._next(drive(going, over), over)

    def reauthenticate(self, transport: Transport | None = None, *, mfa: MfaProver | None = None) -> Session:
        """Prove everything again with fresh evidence; returns the session that takes this one's place.

        Uses the connection of the first handshake, and the ``mfa`` that was given at :func:`connect`, unless
        others are given. The old session is over as soon as the new one is granted, so install the new
        tickets before signing on.
        """
        with _Going(self):
            over = self._given(transport)
            return self._next(drive(self._anew(mfa, over), over), over)

    async def step_up_async(
        self,
        *,
        mfa: MfaProver | None = None,
        posture: PostureProver | None = None,
        scopes: Sequence[str] = (),
    ) -> Session:
        """:meth:`step_up` in an event loop."""
        with _Going(self):
            over = self._given_async(None)
            return self._next(await drive_async(self._stepping(mfa, posture, scopes), over))

    async def renew_async(
        self, transport: AsyncTransport | None = None, *, scopes: Sequence[str] = ()
    ) -> Session:
        """:meth:`renew` in an event loop."""
        with _Going(self):
            over = self._given_async(transport)
            going = renew(self._subject, self._held, scopes=scopes, channel_binding=binding_of(over))
            return self._next(await drive_async(going, over), aio=over)

    async def reauthenticate_async(
        self, transport: AsyncTransport | None = None, *, mfa: MfaProver | None = None
    ) -> Session:
        """:meth:`reauthenticate` in an event loop."""
        with _Going(self):
            over = self._given_async(transport)
            return self._next(await drive_async(self._anew(mfa, over), over), aio=over)

    # ---- Inside

    def _stepping(
        self, mfa: MfaProver | None, posture: PostureProver | None, scopes: Sequence[str]
    ) -> Conversation[Held]:
        if mfa is None and posture is None:
            mfa = self._subject.mfa
        return step_up(self._subject, self._held, mfa=mfa, posture=posture, scopes=scopes)

    def _anew(self, mfa: MfaProver | None, over: object) -> Conversation[Held]:
        subject = replace(self._subject, mfa=mfa or self._subject.mfa)
        return handshake(subject, supersedes=self.id, channel_binding=binding_of(over))

    def _next(
        self, held: Held, transport: Transport | None = None, aio: AsyncTransport | None = None
    ) -> Session:
        self._replaced = True
        return Session(self._subject, held, transport or self._transport, aio or self._aio)

    def _given(self, transport: Transport | None) -> Transport:
        over = transport or self._transport
        if over is None:
            raise TransportError("the session was made in an event loop: use the methods named ..._async")
        return over

    def _given_async(self, transport: AsyncTransport | None) -> AsyncTransport:
        over = transport or self._aio
        if over is None:
            raise TransportError("the session was not made in an event loop: give a transport of one")
        return over

    def _secret_of(self, segment: str) -> tuple[Grant, bytes]:
        grant = self._held.grants.get(segment)
        if grant is None:
            raise SessionEnded(
                f"nothing was granted in segment {segment!r}, only in {', '.join(self._held.grants)}"
            )
        return grant, segment_secret(self._held.through.secret, grant.digest())


class _Going:
    """One step at a time, and none from a session that another has taken the place of."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def __enter__(self) -> None:
        if not self._session._going_on.acquire(blocking=False):
            raise SessionEnded("another step from this session is under way")
        if self._session._replaced:
            self._session._going_on.release()
            raise SessionEnded("another session has taken this one's place: go on from that one")

    def __exit__(self, *_: object) -> None:
        self._session._going_on.release()
