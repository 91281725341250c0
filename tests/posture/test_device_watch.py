"""A device notices what its last posture does not tell of: real files, real processes, a real debugger."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import ztsession as zts
from ztsession.posture.collector import collect
from ztsession.posture.debugger import tracer
from ztsession.posture.watching import SLEPT_MIN_S, DeviceWatch

STATUS = """\
Package: bash
Status: install ok installed
Version: {version}
Architecture: amd64
"""


class Host:
    """A root directory with a package database and a kernel, a program, and two clocks."""

    def __init__(self, directory: Path) -> None:
        self.root, self.program = directory / "root", directory / "program"
        self.boottime_s = self.monotonic_s = 1000.0
        self.write("proc/sys/kernel/osrelease", "6.1.0-38-amd64\n")
        self.write("var/lib/dpkg/status", STATUS.format(version="5.2"))
        self.program.write_text("print('one')\n")

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def watch(self) -> DeviceWatch:
        return DeviceWatch(
            self.root,
            program=(self.program,),
            boottime=lambda: self.boottime_s,
            monotonic=lambda: self.monotonic_s,
        )


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_a_device_on_which_nothing_happens_is_quiet(host: Host):
    """Time that passes awake is no news, and neither is what was there from the start."""
    watch = host.watch()
    for _ in range(3):
        host.boottime_s += 3600.0
        host.monotonic_s += 3600.0
        assert watch.look() == ()
    assert DeviceWatch().look() == ()


@pytest.mark.parametrize("how", ["written", "exchanged", "gone"])
def test_a_program_that_is_replaced_is_noticed_once(host: Host, how: str):
    """Written over, exchanged by a rename, or removed: another program stands there now."""
    watch = host.watch()
    if how == "written":
        host.program.write_text("print('two')\n")
    elif how == "exchanged":
        fresh = host.program.with_name("fresh")
        fresh.write_text("print('two')\n")
        # The same size and the same time of writing: the directory still tells the two apart.
        os.utime(fresh, ns=(host.program.stat().st_atime_ns, host.program.stat().st_mtime_ns))
        os.replace(fresh, host.program)
    else:
        host.program.unlink()
    assert watch.look() == ("program",)
    assert watch.look() == ()


def test_a_program_that_was_only_touched_is_no_news(host: Host):
    """What the directory says is a reason to hash, and the digest decides."""
    watch = host.watch()
    os.utime(host.program)
    shutil.copy(host.program, host.program.with_name("copy"))
    os.replace(host.program.with_name("copy"), host.program)
    assert watch.look() == ()


def test_files_are_hashed_only_when_the_directory_tells_of_a_change(
    host: Host, monkeypatch: pytest.MonkeyPatch
):
    """A look at a host on which nothing happens reads no program and no package database."""
    watch = host.watch()
    hashed: list[str] = []
    monkeypatch.setattr(watch._program, "hash", lambda: hashed.append("program") or "")
    monkeypatch.setattr(watch._packages, "hash", lambda: hashed.append("packages") or "")
    for _ in range(3):
        watch.look()
    assert hashed == []
    host.program.write_text("print('two')\n")
    watch.look()
    assert hashed == ["program"]


def test_packages_and_kernel_are_noticed(host: Host):
    """An upgrade of either is told, each by its name."""
    watch = host.watch()
    host.write("var/lib/dpkg/status", STATUS.format(version="5.3"))
    assert watch.look() == ("packages",)
    host.write("proc/sys/kernel/osrelease", "6.1.0-39-amd64\n")
    assert watch.look() == ("kernel",)
    assert watch.look() == ()


def test_waking_up_is_noticed(host: Host):
    """The clock that runs while the host sleeps is ahead of the other after each sleep."""
    watch = host.watch()
    for _ in range(2):
        host.boottime_s += SLEPT_MIN_S
        assert watch.look() == ("woken",)
        assert watch.look() == ()


def test_being_held_up_between_the_two_clocks_is_no_sleep(tmp_path: Path):
    """A process that waits long between reading one clock and the other does not take that for sleep."""
    held_up_s = iter([0, 0, 0, 0, 5, 0, 5, 5, 0, 0])
    now_s = 1000.0

    def clock() -> float:
        nonlocal now_s
        read_s, now_s = now_s, now_s + next(held_up_s)
        return read_s

    watch = DeviceWatch(Host(tmp_path).root, program=(), boottime=clock, monotonic=clock)
    assert [watch.look() for _ in range(4)] == [()] * 4


def test_the_clocks_are_those_of_the_kernel():
    """The host's own two clocks are read, and differ by nothing while it is awake."""
    watch = DeviceWatch()
    assert watch._boottime() > 0
    assert abs(watch._sleep() - watch._slept_s) < SLEPT_MIN_S


