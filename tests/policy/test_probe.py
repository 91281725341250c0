"""Policies taken apart: which of their conditions hold for a question, with the values that were found."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ztsession.errors import PolicyError
from ztsession.policy.asked import Asked
from ztsession.policy.attributes import SubjectAttributes
from ztsession.policy.calendar import Calendar
from ztsession.policy.catalog import Catalog
from ztsession.policy.cedar_schema import POSTURE_ITEMS
from ztsession.policy.engine import PolicySet
from ztsession.policy.probe import Part, Probe

CATALOG = """\
version = 1
[segments.orders.operations.submit]
effect = "risk-increasing"
[segments.orders.operations.cancel]
effect = "risk-reducing"
"""
WHO = SubjectAttributes("algo-7", "algorithm", ("trading",), "rates")
#: A Wednesday, 15:07 in UTC.
AT = 1_795_619_220
OVERFLOW = "context.assurance * 9223372036854775807 < 0"


def policies(*texts: str) -> PolicySet:
    return PolicySet({"a.cedar": "\n".join(texts)}, Catalog.from_text(CATALOG), Calendar())


def asked(policy: PolicySet, **changes: Any) -> Asked:
    segment = policy.catalog.segment("orders")
    question: dict[str, Any] = {
        "policy": policy,
        "segment": segment,
        "operation": segment.operation("submit"),
        "identity": WHO,
        "device": "host-1",
        "posture": dict.fromkeys(POSTURE_ITEMS, "good"),
        "assurance": 2,
        "risk": "low",
        "at": AT,
    }
    return Asked(**{**question, **changes})


def look(text: str, **changes: Any) -> list[Part]:
    policy = policies(text)
    return Probe(policy).look(asked(policy, **changes))


def told(condition: str) -> dict[str, bool | None]:
    """The conditions of one policy, and which of them hold."""
    [part] = look(f"permit (principal, action, resource) {condition};")
    return {each.text: each.holds for each in part.conditions}


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("", {}),
        ("when { context.assurance >= 2 }", {"context.assurance >= 2": True}),
        (
            'when { principal.kind == "human" && (context.assurance >= 3 && context.risk == "low") }',
            {
                'principal.kind == "human"': False,
                "context.assurance >= 3": False,
                'context.risk == "low"': True,
            },
        ),
        (
            'when { context.risk == "low" } unless { context.assurance < 3 }',
            {'context.risk == "low"': True, "!(context.assurance < 3)": False},
        ),
        (
            'unless { context.risk == "high" || context.assurance < 3 || !(context.risk == "low") }',
            {
                '!(context.risk == "high")': True,
                "!(context.assurance < 3)": False,
                'context.risk == "low"': True,
            },
        ),
        (
            'when { !(context.risk == "high" || context.risk == "low") }',
            {'!(context.risk == "high")': True, '!(context.risk == "low")': False},
        ),
        (
            'when { context.risk == "high" || context.assurance >= 2 }',
            {'(context.risk == "high") || (context.assurance >= 2)': True},
        ),
        (
            'unless { context.risk == "high" && context.assurance >= 2 }',
            {'!((context.risk == "high") && (context.assurance >= 2))': True},
        ),
        (
            'when { if context.risk == "low" then context.assurance > 2 else true }',
            {'if (context.risk == "low") then (context.assurance > 2) else true': False},
        ),
        (
            'when { ["low", "medium"].contains(context.risk) && principal.roles.containsAny(["a", "b"]) }',
            {
                '["low", "medium"].contains(context.risk)': True,
                'principal.roles.containsAny(["a", "b"])': False,
            },
        ),
        (
            'when { principal.desk != "(context.risk) && \\"x" }',
            {'principal.desk != "(context.risk) && \\"x"': True},
        ),
        ("when { -2 < context.assurance }", {"-2 < context.assurance": True}),
        (f"when {{ {OVERFLOW} }}", {"(context.assurance * 9223372036854775807) < 0": None}),
    ],
)
def test_a_policy_is_taken_apart_where_both_sides_must_hold(
    condition: str, expected: dict[str, bool | None]
) -> None:
    """Conjunctions come apart, also those that an `unless` is by De Morgan; all else stays whole."""
    assert told(condition) == expected


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ("context.assurance >= 3", {"context.assurance": 2}),
        ('context.posture.kernel == "bad"', {"context.posture.kernel": "unknown"}),
        ('context.trust.executables == "affirming"', {"context.trust.executables": "warning"}),
        ('principal.roles.contains("x")', {"principal.roles": ("trading",)}),
        ('principal == Subject::"ada"', {"principal": 'Subject::"algo-7"'}),
        (
            "principal.desk == resource.environment",
            {"principal.desk": "rates", "resource.environment": "prod"},
        ),
        ('resource == Segment::"orders"', {"resource": 'Segment::"orders"'}),
        ('action in Action::"orders.*"', {"action": 'Action::"orders.submit"'}),
        ('context.device == "x"', {"context.device": "host-1"}),
        ("context.time.hhmm < 930", {"context.time.hhmm": 1507}),
        ('context.time.weekday == "mon"', {"context.time.weekday": "wed"}),
        ("context.time.date < 20260101", {"context.time.date": 20261125}),
        ('context.risk == "low" || context.risk == "high"', {"context.risk": "low"}),
        ("1 < 2", {}),
    ],
)
def test_each_condition_tells_what_was_found_of_what_it_mentions(
    condition: str, found: dict[str, object]
) -> None:
    """The values are those of the question, in full, and of no attribute that is not mentioned."""
    posture = dict.fromkeys(POSTURE_ITEMS, "good") | {"kernel": "unknown"}
    [part] = look(f"permit (principal, action, resource) when {{ {condition} }};", posture=posture)
    assert dict(part.conditions[0].found) == found


def test_a_record_that_is_mentioned_as_a_whole_is_told_item_by_item() -> None:
    """Nothing of what a comparison rests on is left out."""
    [part] = look("permit (principal, action, resource) when { context.posture == context.posture };")
    assert dict(part.conditions[0].found) == {f"context.posture.{item}": "good" for item in POSTURE_ITEMS}


@pytest.mark.parametrize(
    ("head", "fits"),
    [
        ("principal, action, resource", True),
        ('principal == Subject::"algo-7", action, resource', True),
        ('principal == Subject::"ada", action, resource', False),
        ('principal, action == Action::"orders.submit", resource', True),
        ('principal, action == Action::"orders.cancel", resource', False),
        ('principal, action in [Action::"orders.*"], resource', True),
        ('principal, action in Action::"effect:risk-reducing", resource', False),
        ('principal is Subject, action, resource == Segment::"orders"', True),
    ],
)
@pytest.mark.parametrize("effect", ["permit", "forbid"])
def test_only_policies_whose_head_fits_are_looked_at(effect: str, head: str, fits: bool) -> None:
    """Whoever, whatever and wherever a policy does not speak of is not its matter."""
    assert len(look(f"{effect} ({head}) when {{ context.assurance >= 3 }};")) == fits


def test_the_parts_of_many_policies_are_not_mixed_up() -> None:
    """Each policy has its own conditions, its place, its name and its effect, in the order of the files."""
    policy = policies(
        '@id("one") permit (principal, action, resource) when { context.assurance >= 3 };',
        'permit (principal == Subject::"ada", action, resource) when { context.assurance >= 1 };',
        "",
        '@id("two") forbid (principal, action, resource)',
        'when { context.assurance >= 2 && context.risk == "low" };',
    )
    one, two = Probe(policy).look(asked(policy))
    assert (one.source.place, one.source.id, one.source.effect) == ("a.cedar:1", "one", "permit")
    assert (two.source.place, two.source.id, two.source.effect) == ("a.cedar:4", "two", "forbid")
    assert [each.text for each in one.failing] == ["context.assurance >= 3"]
    assert [each.holds for each in two.conditions] == [True, True]


@pytest.mark.parametrize(
    ("condition", "errs"),
    [
        (f"when {{ {OVERFLOW} }}", True),
        (f'when {{ context.risk == "low" && {OVERFLOW} }}', True),
        (f'when {{ context.risk == "high" && {OVERFLOW} }}', False),
        (f'when {{ {OVERFLOW} && context.risk == "high" }}', True),
        (f'when {{ {OVERFLOW} }} unless {{ context.risk == "low" }}', True),
        (f'unless {{ context.risk == "low" || {OVERFLOW} }}', False),
    ],
)
def test_L4_a_condition_that_cannot_be_evaluated_is_told_as_such(condition: str, errs: bool) -> None:
    """It holds neither way, the words are Cedar's, and the policy fails only if Cedar comes so far."""
    [part] = look(f"forbid (principal, action, resource) {condition};")
    assert part.errs is errs
    [broken] = [each for each in part.failing if each.holds is None]
    assert broken.error.startswith("integer overflow")
    policy = policies(f"forbid (principal, action, resource) {condition};")
    segment = policy.catalog.segment("orders")
    posture = dict.fromkeys(POSTURE_ITEMS, "good")
    [decision] = policy.decide(WHO, segment, segment.operations[:1], device="h", posture=posture, assurance=2)
    assert bool(decision.errors) is errs


