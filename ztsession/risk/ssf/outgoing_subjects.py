"""Whom an event is about, and whether a receiver wants to hear of him (RFC 9493; SSF 1.0, sections 3, 8.1.3).

Every event of ours names all that it is about at once: the session, the user, the device. A receiver that
knows only one of them finds it there, and asks for it by that one alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from ztsession.errors import WireError
from ztsession.posture.devices import NO_DEVICE
from ztsession.risk.ssf.subjects import MEMBERS

__all__ = ["SUBJECT_MAX_CHARS", "complex_matches", "complex_subject", "is_complex", "keys_of", "read_subject"]

SUBJECT_MAX_CHARS: Final = 1024

#: Formats by name, with their members, all of them texts.
_FORMATS: Final[Mapping[str, tuple[str, ...]]] = {
    "account": ("uri",),
    "did": ("url",),
    "email": ("email",),
    "iss_sub": ("iss", "sub"),
    "jwt_id": ("iss", "jti"),
    "opaque": ("id",),
    "phone_number": ("phone_number",),
    "saml_assertion_id": ("issuer", "assertion_id"),
    "uri": ("uri",),
}
_COMPLEX: Final = "complex"

Subject = dict[str, Any]


def complex_subject(issuer: str, *, session: bytes = b"", user: str = "", device: str = "") -> Subject:
    """The ``sub_id`` of a session (16 bytes), a subject and a device, as far as they are given."""
    subject: Subject = {"format": _COMPLEX}
    if session:
        subject["session"] = {"format": "opaque", "id": session.hex()}
    if user:
        # Names are unique in this house alone.
        subject["user"] = {"format": "iss_sub", "iss": issuer, "sub": user}
    if device not in ("", NO_DEVICE):
        subject["device"] = {"format": "opaque", "id": device}
    return subject


def read_subject(value: object) -> str:
    """The one text of a subject that a receiver named; WireError says what is wrong with it."""
    subject = _checked(value)
    text = _text(subject)
    if len(text) > SUBJECT_MAX_CHARS:
        raise WireError(f"subject: expected at most {SUBJECT_MAX_CHARS} characters")
    return text


def is_complex(text: str) -> bool:
    """Whether :func:`read_subject` gave a complex subject."""
    return bool(_parsed(text)["format"] == _COMPLEX)


def keys_of(subject: Mapping[str, Any]) -> tuple[str, ...]:
    """The texts of all simple subjects that an event's subject names."""
    parts = [subject[name] for name in MEMBERS if name in subject]
    return tuple(_text(part) for part in parts or [subject])


def complex_matches(text: str, subject: Mapping[str, Any]) -> bool:
    """Whether a complex subject that a receiver named is the event's, in each part that both have (SSF 1.0,
    section 8.1.3.1).
    """
    named = _parsed(text)
    return all(named[part] == subject[part] for part in MEMBERS if part in named and part in subject)


def _checked(value: object) -> Subject:
    if type(value) is dict and value.get("format") == _COMPLEX:
        parts = {name: part for name, part in value.items() if name != "format"}
        if not parts or not parts.keys() <= set(MEMBERS):
            raise WireError(f"subject: expected some of {', '.join(MEMBERS)} in a complex one")
        return {"format": _COMPLEX, **{name: _simple(part) for name, part in parts.items()}}
    return _simple(value)


def _simple(value: object) -> Subject:
    members = _FORMATS.get(value["format"]) if type(value) is dict and _is_text(value, "format") else None
    if type(value) is not dict or members is None:
        raise WireError(f"subject: expected an object of format {', '.join((*_FORMATS, _COMPLEX))}")
    # Two readers of a member more would see two subjects.
    if value.keys() != {"format", *members} or not all(_is_text(value, name) for name in members):
        raise WireError(f"subject: expected exactly format and {', '.join(members)}, all texts")
    return value


def _is_text(value: Subject, name: str) -> bool:
    return type(value.get(name)) is str and value[name] != ""


def _text(subject: Mapping[str, Any]) -> str:
    return json.dumps(subject, sort_keys=True, separators=(",", ":"))


@lru_cache(maxsize=4096)
def _parsed(text: str) -> Subject:
    subject: Subject = json.loads(text)
    return subject
