"""How far subjects reach, which segments a role joins, and what is drawn of it."""

from __future__ import annotations

import random
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from ztsession.errors import ConfigurationError
from ztsession.policy.attributes import SubjectAttributes
from ztsession.policy.catalog import Catalog
from ztsession.policy.conditions import rules_of
from ztsession.policy.engine import PolicySet
from ztsession.policy.graph import draw_png, mermaid
from ztsession.policy.holds import Holding
from ztsession.policy.reach import Joined, Reach, joined_segments
from ztsession.posture.items import ITEMS, WORDS

CATALOG = """\
version = 1
environments = ["test", "prod"]
[segments.orders.operations.submit]
effect = "risk-increasing"
[segments.orders.operations.cancel]
effect = "risk-reducing"
[segments.md.operations.subscribe]
effect = "read"
[segments.settlement.operations.settle]
effect = "risk-increasing"
assurance = 3
[segments.lab]
environment = "test"
[segments.lab.operations.run]
effect = "read"
"""
TRADER = SubjectAttributes("trader-1", "human", ("trading",), "rates")


def policies(*texts: str) -> PolicySet:
    return PolicySet({"a.cedar": "\n".join(texts)}, Catalog.from_text(CATALOG))


def permit(segment: str, conditions: str) -> str:
    return f'permit (principal, action in Action::"{segment}.*", resource) when {{ {conditions} }};'


def role(name: str) -> str:
    return f'principal.roles.contains("{name}")'


def joined(*texts: str) -> list[tuple[str, str, tuple[str, ...]]]:
    paths = joined_segments(policies(*texts))
    assert paths.undecided == ()
    return [(each.one, each.other, each.roles) for each in paths.joined]


# ---- Reach


def test_what_is_granted_in_different_circumstances_is_all_within_reach():
    """What needs a bad kernel and what needs a good one are both within reach, if never at once."""
    policy = policies(
        permit("orders", f'{role("trading")} && context.posture.kernel == "bad"'),
        permit("md", f'{role("trading")} && context.posture.kernel == "good" && context.assurance == 1'),
    )
    reached = Reach(policy).of(TRADER)
    assert reached.segments == {"orders", "md"}
    assert (sorted(reached.granted), reached.undecided) == (
        ["md.subscribe", "orders.cancel", "orders.submit"],
        frozenset(),
    )
    assert Reach(policy).of(SubjectAttributes("x", "human", (), "rates")).granted == frozenset()


def test_forbids_that_always_win_leave_nothing():
    """A forbid in every circumstance in which a permit holds is a no, whichever way it is written."""
    allowed = permit("orders", f"{role('trading')} && context.assurance >= 2")
    for conditions in ("true", "context.assurance > 1", role("trading"), "context.assurance * 2 > 3"):
        forbid = permit("orders", conditions).replace("permit", "forbid")
        assert Reach(policies(allowed, forbid)).of(TRADER).granted == frozenset()
    forbid = permit("orders", "context.assurance < 3").replace("permit", "forbid")
    assert Reach(policies(allowed, forbid)).of(TRADER).segments == {"orders"}


def test_a_rule_that_goes_on_to_ask_who_it_is_is_asked_for_each_subject():
    """Subjects that the same rules are about are told apart where a rule asks about them further on."""
    mixed = '(context.assurance == 2 && principal.desk == "rates") || context.assurance > 3'
    reach = Reach(policies(permit("md", mixed)))
    assert reach.of(TRADER).segments == {"md"}
    assert reach.of(SubjectAttributes("trader-2", "human", ("trading",), "fx")).segments == frozenset()


def test_what_was_not_found_out_is_undecided_and_not_refused(monkeypatch: pytest.MonkeyPatch):
    """With too few questions left, an operation is neither within reach nor out of it."""
    conditions = " && ".join(f'context.posture.{item} == "bad"' for item in ITEMS[:3])
    policy = policies(permit("md", conditions))
    assert Reach(policy).of(TRADER).granted == {"md.subscribe"}
    monkeypatch.setattr("ztsession.policy.reach.TRIES_MAX", 10)
    reached = Reach(policy).of(TRADER)
    assert (reached.granted, reached.undecided) == (frozenset(), {"md.subscribe"})
    assert "any human" in joined_segments(policy).undecided


def test_what_the_domain_does_not_cover_is_undecided():
    """A device that fits two patterns may exist: that none was found is no refusal."""
    one, other = 'context.device like "x*"', 'context.device like "*y"'
    assert Reach(policies(permit("md", f"{one} && {other}"))).of(TRADER).undecided == {"md.subscribe"}
    assert Reach(policies(permit("md", f"{one} && !({one})"))).of(TRADER).undecided == frozenset()


