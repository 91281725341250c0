"""One trading house in a directory: an Authority's policies, a subject and a device, for every test that
wants it.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import ztsession as zts

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
