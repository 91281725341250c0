"""Alerts as webhooks: signed POSTs of JSON to an address that the operator named.

The receiver must be able to tell an alert of ours from a stranger's, and an old one from a new one. So each
is signed together with its id and the time of the attempt, as in Standard Webhooks 1.0
(https://www.standardwebhooks.com), for which receivers have libraries. The id stays the same when an attempt
is repeated: whoever remembers it does not wake anybody twice.

What answers gets no say in anything: no redirect is followed, not a byte of the answer's body is read, and
each attempt ends after its time whatever trickles in. A receiver that is down costs one alert its repeated
attempts, and those after it one attempt each until one gets through.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import random
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from ztsession.errors import ConfigurationError, TransportError
from ztsession.identity.jwks_fetch import open_client
from ztsession.risk.alert import Alert
from ztsession.risk.alert_settings import AlertSettings, WebhookSettings
from ztsession.risk.alert_sinks import LogSink
from ztsession.risk.alerts import Alerts

__all__ = ["WebhookSink", "open_alerts", "signature"]

#: One attempt, all of it.
ATTEMPT_S: Final = 5.0
#: All attempts to tell one alert.
ALERT_S: Final = 30.0
#: Pauses between them: the first, doubled each time up to the last; half of each is random.
PAUSE_MIN_S: Final = 0.5
PAUSE_MAX_S: Final = 10.0

#: Worth another attempt with the same alert: the receiver was too slow, asked to wait, or has failed.
_AGAIN: Final = frozenset({408, 429, *range(500, 600)})

_jitter = random.SystemRandom()


def open_alerts(directory: str | Path) -> Alerts:
    """Alerts that are told as ``alerts.toml`` in this policy directory says; close them.

    ConfigurationError names file, line and what was expected, or says that httpx is missing.
    """
    settings = AlertSettings.from_directory(Path(directory))
    return Alerts([LogSink(least=settings.log), *map(WebhookSink, settings.webhooks)])


def signature(keys: Sequence[bytes], message_id: str, timestamp_s: int, body: bytes) -> str:
    """The value of ``webhook-signature``: HMAC-SHA256 over id, time and body by each key (Standard Webhooks
    1.0, Signature scheme).
    """
    signed = b".".join((message_id.encode("ascii"), str(timestamp_s).encode("ascii"), body))
    macs = (hmac.digest(key, signed, hashlib.sha256) for key in keys)
    return " ".join(f"v1,{base64.b64encode(mac).decode('ascii')}" for mac in macs)


class WebhookSink:
    """Posts each alert to one address."""

    def __init__(
        self,
        settings: WebhookSettings,
        *,
        attempt_s: float = ATTEMPT_S,
        alert_s: float = ALERT_S,
        pause_min_s: float = PAUSE_MIN_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``attempt_s`` bounds one attempt, ``alert_s`` all attempts for one alert, ``pause_min_s`` is the
        first pause between two. ``clock`` gives Unix seconds. ConfigurationError without httpx.
        """
        _need_httpx()
        self.name, self.least = f"webhook {settings.name}", settings.least
        self._url, self._keys = settings.url, settings.keys
        self._attempt_s, self._alert_s, self._pause_min_s = attempt_s, alert_s, pause_min_s
        self._clock = clock
        self._closing = threading.Event()
        self._failing = False

    def tell(self, alert: Alert) -> None:
        """Post it until it is taken; TransportError when it was refused or the time for it is over."""
        message_id, body = f"msg_{secrets.token_hex(16)}", _body(alert)
        until = time.monotonic() + (0.0 if self._failing else self._alert_s)
        pause_s = self._pause_min_s
        while (failure := self._attempt(message_id, body)) is not None:
            wait_s = max(_jittered(pause_s), failure.wait_s)
            over = not failure.again or time.monotonic() + wait_s > until
            if over or self._closing.wait(wait_s):
                self._failing = True
                raise TransportError(failure.why)
            pause_s = min(2 * pause_s, PAUSE_MAX_S)
        self._failing = False

    def close(self) -> None:
        """Make no further attempt; the one under way ends within its time."""
        self._closing.set()

    def _attempt(self, message_id: str, body: bytes) -> _Failure | None:
        timestamp_s = int(self._clock())
        headers = {
            "content-type": "application/json",
            "accept-encoding": "identity",
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp_s),
            "webhook-signature": signature(self._keys, message_id, timestamp_s, body),
        }
        # Only an event loop can end every step of a request at one moment, hence a loop of its own.
        return asyncio.run(_posted(self._url, headers, body, self._attempt_s))


@dataclass(frozen=True, slots=True)
class _Failure:
    """``again``: whether another attempt may help; ``wait_s``: for how long the receiver asked to wait."""

    why: str
    again: bool
    wait_s: float = 0.0


async def _posted(url: str, headers: dict[str, str], body: bytes, timeout_s: float) -> _Failure | None:
    import httpx

    # Of what failed only the kind is told: an address may hold what others must not know.
    try:
        async with (
            asyncio.timeout(timeout_s),
            open_client(url, timeout_s=timeout_s) as client,
            client.stream("POST", url, content=body, headers=headers) as answer,
        ):
            status, asked = answer.status_code, answer.headers.get("retry-after", "")
    except TimeoutError:
        return _Failure(f"no answer within {timeout_s} s", again=True)
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        return _Failure(f"could not be reached: {type(error).__name__}", again=True)
    if 200 <= status < 300:
        return None
    return _Failure(f"status {status}", again=status in _AGAIN, wait_s=_asked_wait_s(asked))


def _asked_wait_s(retry_after: str) -> float:
    # RFC 9110, section 10.2.3. A date would need the receiver's clock; without one we go by our own pauses.
    asked = retry_after if retry_after.isascii() and retry_after.isdigit() else "0"
    return min(float(asked[:9]), PAUSE_MAX_S)


def _jittered(pause_s: float) -> float:
    return pause_s * (0.5 + 0.5 * _jitter.random())


def _body(alert: Alert) -> bytes:
    data = alert.form()
    kind, at = data.pop("what"), datetime.fromtimestamp(data.pop("time"), UTC)
    told = {"type": kind, "timestamp": at.isoformat().replace("+00:00", "Z"), "data": data}
    return json.dumps(told, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode("ascii")


def _need_httpx() -> None:
    try:
        import httpx  # noqa: F401
    except ImportError:
        raise ConfigurationError("webhooks need httpx: pip install ztsession[http]") from None
