"""The release manager's process: a person of the desk, who alone may let a package into production.

What is asked of the gate comes out of a form that others have filled in, and is not believed there either.
The same session cancels orders at the gateway, and goes on to when trust in this desktop is shaken.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import ztsession as zts
from ztsession.demo.authenticator import Authenticator
from ztsession.demo.calls import CallLine
from ztsession.demo.control import Control
from ztsession.demo.lines import OrderLine
from ztsession.demo.messages import CancelOrder
from ztsession.demo.promotion import Promotion
from ztsession.demo.service import address_of
from ztsession.integrations.stream import SocketTransport
from ztsession.mfa.prover import TotpProver
from ztsession.posture.collector import collect

__all__ = ["DEVICE", "SUBJECT", "ReleaseManagerRole"]

SUBJECT, DEVICE = "release-manager-1", "release-desktop-1"
_DESK, _INSTRUMENT, _ACCOUNT = "market-making", b"DEMO", b"market-making-1"
_PROMOTE = "release.promote"
_SCOPES = (_PROMOTE, "orders.cancel", "orders.refusal")


class ReleaseManagerRole:
    """Commands: prepare, scan, connect, step_up, promote, replay, promote_until, cancel."""

    def __init__(self) -> None:
        self._identity = zts.Ed25519Identity.generate(SUBJECT)
        self._device = zts.DevicePosture.generate(DEVICE)
        self._app = Authenticator()

    def prepare(self) -> dict[str, object]:
        """What an operator needs to enrol this person and desktop."""
        return {
            "subject": self._identity.registry_entry("human", roles=("release-manager",), desk=_DESK),
            "device": self._device.registry_entry(),
            "measured": collect(),
        }

    def scan(self, uri: str) -> str:
        """Take the secret into the app; the code that shows it has arrived."""
        return self._app.scan(uri)

    def connect(self, release: list[Any], authority: list[Any], gateway: list[Any], root: str) -> None:
        """A session by key and desktop alone, installed at the release gate and at the order gateway."""
        self._gate, self._orders = CallLine(address_of(release)), OrderLine(address_of(gateway))
        # The line stays open: it is the channel that more evidence is shown in.
        self._session = zts.connect(
            SocketTransport.connect(address_of(authority)),
            identity=self._identity,
            posture=self._device,
            root=bytes.fromhex(root),
            scopes=_SCOPES,
        )
        self._install()

    def step_up(self) -> None:
        """Show the present code in the channel, and install what comes of it."""
        self._session = self._session.step_up(mfa=TotpProver(self._app.code))
        self._install()

    def promote(self, form: dict[str, str]) -> dict[str, object]:
        """Ask for a promotion; how long the answer took."""
        self._asked = self._gate.signed(_PROMOTE, Promotion.from_text(form))
        began_ns = time.perf_counter_ns()
        self._gate.send(self._asked)
        return {"took_ns": time.perf_counter_ns() - began_ns}

    def replay(self) -> None:
        """Send the last promotion once more, as it went over the wire."""
        self._gate.send(self._asked)

    def promote_until(self, accepted: bool, form: dict[str, str], seconds: float) -> None:
        """Ask for it again and again, each time under a token of its own, until it is ``accepted`` or
        refused.
        """
        deadline_s = time.monotonic() + seconds
        while time.monotonic() < deadline_s:
            if (self._gate.call(_PROMOTE, Promotion.from_text(form)) is not None) is accepted:
                return

    def cancel(self, orders: Sequence[int]) -> None:
        """Cancel each of these orders."""
        for order_id in orders:
            self._orders.send([CancelOrder(order_id, _INSTRUMENT, _ACCOUNT)])

    def _install(self) -> None:
        self._gate.install(self._session, "release")
        self._orders.install(self._session)


if __name__ == "__main__":
    role = ReleaseManagerRole()
    Control().serve(
        {
            "prepare": role.prepare,
            "scan": role.scan,
            "connect": role.connect,
            "step_up": role.step_up,
            "promote": role.promote,
            "replay": role.replay,
            "promote_until": role.promote_until,
            "cancel": role.cancel,
        }
    )
