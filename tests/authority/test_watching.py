"""When a watched directory counts as changed, and that nothing which goes wrong ends the watch."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from ztsession.authority.watching import PolicyWatcher
from ztsession.errors import PolicyError

Look = tuple[tuple[str, int, int, int], ...] | None

A, B, C = ((("a", n, 1, 1),) for n in range(3))


class Scripted(PolicyWatcher):
    """Sees what it is told to see, one look after the other, and then stops."""

    def __init__(self, looks: Sequence[Look], reload: Callable[[], None]) -> None:
        self._looks, self.seen, self._begin = iter(looks), 0, threading.Event()
        super().__init__(Path("nowhere"), reload, every_s=1e-6)

    def _look(self) -> Look:
        # Not before the test has a name for it.
        self._begin.wait(20)
        self.seen += 1
        for look in self._looks:
            return look
        self._stopping.set()
        return (("end", 0, 0, 0),)

    def begin(self) -> None:
        self._begin.set()

    def run(self) -> None:
        self.begin()
        self._thread.join(20)
        assert not self._thread.is_alive()


@pytest.mark.parametrize(
    ("looks", "taken_at"),
    [
        ([A], []),
        ([A, A], [2]),
        ([A, A, A, A], [2]),
        ([A, A, B, C, C, C], [2, 5]),
        ([A, A, B, A, A], [2]),
        ([A, A, B, B, A, A], [2, 4, 6]),
        ([None, None, A, A], [4]),
        ([A, A, None, A, A], [2]),
    ],
)
def test_a_change_is_taken_when_it_stays_and_once(looks: list[Look], taken_at: list[int]) -> None:
    """After two equal looks that differ from what was taken last, and not while files still come."""
    taken: list[int] = []
    watcher = Scripted(looks, lambda: taken.append(watcher.seen))
    watcher.run()
    assert taken == taken_at


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (PolicyError("no such attribute"), "was not taken: no such attribute"),
        (RuntimeError("broken"), "could not be read"),
    ],
)
def test_what_goes_wrong_is_told_once_and_the_next_change_is_taken(
    raised: Exception, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The watch outlives every error; the same files are not tried again."""
    tried: list[int] = []

    def fails() -> None:
        tried.append(watcher.seen)
        if len(tried) == 1:
            raise raised

    watcher = Scripted([A, A, A, B, B], fails)
    watcher.run()
    assert tried == [2, 5]
    assert caplog.text.count(told) == 1
    assert ("Traceback" in caplog.text) == isinstance(raised, RuntimeError)


def test_every_way_to_change_a_file_is_seen(tmp_path: Path) -> None:
    """Written, grown, exchanged or renamed; what lies in directories below is not looked at."""
    file, watcher = tmp_path / "a.cedar", Scripted([], lambda: None)
    watcher.run()
    watcher._directory = tmp_path
    file.write_text("one")
    os.utime(file, ns=(5, 5))

    def look() -> Look:
        return PolicyWatcher._look(watcher)

    seen = [look()]
    assert look() == seen[0]
    file.write_text("three")
    os.utime(file, ns=(5, 5))
    seen.append(look())
    os.utime(file, ns=(6, 6))
    seen.append(look())
    other = tmp_path / "b"
    other.write_text("other")
    os.utime(other, ns=(6, 6))
    os.replace(other, file)
    seen.append(look())
    file.rename(tmp_path / "c.cedar")
    seen.append(look())
    (tmp_path / "below").mkdir()
    assert look() == seen[-1]
    assert len(set(seen)) == 5
    watcher._directory = tmp_path / "none"
    assert look() is None


def test_closing_waits_for_what_is_being_read() -> None:
    """After close() nothing is read any more."""
    begun, done = threading.Event(), threading.Event()

    def slowly() -> None:
        begun.set()
        done.wait(0.2)
        done.set()

    watcher = Scripted([A, A], slowly)
    watcher.begin()
    assert begun.wait(20)
    watcher.close()
    assert done.is_set()


def test_it_can_be_closed_from_within(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever is called by the watch may end it."""
    watcher = Scripted([A, A, B, B], lambda: watcher.close())
    watcher.run()
    assert watcher.seen == 2
    assert not caplog.text
