"""How an Authority says no before there is a channel: one coarse word, in the clear.

Nothing authenticates it, so it can end a connection attempt and do nothing else; whoever could forge it could
as well cut the line.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from ztsession.errors import HandshakeError, WireError
from ztsession.wire.schema import Message, Text

__all__ = ["Refusal", "raise_if_refused"]


@dataclass(frozen=True)
class Refusal(Message, kind="refusal", max_bytes=128):
    """Instead of the next handshake message."""

    reason: Annotated[str, Text(64, min_bytes=1)]


def raise_if_refused(message: bytes) -> None:
    """HandshakeError if ``message`` is a :class:`Refusal`; every real handshake message is longer."""
    if len(message) > Refusal.max_bytes:
        return
    try:
        reason = Refusal.from_bytes(message).reason
    except WireError:
        return
    raise HandshakeError(f"the Authority refused the handshake: {reason}")
