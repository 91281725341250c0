"""What the documentation says of signals and of other systems' events is what becomes of them."""

from __future__ import annotations

import re
import textwrap
import time
from pathlib import Path
from typing import Any

import events_table
import kinds_table
import pytest
from pages import ROOT

import ztsession as zts
from ztsession.risk.kinds import DEFAULT_KINDS
from ztsession.risk.rules import RiskRules

PAGE = (ROOT / "docs/continuous-verification.md").read_text("utf-8")


@pytest.mark.parametrize("table", [events_table, kinds_table], ids=lambda table: table.__name__)
def test_the_table_is_the_one_in_force(table: object) -> None:
    """Row by row; `python tests/docs/events_table.py` and `kinds_table.py` write them."""
    for marker in (table.BEGIN, table.END):  # type: ignore[attr-defined]
        assert PAGE.count(marker) == 1
    assert table.written() == table.generated()  # type: ignore[attr-defined]


def test_the_numbers_of_the_page_are_those_in_force() -> None:
    """The thresholds that the page tells, and what one signal is worth, are the defaults."""
    rules = RiskRules()
    told = re.findall(r"^\| (MEDIUM|HIGH) \| (\d+) \| (\d+) \| (\S+) \|", PAGE, re.MULTILINE)
    assert told == [
        (name, str(at.enter), str(at.leave), at.action.word)
        for name, at in (("MEDIUM", rules.medium), ("HIGH", rules.high))
    ]
    points = re.search(r"worth (\d+), (\d+), (\d+) and (\d+) points", PAGE)
    assert points is not None
    assert {kind.points for kind in DEFAULT_KINDS.values()} == {tuple(map(int, points.groups()))}


def blocks(language: str) -> list[str]:
    """Every code block of the page, also those inside lists."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", PAGE, re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(text) for _, text in found]


def test_a_signal_is_added_as_the_page_says(house: Any, tmp_path: Path) -> None:
    """Its files load, and its call restricts the sessions of whom it is against until it is taken back."""
    (changed,) = blocks(r"\{code-block\} toml\n:caption: policy/risk\.toml\n")
    (tmp_path / "risk.toml").write_text(changed)
    assert RiskRules.from_directory(tmp_path).kind("order-rate").half_life_s == 900
    (kind,), (call,) = blocks("toml"), blocks("python")
    (house.rules / "risk.toml").write_text(kind)
    house.identity = zts.Ed25519Identity.generate("ada")
    house.enrol(house.identity)
    authority = house.authority()
    session = house.connect(authority)
    exec(call, {"authority": authority, "zts": zts, "time": time})
    assert authority.session(session.id).mode == zts.Mode.RESTRICTED
    back = zts.Signal(
        "badge-2", "badge-out", zts.Level.LOW, "door-system", time.time(), subject="ada", withdraws=True
    )
    assert [change.after for change in authority.signal(back)] == [zts.Mode.NORMAL]
