"""Messages over a stream socket: a blocking client, and nothing else.

Frames are a length and that many bytes. TLS underneath is the deployer's choice: hand a wrapped socket over.
"""

from __future__ import annotations

import socket
from types import TracebackType
from typing import Self

from ztsession.errors import TransportError, WireError
from ztsession.wire.framing import FrameReader, frame

__all__ = ["SocketTransport"]

_READ_BYTES = 65536


class SocketTransport:
    """A ``Transport`` over one connected stream socket; one exchange at a time. A failure closes it for
    good.
    """

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._frames = FrameReader()
        self._ready: list[bytes] = []

    @classmethod
    def connect(cls, address: str | tuple[str, int], *, timeout_s: float = 5.0) -> Self:
        """Dial ``(host, port)`` or the path of a Unix socket; TransportError when nobody answers in time."""
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        if isinstance(address, tuple) and ":" in address[0]:
            family = socket.AF_INET6
        connected = socket.socket(family, socket.SOCK_STREAM)
        connected.settimeout(timeout_s)
        try:
            connected.connect(address)
        except OSError as error:
            connected.close()
            raise TransportError(f"cannot connect to {address}: {error}") from error
        if family is not socket.AF_UNIX:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return cls(connected)

    def exchange(self, message: bytes) -> bytes:
        """Send one message and wait for its answer."""
        self.send(message)
        return self.receive()

    def send(self, message: bytes) -> None:
        """Send one message."""
        try:
            self._socket.sendall(frame(message))
        except OSError as error:
            raise self._broken(error) from error

    def receive(self) -> bytes:
        """Wait for one message."""
        try:
            while not self._ready:
                data = self._socket.recv(_READ_BYTES)
                if not data:
                    raise TransportError("the peer closed the connection")
                self._ready = self._frames.feed(data)
            return self._ready.pop(0)
        except (OSError, WireError) as error:
            raise self._broken(error) from error

    def close(self) -> None:
        """Close the socket; closing twice is harmless."""
        self._socket.close()

    def __enter__(self) -> Self:
        """The transport itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def _broken(self, error: Exception) -> TransportError:
        # After a timeout an answer may still be on its way; the next exchange must not take it for its own.
        self.close()
        return (
            error if isinstance(error, TransportError) else TransportError(f"the connection failed: {error}")
        )
