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
from ztsession.errors import TransportError, WireError
from ztsession.integrations.stream import SocketTransport

__all__ = ["StreamServer"]

CONNECTIONS_MAX = 256
SILENCE_S = 30.0
_ACCEPT_AGAIN_S = 0.1
_PROBE_S = 1.0

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
        self._places = threading.Semaphore(connections_max)
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._listener = _listen(address)
        self._path = address if isinstance(address, str) else None
        self._address = address if isinstance(address, str) else self._listener.getsockname()[:2]
        self._inode = os.stat(address).st_ino if isinstance(address, str) else 0
        self._thread = threading.Thread(target=self._accept, name="ztsession-server", daemon=True)
        self._thread.start()

    @property
    def address(self) -> str | tuple[str, int]:
        """Where it listens, with the port that was chosen."""
        return self._address

    def close(self) -> None:
        """Stop listening and close every connection; closing twice is harmless."""
        self._stopping.set()
        self._places.release()  # in case every place is taken
        with self._lock:
            waiting = [self._listener, *self._open]
        # Closing alone would not wake a thread that waits in accept() or recv().
        for each in waiting:
            _shut(each)
        self._thread.join()
        self._listener.close()
        if self._path is not None and _inode(self._path) == self._inode:
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
        while not self._stopping.is_set():
            self._places.acquire()
            connected = self._next()
            if connected is None:
                return
            try:
                self._begin(connected)
            except (OSError, RuntimeError) as error:
                # The peer is gone already, or the machine has no thread left: this one is refused, no more.
                _log.warning("a connection could not be served: %s", error)
                self._end(connected)

    def _next(self) -> socket.socket | None:
        while not self._stopping.is_set():
            try:
                return self._listener.accept()[0]
            except OSError as error:
                # Descriptors may be used up for a while; whoever can cause that must not end the server.
                if not self._stopping.is_set():
                    _log.warning("no connection can be accepted: %s", error)
                    self._stopping.wait(_ACCEPT_AGAIN_S)
        return None

    def _begin(self, connected: socket.socket) -> None:
        with self._lock:
            self._open.add(connected)
        connected.settimeout(self._silence_s)
        if connected.family != socket.AF_UNIX:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=self._serve, args=(connected,), name="ztsession-peer", daemon=True).start()

    def _serve(self, connected: socket.socket) -> None:
        try:
            peer, answer = SocketTransport(connected), self._conversation().exchange
            while not self._stopping.is_set():
                peer.send(answer(peer.receive()))
        except (TransportError, WireError) as error:
            _log.debug("a connection ended: %s", error)
        except Exception:
            _log.exception("a connection failed")
        finally:
            self._end(connected)

    def _end(self, connected: socket.socket) -> None:
        connected.close()
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
        listener.listen()
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(before)
    return listener


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_S)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        return True


def _inode(path: str) -> int | None:
    try:
        return os.stat(path).st_ino
    except OSError:
        return None


def _shut(connected: socket.socket) -> None:
    try:
        connected.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
