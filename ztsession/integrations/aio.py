"""Messages over a stream socket for programs with an event loop.

A cancelled exchange is the trap of every asynchronous client: the question has gone out, nobody waits for the
answer any more, and the next caller takes it for his own. Here a cancelled exchange, like a failed one, ends
the connection (R17). Nor may the peer speak unasked: bytes that come while no answer is due end it as well.
"""

from __future__ import annotations

import asyncio
import socket
from types import TracebackType
from typing import TYPE_CHECKING, Self, cast

from ztsession.errors import TransportError, WireError
from ztsession.wire.framing import FrameReader, frame

if TYPE_CHECKING:
    import ssl

__all__ = ["AsyncSocketTransport"]


class AsyncSocketTransport:
    """An ``AsyncTransport`` over one connected stream socket. Exchanges of several tasks take turns."""

    def __init__(self, peer: _Peer, *, timeout_s: float | None, channel_binding: bytes = b"") -> None:
        """Made by :meth:`connect` and :meth:`over`."""
        self._peer, self._timeout_s = peer, timeout_s
        self._turn = asyncio.Lock()
        self.channel_binding = channel_binding

    @classmethod
    async def connect(
        cls,
        address: str | tuple[str, int],
        *,
        timeout_s: float = 5.0,
        ssl_context: ssl.SSLContext | None = None,
        server_name: str | None = None,
    ) -> Self:
        """Dial ``(host, port)`` or the path of a Unix socket; TransportError when nobody answers in time.

        ``timeout_s`` bounds dialling and each exchange. With an ``ssl_context`` the connection is TLS;
        ``server_name`` is what the server's certificate must say, the host unless given.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout_s):
                if isinstance(address, str):
                    _, peer = await loop.create_unix_connection(
                        _Peer, address, ssl=ssl_context, server_hostname=server_name
                    )
                else:
                    _, peer = await loop.create_connection(
                        _Peer, *address, ssl=ssl_context, server_hostname=server_name
                    )
        except (OSError, ValueError) as error:
            raise TransportError(f"cannot connect to {address}: {_said(error)}") from error
        return cls(peer, timeout_s=timeout_s)

    @classmethod
    async def over(
        cls, connected: socket.socket, *, timeout_s: float | None = 5.0, channel_binding: bytes = b""
    ) -> Self:
        """Take over a connected socket; ``channel_binding`` names the channel that it lies in."""
        loop = asyncio.get_running_loop()
        _, peer = await loop.create_connection(_Peer, sock=connected)
        return cls(peer, timeout_s=timeout_s, channel_binding=channel_binding)

    async def exchange(self, message: bytes) -> bytes:
        """Send one message and wait for its answer; TransportError when the connection fails or is closed."""
        framed = frame(message)
        async with self._turn:
            try:
                async with asyncio.timeout(self._timeout_s):
                    return await self._peer.ask(framed)
            except TimeoutError:
                self.close()
                raise TransportError("the connection failed: timed out") from None
            except BaseException:
                # Cancelled, above all: an answer that is still on its way is for nobody.
                self.close()
                raise

    def close(self) -> None:
        """Close the connection; closing twice is harmless."""
        self._peer.abort("the connection was closed here")

    async def __aenter__(self) -> Self:
        """The transport itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close, and wait until the socket is closed."""
        self.close()
        await self._peer.gone.wait()


class _Peer(asyncio.Protocol):
    """Knows at every moment whether an answer is due, and to whom."""

    def __init__(self) -> None:
        self._frames = FrameReader()
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[bytes] | None = None
        self._over = ""
        self.gone = asyncio.Event()

    async def ask(self, framed: bytes) -> bytes:
        if self._over or self._transport is None:
            raise TransportError(self._over or "the connection is not open")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(framed)
        try:
            return await self._answer
        finally:
            self._answer = None

    def abort(self, why: str) -> None:
        self._over = self._over or why
        if self._transport is not None:
            self._transport.abort()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(TransportError(self._over))

    # ---- What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            bodies = self._frames.feed(data)
        except WireError as error:
            self.abort(f"the connection failed: {error}")
            return
        if (
            self._answer is None
            or self._answer.done()
            or len(bodies) > 1
            or (bodies and self._frames.pending_bytes)
        ):
            self.abort("the peer said more than it was asked")
        elif bodies:
            self._answer.set_result(bodies[0])

    def eof_received(self) -> None:
        self.abort("the peer closed the connection")

    def connection_lost(self, exc: Exception | None) -> None:
        self.abort("the peer closed the connection" if exc is None else f"the connection failed: {exc}")
        self.gone.set()


def _said(error: Exception) -> str:
    return str(error) or "timed out"
