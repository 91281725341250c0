"""The policy decision point: runs handshakes, decides, issues tickets, takes signals, publishes changes."""

from ztsession.authority.authority import Authority

__all__ = ["Authority"]
