"""A stream server: frames in, answers out, one conversation per socket.

Each connection is served by a thread of its own, up to a limit: handshakes are rare and hold the interpreter
for a millisecond, while a long poll for changes must hold nobody else up. A connection that says nothing is
closed, and the first message is waited for less long than the others. No source holds more than a share of
the places, and beyond the limit in all newcomers wait in the kernel's queue, so that half-open handshakes
cost a bounded amount and one source's take nobody else's place (D4).
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ztsession.client.transport import Transport, hang_up
from ztsession.errors import TransportError, WireError
from ztsession.integrations.shares import Shares
from ztsession.integrations.stream import SocketTransport
from ztsession.server.listening import Listener, source_of

if TYPE_CHECKING:
    import ssl

__all__ = ["BoundStreamServer", "StreamServer"]

CONNECTIONS_MAX = 256
SILENCE_S = 30.0
FIRST_MESSAGE_S = 10.0
_ACCEPT_AGAIN_S = 0.1

_log = logging.getLogger("ztsession.server")

Secure = Callable[[socket.socket], SocketTransport]


class StreamServer:
    """Serves ``conversation(source)`` (for example ``authority.connection``) to each peer that connects.

    ``source`` is the peer's IP address as text, "" for a Unix socket. What one conversation object is good
    for all serves as ``lambda source: point``. A conversation that has a method ``hang_up`` is told so when
    its peer is gone.
    """

    def __init__(
        self,
        address: str | tuple[str, int],
        conversation: Callable[[str], Transport],
        *,
        connections_max: int = CONNECTIONS_MAX,
        connections_per_source_max: int | None = None,
        silence_s: float = SILENCE_S,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        """Listen on ``(host, port)``, port 0 for any, or on a Unix socket's path (mode 0600);
        TransportError if taken.

        One source (an IPv4 address, an IPv6 /64) has a quarter of the places unless told otherwise. With an
        ``ssl_context`` every connection is TLS.
        """
        secure = SocketTransport if ssl_context is None else partial(_over_tls, ssl_context)
        self._begin_with(secure, lambda source, _: conversation(source))
        self._limit(connections_max, connections_per_source_max, silence_s)
        self._listen(address)

    @property
    def address(self) -> str | tuple[str, int]:
        """Where it listens, with the port that was chosen."""
        return self._listener.address

    def close(self) -> None:
        """Stop listening and close every connection; closing twice is harmless."""
        self._stopping.set()
        self._places.release()  # in case every place is taken
        with self._lock:
            waiting = [self._listener.socket, *self._open]
        # Closing alone would not wake a thread that waits in accept() or recv().
        for each in waiting:
            _shut(each)
        self._thread.join()
        self._listener.close()

    def __enter__(self) -> Self:
        """The server itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    # ---- Inside

    def _begin_with(self, secure: Secure, conversation: Callable[[str, bytes], Transport]) -> None:
        self._secure, self._conversation = secure, conversation

    def _limit(self, places: int, per_source: int | None, silence_s: float) -> None:
        self._places, self._silence_s = threading.Semaphore(places), silence_s
        self._shares = Shares(max(1, places // 4) if per_source is None else per_source)

    def _listen(self, address: str | tuple[str, int]) -> None:
        self._open: set[socket.socket] = set()
        self._lock, self._stopping = threading.Lock(), threading.Event()
        self._listener = Listener(address)
        self._thread = threading.Thread(target=self._accept, name="ztsession-server", daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while not self._stopping.is_set():
            self._places.acquire()
            connected, source = self._next()
            if connected is None:
                return
            if not self._shares.take(source):
                _log.info("a connection from %s is over the share of one source", source)
                connected.close()
                self._places.release()
                continue
            try:
                self._begin(connected, source)
            except (OSError, RuntimeError) as error:
                # The peer is gone already, or the machine has no thread left: this one is refused, no more.
                _log.warning("a connection could not be served: %s", error)
                self._end(connected, source)

    def _next(self) -> tuple[socket.socket | None, str]:
        while not self._stopping.is_set():
            try:
                connected, peer = self._listener.socket.accept()
                return connected, source_of(peer)
            except OSError as error:
                # Descriptors may be used up for a while; whoever can cause that must not end the server.
                if not self._stopping.is_set():
                    _log.warning("no connection can be accepted: %s", error)
                    self._stopping.wait(_ACCEPT_AGAIN_S)
        return None, ""

    def _begin(self, connected: socket.socket, source: str) -> None:
        with self._lock:
            self._open.add(connected)
        connected.settimeout(self._silence_s)
        threading.Thread(
            target=self._serve, args=(connected, source), name="ztsession-peer", daemon=True
        ).start()

    def _serve(self, connected: socket.socket, source: str) -> None:
        peer = None
        try:
            peer = self._secure(connected)
            self._converse(peer, source)
        except (TransportError, WireError, OSError) as error:
            _log.debug("a connection ended: %s", error)
        except Exception:
            _log.exception("a connection failed")
        finally:
            self._end(connected, source, peer)

    def _converse(self, peer: SocketTransport, source: str) -> None:
        conversation = self._conversation(source, peer.channel_binding)
        try:
            within_s: float | None = min(FIRST_MESSAGE_S, self._silence_s)
            while not self._stopping.is_set():
                peer.send(conversation.exchange(peer.receive(within_s)))
                within_s = None
        finally:
            hang_up(conversation)

    def _end(self, connected: socket.socket, source: str, peer: SocketTransport | None = None) -> None:
        # First of all, because the peer may come again as soon as it sees the end.
        self._shares.give_back(source)
        with self._lock:
            self._open.discard(connected)
        if peer is not None:
            peer.close()
        connected.close()
        self._places.release()


class BoundStreamServer(StreamServer):
    """The same inside channels that have a name: ``conversation(source, channel_binding)`` is told it."""

    def __init__(
        self,
        address: str | tuple[str, int],
        conversation: Callable[[str, bytes], Transport],
        secure: Secure,
        *,
        connections_max: int = CONNECTIONS_MAX,
        connections_per_source_max: int | None = None,
        silence_s: float = SILENCE_S,
    ) -> None:
        """``secure`` makes of an accepted socket a transport that has its ``channel_binding``, for example
        ``partial(over_tls, context, server_side=True)``; the rest as in :class:`StreamServer`.
        """
        self._begin_with(secure, conversation)
        self._limit(connections_max, connections_per_source_max, silence_s)
        self._listen(address)


def _over_tls(context: ssl.SSLContext, connected: socket.socket) -> SocketTransport:
    # Of a copy, because TLS takes over the descriptor that it is given, and close() must find the other.
    return SocketTransport(context.wrap_socket(connected.dup(), server_side=True))


def _shut(connected: socket.socket) -> None:
    try:
        connected.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
