"""Alerts reach people: at once, in bounded numbers, and at nobody's cost."""

from __future__ import annotations

import itertools
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ztsession.errors import ConfigurationError, WireError
from ztsession.risk.alert import Alert
from ztsession.risk.alert_limits import PER_KIND, PER_WINDOW, WINDOWS_MAX, AlertLimits
from ztsession.risk.alert_sinks import CallbackSink, LogSink
from ztsession.risk.alerts import WAITING_MAX, Alerts
from ztsession.risk.levels import Level

NOW = 1_700_000_000.0


def alert(what: str = "session.suspended", subject: str = "algo-7", **changed: Any) -> Alert:
    given = {"level": Level.HIGH, "about": ("subject", subject), "why": "posture drift", "time": NOW}
    return Alert(what, **{**given, **changed})


class Stuck:
    """A sink that somebody holds up."""

    name, least = "stuck", Level.LOW

    def __init__(self) -> None:
        self.free, self.told = threading.Event(), list[Alert]()

    def tell(self, alert: Alert) -> None:
        self.free.wait()
        self.told.append(alert)

    def close(self) -> None:
        self.free.set()


@pytest.fixture
def heard() -> list[Alert]:
    return []


@pytest.fixture
def alerts(heard: list[Alert]) -> Iterator[Alerts]:
    with Alerts([CallbackSink(heard.append)]) as opened:
        yield opened


# ---- The model


def test_an_alert_is_bounded_and_harmless():
    """Every field has a form that fits any log, and what does not have it is refused by name."""
    assert alert(why="x" * 1000).why == "x" * 256
    assert alert(why="a\nb\u202e\x1b\ud800").why == r"a\nb\u202e\x1b\ud800"
    assert len(alert(why="\n" * 256).why) == 256
    assert alert().form() == {
        "what": "session.suspended",
        "level": "HIGH",
        "about": {"kind": "subject", "name": "algo-7"},
        "why": "posture drift",
        "time": NOW,
        "count": 1,
        "untold": 0,
    }
    table: list[tuple[int, dict[str, Any], str]] = [
        (1, {"what": "Session"}, "what"),
        (2, {"what": "a b"}, "what"),
        (3, {"what": "a."}, "what"),
        (4, {"what": "a" * 49}, "what"),
        (5, {"about": ("somebody", "x")}, "about"),
        (6, {"about": ("subject", "a\nb")}, "about"),
        (7, {"about": ("subject", "\u0430lgo-7")}, "about"),
        (8, {"time": float("nan")}, "time"),
        (9, {"time": -1.0}, "time"),
        (10, {"count": 0}, "count"),
        (11, {"untold": -1}, "count"),
    ]
    for number, changed, field in table:
        with pytest.raises(WireError, match=f"alert.{field}"):
            alert(**changed)
        assert number


def test_A12_no_text_of_an_alert_forges_a_line_of_the_log(caplog: pytest.LogCaptureFixture):
    """One alert is one line of printable ASCII, whatever stood in it."""
    caplog.set_level(logging.INFO, "ztsession.alerts")
    with Alerts([LogSink()]) as told:
        told.raise_alert(alert(why='ok\r\n{"what":"all-clear"}\u202e\ud800\x1b[2J'))
    (record,) = [each for each in caplog.records if each.name == "ztsession.alerts"]
    line = record.getMessage()
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["what"] == "session.suspended"
    assert record.levelno == logging.ERROR


# ---- Telling


def test_an_alert_is_told_at_once(alerts: Alerts, heard: list[Alert], eventually: Callable[..., None]):
    """The first of a kind waits for nothing, and is as it was raised."""
    alerts.raise_alert(alert())
    eventually(lambda: heard == [alert()])
    assert alerts.raised == 1
    eventually(lambda: alerts.told == {"callback": 1})


