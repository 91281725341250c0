"""Messages over HTTP: clients for ``ztsession.integrations.asgi``, blocking and asynchronous.

The protocol inside trusts nothing of HTTP or of the TLS beneath. So an answer is only looked at as far as it
could be a message: the one media type, no encoding to unpack, and no longer than a message may be. A failure,
or a cancelled exchange, ends the transport for good, because nobody knows how far the server came (R17).
"""

from __future__ import annotations

import asyncio
import re
import time
from types import TracebackType
from typing import Literal, Self, TypedDict
from urllib.parse import quote

import httpx

from ztsession.errors import ConfigurationError, TransportError, WireError
from ztsession.handshake.messages import RenewalRequest
from ztsession.integrations.asgi_request import CONVERSATION_HEADER, MEDIA_TYPE
from ztsession.wire.framing import MAX_FRAME_BYTES, frame
from ztsession.wire.schema import kind_of

__all__ = ["AsyncHttpTransport", "HttpTransport", "Purpose"]

Purpose = Literal["handshake", "renewal", "feed", "installation"]

TIMEOUT_S = 10.0

_NAME = re.compile(r"[A-Za-z0-9_-]{16,64}", re.ASCII)
_WORDS_MAX = 120
_NEXT_STEPS = {
    404: "check the address of the server, and the segment if there is one",
    409: "wait for one answer before the next message",
    410: "begin the handshake again",
    413: "ask for less at once",
    429: "wait a second and try again",
    503: "wait a second and try again",
}


class _Options(TypedDict):
    content: bytes
    headers: dict[str, str]
    timeout: float
    follow_redirects: bool


class _Line:
    """What both clients have in common: one door of a server, and where the conversation there stands."""

    def __init__(self, base_url: str, purpose: Purpose, segment: str, timeout_s: float) -> None:
        self._url, self._timeout_s = _url(base_url, purpose, segment), timeout_s
        self._renews = purpose == "renewal"
        self._conversation, self._over = "", ""

    def _request(self, message: bytes) -> _Options:
        if self._over:
            raise TransportError(self._over)
        frame(message)  # what is too long for a stream is too long here
        if self._renews and not _is_renewal(message):
            # That door keeps no conversation. The refusal it would give says nothing of that.
            raise TransportError(
                f"{self._url}: only for renewals; handshakes, and steps up, need a transport for handshakes"
            )
        headers = {"content-type": MEDIA_TYPE, "accept": MEDIA_TYPE, "accept-encoding": "identity"}
        if self._conversation:
            headers[CONVERSATION_HEADER] = self._conversation
        return {"content": message, "headers": headers, "timeout": self._timeout_s, "follow_redirects": False}

    def _check(self, response: httpx.Response) -> None:
        # Before a byte of the answer is read.
        media_type = response.headers.get("content-type", "")
        if response.status_code == 200 and (
            media_type != MEDIA_TYPE or "content-encoding" in response.headers
        ):
            raise TransportError(f"{self._url}: expected {MEDIA_TYPE}, the answer is {media_type[:64]!r}")

    def _forgotten(self, response: httpx.Response) -> bool:
        """Whether to say the same in a new conversation: a server keeps an idle one for minutes only."""
        forgotten = response.status_code == 410 and bool(self._conversation)
        if forgotten:
            self._conversation = ""
        return forgotten

    def _message(self, response: httpx.Response, body: bytes) -> bytes:
        if response.status_code != 200:
            words = body[:_WORDS_MAX].decode("ascii", "replace").strip()
            step = _NEXT_STEPS.get(response.status_code, "is this the server of an Authority? see its log")
            raise TransportError(f"{self._url}: status {response.status_code} ({words!r}); {step}")
        name = response.headers.get(CONVERSATION_HEADER, "")
        if name and _NAME.fullmatch(name) is None:
            raise TransportError(f"{self._url}: the conversation has an impossible name")
        self._conversation = name or self._conversation
        return body

    def _grown(self, body: bytearray, piece: bytes, until: float) -> None:
        body += piece
        if len(body) > MAX_FRAME_BYTES:
            raise TransportError(f"{self._url}: the answer is over the limit of {MAX_FRAME_BYTES} bytes")
        if time.monotonic() > until:
            raise TransportError(f"{self._url}: timed out")

    def _failed(self, error: BaseException) -> TransportError:
        self._over = f"{self._url}: an earlier exchange failed, connect again"
        if isinstance(error, TransportError):
            return error
        return TransportError(f"{self._url}: {str(error) or type(error).__name__}")


