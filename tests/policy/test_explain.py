"""Why an operation is allowed, wants a step-up or is denied, and what would help: every outcome, exactly."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cedarpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ztsession.errors import ConfigurationError, PolicyError
from ztsession.policy import needs as searching
from ztsession.policy.attributes import SubjectAttributes
from ztsession.policy.calendar import Calendar
from ztsession.policy.catalog import Catalog
from ztsession.policy.cedar_schema import POSTURE_ITEMS
from ztsession.policy.compile import Case
from ztsession.policy.engine import PolicySet
from ztsession.policy.explain import explain
from ztsession.policy.explanation import MODES, OUTCOMES, Explanation, Need

CATALOG = """\
version = 1
[segments.orders.operations.submit]
effect = "risk-increasing"
highest_risk = "medium"
[segments.orders.operations.cancel]
effect = "risk-reducing"
always_allowed = true
[segments.orders.operations.block-trade]
effect = "risk-increasing"
assurance = 3
[segments.orders.operations.deploy]
effect = "risk-increasing"
posture = ["kernel", "program"]
"""
CALENDAR = """\
timezone = "America/New_York"
closed_on = ["sat", "sun", "2026-11-26"]
[phases]
continuous = "09:30"
closed = "16:00"
"""
ALGORITHM = SubjectAttributes("algo-7", "algorithm", ("trading",), "rates")
GOOD = dict.fromkeys(POSTURE_ITEMS, "good")
UNKNOWN = dict.fromkeys(POSTURE_ITEMS, "unknown")
EVERYTHING = '@id("all") permit (principal, action, resource);\n'
#: A Wednesday, 10:00 in New York; the next day is a holiday.
AT_TEN = int(datetime(2026, 11, 25, 15, tzinfo=UTC).timestamp())
DAY = 86_400


@pytest.fixture(scope="module")
def calendar(tmp_path_factory: pytest.TempPathFactory) -> Calendar:
    path = tmp_path_factory.mktemp("calendar") / "calendar.toml"
    path.write_text(CALENDAR)
    return Calendar.load(path)


def policies(text: str, calendar: Calendar | None = None, file: str = "a.cedar") -> PolicySet:
    return PolicySet({file: text}, Catalog.from_text(CATALOG), calendar)


def why(policy: PolicySet | str, operation: str = "submit", **changes: Any) -> Explanation:
    question: dict[str, Any] = {
        "device": "host-1",
        "posture": GOOD,
        "assurance": 1,
        "at": AT_TEN,
        "identity": ALGORITHM,
    }
    question |= changes
    policy = policies(policy) if isinstance(policy, str) else policy
    return explain(policy, "orders", operation, question.pop("identity"), **question)


def failed(told: Explanation) -> dict[str, dict[str, dict[str, object]]]:
    """What was found, by condition and place."""
    return {
        finding.source.place: {each.text: dict(each.found) for each in finding.conditions}
        for finding in told.failed
    }


def decided_by(told: Explanation) -> list[tuple[str, str, str]]:
    return [(source.place, source.id, source.effect) for source in told.deciding]


# ---- Each outcome


def test_allowed_names_the_permits_and_the_modes() -> None:
    """What is allowed tells by which policies and in which modes, and needs nothing."""
    told = why(EVERYTHING + 'permit (principal, action == Action::"orders.submit", resource);')
    assert told.outcome == "allowed"
    assert decided_by(told) == [("a.cedar:1", "all", "permit"), ("a.cedar:2", "", "permit")]
    assert told.modes == ("NORMAL", "RESTRICTED")
    assert (told.failed, told.errors, told.needs) == ((), (), ())
    assert told.text().splitlines() == [
        "orders.submit is allowed to algo-7 by a.cedar:1 (all), a.cedar:2",
        "  may run in NORMAL, RESTRICTED",
    ]


def test_L1_default_deny_names_the_permits_that_came_near() -> None:
    """A permit for somebody else is not near; of the others each condition that fails is told with what was
    found, the nearest permit first.
    """
    told = why(
        'permit (principal == Subject::"ada", action, resource);\n'
        'permit (principal, action, resource) when { principal.kind == "human" && context.assurance >= 2 };\n'
        '@id("near") permit (principal, action in Action::"orders.*", resource)\n'
        'when { principal.roles.contains("trading") && principal.desk == "fx" };\n'
    )
    assert told.outcome == "denied"
    assert decided_by(told) == []
    assert list(failed(told)) == ["a.cedar:3", "a.cedar:2"]
    assert failed(told)["a.cedar:3"] == {'principal.desk == "fx"': {"principal.desk": "rates"}}
    assert failed(told)["a.cedar:2"]["context.assurance >= 2"] == {"context.assurance": 1}
    assert told.text().splitlines() == [
        "orders.submit is denied to algo-7: default deny, no policy permits algo-7 orders.submit",
        "  permit at a.cedar:3 (near) would, but it also asks for:",
        '    principal.desk == "fx" (found "rates")',
        "  permit at a.cedar:2 would, but it also asks for:",
        '    principal.kind == "human" (found "algorithm")',
        "    context.assurance >= 2 (found 1)",
        "  nothing that the subject can show would help; no policy permits it",
    ]


def test_L2_a_forbid_is_named_with_what_made_it_hold() -> None:
    """The forbid that decided, not the one that did not hold, with its conditions and what was found."""
    told = why(
        EVERYTHING
        + '@id("boot") forbid (principal, action in Action::"effect:risk-increasing", resource)'
        + 'when { context.posture.kernel == "bad" || context.posture.boot == "bad" };\n'
        + "forbid (principal, action, resource) when { context.assurance < 1 };\n"
        + 'forbid (principal, action, resource) unless { context.posture.boot == "good" };',
        posture=GOOD | {"kernel": "bad", "boot": "bad"},
    )
    assert told.outcome == "denied"
    assert decided_by(told) == [("a.cedar:2", "boot", "forbid"), ("a.cedar:4", "", "forbid")]
    assert failed(told)["a.cedar:2"] == {
        '(context.posture.kernel == "bad") || (context.posture.boot == "bad")': {
            "context.posture.kernel": "bad",
            "context.posture.boot": "bad",
        }
    }
    assert failed(told)["a.cedar:4"] == {'!(context.posture.boot == "good")': {"context.posture.boot": "bad"}}
    assert told.needs == (Need(posture=("kernel", "boot")),)
    assert "denied to algo-7: forbidden by a.cedar:2 (boot), a.cedar:4\n" in told.text()


def test_two_forbids_on_one_line_are_told_apart() -> None:
    """The place is the same; only the one that holds is named."""
    told = why(
        EVERYTHING
        + '@id("no") forbid (principal, action, resource) when { context.assurance > 3 };'
        + '@id("yes") forbid (principal, action, resource) when { context.assurance < 3 };'
    )
    assert decided_by(told) == [("a.cedar:2", "yes", "forbid")]


def test_a_forbid_hides_no_missing_permit() -> None:
    """Where no permit would hold either, both are told: lifting the forbid alone would not help."""
    told = why(
        'permit (principal, action, resource) when { principal.desk == "fx" };\n'
        "forbid (principal, action, resource);\n"
    )
    assert list(failed(told)) == ["a.cedar:2", "a.cedar:1"]
    assert "  forbid at a.cedar:2 holds always\n" in told.text()
    assert told.needs == ()
    assert told.text().endswith("\n  nothing that the subject can show would help")


OVERFLOW = "context.assurance * 9223372036854775807 < 0"


def test_L4_a_failure_denies_and_is_told_with_its_policy() -> None:
    """A forbid that cannot be evaluated denies what a permit allows, and is named with Cedar's own words."""
    told = why(
        EVERYTHING + f'@id("broken") forbid (principal, action, resource) when {{ {OVERFLOW} }};', assurance=2
    )
    assert told.outcome == "denied"
    assert told.modes == ()
    assert decided_by(told) == [("a.cedar:2", "broken", "forbid")]
    assert "a.cedar:2" in told.errors[0]
    [finding] = told.failed
    assert finding.conditions[0].holds is None
    assert "integer overflow" in finding.conditions[0].error
    assert "denied to algo-7: a policy failed, and a failure denies (" in told.text()
    assert "could not be evaluated" in told.text()
    assert why(told_policy := EVERYTHING, assurance=2).outcome == "allowed", told_policy


