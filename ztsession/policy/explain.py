"""Why an operation is or is not allowed, and what would change that.

Cedar's default deny names no policy, because there is none to name; to the person at the desk that is the
least helpful answer of all. Here it says which permits came near, what of them did not hold and what was
found in its place; which forbid bit, and on what; which limit of the catalog; and what would help.

The outcome is a grant's own, compiled by what compiles grants, and everything else is Cedar's answer to a
question that was put to it: an explanation that reasons for itself is one that can be wrong.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from ztsession.policy.asked import Asked
from ztsession.policy.attributes import SubjectAttributes
from ztsession.policy.catalog import RISKS
from ztsession.policy.engine import Decision, PolicySet
from ztsession.policy.explanation import Condition, Explanation, Finding, Found, Source
from ztsession.policy.needs import needs_of
from ztsession.policy.probe import Part, Probe

__all__ = ["Explanation", "explain"]

_CATALOG = Source("catalog", "limit")


def explain(
    policy: PolicySet,
    segment: str,
    operation: str,
    identity: SubjectAttributes,
    *,
    device: str,
    posture: Mapping[str, str],
    assurance: int,
    risk: str = RISKS[0],
    at: float | None = None,
) -> Explanation:
    """Explain what decides ``operation`` (short or full name) for ``identity``; for operators, not for the
    peer.

    ``posture``: a word for each item; ``risk``: of the session; ``at``: Unix seconds, by default now. Raises
    ConfigurationError for what is not in the catalog, PolicyError for a question that is not whole.
    """
    table = policy.catalog.segment(segment)
    asked = Asked(
        policy,
        table,
        table.operation(operation),
        identity,
        device,
        posture,
        assurance,
        risk,
        time.time() if at is None else at,
    )
    asked.question()  # refuses what cannot be asked
    decided_risk, decision = asked.decided()
    parts = Probe.of(policy).look(replace(asked, risk=decided_risk))
    limits = tuple(_limits(asked))
    return Explanation(
        subject=identity.subject,
        operation=asked.operation.full_name,
        outcome=asked.outcome,
        modes=asked.modes,
        assurance=assurance,
        risk=risk,
        decided_risk=decided_risk,
        at=asked.at,
        deciding=(*((_CATALOG,) if limits else ()), *(part.source for part in _deciding(decision, parts))),
        failed=(*((Finding(_CATALOG, limits),) if limits else ()), *_failed(decision, parts)),
        errors=decision.errors,
        needs=needs_of(asked, [part.tree for part in parts]),
    )


def _limits(asked: Asked) -> Iterator[Condition]:
    """The catalog's limits of the operation that are not met, said as a policy would."""
    operation, ranks = asked.operation, RISKS.index(asked.operation.highest_risk) + 1
    if operation.assurance > asked.assurance:
        yield _limit(f"context.assurance >= {operation.assurance}", "context.assurance", asked.assurance)
    for item in operation.lacks(asked.posture):
        path = f"context.posture.{item}"
        yield _limit(f'{path} == "good"', path, asked.posture[item])
    if not operation.runs_at(asked.risk):
        words = ", ".join(f'"{word}"' for word in RISKS[:ranks])
        yield _limit(f"[{words}].contains(context.risk)", "context.risk", asked.risk)


def _limit(text: str, path: str, value: Found) -> Condition:
    return Condition(text, False, {path: value})


def _deciding(decision: Decision, parts: Sequence[Part]) -> list[Part]:
    if decision.errors:
        return [part for part in parts if part.errs]
    effect = "permit" if decision.allowed else "forbid"
    held = (part for part in parts if part.source.effect == effect and not part.failing)
    return [part for part in held if part.source.place in decision.reasons]


def _failed(decision: Decision, parts: Sequence[Part]) -> Iterator[Finding]:
    if decision.allowed:
        return
    for part in _deciding(decision, parts):
        yield Finding(part.source, part.failing if part.errs else part.conditions)
    permits = [part for part in parts if part.source.effect == "permit"]
    if all(part.failing for part in permits):
        near = sorted((part for part in permits if not part.errs), key=lambda part: len(part.failing))
        yield from (Finding(part.source, part.failing) for part in near)
