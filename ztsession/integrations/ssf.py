"""Other systems' security events for an Authority: who is known to it, and the receiver that it is given to.

    receiver = signal_receiver(authority, "policy/")
    app = AuthorityApp(authority, doors=[EventPush(receiver)])

``ssf.toml`` says whose events are believed. It is read here, and again by
``authority.watch(after=partial(reread, receiver, "policy/"))``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator
from itertools import product

from ztsession.authority.authority import Authority
from ztsession.authority.judged import Basis
from ztsession.errors import WireError
from ztsession.risk.ssf.naming import LiveSession
from ztsession.risk.ssf.receiver import SignalReceiver
from ztsession.risk.ssf.settings import SsfSettings
from ztsession.store.records import SessionRecord

__all__ = ["EnrolledAtAuthority", "reread", "signal_receiver"]


def signal_receiver(
    authority: Authority, policy: str | os.PathLike[str], *, clock: Callable[[], float] = time.time
) -> SignalReceiver:
    """A receiver for the transmitters of ``ssf.toml`` in the policy directory; ConfigurationError names file,
    line and what was expected. ``clock`` gives Unix seconds.
    """
    settings = SsfSettings.from_directory(policy)
    return SignalReceiver(settings, EnrolledAtAuthority(authority), authority.signal, clock=clock)


def reread(receiver: SignalReceiver, policy: str | os.PathLike[str]) -> None:
    """Read ``ssf.toml`` again for a receiver; on ConfigurationError all stays as it was."""
    receiver.replace(SsfSettings.from_directory(policy))


class EnrolledAtAuthority:
    """Who and what an Authority knows, as its rules are at that moment."""

    def __init__(self, authority: Authority) -> None:
        self._authority = authority

    def has_subject(self, name: str) -> bool:
        """Whether a subject of this name is enrolled."""
        return self._authority.decider.enrolled(name)

    def has_device(self, name: str) -> bool:
        """Whether a device of this name is enrolled."""
        return self._authority.decider.has_device(name)

    def owner(self, credential: str) -> str:
        """The name of the subject that a credential belongs to, "" if nobody's."""
        found = self._authority.decider.owner(credential)
        return "" if found is None else found.name

    def has_session(self, session: bytes) -> bool:
        """Whether there is a session of this id (16 bytes)."""
        return self._authority.knows(session)

    def sessions(self, subjects: Collection[str], devices: Collection[str]) -> Iterator[LiveSession]:
        """The sessions that live, of one of these subjects on one of these devices; none stands for any."""
        for subject, device in product(subjects or [""], devices or [""]):
            for record in self._authority.sessions(subject=subject, device=device):
                yield LiveSession(record.id, _authenticated_at(record))


def _authenticated_at(record: SessionRecord) -> int:
    try:
        return Basis.from_bytes(record.basis).authenticated_at
    except WireError:
        return 0  # nothing speaks for its being newer