def test_L4_what_cannot_be_evaluated_at_all_is_never_explained_as_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If Cedar itself fails, there is an error and no explanation."""
    policy = policies(EVERYTHING)

    def broken(*_: object) -> None:
        raise RuntimeError("out of order")

    monkeypatch.setattr(cedarpy, "is_authorized_batch", broken)
    with pytest.raises(PolicyError, match="out of order"):
        why(policy)


def test_the_catalogs_limits_are_told_as_the_catalogs() -> None:
    """Posture, assurance and highest risk of the catalog refuse what policies permit, and say so."""
    told = why(EVERYTHING, "deploy", posture=GOOD | {"program": "unknown", "boot": "bad"})
    assert told.outcome == "denied"
    assert decided_by(told) == [("catalog", "", "limit"), ("a.cedar:1", "all", "permit")]
    assert failed(told) == {
        "catalog": {'context.posture.program == "good"': {"context.posture.program": "unknown"}}
    }
    assert told.needs == (Need(posture=("program",)),)
    assert 'the catalog asks for context.posture.program == "good" (found "unknown")\n' in told.text()

    told = why(EVERYTHING, risk="high")
    assert told.outcome == "denied"
    assert failed(told) == {"catalog": {'["low", "medium"].contains(context.risk)': {"context.risk": "high"}}}
    assert told.needs == (Need(risk="medium"),)

    told = why(EVERYTHING, "block-trade")
    assert told.outcome == "step-up"
    assert failed(told) == {"catalog": {"context.assurance >= 3": {"context.assurance": 1}}}
    assert told.needs == (Need(assurance=3),)


def test_a_limit_and_a_missing_permit_are_both_told() -> None:
    """Whoever mends the one is not sent away again for the other."""
    told = why(
        "permit (principal, action, resource) when { context.assurance >= 2 };",
        "deploy",
        posture=GOOD | {"kernel": "bad"},
    )
    assert list(failed(told)) == ["catalog", "a.cedar:1"]
    assert "default deny" in told.text()
    assert "the catalog asks for" in told.text()
    assert told.needs == (Need(assurance=2, posture=("kernel",)),)


def test_denied_by_the_phase_of_the_day_until_the_next_one(calendar: Calendar) -> None:
    """On the eve of a holiday the next continuous trading is two days on; its opening is told to the second,
    where the calendar is.
    """
    policy = policies(
        'permit (principal, action, resource) when { context.phase == "continuous" };', calendar
    )
    assert why(policy).outcome == "allowed"
    evening = AT_TEN + 7 * 3600
    told = why(policy, at=evening)
    assert told.outcome == "denied"
    assert failed(told) == {"a.cedar:1": {'context.phase == "continuous"': {"context.phase": "closed"}}}
    opening = int(datetime(2026, 11, 27, 14, 30, tzinfo=UTC).timestamp())
    assert told.needs == (Need(at=opening, local="2026-11-27 09:30 America/New_York"),)
    assert "    at 2026-11-27 09:30 America/New_York" in told.text()


def test_a_moment_is_looked_for_within_a_week(calendar: Calendar) -> None:
    """A date a week and a day ahead is not told; one that is nearer is."""
    for date, found in ((20261201, True), (20261203, False)):
        policy = policies(
            f"permit (principal, action, resource) when {{ context.time.date >= {date} }};", calendar
        )
        assert bool(why(policy).needs) is found


# ---- What would help


@pytest.mark.parametrize(
    ("condition", "changes", "needs"),
    [
        ("context.assurance >= 2", {}, [Need(assurance=2)]),
        ("context.assurance == 3", {"assurance": 2}, [Need(assurance=3)]),
        ('context.posture.boot == "good"', {"posture": UNKNOWN}, [Need(posture=("boot",))]),
        (
            'context.trust.executables == "affirming"',
            {"posture": GOOD | {"kernel": "bad", "packages": "unknown", "debug": "bad"}},
            [Need(posture=("kernel", "packages"))],
        ),
        ('context.trust.configuration == "affirming"', {"posture": UNKNOWN}, [Need(posture=("boot",))]),
        (
            'context.assurance >= 2 || context.posture.boot == "good"',
            {"posture": UNKNOWN},
            [Need(assurance=2), Need(posture=("boot",))],
        ),
        (
            'context.assurance >= 2 && context.posture.boot == "good"',
            {"posture": UNKNOWN},
            [Need(assurance=2, posture=("boot",))],
        ),
        ('context.risk == "low"', {"risk": "high"}, [Need(risk="low")]),
        ('context.risk != "high"', {"risk": "high"}, [Need(risk="medium")]),
        (
            'context.risk == "low" && context.assurance >= 2',
            {"risk": "high"},
            [Need(assurance=2, risk="low")],
        ),
        ('principal.roles.contains("desk-head")', {}, [Need(role="desk-head")]),
        ('principal.roles.containsAll(["trading", "desk-head"])', {}, [Need(role="desk-head")]),
        (
            'principal.roles.contains("desk-head") && context.assurance >= 3',
            {},
            [Need(assurance=3, role="desk-head")],
        ),
        ('principal.roles.contains("not a name")', {}, []),
        ('principal.desk == "fx"', {}, []),
    ],
)
def test_what_would_help_is_the_least_that_does(
    condition: str, changes: dict[str, Any], needs: list[Need]
) -> None:
    """The least assurance, the fewest items, the mildest change of risk; together only what alone is too
    little.
    """
    told = why(f"permit (principal, action, resource) when {{ {condition} }};", "cancel", **changes)
    assert told.outcome in ("denied", "step-up")
    assert list(told.needs) == needs


def test_no_role_is_told_to_a_subject_that_can_have_no_more() -> None:
    """Whoever has as many roles as anybody can have is not told that one more would help."""
    text = 'permit (principal, action, resource) when { principal.roles.contains("desk-head") };'
    for held, needs in ((63, (Need(role="desk-head"),)), (64, ())):
        roles = tuple(f"role-{number}" for number in range(held))
        assert why(text, identity=SubjectAttributes("algo-7", "algorithm", roles)).needs == needs


def test_the_search_for_what_would_help_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """However much there is to try, no more is asked than a stated number of times."""
    asked = []
    real = Case.compiled

    def counted(case: Case, *rest: Any) -> Any:
        asked.append(case)
        return real(case, *rest)

    monkeypatch.setattr(Case, "compiled", counted)
    monkeypatch.setattr(searching, "TRIED_MAX", 100)
    roles = "".join(f' || principal.roles.contains("r{number}")' for number in range(30))
    minutes = "".join(f" || context.time.hhmm == {hour * 100 + 7}" for hour in range(24))
    told = why(
        f'permit (principal, action, resource) when {{ principal.desk == "fx" && (false{roles}{minutes}) }};',
        risk="high",
        posture=UNKNOWN,
    )
    assert told.needs == ()
    assert len(asked) == 1 + 100


def test_step_up_helps_and_says_with_how_much() -> None:
    """What assurance alone would allow is a step-up, told with the level, and never in a worse mode."""
    text = "permit (principal, action, resource) when { context.assurance >= 2 };"
    told = why(text)
    assert told.outcome == "step-up"
    assert told.modes == ()
    assert told.text().splitlines()[0] == (
        "orders.submit is allowed to algo-7 after a step-up: default deny, no policy permits algo-7 "
        "orders.submit with assurance 1"
    )
    assert told.text().splitlines()[-2:] == ["  it would be allowed", "    with assurance 2"]
    assert why(text, risk="medium").outcome == "denied"
    assert why(text, assurance=2).outcome == "allowed"


def test_several_things_at_once_are_one_way() -> None:
    """A way that takes two things says both in one line."""
    told = why(
        'permit (principal, action, resource) when { context.assurance >= 2 && context.risk == "low" };',
        risk="medium",
    )
    assert told.text().splitlines()[-1] == "    with assurance 2 and at risk low"


def test_what_a_better_mode_refuses_is_explained_there() -> None:
    """A forbid on medium risk is why nothing runs at high risk, where it does not hold itself."""
    text = EVERYTHING + 'forbid (principal, action, resource) when { context.risk == "medium" };'
    told = why(text, "cancel", risk="high")
    assert told.outcome == "denied"
    assert (told.risk, told.decided_risk) == ("high", "medium")
    assert failed(told) == {"a.cedar:2": {'context.risk == "medium"': {"context.risk": "medium"}}}
    assert "forbidden by a.cedar:2 at risk medium" in told.text()
    assert told.needs == (Need(risk="low"),)


# ---- Its forms


def test_json_has_everything_under_stable_keys(calendar: Calendar) -> None:
    """The document is JSON through and through, and says what the fields say."""
    policy = policies(
        '@id("x") permit (principal, action, resource)\n'
        'when { context.assurance >= 2 && context.phase == "closed" && principal.kind == "algorithm" };',
        calendar,
    )
    told = why(policy, at=AT_TEN)
    document = json.loads(json.dumps(told.to_json()))
    assert document == told.to_json()
    closing = AT_TEN + 6 * 3600
    assert document == {
        "subject": "algo-7",
        "operation": "orders.submit",
        "outcome": "denied",
        "modes": [],
        "assurance": 1,
        "risk": "low",
        "decided_risk": "low",
        "at": AT_TEN,
        "deciding": [],
        "failed": [
            {
                "place": "a.cedar:1",
                "id": "x",
                "effect": "permit",
                "conditions": [
                    {
                        "text": "context.assurance >= 2",
                        "holds": False,
                        "found": {"context.assurance": 1},
                        "error": "",
                    },
                    {
                        "text": 'context.phase == "closed"',
                        "holds": False,
                        "found": {"context.phase": "continuous"},
                        "error": "",
                    },
                ],
            }
        ],
        "errors": [],
        "needs": [
            {
                "kinds": ["assurance", "time"],
                "assurance": 2,
                "time": {"unix_s": closing, "local": "2026-11-25 16:00 America/New_York"},
            }
        ],
    }


def test_L7_no_name_or_text_forges_a_line() -> None:
    """A file's name, an @id and a string with breaks and look-alikes stay within their line, in ASCII."""
    policy = policies(
        '@id("a\\norders.submit is allowed to eve")\n'
        'permit (principal, action, resource) when { principal.desk == "\\u{43e}rders\\n\\r\\u{202e}" };',
        file="b\nforged.cedar",
    )
    told = why(policy)
    assert told.text().isascii()
    assert told.text().splitlines() == told.text().split("\n")
    assert len(told.text().split("\n")) == 4
    assert r"b\u{a}forged.cedar:1 (a\u{a}orders.submit is allowed to eve)" in told.text()
    assert told.failed[0].source.id == "a\norders.submit is allowed to eve"


