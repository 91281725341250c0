"""What the events of CAEP 1.0 and RISC 1.0 are to us: one table, and the form that each event must have.

A transmitter says what has happened and not how bad that is for a desk. That is ours to say, and it is said
in one place, so that whoever asks why a session was suspended by somebody else's event finds the line. Where
a specification leaves something open the worse reading is taken: what is not said to be an increase is none.

Members that are not known are passed over, because the specifications demand it; a member that is known and
has another form than they give it is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ztsession.errors import EventRefused
from ztsession.risk.levels import Level
from ztsession.risk.ssf.names import CAEP, CAEP_EVENTS, RISC, RISC_EVENTS
from ztsession.risk.ssf.sets import INVALID_REQUEST, SecurityEvent
from ztsession.risk.ssf.subjects import SIMPLE

__all__ = ["EVENTS", "TABLE", "Meaning", "against", "meaning_of", "short_name"]

#: Every event that is known, by the name that settings give it, and its URI.
EVENTS: Final[Mapping[str, str]] = {
    **{name: CAEP + name for name in CAEP_EVENTS},
    **{name: RISC + name for name in RISC_EVENTS},
}
_SHORT: Final = {uri: name for name, uri in EVENTS.items()}

TEXT_MAX_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class Meaning:
    """One row: an event, whose members have these values, is a signal of this kind and level.

    ``against``: "subject" and "device", by name; "sessions", those that live and began before it was said;
    "principal", which of the three the event itself says.
    """

    event: str
    when: Mapping[str, str]
    kind: str
    level: Level
    against: str
    withdraws: bool = False


#: The first row that fits is the event's.
TABLE: Final = (
    # CAEP
    Meaning("session-revoked", {}, "session-revoked", Level.CRITICAL, "sessions"),
    Meaning("token-claims-change", {}, "claims-change", Level.MEDIUM, "subject"),
    Meaning("credential-change", {"change_type": "revoke"}, "credential-change", Level.HIGH, "subject"),
    Meaning("credential-change", {"change_type": "delete"}, "credential-change", Level.HIGH, "subject"),
    Meaning("credential-change", {}, "credential-change", Level.LOW, "subject"),
    Meaning(
        "assurance-level-change",
        {"change_direction": "increase"},
        "assurance-change",
        Level.LOW,
        "subject",
        withdraws=True,
    ),
    Meaning("assurance-level-change", {}, "assurance-change", Level.MEDIUM, "subject"),
    Meaning(
        "device-compliance-change",
        {"current_status": "not-compliant"},
        "posture-drift",
        Level.MEDIUM,
        "device",
    ),
    Meaning("device-compliance-change", {}, "posture-drift", Level.LOW, "device", withdraws=True),
    Meaning("session-established", {}, "behaviour", Level.LOW, "subject"),
    Meaning("session-presented", {}, "behaviour", Level.LOW, "subject"),
    Meaning("risk-level-change", {"current_level": "HIGH"}, "risk-level", Level.HIGH, "principal"),
    Meaning("risk-level-change", {"current_level": "MEDIUM"}, "risk-level", Level.MEDIUM, "principal"),
    Meaning("risk-level-change", {}, "risk-level", Level.LOW, "principal", withdraws=True),
    # RISC
    Meaning("account-disabled", {"reason": "hijacking"}, "account", Level.CRITICAL, "subject"),
    Meaning("account-disabled", {}, "account", Level.HIGH, "subject"),
    Meaning("account-enabled", {}, "account", Level.LOW, "subject", withdraws=True),
    Meaning("account-purged", {}, "account", Level.CRITICAL, "subject"),
    Meaning("credential-compromise", {}, "credential-compromise", Level.HIGH, "subject"),
    Meaning("sessions-revoked", {}, "session-revoked", Level.CRITICAL, "sessions"),
    # Who has the old address next is somebody else.
    Meaning("identifier-changed", {}, "claims-change", Level.MEDIUM, "subject"),
    Meaning("identifier-recycled", {}, "account", Level.HIGH, "subject"),
    Meaning("account-credential-change-required", {}, "credential-change", Level.MEDIUM, "subject"),
)
_PRINCIPALS: Final = {"USER": "subject", "DEVICE": "device", "SESSION": "sessions"}


def short_name(uri: str) -> str:
    """The name of an event out of ``EVENTS``; "" for one that is not known."""
    return _SHORT.get(uri, "")


def meaning_of(event: SecurityEvent) -> Meaning:
    """The row of an event that is known; EventRefused if the event has not its form."""
    name, members = _SHORT[event.type], event.members
    for check in (*_COMMON, *_OWN.get(name, ())):
        check(members)
    if name in ("identifier-changed", "identifier-recycled"):
        _check_address(event)
    return next(
        row
        for row in TABLE
        if row.event == name and all(members.get(key) == value for key, value in row.when.items())
    )


def against(row: Meaning, event: SecurityEvent) -> str:
    """ "subject", "device" or "sessions"; "" for what can be nobody here, such as a tenant."""
    if row.against != "principal":
        return row.against
    return _PRINCIPALS.get(event.members["principal"], "")


# ---- The forms


@dataclass(frozen=True, slots=True)
class _Text:
    """A member that is a text, one of ``words`` if there are any."""

    name: str
    words: tuple[str, ...] = ()
    required: bool = field(default=False, kw_only=True)

    def __call__(self, members: Mapping[str, Any]) -> None:
        if self.name not in members and not self.required:
            return
        value = members.get(self.name)
        if type(value) is not str or not self.required <= len(value) <= TEXT_MAX_BYTES:
            raise _malformed(self.name, "a text")
        if self.words and value not in self.words:
            raise _malformed(self.name, f"one of {', '.join(self.words)}")


def _check_timestamp(members: Mapping[str, Any]) -> None:
    value = members.get("event_timestamp", 0)
    if type(value) not in (int, float) or value < 0:
        raise _malformed("event_timestamp", "a number")


def _check_reasons(members: Mapping[str, Any]) -> None:
    for name in ("reason_admin", "reason_user"):
        value = members.get(name, "")
        texts = value.values() if type(value) is dict else [value]
        # Before 1.0, and in RISC still, it may be a text without a language.
        if not texts or not all(type(each) is str for each in texts):
            raise _malformed(name, "texts by their languages")


def _check_claims(members: Mapping[str, Any]) -> None:
    if type(members.get("claims")) is not dict or not members["claims"]:
        raise _malformed("claims", "an object of one claim or more")


def _check_methods(members: Mapping[str, Any]) -> None:
    value = members.get("amr", [])
    # One alone stands without a list in an example of the specification's drafts.
    texts = value if type(value) is list else [value]
    if not all(type(each) is str for each in texts):
        raise _malformed("amr", "a list of texts")


def _check_address(event: SecurityEvent) -> None:
    for identifiers in event.principal.members.values():
        if not identifiers or any(each.format not in ("email", "phone_number") for each in identifiers):
            raise _malformed("sub_id", "an email or a phone_number")
    if set(event.principal.members) != {SIMPLE}:
        raise _malformed("sub_id", "an email or a phone_number")


def _malformed(name: str, expected: str) -> EventRefused:
    return EventRefused(INVALID_REQUEST, f"the event's {name} is not {expected}")


_Check = Callable[[Mapping[str, Any]], None]
_STATUSES: Final = ("compliant", "not-compliant")
_LEVELS: Final = ("LOW", "MEDIUM", "HIGH")
#: CAEP 1.0, section 2.
_COMMON: Final[tuple[_Check, ...]] = (
    _check_timestamp,
    _Text("initiating_entity", ("admin", "user", "policy", "system")),
    _check_reasons,
)
#: By event: CAEP 1.0, section 3, and RISC 1.0, section 2.
_OWN: Final[Mapping[str, tuple[_Check, ...]]] = {
    "token-claims-change": (_check_claims,),
    "credential-change": (
        _Text("credential_type", required=True),
        _Text("change_type", ("create", "revoke", "update", "delete"), required=True),
        _Text("friendly_name"),
        _Text("x509_issuer"),
        _Text("x509_serial"),
        _Text("fido2_aaguid"),
    ),
    "assurance-level-change": (
        _Text("namespace", required=True),
        _Text("current_level", required=True),
        _Text("previous_level"),
        _Text("change_direction", ("increase", "decrease")),
    ),
    "device-compliance-change": (
        _Text("previous_status", _STATUSES, required=True),
        _Text("current_status", _STATUSES, required=True),
    ),
    "session-established": (_Text("fp_ua"), _Text("acr"), _check_methods, _Text("ext_id")),
    "session-presented": (_Text("fp_ua"), _Text("ext_id")),
    "risk-level-change": (
        _Text("principal", required=True),
        _Text("current_level", _LEVELS, required=True),
        _Text("previous_level", _LEVELS),
        _Text("risk_reason"),
    ),
    "account-disabled": (_Text("reason"),),
    "credential-compromise": (_Text("credential_type", required=True),),
    "identifier-changed": (_Text("new-value"),),
}
