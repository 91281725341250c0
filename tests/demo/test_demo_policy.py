"""The demo's policies: who may promote, what a suspended session keeps, and how the catalog bounds it."""

from __future__ import annotations

from pathlib import Path

import pytest

import ztsession.demo
from ztsession.policy.attributes import SubjectAttributes
from ztsession.policy.compile import Case
from ztsession.policy.engine import PolicyEngine
from ztsession.posture.items import ITEMS

POLICY = PolicyEngine(Path(ztsession.demo.__file__).parent / "policy").current
RELEASE = POLICY.catalog.segment("release")
GOOD = dict.fromkeys(ITEMS, "good")
MANAGER = SubjectAttributes("release-manager-1", "human", ("release-manager",), "market-making")


@pytest.mark.parametrize(
    ("identity", "allowed"),
    [
        (MANAGER, True),
        (SubjectAttributes("trader-1", "human", (), "market-making"), False),
        (SubjectAttributes("algo-1", "algorithm", ("market-making",)), False),
        (SubjectAttributes("algo-1", "algorithm", ("release-manager",)), False),
        (SubjectAttributes("clearing", "service", ("clearing", "release-manager")), False),
    ],
)
def test_a_person_in_the_role_promotes_and_nobody_else(identity: SubjectAttributes, allowed: bool) -> None:
    """Everybody else is denied because no policy permits it, whatever their role is called."""
    [decision] = POLICY.decide(
        identity, RELEASE, RELEASE.operations, device="host", posture=GOOD, assurance=3, risk="low"
    )
    assert decision.allowed is allowed
    assert bool(decision.reasons) is allowed
    assert decision.errors == ()


@pytest.mark.parametrize(
    ("assurance", "allowed", "step_up"), [(1, (1, 0, 0), 1), (2, (1, 0, 0), 0), (3, (1, 0, 0), 0)]
)
def test_promotion_takes_a_second_factor_and_low_risk(
    assurance: int, allowed: tuple[int, int, int], step_up: int
) -> None:
    """By key alone it wants a step-up; in a session that is restricted or suspended it is gone."""
    case = Case(POLICY, MANAGER, "release-desktop-1", GOOD, assurance, ["release.promote"])
    compiled = case.compiled(RELEASE, 0)
    assert (compiled.allowed, compiled.step_up) == (allowed, step_up)


def test_a_bad_host_promotes_nothing() -> None:
    """A kernel or a program that nobody approved closes the gate to the manager, too."""
    for item in ("kernel", "program"):
        case = Case(POLICY, MANAGER, "host", {**GOOD, item: "bad"}, 2, ["release.promote"])
        assert case.compiled(RELEASE, 0).allowed == (0, 0, 0)


def test_the_gate_is_the_only_way_up() -> None:
    """Exactly one operation of the catalog promotes, from test into prod, in order and restricted."""
    operations = [o for segment in POLICY.catalog.segments.values() for o in segment.operations]
    [promote] = [o for o in operations if o.promotes_from]
    assert POLICY.catalog.environments == ("test", "prod")
    assert (promote.full_name, promote.promotes_from, RELEASE.environment) == (
        "release.promote",
        "test",
        "prod",
    )
    assert (promote.ordered, promote.data_class, promote.effect) == (True, "restricted", "risk-increasing")


def test_a_suspended_session_keeps_its_cancels_and_nothing_else() -> None:
    """Whatever is said against the algorithm, its orders can be taken out of the book."""
    algorithm = SubjectAttributes("algo-1", "algorithm", ("market-making",))
    orders = POLICY.catalog.segment("orders")
    case = Case(POLICY, algorithm, "trading-host-1", GOOD, 1, ["orders.*"])
    assert case.compiled(orders, 0).allowed[2] == orders.operation("cancel").bit


def test_prices_are_corrected_by_the_desk_alone() -> None:
    """The algorithm reads what is published, and a person of the desk may change it."""
    market_data = POLICY.catalog.segment("market-data")
    for subject, name in (
        (SubjectAttributes("algo-1", "algorithm", ("market-making",)), "subscribe"),
        (SubjectAttributes("trader-1", "human", (), "market-making"), "correct"),
    ):
        case = Case(POLICY, subject, "host", GOOD, 1, ["market-data.*"])
        assert case.compiled(market_data, 0).allowed[0] == market_data.operation(name).bit
