"""Why an operation is or is not in a grant, in one sentence.

Cedar's default deny names no policy, because there is none to name; to the person at the desk that is the
least helpful answer of all. Here it says what was missing: that nothing permits this subject this operation.
"""

from __future__ import annotations

from collections.abc import Mapping

from ztsession.policy.attributes import SubjectAttributes
from ztsession.policy.compile import ASSURANCE_MAX
from ztsession.policy.engine import Decision, PolicySet

__all__ = ["explain"]


def explain(
    policy: PolicySet,
    segment: str,
    operation: str,
    identity: SubjectAttributes,
    *,
    device: str,
    posture: Mapping[str, str],
    assurance: int,
) -> str:
    """Say what decides ``operation`` (short or full name) for ``identity`` now; for operators, not for the
    peer.
    """
    table = policy.catalog.segment(segment)
    asked = table.operation(operation)
    who, what = identity.subject, asked.full_name

    def decide(level: int) -> Decision:
        [decision] = policy.decide(identity, table, [asked], device=device, posture=posture, assurance=level)
        return decision

    now = decide(assurance)
    if now.allowed and asked.assurance <= assurance:
        return f"{what} is allowed to {who} by {', '.join(now.reasons)}"
    if now.allowed:
        needs = f"needs assurance {asked.assurance} and the session has {assurance}"
        return f"{what} is allowed to {who} after a step-up: the catalog says it {needs}"
    if decide(ASSURANCE_MAX).allowed:
        why = f"{_refusal(now, who, what)} with assurance {assurance}"
        return f"{what} is allowed to {who} after a step-up: {why}"
    return f"{what} is denied to {who}: {_refusal(now, who, what)}"


def _refusal(decision: Decision, who: str, what: str) -> str:
    if decision.errors:
        return f"a policy failed, and a failure denies ({'; '.join(decision.errors)})"
    if decision.reasons:
        return f"forbidden by {', '.join(decision.reasons)}"
    return f"default deny, no policy permits {who} {what}"