def test_many_permits_that_failed_are_counted_and_not_all_told() -> None:
    """A person is told of the nearest ones, a program of all."""
    permits = "".join(
        f'permit (principal, action, resource) when {{ principal.desk == "d{number}" }};\n'
        for number in range(20)
    )
    told = why(permits)
    assert len(told.failed) == 20
    assert "  and 14 more permits that came less near\n" in told.text()
    assert told.text().count("would, but") == 6


def test_a_question_that_cannot_be_asked_is_refused() -> None:
    """No explanation is given of what does not exist or is not whole; the same question, whole, has one."""
    policy = policies(EVERYTHING)
    with pytest.raises(ConfigurationError, match="no segment"):
        explain(policy, "risk", "submit", ALGORITHM, device="h", posture=GOOD, assurance=1)
    with pytest.raises(ConfigurationError, match="no operation"):
        why(policy, "nothing")
    with pytest.raises(PolicyError, match="posture"):
        why(policy, posture={"kernel": "good"})
    with pytest.raises(PolicyError, match="assurance"):
        why(policy, assurance=4)
    with pytest.raises(PolicyError, match="risk"):
        why(policy, risk="none")
    assert why(policy, at=None).outcome == "allowed"


# ---- It cannot disagree with a grant


def decision(
    policy: PolicySet, operation: str, posture: dict[str, str], assurance: int, risk: str, at: int, **who: Any
) -> str:
    """The outcome by what compiles grants, for the whole segment and not for this operation."""
    identity = who.get("identity", ALGORITHM)
    segment = policy.catalog.segment("orders")
    compiled = Case(policy, identity, "host-1", posture, assurance, ["orders.*"]).compiled(segment, at)
    bit = segment.operation(operation).bit
    if risk != "low":
        return "allowed" if compiled.allowed[("low", "medium", "high").index(risk)] & bit else "denied"
    if compiled.step_up & bit:
        return "step-up"
    return "allowed" if compiled.allowed[0] & bit else "denied"


