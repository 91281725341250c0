"""Listening sockets: a port, or the path of a Unix socket that nobody else on the machine may open."""

from __future__ import annotations

import os
import socket
import stat

from ztsession.errors import TransportError

__all__ = ["Listener", "source_of"]

_PROBE_S = 1.0


class Listener:
    """A bound and listening socket, and its file if it has one."""

    def __init__(self, address: str | tuple[str, int]) -> None:
        """Listen on ``(host, port)``, port 0 for any, or on a Unix socket's path (mode 0600);
        TransportError if taken.
        """
        try:
            self.socket = _listen_unix(address) if isinstance(address, str) else _listen(address)
        except OSError as error:
            raise TransportError(f"cannot listen on {address}: {error}") from error
        self._path = address if isinstance(address, str) else None
        self.address = address if isinstance(address, str) else self.socket.getsockname()[:2]
        self._inode = os.stat(address).st_ino if isinstance(address, str) else 0

    def close(self) -> None:
        """Stop listening, and remove the Unix socket's file unless another server has taken its place."""
        self.socket.close()
        if self._path is not None and _inode(self._path) == self._inode:
            os.unlink(self._path)


def source_of(peer: object) -> str:
    """The source of a peer, from its socket address: an IP address as text, "" for a Unix socket."""
    return str(peer[0]) if isinstance(peer, tuple) else ""


def _listen(address: tuple[str, int]) -> socket.socket:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    listener = socket.create_server(address, family=family)
    # What is accepted inherits it; no answer waits for the acknowledgement of another.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


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
