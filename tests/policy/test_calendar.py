"""Time as policies see it, and the moments at which an answer can change."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ztsession.errors import ConfigurationError
from ztsession.policy.calendar import CLOSED, Calendar, Moment
from ztsession.policy.mentions import Mentions

NEW_YORK = """\
timezone = "America/New_York"
closed_on = ["sat", "sun", "2026-12-25"]

[phases]
pre-open = "04:00"
continuous = "09:30"
closed = "16:00"

[days."2026-11-27"]
continuous = "09:30"
closed = "13:00"
"""
PHASE = Mentions(attributes=frozenset({"context.phase"}))


def clock(hhmm: tuple[int, ...]) -> Mentions:
    return Mentions(attributes=frozenset({"context.time.hhmm"}), minutes=frozenset(hhmm))


def calendar(tmp_path: Path, text: str = NEW_YORK) -> Calendar:
    file = tmp_path / "calendar.toml"
    file.write_text(text)
    return Calendar.load(file)


def unix(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("at", "moment"),
    [
        ("2026-11-25T14:29:59", Moment(929, "wed", 20261125, "pre-open")),
        ("2026-11-25T14:30:00", Moment(930, "wed", 20261125, "continuous")),
        ("2026-11-25T21:00:00", Moment(1600, "wed", 20261125, CLOSED)),
        ("2026-11-25T05:00:00", Moment(0, "wed", 20261125, CLOSED)),
        ("2026-11-25T04:59:59", Moment(2359, "tue", 20261124, CLOSED)),
        ("2026-11-27T18:00:00", Moment(1300, "fri", 20261127, CLOSED)),
        ("2026-11-27T10:00:00", Moment(500, "fri", 20261127, CLOSED)),
        ("2026-11-28T15:00:00", Moment(1000, "sat", 20261128, CLOSED)),
        ("2026-12-25T15:00:00", Moment(1000, "fri", 20261225, CLOSED)),
        ("2026-07-01T13:30:00", Moment(930, "wed", 20260701, "continuous")),
    ],
)
def test_a_moment_is_that_of_the_place(tmp_path: Path, at: str, moment: Moment) -> None:
    """Hour, weekday, date and phase are the exchange's, over summer time, holidays and short days."""
    assert calendar(tmp_path).at(unix(at)) == moment


def test_phases_change_when_the_day_says_so(tmp_path: Path) -> None:
    """Each phase's beginning is a change, on a short day its own, and midnight; a holiday has midnight
    alone.
    """
    made = calendar(tmp_path)

    def changes(begin: str, end: str) -> list[str]:
        found = made.changes(unix(begin), unix(end), PHASE)
        return [datetime.fromtimestamp(at, UTC).strftime("%dT%H:%M") for at in found]

    assert changes("2026-11-25T06:00", "2026-11-26T06:00") == ["25T09:00", "25T14:30", "25T21:00", "26T05:00"]
    assert changes("2026-11-27T06:00", "2026-11-28T06:00") == ["27T14:30", "27T18:00", "28T05:00"]
    assert changes("2026-12-25T06:00", "2026-12-26T06:00") == ["26T05:00"]
    assert changes("2026-11-25T09:00", "2026-11-25T21:00") == ["25T14:30"]


def test_what_asks_for_no_time_never_changes(tmp_path: Path) -> None:
    """Policies that do not look at the clock have no moments, however long the session."""
    assert list(calendar(tmp_path).changes(0.0, 1e9, Mentions(attributes=frozenset({"context.risk"})))) == []


ZONES = ["America/New_York", "Europe/London", "Australia/Lord_Howe", "Asia/Kolkata", "UTC"]


@settings(deadline=None)
@given(
    zone=st.sampled_from(ZONES),
    minutes=st.lists(st.integers(0, 1439), min_size=1, max_size=3),
    day=st.sampled_from(["2026-03-08", "2026-03-29", "2026-04-05", "2026-10-04", "2026-10-25", "2026-11-01"]),
)
def test_no_comparison_turns_between_two_changes(zone: str, minutes: list[int], day: str) -> None:
    """Minute by minute over the days on which clocks are changed: what policies can tell apart changes at a
    moment that was foretold, and at no other.
    """
    hhmm = tuple(minute // 60 * 100 + minute % 60 for minute in minutes)
    made = Calendar(zone)
    begin = unix(day) - 12 * 3600
    foretold = set(made.changes(begin, begin + 48 * 3600, clock(hhmm)))

    def seen(at: float) -> tuple[Any, ...]:
        moment = made.at(at)
        return tuple(moment.hhmm < each for each in hhmm), moment.date

    for minute in range(1, 48 * 60):
        at = begin + 60 * minute
        if seen(at) != seen(at - 1):
            assert at in foretold


@pytest.mark.parametrize(
    ("before", "after", "line", "expected"),
    [
        ("America/New_York", "America/Nowhere", 1, "expected a time zone"),
        ("America/New_York", "../../etc/passwd", 1, "expected a time zone"),
        ("America/New_York", "America", 1, "expected a time zone"),
        ("America/New_York", "x" * 5000, 1, "expected a time zone"),
        ('"04:00"', '"4:00"', 5, "expected a time like '09:30'"),
        ('"04:00"', '"24:00"', 5, "expected a time like '09:30'"),
        ('"04:00"', "400", 5, "expected a time like '09:30'"),
        ('"04:00"', '"09:30"', 5, "continuous begins then, too"),
        ("pre-open", "Pre-Open", 5, "expected a phase's name"),
        ('"sat"', '"saturday"', 2, "found 'saturday'"),
        ('"2026-12-25"', '"2026-11-27"', 2, "closed and has phases of its own"),
        ('days."2026-11-27"', 'days."2026-11-31"', 9, "expected a date"),
        ('days."2026-11-27"', 'days."20261127"', 9, "expected a date"),
        ("closed_on", "closed", 2, "unknown key"),
    ],
)
def test_a_mistake_is_told_with_its_line(
    tmp_path: Path, before: str, after: str, line: int, expected: str
) -> None:
    """No mistake in a calendar is guessed at; the file as it stands is read."""
    calendar(tmp_path)
    with pytest.raises(ConfigurationError, match=expected) as caught:
        calendar(tmp_path, NEW_YORK.replace(before, after, 1))
    assert caught.value.line == line


def test_without_a_file_it_is_utc_and_has_no_phases(tmp_path: Path) -> None:
    """A calendar is not needed; phases then are none."""
    none = Calendar.load(tmp_path / "calendar.toml")
    assert none.phases == ()
    assert none.at(unix("2026-11-25T14:29:59")) == Moment(1429, "wed", 20261125, CLOSED)


def test_a_link_to_no_calendar_is_not_no_calendar(tmp_path: Path) -> None:
    """A file that ought to be there does not silently make it UTC."""
    (tmp_path / "calendar.toml").symlink_to(tmp_path / "not-there.toml")
    with pytest.raises(ConfigurationError, match=r"calendar\.toml: cannot be read"):
        Calendar.load(tmp_path / "calendar.toml")


def test_every_part_of_it_is_in_the_digest(tmp_path: Path) -> None:
    """Whoever changes the calendar changes the policies' digest."""
    made = calendar(tmp_path)
    others = [
        calendar(tmp_path, NEW_YORK.replace(before, after, 1))
        for before, after in (
            ("New_York", "Chicago"),
            ('"sat", ', ""),
            ("09:30", "09:31"),
            ("13:00", "14:00"),
        )
    ]
    assert len({made.digest_part, *(other.digest_part for other in others)}) == 5