def after(
    need: Need, policy: PolicySet, operation: str, posture: dict[str, str], assurance: int, risk: str, at: int
) -> str:
    """The outcome when everything that a need asks for has been given."""
    roles = (*ALGORITHM.roles, need.role) if need.role else ALGORITHM.roles
    return decision(
        policy,
        operation,
        posture | dict.fromkeys(need.posture, "good"),
        need.assurance or assurance,
        need.risk or risk,
        need.at or at,
        identity=SubjectAttributes("algo-7", "algorithm", roles, "rates"),
    )


def check(policy: PolicySet, operation: str, *question: Any) -> None:
    posture, assurance, risk, at = question
    told = why(policy, operation, posture=posture, assurance=assurance, risk=risk, at=at)
    assert told.outcome in OUTCOMES
    assert told.outcome == decision(policy, operation, *question)
    if told.outcome == "allowed":
        assert not told.needs
        assert MODES[("low", "medium", "high").index(risk)] in told.modes
    for need in told.needs:
        assert after(need, policy, operation, *question) == "allowed"
        for item in need.posture:
            fewer = tuple(other for other in need.posture if other != item)
            less = Need(need.assurance, fewer, need.risk, need.at, role=need.role)
            assert after(less, policy, operation, *question) != "allowed"
    for level in range(assurance + 1, 4):
        if told.outcome != "allowed" and after(Need(level), policy, operation, *question) == "allowed":
            # The least that suffices is told, whenever any does.
            assert [need.assurance for need in told.needs if need.kinds == ("assurance",)] == [level]
            break
    assert json.loads(json.dumps(told.to_json())) == told.to_json()
    assert told.text().isascii()


