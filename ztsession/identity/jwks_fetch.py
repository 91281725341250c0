"""Asking an issuer for its keys over HTTPS.

Whoever answers this question decides who everybody is. So it is asked of the configured address alone: no
redirect is followed, plain HTTP is for this machine only and goes through no proxy, and the certificate is
checked against the system's roots. And the answer comes within two seconds in all and within 256 KiB or not
at all, whatever the other side dribbles: a limit for each read would let it hold on for ever, byte by byte,
and a compressed answer would be larger than what was counted.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ztsession.errors import ConfigurationError, TransportError
from ztsession.identity.jwks import JWKS_MAX_BYTES, WAIT_S

if TYPE_CHECKING:
    import httpx

__all__ = ["async_fetcher", "fetch", "fetch_async", "fetcher", "is_fetchable", "open_client"]

_THIS_MACHINE = ("127.0.0.1", "::1", "localhost")
_HEADERS = {"accept": "application/jwk-set+json, application/json", "accept-encoding": "identity"}


def fetcher(url: str) -> Callable[[], bytes]:
    """Return what :class:`~ztsession.identity.jwks.JwksCache` calls; ``ConfigurationError`` without httpx."""
    _need_httpx()
    return partial(fetch, url)


def async_fetcher(url: str) -> Callable[[], Awaitable[bytes]]:
    """The same for :class:`~ztsession.identity.jwks.AsyncJwksCache`."""
    _need_httpx()
    return partial(fetch_async, url)


def is_fetchable(url: str) -> bool:
    """Say whether keys may be asked for here: https://host..., or http:// on this very machine."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    plain = url.isascii() and url.isprintable() and not any(sign in url for sign in ' \\#@"<>')
    return (
        plain
        and bool(host)
        and (parts.scheme == "https" or (parts.scheme, host in _THIS_MACHINE) == ("http", True))
    )


def open_client(url: str, *, timeout_s: float, trust: ssl.SSLContext | None = None) -> httpx.AsyncClient:
    """What asks ``url``: it follows no redirect, and trusts the system's roots unless told otherwise."""
    import httpx

    return httpx.AsyncClient(
        verify=trust or ssl.create_default_context(),
        follow_redirects=False,
        timeout=timeout_s,
        # Through TLS a proxy of the environment sees nothing. What is in the open is for this machine.
        trust_env=urlsplit(url).scheme == "https",
    )


def fetch(url: str, *, timeout_s: float = WAIT_S) -> bytes:
    """Return the body at ``url``, unread; ``TransportError`` for all else. Not for a running event loop.

    Only an event loop can end every step of a request at one moment, hence a loop of its own.
    """
    return asyncio.run(fetch_async(url, timeout_s=timeout_s))


async def fetch_async(url: str, *, timeout_s: float = WAIT_S) -> bytes:
    """Return the body at ``url``, unread, within ``timeout_s``; ``TransportError`` for all else."""
    import httpx

    if not is_fetchable(url):
        raise TransportError("keys are fetched over https only")
    try:
        async with (
            asyncio.timeout(timeout_s),
            open_client(url, timeout_s=timeout_s) as client,
            client.stream("GET", url, headers=_HEADERS) as answer,
        ):
            return await _body(answer)
    except TransportError:
        raise
    except TimeoutError:
        raise TransportError(f"the issuer did not answer within {timeout_s} s") from None
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise TransportError(f"the issuer could not be asked: {type(error).__name__}") from None


async def _body(answer: httpx.Response) -> bytes:
    if answer.status_code != 200:
        raise TransportError(f"the issuer answered with status {answer.status_code}")
    if answer.headers.get("content-encoding", "identity") != "identity":
        raise TransportError("the issuer answered in a compressed form that was not asked for")
    body = bytearray()
    async for part in answer.aiter_raw():
        body += part
        if len(body) > JWKS_MAX_BYTES:
            raise TransportError(f"the issuer answered with over {JWKS_MAX_BYTES} bytes")
    return bytes(body)


def _need_httpx() -> None:
    try:
        import httpx  # noqa: F401
    except ImportError:
        raise ConfigurationError("jwks_url needs httpx: pip install ztsession[http]") from None
