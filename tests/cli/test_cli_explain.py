"""Why somebody may or may not do something, asked on the command line before it is tried."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ztsession.cli.commands import ztsession

CALENDAR = 'timezone = "America/New_York"\n[phases]\ncontinuous = "09:30"\nclosed = "16:00"\n'
MORE = """
permit (principal, action == Action::"md.snapshot", resource) when { context.phase == "continuous" };
forbid (principal, action == Action::"orders.amend", resource) when { context.device == "host-2" };
"""


@pytest.fixture
def house(house: Any) -> Any:
    policy = house.rules / "trading.cedar"
    policy.write_text(policy.read_text() + MORE)
    (house.rules / "calendar.toml").write_text(CALENDAR)
    subjects = house.rules / "subjects.toml"
    oidc = 'oidc_issuer = "https://login.firm.example"\noidc_subject = "00u1x8"\n'
    subjects.write_text(subjects.read_text() + f'\n[subjects."ada"]\nkind = "human"\n{oidc}')
    return house


def run(house: Any, *arguments: str) -> Result:
    return CliRunner().invoke(ztsession, ["policy", "explain", str(house.rules), *arguments])


def said(house: Any, *arguments: str, status: int = 0) -> str:
    result = run(house, *arguments)
    assert result.exit_code == status, result.output
    assert not isinstance(result.exception, Exception), result.exception
    return result.output


def test_allowed_denied_and_step_up_are_told_and_are_the_exit_status(house: Any) -> None:
    """A script sees by the status what a person reads in the first line."""
    allowed = said(house, "algo-7", "orders.submit")
    assert allowed.startswith("orders.submit is allowed to algo-7 by trading.cedar:2 (desk-algorithms)\n")
    step_up = said(house, "ada", "orders.submit", status=3)
    assert step_up.startswith("orders.submit is allowed to ada after a step-up: default deny")
    assert step_up.endswith("    with assurance 2\n")
    denied = said(house, "algo-7", "orders.submit", "--posture", "kernel=bad", status=4)
    assert denied.startswith(
        "orders.submit is denied to algo-7: forbidden by trading.cedar:20 (healthy-host)"
    )
    assert said(house, "ada", "orders.submit", "--assurance", "2").startswith("orders.submit is allowed")


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ((), "unknown"),
        (("--all-good",), "good"),
        (("--all-good", "--posture", "program=unknown"), "good"),
        (("--posture", "program=good"), "unknown"),
    ],
)
def test_the_posture_is_unknown_unless_it_is_given(
    house: Any, arguments: tuple[str, ...], found: str
) -> None:
    """What is not given is unknown, or good with --all-good, and what is given counts either way."""
    catalog = house.rules / "catalog.toml"
    catalog.write_text(catalog.read_text().replace("ordered = true", 'ordered = true\nposture = ["kernel"]'))
    told = said(house, "algo-7", "orders.amend", *arguments, status=0 if found == "good" else 4)
    assert (f'context.posture.kernel == "good" (found "{found}")' in told) is (found != "good")


def test_device_and_risk_are_part_of_the_question(house: Any) -> None:
    """A host that a policy names, and a risk that the catalog does not bear, are refused; others are not."""
    assert "forbidden by" in said(house, "algo-7", "orders.amend", "--device", "host-2", status=4)
    assert 'found "medium"' in said(house, "algo-7", "orders.amend", "--risk", "medium", status=4)
    assert "is allowed" in said(house, "algo-7", "orders.amend", "--device", "host-1", "--risk", "low")


@pytest.mark.parametrize(
    ("at", "status"),
    [
        ("2026-11-25T09:29", 4),
        ("2026-11-25T09:30", 0),
        ("2026-11-25T14:29+00:00", 4),
        ("2026-11-25T14:30Z", 0),
        ("2026-11-25T16:00:00", 4),
    ],
)
def test_time_is_that_of_the_calendar_unless_it_says_otherwise(house: Any, at: str, status: int) -> None:
    """The exchange's clock is meant by whoever gives none."""
    (house.rules / "trading.cedar").write_text(MORE)
    told = said(house, "ada", "md.snapshot", "--at", at, status=status)
    assert (" at 2026-11-" in told) is (status == 4)


def test_json_is_one_object_with_the_same_status(house: Any) -> None:
    """Programs read every field; the outcome is also the status."""
    (house.rules / "trading.cedar").write_text(MORE)
    arguments = ("ada", "md.snapshot", "--at", "2026-11-25T08:00", "--json")
    document = json.loads(said(house, *arguments, status=4))
    opening = int(datetime(2026, 11, 25, 14, 30, tzinfo=UTC).timestamp())
    assert document["outcome"] == "denied"
    assert document["needs"] == [
        {
            "kinds": ["time"],
            "time": {"unix_s": opening, "local": "2026-11-25 09:30 America/New_York"},
        }
    ]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("algo-9", "orders.submit"), "names no subject 'algo-9': expected one of ada, algo-7"),
        (("al\ngo", "orders.submit"), r"names no subject 'al\ngo'"),
        (("algo-7", "orders.sell"), "no operation 'orders.sell': expected one of md.snapshot, md.subscribe"),
        (("algo-7", "submit"), "no operation 'submit': expected one of"),
        (("algo-7", "risk.submit"), "no operation 'risk.submit': expected one of"),
        (("algo-7", "orders.submit", "--posture", "kernal=good"), "no item 'kernal': expected one of boot,"),
        (
            ("algo-7", "orders.submit", "--posture", "kernel"),
            "expected kernel=good|bad|unknown, found 'kernel'",
        ),
        (("algo-7", "orders.submit", "--posture", "kernel=Good"), "found 'kernel=Good'"),
        (("algo-7", "orders.submit", "--at", "tomorrow"), "--at: expected a time like 2026-11-27T09:30"),
        (("algo-7", "orders.submit", "--at", "9999-12-31T23:59"), "--at: expected a time"),
        (("algo-7", "orders.submit", "--device", "a b"), "device: expected 1 to 128 characters"),
    ],
)
def test_what_does_not_exist_is_told_with_what_does(
    house: Any, arguments: tuple[str, ...], told: str
) -> None:
    """Status 1 and one sentence, in which nothing that was typed begins a line."""
    output = said(house, *arguments, status=1)
    assert told in output
    assert output.count("\n") == 1


def test_a_mistake_in_the_directory_is_told_with_its_place(house: Any) -> None:
    """Policies that do not load explain nothing."""
    (house.rules / "trading.cedar").write_text(
        "permit (principal, action, resource) when { context.nothing };"
    )
    assert "trading.cedar:1: " in said(house, "algo-7", "orders.submit", status=1)


def test_the_help_tells_what_the_statuses_mean() -> None:
    """Whoever writes a script need not read the source."""
    told = CliRunner().invoke(ztsession, ["policy", "explain", "--help"]).output
    words = " ".join(told.split())
    assert "Exit status: 0 if it is allowed, 3 if it would be with more assurance, 4 if it is denied" in words
