"""What carries messages: anything that takes one and returns the answer to it.

A transport may know of a channel beneath it, such as a TLS connection, that both ends can name in the same
words. The handshake takes in that name, its channel binding, so that whoever stands in between with two
channels of his own finds two names and no agreement (H22).
"""

from __future__ import annotations

from typing import Protocol

__all__ = ["AsyncTransport", "Transport", "binding_of", "hang_up"]


class Transport(Protocol):
    """One connection to an Authority or to an enforcement point.

    In one process the point itself and ``Authority.connection()`` are transports; over a socket it is
    ``ztsession.integrations.stream.SocketTransport``, over HTTP ``HttpTransport`` in
    ``ztsession.integrations.http``. One that lies in a channel with a name of its own has it in the attribute
    ``channel_binding``.
    """

    def exchange(self, message: bytes) -> bytes:
        """Send ``message`` and return the peer's answer; TransportError when the connection fails."""


class AsyncTransport(Protocol):
    """The same for programs that run an event loop.

    A cancelled exchange must end the connection: its answer belongs to nobody any more (R17).
    """

    async def exchange(self, message: bytes) -> bytes:
        """Send ``message`` and return the peer's answer; TransportError when the connection fails."""


def binding_of(transport: object) -> bytes:
    """The channel binding of a transport, empty when it has none (RFC 5056, section 2)."""
    bound = getattr(transport, "channel_binding", b"")
    # An attribute of another kind would bind the handshake to what the other end cannot know.
    return bound if isinstance(bound, bytes) else b""


def hang_up(conversation: object) -> None:
    """Tell the other end of a transport that nobody will speak to it any more.

    For servers, whose conversations may hold something for their peer: those have a method ``hang_up``.
    """
    told = getattr(conversation, "hang_up", None)
    if told is not None:
        told()
