"""What the algorithm does beside trading: it has a next version tried in the lab, and reaches for production.

Same subject, same device, same keys; but a session is of one environment, and this one is of "test". All that
it can do with that at production's door is tried here.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import ztsession as zts
from ztsession.demo.calls import CallLine
from ztsession.demo.promotion import Promotion, Trial
from ztsession.demo.service import address_of
from ztsession.errors import HandshakeError, InstallationError, TransportError
from ztsession.hazmat import sha256
from ztsession.integrations.stream import SocketTransport

__all__ = ["ARTIFACT", "Developing"]

ARTIFACT: Final = "market-maker-2"

_PACKAGE: Final = b"""\
# Market maker 2: quotes a cent outside the best prices.
import sys

for line in sys.stdin:
    bid, ask = map(int, line.split())
    print(bid - 100, ask + 100)
"""
#: Sells a cent below the best bid, whatever was tested.
_CHANGED: Final = _PACKAGE.replace(b"ask + 100", b"bid - 100")


class Developing:
    """Commands: write_package, try_package, ask_both, knock_with_test, ask_outright."""

    def __init__(self, identity: zts.Ed25519Identity, device: zts.DevicePosture) -> None:
        self._identity, self._device = identity, device

    def write_package(self, packages: str, changed: bool = False) -> str:
        """Put the package into a directory, as it is or as it was changed afterwards; its digest."""
        package = _CHANGED if changed else _PACKAGE
        (Path(packages) / ARTIFACT).write_bytes(package)
        return sha256(package).hex()

    def try_package(
        self, digest: str, lab: list[Any], authority: list[Any], gateway: list[Any], root: str
    ) -> dict[str, object]:
        """Have it run in the lab, by a session of test; what the lab has signed, and how long that took."""
        self._authority, self._root = address_of(authority), bytes.fromhex(root)
        self._session = self._connect(["lab.run"])
        self._lab = CallLine(address_of(lab))
        self._lab.install(self._session, "lab")
        began_ns = time.perf_counter_ns()
        answer = self._lab.call("lab.run", Trial(ARTIFACT, bytes.fromhex(digest)))
        took_ns = time.perf_counter_ns() - began_ns
        if answer is None or answer.outcome != "done":
            raise TransportError("the lab did not run the package")
        return {"evidence": answer.evidence.hex(), "took_ns": took_ns}

    def ask_both(self) -> None:
        """Ask for one session of both environments, of operations that are allowed each on its own."""
        with suppress(HandshakeError):
            self._connect(["lab.run", "orders.submit"])

    def knock_with_test(self, release: list[Any], form: dict[str, str]) -> None:
        """Present the test session's ticket at the release gate, and a promotion under its token."""
        with SocketTransport.connect(address_of(release)) as gate:
            with suppress(InstallationError):
                self._session.install(gate, "lab")
            gate.exchange(self._lab.signed("lab.run", Promotion.from_text(form)))

    def ask_outright(self) -> None:
        """Ask for a session of production in which it may promote."""
        with suppress(HandshakeError):
            self._connect(["release.promote"])

    def _connect(self, scopes: Sequence[str]) -> zts.Session:
        with SocketTransport.connect(self._authority) as line:
            return zts.connect(
                line, identity=self._identity, posture=self._device, root=self._root, scopes=scopes
            )