class HttpTransport(_Line):
    """A ``Transport`` to one door of a server; one exchange at a time. A failure ends it for good."""

    def __init__(
        self,
        base_url: str,
        purpose: Purpose = "handshake",
        *,
        segment: str = "",
        client: httpx.Client | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """``base_url``: the server, without ``/v1/...``; ``segment``: where to install, for "installation".

        ``timeout_s`` bounds each exchange; a feed's must be longer than its questions wait. Until an answer's
        body begins it bounds each read and not their sum: for that, :class:`AsyncHttpTransport`. ``client``
        is used and left open if given: for proxies, client certificates, or to share its connections.
        """
        super().__init__(base_url, purpose, segment, timeout_s)
        self._client, self._own = client or httpx.Client(), client is None

    def exchange(self, message: bytes) -> bytes:
        """Post one message and return the answer to it; TransportError says the status and the next step."""
        options = self._request(message)
        try:
            response, body = self._post(options)
            if self._forgotten(response):
                response, body = self._post(self._request(message))
            return self._message(response, body)
        except (httpx.HTTPError, httpx.InvalidURL, TransportError) as error:
            raise self._failed(error) from error
        except BaseException as error:
            self._failed(error)
            raise

    def close(self) -> None:
        """Close the connections, unless they are another's; closing twice is harmless."""
        self._over = self._over or f"{self._url}: closed here"
        if self._own:
            self._client.close()

    def __enter__(self) -> Self:
        """The transport itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def _post(self, options: _Options) -> tuple[httpx.Response, bytes]:
        until, body = time.monotonic() + self._timeout_s, bytearray()
        with self._client.stream("POST", self._url, **options) as response:
            self._check(response)
            for piece in response.iter_raw():
                self._grown(body, piece, until)
        return response, bytes(body)


class AsyncHttpTransport(_Line):
    """An ``AsyncTransport`` to one door of a server, for asyncio. Exchanges of several tasks take turns."""

    def __init__(
        self,
        base_url: str,
        purpose: Purpose = "handshake",
        *,
        segment: str = "",
        client: httpx.AsyncClient | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """As :class:`HttpTransport`, but ``timeout_s`` bounds the whole of each exchange."""
        super().__init__(base_url, purpose, segment, timeout_s)
        self._client, self._own = client or httpx.AsyncClient(), client is None
        self._turn = asyncio.Lock()

    async def exchange(self, message: bytes) -> bytes:
        """Post one message and return the answer to it; TransportError says the status and the next step."""
        async with self._turn:
            options = self._request(message)
            try:
                async with asyncio.timeout(self._timeout_s):
                    response, body = await self._post(options)
                    if self._forgotten(response):
                        response, body = await self._post(self._request(message))
                return self._message(response, body)
            except (httpx.HTTPError, httpx.InvalidURL, TransportError, TimeoutError) as error:
                raise self._failed(error) from error
            except BaseException as error:
                # Cancelled, above all: what the server answers now is for nobody.
                self._failed(error)
                raise

    async def close(self) -> None:
        """Close the connections, unless they are another's; closing twice is harmless."""
        self._over = self._over or f"{self._url}: closed here"
        if self._own:
            await self._client.aclose()

    async def __aenter__(self) -> Self:
        """The transport itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        await self.close()

    async def _post(self, options: _Options) -> tuple[httpx.Response, bytes]:
        until, body = time.monotonic() + self._timeout_s, bytearray()
        async with self._client.stream("POST", self._url, **options) as response:
            self._check(response)
            async for piece in response.aiter_raw():
                self._grown(body, piece, until)
        return response, bytes(body)


def _is_renewal(message: bytes) -> bool:
    try:
        return kind_of(message, max_bytes=MAX_FRAME_BYTES) == RenewalRequest.kind
    except WireError:
        return False


def _url(base_url: str, purpose: Purpose, segment: str) -> str:
    if (purpose == "installation") != bool(segment):
        raise ConfigurationError(
            f"a segment belongs to an installation and to nothing else, not to {purpose!r}"
        )
    path = f"segments/{quote(segment, safe='')}/installation" if segment else purpose
    return f"{base_url.rstrip('/')}/v1/{path}"
