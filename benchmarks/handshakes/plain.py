"""The simplest ways: an Ed25519 key and a statement that the device has signed, for one segment or two; and
to go on with a session that one has.
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.firm import Firm
from benchmarks.handshakes.kind import ONE_SEGMENT, Conversation, Kind, connecting
from benchmarks.handshakes.operations import Operations
from ztsession.client import Transport

__all__ = ["again", "first", "renewal", "two_segments"]


def first() -> Kind:
    """Every handshake asks the policies anew."""

    def start(firm: Firm) -> Callable[[], Conversation]:
        prepared = connecting()(firm)

        def prepare() -> Conversation:
            firm.authority.decider.policies.current.forget_decisions()
            return prepared()

        return prepare

    return Kind("Ed25519, statement, policies evaluated", "P11 first", start)


def again() -> Kind:
    """The subject comes back, and what the policies say of it is known; as for all ways below."""
    return Kind("Ed25519, statement", "P11 again", connecting())


def two_segments() -> Kind:
    """A second ticket has to be sealed and signed."""
    return Kind("Ed25519, statement, two segments", "", connecting(scopes=("orders.*", "md.*")))


def renewal() -> Kind:
    """One round trip (IKhfs) with a fresh statement, each time of the session that the last one gave."""

    def start(firm: Firm) -> Callable[[], Conversation]:
        session = firm.connect(firm.authority.connection(), *ONE_SEGMENT)

        def renew(transport: Transport) -> None:
            nonlocal session
            session = session.renew(transport)

        return lambda: renew

    return Kind("renewal, statement", "P11 renewal", start, Operations(x25519=4, ed25519=1))
