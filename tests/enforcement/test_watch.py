"""A watch says each finding once, loses none that could not be said, and outlives whatever fails."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ztsession.clock import FakeClock
from ztsession.enforcement.watch import Watch
from ztsession.errors import AuditError, Replayed, StoreError, TransportError, WireError
from ztsession.risk.detectors.protocol import Finding
from ztsession.risk.detectors.standard import StandardDetectors
from ztsession.risk.levels import Level
from ztsession.risk.signals import Signal
from ztsession.testing import pair


class Says:
    """Finds what it is told to find."""

    def __init__(self, *findings: Finding) -> None:
        self.findings: tuple[Finding, ...] = findings
        self.looks = 0

    def look(self, scan: Any) -> Iterator[Finding]:
        self.looks += 1
        yield from self.findings


class Fails:
    """Finds one thing, and breaks."""

    def look(self, scan: Any) -> Iterator[Finding]:
        yield of("a")
        raise RuntimeError("broken")


def of(subject: str, level: Level = Level.MEDIUM, **changed: Any) -> Finding:
    return Finding("behaviour", level, subject=subject, **changed)


class Receiver:
    """An Authority that may be out of reach."""

    def __init__(self) -> None:
        self.taken: list[Signal] = []
        self.error: Exception | None = None

    def __call__(self, signal: Signal) -> None:
        if self.error is not None:
            raise self.error
        self.taken.append(signal)

    @property
    def subjects(self) -> list[str]:
        return [signal.subject for signal in self.taken]


def scene(*detectors: Any) -> tuple[Watch, Receiver, FakeClock]:
    clock, receiver = FakeClock(unix_s=1_900_000_200.0), Receiver()
    _, point = pair(clock=clock)
    watch = Watch(point, detectors, report=receiver, every_s=0, clock=clock.time)
    watch._kept = point  # type: ignore[attr-defined]
    return watch, receiver, clock


def test_the_same_finding_is_said_once_while_it_lasts() -> None:
    """As often as it is found; again when its time is over, and at once when it is worse or another's."""
    detector = Says(of("a"))
    watch, receiver, clock = scene(detector)
    for _ in range(3):
        watch.once()
        clock.advance(99)
    assert receiver.subjects == ["a"]
    clock.advance(3)
    watch.once()
    assert receiver.subjects == ["a", "a"]
    assert receiver.taken[0].id != receiver.taken[1].id
    detector.findings = (of("a"), of("a", Level.HIGH), of("b"))
    assert [signal.subject for signal in watch.once()] == ["a", "b"]
    assert receiver.taken[0].source == "point:orders"


