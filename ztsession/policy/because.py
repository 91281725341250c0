"""Why an operation's outcome is what it is by new policies, in a few words beside a difference.

What is told is about the mode that was won or lost: an operation that no longer runs in a RESTRICTED session
was refused at medium risk, whatever is permitted at low.
"""

from __future__ import annotations

from typing import Final

from ztsession.policy.catalog import RISKS, Operation
from ztsession.policy.compile import ASSURANCE_MAX, Case
from ztsession.policy.engine import Decision
from ztsession.policy.outcome import Outcome

__all__ = ["NOT_ENROLLED", "because"]

#: Of a subject that the new directory does not know, or not by the session's credential.
NOT_ENROLLED: Final = "not enrolled with this credential"

#: The risk at which a mode is decided.
_RISK: Final = {Outcome.NORMAL: RISKS[0], Outcome.RESTRICTED: RISKS[1], Outcome.SUSPENDED: RISKS[2]}


def because(case: Case, operation: str, at: float, outcome: Outcome, *, gain: bool) -> str:
    """Say why ``operation`` (full name) now comes to ``outcome`` in a ``case`` at ``at`` (Unix seconds)."""
    segment = case.policy.catalog.segments.get(operation.partition(".")[0])
    asked = next((o for o in segment.operations if o.full_name == operation), None) if segment else None
    if asked is None:
        return "not in the catalog"
    if gain:
        return _permitted(case, asked, at, outcome)
    # What was lost is the mode after the one in which it still runs.
    lost = Outcome.NORMAL if outcome < Outcome.NORMAL else Outcome(outcome + 1)
    return _refused(case, asked, at, _RISK[lost])


def _permitted(case: Case, asked: Operation, at: float, outcome: Outcome) -> str:
    decision = _decide(case, asked, at, _RISK.get(outcome, RISKS[0]))
    if decision.allowed:
        needs = f", with assurance {asked.assurance}" if outcome == Outcome.STEP_UP else ""
        return f"permitted by {_places(decision)}{needs}"
    later = _decide(case, asked, at, RISKS[0], assurance=ASSURANCE_MAX)
    return f"permitted by {_places(later)}, with more assurance"


def _refused(case: Case, asked: Operation, at: float, risk: str) -> str:
    decision = _decide(case, asked, at, risk)
    when = f" at {risk} risk" if risk != RISKS[0] else ""
    if decision.errors:
        return f"a policy fails: {'; '.join(decision.errors)}"
    if not decision.allowed and decision.reasons:
        return f"forbidden by {_places(decision)}{when}"
    if not decision.allowed:
        return f"no policy permits it{when}"
    lacks = asked.lacks(case.posture)
    if lacks:
        return f"the catalog wants good {', '.join(lacks)}"
    if asked.assurance > case.assurance:
        return f"the catalog wants assurance {asked.assurance}"
    return f"the catalog lets it run up to {asked.highest_risk} risk"


def _decide(case: Case, asked: Operation, at: float, risk: str, *, assurance: int = 0) -> Decision:
    [decision] = case.policy.decide(
        case.identity,
        case.policy.catalog.segment(asked.segment),
        [asked],
        device=case.device,
        posture=case.posture,
        assurance=assurance or case.assurance,
        risk=risk,
        at=at,
    )
    return decision


def _places(decision: Decision) -> str:
    return ", ".join(decision.reasons)
