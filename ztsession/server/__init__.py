"""Servers for stream sockets: an Authority, or an enforcement point's installation door."""

from ztsession.server.stream import StreamServer

__all__ = ["StreamServer"]
