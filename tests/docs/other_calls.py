"""Another client's calls, written from docs/protocol.md alone: it installs tickets, signs, checks replies."""

from __future__ import annotations

import hmac
import os
import time
from typing import Any

import other_client as path
from other_noise import BrokenError
from other_session import Exchange, RefusedError, Session
from other_wire import is_kind, message, read


def install(exchange: Exchange, session: Session, segment: str) -> Installed:
    """Present a segment's ticket to an enforcement point."""
    grant, encoded, ticket = session.grant(segment)
    secret, nonce = path.segment_secret(session.secret, encoded), os.urandom(32)
    mac = path.install_request_mac(secret, ticket, nonce)
    answer = exchange(message("install", ticket=ticket, nonce=nonce, mac=mac))
    if is_kind("not-installed", answer):
        raise RefusedError(read("not-installed", answer)["reason"])
    said = read("installed", answer)
    at, epoch_us = (said["handle"], said["now_us"]), said["epoch_length_us"]
    expected = path.install_answer_mac(secret, ticket, nonce, said["nonce"], *at, epoch_us)
    if not hmac.compare_digest(expected, said["mac"]) or epoch_us != grant["epoch_length_us"]:
        raise BrokenError("the answer was altered")
    return Installed(grant, secret, said)


class Installed:
    """Signs calls and checks replies."""

    def __init__(self, grant: dict[str, Any], secret: bytes, said: dict[str, Any]) -> None:
        self.grant, self.secret, self.said = grant, secret, said
        self.offset_us = said["now_us"] - time.monotonic_ns() // 1000
        self.first = said["now_us"] // said["epoch_length_us"]
        self.sequence, self.seen = 0, set[int]()

    def sign(self, operation: str, body: bytes) -> bytes:
        """A token for one call."""
        now = time.monotonic_ns() // 1000 + self.offset_us
        epoch, self.sequence = now // self.said["epoch_length_us"], self.sequence + 1
        index = self.grant["operations"][operation][0]
        key, handle = self._key(0, epoch), self.said["handle"]
        return path.token(key, 0, index, epoch, handle, self.sequence, now, body)

    def check(self, token: bytes, body: bytes) -> None:
        """Take a reply; BrokenError unless the point made it for this session and this body, and once."""
        if len(token) != 48:
            raise BrokenError("no token")
        version, flags, index, epoch, handle, sequence, issued_at = path.HEADER.unpack(token[:32])
        if (version, flags, handle) != (1, 1, self.said["handle"]) or epoch < self.first:
            raise BrokenError("no reply to this session")
        key = self._key(1, epoch)
        expected = path.token(key, 1, index, epoch, handle, sequence, issued_at, body)
        if not hmac.compare_digest(expected, token) or sequence in self.seen:
            raise BrokenError("a forged or repeated reply")
        self.seen.add(sequence)
        self.offset_us = max(self.offset_us, issued_at - time.monotonic_ns() // 1000)

    def _key(self, direction: int, epoch: int) -> bytes:
        if epoch - self.first > 1000:
            raise BrokenError("an epoch that cannot be")
        return path.token_key(
            self.secret, self.said["nonce"], direction, self.said["handle"], epoch - self.first
        )