MIXED = (
    "permit (principal, action, resource)"
    'when { principal.roles.contains("trading") && context.assurance >= 2 };'
    'permit (principal, action == Action::"orders.cancel", resource) when { context.risk != "high" };'
    'permit (principal, action == Action::"orders.submit", resource) when { context.phase == "continuous" };'
    'forbid (principal, action in Action::"effect:risk-increasing", resource)'
    'when { context.trust.executables == "contraindicated" || context.posture.boot == "bad" };'
    'forbid (principal, action == Action::"orders.block-trade", resource)'
    'unless { principal.roles.contains("desk-head") };'
    f'forbid (principal, action == Action::"orders.deploy", resource) when {{ {OVERFLOW} }};'
)


def test_every_question_to_one_set_of_policies_is_explained_as_it_is_decided(calendar: Calendar) -> None:
    """Over all operations, levels, risks, several postures and moments: the outcome is the grant's, and
    whatever is said to help does.
    """
    policy = policies(MIXED, calendar)
    postures = [GOOD, UNKNOWN | {"program": "good"}, GOOD | {"boot": "bad", "kernel": "bad"}]
    operations = [operation.name for operation in policy.catalog.segment("orders").operations]
    risks, moments = ("low", "medium", "high"), (AT_TEN, AT_TEN + 9 * 3600)
    for case in itertools.product(operations, postures, (1, 2, 3), risks, moments):
        check(policy, *case)


