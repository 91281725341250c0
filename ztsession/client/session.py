"""A session as the client holds it: who it is for, what was granted, and the tickets to install."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ztsession.client.installed import InstalledSession
from ztsession.client.transport import Transport
from ztsession.errors import InstallationError, SessionEnded, WireError
from ztsession.policy.grant import Grant
from ztsession.tickets.installation import InstallAnswer, InstallRefusal, InstallRequest
from ztsession.tickets.secrets import segment_secret

__all__ = ["Session", "install_ticket"]


@dataclass(frozen=True)
class Session:
    """The outcome of a handshake. ``id`` is 16 bytes; grants and tickets are by segment.

    Every secret here is a ``bytes`` object, which Python cannot erase: drop the session when it is no longer
    needed. The keys of installed segments live in memory of the core's and are wiped by
    ``InstalledSession.close``.
    """

    id: bytes
    assurance: int
    grants: dict[str, Grant]
    tickets: dict[str, bytes] = field(repr=False)
    _secret: bytes = field(repr=False)
    _again: Callable[[Transport | None, bytes], Session] = field(repr=False, compare=False)

    @property
    def segments(self) -> tuple[str, ...]:
        """Where this session may be installed."""
        return tuple(self.grants)

    def install(self, transport: Transport, segment: str) -> InstalledSession:
        """Present the ticket for ``segment`` to one enforcement point of it.

        May be done again after a long silence or a restart of the point. InstallationError when the point
        refuses or its answer was altered.
        """
        if segment not in self.grants:
            raise SessionEnded(
                f"nothing was granted in segment {segment!r}, only in {', '.join(self.grants)}"
            )
        grant = self.grants[segment]
        return install_ticket(
            transport, grant, self.tickets[segment], segment_secret(self._secret, grant.digest())
        )

    def reauthenticate(self, transport: Transport | None = None) -> Session:
        """Prove everything again with fresh evidence; returns the session that takes this one's place.

        Uses the connection of the first handshake unless another is given. The old session is over as soon as
        the new one is granted, so install the new tickets before signing on.
        """
        return self._again(transport, self.id)


def install_ticket(
    transport: Transport,
    grant: Grant,
    ticket: bytes,
    secret: bytes,
    *,
    manual_clock_us: int | None = None,
    backend: str | None = None,
) -> InstalledSession:
    """Present one ticket; ``secret`` is the grant's segment secret (32 bytes). Raises as
    ``Session.install``.
    """
    request = InstallRequest.make(ticket, secret)
    reply = transport.exchange(request.to_bytes())
    try:
        answer = InstallAnswer.from_bytes(reply)
    except WireError as error:
        raise InstallationError(_refusal(reply, error)) from None
    answer.check(request, secret)
    if answer.epoch_length_us != grant.epoch_length_us:
        raise InstallationError("the point counts epochs of another length than the grant")
    return InstalledSession(grant, secret, answer, manual_clock_us=manual_clock_us, backend=backend)


def _refusal(reply: bytes, error: WireError) -> str:
    try:
        return f"the enforcement point refused the ticket: {InstallRefusal.from_bytes(reply).reason}"
    except WireError:
        return f"the enforcement point's answer is malformed: {error}"
