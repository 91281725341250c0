"""Security events that are pushed (RFC 8935): a door of the Authority's HTTP application.

    POST /ssf/v1/events/{transmitter}           one SET as application/secevent+jwt

202 is answered when what it means is in force, and not before. 400 with one of RFC 8935's words says that it
will never be, so the transmitter gives up; 503 that it may be, so it tries again. What exactly was wrong is
in the log: the peer may be anybody.

A transmitter may have a bearer token beside its signatures. It is looked at before a byte of the body is, and
so is how often one address has come: a signature costs more to check than to invent.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from ztsession.authority.gate import Rates
from ztsession.errors import EventRefused, KeysUnavailable, StoreError
from ztsession.integrations.asgi_door import Route
from ztsession.integrations.asgi_request import Answer, Problem, Request
from ztsession.integrations.callers import Callers
from ztsession.integrations.workers import Workers
from ztsession.risk.ssf.names import SET_MEDIA_TYPE
from ztsession.risk.ssf.receiver import ACCESS_DENIED, SignalReceiver
from ztsession.risk.ssf.sets import (
    AUTHENTICATION_FAILED,
    INVALID_AUDIENCE,
    INVALID_ISSUER,
    INVALID_KEY,
    INVALID_REQUEST,
)
from ztsession.risk.ssf.settings import Transmitter
from ztsession.risk.ssf.streams import INVALID_STATE
from ztsession.wire.source import address_of, network_of

__all__ = ["TOLD", "EventPush"]

PATH: Final = "/ssf/v1/events/"

#: What a transmitter is told with each word; no more of it, whatever the cause.
TOLD: Final = {
    INVALID_REQUEST: "This is not one security event of the form that was agreed on.",
    INVALID_KEY: "The key or the algorithm is not one that is taken from this transmitter.",
    INVALID_ISSUER: "The issuer is not that of this transmitter.",
    INVALID_AUDIENCE: "The audience is another.",
    AUTHENTICATION_FAILED: "This is not authentic.",
    ACCESS_DENIED: "This is not taken from this transmitter.",
    INVALID_STATE: "This verification was not asked for.",
}

_log = logging.getLogger("ztsession.ssf")


class EventPush:
    """The door for transmitters of an :class:`~ztsession.integrations.asgi.AuthorityApp`."""

    def __init__(self, receiver: SignalReceiver, *, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock`` counts seconds."""
        self._receiver, self._clock = receiver, clock
        self._rates: dict[tuple[str, int], Rates] = {}
        self._lock = threading.Lock()
        self._refused = 0

    @property
    def transmitters_refused(self) -> int:
        """How many requests came without the token of their transmitter."""
        return self._refused

    def route(self, path: str) -> Route | None:
        """What answers requests for this path, None if they are not for here."""
        transmitter = self._receiver.transmitters.get(path.removeprefix(PATH))
        if not path.startswith(PATH) or transmitter is None:
            return None
        return partial(self._push, transmitter)

    def finished(self, request: Request, answer: Answer) -> Answer:
        """The answer as it is."""
        return answer

    def close(self) -> None:
        """Nothing is held open here."""

    async def _push(self, transmitter: Transmitter, request: Request, workers: Workers) -> Answer:
        if request.scope["method"] != "POST":
            raise Problem(405, "only POST", ("allow", "POST"))
        if not self._may_come(transmitter, request):
            return _refusal(401, AUTHENTICATION_FAILED, ("www-authenticate", "Bearer"))
        self._check_rate(transmitter, request.source)
        if (request.one("content-type") or "").lower() != SET_MEDIA_TYPE:
            raise Problem(415, f"only {SET_MEDIA_TYPE}")
        if request.headers.get("content-encoding"):
            # What a few bytes grow into is not bounded by their number.
            raise Problem(415, "only without a content-encoding")
        body = await request.body()
        try:
            await workers.exchange(partial(self._take, transmitter.name), body, request.source)
        except EventRefused as error:
            return _refusal(400, error.err)
        except (StoreError, KeysUnavailable) as error:
            # An unknown key is in anybody's word. That the issuer is not reached is told where it is asked.
            level = logging.DEBUG if isinstance(error, KeysUnavailable) else logging.WARNING
            _log.log(level, "a SET of %s has to come again: %s", transmitter.name, error)
            raise Problem(503, "this has to come again", ("retry-after", "1")) from None
        return Answer(202, b"")

    def _take(self, name: str, body: bytes) -> bytes:
        self._receiver.receive(name, body)
        return b""

    def _may_come(self, transmitter: Transmitter, request: Request) -> bool:
        if not transmitter.token_digest:
            return True
        callers = Callers({transmitter.name: transmitter.token_digest.hex()})
        if callers.of(request) is not None:
            return True
        with self._lock:
            self._refused += 1
        # Anybody can cause this, as often as he likes.
        _log.debug("somebody without the token of %s was refused, from %r", transmitter.name, request.source)
        return False

    def _check_rate(self, transmitter: Transmitter, source: str) -> None:
        if not source:
            return
        with self._lock:
            # By its limit, too: settings that were read again begin anew.
            rates = self._rates.setdefault((transmitter.name, transmitter.per_s), Rates(transmitter.per_s))
            if not rates.take(network_of(address_of(source)), self._clock()):
                raise Problem(429, "too many at once, try again in a second", ("retry-after", "1"))


def _refusal(status: int, err: str, *headers: tuple[str, str]) -> Answer:
    body = json.dumps({"err": err, "description": TOLD[err]}).encode("ascii")
    return Answer(status, body, (("content-language", "en"), *headers), "application/json")
