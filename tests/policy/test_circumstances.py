"""Decisions that depend on risk, time, posture or environment, and which questions are one and the same."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cedarpy
import pytest

from ztsession.errors import PolicyError
from ztsession.policy.attributes import SubjectAttributes
from ztsession.policy.calendar import Calendar
from ztsession.policy.catalog import RISKS, Catalog
from ztsession.policy.cedar_schema import POSTURE_ITEMS
from ztsession.policy.compile import compile_grant
from ztsession.policy.engine import PolicySet
from ztsession.policy.grant import Grant

CATALOG = """\
version = 1
[segments.orders.operations.submit]
effect = "risk-increasing"
[segments.orders.operations.hedge]
effect = "risk-increasing"
highest_risk = "medium"
[segments.orders.operations.cancel]
effect = "risk-reducing"
[segments.orders.operations.cancel-all]
effect = "risk-reducing"
always_allowed = true
[segments.orders.operations.history]
effect = "read"
highest_risk = "low"
[segments.orders.operations.deploy]
effect = "risk-increasing"
posture = ["kernel", "program"]
data_class = "restricted"
"""
CALENDAR = """\
timezone = "America/New_York"
[phases]
continuous = "09:30"
closed = "16:00"
"""
ALGORITHM = SubjectAttributes("algo-7", "algorithm", ("trading",), "rates")
GOOD = dict.fromkeys(POSTURE_ITEMS, "good")
EVERYTHING = "permit (principal, action, resource);\n"
#: A Wednesday, 10:00 in New York.
AT_TEN = int(datetime(2026, 11, 25, 15, tzinfo=UTC).timestamp())
HOUR = 3600


def policies(text: str, tmp_path: Path | None = None) -> PolicySet:
    calendar = None
    if tmp_path is not None:
        (tmp_path / "calendar.toml").write_text(CALENDAR)
        calendar = Calendar.load(tmp_path / "calendar.toml")
    return PolicySet({"a.cedar": text}, Catalog.from_text(CATALOG), calendar)


def grant_of(
    policy: PolicySet, at: int = AT_TEN, who: SubjectAttributes = ALGORITHM, **changes: Any
) -> Grant:
    question: dict[str, Any] = {
        "device": "host-1",
        "posture": GOOD,
        "posture_digest": b"o" * 32,
        "assurance": 2,
        "session": b"s" * 16,
        "scopes": ["orders.*"],
        "issued_at": at,
    }
    grant = compile_grant(policy, policy.catalog, "orders", who, **(question | changes))
    assert grant is not None
    return grant


def names(grant: Grant, mode: int = 0) -> set[str]:
    return {name[7:] for name, row in grant.operations.items() if grant.allowed[mode] >> row[0] & 1}


def lasting(grant: Grant) -> set[str]:
    return {name[7:] for name, row in grant.operations.items() if grant.lasting[0] >> row[0] & 1}


# ---- Risk


def test_each_mode_has_what_its_risk_leaves() -> None:
    """RESTRICTED holds what may run at medium risk, SUSPENDED what may at high, whatever its effect."""
    grant = grant_of(policies(EVERYTHING))
    assert names(grant, 0) == {"submit", "hedge", "cancel", "cancel-all", "history", "deploy"}
    assert names(grant, 1) == {"hedge", "cancel", "cancel-all"}
    assert names(grant, 2) == {"cancel-all"}


def test_policies_decide_each_mode_by_its_risk() -> None:
    """A forbid on medium risk leaves NORMAL alone and takes from RESTRICTED; what a worse mode is refused
    stays refused.
    """
    grant = grant_of(
        policies(
            EVERYTHING
            + 'forbid (principal, action == Action::"orders.hedge", resource) when { context.risk != "low" };'
            + 'forbid (principal, action == Action::"orders.cancel-all", resource)'
            + 'when { context.risk == "medium" };'
        )
    )
    assert "hedge" in names(grant, 0)
    assert names(grant, 1) == {"cancel"}
    assert names(grant, 2) == set()


# ---- Posture


@pytest.mark.parametrize("word", ["bad", "unknown"])
def test_an_operation_waits_for_the_posture_that_it_requires(word: str) -> None:
    """What the catalog requires of the device is required whatever the policies permit, and of no other
    operation.
    """
    policy = policies(EVERYTHING)
    assert "deploy" in names(grant_of(policy))
    lesser = grant_of(policy, posture=GOOD | {"program": word})
    assert names(lesser) == names(grant_of(policy)) - {"deploy"}
    assert lesser.step_up == 0
    assert "deploy" in names(grant_of(policy, posture=GOOD | {"boot": word}))


# ---- Time

IN_HOURS = """\
permit (principal, action, resource) when { context.phase == "continuous" };
permit (principal, action == Action::"orders.cancel", resource);
"""


def test_a_grant_is_whole_until_time_alone_would_change_it(tmp_path: Path) -> None:
    """At ten all is allowed until four, to the second, and cancelling beyond; after hours cancelling alone,
    and that at all times; before the opening the same, until there is more to be had.
    """
    policy = policies(IN_HOURS, tmp_path)
    day = grant_of(policy)
    assert "submit" in names(day)
    assert day.until == AT_TEN + 6 * HOUR
    assert lasting(day) == {"cancel"}
    assert [bin(bits).count("1") for bits in day.lasting] == [1, 1, 0]
    evening = grant_of(policy, day.until)
    assert names(evening) == {"cancel"}
    assert evening.until == 0
    night = grant_of(policy, AT_TEN + 16 * HOUR)
    assert night.until == AT_TEN + 23 * HOUR + 1800
    assert night.lasting == night.allowed


def test_a_moment_at_which_nothing_changes_for_this_session_is_none_of_its_own(tmp_path: Path) -> None:
    """A rule for others, and one that is met either way, cost this session no renewal."""
    head = "permit (principal, action, resource)"
    others = head + ' when { principal.kind == "human" && context.time.hhmm < 1200 };'
    whole = grant_of(policies(EVERYTHING + others, tmp_path))
    assert (whole.until, whole.lasting) == (0, whole.allowed)
    human = SubjectAttributes("ada", "human")
    assert grant_of(policies(others, tmp_path), who=human).until == AT_TEN + 2 * HOUR


@pytest.mark.parametrize(
    ("condition", "last_s"),
    [
        ("context.time.hhmm < 1030", 1800),
        ("context.time.hhmm <= 1030", 1860),
        ("1030 > context.time.hhmm", 1800),
        ("context.time.hhmm != 1030", 1800),
        ("!(context.time.hhmm >= 1030)", 1800),
        ('context.time.weekday == "wed"', 0),
        ("context.time.date <= 20261125", 0),
        ("context.time.hhmm < 1030 || context.time.hhmm >= 1030", 0),
    ],
)
def test_every_comparison_with_time_ends_the_grant_that_hangs_on_it(condition: str, last_s: int) -> None:
    """Whichever way it is written, the comparison holds until the moment that it names (UTC here)."""
    ten = AT_TEN - 5 * HOUR
    policy = policies(f"permit (principal, action, resource) when {{ {condition} }};\n")
    assert grant_of(policy, ten).until == (ten + last_s if last_s else 0)
    if not last_s and "||" not in condition:
        late = ten + 13 * HOUR
        assert grant_of(policy, late).until == ten + 14 * HOUR


def test_what_lasts_is_allowed_at_every_later_moment() -> None:
    """What comes and goes does not last, although the next moment alone would allow it."""
    ten = AT_TEN - 5 * HOUR
    text = (
        'permit (principal, action == Action::"orders.cancel", resource);'
        'permit (principal, action == Action::"orders.submit", resource)'
        " when { context.time.hhmm < 1100 || context.time.hhmm >= 1900 };"
        'permit (principal, action == Action::"orders.hedge", resource) when { context.time.hhmm < 2000 };'
    )
    grant = grant_of(policies(text), ten)
    assert names(grant) == {"submit", "hedge", "cancel"}
    assert (grant.until, lasting(grant)) == (ten + HOUR, {"cancel"})


def test_a_step_up_that_comes_with_the_hour_is_no_right_that_lasts() -> None:
    """What needs more assurance later than it does now is gone then, and what needs it now goes on to."""
    ten = AT_TEN - 5 * HOUR
    text = (
        "permit (principal, action, resource);"
        'forbid (principal, action == Action::"orders.submit", resource)'
        " when { context.time.hhmm >= 1100 && context.assurance < 3 };"
        'forbid (principal, action == Action::"orders.hedge", resource) when { context.assurance < 3 };'
    )
    grant = grant_of(policies(text), ten)
    assert lasting(grant) == names(grant) - {"submit"}
    assert "hedge" in {name[7:] for name, row in grant.operations.items() if grant.step_up >> row[0] & 1}


def test_with_more_moments_than_are_looked_at_nothing_lasts() -> None:
    """A rule for every few minutes ends at its first moment and leaves nothing that was not looked at."""
    ten = AT_TEN - 5 * HOUR
    times = [hour * 100 + minute for hour in range(10, 22) for minute in range(0, 60, 10)]
    condition = " || ".join(f"context.time.hhmm == {hhmm}" for hhmm in times)
    text = f'permit (principal, action == Action::"orders.submit", resource) when {{ {condition} }};'
    grant = grant_of(policies(text + 'permit (principal, action == Action::"orders.cancel", resource);'), ten)
    assert (grant.until, grant.lasting) == (ten + 60, [0, 0, 0])


# ---- Questions that are one


def test_a_question_is_asked_once_for_all_who_differ_in_nothing_mentioned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A thousand subjects of one desk on a thousand hosts are one evaluation; one that a policy names is
    another, and so is one of another desk.
    """
    text = EVERYTHING + 'forbid (principal == Subject::"algo-3", action, resource);\n'
    policy, asked = policies(text), []
    real = cedarpy.is_authorized_batch

    def counted(requests: Any, *rest: Any) -> Any:
        asked.extend(requests)
        return real(requests, *rest)

    monkeypatch.setattr(cedarpy, "is_authorized_batch", counted)
    table = policy.catalog.segment("orders")

    def allowed(name: str, desk: str = "rates") -> bool:
        who = SubjectAttributes(name, "algorithm", ("trading",), desk)
        decided = policy.decide(who, table, table.operations[:1], device=name, posture=GOOD, assurance=1)
        return decided[0].allowed

    assert all(allowed(f"algo-{number}") for number in range(100, 1100))
    assert len(asked) == 1
    assert not allowed("algo-3")
    assert allowed("algo-4", desk="fx")
    assert len(asked) == 3


