"""An Authority with doors behind a real server, on a port of this machine."""

from __future__ import annotations

import socket
import threading
from typing import Any

import httpx
import uvicorn

from ztsession.integrations.asgi import AuthorityApp
from ztsession.integrations.ssf_push import PATH


class Served:
    """``app`` on a socket, until it is closed."""

    def __init__(self, app: AuthorityApp) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = "http://127.0.0.1:{1}".format(*self._listening.getsockname())
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._listening]})
        self._thread.start()
        self.http = httpx.Client(base_url=self.url, timeout=30)

    def push(self, data: bytes, *, to: str = "idp", headers: Any = None) -> httpx.Response:
        given = {"content-type": "application/secevent+jwt", **(headers or {})}
        return self.http.post(PATH + to, content=data, headers=given)

    def announce(self, length: int, *, to: str = "idp") -> bytes:
        """The answer to the headers of a body of this length, before any of it is sent."""
        with socket.create_connection(self._listening.getsockname(), timeout=20) as raw:
            raw.sendall(
                f"POST {PATH}{to} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n"
                "content-type: application/secevent+jwt\r\n\r\n".encode()
            )
            return raw.recv(1000)

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()
        self._server.should_exit = True
        self._thread.join()
        self._listening.close()