ATOMS = st.sampled_from(
    [
        "context.assurance >= 2",
        "context.assurance == 3",
        'context.risk == "low"',
        'context.risk == "medium"',
        'principal.roles.contains("trading")',
        'principal.roles.contains("desk-head")',
        'context.posture.kernel == "good"',
        'context.posture.boot == "bad"',
        'context.trust.configuration == "affirming"',
        "context.time.hhmm < 1200",
        'context.phase == "continuous"',
        OVERFLOW,
    ]
)
CONDITIONS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.builds("({} && {})".format, inner, inner),
        st.builds("({} || {})".format, inner, inner),
        st.builds("!({})".format, inner),
    ),
    max_leaves=5,
)
POLICIES = st.builds(
    "{} (principal, {}, resource) {} {{ {} }};".format,
    st.sampled_from(["permit", "permit", "forbid"]),
    st.sampled_from(
        ["action", 'action == Action::"orders.submit"', 'action in Action::"effect:risk-reducing"']
    ),
    st.sampled_from(["when", "unless"]),
    CONDITIONS,
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(POLICIES, min_size=1, max_size=4),
    st.sampled_from(["submit", "cancel", "block-trade", "deploy"]),
    st.fixed_dictionaries({item: st.sampled_from(["good", "bad", "unknown"]) for item in POSTURE_ITEMS}),
    st.integers(1, 3),
    st.sampled_from(["low", "medium", "high"]),
    st.integers(AT_TEN, AT_TEN + 3 * DAY),
)
def test_whatever_the_policies_are_an_explanation_agrees_with_the_grant(
    calendar: Calendar,
    texts: list[str],
    operation: str,
    posture: dict[str, str],
    assurance: int,
    risk: str,
    at: int,
) -> None:
    """The outcome is that of the compiled grant, and every way that is told leads to a permission."""
    check(policies("\n".join(texts), calendar), operation, posture, assurance, risk, at)


def test_what_decided_is_what_the_policies_name_as_their_reasons(calendar: Calendar) -> None:
    """The policies that an explanation names are those of the decision, no more and no fewer."""
    policy = policies(MIXED.replace(";", ";\n"), calendar)
    segment = policy.catalog.segment("orders")
    for operation, assurance in itertools.product(segment.operations, (1, 2, 3)):
        told = why(policy, operation.name, assurance=assurance)
        [decided] = policy.decide(
            ALGORITHM, segment, [operation], device="h", posture=GOOD, assurance=assurance, at=AT_TEN
        )
        named = {source.place for source in told.deciding if source.effect != "limit"}
        assert decided.errors or named == set(decided.reasons)
        assert told.errors == decided.errors


def test_an_explanation_is_a_value(tmp_path: Path) -> None:
    """The same question has an equal answer, and nothing in it can be set."""
    first, second = why(EVERYTHING), why(EVERYTHING)
    assert first == second
    with pytest.raises(AttributeError):
        first.outcome = "denied"  # type: ignore[misc]
