"""One HTTP request and its answer, over bare ASGI: what is looked at, and how much is taken."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from ztsession.wire.framing import MAX_FRAME_BYTES
from ztsession.wire.source import UNNAMED

__all__ = [
    "CONVERSATION_HEADER",
    "MEDIA_TYPE",
    "Answer",
    "Gone",
    "Problem",
    "Receive",
    "Request",
    "Scope",
    "Send",
]

CONVERSATION_HEADER = "zt-conversation"
MEDIA_TYPE = "application/octet-stream"
BODY_S = 10.0

_LENGTH_DIGITS_MAX = 20

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Problem(Exception):  # noqa: N818
    """What HTTP itself has to say; never leaves the application."""

    def __init__(self, status: int, text: str, *headers: tuple[str, str]) -> None:
        super().__init__(text)
        self.answer = Answer(status, text.encode() + b"\n", headers, "text/plain; charset=utf-8")


class Gone(Exception):  # noqa: N818
    """The client left before it had said everything; never leaves the application."""


@dataclass
class Request:
    """What a client asks; ``source`` is the text of its address, "" on a Unix socket."""

    scope: Scope
    receive: Receive
    source: str
    headers: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, scope: Scope, receive: Receive) -> Request:
        """Read the scope, not the body."""
        request = cls(scope, receive, _source(scope))
        for name, value in scope["headers"]:
            request.headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
        return request

    @property
    def path(self) -> str:
        """The path within this application."""
        path: str = self.scope["path"]
        return path.removeprefix(self.scope.get("root_path") or "")

    def one(self, name: str) -> str | None:
        """A header's value, None if it is not there; Problem if it is there twice."""
        values = self.headers.get(name, [])
        if len(values) > 1:
            raise Problem(400, f"{name} is given twice")
        return values[0].strip() if values else None

    async def body(self) -> bytes:
        """The whole body, at most 65,536 bytes; Problem if it is longer or takes too long, Gone if it ends
        early.
        """
        self._check_length()
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_S):
                more = True
                while more:
                    piece, more = await self._piece()
                    body += piece
                    if len(body) > MAX_FRAME_BYTES:
                        raise _too_long()
        except TimeoutError:
            raise Problem(408, "the message did not come", ("connection", "close")) from None
        return bytes(body)

    def _check_length(self) -> None:
        # Before a byte of it is asked for.
        length = self.one("content-length") or "0"
        if not (length.isascii() and length.isdigit()):
            raise Problem(400, "the length is no number")
        if len(length) > _LENGTH_DIGITS_MAX or int(length) > MAX_FRAME_BYTES:
            raise _too_long()

    async def _piece(self) -> tuple[bytes, bool]:
        event = await self.receive()
        if event["type"] == "http.disconnect":
            raise Gone
        return event.get("body", b""), event.get("more_body", False)


@dataclass(frozen=True)
class Answer:
    """What is answered: a message of the protocol, or a few words."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    media_type: str = MEDIA_TYPE

    async def send(self, send: Send, request: Request) -> None:
        """Send it; OSError when the client did not wait."""
        headers = {
            "content-type": self.media_type,
            "content-length": str(len(self.body)),
            "cache-control": "no-store",
            "x-content-type-options": "nosniff",
            **dict(self.headers),
        }
        if self.status == 204:
            # There is nothing, and nothing has neither a type nor a length (RFC 9110, section 8.6).
            del headers["content-type"], headers["content-length"]
        if not str(request.scope.get("http_version", "1.1")).startswith("1"):
            headers.pop("connection", None)  # HTTP/2 has no such header (RFC 9113, section 8.2.2)
        encoded = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": self.status, "headers": encoded})
        await send({"type": "http.response.body", "body": self.body})


def _source(scope: Scope) -> str:
    client, server = scope.get("client"), scope.get("server")
    if client and client[0]:
        return str(client[0])
    # A Unix socket has no port; on a port nobody is without limits for having no name.
    return UNNAMED if server and server[1] is not None else ""


def _too_long() -> Problem:
    return Problem(413, f"a message has at most {MAX_FRAME_BYTES} bytes", ("connection", "close"))
