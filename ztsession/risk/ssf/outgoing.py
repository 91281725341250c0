"""What happened here, as the one event of a SET for others (CAEP 1.0, SSF 1.0, RFC 8417).

Others act on what they are told, so it is told in their words: modes become levels of risk, and reasons one
of a few coarse words. The exact cause is for this house's own log. A policy's name or a detector's threshold
in an event would teach whoever reads the receiver's log how not to be found.

Here is no clock, no key and no stream: who is told, when, and under which signature is decided elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from ztsession.risk.levels import Mode
from ztsession.risk.ssf.names import CAEP, STREAM_UPDATED, VERIFICATION

__all__ = [
    "OUTGOING",
    "POSTURE_KINDS",
    "RISK_REASONS",
    "Event",
    "assurance_level_change",
    "credential_change",
    "device_compliance_change",
    "risk_level_change",
    "session_established",
    "session_revoked",
    "stream_updated",
    "verification",
]

#: The CAEP events that this house tells of.
OUTGOING: Final = (
    "session-established",
    "session-revoked",
    "risk-level-change",
    "assurance-level-change",
    "device-compliance-change",
    "credential-change",
)

_LEVELS: Final = {Mode.NORMAL: "LOW", Mode.RESTRICTED: "MEDIUM", Mode.SUSPENDED: "HIGH"}
#: Whom a signal was against, as CAEP's principal. A network is nobody: the session is meant.
_PRINCIPALS: Final = {"subject": "USER", "device": "DEVICE"}
#: What begins each credential of a subject, and what it is called: CAEP has no word for two, and allows more.
_CREDENTIALS: Final = {"ed25519:": "ed25519", "spiffe:": "x509", "dns:": "x509", "oidc:": "oidc"}

_NO_WORD: Final = "other"

#: By kind of signal, the coarse reason: all that a receiver hears of why.
RISK_REASONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "posture-drift": "DEVICE_POSTURE",
        "posture-silence": "DEVICE_POSTURE",
        "credential-compromise": "CREDENTIAL",
        "credential-change": "CREDENTIAL",
        "claims-change": "IDENTITY",
        "assurance-change": "IDENTITY",
        "account": "IDENTITY",
        "session-revoked": "OTHER_SYSTEM",
        "risk-level": "OTHER_SYSTEM",
        "behaviour": "BEHAVIOUR",
        "order-rate": "BEHAVIOUR",
        "off-hours": "BEHAVIOUR",
        "concurrency": "BEHAVIOUR",
        "replay": "BEHAVIOUR",
        "lateral-movement": "BEHAVIOUR",
        "threat": "THREAT_INTELLIGENCE",
        "operator": "OPERATOR",
    }
)
#: What stands of these against a device makes it not compliant.
POSTURE_KINDS: Final = frozenset(kind for kind, reason in RISK_REASONS.items() if reason == "DEVICE_POSTURE")
#: Kinds that an operator has made himself, and sessions that several signals weigh on.
_OTHER: Final = "RISK_SCORE"
_WORDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "DEVICE_POSTURE": "The posture of the device has changed.",
        "CREDENTIAL": "A credential is in doubt.",
        "IDENTITY": "The identity is in doubt.",
        "OTHER_SYSTEM": "Another system has said so.",
        "BEHAVIOUR": "The session behaves unusually.",
        "THREAT_INTELLIGENCE": "Threat intelligence names it.",
        "OPERATOR": "An operator has decided so.",
        "REPLACED": "A new session has taken its place.",
        "POLICY": "The rules allow it no longer.",
        _OTHER: "The risk of the session has changed.",
    }
)


@dataclass(frozen=True, slots=True)
class Event:
    """One event. ``type``: its URI; ``subject``: the ``sub_id``; ``members``: what stands under the URI."""

    type: str
    subject: Mapping[str, Any]
    members: Mapping[str, Any]

    def encode(self, at: int, txn: str) -> bytes:
        """As JSON: all claims but those that name the two sides and the SET itself, issued at ``at`` (Unix
        seconds). ``txn`` is the same wherever the same thing is told. Neither ``sub`` nor ``exp`` is ever
        among the claims: nobody shall take a SET for a token that lets somebody in.
        """
        events = {self.type: dict(self.members)}
        claims = {"iat": at, "txn": txn, "sub_id": dict(self.subject), "events": events}
        return json.dumps(claims, separators=(",", ":")).encode("ascii")


def session_established(subject: Mapping[str, Any], at: int, *, assurance: int, renews: bytes = b"") -> Event:
    """A session begins, at an assurance of 1 to 3; ``renews``: the id of the session that it goes on from."""
    members: dict[str, Any] = {"acr": f"nist-aal{assurance}"}
    if renews:
        members["ext_id"] = renews.hex()
    return _caep("session-established", subject, at, "user", "", members)


def session_revoked(subject: Mapping[str, Any], at: int, *, by: str, reason: str) -> Event:
    """A session is over before its time. ``by``: admin | user | policy | system; ``reason``: a kind of
    signal, or one of the coarse words.
    """
    return _caep("session-revoked", subject, at, by, _coarse(reason), {})


def risk_level_change(
    subject: Mapping[str, Any],
    at: int,
    *,
    before: Mode,
    after: Mode,
    against: str,
    by: str,
    reason: str,
) -> Event:
    """A session's mode changed, and REVOKED is neither of the two: that is :func:`session_revoked`.

    ``against``: what the signal was against, "subject", "device", "session" or "network".
    """
    members = {
        "principal": _PRINCIPALS.get(against, "SESSION"),
        "current_level": _LEVELS[after],
        "previous_level": _LEVELS[before],
        "risk_reason": _coarse(reason),
    }
    return _caep("risk-level-change", subject, at, by, _coarse(reason), members)


def assurance_level_change(subject: Mapping[str, Any], at: int, *, before: int, after: int) -> Event:
    """A session goes on with another assurance, of 1 to 3."""
    members = {
        "namespace": "NIST-AAL",
        "current_level": f"nist-aal{after}",
        "previous_level": f"nist-aal{before}",
        "change_direction": "increase" if after > before else "decrease",
    }
    return _caep("assurance-level-change", subject, at, "user", "", members)


def device_compliance_change(subject: Mapping[str, Any], at: int, *, compliant: bool) -> Event:
    """A device's posture drifted, or is again as it should be."""
    words = ("not-compliant", "compliant")
    members = {"previous_status": words[not compliant], "current_status": words[compliant]}
    return _caep("device-compliance-change", subject, at, "policy", "DEVICE_POSTURE", members)


