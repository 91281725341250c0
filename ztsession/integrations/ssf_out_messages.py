"""What receivers ask of the transmitter, read in one way, and what it answers (SSF 1.0; RFC 8936).

The JSON is another program's, whose token was looked at before. Its size is bounded before it gets here; a
name that stands twice is refused, and every text has a length. Members that are not known are passed over, as
the specifications demand. What the transmitter alone decides may stand in a request, and must then be what it
is: a receiver that believes something else of its stream shall hear of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from ztsession.authority.outbox import EVENTS_MAX
from ztsession.authority.streams import STATUSES, VERIFICATION_INTERVAL_S, Stream, Wanted
from ztsession.errors import EvidenceError, WireError
from ztsession.identity.jose import strict_json
from ztsession.risk.ssf.names import POLL, PUSH
from ztsession.risk.ssf.outgoing_settings import Receiver

__all__ = [
    "POLL_EVENTS_MAX",
    "Poll",
    "configuration",
    "encode",
    "members",
    "optional_text",
    "polled",
    "read_changed",
    "read_error",
    "read_poll",
    "read_status",
    "read_wanted",
    "status",
    "text",
]

#: SETs in one answer to a poll.
POLL_EVENTS_MAX: Final = 100

_TEXT_MAX: Final = 1024
_URL_MAX: Final = 2048
_HEADER_MAX: Final = 1024
_NAMES_MAX: Final = 1000

Members = dict[str, Any]


def members(data: bytes) -> Members:
    """The members of a request's JSON object; WireError for anything else. No body at all has none."""
    try:
        return strict_json(data, "the request") if data else {}
    except EvidenceError as error:
        raise WireError(str(error)) from None


def encode(value: object) -> bytes:
    """As JSON, in ASCII."""
    return json.dumps(value, separators=(",", ":")).encode("ascii")


def text(request: Members, name: str) -> str:
    """The text that a member must be, of 1 to 1024 characters."""
    value = optional_text(request, name)
    if not value:
        raise WireError(f"{name}: expected a text")
    return value


def optional_text(request: Members, name: str, *, max_chars: int = _TEXT_MAX) -> str | None:
    """The text that a member may be, None if it is not there."""
    value = request.get(name)
    if value is None:
        return None
    # A half of a surrogate pair is no character, and no encoding takes it.
    if type(value) is not str or len(value) > max_chars or not _is_encodable(value):
        raise WireError(f"{name}: expected a text of at most {max_chars} characters")
    return value


