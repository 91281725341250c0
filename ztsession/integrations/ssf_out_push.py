"""Pushing SETs to receivers that listen (RFC 8935): one thread for each, so that none waits for another.

Where to push is the receiver's word. So it is held against the operator's hosts each time, no redirect is
followed, and of an answer no more is read than its status and one word. All of a push has ten seconds: who
dribbles would hold up his own events for good, and the end of this process. A receiver that does not answer
is tried again, ever more slowly and never in step with others, until it does or the event has become too old;
its events stay in their order meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from ztsession.authority.streams import Stream, Streams
from ztsession.errors import ConfigurationError
from ztsession.integrations.ssf_out_messages import read_error
from ztsession.risk.ssf.names import PUSH, SET_MEDIA_TYPE

if TYPE_CHECKING:
    import httpx

__all__ = ["Pushes"]

#: One push, from its first byte to the last of its answer.
TIMEOUT_S: Final = 10.0
RETRY_FIRST_S, RETRY_MOST_S = 1.0, 60.0
#: Without a word of anything new, what has become too old is still to be found out.
IDLE_S: Final = 300.0

_ERROR_MAX_BYTES: Final = 4096
_HEADERS: Final = {
    "content-type": SET_MEDIA_TYPE,
    "accept": "application/json",
    "accept-encoding": "identity",
}

_log = logging.getLogger("ztsession.ssf")


class Pushes:
    """The threads, for every receiver that the operator allows pushes to; ``close()`` them."""

    def __init__(
        self,
        streams: Streams,
        *,
        client: Callable[[], httpx.AsyncClient] | None = None,
        first_s: float = RETRY_FIRST_S,
    ) -> None:
        """``client`` makes what the pushes of one thread are made with; ``first_s``: how long to wait before
        the first of the next tries, at most.
        """
        receivers = [name for name, each in streams.settings.receivers.items() if each.push_hosts]
        self._receivers = [_Receiver(name, streams, client or _client, first_s) for name in receivers]

    def close(self) -> None:
        """Stop, and wait for what is under way."""
        for receiver in self._receivers:
            receiver.stop()
        for receiver in self._receivers:
            receiver.join()


class _Receiver:
    def __init__(
        self, name: str, streams: Streams, client: Callable[[], httpx.AsyncClient], first_s: float
    ) -> None:
        self._name, self._streams, self._outbox = name, streams, streams.outbox
        self._client, self._first_s = client(), first_s
        self._come, self._stopping = threading.Event(), threading.Event()
        self._forget = self._outbox.listen(self._come.set)
        self._thread = threading.Thread(target=self._run, name=f"ztsession-push-{name}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._come.set()

    def join(self) -> None:
        self._forget()
        self._thread.join()

    def _run(self) -> None:
        failures = 0
        # Only an event loop can end every step of a push at one moment.
        with asyncio.Runner() as runner:
            while not self._stopping.is_set():
                self._come.clear()
                try:
                    sent = self._send_next(runner)
                except Exception:
                    # Whatever it was, without this thread the receiver would hear nothing any more.
                    _log.exception("an event could not be pushed to %s", self._name)
                    sent = False
                if sent is None:
                    self._come.wait(IDLE_S)
                    continue
                failures = 0 if sent else failures + 1
                if not sent:
                    self._outbox.count("retried")
                    self._stopping.wait(self._pause_s(failures))
            runner.run(self._client.aclose())

    def _pause_s(self, failures: int) -> float:
        most = min(RETRY_MOST_S, self._first_s * (1 << min(failures - 1, 16)))
        # Receivers that come back find not everybody at their door at one moment.
        return most * random.uniform(0.5, 1.0)  # noqa: S311 - no secret

    def _send_next(self, runner: asyncio.Runner) -> bool | None:
        """Whether the next event is done with; None if there is none."""
        stream = self._streams.of(self._name)
        if stream is None or stream.wanted.method != PUSH:
            return None
        events, _ = self._outbox.waiting(stream.row, 1)
        if not events:
            return None
        status, error = self._post(runner, stream, self._outbox.token(stream.row, events[0]))
        jti = events[0].jti
        if status == 202:
            self._outbox.done(stream.row, [jti])
        elif status == 400 and error:
            self._outbox.refused(stream.row, {jti: error})
        else:
            return False
        return True

    def _post(self, runner: asyncio.Runner, stream: Stream, token: str) -> tuple[int, str | None]:
        import httpx

        wanted = stream.wanted
        receiver = self._streams.settings.receivers[self._name]
        if not receiver.may_be_pushed_to(wanted.endpoint):
            # The operator's word has changed since the stream was made.
            _log.error("%s: pushes to its endpoint are not allowed any more", self._name)
            return 0, None
        headers = dict(_HEADERS)
        if wanted.authorization:
            headers["authorization"] = wanted.authorization
        try:
            status, refusal = runner.run(self._posted(wanted.endpoint, token, headers))
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            _log.warning("%s could not be reached: %s", self._name, type(error).__name__)
            return 0, None
        if status not in (202, 400):
            _log.warning("%s answered a push with status %d, expected 202", self._name, status)
        return status, refusal

    async def _posted(self, url: str, token: str, headers: dict[str, str]) -> tuple[int, str | None]:
        async with (
            asyncio.timeout(TIMEOUT_S),
            self._client.stream(
                "POST", url, content=token, headers=headers, follow_redirects=False
            ) as answer,
        ):
            status = answer.status_code
            return status, read_error(await _body(answer)) if status == 400 else None


async def _body(answer: httpx.Response) -> bytes:
    body = bytearray()
    async for piece in answer.aiter_raw():
        body += piece
        if len(body) > _ERROR_MAX_BYTES:
            return b""
    return bytes(body)


def _client() -> httpx.AsyncClient:
    try:
        import httpx
    except ImportError:
        raise ConfigurationError("push_hosts: pushes need httpx: pip install ztsession[http]") from None
    # Of its environment nothing: a proxy or a password there was meant for something else.
    return httpx.AsyncClient(
        verify=ssl.create_default_context(), timeout=TIMEOUT_S, follow_redirects=False, trust_env=False
    )
