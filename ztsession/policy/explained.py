"""An explanation as a person reads it: one sentence, and beneath it what is in the way and what would help.

Texts of policies and files end up in it, and it ends up on terminals and in logs. So it is ASCII, and nothing
in a name can begin a line of its own (L7).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final

from ztsession.policy.catalog import RISKS
from ztsession.policy.explanation import Condition, Explanation, Finding, Need, Source

__all__ = ["text_of"]

_OF_LIMITS: Final = {
    "catalog": "the catalog asks for",
    "scopes": "what the session asked for does not have it",
    "environment": "the session is of one environment",
}
#: Findings that are told in full; that many more are counted.
FINDINGS_SHOWN: Final = 6

_NOT_PLAIN: Final = re.compile(r"[^\x20-\x7e]")


def text_of(explanation: Explanation) -> str:
    """A few lines of printable ASCII, without a newline at the end."""
    return "\n".join(_plain(line) for line in _lines(explanation))


def _plain(line: str) -> str:
    return _NOT_PLAIN.sub(lambda match: f"\\u{{{ord(match[0]):x}}}", line)


def _lines(told: Explanation) -> Iterator[str]:
    yield _headline(told)
    if told.modes:
        yield f"  may run in {', '.join(told.modes)}"
    for finding in told.failed[:FINDINGS_SHOWN]:
        yield f"  {_heading(finding)}"
        yield from (f"    {_line(condition)}" for condition in finding.conditions)
    if len(told.failed) > FINDINGS_SHOWN:
        yield f"  and {len(told.failed) - FINDINGS_SHOWN} more permits that came less near"
    if told.outcome != "allowed":
        yield from _help(told)


def _headline(told: Explanation) -> str:
    what, who = told.operation, told.subject
    if told.outcome == "allowed":
        return f"{what} is allowed to {who} by {_named(told, 'permit')}{_at(told)}"
    how = f"denied to {who}" if told.outcome == "denied" else f"allowed to {who} after a step-up"
    return f"{what} is {how}: {'; '.join(_causes(told))}"


def _causes(told: Explanation) -> Iterator[str]:
    effects, places = ({getattr(each, name) for each in told.deciding} for name in ("effect", "place"))
    if "environment" in places:
        yield "the session is of another environment"
    if "scopes" in places:
        yield "the session did not ask for it"
    if told.errors:
        yield f"a policy failed, and a failure denies ({'; '.join(told.errors)})"
    elif "forbid" in effects:
        yield f"forbidden by {_named(told, 'forbid')}{_at(told)}"
    elif "permit" not in effects:
        so_sure = f" with assurance {told.assurance}" if told.outcome == "step-up" else ""
        yield f"default deny, no policy permits {told.subject} {told.operation}{so_sure}{_at(told)}"
    if "catalog" in places:
        limits = next(each.conditions for each in told.failed if each.source.place == "catalog")
        yield f"the catalog asks for {' and '.join(map(_line, limits))}"


def _named(told: Explanation, effect: str) -> str:
    return ", ".join(_called(source) for source in told.deciding if source.effect == effect)


def _called(source: Source) -> str:
    return f"{source.place} ({source.id})" if source.id else source.place


def _at(told: Explanation) -> str:
    return "" if told.decided_risk == RISKS[0] else f" at risk {told.decided_risk}"


def _heading(finding: Finding) -> str:
    source, name = finding.source, _called(finding.source)
    if any(condition.holds is None for condition in finding.conditions):
        return f"{source.effect} at {name}, which could not be evaluated:"
    if source.effect == "forbid":
        return f"forbid at {name} holds{', because:' if finding.conditions else ' always'}"
    if source.effect == "permit":
        return f"permit at {name} would, but it also asks for:"
    return f"{_OF_LIMITS[source.place]}:"


def _line(condition: Condition) -> str:
    found = {path: json.dumps(value) for path, value in condition.found.items()}
    # What a single attribute was needs no name.
    told = [*found.values()] if len(found) == 1 else [f"{path} {value}" for path, value in found.items()]
    told = [f"found {', '.join(told)}"] if told else []
    told += [condition.error] if condition.error else []
    return f"{condition.text} ({'; '.join(told)})" if told else condition.text


def _help(told: Explanation) -> Iterator[str]:
    if told.needs:
        yield "  it would be allowed"
        yield from (f"    {_way(need)}" for need in told.needs)
        return
    unpermitted = not told.errors and all(source.effect == "limit" for source in told.deciding)
    yield f"  nothing that the subject can show would help{'; no policy permits it' if unpermitted else ''}"


def _way(need: Need) -> str:
    parts = {
        "environment": f"in a session of environment {need.environment}",
        "scope": f"in a session that asked for {need.scope}",
        "assurance": f"with assurance {need.assurance}",
        "posture": f"with good posture of {', '.join(need.posture)}",
        "risk": f"at risk {need.risk}",
        "role": f"with the role {need.role}, which is the operator's to give",
        "time": f"at {need.local}",
    }
    return " and ".join(parts[kind] for kind in need.kinds)