def test_repetitions_become_one_with_a_count(alerts: Alerts, heard: list[Alert]):
    """A hundred times the same is told twice: at once, and later with the number."""
    for _ in range(100):
        alerts.raise_alert(alert())
    assert alerts.flush()
    assert [each.count for each in heard] == [1, 99]
    alerts.raise_alert(alert())
    assert alerts.flush()
    assert len(heard) == 3


def test_the_window_tells_by_itself(heard: list[Alert], eventually: Callable[..., None]):
    """What was counted is told when its window ends, with nothing new to cause it."""
    with Alerts([CallbackSink(heard.append)], limits=AlertLimits(window_s=0.05)) as told:
        for _ in range(3):
            told.raise_alert(alert())
        eventually(lambda: sum(each.count for each in heard) == 3)


def test_D8_a_flood_of_one_kind_does_not_drown_another(alerts: Alerts, heard: list[Alert]):
    """Ten thousand alerts about as many subjects are few, none is uncounted, and another kind is told."""
    for number in range(10_000):
        alerts.raise_alert(alert("signal", f"s{number}"))
    alerts.raise_alert(alert("lease.lost", about=("segment", "orders")))
    alerts.raise_alert(alert("signal", "algo-7", level=Level.CRITICAL))
    assert alerts.flush()
    assert [each.about for each in heard if each.what == "lease.lost"] == [("segment", "orders")]
    assert [each.about[1] for each in heard if each.level is Level.CRITICAL] == ["algo-7"]
    flood = [each for each in heard if each.what == "signal" and each.level is Level.HIGH]
    assert len(flood) == PER_KIND + 1
    assert sum(each.count for each in flood) == 10_000
    assert flood[-1].about == ("several", "")
    assert "the last of them about subject s9999" in flood[-1].why


def test_D8_a_sink_that_hangs_holds_up_nobody(heard: list[Alert], eventually: Callable[..., None]):
    """Raising never waits, the other sinks are told, what waits is bounded, and the losses are told."""
    stuck, limits = Stuck(), AlertLimits(window_s=1e-9, per_kind=1000)
    with Alerts([stuck, CallbackSink(heard.append)], limits=limits) as told:
        (line,) = [each for each in told._lines if each.sink is stuck]
        told.raise_alert(alert("signal", "first"))
        eventually(lambda: line.telling)
        for number in range(2 * WAITING_MAX):
            told.raise_alert(alert("signal", f"s{number}"))
            told.flush(0.0)
        told.raise_alert(alert("lease.lost"))
        eventually(lambda: heard != [] and heard[-1].what == "lease.lost")
        assert len(line.waiting) == WAITING_MAX + 1
        assert told.lost["stuck"] == WAITING_MAX
        stuck.free.set()
        assert told.flush()
        assert stuck.told[-1].what == "lease.lost"
        # Told once, with the next one that is told.
        assert sum(each.untold for each in stuck.told) == WAITING_MAX


def test_a_sink_that_raises_harms_nobody(
    heard: list[Alert], caplog: pytest.LogCaptureFixture, eventually: Callable[..., None]
):
    """It is logged in one line, the alert counts as lost there, and both go on."""
    errors: list[BaseException] = [ValueError("bad\nline"), SystemExit(3)]

    def sometimes(alert: Alert) -> None:
        if errors:
            raise errors.pop(0)
        bad.append(alert)

    bad = list[Alert]()
    with Alerts([CallbackSink(sometimes, name="pager"), CallbackSink(heard.append)]) as told:
        for subject in ("a", "b", "c"):
            told.raise_alert(alert(subject=subject))
        assert told.flush()
        assert told.lost == {"pager": 2, "callback": 0}
        assert told.told == {"pager": 1, "callback": 3}
    assert [(each.about[1], each.untold) for each in bad] == [("c", 2)]
    logged = [each.getMessage() for each in caplog.records if "did not reach pager" in each.getMessage()]
    assert len(logged) == 2
    assert not any("\n" in each for each in logged)


