"""An Authority, and the installation doors of enforcement points, behind any ASGI server.

    POST /v1/handshake                          messages of a handshake, and of what follows in its channel
    POST /v1/renewal                            one renewal, one answer
    POST /v1/feed                               one question, or one report, of an enforcement point
    POST /v1/segments/{segment}/installation    one ticket to install

and those of other doors, such as :mod:`ztsession.integrations.authzen`, if they are asked for.

Bodies are the protocol's own messages as ``application/octet-stream``, and a refusal of the protocol is such
a message too, with status 200: HTTP carries the protocol and has no say in it. HTTP's own statuses are for
what never reached it, and their few words tell a stranger nothing. Whatever a request may hold (memory, a
thread, a place) is bounded before it is read, for each source and in all.

The source is what the server says in ``scope["client"]``. Behind a proxy the server must be told to take it
from the proxy's headers, and from no one else's; otherwise all clients are one source and share its limits. A
server on a Unix socket that names no client leaves its clients unlimited; on a port all that it does not name
are one source.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Protocol

from ztsession.client.transport import Transport, hang_up
from ztsession.errors import Overloaded
from ztsession.handshake.messages import CookieDemand
from ztsession.integrations.asgi_door import Door, Route
from ztsession.integrations.asgi_request import (
    CONVERSATION_HEADER,
    MEDIA_TYPE,
    Answer,
    Gone,
    Problem,
    Receive,
    Request,
    Scope,
    Send,
)
from ztsession.integrations.conversations import Conversations, Held
from ztsession.integrations.shares import Shares
from ztsession.integrations.workers import WORKERS, Workers, feed_request, is_report

__all__ = ["AuthorityApp"]

REQUESTS_MAX = 1024

_log = logging.getLogger("ztsession.http")


class Connects(Protocol):
    """An Authority, as far as it is needed here."""

    def connection(self, source: str = "") -> Transport:
        """A fresh connection for a peer at ``source``."""


class AuthorityApp:
    """The ASGI application. For one process with one event loop, because conversations live in its memory."""

    def __init__(
        self,
        authority: Connects | None = None,
        points: Mapping[str, Transport] | None = None,
        *,
        doors: Sequence[Door] = (),
        workers: int = WORKERS,
        requests_max: int = REQUESTS_MAX,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``points``: by segment, enforcement points that take installations here. Without an Authority there
        are only those. ``doors`` are asked before that, in their order. One source has a sixteenth of
        ``requests_max`` at once.
        """
        self._authority, self._points, self._doors = authority, dict(points or {}), tuple(doors)
        share = max(1, requests_max // 16)
        self._workers = Workers(workers=workers, per_source_max=share)
        self._conversations = Conversations(clock)
        self._shares, self._requests = Shares(share), 0
        self._requests_max = requests_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection of the ASGI server."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._respond(Request.of(scope, receive), send)
        else:
            await send({"type": f"{scope['type']}.close"})

    def close(self) -> None:
        """End every conversation; the server's lifespan does it, too."""
        self._conversations.close()
        self._workers.close()
        for door in self._doors:
            door.close()

    # ---- HTTP

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            kind = (await receive())["type"]
            if kind == "lifespan.shutdown":
                self.close()
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return

    async def _respond(self, request: Request, send: Send) -> None:
        try:
            answer = await self._admitted(request)
        except Gone:
            return
        except Problem as problem:
            answer = problem.answer
        except Overloaded:
            answer = Problem(503, "busy, try again in a second", ("retry-after", "1")).answer
        except Exception:
            _log.exception("a request could not be answered")
            answer = Problem(500, "this could not be answered").answer
        for door in self._doors:
            answer = door.finished(request, answer)
        try:
            await answer.send(send, request)
        except OSError as error:
            _log.debug("a client did not wait for its answer: %s", error)

    async def _admitted(self, request: Request) -> Answer:
        if self._requests >= self._requests_max or not self._shares.take(request.source):
            raise Overloaded("too many requests at once")
        self._requests += 1
        try:
            return await self._route(request)(request)
        finally:
            self._requests -= 1
            self._shares.give_back(request.source)

    def _route(self, request: Request) -> Callable[[Request], Awaitable[Answer]]:
        for door in self._doors:
            asked = door.route(request.path)
            if asked is not None:
                return partial(self._through, asked)
        match request.path.split("/"):
            case ["", "v1", "handshake"] if self._authority is not None:
                route = self._handshake
            case ["", "v1", "renewal"] if self._authority is not None:
                route = self._renewal
            case ["", "v1", "feed"] if self._authority is not None:
                route = self._feed
            case ["", "v1", "segments", segment, "installation"] if segment in self._points:
                route = self._installation
            case _:
                raise Problem(404, "there is nothing here")
        if request.scope["method"] != "POST":
            raise Problem(405, "only POST", ("allow", "POST"))
        if (request.one("content-type") or "").lower() != MEDIA_TYPE:
            raise Problem(415, f"only {MEDIA_TYPE}")
        return route

    def _through(self, route: Route, request: Request) -> Awaitable[Answer]:
        return route(request, self._workers)

    # ---- The four of the protocol

    async def _handshake(self, request: Request) -> Answer:
        name = request.one(CONVERSATION_HEADER)
        body = await request.body()
        if feed_request(body) is not None:
            # It would keep a worker waiting that clients need.
            raise Problem(400, "questions for changes go to /v1/feed")
        if name is not None:
            return await self._continue(request, name, body)
        name, held = self._conversations.begin(request.source, self._connection(request))
        answer = await self._exchange(request, held, body, new=True)
        if len(answer) <= CookieDemand.max_bytes:
            # A cookie demand or a refusal: nothing is kept for who has not come through the gate.
            self._conversations.end(held)
            return Answer(200, answer)
        self._put_back(held)
        return Answer(200, answer, ((CONVERSATION_HEADER, name),))

    async def _continue(self, request: Request, name: str, body: bytes) -> Answer:
        if self._conversations.in_use(name):
            raise Problem(409, "this conversation's last message is not answered yet")
        held = self._conversations.take(name)
        if held is None:
            raise Problem(410, "this conversation is over, begin another")
        answer = await self._exchange(request, held, body, new=False)
        self._put_back(held)
        return Answer(200, answer)

    async def _exchange(self, request: Request, held: Held, body: bytes, *, new: bool) -> bytes:
        try:
            return await self._workers.exchange(held.conversation.exchange, body, request.source)
        except Overloaded:
            # It was not even begun; but of a new one nobody knows the name.
            self._conversations.end(held) if new else self._put_back(held)
            raise
        except BaseException:
            # Cancelled: where the conversation stands is not known, so it stands nowhere (R17).
            self._conversations.end(held)
            raise

    def _put_back(self, held: Held) -> None:
        self._conversations.put_back(held, established=getattr(held.conversation, "established", False))

    async def _renewal(self, request: Request) -> Answer:
        body = await request.body()
        if feed_request(body) is not None:
            raise Problem(400, "questions for changes go to /v1/feed")
        return await self._once(request, body)

    async def _feed(self, request: Request) -> Answer:
        body = await request.body()
        if feed_request(body) is None and not is_report(body):
            # The threads that wait for changes are not for the work of handshakes.
            raise Problem(400, "only questions for changes, and reports")
        return await self._once(request, body)

    async def _once(self, request: Request, body: bytes) -> Answer:
        connection = self._connection(request)
        try:
            return Answer(200, await self._workers.exchange(connection.exchange, body, request.source))
        finally:
            hang_up(connection)

    async def _installation(self, request: Request) -> Answer:
        point = self._points[request.path.split("/")[-2]]
        body = await request.body()
        return Answer(200, await self._workers.exchange(point.exchange, body, request.source))

    def _connection(self, request: Request) -> Transport:
        if self._authority is None:
            raise Problem(404, "there is nothing here")
        return self._authority.connection(request.source)