def test_a_forbid_without_conditions_is_a_refusal_however_much_there_is_to_ask(
    monkeypatch: pytest.MonkeyPatch,
):
    """What is forbidden always needs no search, so no bound leaves it undecided."""
    monkeypatch.setattr("ztsession.policy.reach.TRIES_MAX", 1)
    allowed = permit("md", " && ".join(f'context.posture.{item} == "bad"' for item in ITEMS))
    forbid = permit("md", role("trading")).replace("permit", "forbid")
    assert Reach(policies(allowed)).of(TRADER).undecided == {"md.subscribe"}
    assert Reach(policies(allowed, forbid)).of(TRADER).undecided == frozenset()


CONDITIONS = [
    'principal.kind == "human"',
    'principal.desk != "rates"',
    role("trading"),
    f"!{role('a')}",
    'principal == Subject::"trader-1"',
    "context.assurance >= 2",
    "context.assurance < 3",
    'context.posture.kernel == "good"',
    'context.posture.kernel != "good"',
    'context.trust.executables == "warning"',
    'context.trust.configuration != "affirming"',
    'context.device like "h*"',
    'resource.environment == "prod"',
    'action in Action::"effect:read"',
    "context.time.hhmm < 930",
    'context.time.weekday == "fri"',
    'context.risk == "low"',
]


def random_question(dice: random.Random) -> dict[str, Any]:
    return {
        "device": dice.choice(["host-1", "host-2", "x"]),
        "posture": {item: dice.choice(WORDS) for item in ITEMS},
        "assurance": dice.randint(1, 3),
        "risk": dice.choice(["low", "medium", "high"]),
        "at": dice.randint(1_790_000_000, 1_791_000_000),
    }


@pytest.mark.parametrize("seed", range(40))
def test_what_can_hold_does_and_what_never_holds_does_not(seed: int):
    """A yes comes with a question to which the engine says yes; after a no the engine never says it."""
    dice = random.Random(seed)
    terms = [
        " || ".join(dice.sample(CONDITIONS, dice.randint(1, 2))).join("()") for _ in range(dice.randint(2, 6))
    ]
    text = " && ".join(dice.choice(["", "!"]) + term for term in terms)
    policy = policies(f"permit (principal, action, resource) when {{ {text} }};")
    [rule] = rules_of(policy)
    possible = Holding(policy).possible(rule.clauses)
    assert possible.decided
    asked = dict(possible.asked or {})
    for _ in range(60):
        question = random_question(dice)
        kind, desk = dice.choice(["human", "service"]), dice.choice(["rates", "fx"])
        name, roles = (
            dice.choice(["trader-1", "x"]),
            {each for each in ("trading", "a") if dice.random() < 0.5},
        )
        operation = asked.get("target") or dice.choice(Holding(policy).domain.targets)
        # All that conditions ask about is as in the question that was found; all else is as it comes.
        question |= {topic: asked[topic] for topic in ("device", "assurance", "risk") if topic in asked}
        question["posture"] |= {
            item: asked[f"posture.{item}"] for item in ITEMS if f"posture.{item}" in asked
        }
        question["at"] = asked.get("moment", question["at"])
        if any("role:" in topic for topic in asked):
            roles = {topic[5:] for topic, has in asked.items() if has is True}
        who = SubjectAttributes(
            asked.get("subject", name), asked.get("kind", kind), tuple(roles), asked.get("desk", desk)
        )
        segment = policy.catalog.segment(operation.segment)
        [decision] = policy.decide(who, segment, [operation], **question)
        assert decision.allowed is bool(possible.asked)


# ---- Segments that a role joins


def test_one_role_for_two_segments_joins_them_and_two_roles_do_not():
    """Segments are joined by what one role alone is enough for."""
    assert joined(permit("orders", role("trading")), permit("md", role("trading"))) == [
        ("md", "orders", ("trading",))
    ]
    assert joined(permit("orders", role("trading")), permit("md", role("reading"))) == []
    assert joined(permit("orders", f"{role('a')} && {role('b')}"), permit("md", role("a"))) == []


def test_what_everybody_has_joins_a_segment_to_that_of_each_role():
    """A role joins its segment to those that need none, and these to each other are joined by a kind."""
    assert joined(permit("md", "true"), permit("orders", role("trading"))) == [("md", "orders", ("trading",))]
    humans = 'principal.kind == "human"'
    assert joined(permit("md", humans), permit("lab", humans), permit("orders", role("a"))) == [
        ("lab", "md", ("any human",)),
        ("lab", "orders", ("a",)),
        ("md", "orders", ("a",)),
    ]