def test_each_sink_has_its_least_level():
    """What is below it is not told there, and is not lost either."""
    all_of_it, bad = list[Alert](), list[Alert]()
    sinks = [CallbackSink(all_of_it.append), CallbackSink(bad.append, least=Level.HIGH, name="pager")]
    with Alerts(sinks) as told:
        for level in Level:
            told.raise_alert(alert(level=level))
    assert [each.level for each in all_of_it] == list(Level)
    assert [each.level for each in bad] == [Level.HIGH, Level.CRITICAL]
    assert told.lost["pager"] == 0


def test_closing_tells_what_waits_within_its_bound(caplog: pytest.LogCaptureFixture):
    """Whoever closes waits no longer than he said, and what is given up is said in the log."""
    stuck = Stuck()
    told = Alerts([stuck])
    for subject in ("a", "b", "c"):
        told.raise_alert(alert(subject=subject))
    before = time.monotonic()
    told.close(0.05)
    assert time.monotonic() - before < 10
    assert "3 alerts were not told before the end" in caplog.text
    told.close()
    told.raise_alert(alert())
    assert [thread.join(10) for thread in told._threads] == [None]
    assert not any(thread.is_alive() for thread in told._threads)


def test_nobody_to_tell_costs_nothing():
    """Without a sink there is no thread and nothing is kept."""
    told = Alerts()
    for number in range(1000):
        told.raise_alert(alert(subject=f"s{number}"))
    assert told.raised == 1000
    assert told._limits.next_s() is None
    assert told.flush()
    told.close()


def test_eight_threads_lose_no_count(heard: list[Alert]):
    """Whatever is raised from many threads at once is told once or counted."""
    with Alerts([CallbackSink(heard.append)]) as told:

        def flood(number: int) -> None:
            for each in range(1000):
                told.raise_alert(alert("signal", f"s{number}-{each % 5}"))

        threads = [threading.Thread(target=flood, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert told.raised == sum(each.count for each in heard) == 8000
    assert len(heard) <= 2 * PER_KIND + 2


# ---- Limits, by a clock that the test moves


def test_D8_all_kinds_together_have_a_bound():
    """Past it only the first of each kind is told at once, and nothing is uncounted."""
    limits, kinds, subjects = AlertLimits(), 20, 20
    told = list[Alert]()
    for subject, kind in itertools.product(range(subjects), range(kinds)):
        told += limits.admit(alert(f"kind{kind}", f"s{subject}"), 0.0)
    assert len(told) == kinds + PER_WINDOW
    assert {each.what for each in told} == {f"kind{kind}" for kind in range(kinds)}
    later = limits.due(60.0)
    assert len(later) == kinds
    assert sum(each.count for each in told + later) == kinds * subjects


def test_D6_limits_remember_a_bounded_number_of_kinds():
    """However many kinds there are, what is kept is bounded, and the worst level of the rest is told."""
    limits, told = AlertLimits(), list[Alert]()
    for number in range(10_000):
        told += limits.admit(alert(f"kind{number}", f"s{number}", level=Level(3 - number % 4)), 0.0)
    assert len(limits._windows) == WINDOWS_MAX + 1
    assert all(len(window.told) <= PER_KIND for window in limits._windows.values())
    rest = limits.rest()
    assert rest[-1].level is Level.CRITICAL
    assert sum(each.count for each in told + rest) == 10_000
    assert limits.next_s() is None


def test_a_flood_that_goes_on_is_told_once_in_each_window():
    """Each window tells what was counted in the one before, and a kind that falls silent is forgotten."""
    limits = AlertLimits(window_s=10, per_kind=2)
    counts = list[int]()
    for second in range(40):
        counts += [each.count for each in limits.admit(alert(), float(second))]
    assert counts == [1, 9, 10, 10]
    assert [each.count for each in limits.due(49.0)] == [10]
    assert limits.due(59.0) == []
    assert limits.next_s() is None


def test_impossible_limits_are_refused():
    """No window, or no alert in it, would be silence."""
    for wrong in ({"window_s": 0}, {"per_kind": 0}, {"per_window": -1}):
        with pytest.raises(ConfigurationError):
            AlertLimits(**wrong)
