"""A door: what else the HTTP application answers, beside the protocol's own messages.

Each is off unless it is asked for, keeps its own rules of who may come in, and shares the application's
limits: a request has taken its place in all and for its source before any door sees it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from ztsession.integrations.asgi_request import Answer, Request
from ztsession.integrations.workers import Workers

__all__ = ["Door", "Route"]

#: What answers a request, with the threads for what must not run on the event loop; Problem to refuse it.
Route = Callable[[Request, Workers], Awaitable[Answer]]


class Door(Protocol):
    """What :class:`~ztsession.integrations.asgi.AuthorityApp` asks of each of its ``doors``."""

    def route(self, path: str) -> Route | None:
        """What answers requests for this path, None if they are not for here."""

    def finished(self, request: Request, answer: Answer) -> Answer:
        """The answer as it goes out, whatever it says and whoever gave it; most return it as it is."""

    def close(self) -> None:
        """Answer no more; the application was closed."""
