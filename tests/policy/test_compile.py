from __future__ import annotations

from typing import Any

import pytest

from ztsession.errors import ConfigurationError, PolicyError
from ztsession.policy.attributes import SubjectAttributes
from ztsession.policy.catalog import Catalog
from ztsession.policy.compile import SCOPES_MAX, compile_grant
from ztsession.policy.engine import PolicySet
from ztsession.policy.explain import explain
from ztsession.policy.grant import Grant

ALGORITHM = SubjectAttributes("algo-7", "algorithm", ("trading",), "rates")
TRADER = SubjectAttributes("ada", "human", (), "rates")
STRANGER = SubjectAttributes("eve", "service")


def grant_for(
    policy: PolicySet, who: SubjectAttributes, posture: dict[str, str], **changes: Any
) -> Grant | None:
    question: dict[str, Any] = {
        "device": "host-1",
        "posture": posture,
        "posture_digest": b"o" * 32,
        "assurance": 1,
        "session": b"s" * 16,
        "scopes": ["orders.*"],
        "issued_at": 1_790_000_000,
        "segment": "orders",
        "catalog": policy.catalog,
    }
    question |= changes
    return compile_grant(policy, question.pop("catalog"), question.pop("segment"), who, **question)


def names(grant: Grant | None, bitmap: int) -> set[str]:
    assert grant is not None
    return {name.partition(".")[2] for name, row in grant.operations.items() if bitmap >> row[0] & 1}


def test_healthy_algorithm_gets_its_segment_with_the_worse_modes_narrowed(
    policy: PolicySet, healthy: dict[str, str]
) -> None:
    """NORMAL: all permitted; RESTRICTED: what reduces risk or reads; SUSPENDED: what is always allowed."""
    grant = grant_for(policy, ALGORITHM, healthy)
    assert grant is not None
    everything = {"submit", "amend", "cancel", "cancel-all", "block-trade", "status"}
    assert names(grant, grant.allowed[0]) == everything
    assert names(grant, grant.allowed[1]) == {"cancel", "cancel-all", "status"}
    assert names(grant, grant.allowed[2]) == {"cancel-all"}
    assert names(grant, grant.step_up) == {"block-trade"}
    assert grant.policy == policy.digest
    assert grant.catalog == policy.catalog.segment("orders").digest
    assert grant.operations["orders.amend"] == [1, 2_000_000, 0, 1]
    assert (grant.session, grant.subject, grant.device) == (b"s" * 16, "algo-7", "host-1")
    assert Grant.from_bytes(grant.to_bytes()) == grant


def test_assurance_of_the_session_settles_step_up(policy: PolicySet, healthy: dict[str, str]) -> None:
    """With the assurance that an operation wants, it is plainly allowed."""
    grant = grant_for(policy, ALGORITHM, healthy, assurance=3)
    assert grant is not None
    assert grant.step_up == 0
    assert "block-trade" in names(grant, grant.allowed[0])


def test_refusal_that_a_second_factor_would_lift_is_step_up(
    policy: PolicySet, healthy: dict[str, str]
) -> None:
    """What Cedar refuses now and would permit with full assurance is marked, and stays out of worse modes."""
    grant = grant_for(policy, TRADER, healthy, assurance=1)
    assert grant is not None
    assert grant.step_up == grant.allowed[0]
    assert grant.allowed[1:] == [0, 0]
    stepped = grant_for(policy, TRADER, healthy, assurance=2)
    assert names(stepped, stepped.step_up if stepped else 0) == {"block-trade"}


def test_bad_posture_takes_risk_increasing_operations_and_leaves_cancel(
    policy: PolicySet, healthy: dict[str, str]
) -> None:
    """A forbid on posture is not undone by stepping up, and cancelling survives."""
    grant = grant_for(policy, ALGORITHM, healthy | {"kernel": "bad"})
    assert grant is not None
    assert names(grant, grant.allowed[0]) == {"cancel", "cancel-all", "status"}
    assert grant.step_up == 0


def test_scopes_narrow_what_is_granted(policy: PolicySet, healthy: dict[str, str]) -> None:
    """Nobody is given what was not asked for, and the table of names stays whole."""
    grant = grant_for(policy, ALGORITHM, healthy, scopes=["orders.cancel", "md.*", "orders.nothing"])
    assert grant is not None
    assert names(grant, grant.allowed[0]) == {"cancel"}
    assert len(grant.operations) == 6


def test_L1_no_grant_at_all_when_nothing_is_allowed(policy: PolicySet, healthy: dict[str, str]) -> None:
    """A stranger, and a friend who asked for nothing here, get no grant; the friend who asked gets one."""
    assert grant_for(policy, STRANGER, healthy) is None
    assert grant_for(policy, ALGORITHM, healthy, scopes=["md.*"]) is None
    assert grant_for(policy, ALGORITHM, healthy, scopes=[]) is None
    assert grant_for(policy, ALGORITHM, healthy) is not None


