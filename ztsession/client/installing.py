"""Presenting one ticket to one enforcement point."""

from __future__ import annotations

from ztsession.client.installed import InstalledSession
from ztsession.client.transport import AsyncTransport, Transport
from ztsession.errors import InstallationError, WireError
from ztsession.policy.grant import Grant
from ztsession.tickets.installation import InstallAnswer, InstallRefusal, InstallRequest

__all__ = ["install_ticket", "install_ticket_async"]


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
    answer = _answer(request, grant, secret, transport.exchange(request.to_bytes()))
    return InstalledSession(grant, secret, answer, manual_clock_us=manual_clock_us, backend=backend)


async def install_ticket_async(
    transport: AsyncTransport, grant: Grant, ticket: bytes, secret: bytes
) -> InstalledSession:
    """The same in an event loop."""
    request = InstallRequest.make(ticket, secret)
    answer = _answer(request, grant, secret, await transport.exchange(request.to_bytes()))
    return InstalledSession(grant, secret, answer)


def _answer(request: InstallRequest, grant: Grant, secret: bytes, reply: bytes) -> InstallAnswer:
    try:
        answer = InstallAnswer.from_bytes(reply)
    except WireError as error:
        raise InstallationError(_refusal(reply, error)) from None
    answer.check(request, secret)
    if answer.epoch_length_us != grant.epoch_length_us:
        raise InstallationError("the point counts epochs of another length than the grant")
    return answer


def _refusal(reply: bytes, error: WireError) -> str:
    try:
        return f"the enforcement point refused the ticket: {InstallRefusal.from_bytes(reply).reason}"
    except WireError:
        return f"the enforcement point's answer is malformed: {error}"
