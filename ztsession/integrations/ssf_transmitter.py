"""The Shared Signals transmitter: receivers manage their streams here, and poll (SSF 1.0, RFC 8936).

    GET  /.well-known/ssf-configuration    where everything is
    GET  /ssf/jwks                         the keys that SETs are signed with
    *    /ssf/stream                       create, read, change, replace, delete the receiver's one stream
    *    /ssf/status                       read it, or enable, pause, disable
    POST /ssf/subjects/add, .../remove     whom to hear of
    POST /ssf/verification                 send something, to see that it arrives
    POST /ssf/poll/{stream_id}             take SETs

Events tell who works here, when, and how much he is trusted. So the first two say nothing of anybody, and all
else is for receivers that the operator has named, each with a token of his own that is looked at before a
byte of the body is read. Whose stream it is follows from that token alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import parse_qs, urlsplit

from ztsession.authority.authority import Authority
from ztsession.authority.streams import Stream, Streams
from ztsession.errors import AuditError, ConfigurationError, StoreError, WireError
from ztsession.integrations import ssf_out_messages as messages
from ztsession.integrations.asgi_door import Route
from ztsession.integrations.asgi_request import Answer, Problem, Request
from ztsession.integrations.callers import Callers
from ztsession.integrations.ssf_out_management import MEDIA_TYPE, Management
from ztsession.integrations.ssf_out_messages import Members, Poll
from ztsession.integrations.ssf_out_push import Pushes
from ztsession.integrations.workers import Workers
from ztsession.risk.ssf.names import POLL, PUSH, SPEC_VERSION, WELL_KNOWN

if TYPE_CHECKING:
    import httpx

__all__ = ["SsfTransmitter"]

#: Of the metadata and the keys. Shorter than any overlap of keys.
PUBLIC_AGE_S: Final = 3600
#: How long a poll waits that does not want to return at once.
POLL_WAIT_S: Final = 20.0

_QUERY_MAX: Final = 1024
_JSON: Final = re.compile(r'application/json *(?:; *charset="?utf-8"?)?', re.ASCII | re.IGNORECASE)

_log = logging.getLogger("ztsession.ssf")

_T = TypeVar("_T")


class SsfTransmitter:
    """Answers receivers for an :class:`AuthorityApp`, which closes it, and pushes to those that want it."""

    def __init__(
        self,
        authority: Authority,
        *,
        client: Callable[[], httpx.AsyncClient] | None = None,
        poll_wait_s: float = POLL_WAIT_S,
    ) -> None:
        """Receivers and the address are those of ``[transmitter]`` in the Authority's ``ssf.toml``.

        ``client`` makes what pushes are made with, for proxies or certificates of one's own; it must follow
        no redirects. ``poll_wait_s``: how long a poll may wait for an event. ConfigurationError if the
        operator has named no receivers.
        """
        streams = authority.announcer.streams
        if streams is None:
            raise ConfigurationError("the policy directory has no ssf.toml with a table [transmitter]")
        self._streams: Streams = streams
        self._settings, self._outbox = streams.settings, streams.outbox
        self._keys = authority.announcer.keys
        self._callers = Callers({name: each.digest for name, each in self._settings.receivers.items()})
        self._at = urlsplit(self._settings.issuer).path + "/ssf/"
        self._management = Management(streams, lambda stream: f"{self._settings.issuer}/ssf/poll/{stream}")
        self._poll_wait_s, self._refused = poll_wait_s, 0
        #: By stream, what ends the poll that waits there.
        self._waiting: dict[str, asyncio.Event] = {}
        streams.end_unnamed()
        self._pushes = Pushes(streams, client=client)

    @property
    def events(self) -> dict[str, int]:
        """Events since the start: "delivered", "refused" by their receiver, "dropped" here because nobody
        took them, and "retried" pushes.
        """
        return self._outbox.counts

    @property
    def waiting(self) -> dict[str, int]:
        """How many events wait for each receiver that has a stream."""
        return self._streams.waiting()

    @property
    def callers_refused(self) -> int:
        """How many requests came without the token of a receiver."""
        return self._refused

    def close(self) -> None:
        """Push no more; what is under way is waited for, as long as a push may take."""
        self._pushes.close()

    # ---- For the application

    def route(self, path: str) -> Route | None:
        """What answers requests for this path, None if they are not for here."""
        if path == WELL_KNOWN + self._at.removesuffix("/ssf/"):
            return partial(self._public, self._metadata)
        if not path.startswith(self._at):
            return None
        endpoint, _, rest = path.removeprefix(self._at).partition("/")
        if endpoint == "poll" and rest:
            return partial(self._poll, rest)
        endpoint = path.removeprefix(self._at)
        if endpoint == "jwks":
            return partial(self._public, self._keys.jwks)
        return partial(self._managed, endpoint) if endpoint in self._management.steps else None

    def finished(self, request: Request, answer: Answer) -> Answer:
        """The answer as it is."""
        return answer

    # ---- What anybody may read

    async def _public(self, said: Callable[[], Members], request: Request, workers: Workers) -> Answer:
        if request.scope["method"] != "GET":
            raise Problem(405, "only GET", ("allow", "GET"))
        body = await workers.exchange(lambda _: messages.encode(said()), b"", request.source)
        return Answer(200, body, (("cache-control", f"max-age={PUBLIC_AGE_S}"),), MEDIA_TYPE)

    def _metadata(self) -> Members:
        at = f"{self._settings.issuer}/ssf/"
        return {
            "spec_version": SPEC_VERSION,
            "issuer": self._settings.issuer,
            "jwks_uri": at + "jwks",
            "delivery_methods_supported": [PUSH, POLL],
            "configuration_endpoint": at + "stream",
            "status_endpoint": at + "status",
            "add_subject_endpoint": at + "subjects/add",
            "remove_subject_endpoint": at + "subjects/remove",
            "verification_endpoint": at + "verification",
            "authorization_schemes": [{"spec_urn": "urn:ietf:rfc:6750"}],
            "default_subjects": "ALL" if self._settings.all_subjects else "NONE",
        }

    # ---- What a receiver asks

    async def _managed(self, endpoint: str, request: Request, workers: Workers) -> Answer:
        receiver, method = self._admit(request), request.scope["method"]
        steps = self._management.steps[endpoint]
        if method not in steps:
            allowed = ", ".join(steps)
            raise Problem(405, f"only {allowed}", ("allow", allowed))
        asked = _query if method in ("GET", "DELETE") else messages.members
        data = request.scope.get("query_string", b"") if asked is _query else await _body(request)
        return await self._work(workers, request, lambda: steps[method](receiver, asked(data)))

    async def _work(self, workers: Workers, request: Request, work: Callable[[], _T]) -> _T:
        done = list[_T]()

        def run(_: bytes) -> bytes:
            done.append(work())
            return b""

        try:
            await workers.exchange(run, b"", request.source)
        except WireError as error:
            raise Problem(400, str(error)) from None
        except (StoreError, AuditError) as error:
            _log.error("a receiver could not be answered: %s", error)
            raise Problem(503, "this cannot be kept now", ("retry-after", "5")) from None
        return done[0]

    def _admit(self, request: Request) -> str:
        receiver = self._callers.of(request)
        if receiver is None:
            self._refused += 1
            # Anybody can cause this, as often as he likes.
            _log.debug("somebody without a receiver's token was refused, from %r", request.source)
            raise Problem(401, "a receiver's token is needed", ("www-authenticate", "Bearer"))
        return receiver

    # ---- Polls

    async def _poll(self, named: str, request: Request, workers: Workers) -> Answer:
        receiver = self._admit(request)
        if request.scope["method"] != "POST":
            raise Problem(405, "only POST", ("allow", "POST"))
        data = await _body(request)

        def begin() -> tuple[Stream, Poll]:
            poll, stream = messages.read_poll(messages.members(data)), self._streams.get(receiver, named)
            if stream is None or stream.wanted.method != POLL:
                raise Problem(404, "you have no such stream to poll")
            self._outbox.done(stream.row, list(poll.taken))
            self._outbox.refused(stream.row, poll.refused)
            return stream, poll

        stream, poll = await self._work(workers, request, begin)
        sets, more = await self._collected(stream, poll, request, workers)
        return Answer(200, messages.encode(messages.polled(sets, more=more)), media_type=MEDIA_TYPE)

    async def _collected(
        self, stream: Stream, poll: Poll, request: Request, workers: Workers
    ) -> tuple[dict[str, str], bool]:
        def take() -> tuple[dict[str, str], bool]:
            events, more = self._outbox.waiting(stream.row, poll.events_max)
            return {each.jti: self._outbox.token(stream.row, each) for each in events}, more

        # Who takes none only says what became of others, and does not wait (RFC 8936, section 2.2).
        if poll.at_once or not poll.events_max:
            return await self._work(workers, request, take)
        loop, come, until = asyncio.get_running_loop(), self._woken(stream.id), self._poll_wait_s
        stop = self._outbox.listen(lambda: _soon(loop, come))
        try:
            async with asyncio.timeout(until):
                while True:
                    sets, more = await self._work(workers, request, take)
                    if sets or self._waiting.get(stream.id) is not come:
                        return sets, more
                    await come.wait()
                    come.clear()
        except TimeoutError:
            return {}, False
        finally:
            stop()
            if self._waiting.get(stream.id) is come:
                del self._waiting[stream.id]

    def _woken(self, stream: str) -> asyncio.Event:
        # One poll waits on a stream: whoever asks again has given up the one before.
        before, come = self._waiting.get(stream), asyncio.Event()
        self._waiting[stream] = come
        if before is not None:
            before.set()
        return come


def _soon(loop: asyncio.AbstractEventLoop, come: asyncio.Event) -> None:
    # From the thread that decides, which may outlive the loop.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(come.set)


def _query(data: bytes) -> Members:
    try:
        given = parse_qs(data[: _QUERY_MAX + 1].decode("ascii"), strict_parsing=True) if data else {}
    except ValueError:
        raise WireError("the query cannot be read") from None
    if len(data) > _QUERY_MAX or any(len(values) > 1 for values in given.values()):
        raise WireError("the query is too long, or names something twice")
    return {name: values[0] for name, values in given.items()}


async def _body(request: Request) -> bytes:
    kind = request.one("content-type")
    # The specification's own examples name none.
    if kind is not None and not _JSON.fullmatch(kind):
        raise Problem(415, f"only {MEDIA_TYPE}")
    if request.headers.get("content-encoding"):
        # What a few bytes grow into is not bounded by their number.
        raise Problem(415, "only without a content-encoding")
    return await request.body()
