"""A ticket: one grant and its segment secret, sealed to one segment, signed by the Authority.

The client carries it and cannot read it. The signature covers the ciphertext, the segment and the expiry, so
that a ticket's outside cannot be changed without touching what is signed (unsigned flags on tickets have been
somebody else's downfall: CVE-2020-17049). An enforcement point checks the signature before it decrypts
anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

from ztsession.errors import EvidenceError, InstallationError, WireError
from ztsession.policy.grant import GRANT_MAX_BYTES, Grant
from ztsession.tickets.segment_key import KEY_ID_BYTES, SegmentKey, SegmentPublicKey
from ztsession.wire.digest import digest
from ztsession.wire.schema import Integer, Message, Name, Octets, Text
from ztsession.wire.signature import SIGNATURE_BYTES, Signer, verify_any

__all__ = ["TICKET_MAX_BYTES", "Ticket", "TicketBody", "open_ticket", "seal_ticket"]

TICKET_MAX_BYTES = 16384
_UNIX_S = Integer(0, 2**63 - 1)
_SEGMENT = Text(32, min_bytes=1)


@dataclass(frozen=True)
class Ticket(Message, kind="ticket", max_bytes=TICKET_MAX_BYTES):
    """The outside of a ticket; ``not_after`` in Unix seconds, from which on no point accepts it."""

    segment: Annotated[str, _SEGMENT]
    key_id: Annotated[bytes, Octets.exactly(KEY_ID_BYTES)]
    not_after: Annotated[int, _UNIX_S]
    sealed: Annotated[bytes, Octets(TICKET_MAX_BYTES, min_bytes=1)] = field(repr=False)
    signature: Annotated[bytes, Octets.exactly(SIGNATURE_BYTES)] = field(repr=False)


@dataclass(frozen=True)
class TicketBody(Message, kind="ticket-body", max_bytes=TICKET_MAX_BYTES):
    """The inside: the grant, its segment secret (32 bytes), who issued it, and when the session began and
    ends (Unix seconds): at the grant's lifetime, or earlier, with the credential that proved the identity.
    """

    grant: Annotated[bytes, Octets(GRANT_MAX_BYTES, min_bytes=1)]
    secret: Annotated[bytes, Octets.exactly(32)] = field(repr=False)
    started_at: Annotated[int, _UNIX_S]
    issuer: Annotated[str, Name()]
    ends_at: Annotated[int, _UNIX_S]


def seal_ticket(
    body: TicketBody, segment: str, to: SegmentPublicKey, not_after: int, authority: Signer
) -> bytes:
    """Return the encoded ticket, signed by the ``authority``."""
    sealed = to.seal(body.to_bytes(), _context(segment, to.key_id, not_after))
    signature = authority.sign(_signed(segment, to.key_id, not_after, sealed))
    return Ticket(segment, to.key_id, not_after, sealed, signature).to_bytes()


def open_ticket(
    data: bytes, keys: Sequence[SegmentKey], authority_keys: Sequence[bytes], now: float
) -> tuple[Grant, TicketBody]:
    """Return what is inside, after everything about the ticket held.

    ``keys``: those of the segment that tickets may be sealed to, more than one while they are replaced;
    ``authority_keys``: the Ed25519 public keys that may have signed it; ``now``: Unix seconds.
    InstallationError says exactly what did not hold; tell the peer its ``reason`` only.
    """
    try:
        ticket = Ticket.from_bytes(data)
        verify_any(
            authority_keys,
            _signed(ticket.segment, ticket.key_id, ticket.not_after, ticket.sealed),
            ticket.signature,
        )
    except (WireError, EvidenceError) as error:
        raise InstallationError(f"the ticket is not the Authority's: {error}") from None
    key = next((k for k in keys if (k.segment, k.public.key_id) == (ticket.segment, ticket.key_id)), None)
    if key is None:
        raise InstallationError(f"the ticket is for segment {ticket.segment!r} or for another key of it")
    if not now < ticket.not_after:
        raise InstallationError(f"the ticket expired at {ticket.not_after}, it is {now:.0f}")
    opened = key.open(ticket.sealed, _context(ticket.segment, ticket.key_id, ticket.not_after))
    try:
        body = TicketBody.from_bytes(opened)
        grant = Grant.from_bytes(body.grant)
    except WireError as error:
        raise InstallationError(f"the ticket's inside is malformed: {error}") from None
    if grant.segment != ticket.segment:
        raise InstallationError("the ticket's grant is for another segment than the ticket")
    return grant, body


def _context(segment: str, key_id: bytes, not_after: int) -> bytes:
    return digest("ticket seal", segment.encode(), key_id, not_after.to_bytes(8, "big"))


def _signed(segment: str, key_id: bytes, not_after: int, sealed: bytes) -> bytes:
    return digest("ticket", segment.encode(), key_id, not_after.to_bytes(8, "big"), sealed)