def credential_change(subject: Mapping[str, Any], at: int, *, credential: str, change: str) -> Event:
    """A credential of a subject, as its enrolment spells it, came or went; ``change``: create | delete."""
    # A kind that a verifier of the operator's own made up has no word, and is told nevertheless: whoever
    # takes a credential away must not be kept from it.
    named = next((name for start, name in _CREDENTIALS.items() if credential.startswith(start)), _NO_WORD)
    members = {"credential_type": named, "change_type": change}
    # Whoever keeps to CAEP's interoperability profile counts on a reason.
    return _caep("credential-change", subject, at, "admin", "OPERATOR", members)


def verification(stream: str, state: str | None) -> Event:
    """A stream shows that it delivers; ``state`` is the receiver's own, None if he gave none (SSF 1.0,
    section 8.1.4.1).
    """
    return Event(VERIFICATION, _stream(stream), {} if state is None else {"state": state})


def stream_updated(stream: str, status: str, reason: str) -> Event:
    """This side changed the status of a stream (SSF 1.0, section 8.1.5)."""
    return Event(STREAM_UPDATED, _stream(stream), {"status": status, "reason": reason})


def _caep(
    name: str, subject: Mapping[str, Any], at: int, by: str, reason: str, members: Mapping[str, Any]
) -> Event:
    common: dict[str, Any] = {"event_timestamp": at, "initiating_entity": by}
    if reason:
        common["reason_admin"] = {"en": _WORDS[reason]}
    return Event(CAEP + name, subject, {**common, **members})


def _coarse(reason: str) -> str:
    return reason if reason in _WORDS else RISK_REASONS.get(reason, _OTHER)


def _stream(stream: str) -> dict[str, Any]:
    return {"format": "opaque", "id": stream}
