"""Messages over a stream socket: a blocking client, and nothing else.

Frames are a length and that many bytes. TLS underneath is the deployer's choice: hand a wrapped socket over.
"""

from __future__ import annotations

import socket
import time
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
        """The socket's timeout, if it has one, bounds each whole message and not each piece of one."""
        self._socket, self._timeout_s = connected, connected.gettimeout()
        self._frames = FrameReader()
        self._ready: list[bytes] = []

    @classmethod
    def connect(cls, address: str | tuple[str, int], *, timeout_s: float = 5.0) -> Self:
        """Dial ``(host, port)`` or the path of a Unix socket; TransportError when nobody answers in time."""
        try:
            return cls(_dial(address, timeout_s))
        except OSError as error:
            raise TransportError(f"cannot connect to {address}: {error}") from error

    def exchange(self, message: bytes) -> bytes:
        """Send one message and wait for its answer."""
        if self._ready:
            # The next answer would be taken for this one's (R17).
            raise self._broken(TransportError("the peer said more than it was asked"))
        self.send(message)
        return self.receive()

    def send(self, message: bytes) -> None:
        """Send one message."""
        try:
            self._socket.settimeout(self._timeout_s)
            self._socket.sendall(frame(message))
        except OSError as error:
            raise self._broken(error) from error

    def receive(self) -> bytes:
        """Wait for one message."""
        until = None if self._timeout_s is None else time.monotonic() + self._timeout_s
        try:
            while not self._ready:
                # A peer that sends a byte now and then would otherwise keep us for hours (D4).
                self._socket.settimeout(until and _left(until))
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


def _dial(address: str | tuple[str, int], timeout_s: float) -> socket.socket:
    if isinstance(address, tuple):
        connected = socket.create_connection(address, timeout=timeout_s)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connected
    connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connected.settimeout(timeout_s)
        connected.connect(address)
    except OSError:
        connected.close()
        raise
    return connected


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left
