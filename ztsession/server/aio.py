"""The stream server for programs with an event loop: the same frames, limits and conversations.

The loop reads and writes, and bounds how long it waits for either; what a conversation does with a message
runs in a worker thread, because it may wait for the disk. A connection's messages are answered one by one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ztsession.client.transport import Transport, hang_up
from ztsession.errors import TransportError, ZtsError
from ztsession.integrations.shares import Shares
from ztsession.integrations.workers import WORKERS, Workers
from ztsession.server.listening import Listener, source_of
from ztsession.server.stream import CONNECTIONS_MAX, FIRST_MESSAGE_S, SILENCE_S
from ztsession.wire.framing import LENGTH_BYTES, MAX_FRAME_BYTES, frame
from ztsession.wire.source import UNNAMED

if TYPE_CHECKING:
    import ssl

__all__ = ["AsyncStreamServer", "serve"]

_log = logging.getLogger("ztsession.server")


async def serve(
    conversation: Callable[[str], Transport],
    address: str | tuple[str, int],
    *,
    connections_max: int = CONNECTIONS_MAX,
    connections_per_source_max: int | None = None,
    silence_s: float = SILENCE_S,
    workers: int = WORKERS,
    ssl_context: ssl.SSLContext | None = None,
) -> AsyncStreamServer:
    """Serve ``conversation(source)`` (for example ``authority.connection``) on the running loop.

    Addresses, limits and TLS as in :class:`StreamServer`, but beyond the limit in all newcomers are turned
    away. TransportError if the address is taken. Close the server, or use it with ``async with``.
    """
    server = AsyncStreamServer(
        conversation,
        Listener(address),
        Shares(
            max(1, connections_max // 4) if connections_per_source_max is None else connections_per_source_max
        ),
        Workers(workers=workers, waiting_max=connections_max, polls_max=connections_max),
        connections_max=connections_max,
        silence_s=silence_s,
    )
    await server.start(ssl_context)
    return server


class AsyncStreamServer:
    """What :func:`serve` returns."""

    def __init__(
        self,
        conversation: Callable[[str], Transport],
        listener: Listener,
        shares: Shares,
        workers: Workers,
        *,
        connections_max: int,
        silence_s: float,
    ) -> None:
        self._conversation, self._listener = conversation, listener
        self._shares, self._workers = shares, workers
        self._connections_max, self._silence_s = connections_max, silence_s
        self._serving = set[asyncio.Task[None]]()
        self._server: asyncio.Server | None = None
        self._ssl_context: ssl.SSLContext | None = None

    @property
    def address(self) -> str | tuple[str, int]:
        """Where it listens, with the port that was chosen."""
        return self._listener.address

    async def start(self, ssl_context: ssl.SSLContext | None) -> None:
        """Begin to accept."""
        self._ssl_context = ssl_context
        self._server = await asyncio.start_server(
            self._accepted, sock=self._listener.socket, limit=MAX_FRAME_BYTES
        )

    async def close(self) -> None:
        """Stop listening and close every connection; closing twice is harmless."""
        if self._server is not None:
            self._server.close()
        for task in self._serving:
            task.cancel()
        if self._serving:
            await asyncio.wait(self._serving)
        self._listener.close()
        self._workers.close()

    async def __aenter__(self) -> Self:
        """The server itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        await self.close()

    # ---- Inside

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task, source = asyncio.current_task(), source_of(writer.get_extra_info("peername"))
        if not source and not isinstance(self.address, str):
            source = UNNAMED
        if task is None or len(self._serving) >= self._connections_max or not self._shares.take(source):
            _log.info("a connection from %s finds no place", source or "this machine")
            writer.transport.abort()
            return
        self._serving.add(task)
        try:
            if self._ssl_context is not None:
                # Only now: whoever does not finish TLS holds a place like any other, and no more (D4).
                await writer.start_tls(self._ssl_context, ssl_handshake_timeout=FIRST_MESSAGE_S)
            await self._converse(reader, writer, source)
        except asyncio.CancelledError:
            # The server closes; nobody above wants to hear of it.
            pass
        except (OSError, EOFError, ZtsError) as error:
            _log.debug("a connection ended: %s", error)
        except Exception:
            _log.exception("a connection failed")
        finally:
            self._shares.give_back(source)
            self._serving.discard(task)
            # At once: what is unsent is for a peer that does not read.
            writer.transport.abort()

    async def _converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, source: str
    ) -> None:
        conversation = self._conversation(source)
        try:
            within_s = min(FIRST_MESSAGE_S, self._silence_s)
            while True:
                async with asyncio.timeout(within_s):
                    message = await _receive(reader)
                answer = await self._workers.exchange(conversation.exchange, message)
                within_s = self._silence_s
                async with asyncio.timeout(within_s):
                    writer.write(frame(answer))
                    await writer.drain()
        finally:
            hang_up(conversation)


async def _receive(reader: asyncio.StreamReader) -> bytes:
    length = int.from_bytes(await reader.readexactly(LENGTH_BYTES), "big")
    # Before a byte of the body is kept.
    if length > MAX_FRAME_BYTES:
        raise TransportError(f"frame of {length} bytes is over the limit of {MAX_FRAME_BYTES}")
    return await reader.readexactly(length)
