"""The demo's software TPM: a TPM like any other, and gone with whoever started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ztsession.demo.children import Children
from ztsession.demo.host_tpm import BOOT_PCRS, HostTpm, what_is_missing
from ztsession.integrations.tpm2_tools import AK_HANDLE

needs_tpm = pytest.mark.skipif(bool(what_is_missing()), reason="swtpm and tpm2-tools are not installed")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def running(directory: Path) -> list[int]:
    """Ids of the software TPMs that have this as their present directory."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if (
                path.read_bytes().partition(b"\0")[0].endswith(b"swtpm")
                and path.parent.joinpath("cwd").readlink() == directory
            ):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def gone(directory: Path) -> bool:
    deadline = time.monotonic() + 10
    while running(directory) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not running(directory)


@needs_tpm
def test_what_is_measured_shows_in_the_quote_of_its_register_alone(home: Path) -> None:
    """A boot fills every register that is quoted; one measurement more changes one, for good."""
    tpm = HostTpm()
    try:
        tpm.boot()
        tpm.tools.create_ak("host", AK_HANDLE)
        quote = [tpm.tools.quote(AK_HANDLE, "ecdsa", BOOT_PCRS, bytes(32))[2]]
        tpm.extend(4, "something else")
        quote.append(tpm.tools.quote(AK_HANDLE, "ecdsa", BOOT_PCRS, bytes(32))[2])
    finally:
        assert tpm.end() == 0
    assert len({bytes(32), *quote[0]}) == len(BOOT_PCRS) + 1
    changed = [pcr for pcr, before, after in zip(BOOT_PCRS, *quote, strict=True) if before != after]
    assert changed == [4]
    assert running(home) == []


@needs_tpm
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_tpm_outlives_the_process_that_started_it(home: Path, number: signal.Signals) -> None:
    """Whether that process could clean up or not, its TPM is ended."""
    starts = "import ztsession.demo.host_tpm as t, time; t.HostTpm(); print('up', flush=True); time.sleep(60)"
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", starts],
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "up\n"
        assert len(running(home)) == 1
        parent.send_signal(number)
        parent.wait(10)
    assert gone(home)


@needs_tpm
@pytest.mark.parametrize("at_once", [False, True])
def test_the_clearing_role_takes_its_tpm_along(home: Path, at_once: bool) -> None:
    """Hung up on or told to terminate, the role ends the TPM that nobody asked it to close."""
    with Children(home) as children:
        child = children.start("clearing_role")
        child.ask("prepare", home=str(home))
        assert len(running(home)) == 1
        statuses = children.end(at_once=at_once)
    assert statuses == {"clearing": 143 if at_once else 0}
    assert running(home) == []


@pytest.mark.parametrize(
    ("there", "sentence"),
    [
        ((), "install swtpm and tpm2-tools to see it"),
        (("swtpm",), "install tpm2-tools to see it"),
        (("tpm2_quote", "tpm2_pcrextend"), "install swtpm to see it"),
        (("swtpm", "tpm2_quote", "tpm2_pcrextend"), ""),
    ],
)
def test_what_is_missing_is_named(
    home: Path, monkeypatch: pytest.MonkeyPatch, there: tuple[str, ...], sentence: str
) -> None:
    """The sentence names the packages whose programs are not found, and no others."""
    for name in there:
        (home / name).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(home))
    assert what_is_missing() == sentence
