"""The Authority's HTTP door: an ASGI application behind uvicorn, on a port of its own.

Everybody else comes over sockets that speak the protocol; what other vendors have to say comes here.
"""

from __future__ import annotations

import socket
import threading

from ztsession.integrations.asgi import AuthorityApp

__all__ = ["HttpDoor"]


class HttpDoor:
    """Serves ``app`` on a loopback port until it is closed."""

    def __init__(self, app: AuthorityApp) -> None:
        """Listen; from now on a client's request is answered."""
        import uvicorn

        self._listening = socket.create_server(("127.0.0.1", 0))
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        # No process outlives its director because somebody might still knock.
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._listening]}, name="demo-http", daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it is, without a path."""
        return "http://127.0.0.1:{1}".format(*self._listening.getsockname())

    def close(self) -> None:
        """Answer what is under way, and stop listening."""
        self._server.should_exit = True
        self._thread.join()