def test_a_policy_that_names_a_device_decides_by_it() -> None:
    """The device is in the question as soon as some policy asks for it, and hits no other."""
    policy = policies(EVERYTHING + 'forbid (principal, action, resource) when { context.device == "h-2" };')
    table = policy.catalog.segment("orders")
    for device, allowed in (("h-1", True), ("h-2", False), ("h-3", True)):
        [decision] = policy.decide(
            ALGORITHM, table, table.operations[:1], device=device, posture=GOOD, assurance=1
        )
        assert decision.allowed == allowed


def test_a_policy_about_an_environment_decides_by_that_of_the_segment() -> None:
    """What is permitted in one environment is not in another."""
    text = CATALOG + '[segments.lab]\nenvironment = "test"\n[segments.lab.operations.run]\neffect = "read"\n'
    permit = 'permit (principal, action, resource) when { resource.environment == "test" };'
    policy = PolicySet({"a.cedar": permit}, Catalog.from_text(text))
    for name, allowed in (("lab", True), ("orders", False)):
        table = policy.catalog.segment(name)
        [decision] = policy.decide(
            ALGORITHM, table, table.operations[:1], device="h", posture=GOOD, assurance=1
        )
        assert decision.allowed == allowed


def test_what_is_known_is_kept_when_more_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A question about more operations evaluates the new ones alone; an answer that is missing denies."""
    policy = policies(EVERYTHING)
    table = policy.catalog.segment("orders")
    question: dict[str, Any] = {"device": "h", "posture": GOOD, "assurance": 1}
    for most in (1, 3, 2):
        decided = policy.decide(ALGORITHM, table, table.operations[:most], **question)
        assert [decision.allowed for decision in decided] == [True] * most
    monkeypatch.setattr(cedarpy, "is_authorized_batch", lambda *_: [])
    assert len(policy.decide(ALGORITHM, table, table.operations[:3], **question)) == 3
    with pytest.raises(PolicyError, match="answers are missing"):
        policy.decide(ALGORITHM, table, table.operations, **question)


def test_the_last_minute_of_the_day_ends_at_midnight() -> None:
    """A comparison with it turns, if at all, when the next day begins."""
    grant = grant_of(policies("permit (principal, action, resource) when { context.time.hhmm <= 2359 };"))
    assert (grant.until, grant.lasting) == (0, grant.allowed)
    last = policies("permit (principal, action, resource) when { context.time.hhmm == 2359 };")
    at = AT_TEN + 9 * HOUR - 60
    assert grant_of(last, at).until == at + 60


def test_roles_are_a_set() -> None:
    """In whatever order and however often they are named, the same roles are the same question."""
    policy = policies('permit (principal, action, resource) when { principal.roles.contains("b") };')
    table = policy.catalog.segment("orders")
    for roles in (("a", "b"), ("b", "a"), ("b", "a", "b")):
        who = SubjectAttributes("algo-7", "algorithm", roles)
        [decision] = policy.decide(who, table, table.operations[:1], device="h", posture=GOOD, assurance=1)
        assert decision.allowed
    assert len(policy._decided) == 1


@pytest.mark.parametrize("risk", ["High", "LOW", "", "none"])
def test_L3_a_risk_that_there_is_not_is_refused(risk: str) -> None:
    """A word that no policy can know would let a forbid not hold; those of the catalog are taken."""
    policy = policies(EVERYTHING)
    table = policy.catalog.segment("orders")
    question: dict[str, Any] = {"device": "h", "posture": GOOD, "assurance": 1}
    with pytest.raises(PolicyError, match="risk: expected one of low, medium, high"):
        policy.decide(ALGORITHM, table, table.operations[:1], risk=risk, **question)
    for word in RISKS:
        assert policy.decide(ALGORITHM, table, table.operations[:1], risk=word, **question)[0].allowed


@pytest.mark.parametrize(
    ("condition", "mentioned"),
    [
        ('principal == Subject::"algo-7"', {"subjects"}),
        ('[Subject::"algo-7"].contains(principal)', {"subjects"}),
        ('context.device like "host-*"', {"device"}),
        ('context.risk == "low"', {"risk"}),
        ("context.time.date > 20260101", {"time"}),
        ('if true then principal.desk == "x" else context.device == "y"', {"device"}),
        ('principal.desk == "x"', set()),
    ],
)
def test_what_is_mentioned_is_seen_wherever_it_stands(condition: str, mentioned: set[str]) -> None:
    """Nothing that an answer can depend on is left out of the question."""
    found = policies(f"permit (principal, action, resource) when {{ {condition} }};").mentions
    assert {name for name in ("subjects", "device", "risk", "time") if getattr(found, name)} == mentioned


def test_a_scope_names_a_subject_too() -> None:
    """The head of a policy is read like its conditions."""
    text = 'permit (principal == Subject::"ada", action == Action::"orders.submit", resource);'
    assert policies(text).mentions.subjects == {"ada"}


def test_the_calendar_is_part_of_the_policies_digest(tmp_path: Path) -> None:
    """Another calendar decides otherwise, so it has another name."""
    assert policies(EVERYTHING).digest != policies(EVERYTHING, tmp_path).digest
    assert policies(EVERYTHING).digest == policies(EVERYTHING).digest


@pytest.mark.parametrize(
    ("group", "held"),
    [
        ('Action::"data:internal"', True),
        ('Action::"data:restricted"', False),
        ('Action::"effect:risk-increasing"', True),
    ],
)
def test_operations_are_in_the_groups_that_the_catalog_puts_them_in(group: str, held: bool) -> None:
    """Policies speak of all operations of an effect or of a class of data at once."""
    policy = policies(f"permit (principal, action in {group}, resource);")
    table = policy.catalog.segment("orders")
    [decision] = policy.decide(ALGORITHM, table, table.operations[:1], device="h", posture=GOOD, assurance=1)
    assert decision.allowed == held
