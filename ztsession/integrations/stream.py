"""Messages over a stream socket: a blocking client, and nothing else.

Frames are a length and that many bytes. TLS underneath is the deployer's choice: the handshake inside trusts
nothing of it. But a transport that knows the name of its TLS channel hands it to the handshake, and whoever
relays between two channels is found out (``ztsession.integrations.tls``).
"""

from __future__ import annotations

import socket
import time
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from ztsession.errors import TransportError, WireError
from ztsession.wire.framing import FrameReader, frame

if TYPE_CHECKING:
    import ssl

__all__ = ["SocketTransport", "StreamSocket"]

_READ_BYTES = 65536


class StreamSocket(Protocol):
    """What is needed of a connected socket; failures are OSError, and TimeoutError when the time is up."""

    def gettimeout(self) -> float | None:
        """The time for each call, in seconds; None for ever."""

    def settimeout(self, value: float | None, /) -> None:
        """Set that time."""

    def sendall(self, data: bytes, /) -> None:
        """Send all of it."""

    def recv(self, bufsize: int, /) -> bytes:
        """Some bytes, none at the end of the stream."""

    def close(self) -> None:
        """Close; twice is harmless."""


class SocketTransport:
    """A ``Transport`` over one connected stream socket; one exchange at a time. A failure closes it for
    good.
    """

    def __init__(self, connected: StreamSocket, channel_binding: bytes = b"") -> None:
        """The socket's timeout, if it has one, bounds each whole message and not each piece of one.

        ``channel_binding`` names the channel that the socket lies in (RFC 9266 for TLS); empty for none.
        """
        self._socket, self._timeout_s = connected, connected.gettimeout()
        self._frames = FrameReader()
        self._ready: list[bytes] = []
        self.channel_binding = channel_binding

    @classmethod
    def connect(
        cls,
        address: str | tuple[str, int],
        *,
        timeout_s: float = 5.0,
        ssl_context: ssl.SSLContext | None = None,
        server_name: str | None = None,
    ) -> Self:
        """Dial ``(host, port)`` or the path of a Unix socket; TransportError when nobody answers in time.

        With an ``ssl_context`` the connection is TLS; ``server_name`` is what the server's certificate must
        say, the host unless given.
        """
        try:
            connected = _dial(address, timeout_s)
            if ssl_context is not None:
                connected = _wrap(connected, ssl_context, server_name or _host(address))
            return cls(connected)
        except (OSError, ValueError) as error:
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

    def receive(self, within_s: float | None = None) -> bytes:
        """Wait for one message, for ``within_s`` instead of the socket's own timeout if given."""
        within_s = self._timeout_s if within_s is None else within_s
        until = None if within_s is None else time.monotonic() + within_s
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


def _wrap(connected: socket.socket, context: ssl.SSLContext, server_name: str | None) -> socket.socket:
    try:
        return context.wrap_socket(connected, server_hostname=server_name)
    except BaseException:
        connected.close()
        raise


def _host(address: str | tuple[str, int]) -> str | None:
    return address[0] if isinstance(address, tuple) else None


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left
