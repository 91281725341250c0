"""What somebody without the device management's key can push in its name: inventions, and what it once said.

Whoever could call a host bad would stop its desk, and whoever could call it good would let a bad one trade.
All that is known of the real events is used: their form, their names, the id of the key.
"""

from __future__ import annotations

import base64
import json
import time
import uuid
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["FalseSignals"]

_WITHIN_S = 10.0


class FalseSignals:
    """``url``: the Authority's door; ``pushed``: events that were seen on their way there."""

    def __init__(self, url: str, pushed: Sequence[str]) -> None:
        self._url, self._pushed = url, pushed

    def forge(self) -> int:
        """Push events of today like the first of them, each false in another way; how many."""
        from joserfc import jwk, jws

        header, claims, signature = self._pushed[0].split(".")
        fresh = {**_read(claims), "jti": uuid.uuid4().hex, "iat": int(time.time())}
        own = jwk.generate_key("EC", "P-256", {"kid": _read(header)["kid"]})
        unsigned = {**_read(header), "alg": "none"}
        return self._push(
            [
                # Another's key, under the right one's id.
                jws.serialize_compact(_read(header), json.dumps(fresh), own),
                # Another claim, under the right signature.
                ".".join((header, _written(fresh), signature)),
                ".".join((_written(unsigned), _written(fresh), "")),
            ]
        )

    def replay(self) -> int:
        """Push all of them once more, as they were; how many."""
        return self._push(self._pushed)

    def _push(self, events: Iterable[str]) -> int:
        import httpx

        pushed = list(events)
        with httpx.Client(timeout=_WITHIN_S) as http:
            for event in pushed:
                http.post(self._url, content=event, headers={"content-type": "application/secevent+jwt"})
        return len(pushed)


def _read(part: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


def _written(part: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
