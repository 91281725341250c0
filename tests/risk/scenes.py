"""A real point with real clients, a clock in the test's hands, and detectors that look by hand."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ztsession.clock import FakeClock
from ztsession.enforcement.watch import Watch
from ztsession.errors import Denied
from ztsession.risk.detectors.protocol import Detector
from ztsession.risk.detectors.settings import DetectorSettings
from ztsession.risk.signals import Signal
from ztsession.testing import pair

OPERATIONS = {
    "orders.submit": {},
    "orders.cancel": {},
    "orders.amend": {"max_age_ms": 5000},
    "orders.status": {"effect": "read"},
}


class Trading:
    """One session (or more) at one point, that trades as it is told, second by second."""

    def __init__(self, segment: str = "orders", **settings: Any) -> None:
        self.clock = FakeClock()
        names = {name.replace("orders", segment): keys for name, keys in OPERATIONS.items()}
        self.client, self.point = pair(segment, names, clock=self.clock)
        self.settings = DetectorSettings(**settings)
        self.told: list[Signal] = []
        self.verify = self.point.verifier()

    def watch(self, *detectors: Detector, **options: Any) -> Watch:
        given = {
            "report": self.told.append,
            "settings": self.settings,
            "every_s": 0,
            "clock": self.clock.time,
        }
        return Watch(self.point, detectors, **(given | options))

    @property
    def session(self) -> bytes:
        return self.client.grant.session

    def join(self, **granted: Any) -> Any:
        authority: Any = self.point.authority
        return authority.connect(self.point, authority.grant(**granted), clock=self.clock)

    def call(self, operation: str = "orders.submit", client: Any = None) -> bytes:
        """A call that is accepted; its token."""
        token: bytes = (client or self.client).sign(operation, b"body")
        self.verify(token, b"body")
        return token

    def say(self, token: bytes, body: bytes = b"body") -> Denied | None:
        """Send a token, and hear why it was refused."""
        try:
            self.verify(token, body)
        except Denied as denied:
            return denied
        return None

    def take_away(self, *operations: str) -> None:
        """The grant of before is narrowed: these are not permitted from now on."""
        authority: Any = self.point.authority
        bits = sum(authority.segment("").operation(name).bit for name in operations)
        every = 2**64 - 1
        authority.narrow(self.client.grant.profile_digest(), [every & ~bits] * 3)

    def pass_time(self, seconds: float) -> None:
        # In steps that a lease lasts for.
        while seconds > 0:
            self.clock.advance(min(seconds, 4))
            self.point.maintain()
            seconds -= 4

    def trade(self, watch: Watch, seconds: int, per_second: int, clients: Iterable[Any] = ()) -> list[Signal]:
        """So many calls each second; a look after each."""
        found = []
        for _ in range(seconds):
            for client in clients or (self.client,):
                for _ in range(per_second):
                    self.call("orders.submit", client)
            self.pass_time(1.0)
            found += watch.once()
        return found