@pytest.mark.parametrize(
    "scope", ["orders", "*", "*.*", "orders.", "orders.sub*", "Orders submit", "\u043erders.*"]
)
def test_malformed_scope_is_refused(policy: PolicySet, healthy: dict[str, str], scope: str) -> None:
    """A scope is one operation or one whole segment; nothing else is guessed at."""
    with pytest.raises(PolicyError, match="scopes"):
        grant_for(policy, ALGORITHM, healthy, scopes=[scope])


def test_D6_scopes_are_bounded(policy: PolicySet, healthy: dict[str, str]) -> None:
    """As many as there may be are read, and one more is refused."""
    most = ["orders.cancel"] * SCOPES_MAX
    assert grant_for(policy, ALGORITHM, healthy, scopes=most) is not None
    with pytest.raises(PolicyError, match="at most 256"):
        grant_for(policy, ALGORITHM, healthy, scopes=[*most, "orders.cancel"])


def test_L5_policies_of_another_catalog_are_refused(policy: PolicySet, healthy: dict[str, str]) -> None:
    """A policy set decides only for the catalog that it was validated against."""
    other = Catalog.from_text('version = 1\n[segments.orders.operations.submit]\neffect = "read"\n')
    with pytest.raises(PolicyError, match="another version"):
        grant_for(policy, ALGORITHM, healthy, catalog=other)
    with pytest.raises(ConfigurationError, match="no segment"):
        grant_for(policy, ALGORITHM, healthy, segment="risk")


def test_L5_grant_tells_the_version_that_made_it(policy: PolicySet, healthy: dict[str, str]) -> None:
    """The same decision under another policy version is another grant with another digest."""
    text = "permit (principal, action, resource);\n"
    one, two = (PolicySet({"a.cedar": t}, policy.catalog) for t in (text, text + text))
    first, second = (grant_for(p, ALGORITHM, healthy) for p in (one, two))
    assert first is not None
    assert second is not None
    assert first.allowed == second.allowed
    assert first.digest() != second.digest()
    assert first.profile_digest() != second.profile_digest()


def test_L4_failing_forbid_leaves_the_operation_out(policy: PolicySet, healthy: dict[str, str]) -> None:
    """An operation whose evaluation fails at the session's assurance is at best a step-up, never ready."""
    text = (
        "permit (principal, action, resource);\n"
        'forbid (principal, action == Action::"orders.submit", resource)\n'
        "when { context.assurance * 9223372036854775807 < 0 };\n"
    )
    failing = PolicySet({"a.cedar": text}, policy.catalog)
    grant = grant_for(failing, ALGORITHM, healthy, assurance=2)
    assert grant is not None
    assert "submit" not in names(grant, grant.allowed[0])
    assert "cancel" in names(grant, grant.allowed[0])


@pytest.mark.parametrize(
    ("who", "operation", "posture", "assurance", "told"),
    [
        (ALGORITHM, "submit", {}, 1, "allowed to algo-7 by trading.cedar:2"),
        (ALGORITHM, "block-trade", {}, 2, "the catalog asks for context.assurance >= 3 (found 2)"),
        (TRADER, "submit", {}, 1, "after a step-up: default deny, no policy permits ada orders.submit"),
        (STRANGER, "submit", {}, 1, "denied to eve: default deny, no policy permits eve orders.submit"),
        (ALGORITHM, "submit", {"kernel": "bad"}, 1, "denied to algo-7: forbidden by trading.cedar:20"),
    ],
)
def test_explanation_names_what_decided(
    policy: PolicySet,
    healthy: dict[str, str],
    who: SubjectAttributes,
    operation: str,
    posture: dict[str, str],
    assurance: int,
    told: str,
) -> None:
    """Each outcome is told with its cause: the deciding policy, the missing assurance, or no permit."""
    explanation = explain(
        policy, "orders", operation, who, device="h", posture=healthy | posture, assurance=assurance
    )
    assert told in explanation.text().splitlines()[0]


def test_explanation_of_a_failure_names_the_failing_policy(
    policy: PolicySet, healthy: dict[str, str]
) -> None:
    """When a policy failed, that is the reason given."""
    text = "forbid (principal, action, resource) when { context.assurance * 9223372036854775807 < 0 };\n"
    failing = PolicySet({"a.cedar": text}, policy.catalog)
    why = explain(failing, "orders", "submit", ALGORITHM, device="h", posture=healthy, assurance=2)
    assert "a failure denies" in why.text()
    assert "a.cedar:1" in why.text()
