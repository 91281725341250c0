"""Whom an event is about: subject identifiers (RFC 9493) and the complex subjects of SSF 1.0 (section 3).

An identifier is one text and what kind of text it is. Nothing is known here of who that may be to us; only
what could be two things, or endless, is refused. Formats that are not known are nobody, and no error: the
specification lets two parties agree on their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ztsession.errors import EventRefused

__all__ = ["FORMATS", "MEMBERS", "SIMPLE", "Identifier", "Principal", "read_principal"]

IDENTIFIER_MAX_BYTES: Final = 512
ALIASES_MAX: Final = 16
MEMBERS_MAX: Final = 16

#: By format the member that holds the text; the issuer that it is unique to stands in ``iss``.
FORMATS: Final[Mapping[str, str]] = {
    "account": "uri",
    "email": "email",
    "iss_sub": "sub",
    "opaque": "id",
    "phone_number": "phone_number",
    "did": "url",
    "uri": "uri",
}
_BEGINS: Final[Mapping[str, str]] = {"account": "acct:", "did": "did:"}

#: What a complex subject is made of (SSF 1.0, section 3.3).
MEMBERS: Final = ("user", "device", "session", "application", "tenant", "org_unit", "group")
#: The only member of a subject that is not complex.
SIMPLE: Final = ""


@dataclass(frozen=True, slots=True)
class Identifier:
    """One text of a format out of ``FORMATS``; ``issuer`` of iss_sub alone, else ""."""

    format: str
    text: str
    issuer: str = ""


@dataclass(frozen=True, slots=True)
class Principal:
    """By member (of ``MEMBERS``, or ``SIMPLE`` alone) all identifiers of it that are known formats."""

    members: Mapping[str, tuple[Identifier, ...]]


def read_principal(value: object) -> Principal:
    """Read ``sub_id``, whose size the caller has bounded; EventRefused if it is malformed."""
    subject = _object(value, "sub_id")
    if _format(subject, "sub_id") != "complex":
        return Principal({SIMPLE: _identifiers(subject, "sub_id")})
    if len(subject) > 1 + MEMBERS_MAX:
        raise _malformed(f"sub_id has over {MEMBERS_MAX} members")
    named = [name for name in MEMBERS if name in subject]
    if not named:
        raise _malformed(f"sub_id is complex and has none of {', '.join(MEMBERS)}")
    return Principal({name: _identifiers(_object(subject[name], name), name) for name in named})


def _identifiers(subject: Mapping[str, Any], where: str) -> tuple[Identifier, ...]:
    kind = _format(subject, where)
    if kind == "complex":
        raise _malformed(f"{where}: a complex subject within another")
    if kind != "aliases":
        return _identifier(kind, subject, where)
    listed = subject.get("identifiers")
    if type(listed) is not list or not 1 <= len(listed) <= ALIASES_MAX:
        raise _malformed(f"{where}: expected 1 to {ALIASES_MAX} identifiers")
    found = [_object(each, where) for each in listed]
    if any(_format(each, where) in ("aliases", "complex") for each in found):
        raise _malformed(f"{where}: aliases within aliases")
    return tuple(one for each in found for one in _identifier(_format(each, where), each, where))


def _identifier(kind: str, subject: Mapping[str, Any], where: str) -> tuple[Identifier, ...]:
    member = FORMATS.get(kind)
    if member is None:
        return ()
    text = _text(subject, member, where)
    if not text.startswith(_BEGINS.get(kind, "")):
        raise _malformed(f"{where}: the {member} of {kind} begins with something else")
    return (Identifier(kind, text, _text(subject, "iss", where) if kind == "iss_sub" else ""),)


def _format(subject: Mapping[str, Any], where: str) -> str:
    return _text(subject, "format", where)


def _text(subject: Mapping[str, Any], name: str, where: str) -> str:
    value = subject.get(name)
    if type(value) is not str or not 1 <= len(value) <= IDENTIFIER_MAX_BYTES:
        raise _malformed(f"{where}: {name} is not a text of 1 to {IDENTIFIER_MAX_BYTES} characters")
    return value


def _object(value: object, where: str) -> dict[str, Any]:
    if type(value) is not dict:
        raise _malformed(f"{where} is not an object")
    return value


def _malformed(why: str) -> EventRefused:
    return EventRefused("invalid_request", why)