@pytest.mark.parametrize("error", [StoreError("full"), TransportError("gone")])
def test_what_could_not_be_said_is_said_later_and_the_worst_first(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """It keeps its id and waits, told once in the log, until the Authority can be had again."""
    watch, receiver, clock = scene(Says(of("a"), of("b", Level.CRITICAL)))
    receiver.error = error
    for _ in range(3):
        assert watch.once() == []
        clock.advance(1)
    assert watch.waiting == 2
    assert caplog.text.count("cannot report 2 signals yet") == 1
    receiver.error = None
    watch.once()
    assert receiver.subjects == ["b", "a"]
    assert watch.waiting == 0
    assert receiver.taken[0].time == 1_900_000_200.0


def test_what_is_no_longer_true_is_given_up_and_told(caplog: pytest.LogCaptureFixture) -> None:
    """A finding that could not be said for as long as it lasted is in the log; if it is still found, it is a
    new one.
    """
    detector = Says(of("a"))
    watch, receiver, clock = scene(detector)
    receiver.error = TransportError("gone")
    watch.once()
    detector.findings = ()
    clock.advance(301)
    watch.once()
    assert watch.waiting == 0
    assert "could not report a finding of kind behaviour" in caplog.text


def test_a_signal_that_is_not_in_the_audit_log_is_in_force() -> None:
    """AuditError is no reason to say it again, nor to keep the others back."""
    watch, receiver, _ = scene(Says(of("a"), of("b")))
    receiver.error = AuditError("disk full")
    assert len(watch.once()) == 2
    assert watch.waiting == 0


def test_a_signal_that_nobody_takes_holds_up_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """What would fail again is dropped, and told."""
    watch, receiver, _ = scene(Says(of("a"), of("b")))
    receiver.error = WireError("no such kind")
    assert watch.once() == []
    assert watch.waiting == 0
    assert caplog.text.count("was not taken") == 2


class Picky(Receiver):
    """An Authority that refuses one kind of signals, as it does where a source may not say them."""

    def __call__(self, signal: Signal) -> None:
        if signal.kind == "off-hours":
            raise TransportError("the Authority did not take a report")
        super().__call__(signal)


def test_what_may_not_be_said_keeps_back_nothing_that_may(caplog: pytest.LogCaptureFixture) -> None:
    """A refusal cannot be told from silence, so it is tried again, once in each pass; others are said."""
    refused = [Finding("off-hours", Level.HIGH, subject=f"s{n}", lasts_s=14_400) for n in range(50)]
    _, point = pair()
    receiver, tries = Picky(), []
    watch = Watch(
        point,
        [Says(*refused, of("a"))],
        report=lambda signal: (tries.append(signal.kind), receiver(signal)),
        every_s=0,
    )
    assert [signal.subject for signal in watch.once()] == ["a"]
    assert tries == ["off-hours", "behaviour"]
    for _ in range(3):
        watch.once()
    assert watch.waiting == 50
    assert caplog.text.count("yet") == 1


def test_who_does_not_answer_is_not_waited_for_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report that fails slowly ends the pass: the counters have to be looked at meanwhile."""
    monkeypatch.setattr("ztsession.enforcement.watch._PATIENCE_S", 0.0)
    watch, receiver, _ = scene(Says(of("a"), Finding("replay", Level.MEDIUM, subject="a")))
    tries = []
    receiver.error = TransportError("timed out")
    watch._report = lambda signal: (tries.append(signal), receiver(signal))
    watch.once()
    assert len(tries) == 1
    assert watch.waiting == 2


def test_a_clock_that_was_set_back_hides_nothing() -> None:
    """What was found by the clock of before is found again by this one."""
    watch, receiver, clock = scene(Says(of("a")))
    watch.once()
    watch._clock = lambda: clock.time() - 7200
    watch.once()
    assert receiver.subjects == ["a", "a"]
    watch.once()
    assert len(receiver.taken) == 2


def test_a_watch_that_begins_late_holds_the_past_against_nobody() -> None:
    """What was refused all day is no burst for a watch that is made now; what comes from then on is."""
    client, point = pair()
    verify, told = point.verifier(), list[Signal]()

    def replays(times: int) -> None:
        token = client.sign("orders.submit", b"x")
        verify(token, b"x")
        for _ in range(times):
            with pytest.raises(Replayed):
                verify(token, b"x")

    replays(30)
    watch = Watch(point, StandardDetectors(), report=told.append, every_s=0)
    assert watch.once() == []
    replays(20)
    assert [signal.kind for signal in watch.once()] == ["replay"]


def test_a_detector_that_fails_takes_no_other_with_it(caplog: pytest.LogCaptureFixture) -> None:
    """What it found before counts, the others look, and it is told once until it works again."""
    other = Says(of("b"))
    watch, receiver, _ = scene(Fails(), other)
    for _ in range(3):
        watch.once()
    assert receiver.subjects == ["a", "b"]
    assert other.looks == 3
    assert caplog.text.count("Fails failed at segment orders") == 1


def test_D6_findings_are_kept_up_to_a_bound(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """More at once than a point has sessions are dropped, and told; they come again when there is room."""
    monkeypatch.setattr("ztsession.enforcement.watch.FINDINGS_MAX", 3)
    watch, receiver, clock = scene(Says(*(of(f"s{n}") for n in range(5))))
    watch.once()
    assert receiver.subjects == ["s0", "s1", "s2"]
    assert caplog.text.count("more findings than can be kept") == 2
    clock.advance(301)
    watch.once()
    assert len(receiver.taken) == 6


def test_it_looks_by_itself_and_stops(eventually: Callable[..., None]) -> None:
    """A thread makes the passes, as often as it is told, and ends with close()."""
    detector = Says()
    _, point = pair()
    with point:
        with Watch(point, [detector], report=print, every_s=0.01):
            [thread] = [t for t in threading.enumerate() if t.name == "ztsession-watch-orders"]
            eventually(lambda: detector.looks > 2)
        thread.join(20)
        assert not thread.is_alive()


def test_a_pass_that_fails_is_not_the_last(
    eventually: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever breaks, the next pass is made."""
    detector, broken = Says(), [True]
    _, point = pair()

    def now() -> float:
        if broken:
            raise RuntimeError("no time")
        return 0.0

    with point, Watch(point, [detector], report=print, every_s=0.01, clock=now):
        eventually(lambda: "a pass over segment orders failed" in caplog.text)
        broken.clear()
        eventually(lambda: detector.looks > 0)


@pytest.mark.parametrize("closed", [True, False], ids=["closed", "dropped"])
def test_it_ends_with_its_point(closed: bool, eventually: Callable[..., None]) -> None:
    """A point that was closed, or that nobody has any more, is watched no longer, and is not kept alive."""
    _, point = pair()
    reference = weakref.ref(point)
    name = f"ztsession-watch-{point.segment}"
    detector = Says()
    Watch(point, [detector], report=print, every_s=0.01)
    eventually(lambda: detector.looks > 1)
    [thread] = [t for t in threading.enumerate() if t.name == name]
    if closed:
        point.close()
    else:
        del point
        eventually(lambda: gc.collect() >= 0 and reference() is None)
    thread.join(20)
    assert not thread.is_alive()


def test_calls_go_on_while_a_report_hangs() -> None:
    """A report that does not come back holds the watch up, and no call."""
    client, point = pair()
    entered, release = threading.Event(), threading.Event()

    def hang(signal: Signal) -> None:
        entered.set()
        release.wait(20)

    verify = point.verifier("orders.submit")
    with point, Watch(point, [Says(of("a"))], report=hang, every_s=0.01):
        assert entered.wait(20)
        for _ in range(100):
            body = os.urandom(8)
            verify(client.sign("orders.submit", body), body)
        release.set()
