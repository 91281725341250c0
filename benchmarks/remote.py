"""A house whose Authority runs in a process of its own, as it does in the field."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from contextlib import ExitStack
from types import TracebackType
from typing import Self

import ztsession
from benchmarks.firm import House
from benchmarks.native import ROOT
from ztsession.enforcement.remote import RemoteAuthority
from ztsession.integrations.stream import SocketTransport
from ztsession.policy.catalog import Catalog
from ztsession.tickets.segment_key import SegmentKey

__all__ = ["RemoteFirm"]


class RemoteFirm:
    """One subject, one device, an Authority behind a Unix socket, and a point for segment "orders" here."""

    def __init__(self) -> None:
        self._opened = ExitStack()
        with ExitStack() as opened:
            self.house = House()
            opened.callback(self.house.close)
            facts = _served(opened, self.house)
            self.root = bytes.fromhex(facts["root"])
            remote = RemoteAuthority(
                self.dial,
                segment=Catalog.load(self.house.policy / "catalog.toml").segment("orders"),
                segment_key=SegmentKey.from_file(facts["segment_key_file"]),
                ticket_key=bytes.fromhex(facts["ticket_key"]),
            )
            opened.callback(remote.close)
            self.point = opened.enter_context(ztsession.EnforcementPoint("orders", authority=remote))
            self._opened = opened.pop_all()

    def dial(self) -> SocketTransport:
        """A connection to the Authority."""
        return SocketTransport.connect(self.house.address)

    def __enter__(self) -> Self:
        """The firm itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the point, end the process, remove its state."""
        # A question that the closed point left open is never answered; that is nothing to complain of here.
        log = logging.getLogger("ztsession.enforcement")
        before, log.disabled = log.disabled, True
        try:
            self._opened.close()
        finally:
            log.disabled = before


def _served(opened: ExitStack, house: House) -> dict[str, str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.serve_authority", house.state, house.policy, house.address],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    # Its standard input ends, and so does it.
    opened.callback(process.communicate)
    if process.stdout is None:
        raise RuntimeError("the Authority's process has no standard output")
    line = process.stdout.readline()
    if not line:
        raise RuntimeError("the Authority's process did not start")
    facts: dict[str, str] = json.loads(line)
    return facts