def test_a_question_that_is_not_whole_is_not_looked_at() -> None:
    """A probe asks what a decision asks, and refuses what it refuses."""
    policy = policies("permit (principal, action, resource);")
    with pytest.raises(PolicyError, match="posture"):
        Probe(policy).look(asked(policy, posture={}))
    with pytest.raises(PolicyError, match="risk"):
        Probe(policy).look(asked(policy, risk="none"))


ATOMS = st.sampled_from(
    [
        "context.assurance >= 2",
        'context.risk == "low"',
        'principal.roles.contains("trading")',
        'context.posture.kernel == "good"',
        "context.time.hhmm < 1200",
        OVERFLOW,
        "true",
    ]
)
CONDITIONS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.builds("({} && {})".format, inner, inner),
        st.builds("({} || {})".format, inner, inner),
        st.builds("!({})".format, inner),
        st.builds("(if {} then {} else {})".format, inner, inner, inner),
    ),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["when", "unless"]), CONDITIONS), max_size=2),
    st.integers(1, 3),
    st.sampled_from(["low", "high"]),
    st.sampled_from(["good", "bad"]),
)
def test_the_parts_together_are_the_policy(
    clauses: list[tuple[str, str]], assurance: int, risk: str, kernel: str
) -> None:
    """A policy holds exactly if all its parts do, and fails exactly if they say that it does."""
    body = " ".join(f"{word} {{ {condition} }}" for word, condition in clauses)
    policy = policies(f"permit (principal, action, resource) {body};")
    question = asked(
        policy,
        assurance=assurance,
        risk=risk,
        posture=dict.fromkeys(POSTURE_ITEMS, "good") | {"kernel": kernel},
    )
    [part] = Probe(policy).look(question)
    [decision] = policy.decide(
        WHO,
        question.segment,
        [question.operation],
        device="host-1",
        posture=question.posture,
        assurance=assurance,
        risk=risk,
        at=AT,
    )
    assert decision.allowed == (not part.failing)
    assert bool(decision.errors) == part.errs
