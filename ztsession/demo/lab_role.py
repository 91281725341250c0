"""The lab's process: runs new packages against recorded quotes, and signs for what it has seen.

It belongs to the environment "test", holds keys of no other, and what its point accepts is of no use to
anybody else. A package runs in a process of its own with an empty environment: it never sees the key that
signs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any, Final

from ztsession import SessionView
from ztsession.demo.calls import Calls
from ztsession.demo.control import Control
from ztsession.demo.packages import read_package
from ztsession.demo.promotion import LAB_RUN_LABEL, Answer, LabRun, Trial
from ztsession.demo.quotes import TopOfBook, generated_states, read_states
from ztsession.demo.service import open_point
from ztsession.errors import EvidenceError, ZtsError
from ztsession.hazmat import sha256
from ztsession.server import StreamServer
from ztsession.wire.signature import SeedSigner, Signed

__all__ = ["Lab", "LabRole", "faults_of"]

#: Recorded states that a package is run against.
STATES: Final = 200
_WITHIN_S: Final = 5.0
#: What runs in the package's process before it: no output without end.
_CONFINED: Final = (
    "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536)); exec(sys.argv[1])"
)


class Lab:
    """Handles trials that are verified already."""

    def __init__(self, packages: Path, environment: str, states: Sequence[TopOfBook]) -> None:
        """``packages``: the directory of this ``environment``'s."""
        self._packages, self._environment, self._states = packages, environment, states
        self._signer = SeedSigner(os.urandom(32))
        #: What was signed for, in order.
        self.runs: list[LabRun] = []

    @property
    def public_key(self) -> bytes:
        """What its signatures are verified with, 32 bytes of Ed25519."""
        return self._signer.public_key

    def run(self, session: SessionView, body: bytes) -> Answer:
        """Run one package; "done" says that it ran, and the signed record how it did."""
        try:
            asked = Trial.from_bytes(body)
            package = read_package(self._packages / asked.artifact)
            if sha256(package) != asked.sha256:
                raise EvidenceError("another package lies there")
        except ZtsError:
            return Answer(session.sequence, "refused", b"")
        faults = faults_of(package, self._states)
        run = LabRun(asked.artifact, asked.sha256, self._environment, len(self._states), faults)
        self.runs.append(run)
        return Answer(session.sequence, "done", Signed.make(self._signer, LAB_RUN_LABEL, run.encoded).encoded)


def faults_of(package: bytes, states: Sequence[TopOfBook]) -> int:
    """How many of the states a package answers with anything but a bid and an ask that cross nobody.

    It reads "bid ask" line by line and prints the same; all answers are faults when it fails, or takes
    longer than five seconds.
    """
    with tempfile.TemporaryFile() as fed, tempfile.TemporaryFile() as printed:
        fed.write("".join(f"{state.bid} {state.ask}\n" for state in states).encode())
        fed.seek(0)
        try:
            ran = subprocess.run(
                [sys.executable, "-I", "-S", "-c", _CONFINED, package],
                stdin=fed,
                stdout=printed,
                stderr=subprocess.DEVNULL,
                timeout=_WITHIN_S,
                env={},
                check=False,
            )
        except (ValueError, subprocess.TimeoutExpired):
            return len(states)
        printed.seek(0)
        answers = printed.read().splitlines()
    if ran.returncode or len(answers) != len(states):
        return len(states)
    return sum(not _outside(answer, state) for answer, state in zip(answers, states, strict=True))


def _outside(answer: bytes, state: TopOfBook) -> bool:
    cells = answer.split(b" ")
    # isdigit of bytes, since int() would also take what is none of our numbers.
    if len(cells) != 2 or not all(cell.isdigit() and len(cell) <= 15 for cell in cells):
        return False
    bid, ask = map(int, cells)
    return 0 < bid < state.ask and state.bid < ask


class LabRole:
    """Commands: open, counts, close."""

    def open(self, packages: str, quotes: str | None, seed: int, **where: Any) -> dict[str, object]:
        """Make the enforcement point and listen; where to, and the key that verifies what is signed here.

        ``packages``: a directory; ``quotes``: a file, or states are generated from ``seed``; the rest are
        arguments of ``open_point``.
        """
        states = generated_states(seed, STATES) if quotes is None else read_states(Path(quotes))
        point = open_point("lab", **where)
        segment = point.authority.segment("lab")
        self._lab = Lab(Path(packages), segment.environment, list(islice(states, STATES)))
        self._calls = Calls(point, "lab.run", self._lab.run)
        self._server = StreamServer(("127.0.0.1", 0), lambda source: self._calls)
        return {"address": self._server.address, "public_key": self._lab.public_key.hex()}

    def counts(self) -> dict[str, object]:
        """What :class:`Calls` counts, and the runs."""
        runs = [{**asdict(run), "sha256": run.sha256.hex()} for run in self._lab.runs]
        return {**self._calls.counts(), "runs": runs}

    def close(self) -> None:
        """Stop."""
        self._server.close()
        self._calls.point.close()


if __name__ == "__main__":
    role = LabRole()
    Control().serve({"open": role.open, "counts": role.counts, "close": role.close})
