"""The device management's process: it knows first that a host is not as it should be, and says so.

It is another vendor's, and uses nothing of ours: it speaks CAEP 1.0 in security event tokens (SETs, RFC
8417), which it signs with a key of its own and pushes to whoever subscribed (RFC 8935). It calls hosts by the
numbers of its inventory.
"""

from __future__ import annotations

import json
import time
import uuid
from typing import Any, Final

import httpx
from joserfc import jwk, jws

from ztsession.demo.control import Control

__all__ = ["INVENTORY", "DeviceManagementRole"]

#: Its own names of what it manages.
INVENTORY: Final = {"trading-host-1": "asset-7001", "release-desktop-1": "asset-7002"}

_ISSUER, _AUDIENCE = "https://mdm.demo.firm", "https://zts.demo.firm"
_CHANGED: Final = "https://schemas.openid.net/secevent/caep/event-type/device-compliance-change"
_KEY_ID: Final = "2026-11"
_WITHIN_S: Final = 10.0
#: Compliant and not, as CAEP 1.0 calls them.
_STATUSES: Final = ("not-compliant", "compliant")


class DeviceManagementRole:
    """Commands: prepare, subscribe, push, pushed, close."""

    def __init__(self) -> None:
        self._key = jwk.generate_key("EC", "P-256", {"kid": _KEY_ID})
        self._http = httpx.Client(timeout=_WITHIN_S)
        self._pushed: list[str] = []

    def prepare(self) -> dict[str, Any]:
        """What an operator needs to believe it: its names of itself and of the Authority, its public keys
        (of a JWKS, RFC 7517), and its inventory.
        """
        keys = [self._key.as_dict(private=False)]
        return {"issuer": _ISSUER, "audience": _AUDIENCE, "keys": keys, "assets": INVENTORY}

    def subscribe(self, url: str) -> None:
        """Push events to this address from here on."""
        self._url = url

    def push(self, device: str, compliant: bool) -> dict[str, int]:
        """Say that a host has become ``compliant``, or is no longer; the status of the answer, and when it
        was sent.
        """
        event = self._signed(INVENTORY[device], _STATUSES[compliant], _STATUSES[not compliant])
        self._pushed.append(event)
        pushed_ns = time.monotonic_ns()
        answer = self._http.post(
            self._url, content=event, headers={"content-type": "application/secevent+jwt"}
        )
        return {"status": answer.status_code, "pushed_ns": pushed_ns}

    def pushed(self) -> list[str]:
        """What somebody on the wire has seen."""
        return self._pushed

    def close(self) -> None:
        """Hang up."""
        self._http.close()

    def _signed(self, asset: str, now: str, before: str) -> str:
        claims = {
            "iss": _ISSUER,
            "aud": _AUDIENCE,
            "iat": int(time.time()),
            "jti": uuid.uuid4().hex,
            "sub_id": {"format": "complex", "device": {"format": "opaque", "id": asset}},
            "events": {_CHANGED: {"previous_status": before, "current_status": now}},
        }
        header = {"alg": "ES256", "kid": _KEY_ID, "typ": "secevent+jwt"}
        return jws.serialize_compact(header, json.dumps(claims), self._key)


if __name__ == "__main__":
    role = DeviceManagementRole()
    Control().serve(
        {
            "prepare": role.prepare,
            "subscribe": role.subscribe,
            "push": role.push,
            "pushed": role.pushed,
            "close": role.close,
        }
    )
