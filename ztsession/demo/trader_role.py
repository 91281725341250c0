"""The trader's process: a person with a key on a desktop, and an authenticator app beside it.

The key alone opens what anybody at the desk may do. For an order past the limits the Authority wants a second
factor, and it is shown in the channel of the same handshake: the session that comes out has other keys, and
the old ones are worth what they were worth before. Whoever steals the key, or looks over the shoulder and
types the same code a moment later, has gained nothing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from typing import Any

import ztsession as zts
from ztsession.demo.authenticator import Authenticator
from ztsession.demo.control import Control
from ztsession.demo.lines import OrderLine
from ztsession.demo.messages import CancelOrder, LookOrder, OverrideOrder, Side
from ztsession.demo.service import address_of
from ztsession.errors import HandshakeError, StepUpRequired
from ztsession.integrations.stream import SocketTransport
from ztsession.mfa.prover import TotpProver
from ztsession.posture.collector import collect

__all__ = ["DESK", "SUBJECT", "TraderRole"]

SUBJECT, DEVICE, DESK = "trader-1", "trading-desktop-1", "market-making"
_INSTRUMENT, _ACCOUNT = b"DEMO", b"market-making-1"

_SCOPES = ("orders.look", "orders.cancel", "orders.override", "orders.refusal")
#: Far above what the algorithm gives its orders.
_FIRST_ID = 1 << 32


class TraderRole:
    """Commands: prepare, scan, connect, look_and_cancel, override, wrong_code, step_up, same_code_again."""

    def __init__(self) -> None:
        self._identity = zts.Ed25519Identity.generate(SUBJECT)
        self._device = zts.DevicePosture.generate(DEVICE)
        self._app = Authenticator()
        self._ids = count(_FIRST_ID)

    def prepare(self) -> dict[str, object]:
        """What an operator needs to enrol this person and desktop."""
        return {
            "subject": self._identity.registry_entry("human", desk=DESK),
            "device": self._device.registry_entry(),
            "measured": collect(),
        }

    def scan(self, uri: str) -> str:
        """Take the secret into the app; the code that shows it has arrived."""
        return self._app.scan(uri)

    def connect(self, authority: list[Any], gateway: list[Any], root: str) -> dict[str, object]:
        """A session by key and desktop alone, installed at the gateway."""
        self._where = (address_of(authority), address_of(gateway), bytes.fromhex(root))
        began_ns = time.perf_counter_ns()
        self._session, self._line = self._connected()
        return {"took_ns": time.perf_counter_ns() - began_ns}

    def look_and_cancel(self, orders: Sequence[int]) -> None:
        """Look at each of these orders, then cancel it."""
        for order_id in orders:
            self._line.send([LookOrder(order_id, _INSTRUMENT, _ACCOUNT)])
            self._line.send([CancelOrder(order_id, _INSTRUMENT, _ACCOUNT)])

    def override(self, orders: int, under_old_key: bool = False) -> None:
        """Send orders past the limits."""
        for _ in range(orders):
            self._line.send([self._past_limits()], session=self._old if under_old_key else None)

    def wrong_code(self) -> None:
        """Show a code that is none."""
        wrong = iter([self._app.wrong_code()])
        # Asked again, the person declines.
        with suppress(StepUpRequired, HandshakeError):
            self._session = self._session.step_up(mfa=TotpProver(lambda: next(wrong, "")))

    def step_up(self) -> dict[str, object]:
        """Show the present code in the channel, and install what comes of it; how long that took."""
        self._code = self._app.code()
        began_ns = time.perf_counter_ns()
        self._session = self._session.step_up(mfa=TotpProver(lambda: self._code))
        took_ns = time.perf_counter_ns() - began_ns
        self._old = self._line.installed
        self._line.install(self._session)
        return {"took_ns": took_ns}

    def same_code_again(self, orders: int) -> None:
        """Connect once more, show the code that was used, and go on with what that gives."""
        session, line = self._connected()
        shown = iter([self._code])
        with suppress(StepUpRequired, HandshakeError):
            session = session.step_up(mfa=TotpProver(lambda: next(shown, "")))
            line.install(session)
        for _ in range(orders):
            line.send([self._past_limits()])

    def _connected(self) -> tuple[zts.Session, OrderLine]:
        authority, gateway, root = self._where
        # The line stays open: it is the channel that more evidence is shown in.
        session = zts.connect(
            SocketTransport.connect(authority),
            identity=self._identity,
            posture=self._device,
            root=root,
            scopes=_SCOPES,
        )
        line = OrderLine(gateway)
        line.install(session)
        return session, line

    def _past_limits(self) -> OverrideOrder:
        return OverrideOrder(
            Side.BID, next(self._ids), 5_850_000, 1_000_000, _INSTRUMENT, _ACCOUNT, DESK[:8].encode()
        )


if __name__ == "__main__":
    role = TraderRole()
    Control().serve(
        {
            "prepare": role.prepare,
            "scan": role.scan,
            "connect": role.connect,
            "look_and_cancel": role.look_and_cancel,
            "override": role.override,
            "wrong_code": role.wrong_code,
            "step_up": role.step_up,
            "same_code_again": role.same_code_again,
        }
    )
