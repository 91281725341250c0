"""Why a live session may or may not do an operation, from what the store keeps of it.

Nothing is shown anew for an explanation: the evidence is that of the handshake or of the last renewal, and
who the subject is comes from the registry as it is now. So this is what the policies in force would say if
the session were renewed without showing more; until then the grants that it holds may be of earlier ones.
"""

from __future__ import annotations

from dataclasses import replace

from ztsession.authority.decision import Decider
from ztsession.authority.judged import Basis
from ztsession.policy.catalog import Segment
from ztsession.policy.compile import wanted
from ztsession.policy.explain import explain
from ztsession.policy.explanation import Condition, Explanation, Finding, Need, Source
from ztsession.posture.appraisal import Appraisal
from ztsession.store.records import SessionRecord

__all__ = ["explain_session"]


def explain_session(
    decider: Decider,
    record: SessionRecord,
    basis: Basis | bytes,
    operation: str,
    *,
    risk: str,
    now: float,
) -> Explanation:
    """Explain ``operation`` (its full name) for a session of this record and basis, at ``risk`` (a word of
    ``RISKS``) and ``now`` (Unix seconds).

    Raises EvidenceError when the subject, its credential or its device is no longer enrolled as it was,
    ConfigurationError for an operation that is not in the catalog, WireError for a basis that cannot be read.
    """
    basis = Basis.from_bytes(basis) if isinstance(basis, bytes) else basis
    policy = decider.policies.current
    segment = policy.catalog.segment(operation.partition(".")[0])
    known = decider.known(record, basis)
    shown = known.appraisal
    # What a renewal would have to show again is taken as it was shown last.
    judged = replace(known, appraisal=Appraisal(basis.posture, shown.device, key=shown.key))
    explained = explain(
        policy,
        segment.name,
        operation,
        judged.attributes,
        device=judged.device,
        posture=judged.appraisal.vector,
        assurance=judged.assurance,
        risk=risk,
        at=now,
    )
    return _of_its_environment(_of_its_scopes(explained, segment, basis), segment, basis)


def _of_its_scopes(explained: Explanation, segment: Segment, basis: Basis) -> Explanation:
    name = explained.operation
    if segment.operation(name) in wanted(segment, basis.scopes):
        return explained
    asked = Condition(f"{name} or {segment.name}.*", False, {"session.scopes": tuple(basis.scopes)})
    return _refused(explained, "scopes", asked, Need(scope=name))


def _of_its_environment(explained: Explanation, segment: Segment, basis: Basis) -> Explanation:
    if segment.environment == basis.environment:
        return explained
    text = f'session.environment == "{segment.environment}"'
    other = Condition(text, False, {"session.environment": basis.environment})
    return _refused(explained, "environment", other, Need(environment=segment.environment))


def _refused(explained: Explanation, place: str, condition: Condition, need: Need) -> Explanation:
    """The same, refused for a reason that comes before all policies, and allowed by no less than ``need``."""
    source = Source(place, "limit")
    ways = (Need(),) if explained.outcome == "allowed" else explained.needs
    return replace(
        explained,
        outcome="denied",
        modes=(),
        deciding=(source, *explained.deciding),
        failed=(Finding(source, (condition,)), *explained.failed),
        needs=tuple(
            replace(way, scope=way.scope or need.scope, environment=way.environment or need.environment)
            for way in ways
        ),
    )
