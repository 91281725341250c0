"""The client: connects once with evidence, installs its tickets, and then signs every call."""

from ztsession.client.connect import connect
from ztsession.client.installed import InstalledSession
from ztsession.client.session import Session
from ztsession.client.transport import Transport

__all__ = ["InstalledSession", "Session", "Transport", "connect"]
