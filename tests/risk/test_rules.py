"""risk.toml: what it may say, and what an operator is told who says something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from ztsession.errors import ConfigurationError
from ztsession.risk.actions import Action
from ztsession.risk.kinds import DEFAULT_KINDS
from ztsession.risk.rules import KINDS_MAX, RiskRules, Threshold

GOOD = """
[levels]
MEDIUM = { enter = 50, leave = 20, action = "alert" }
HIGH = { action = "revoke" }

[kinds.order-rate]
answered_by = "posture"
half_life_s = 60
cap = 10
points = { MEDIUM = 5 }
actions = { LOW = "none", CRITICAL = "quarantine-device" }

[kinds."desk/mood"]
"""


def read(tmp_path: Path, text: str) -> RiskRules:
    (tmp_path / "risk.toml").write_text(text, encoding="utf-8")
    return RiskRules.from_directory(tmp_path)


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    """No file and an empty one say nothing, so what is built in holds."""
    assert RiskRules.from_directory(tmp_path) == RiskRules() == read(tmp_path, "")
    assert RiskRules().kinds == DEFAULT_KINDS


def test_a_file_changes_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    """A key that is there holds, one that is not keeps its default, and a new name is a new kind."""
    rules = read(tmp_path, GOOD)
    assert rules.medium == Threshold(50, 20, Action.ALERT)
    assert rules.high == Threshold(80, 50, Action.REVOKE)
    kind, before = rules.kind("order-rate"), DEFAULT_KINDS["order-rate"]
    assert (kind.answered_by, kind.half_life_s, kind.cap) == ("posture", 60, 10)
    assert kind.points == (before.points[0], 5, *before.points[2:])
    assert kind.actions == (Action.NONE, *before.actions[1:3], Action.QUARANTINE_DEVICE)
    assert rules.kind("desk/mood") == rules.kind("never heard of")
    assert "desk/mood" in rules.kinds
    assert {name: rules.kinds[name] for name in DEFAULT_KINDS if name != "order-rate"} == {
        name: kind for name, kind in DEFAULT_KINDS.items() if name != "order-rate"
    }


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("[level]", 1, "unknown key, expected one of levels, kinds"),
        ("[levels]\nLOW = {}", 2, "unknown key, expected one of MEDIUM, HIGH"),
        ("[levels]\nMEDIUM = 3", 2, "expected a table"),
        ("[levels]\nMEDIUM = { enter = 0 }", 2, "expected an integer from 1 to 1000"),
        ("[levels]\nMEDIUM = { enter = 30, leave = 31 }", 2, "expected an integer from 1 to 30"),
        ("[levels]\nMEDIUM = { enter = 81 }", 1, "expected HIGH to begin at 81 points or more"),
        ("[levels]\nHIGH = { action = 'kill' }", 2, "expected one of none, alert, restrict, suspend, revoke"),
        ("[kinds.'a b']\ncap = 1", 1, "expected a name"),
        ("[kinds.threat]\nweight = 1", 2, "unknown key, expected one of answered_by, actions, points"),
        ("[kinds.threat]\nanswered_by = 'prayer'", 2, "expected one of posture, factor, everything, nothing"),
        ("[kinds.threat]\nhalf_life_s = 0", 2, "expected an integer from 1 to 2592000"),
        ("[kinds.threat]\nhalf_life_s = 1.5", 2, "expected an integer"),
        ("[kinds.threat]\ncap = -1", 2, "expected an integer from 0 to 1000"),
        ("[kinds.threat]\npoints = { SEVERE = 1 }", 2, "unknown key, expected one of LOW, MEDIUM, HIGH"),
        (
            "[kinds.threat]\nactions = { SEVERE = 'alert' }",
            2,
            "unknown key, expected one of LOW, MEDIUM, HIGH",
        ),
        ("[kinds.threat]\npoints = { LOW = true }", 2, "expected an integer"),
        ("[kinds.threat]\nactions = { HIGH = 'Suspend' }", 2, "expected one of none"),
        ("\n".join(f"[kinds.k{n}]" for n in range(50)), 1, "expected at most 64 kinds in all"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, text: str, line: int, said: str) -> None:
    """File, line and what was expected; nothing is guessed."""
    with pytest.raises(ConfigurationError) as told:
        read(tmp_path, text)
    assert said in str(told.value)
    assert str(told.value).startswith(f"{tmp_path / 'risk.toml'}:")
    assert (
        told.value.line in (line, None) if "SEVERE" in text or "Suspend" in text else told.value.line == line
    )


def test_what_is_just_within_the_bounds_holds(tmp_path: Path) -> None:
    """Both levels from one score on, a level below its default end, and as many kinds as there may be."""
    rules = read(tmp_path, "[levels]\nMEDIUM = { enter = 20 }\nHIGH = { enter = 20 }\n")
    assert (rules.medium, rules.high) == (
        Threshold(20, 20, Action.RESTRICT),
        Threshold(20, 20, Action.SUSPEND),
    )
    more = KINDS_MAX - len(DEFAULT_KINDS)
    assert len(read(tmp_path, "\n".join(f"[kinds.k{n}]" for n in range(more))).kinds) == KINDS_MAX
