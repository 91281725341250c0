"""Tickets: how a decision gets from the Authority through the client into one enforcement point."""

from ztsession.tickets.installation import InstallAnswer, InstallRefusal, InstallRequest
from ztsession.tickets.secrets import segment_secret
from ztsession.tickets.segment_key import SegmentKey
from ztsession.tickets.ticket import Ticket, TicketBody, open_ticket, seal_ticket

__all__ = [
    "InstallAnswer",
    "InstallRefusal",
    "InstallRequest",
    "SegmentKey",
    "Ticket",
    "TicketBody",
    "open_ticket",
    "seal_ticket",
    "segment_secret",
]
