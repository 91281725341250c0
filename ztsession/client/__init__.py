"""The client: connects once with evidence, installs its tickets, and then signs every call."""

from ztsession.client.attesting import Attester
from ztsession.client.connect import connect, connect_async
from ztsession.client.guarded import Guarded, GuardedAsync
from ztsession.client.installed import InstalledSession
from ztsession.client.keeper import KeptSigner, SessionKeeper
from ztsession.client.reauth import ReauthPolicy
from ztsession.client.session import Session
from ztsession.client.transport import AsyncTransport, Transport

__all__ = [
    "AsyncTransport",
    "Attester",
    "Guarded",
    "GuardedAsync",
    "InstalledSession",
    "KeptSigner",
    "ReauthPolicy",
    "Session",
    "SessionKeeper",
    "Transport",
    "connect",
    "connect_async",
]
