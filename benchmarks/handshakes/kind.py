"""What all ways of getting a session have in common, so that one loop can measure them in turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import ztsession
from benchmarks.firm import Enrolment, Firm
from benchmarks.handshakes.operations import Operations
from ztsession.client import Transport
from ztsession.identity.protocol import IdentityProver
from ztsession.mfa.protocol import MfaProver
from ztsession.posture.protocol import PostureProver

__all__ = ["ONE_SEGMENT", "Conversation", "Kind", "NotHere", "connecting"]

#: What is measured: a whole conversation over one transport, from its first message to the session.
Conversation = Callable[[Transport], object]
ONE_SEGMENT = ("orders.*",)


class NotHere(Exception):  # noqa: N818
    """This way needs something that this machine does not have; the text is a sentence that says what."""


@dataclass(frozen=True)
class Kind:
    """One way. ``row``: the row that it is, "" for the table of costs alone. ``least``: the asymmetric
    operations that it cannot do without.

    ``start`` gets the firm when its Authority is open, and returns what prepares each conversation, untimed.
    """

    name: str
    row: str
    start: Callable[[Firm], Callable[[], Conversation]]
    least: Operations = field(default_factory=Operations)
    enrolment: Enrolment = field(default_factory=Enrolment)
    note: str = ""


def connecting(
    identity: IdentityProver | None = None,
    posture: PostureProver | None = None,
    *,
    scopes: Sequence[str] = ONE_SEGMENT,
    mfa: Callable[[Firm], Callable[[], MfaProver]] | None = None,
) -> Callable[[Firm], Callable[[], Conversation]]:
    """Return the ``start`` of a full handshake; the firm's own identity and signed posture by default.

    ``mfa`` gets the firm and returns what makes a prover for each handshake.
    """

    def start(firm: Firm) -> Callable[[], Conversation]:
        prover = (lambda: None) if mfa is None else mfa(firm)

        def prepare() -> Conversation:
            factor = prover()
            return lambda transport: ztsession.connect(
                transport,
                identity=identity or firm.identity,
                posture=posture or firm.device,
                root=firm.authority.root,
                scopes=scopes,
                mfa=factor,
            )

        return prepare

    return start
