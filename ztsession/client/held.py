"""What a client holds after a conversation: the channel, what was granted in it, and who the Authority is."""

from __future__ import annotations

from dataclasses import dataclass, field

from ztsession.handshake.channel import Channel
from ztsession.handshake.messages import Outcome
from ztsession.policy.grant import Grant

__all__ = ["Channelled", "Held", "Known"]


@dataclass(frozen=True)
class Known:
    """The Authority's static key (32 bytes), and until when its certificate holds (Unix seconds)."""

    authority_static: bytes
    authority_until: int


@dataclass(frozen=True)
class Channelled:
    """An open channel; ``handshake_hash`` is what evidence in it is bound to, ``secret`` the session's."""

    channel: Channel
    handshake_hash: bytes
    secret: bytes = field(repr=False)
    known: Known


@dataclass(frozen=True)
class Held:
    """A granted session: its channel, the outcome that granted it, and the grants by segment."""

    through: Channelled
    outcome: Outcome
    grants: dict[str, Grant]
