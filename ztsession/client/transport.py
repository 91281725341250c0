"""What carries messages: anything that takes one and returns the answer to it."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Transport"]


class Transport(Protocol):
    """One connection to an Authority or to an enforcement point.

    In one process the point itself and ``Authority.connection()`` are transports; over a socket it is
    ``ztsession.integrations.stream.SocketTransport``.
    """

    def exchange(self, message: bytes) -> bytes:
        """Send ``message`` and return the peer's answer; TransportError when the connection fails."""