def _is_encodable(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


# ---- Streams (SSF 1.0, section 8.1.1)


def configuration(stream: Stream, receiver: Receiver, issuer: str, poll_url: str) -> Members:
    """A stream's configuration. What is shown with pushes is the receiver's secret, and not repeated."""
    wanted = stream.wanted
    pushed = {"method": PUSH, "endpoint_url": wanted.endpoint}
    said: Members = {
        "stream_id": stream.id,
        "iss": issuer,
        "aud": receiver.audience[0] if len(receiver.audience) == 1 else list(receiver.audience),
        "delivery": pushed if wanted.method == PUSH else {"method": POLL, "endpoint_url": poll_url},
        "events_supported": list(receiver.events),
        "events_requested": list(wanted.requested or receiver.events),
        "events_delivered": list(stream.delivered),
        "min_verification_interval": VERIFICATION_INTERVAL_S,
    }
    return {**said, "description": wanted.description} if wanted.description else said


def read_wanted(request: Members) -> Wanted:
    """What a new stream, or one that is replaced, is to be."""
    return _with(Wanted(), request)


def read_changed(request: Members, stream: Stream, known: Members, *, replaces: bool) -> Wanted:
    """What a stream is to be from now on. ``known``: its configuration; what of it is the transmitter's must
    be as it is, if it is there. ``replaces``: what is not there is taken away, else it stays.
    """
    for name in ("iss", "aud", "events_supported", "events_delivered", "min_verification_interval"):
        if name in request and request[name] != known[name]:
            raise WireError(f"{name}: it is the transmitter's, and not that")
    if not replaces:
        return _with(stream.wanted, request, poll_url=known["delivery"]["endpoint_url"])
    if "delivery" not in request:
        raise WireError("delivery: expected in a replacement")
    kept = replace(stream.wanted, requested=(), description="")
    return _with(kept, request, poll_url=known["delivery"]["endpoint_url"])


def _with(wanted: Wanted, request: Members, *, poll_url: str = "") -> Wanted:
    if "events_requested" in request:
        wanted = replace(wanted, requested=_requested(request["events_requested"]))
    if "description" in request:
        wanted = replace(wanted, description=optional_text(request, "description", max_chars=256) or "")
    if "delivery" in request:
        return _delivery(wanted, request["delivery"], poll_url)
    return wanted


def _requested(value: object) -> tuple[str, ...]:
    fits = type(value) is list and 1 <= len(value) <= EVENTS_MAX
    if type(value) is not list or not fits or not all(_is_uri(each) for each in value):
        raise WireError(f"events_requested: expected 1 to {EVENTS_MAX} URIs")
    return tuple(dict.fromkeys(value))


def _is_uri(value: object) -> bool:
    return type(value) is str and 0 < len(value) <= 256 and value.isascii() and value.isprintable()


def _delivery(wanted: Wanted, value: object, poll_url: str) -> Wanted:
    if type(value) is not dict:
        raise WireError("delivery: expected an object")
    method, endpoint = value.get("method"), optional_text(value, "endpoint_url", max_chars=_URL_MAX)
    if method == POLL:
        if endpoint and endpoint != poll_url:
            raise WireError("delivery.endpoint_url: the transmitter says where it is polled")
        return replace(wanted, method=POLL, endpoint="", authorization="")
    if method != PUSH:
        raise WireError(f"delivery.method: expected {PUSH} or {POLL}")
    if not endpoint:
        raise WireError("delivery.endpoint_url: expected for pushes")
    same = (wanted.method, wanted.endpoint) == (PUSH, endpoint)
    # It is not told, so who reads a configuration and sends it back cannot know it. But what was given for
    # one address is not shown to another.
    kept = wanted.authorization if same else ""
    given = optional_text(value, "authorization_header", max_chars=_HEADER_MAX)
    if given is not None and not (given.isascii() and given.isprintable() and given.strip() == given):
        raise WireError("delivery.authorization_header: expected printable ASCII")
    return replace(wanted, method=PUSH, endpoint=endpoint, authorization=kept if given is None else given)


# ---- Status (section 8.1.2)


def status(stream: Stream) -> Members:
    """A stream's status."""
    said = {"stream_id": stream.id, "status": stream.row.status}
    return {**said, "reason": stream.row.reason} if stream.row.reason else said


def read_status(request: Members) -> tuple[str, str]:
    """The status that a receiver wants, and why."""
    wanted = request.get("status")
    if wanted not in STATUSES:
        raise WireError(f"status: expected one of {', '.join(STATUSES)}")
    return wanted, optional_text(request, "reason", max_chars=256) or ""


# ---- Polls (RFC 8936, section 2.2)


@dataclass(frozen=True, slots=True)
class Poll:
    """One poll: how many SETs are wanted, whether to wait for them, and what became of those before, by
    their names.
    """

    events_max: int
    at_once: bool
    taken: tuple[str, ...]
    refused: Mapping[str, str]


def read_poll(request: Members) -> Poll:
    """Read one."""
    events_max, at_once = request.get("maxEvents", POLL_EVENTS_MAX), request.get("returnImmediately", False)
    if type(events_max) is not int or events_max < 0:
        raise WireError("maxEvents: expected an integer from 0")
    if type(at_once) is not bool:
        raise WireError("returnImmediately: expected true or false")
    taken, refused = request.get("ack", []), request.get("setErrs", {})
    if type(taken) is not list or len(taken) > _NAMES_MAX or not all(_is_name(each) for each in taken):
        raise WireError(f"ack: expected at most {_NAMES_MAX} names of SETs")
    if type(refused) is not dict or len(refused) > _NAMES_MAX or not all(_is_name(each) for each in refused):
        raise WireError(f"setErrs: expected an object of at most {_NAMES_MAX} members, by names of SETs")
    errors = {jti: _err(value) for jti, value in refused.items()}
    return Poll(min(events_max, POLL_EVENTS_MAX), at_once, tuple(taken), errors)


def _is_name(value: object) -> bool:
    # Whether there is one of that name is the store's to say, and it must be able to read it.
    return type(value) is str and _is_encodable(value)


def polled(sets: Mapping[str, str], *, more: bool) -> Members:
    """The answer: SETs by their names."""
    return {"sets": dict(sets), "moreAvailable": True} if more else {"sets": dict(sets)}


def read_error(body: bytes) -> str | None:
    """The word of a receiver that refused a push (RFC 8935, section 2.4); None if this says none."""
    try:
        return _err(members(body))
    except WireError:
        return None


def _err(value: object) -> str:
    if type(value) is not dict or type(value.get("err")) is not str or not value["err"]:
        raise WireError("setErrs: expected objects with err")
    # Into a log: what a receiver sends cannot forge a line there.
    return "".join(each if "!" <= each <= "~" else "?" for each in value["err"][:64])