def test_kinds_and_desks_are_not_mixed():
    """A role that opens one segment to people and another to algorithms joins nothing; nor by two desks."""
    for one, other in (
        ('principal.kind == "human"', 'principal.kind == "algorithm"'),
        ('principal.desk == "rates"', 'principal.desk == "fx"'),
    ):
        both = [permit("orders", f"{role('a')} && {one}"), permit("md", f"{role('a')} && {other}")]
        assert joined(*both) == []
        assert joined(both[0], permit("md", role("a"))) == [("md", "orders", ("a",))]


def test_a_named_subject_is_no_role():
    """What is permitted to one subject by name joins nothing for others."""
    named = 'principal == Subject::"trader-1"'
    assert joined(permit("orders", named), permit("md", named)) == []


# ---- Pictures

PICTURED = (
    permit("orders", role("trading")),
    permit("md", f"{role('trading')} || {role('desk/rates:1')}"),
    permit("lab", role("desk/rates:1")),
)


def test_the_flowchart_is_the_same_each_time_and_says_who_joins_what():
    """Segments stand in their environments, lines between two of these are thick and coloured."""
    policy = policies(*PICTURED)
    first, second = (mermaid(policy.catalog, joined_segments(policy)) for _ in range(2))
    assert first == second
    assert first == (
        "flowchart LR\n"
        '  subgraph e0["test"]\n'
        '    s0["lab<br/>test"]:::c0\n'
        "  end\n"
        '  subgraph e1["prod"]\n'
        '    s1["md<br/>prod"]:::c1\n'
        '    s2["orders<br/>prod"]:::c1\n'
        '    s3["settlement<br/>prod"]:::c1\n'
        "  end\n"
        '  s0 ===|"desk#47;rates#58;1"| s1\n'
        '  s1 ---|"trading"| s2\n'
        "  classDef c0 fill:#dbeafe,stroke:#1d4ed8,color:#111\n"
        "  classDef c1 fill:#fef3c7,stroke:#b45309,color:#111\n"
        "  linkStyle 0 stroke:#c81e1e,stroke-width:3px\n"
    )


def test_no_label_ends_its_quotes():
    """Whatever a role is called, its label holds no character that the flowchart reads as syntax."""
    policy = policies(permit("md", role("-end-:/@.x")), permit("orders", role("-end-:/@.x")))
    text = mermaid(policy.catalog, joined_segments(policy))
    [label] = re.findall(r'\|"(.*)"\|', text)
    assert re.fullmatch(r"(?:[A-Za-z0-9 ,_-]|#\d+;)+", label)


def test_the_picture_is_drawn_and_the_same_each_time(tmp_path: Path):
    """A PNG comes out, with lines or without; equal policies give equal files and others do not."""
    pytest.importorskip("matplotlib")
    drawn = {}
    for name, texts in {"a": PICTURED, "b": PICTURED, "c": PICTURED[:1]}.items():
        policy = policies(*texts)
        draw_png(policy.catalog, joined_segments(policy), tmp_path / name)
        drawn[name] = (tmp_path / name).read_bytes()
    assert drawn["a"].startswith(b"\x89PNG")
    assert drawn["a"] == drawn["b"] != drawn["c"]


def test_without_matplotlib_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Nothing else needs matplotlib, and who asks for a picture without it is told how to get it."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "matplotlib.figure", raising=False)
    policy = policies(*PICTURED)
    with pytest.raises(ConfigurationError, match=re.escape("pip install 'ztsession[graph]'")):
        draw_png(policy.catalog, joined_segments(policy), tmp_path / "x.png")
    assert mermaid(policy.catalog, joined_segments(policy))


def test_a_picture_that_cannot_be_written_is_an_error(tmp_path: Path):
    """The error names the file."""
    pytest.importorskip("matplotlib")
    policy = policies(*PICTURED)
    with pytest.raises(ConfigurationError, match=r"none/x\.png: cannot be written"):
        draw_png(policy.catalog, joined_segments(policy), tmp_path / "none" / "x.png")


def test_joined_segments_know_whether_they_cross():
    """Two segments of one environment do not cross."""
    assert Joined("a", "b", ("r",), ("test", "prod")).crosses
    assert not Joined("a", "b", ("r",), ("prod", "prod")).crosses
