"""What the store keeps of a session.

There are no secrets in it: session secrets exist at the Authority only while a handshake runs. What is kept
is what a restarted Authority must still know, first of all whom it has refused.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SessionRecord", "StoredChange"]


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """One session. ``id``: 16 bytes; ``static_key``: the client's Noise public key, 32 bytes; times: unix s.

    ``grants``: the canonical bytes of each grant; ``superseded_by``: the id of the session that renewed it;
    ``risk``: the canonical bytes of its risk state, or none; ``basis``: those of what it rests on, or none.
    """

    id: bytes
    subject: str
    device: str
    static_key: bytes
    assurance: int
    mode: int
    started_at: int
    expires_at: int
    grants: tuple[bytes, ...] = ()
    superseded_by: bytes | None = None
    risk: bytes = b""
    basis: bytes = b""


@dataclass(frozen=True, slots=True)
class StoredChange:
    """One row of the change feed: its number, its segment ("" for all of them) and its bytes."""

    number: int
    segment: str
    data: bytes
