"""The lab: what it signs for has run, against these very states, in a process that holds nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ztsession.demo import lab_role
from ztsession.demo.developing import _CHANGED, _PACKAGE
from ztsession.demo.lab_role import Lab, faults_of
from ztsession.demo.packages import PACKAGE_MAX_BYTES, read_package
from ztsession.demo.promotion import LAB_RUN_LABEL, Answer, LabRun, Trial
from ztsession.demo.quotes import generated_states
from ztsession.errors import EvidenceError
from ztsession.hazmat import sha256
from ztsession.testing import pair
from ztsession.wire.signature import Signed

STATES = list(generated_states(1, 200))
QUOTER = "import os, sys\nfor line in sys.stdin:\n    bid, ask = map(int, line.split())\n    "


@pytest.mark.parametrize(
    ("package", "faults"),
    [
        (_PACKAGE, 0),
        (QUOTER.encode() + b"print(ask - 1, bid + 1)", 0),
        (_CHANGED, 200),
        (QUOTER.encode() + b"print(ask, ask)", 200),
        (QUOTER.encode() + b"print(bid, bid)", 200),
        (QUOTER.encode() + b"print(0, ask)", 200),
        (QUOTER.encode() + b"print(bid, ask, ask)", 200),
        (QUOTER.encode() + b"print(bid, -ask)", 200),
        (QUOTER.encode() + b"print(bid, ask) if 'KNOWN' not in os.environ else print()", 0),
        (QUOTER.encode() + b"print(bid, ask)\nsys.exit(1)", 200),
        (QUOTER.encode() + b"print(bid, ask)\nprint(bid, ask)", 200),
        (QUOTER.encode() + b"print(bid, ask)\n    break", 200),
        (QUOTER.encode() + b"print('x' * 1000)", 200),
        (b"this is no program", 200),
        (b"", 200),
        (b"print(1)\0", 200),
        (b"print(1)\xff", 200),
    ],
)
def test_faults_are_counted(package: bytes, faults: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quote that would trade with somebody is a fault, and so is every answer of a program that fails."""
    monkeypatch.setenv("KNOWN", "to the lab alone")
    assert faults_of(package, STATES) == faults


def test_a_package_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has its time, and no more."""
    monkeypatch.setattr(lab_role, "_WITHIN_S", 0.3)
    assert faults_of(b"while True: pass", STATES) == 200


def test_a_package_fills_no_disk() -> None:
    """What it writes ends at 64 KiB, wherever it writes it."""
    writes = QUOTER + "print(bid, ask)\nimport tempfile\nwith tempfile.TemporaryFile() as file:\n    "
    assert faults_of(f"{writes}file.write(bytes(65536))".encode(), STATES) == 0
    assert faults_of(f"{writes}file.write(bytes(65537))".encode(), STATES) == 200


def test_a_single_crossing_is_found() -> None:
    """One state out of two hundred is enough."""
    assert (
        faults_of(QUOTER.encode() + f"print(bid, ask if bid != {STATES[7].bid} else bid)".encode(), STATES)
        > 0
    )


class Trying:
    """A lab, its directory, and somebody whose calls it takes."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.lab = directory, Lab(directory, "test", STATES)
        self.client, self.point = pair("lab", ["lab.run"])
        self.run = self.point.protect("lab.run")(self.lab.run)
        (directory / "maker").write_bytes(_PACKAGE)

    def ask(self, body: bytes) -> Answer:
        answer: Answer = self.run(self.client.sign("lab.run", body), body)
        return answer


@pytest.fixture
def trying(tmp_path: Path) -> Iterator[Trying]:
    made = Trying(tmp_path)
    yield made
    made.point.close()


def test_the_lab_signs_for_what_has_run(trying: Trying) -> None:
    """Its record names the package by digest, its own environment, and what it saw."""
    answer = trying.ask(Trial("maker", sha256(_PACKAGE)).to_bytes())
    body = Signed.from_bytes(answer.evidence).check(trying.lab.public_key, LAB_RUN_LABEL)
    assert answer.outcome == "done"
    assert trying.lab.runs == [LabRun.from_bytes(body)]
    assert LabRun.from_bytes(body) == LabRun("maker", sha256(_PACKAGE), "test", 200, 0)


def test_the_lab_signs_for_nothing_else(trying: Trying) -> None:
    """Another digest, another name, or what is no trial is refused without a record."""
    good = Trial("maker", sha256(_PACKAGE))
    for body in (
        replace(good, sha256=bytes(32)).to_bytes(),
        replace(good, artifact="other").to_bytes(),
        good.to_bytes()[:-1],
    ):
        assert (trying.ask(body).outcome, trying.ask(body).evidence) == ("refused", b"")
    assert trying.lab.runs == []


def test_a_package_is_a_regular_file_of_bounded_size(tmp_path: Path) -> None:
    """A link, a pipe, a directory, nothing at all, or one byte too much is refused at once."""
    whole = tmp_path / "whole"
    whole.write_bytes(bytes(PACKAGE_MAX_BYTES))
    assert read_package(whole) == bytes(PACKAGE_MAX_BYTES)
    (tmp_path / "large").write_bytes(bytes(PACKAGE_MAX_BYTES + 1))
    (tmp_path / "link").symlink_to("whole")
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("large", "link", "directory", "pipe", "missing"):
        with pytest.raises(EvidenceError, match=f"the package {name}"):
            read_package(tmp_path / name)
