"""AuthZEN's questions, read in the one way there is to read them, and its answers (Authorization API 1.0).

The JSON comes from another program and decides what is asked of the policies. So its size is bounded before
it gets here, its depth before it is parsed, and how many evaluations it holds before the first of them is
looked at. A name that stands twice is refused, because two readers would take different ones of the two.
Members that are not known are passed over, as the specification demands, and among them are all
``properties``: what is known of subjects and segments comes from the Authority and not from who asks.

What is wrong with a whole request is a WireError. What is wrong with one evaluation of several is the answer
to that one (section 7.2.1): the others are answered.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from ztsession.authority.questions import STEP_UP, AccessQuestion, Circumstances, Entity, Ruling
from ztsession.errors import EvidenceError, WireError
from ztsession.identity.jose import strict_json
from ztsession.policy.catalog import RISKS
from ztsession.policy.compile import ASSURANCE_MAX
from ztsession.posture.devices import NO_DEVICE
from ztsession.posture.items import ITEMS, UNKNOWN, WORDS
from ztsession.wire.names import is_name

__all__ = [
    "DEPTH_MAX",
    "EVALUATIONS_MAX",
    "SEMANTICS",
    "Evaluations",
    "decision",
    "encode",
    "read_evaluation",
    "read_evaluations",
]

DEPTH_MAX: Final = 16
EVALUATIONS_MAX: Final = 256
#: What ends a series early, by its name in requests: never, the first answer that is no, or that is yes.
SEMANTICS: Final[Mapping[str, bool | None]] = {
    "execute_all": None,
    "deny_on_first_deny": False,
    "permit_on_first_permit": True,
}

_DEFAULTS: Final = ("subject", "resource", "action", "context")
#: A string, to its end or to that of the text, or a bracket: every byte is looked at once.
_BRACKETS: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)
_SESSION: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
#: RFC 3339, and without seconds, as the specification writes it.
_TIME: Final = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII
)
#: The year 2242: calendars beyond it are nobody's business.
_TIME_MAX_S: Final = 2**33

#: What the subject may hear; it tells nothing of subjects, segments and policies.
_TOLD: Final = {STEP_UP: "Stronger authentication is needed first."}
_TOLD_ELSE: Final = "This is not allowed."

Members = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Evaluations:
    """Several questions; where one could not be read, there is what is wrong with it.

    ``ends_on``: the answer after which no more are given, None if all are.
    """

    questions: Sequence[AccessQuestion | WireError]
    ends_on: bool | None = None


def read_evaluation(data: bytes) -> AccessQuestion:
    """Read the body of an Access Evaluation request (section 6.1), whose size is bounded already."""
    return _question(_members(data))


def read_evaluations(data: bytes) -> AccessQuestion | Evaluations:
    """Read that of an Access Evaluations request (section 7.1): one question if it lists none, else all."""
    members = _members(data)
    listed = members.get("evaluations", [])
    if type(listed) is not list or not all(type(each) is dict for each in listed):
        raise WireError("evaluations: expected an array of objects")
    if len(listed) > EVALUATIONS_MAX:
        raise WireError(f"evaluations: expected at most {EVALUATIONS_MAX}")
    if not listed:
        return _question(members)
    ends_on = SEMANTICS[_semantic(members)]
    defaults: Members = {name: _object(members, name) for name in _DEFAULTS if name in members}
    return Evaluations([_one_of_several({**defaults, **each}) for each in listed], ends_on)


def decision(ruling: Ruling | WireError) -> Members:
    """What a Decision (section 5.5) says: yes, or no and why."""
    if isinstance(ruling, WireError):
        return {"decision": False, "context": {"error": {"status": 400, "message": str(ruling)}}}
    if ruling.permitted:
        return {"decision": True}
    told = _TOLD.get(ruling.outcome, _TOLD_ELSE)
    context: Members = {"reason_admin": {"403": ruling.why}, "reason_user": {"403": told}}
    if ruling.assurance:
        context["assurance"] = ruling.assurance
    return {"decision": False, "context": context}


def encode(value: Members) -> bytes:
    """As JSON, in ASCII."""
    return json.dumps(value, separators=(",", ":")).encode("ascii")


# ---- The whole


def _members(data: bytes) -> Members:
    _check_depth(data)
    try:
        return strict_json(data, "the request")
    except EvidenceError as error:
        raise WireError(str(error)) from None


def _check_depth(data: bytes) -> None:
    depth = 0
    for found in _BRACKETS.finditer(data):
        bracket = found.group()
        if bracket in (b"[", b"{"):
            depth += 1
        elif bracket in (b"]", b"}"):
            depth -= 1
        if depth > DEPTH_MAX:
            raise WireError(f"the request is nested deeper than {DEPTH_MAX}")


def _semantic(members: Members) -> str:
    options = _object(members, "options") if "options" in members else {}
    semantic = options.get("evaluations_semantic", "execute_all")
    if type(semantic) is not str or semantic not in SEMANTICS:
        raise WireError(f"options.evaluations_semantic: expected one of {', '.join(SEMANTICS)}")
    return semantic


def _one_of_several(members: Members) -> AccessQuestion | WireError:
    try:
        return _question(members)
    except WireError as error:
        return error


# ---- One question


def _question(members: Members) -> AccessQuestion:
    context = _object(members, "context") if "context" in members else {}
    return AccessQuestion(
        subject=_entity(members, "subject"),
        resource=_entity(members, "resource"),
        action=_text(_with_properties(members, "action"), "action", "name"),
        circumstances=_circumstances(context),
        session=_session(context),
    )


def _entity(members: Members, name: str) -> Entity:
    entity = _with_properties(members, name)
    return Entity(_text(entity, name, "type"), _text(entity, name, "id"))


def _with_properties(members: Members, name: str) -> Members:
    entity = _object(members, name)
    if type(entity.get("properties", {})) is not dict:
        raise WireError(f"{name}.properties: expected an object")
    return entity


def _object(members: Members, name: str) -> Members:
    value = members.get(name)
    if type(value) is not dict:
        raise WireError(f"{name}: expected an object")
    return value


def _text(entity: Members, of: str, name: str) -> str:
    value = entity.get(name)
    if type(value) is not str:
        raise WireError(f"{of}.{name}: expected a string")
    return value


# ---- Its context


def _circumstances(context: Members) -> Circumstances:
    assurance, risk = context.get("assurance", 1), context.get("risk", RISKS[0])
    if type(assurance) is not int or not 1 <= assurance <= ASSURANCE_MAX:
        raise WireError(f"context.assurance: expected an integer from 1 to {ASSURANCE_MAX}")
    if risk not in RISKS:
        raise WireError(f"context.risk: expected one of {', '.join(RISKS)}")
    device = context.get("device", NO_DEVICE)
    if type(device) is not str or not is_name(device):
        raise WireError("context.device: expected 1 to 128 characters of A-Z a-z 0-9 . _ : / @ -")
    return Circumstances(assurance, device, _posture(context), risk, _time(context))


def _posture(context: Members) -> Mapping[str, str]:
    given = context.get("posture", {})
    # A misspelt item would be one that nobody looks at.
    if type(given) is not dict or not given.keys() <= set(ITEMS):
        raise WireError(f"context.posture: expected an object with members of {', '.join(ITEMS)}")
    if any(type(word) is not str or word not in WORDS for word in given.values()):
        raise WireError(f"context.posture: expected each {' | '.join(WORDS)}")
    return {item: given.get(item, UNKNOWN) for item in ITEMS}


def _time(context: Members) -> float | None:
    if "time" not in context:
        return None
    text = context["time"]
    try:
        if type(text) is str and _TIME.fullmatch(text):
            at = datetime.fromisoformat(text.upper()).timestamp()
            if 0 <= at < _TIME_MAX_S:
                return at
    except (ValueError, OverflowError):
        pass  # no such day, or hour
    raise WireError("context.time: expected a time of RFC 3339, such as 2026-11-27T09:30:00-05:00")


def _session(context: Members) -> bytes:
    if "session" not in context:
        return b""
    text = context["session"]
    if type(text) is not str or not _SESSION.fullmatch(text):
        raise WireError("context.session: expected 32 hexadecimal digits, in lower case")
    return bytes.fromhex(text)