# ---- A debugger

WATCHED = """\
import sys, threading
from ztsession.posture.debugger import tracer
from ztsession.posture.watching import DeviceWatch

watch, stopping = DeviceWatch(), threading.Event()
other = threading.Thread(target=stopping.wait)
other.start()
print(other.native_id, flush=True)
for line in sys.stdin:
    print(tracer(), *watch.look(), flush=True)
stopping.set()
"""
_SEIZE, _DETACH, _INTERRUPT = 0x4206, 17, 0x4207
_EXITED = 0x40000000  # __WALL


class Watched:
    """A process that looks at itself when it is asked to."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", WATCHED],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(zts.__file__).parents[1])},
        )
        self.pid, self.thread = self._process.pid, int(self._line())

    def look(self) -> list[str]:
        assert self._process.stdin is not None
        self._process.stdin.write("look\n")
        self._process.stdin.flush()
        return self._line().split()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@contextmanager
def traced(thread: int) -> Iterator[None]:
    """Hold a thread of a child by ptrace, as a debugger does."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    libc.ptrace.restype = ctypes.c_long
    if libc.ptrace(_SEIZE, thread, None, None):
        pytest.skip(f"ptrace is not allowed here: {os.strerror(ctypes.get_errno())}")
    try:
        yield
    finally:
        assert libc.ptrace(_INTERRUPT, thread, None, None) == 0
        os.waitpid(thread, _EXITED)
        assert libc.ptrace(_DETACH, thread, None, None) == 0


@pytest.mark.parametrize("which", ["pid", "thread"])
def test_a_debugger_that_attaches_is_noticed(which: str):
    """Whichever thread it takes, the process sees who holds it, tells it once, and again if it comes back."""
    watched = Watched()
    try:
        assert watched.look() == ["0"]
        for _ in range(2):
            with traced(getattr(watched, which)):
                assert watched.look() == [str(os.getpid()), "debugger"]
                assert watched.look() == [str(os.getpid())]
            assert watched.look() == ["0"]
    finally:
        watched.close()


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_a_debugger_of_the_trade_is_noticed():
    """What strace does to a process is seen by it as well."""
    watched = Watched()
    strace = subprocess.Popen(
        ["strace", "-qq", "-e", "trace=none", "-p", str(watched.pid)],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        for _ in range(2000):
            said = watched.look()
            if said != ["0"] or strace.poll() is not None:
                break
        if strace.poll() is not None:
            pytest.skip("strace may not attach here")
        assert said[1:] == ["debugger"]
        assert watched.look() == [str(strace.pid)]
    finally:
        strace.kill()
        strace.communicate()
        watched.close()


@pytest.mark.parametrize(
    ("status", "found"),
    [
        ("Name:\tx\nTracerPid:\t0\n", 0),  # 1
        ("Name:\tTracerPid:\nTracerPid:\t7\n", 7),  # 2: a name is free text
        ("Name:\tx\n", None),  # 3: nothing is concluded from an absence
        ("TracerPid:\t0\nTracerPid:\t7\n", None),  # 4
        ("TracerPid:\tno\n", None),  # 5
    ],
)
def test_what_cannot_be_read_is_not_known(tmp_path: Path, status: str, found: int | None):
    """A status that is not as proc(5) has it says nothing."""
    task = tmp_path / "proc/self/task/7"
    task.mkdir(parents=True)
    (task / "status").write_text(status)
    assert tracer(tmp_path) == found
    assert tracer(tmp_path / "empty") is None


def test_a_thread_that_ends_meanwhile_is_passed_by():
    """Threads come and go while they are looked at."""
    stopping = threading.Event()

    def churn() -> None:
        while not stopping.is_set():
            threading.Thread(target=int).start()

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        assert {tracer() for _ in range(200)} == {0}
    finally:
        stopping.set()
        thread.join()


def test_the_measurements_say_that_a_debugger_is_there(tmp_path: Path):
    """A device reports a tracer as debug facilities that are on; that nobody traces it is not claimed."""
    task = tmp_path / "proc/self/task/7"
    task.mkdir(parents=True)
    (task / "status").write_text("TracerPid:\t7\n")
    assert collect(tmp_path, program=())["debug"] == "enabled"
    (task / "status").write_text("TracerPid:\t0\n")
    assert collect(tmp_path, program=())["debug"] == "unknown"
    assert collect(tmp_path / "empty", program=())["debug"] == "unknown"
