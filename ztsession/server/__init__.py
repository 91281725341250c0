"""Servers for stream sockets: an Authority, or an enforcement point's installation door.

The one for event loops is in ``ztsession.server.aio``.
"""

from ztsession.server.stream import BoundStreamServer, StreamServer

__all__ = ["BoundStreamServer", "StreamServer"]
