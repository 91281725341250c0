"""Every error that ztsession raises, as one small closed tree under ``ZtsError``.

A remote peer is told one coarse word (``reason``); the exact sentence stays with the caller and in the log.
Verdicts of the call path are subclasses of ``Denied``, one per verdict name of the protocol. What a client
can do about an error stands beside it (``helps``), for people and for ``ztsession.client.reauth``.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "AuditError",
    "BadEpoch",
    "BadTag",
    "ConfigurationError",
    "Denied",
    "EventRefused",
    "EvidenceError",
    "Expired",
    "FromFuture",
    "HandshakeError",
    "InstallationError",
    "KeysUnavailable",
    "Malformed",
    "NotPermitted",
    "OutcomeUnknown",
    "Overloaded",
    "PolicyError",
    "ReauthRequired",
    "Replayed",
    "Revoked",
    "SequenceExhausted",
    "SessionEnded",
    "Stale",
    "StepUpRequired",
    "StoreError",
    "TableFull",
    "TooOld",
    "TransportError",
    "UnknownSession",
    "WireError",
    "WrongOperation",
    "ZtsError",
]


class ZtsError(Exception):
    """The root: catching it catches everything that this library raises on purpose."""

    #: The only word a remote peer is told. Several exact causes share one, so that a refusal teaches nothing.
    reason: ClassVar[str] = "refused"
    #: What the client can do: "step-up", "re-authenticate", "renew", "install" (the ticket again, which also
    #: teaches the point's clock), "wait" or, where only people can help or nobody, "".
    helps: ClassVar[str] = ""


class ConfigurationError(ZtsError, ValueError):
    """A file or argument of the operator's is wrong; says which file and line, and what was expected."""

    def __init__(self, message: str, *, file: str | None = None, line: int | None = None) -> None:
        self.file, self.line = file, line
        where = "" if file is None else f"{file}: " if line is None else f"{file}:{line}: "
        super().__init__(where + message)


class PolicyError(ConfigurationError):
    """A policy does not load or could not be evaluated; nothing is allowed by it."""


class WireError(ZtsError, ValueError):
    """A message from outside does not have the one form that the protocol allows."""

    reason = "malformed"


class EventRefused(WireError):
    """A security event of others will never be taken; ``err`` is RFC 8935's word for why."""

    def __init__(self, err: str, message: str) -> None:
        self.err = err
        super().__init__(message)


class HandshakeError(ZtsError):
    """The handshake stopped; its state is dead and a new one must be started."""


class EvidenceError(HandshakeError):
    """Identity or posture evidence did not hold; the peer hears only that it was refused."""


class KeysUnavailable(EvidenceError):
    """The issuer could not be asked for a key that is not known here, so nothing can be said of it yet."""

    reason = "unavailable"


class Overloaded(HandshakeError):
    """Too many handshakes at once, from this source or in all; wait and try again."""

    reason = "busy"
    helps = "wait"


class InstallationError(ZtsError):
    """A ticket was not accepted by an enforcement point, or its answer not by the client."""


class TableFull(InstallationError):
    """The session table has no free slot: nobody's live session is evicted for a newcomer."""

    reason = "busy"
    helps = "wait"


class TransportError(ZtsError, ConnectionError):
    """The connection to the peer failed or broke the framing rules."""

    reason = "unavailable"


class OutcomeUnknown(TransportError):
    """A call was sent and its answer was lost: it may have been executed, so it was not sent again."""


class StoreError(ZtsError):
    """The Authority's state could not be read or made durable; nothing new is decided until it can."""

    reason = "unavailable"


class AuditError(ZtsError):
    """The audit log cannot be written; no new session is made without it."""

    reason = "unavailable"


class SessionEnded(ZtsError):
    """This side's own session is over (closed, superseded or expired); install or connect again."""

    helps = "re-authenticate"


class SequenceExhausted(SessionEnded):
    """Every sequence number of this installation has been used; renew before signing more."""

    helps = "renew"


class Denied(ZtsError):
    """A call was refused by an enforcement point; ``verdict`` is the protocol's name for why."""

    verdict: ClassVar[str] = "DENIED"


class Malformed(Denied):
    """The token is not 48 bytes of version 1 in the right direction, or the body is over the limit."""

    verdict = "MALFORMED"
    reason = "malformed"


class UnknownSession(Denied):
    """No live session has this handle at this enforcement point; install the ticket again."""

    verdict = "UNKNOWN_SESSION"
    helps = "install"


class BadEpoch(Denied):
    """The token's epoch is not the previous, current or next one."""

    verdict = "BAD_EPOCH"
    helps = "install"


class BadTag(Denied):
    """The tag does not authenticate this header and body."""

    verdict = "BAD_TAG"


class Expired(Denied):
    """The session is past its absolute, idle or catch-up limit; install or connect again."""

    verdict = "EXPIRED"
    reason = "expired"
    helps = "re-authenticate"


class Stale(Denied):
    """The point has not heard from its Authority within the lease, and this operation needs it."""

    verdict = "STALE"
    reason = "unavailable"
    helps = "wait"


class TooOld(Denied):
    """The token was issued longer ago than the operation's max_age."""

    verdict = "TOO_OLD"
    helps = "install"


class FromFuture(Denied):
    """The token claims to be issued later than the allowed skew."""

    verdict = "FROM_FUTURE"
    helps = "install"


class Replayed(Denied):
    """The sequence number was used already, or lies below the replay window."""

    verdict = "REPLAYED"


class WrongOperation(Denied):
    """The token was made for another operation than the handler it was given to."""

    verdict = "WRONG_OPERATION"


class NotPermitted(Denied):
    """The grant does not allow this operation."""

    verdict = "NOT_PERMITTED"


class StepUpRequired(Denied):
    """Stronger evidence would help: step up (more assurance, fresh posture), then call again."""

    verdict = "STEP_UP_REQUIRED"
    reason = "step-up-required"
    helps = "step-up"


class ReauthRequired(Denied):
    """The session is suspended: re-authenticate in full, then call again."""

    verdict = "REAUTH_REQUIRED"
    reason = "reauth-required"
    helps = "re-authenticate"


class Revoked(Denied):
    """The session is over; a new one must be made."""

    verdict = "REVOKED"
    reason = "reauth-required"
    helps = "re-authenticate"
