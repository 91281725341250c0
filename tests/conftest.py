"""One trading house in a directory: an Authority's policies, a subject and a device, for every test that
wants it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import ztsession as zts
from ztsession.integrations.stream import SocketTransport

EXAMPLE = Path(__file__).parent / "policy" / "example"


class House:
    """A policy and a state directory, who is enrolled there, and everything opened in it."""

    def __init__(self, directory: Path, opened: ExitStack) -> None:
        self.rules, self.state, self._opened = directory / "policy", directory / "state", opened
        self.rules.mkdir()
        for file in EXAMPLE.iterdir():
            shutil.copy(file, self.rules)
        self.identity = zts.Ed25519Identity.generate("algo-7")
        self.device = zts.DevicePosture("host-1", os.urandom(32), measure=dict)
        self.enrol(self.identity)
        (self.rules / "devices.toml").write_text(self.device.registry_entry())

    def enrol(self, *identities: zts.Ed25519Identity) -> None:
        """Make these, and nobody else, the enrolled subjects."""
        entries = (each.registry_entry("algorithm", roles=("trading",), desk="rates") for each in identities)
        (self.rules / "subjects.toml").write_text("\n".join(entries))

    def authority(self, **options: Any) -> zts.Authority:
        """Open the Authority of this house; it is closed with the test."""
        return self._opened.enter_context(zts.Authority.open(self.state, policy=self.rules, **options))

    def point(self, authority: Any, segment: str = "orders", **options: Any) -> zts.EnforcementPoint:
        """An enforcement point, closed with the test."""
        return self._opened.enter_context(zts.EnforcementPoint(segment, authority=authority, **options))

    def connect(self, authority: zts.Authority, transport: Any = None, **changed: Any) -> zts.Session:
        """Connect the enrolled algorithm from the enrolled host."""
        given = {"identity": self.identity, "posture": self.device, "root": authority.root}
        given |= {"scopes": ["orders.*", "md.*"], **changed}
        return zts.connect(transport or authority.connection(), **given)

    def keep(self, resource: Any) -> Any:
        """Close something with the test."""
        return self._opened.enter_context(resource)


class AuthorityProcess:
    """An Authority in a process of its own, behind a Unix socket."""

    def __init__(self, house: House) -> None:
        script = Path(__file__).parent / "authority" / "serve_authority.py"
        self.address = str(house.rules.parent / "authority.sock")
        self._process = subprocess.Popen(
            [sys.executable, str(script), str(house.state), str(house.rules), self.address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(zts.__file__).parents[1])},
        )
        facts = json.loads(self._line())
        self.root, self.ticket_key = bytes.fromhex(facts["root"]), bytes.fromhex(facts["ticket_key"])
        self.segment_key_file = Path(facts["orders"])

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def tell(self, *words: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join(words) + "\n")
        self._process.stdin.flush()
        assert self._line() == "done\n"

    def transport(self) -> SocketTransport:
        return SocketTransport.connect(self.address)

    def send(self, number: int) -> None:
        self._process.send_signal(number)

    def __enter__(self) -> AuthorityProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def separate(house: House) -> Callable[[], AuthorityProcess]:
    """Start this house's Authority in a process of its own; use what it returns as a context manager."""
    return lambda: AuthorityProcess(house)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    with ExitStack() as opened:
        yield House(tmp_path, opened)


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], None]:
    """Wait for something that another thread or process does; the bound only ends a test that failed."""

    def wait(condition: Callable[[], bool], within_s: float = 20.0) -> None:
        until = time.monotonic() + within_s
        while not condition():
            assert time.monotonic() < until, "it did not happen"
            time.sleep(0.005)

    return wait
