"""What lint finds in policies that load, beside a twin of each in which there is nothing to find."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from ztsession.policy.attributes import SubjectAttributes
from ztsession.policy.calendar import Calendar
from ztsession.policy.catalog import Catalog
from ztsession.policy.conditions import parts, rules_of, topics
from ztsession.policy.engine import PolicySet
from ztsession.policy.holds import Holding
from ztsession.policy.lint import KINDS_OF_FINDINGS, Finding, lint
from ztsession.posture.items import ITEMS

CATALOG = """\
version = 1
environments = ["test", "prod"]
[segments.orders.operations.submit]
effect = "risk-increasing"
[segments.orders.operations.cancel]
effect = "risk-reducing"
[segments.md.operations.subscribe]
effect = "read"
[segments.lab]
environment = "test"
[segments.lab.operations.run]
effect = "read"
"""
CALENDAR = """\
timezone = "America/New_York"
closed_on = ["sat", "sun", "2026-12-25"]
[phases]
continuous = "09:30"
closed = "16:00"
[days."2026-11-27"]
continuous = "09:30"
closed = "13:00"
"""
ALGORITHM = SubjectAttributes("algo-7", "algorithm", ("trading",), "rates")
TRADER = SubjectAttributes("trader-1", "human", ("trading", "research"), "rates")


def policies(text: str, tmp_path: Path) -> PolicySet:
    (tmp_path / "calendar.toml").write_text(CALENDAR)
    calendar = Calendar.load(tmp_path / "calendar.toml")
    return PolicySet({"a.cedar": text}, Catalog.from_text(CATALOG), calendar)


def found(
    text: str, kind: str, tmp_path: Path, subjects: Sequence[SubjectAttributes] = (ALGORITHM, TRADER)
) -> list[Finding]:
    return [each for each in lint(policies(text, tmp_path), subjects) if each.kind == kind]


def permit(conditions: str, action: str = "action", principal: str = "principal") -> str:
    return f"permit ({principal}, {action}, resource) when {{ {conditions} }};\n"


EARLY = 'context.phase == "closed" && context.time.hhmm >= 1300 && context.time.hhmm < 1600'
WHOLE = "{" + ", ".join(f'{item}: "{"bad" if item == "kernel" else "good"}"' for item in ITEMS) + "}"

#: Conditions that hold for no question, and a twin of each that holds for some.
NEVER = [
    ("context.assurance > 3", "context.assurance >= 3"),
    ("context.assurance + 1 == 5", "context.assurance + 1 == 4"),
    ('principal.kind == "human" && principal.kind == "service"', 'principal.kind == "human"'),
    (
        'principal.desk == "rates" && principal.desk != "rates"',
        'principal.desk != "fx" && principal.desk != "rates"',
    ),
    ('principal.desk == "no desk is called so"', 'principal.desk == "is-called-so"'),
    (
        'principal.roles.containsAll(["a", "b"]) && !principal.roles.contains("a")',
        'principal.roles.containsAny(["a", "b"]) && !principal.roles.contains("a")',
    ),
    (
        'principal.roles.isEmpty() && principal.roles.contains("a")',
        '!principal.roles.isEmpty() && !principal.roles.contains("a")',
    ),
    ('principal.roles == ["a"] && principal.roles.contains("b")', 'principal.roles == ["a", "b"]'),
    (
        'context.posture.kernel == "bad" && context.trust.executables == "affirming"',
        'context.posture.kernel == "good" && context.trust.executables == "affirming"',
    ),
    ('context.trust.sourced_data != "none"', 'context.trust.sourced_data == "none"'),
    ('context.device == "host-1" && context.device == "host-2"', 'context.device like "host-*"'),
    ('context.device like "host *"', '!(context.device like "a*")'),
    (
        "context.time.hhmm > 1659 && context.time.hhmm < 1700",
        "context.time.hhmm > 1658 && context.time.hhmm < 1700",
    ),
    (
        'context.phase == "continuous" && context.time.hhmm < 930',
        'context.phase == "continuous" && context.time.hhmm <= 930',
    ),
    (
        'context.phase == "continuous" && context.time.weekday == "sat"',
        'context.phase == "continuous" && context.time.weekday == "fri"',
    ),
    (
        'context.phase == "continuous" && context.time.date == 20261225',
        'context.phase == "continuous" && context.time.date == 20261224',
    ),
    (
        'context.phase == "continuous" && context.time.date == 20261127 && context.time.hhmm >= 1300',
        'context.phase == "continuous" && context.time.date == 20261127 && context.time.hhmm >= 1259',
    ),
    (
        'context.time.date == 20261231 && context.time.weekday == "mon"',
        'context.time.date == 20261231 && context.time.weekday == "thu"',
    ),
    ("context.time.date < 19991231", "context.time.date > 20261231"),
    ('resource.environment == "test" && action == Action::"orders.submit"', 'resource.environment == "test"'),
    ('action in Action::"effect:read" && action in Action::"orders.*"', 'action in Action::"effect:read"'),
    ('principal == Subject::"a" && principal == Subject::"b"', 'principal in [Subject::"a", Subject::"b"]'),
    (
        'context.risk == "low" && (context.risk == "high" || context.risk == "medium")',
        'context.risk == "low" || context.risk == "high"',
    ),
    (
        '(if principal.kind == "human" then context.assurance else 1) > 2 && principal.kind == "service"',
        '(if principal.kind == "human" then context.assurance else 1) > 2 && principal.kind == "human"',
    ),
    ("false", "true"),
    # A Friday is closed from one o'clock if it is the day after Thanksgiving; a Thursday never is.
    (
        EARLY + ' && context.time.weekday == "thu"',
        EARLY + ' && context.time.weekday == "fri"',
    ),
    # The names that stand for all others may be named themselves.
    (
        'principal.desk == "another" && principal.desk == "0"',
        'principal.desk != "another" && principal.desk != "0" && principal.desk != ""',
    ),
    # The posture as a whole.
    (f'context.posture == {WHOLE} && context.posture.kernel == "good"', f"context.posture == {WHOLE}"),
]


@pytest.mark.parametrize(("conditions", "twin"), NEVER)
def test_conditions_that_never_hold_are_found_and_others_are_not(conditions: str, twin: str, tmp_path: Path):
    """A contradiction is an error at its file and line; what can hold for some question is not one."""
    [finding] = found(permit("true") + permit(conditions), "never-holds", tmp_path)
    assert (finding.place, finding.severity) == ("a.cedar:2", "error")
    assert found(permit("true") + permit(conditions), "not-decided", tmp_path) == []
    assert found(permit("true") + permit(twin), "never-holds", tmp_path) == []
    assert found(permit("true") + permit(twin), "not-decided", tmp_path) == []


@pytest.mark.parametrize(
    ("unless", "never"),
    [
        ("context.assurance <= 3", True),
        ("context.assurance <= 2", False),
        ('context.assurance > 1 || context.risk != "high" || context.assurance < 2', True),
        ('context.assurance > 1 || context.risk != "high"', False),
        ('context.assurance >= 1 && context.risk != "high"', False),
    ],
)
def test_what_unless_says_counts_the_other_way_round(unless: str, never: bool, tmp_path: Path):
    """A policy whose `unless` is always true never holds."""
    text = f"forbid (principal, action, resource) unless {{ {unless} }};\n" + permit("true")
    assert bool(found(text, "never-holds", tmp_path)) is never


def test_the_scope_is_a_condition_like_any_other(tmp_path: Path):
    """An operation of one segment asked of another is a contradiction between two parts of one scope."""
    scope = 'permit (principal, action == Action::"md.subscribe", resource == Segment::"{}");\n'
    [finding] = found(scope.format("orders"), "never-holds", tmp_path)
    assert "together (target)" in finding.text
    assert found(scope.format("md"), "never-holds", tmp_path) == []


@pytest.mark.parametrize(
    "conditions",
    [
        "principal.desk == context.device && principal.desk != context.device",
        'principal.desk like "a*" && principal.desk like "*b" && principal.desk like "*c*d*"',
        "principal.roles.contains(principal.desk) && principal.roles.isEmpty()",
        "context.assurance * 9223372036854775807 < 1",
    ],
)
def test_what_the_domain_does_not_cover_is_not_called_impossible(conditions: str, tmp_path: Path):
    """Where no question that was asked satisfies conditions, but another might, this is said, and no more."""
    text = permit("true") + permit(conditions)
    assert found(text, "never-holds", tmp_path) == []
    [finding] = found(text, "not-decided", tmp_path)
    assert finding.place == "a.cedar:2"


def test_too_many_questions_are_not_decided_and_a_yes_among_the_first_is(tmp_path: Path):
    """The bound makes "not decided" out of a no, never out of a yes."""
    items = ("kernel", "program", "packages", "boot", "debug", "device")
    alike = " && ".join(f"context.posture.{a} == context.posture.{b}" for a in items for b in items if a < b)
    text = permit(f'{alike} && context.posture.kernel != "good" && context.posture.boot == "good"')
    policy = policies(text + permit(alike), tmp_path)
    impossible, possible = rules_of(policy)
    assert Holding(policy).possible(impossible.clauses).never
    bounded = Holding(policy, questions_max=3**6 - 1)
    assert bounded.possible(impossible.clauses).decided is False
    assert bounded.possible(possible.clauses).asked is not None
    assert Holding(policy, questions_max=3**6).possible(impossible.clauses).never


def test_conditions_without_a_common_topic_are_tried_apart(tmp_path: Path):
    """Nine items and everything else do not multiply: each group of clauses is a question of its own."""
    every = " && ".join(
        f'context.posture.{item} == "good"' for item in ("kernel", "program", "boot", "debug")
    )
    text = permit(f'{every} && context.assurance >= 2 && principal.kind == "human" && context.risk == "low"')
    [rule] = rules_of(policies(text, tmp_path))
    apart = [topics(part) for part in parts(rule.clauses)]
    assert len(apart) == 7
    assert all(len(topic) == 1 for topic in apart)
    assert len(parts(rule.clauses, known={"kind", "risk"})) == 7
    [both] = parts(rules_of(policies(permit("principal.desk == context.device"), tmp_path))[0].clauses)
    assert topics(both) == {"desk", "device"}


@pytest.mark.parametrize(
    ("conditions", "found_one"),
    [
        ('principal.roles.contains("tradng")', True),
        ('principal.roles.contains("trading")', False),
        ('principal.kind == "human" && !principal.roles.contains("research")', True),
        ('principal.kind == "algorithm" && !principal.roles.contains("research")', False),
        ('principal == Subject::"algo-8"', True),
        ('principal == Subject::"algo-7" && context.assurance == 3', False),
    ],
)
def test_a_rule_for_nobody_is_told_apart_from_one_that_never_holds(
    conditions: str, found_one: bool, tmp_path: Path
):
    """What could hold, but for nobody who is enrolled, is a warning of its own kind."""
    text = permit(conditions)
    assert found(text, "never-holds", tmp_path) == []
    assert [each.place for each in found(text, "holds-for-nobody", tmp_path)] == ["a.cedar:1"] * found_one


READS = permit('principal.roles.contains("trading")', 'action == Action::"md.subscribe"')
SHADOWED = [
    # A permit within another; its twin goes beyond it.
    ('principal.roles.contains("trading") && context.assurance > 1', "context.assurance > 1"),
    ('principal.roles.containsAll(["trading", "a"])', 'principal.roles.containsAny(["trading", "a"])'),
    (
        'principal.roles.contains("trading") && context.trust.hardware == "affirming"',
        'context.trust.hardware == "affirming"',
    ),
]


@pytest.mark.parametrize(("conditions", "twin"), SHADOWED)
def test_a_permit_within_another_is_found(conditions: str, twin: str, tmp_path: Path):
    """A permit that changes nothing names the policy that makes it superfluous; a wider one is kept."""
    action = 'action in [Action::"md.subscribe"]'
    [finding] = found(permit(conditions, action) + READS, "shadowed", tmp_path)
    assert finding.place == "a.cedar:1"
    assert "a.cedar:2 permits all that it permits" in finding.text
    kept = found(permit(twin, action) + READS, "shadowed", tmp_path)
    assert "a.cedar:1" not in [each.place for each in kept]


def test_of_two_permits_that_say_the_same_the_later_is_too_many(tmp_path: Path):
    """Deleting all that is found never takes a right away: one of equals is left."""
    assert [each.place for each in found(READS + READS + READS, "shadowed", tmp_path)] == [
        "a.cedar:2",
        "a.cedar:3",
    ]


def test_a_permit_that_a_forbid_always_wins_over_is_found(tmp_path: Path):
    """A permit inside a forbid changes nothing; one that reaches out of it does."""
    forbid = 'forbid (principal, action in Action::"md.*", resource) when { context.assurance < 3 };\n'
    [finding] = found(
        permit("context.assurance == 2", 'action in Action::"md.*"') + forbid, "shadowed", tmp_path
    )
    assert "a.cedar:2 forbids" in finding.text
    for wider in ("context.assurance >= 2", 'principal.kind == "human"'):
        assert found(permit(wider, 'action in Action::"md.*"') + forbid, "shadowed", tmp_path) == []
    assert found(permit("context.assurance == 2") + forbid, "shadowed", tmp_path) == []


def test_a_permit_that_may_be_within_another_is_not_called_so(tmp_path: Path):
    """Where it cannot be told whether a permit goes beyond another, it is said and the permit not blamed."""
    other = permit('!(principal.desk like "x*" && principal.desk like "*y")')
    text = permit("context.assurance == 1") + other
    assert [each.place for each in found(text, "shadowed", tmp_path)] == []
    assert [each.place for each in found(text, "not-decided", tmp_path)] == ["a.cedar:1"]


def test_an_operation_that_nobody_can_be_granted_is_found(tmp_path: Path):
    """It is found whether no policy permits it, nobody has the role, or a forbid always wins."""
    text = permit('principal.roles.contains("trading")', 'action in [Action::"orders.*", Action::"md.*"]')
    text += permit('principal.roles.contains("scientist")', 'action in Action::"lab.*"')
    text += (
        'forbid (principal, action == Action::"orders.submit", resource) unless { context.assurance > 3 };\n'
    )
    by_place = {each.place: each.text for each in found(text, "never-granted", tmp_path)}
    assert by_place.keys() == {"orders.submit", "lab.run"}
    assert "a.cedar:1, and who forbids it: a.cedar:3" in by_place["orders.submit"]
    assert "look at whom these permit it: a.cedar:2" in by_place["lab.run"]
    assert "no policy permits it" in found(READS, "never-granted", tmp_path)[0].text


@pytest.mark.parametrize(
    ("conditions", "granted"),
    [
        ('context.posture.kernel == "bad" && context.assurance == 1', True),
        ('context.time.date == 20261127 && context.phase == "continuous"', True),
        ('context.device == "vault"', True),
        ('context.risk == "low"', True),
        # A session begins at low risk or not at all: what is refused there is never granted.
        ('context.risk == "high"', False),
        ("context.time.date < 20000101", False),
    ],
)
def test_granted_at_any_device_posture_and_time_is_granted(conditions: str, granted: bool, tmp_path: Path):
    """However odd the circumstances are, an operation that is granted in some of them is not reported."""
    text = permit(conditions)
    places = [each.place for each in found(text, "never-granted", tmp_path)]
    assert places == ([] if granted else ["orders.submit", "orders.cancel", "md.subscribe", "lab.run"])
    assert found(text, "not-decided", tmp_path) == []


def test_the_catalogs_own_demands_count(tmp_path: Path):
    """An operation that wants the kernel good is never granted by a permit for bad kernels."""
    catalog = Catalog.from_text(
        "version = 1\n[segments.orders.operations.submit]\n"
        'effect = "read"\nposture = ["kernel"]\nassurance = 2\n'
    )
    for conditions, places in (
        ('context.posture.kernel != "good"', ["orders.submit"]),
        ("context.assurance < 2", ["orders.submit"]),
        ("context.assurance < 3", []),
    ):
        policy = PolicySet({"a.cedar": permit(conditions)}, catalog)
        kinds = [each.place for each in lint(policy, [TRADER]) if each.kind == "never-granted"]
        assert kinds == places


def test_a_subject_with_everything_is_found(tmp_path: Path):
    """Whoever can be granted every operation of every segment at its best is named, and nobody else."""
    text = permit('principal.roles.contains("research")') + READS
    assert [each.place for each in found(text, "has-everything", tmp_path)] == ["trader-1"]
    but_one = (
        text + 'forbid (principal, action == Action::"lab.run", resource) when { context.assurance < 4 };\n'
    )
    assert found(but_one, "has-everything", tmp_path) == []


def test_segments_that_a_role_joins_are_found_and_environments_apart(tmp_path: Path):
    """A path within an environment is a notice, one between two a warning; one role a segment is none."""
    trading = permit('principal.roles.contains("trading")', 'action in [Action::"orders.*", Action::"md.*"]')
    research = permit('principal.roles.contains("research")', 'action in Action::"lab.*"')
    [notice] = found(trading + research, "joins-segments", tmp_path)
    assert (notice.place, notice.severity) == ("md -- orders", "notice")
    assert found(trading + research, "joins-environments", tmp_path) == []
    crossing = found(trading + research.replace("research", "trading"), "joins-environments", tmp_path)
    assert [each.place for each in crossing] == ["lab -- md", "lab -- orders"]
    assert crossing[0].severity == "warning"
    apart = READS + permit('principal.roles.contains("desk")', 'action in Action::"orders.*"')
    assert [each for each in lint(policies(apart, tmp_path), [TRADER]) if "joins" in each.kind] == []


def test_findings_come_in_one_order_and_are_the_same_each_time(tmp_path: Path):
    """By kind in the order of the table, then by place, so that two runs can be compared as texts."""
    text = permit("context.assurance > 3") + permit("true") + permit('principal.roles.contains("x")')
    first, second = (lint(policies(text, tmp_path), [TRADER, ALGORITHM]) for _ in range(2))
    assert first == second
    order = [list(KINDS_OF_FINDINGS).index(each.kind) for each in first]
    assert order == sorted(order)
    assert len(set(order)) > 3
