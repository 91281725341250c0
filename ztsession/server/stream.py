"""A stream server: frames in, answers out, one conversation per socket.

Each connection is served by a thread of its own, up to a limit: handshakes are rare and hold the interpreter
for a millisecond, while a long poll for changes must hold nobody else up. A silent connection is closed, and
beyond the limit newcomers wait in the kernel's queue, so that half-open handshakes cost a bounded amount
(D4).
"""

from __future__ import annotations

import logging
import os
import socket
import stat
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from ztsession.client.transport import Transport
from ztsession.errors import TransportError, WireError, ZtsError
from ztsession.integrations.stream import SocketTransport

__all__ = ["StreamServer"]

CONNECTIONS_MAX = 256
SILENCE_S = 30.0

_log = logging.getLogger("ztsession.server")


class StreamServer:
    """Serves ``conversation()`` (for example ``authority.connection``) to each peer that connects."""

    def __init__(
        self,
        address: str | tuple[str, int],
        conversation: Callable[[], Transport],
        *,
        connections_max: int = CONNECTIONS_MAX,
        silence_s: float = SILENCE_S,
    ) -> None:
        """Listen on ``(host, port)``, port 0 for any, or on a Unix socket's path (mode 0600);
        TransportError if taken.
        """
        self._conversation, self._silence_s = conversation, silence_s
        self._places = threading.BoundedSemaphore(connections_max)
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._stopping = False
        self._listener = _listen(address)
        self._path = address if isinstance(address, str) else None
        self._thread = threading.Thread(target=self._accept, name="ztsession-server", daemon=True)
        self._thread.start()

    @property
    def address(self) -> str | tuple[str, int]:
        """Where it listens, with the port that was chosen."""
        if self._path is not None:
            return self._path
        host, port = self._listener.getsockname()[:2]
        return host, port

    def close(self) -> None:
        """Stop listening and close every connection."""
        self._stopping = True
        # Closing alone would not wake a thread that waits in accept().
        for waiting in [self._listener, *self._open]:
            _shut(waiting)
        self._listener.close()
        self._thread.join()
        if self._path is not None and os.path.exists(self._path):
            os.unlink(self._path)

    def __enter__(self) -> Self:
        """The server itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def _accept(self) -> None:
        while True:
            self._places.acquire()
            try:
                connected, _ = self._listener.accept()
            except OSError:
                return
            connected.settimeout(self._silence_s)
            if connected.family != socket.AF_UNIX:
                connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._open.add(connected)
            threading.Thread(
                target=self._serve, args=(connected,), name="ztsession-peer", daemon=True
            ).start()

    def _serve(self, connected: socket.socket) -> None:
        try:
            with SocketTransport(connected) as peer:
                answer = self._conversation().exchange
                while not self._stopping:
                    peer.send(answer(peer.receive()))
        except (TransportError, WireError) as error:
            _log.debug("a connection ended: %s", error)
        except ZtsError:
            _log.exception("a connection failed")
        finally:
            with self._lock:
                self._open.discard(connected)
            self._places.release()


def _listen(address: str | tuple[str, int]) -> socket.socket:
    try:
        if isinstance(address, tuple):
            return socket.create_server(
                address, family=socket.AF_INET6 if ":" in address[0] else socket.AF_INET
            )
        return _listen_unix(address)
    except OSError as error:
        raise TransportError(f"cannot listen on {address}: {error}") from error


def _listen_unix(path: str) -> socket.socket:
    if os.path.exists(path) and stat.S_ISSOCK(os.stat(path).st_mode) and not _answers(path):
        os.unlink(path)  # left behind by a process that was killed
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(path)
    finally:
        os.umask(before)
    listener.listen()
    return listener


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return False
        return True


def _shut(connected: socket.socket) -> None:
    try:
        connected.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
