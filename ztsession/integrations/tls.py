"""TLS channels with a name: binds the handshake to the TLS connection that carries it (H22).

Whoever ends the client's TLS connection and opens another to the Authority can pass every message of the
handshake on, read nothing and change nothing; but he sits in the middle, and the next thing that is said on
that connection is his to keep. Both ends of one TLS 1.3 connection can derive the same secret value that no
other connection has (RFC 9266). With it in the prologue of the handshake, two connections make no agreement.

Python's ``ssl`` cannot export it, pyOpenSSL can: this module needs pyOpenSSL and is imported by nothing else
here. Which certificates TLS itself trusts is the deployer's choice in the ``Context``.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from OpenSSL import SSL

from ztsession.errors import TransportError
from ztsession.integrations.stream import SocketTransport

__all__ = ["over_tls", "tls_exporter"]

_LABEL = b"EXPORTER-Channel-Binding"
_BINDING_BYTES = 32
_TLS_1_3 = 0x0304

_T = TypeVar("_T")


def over_tls(
    context: SSL.Context,
    connected: socket.socket,
    *,
    server_side: bool = False,
    server_name: str | None = None,
) -> SocketTransport:
    """Do the TLS handshake on a connected socket; returns a transport that knows its channel binding.

    The socket's timeout bounds the TLS handshake. TransportError, and the socket closed, when it fails.
    ``partial(over_tls, context, server_side=True)`` is what :class:`BoundStreamServer` wants.
    """
    connection = SSL.Connection(context, connected)
    stream = _TlsSocket(connection, connected)
    if server_side:
        connection.set_accept_state()
    else:
        connection.set_connect_state()
        if server_name is not None:
            connection.set_tlsext_host_name(server_name.encode("idna"))
    try:
        stream.patiently(connection.do_handshake)
        return SocketTransport(stream, tls_exporter(connection))
    except OSError as error:
        stream.close()
        raise error if isinstance(error, TransportError) else TransportError(f"TLS: {error}") from error


def tls_exporter(connection: SSL.Connection) -> bytes:
    """The channel binding of an established TLS 1.3 connection, 32 bytes (RFC 9266, section 2).

    TransportError for older versions, whose exporter names a connection only under conditions that nobody
    can see from here (RFC 9266, section 3).
    """
    if connection.get_protocol_version() != _TLS_1_3:
        raise TransportError(
            f"TLS: expected version 1.3, the peers agreed on {connection.get_protocol_version_name()}"
        )
    try:
        return connection.export_keying_material(_LABEL, _BINDING_BYTES, b"")
    except SSL.Error as error:
        raise TransportError(f"TLS: nothing can be exported before the handshake is done: {error}") from error


class _TlsSocket:
    """The face of a socket over a pyOpenSSL connection, with timeouts."""

    def __init__(self, connection: SSL.Connection, connected: socket.socket) -> None:
        self._connection, self._connected = connection, connected

    def gettimeout(self) -> float | None:
        return self._connected.gettimeout()

    def settimeout(self, value: float | None, /) -> None:
        self._connected.settimeout(value)

    def sendall(self, data: bytes, /) -> None:
        while data:
            data = data[self.patiently(partial(self._connection.send, data)) :]

    def recv(self, bufsize: int, /) -> bytes:
        return self.patiently(partial(self._connection.recv, bufsize))

    def close(self) -> None:
        self._connected.close()

    def patiently(self, step: Callable[[], _T]) -> _T:
        """Repeat ``step`` until the socket has let it through, within the socket's timeout."""
        timeout_s = self.gettimeout()
        until = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            try:
                return step()
            except SSL.WantReadError:
                self._wait(select.POLLIN, until)
            except SSL.WantWriteError:
                self._wait(select.POLLOUT, until)
            except SSL.Error as error:
                # Also an end without TLS's own goodbye: nobody can tell it from a cut line.
                raise OSError(f"the TLS connection failed: {error or type(error).__name__}") from error

    def _wait(self, event: int, until: float | None) -> None:
        poll = select.poll()
        poll.register(self._connected, event)
        left_s = None if until is None else until - time.monotonic()
        if (left_s is not None and left_s <= 0) or not poll.poll(left_s and left_s * 1000):
            raise TimeoutError("timed out")
