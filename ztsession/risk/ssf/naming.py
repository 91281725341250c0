"""From a transmitter's identifiers to our names: what the operator said that each format means.

A transmitter has names of its own, and one that looks like ours need not be ours. So nothing is guessed:
each format is given one meaning, or none, and then it is nobody. What is the same for an address is decided
once (its case is not looked at); letters that only look alike are in no name of ours and so never match.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol, TypeVar

from ztsession.identity.oidc_name import is_issuer, is_subject
from ztsession.identity.subjects import oidc_credential
from ztsession.risk.ssf.subjects import SIMPLE, Identifier, Principal
from ztsession.wire.names import is_name

__all__ = ["AS_DEVICE", "AS_SESSION", "AS_SUBJECT", "Enrolled", "LiveSession", "Naming"]

#: What an identifier of a format can be, for each of the three that a signal can be against.
AS_SUBJECT: Final = ("name", "listed", "oidc", "spiffe")
AS_DEVICE: Final = ("name", "listed")
AS_SESSION: Final = ("id",)

_T = TypeVar("_T")
_SESSION: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)


class LiveSession(NamedTuple):
    """A session that lives; ``id``: 16 bytes; ``authenticated_at``: Unix seconds."""

    id: bytes
    authenticated_at: int


class Enrolled(Protocol):
    """Who and what is known here."""

    def has_subject(self, name: str) -> bool:
        """Whether a subject of this name is enrolled."""

    def has_device(self, name: str) -> bool:
        """Whether a device of this name is enrolled."""

    def owner(self, credential: str) -> str:
        """The name of the subject that a credential belongs to, "" if nobody's."""

    def has_session(self, session: bytes) -> bool:
        """Whether there is a session of this id (16 bytes)."""

    def sessions(self, subjects: Collection[str], devices: Collection[str]) -> Iterable[LiveSession]:
        """The sessions that live, of one of these subjects on one of these devices; none stands for any."""


@dataclass(frozen=True)
class Naming:
    """How one transmitter names things. By format: words out of ``AS_SUBJECT``, and so on.

    ``issuer``: whose ``iss_sub`` are names, and listed; ``listed``: our names by the transmitter's
    identifiers; ``tenant``: the only tenant whose events are ours, if not ""; ``critical``: members of a
    subject that must not be passed over.
    """

    issuer: str
    subject: Mapping[str, str] = field(default_factory=lambda: {"iss_sub": "oidc"})
    device: Mapping[str, str] = field(default_factory=dict)
    session: Mapping[str, str] = field(default_factory=lambda: {"opaque": "id"})
    listed: Mapping[str, str] = field(default_factory=dict)
    tenant: str = ""
    critical: tuple[str, ...] = ()

    def is_ours(self, principal: Principal) -> bool:
        """False for another tenant, and for what has a critical member that says nothing here (SSF 1.0,
        section 3.6).
        """
        tenant = principal.members.get("tenant")
        if self.tenant and tenant is not None and self.tenant not in [each.text for each in tenant]:
            return False
        known = {SIMPLE, "user", "device", "session", *(["tenant"] if self.tenant else [])}
        return not set(self.critical) & principal.members.keys() - known

    def subjects(self, principal: Principal, enrolled: Enrolled) -> list[str]:
        """The names of the enrolled subjects that the user of an event is."""
        found = (self._subject(each, enrolled) for each in _of(principal, "user"))
        return _each_once(name for name in found if name and enrolled.has_subject(name))

    def devices(self, principal: Principal, enrolled: Enrolled) -> list[str]:
        """The names of the enrolled devices that the device of an event is."""
        found = (self._listed_or_name(self.device, each) for each in _of(principal, "device"))
        return _each_once(name for name in found if name and enrolled.has_device(name))

    def sessions(self, principal: Principal, enrolled: Enrolled, until: float) -> list[bytes]:
        """The ids of the sessions of an event: the one it names; if none of ours is named, all that live of
        its user, on its device if it says one of ours, and were authenticated until ``until`` (Unix seconds).
        """
        named = [self._session(each) for each in _of(principal, "session")]
        # A transmitter has session ids of its own, and they may look like ours: then its user is meant.
        ours = _each_once(each for each in named if each and enrolled.has_session(each))
        if ours:
            return ours
        subjects, devices = self.subjects(principal, enrolled), self.devices(principal, enrolled)
        if subjects and SIMPLE in principal.members:
            devices = []  # one text that is both is the user's
        if not subjects and not devices:
            return []
        found = enrolled.sessions(subjects, devices)
        return [each.id for each in found if each.authenticated_at <= until]

    def _subject(self, identifier: Identifier, enrolled: Enrolled) -> str:
        way = self.subject.get(identifier.format)
        if way in ("oidc", "spiffe"):
            credential = _credential(identifier)
            return enrolled.owner(credential) if credential else ""
        name = self._listed_or_name(self.subject, identifier)
        if way == "name" and identifier.format == "email" and not enrolled.has_subject(name):
            return name.lower()
        return name

    def _listed_or_name(self, ways: Mapping[str, str], identifier: Identifier) -> str:
        way = ways.get(identifier.format)
        if way is None or (identifier.format == "iss_sub" and identifier.issuer != self.issuer):
            # Whom another issuer calls so is another.
            return ""
        if way == "listed":
            return self.listed.get(identifier.text, "")
        name = identifier.text
        if identifier.format == "account":
            name = name.removeprefix("acct:")
        return name if is_name(name) else ""

    def _session(self, identifier: Identifier) -> bytes:
        if self.session.get(identifier.format) != "id" or not _SESSION.fullmatch(identifier.text):
            return b""
        return bytes.fromhex(identifier.text)


def _credential(identifier: Identifier) -> str:
    if identifier.format == "uri":
        # Credentials of other kinds are texts, too.
        plain = identifier.text.isascii() and identifier.text.startswith("spiffe://")
        return identifier.text if plain else ""
    # With a blank in the issuer another pair would have the same text.
    named = is_issuer(identifier.issuer) and is_subject(identifier.text)
    return oidc_credential(identifier.issuer, identifier.text) if named else ""


def _of(principal: Principal, member: str) -> tuple[Identifier, ...]:
    # A subject that is not complex does not say what it is: it is whatever it names.
    return principal.members.get(member, ()) or principal.members.get(SIMPLE, ())


def _each_once(found: Iterable[_T]) -> list[_T]:
    return list(dict.fromkeys(found))
