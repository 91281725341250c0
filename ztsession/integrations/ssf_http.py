"""Asking a transmitter over HTTP: at the address that was given alone, within a time and a size.

The same care as with an issuer's keys (:mod:`ztsession.identity.jwks_fetch`): no redirect is followed, plain
HTTP is for this machine only, an answer has all of its time from the first byte to the last, and a compressed
one, which would be larger than what was counted, is none.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from ztsession.errors import ConfigurationError, EvidenceError, TransportError
from ztsession.identity.jose import strict_json
from ztsession.identity.jwks_fetch import is_fetchable, open_client

if TYPE_CHECKING:
    import httpx

__all__ = ["Peer", "members"]

TIMEOUT_S: Final = 10.0
ANSWER_MAX_BYTES: Final = 256 * 1024
_HEADERS: Final = {"accept": "application/json", "accept-encoding": "identity"}


@dataclass(frozen=True)
class Peer:
    """How a transmitter is asked. ``bearer`` returns a current access token, and may be asked for one before
    each request; ``trust``: other roots than the system's.
    """

    bearer: Callable[[], str] | None = field(default=None, repr=False)
    trust: ssl.SSLContext | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        try:
            import httpx  # noqa: F401
        except ImportError:
            raise ConfigurationError("asking a transmitter needs httpx: ztsession[http]") from None
        if self.trust is None:
            object.__setattr__(self, "trust", ssl.create_default_context())

    def ask(
        self,
        method: str,
        url: str,
        body: Mapping[str, Any] | None = None,
        *,
        params: Mapping[str, str] | None = None,
        expect: tuple[int, ...] = (200,),
    ) -> bytes:
        """The body of the answer; TransportError for all else, and for a status that is not expected. Not
        for a running event loop.
        """
        return asyncio.run(self.ask_async(method, url, body, params=params, expect=expect))

    async def ask_async(
        self,
        method: str,
        url: str,
        body: Mapping[str, Any] | None = None,
        *,
        params: Mapping[str, str] | None = None,
        expect: tuple[int, ...] = (200,),
        timeout_s: float = TIMEOUT_S,
        max_bytes: int = ANSWER_MAX_BYTES,
    ) -> bytes:
        """The same within an event loop, within ``timeout_s``."""
        import httpx

        if not is_fetchable(url):
            raise TransportError("a transmitter is asked over https only")
        content = None if body is None else json.dumps(body, separators=(",", ":")).encode("ascii")
        try:
            async with (
                asyncio.timeout(timeout_s),
                open_client(url, timeout_s=timeout_s, trust=self.trust) as client,
                client.stream(
                    method, url, content=content, params=params, headers=self._headers(content)
                ) as answer,
            ):
                return await _body(answer, expect, max_bytes)
        except TransportError:
            raise
        except TimeoutError:
            raise TransportError(f"the transmitter did not answer within {timeout_s} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise TransportError(f"the transmitter could not be asked: {type(error).__name__}") from None

    def _headers(self, content: bytes | None) -> dict[str, str]:
        headers = dict(_HEADERS)
        if content is not None:
            headers["content-type"] = "application/json"
        if self.bearer is not None:
            headers["authorization"] = f"Bearer {self.bearer()}"
        return headers


def members(body: bytes, what: str) -> dict[str, Any]:
    """The JSON object that was answered; TransportError if it is none of one reading."""
    try:
        return strict_json(body, what)
    except EvidenceError as error:
        raise TransportError(str(error)) from None


async def _body(answer: httpx.Response, expect: tuple[int, ...], max_bytes: int) -> bytes:
    if answer.status_code not in expect:
        raise TransportError(f"the transmitter answered with status {answer.status_code}")
    if answer.headers.get("content-encoding", "identity") != "identity":
        raise TransportError("the transmitter answered in a compressed form that was not asked for")
    body = bytearray()
    async for part in answer.aiter_raw():
        body += part
        if len(body) > max_bytes:
            raise TransportError(f"the transmitter answered with over {max_bytes} bytes")
    return bytes(body)
