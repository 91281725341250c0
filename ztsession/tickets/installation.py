"""Installation: a ticket is presented, and a handle comes back.

Presenting proves possession of the segment secret, since whoever saw a ticket pass must not be able to use it
(K7). The answer is authenticated with the same secret: nobody in the middle can give a client another handle,
another nonce or a clock that runs wrong (K10).
"""

from __future__ import annotations

import hmac
import os
from dataclasses import dataclass, field
from typing import Annotated

from ztsession.errors import InstallationError
from ztsession.hazmat import hmac_sha256
from ztsession.tickets.secrets import answer_key, request_key
from ztsession.tickets.ticket import TICKET_MAX_BYTES
from ztsession.wire.digest import digest
from ztsession.wire.schema import Integer, Message, Octets, Text

__all__ = ["InstallAnswer", "InstallRefusal", "InstallRequest"]

_BYTES32 = Octets.exactly(32)
_U64 = Integer(0, 2**64 - 1)


@dataclass(frozen=True)
class InstallRequest(Message, kind="install", max_bytes=TICKET_MAX_BYTES + 256):
    """Client to enforcement point: the ticket, a fresh nonce, and a MAC under a key from the segment
    secret.
    """

    ticket: Annotated[bytes, Octets(TICKET_MAX_BYTES, min_bytes=1)] = field(repr=False)
    nonce: Annotated[bytes, _BYTES32]
    mac: Annotated[bytes, _BYTES32]

    @classmethod
    def make(cls, ticket: bytes, secret: bytes) -> InstallRequest:
        """A request that proves possession of ``secret`` (32 bytes)."""
        nonce = os.urandom(32)
        return cls(ticket, nonce, hmac_sha256(request_key(secret), _request(ticket, nonce)))

    def check(self, secret: bytes) -> None:
        """InstallationError unless the sender holds ``secret``."""
        expected = hmac_sha256(request_key(secret), _request(self.ticket, self.nonce))
        if not hmac.compare_digest(expected, self.mac):
            raise InstallationError("whoever presents the ticket does not hold its segment secret")


@dataclass(frozen=True)
class InstallAnswer(Message, kind="installed", max_bytes=256):
    """Enforcement point to client: handle, installation nonce, and the point's session time in
    microseconds.
    """

    handle: Annotated[int, _U64]
    nonce: Annotated[bytes, _BYTES32]
    now_us: Annotated[int, _U64]
    epoch_length_us: Annotated[int, _U64]
    mac: Annotated[bytes, _BYTES32]

    @classmethod
    def make(
        cls,
        request: InstallRequest,
        secret: bytes,
        handle: int,
        nonce: bytes,
        now_us: int,
        epoch_length_us: int,
    ) -> InstallAnswer:
        """The answer to this very request."""
        said = _answer(request, handle, nonce, now_us, epoch_length_us)
        return cls(handle, nonce, now_us, epoch_length_us, hmac_sha256(answer_key(secret), said))

    def check(self, request: InstallRequest, secret: bytes) -> None:
        """InstallationError unless it was made for ``request`` by a holder of ``secret``."""
        said = _answer(request, self.handle, self.nonce, self.now_us, self.epoch_length_us)
        if not hmac.compare_digest(hmac_sha256(answer_key(secret), said), self.mac):
            raise InstallationError(
                "the installation answer was altered on its way, or is for another request"
            )


@dataclass(frozen=True)
class InstallRefusal(Message, kind="not-installed", max_bytes=256):
    """Enforcement point to client: no, with one of the coarse reasons."""

    reason: Annotated[str, Text(64, min_bytes=1)]


def _request(ticket: bytes, nonce: bytes) -> bytes:
    return digest("install request", ticket, nonce)


def _answer(request: InstallRequest, handle: int, nonce: bytes, now_us: int, epoch_length_us: int) -> bytes:
    numbers = b"".join(n.to_bytes(8, "little") for n in (handle, now_us, epoch_length_us))
    return digest("install answer", request.ticket, request.nonce, nonce, numbers)
