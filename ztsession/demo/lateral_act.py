"""The act of the intruder: he is inside the algorithm's process, and looks for what else he could do.

Each service sees some refusals of a session that is known and good, and reports them. Only the Authority sees
them together, and that somebody goes from one to the other. Written down is what gateway and market data have
counted, what the Authority has in its log, and the times that the algorithm took.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from ztsession.demo.cast import Cast, less
from ztsession.demo.trader_role import SUBJECT as TRADER
from ztsession.risk.detectors.settings import DetectorSettings

__all__ = ["SOME", "SUBJECT", "LateralAct"]

SUBJECT: Final = "algo-1"
#: Orders that the trader looks at and cancels meanwhile.
SOME: Final = 16
_WITHIN_S: Final = 5.0
_KIND: Final = "lateral-movement"


class LateralAct:
    """Lets somebody in, leads him from door to door, and calls the operator."""

    def __init__(self, cast: Cast) -> None:
        self._cast, self._algorithm = cast, cast.algorithm
        self._facts: dict[str, Any] = {}

    def play(self) -> None:
        """All of it; the facts go to ``facts["lateral"]``, and the gateway's counts by act."""
        cast, facts = self._cast, self._facts
        cast.facts["lateral"] = facts
        facts["every_ms"] = DetectorSettings.from_directory(cast.stage.policy).every_ms
        orders = cast.counted("orders to look at", self._algorithm.ask, "rest", count=SOME)
        cast.watch.act("Somebody gets into the algorithm's process, and tries doors at both services")
        facts["reported_before"] = cast.authority.ask("reported")
        facts["trader"] = [self._standing(TRADER)]
        self._opened = self._algorithm.ask("intrude", gateway=cast.where["gateway"], market_data=cast.data)
        facts["probed"], facts["modes"] = cast.modes_from(self._at_market_data, "probing", self._probe)
        facts["reported"] = self._reports()
        facts["standing"] = self._standing(SUBJECT)
        self._at_market_data("suspended", self._try_suspended)
        cast.counted("trader meanwhile", cast.trader.ask, "look_and_cancel", orders=orders)
        facts["trader"].append(self._standing(TRADER))
        cast.watch.act("To prove everything anew does not help him; the operator has been told")
        self._prove_anew()
        facts["alerts"] = cast.authority.ask("alerts")
        cast.watch.act("The operator ends the intruder's session and settles it; the algorithm goes on")
        _, facts["modes_settled"] = cast.modes_from(self._settle)
        self._algorithm.ask("reauthenticate", tampered=False)
        cast.counted("what he took", self._use_what_he_took)
        facts["afterwards"] = cast.counted("going on", self._algorithm.ask, "some_orders")
        self._measure()

    # ---- Scenes

    def _probe(self) -> Any:
        return self._cast.counted("probing", self._algorithm.ask, "probe", seconds=_WITHIN_S)

    def _try_suspended(self) -> None:
        """By the other session, and at the other point, as soon as that has heard."""
        self._cast.counted("intruder's session", self._algorithm.ask, "intruders_order")
        before = self._market_data()

        def refused() -> bool:
            self._algorithm.ask("intruder_subscribes")
            return bool(less(self._market_data(), before).keys() - {"OK"})

        _until(refused)

    def _prove_anew(self) -> None:
        authority, before = self._cast.authority, len(self._cast.authority.ask("refusals"))
        self._facts["proven"] = self._algorithm.ask("prove_anew")
        self._facts["causes"] = authority.ask("refusals")[before:]
        self._cast.counted("proven anew", self._algorithm.ask, "some_orders")

    def _settle(self) -> None:
        authority = self._cast.authority
        # First: he must have nothing left in the moment that it is settled.
        authority.ask("revoke", session=self._opened)
        authority.ask("resolve", kind=_KIND, subject=SUBJECT)

    def _use_what_he_took(self) -> None:
        self._algorithm.ask("probe_old", seconds=_WITHIN_S)
        # What the gateway has heard of the one was after it had heard of the other.
        self._algorithm.ask("intruders_order")

    # ---- What is written down

    def _measure(self) -> None:
        probed = self._facts["probed"]
        self._facts["contained_s"] = (probed["refused_ns"] - probed["probe_refused_ns"]) / 1e9
        for each in self._facts["reported"]:
            if each["about"] == _KIND:
                self._facts["found_s"] = (each["at_us"] - probed["probe_refused_at_us"]) / 1e6

    def _reports(self) -> list[dict[str, Any]]:
        """What was reported since, when both services have looked."""
        found: list[dict[str, Any]] = []
        sessions = [session for session, _, _ in self._standing(SUBJECT)]

        def complete() -> bool:
            reported = self._cast.authority.ask("reported")
            found[:] = [
                each for each in reported if each.get("session") in sessions or each.get("subject") == SUBJECT
            ]
            return len({each["source"] for each in found if each["about"] == "behaviour"}) == 2

        _until(complete)
        return found

    def _standing(self, subject: str) -> list[list[Any]]:
        standing: list[list[Any]] = self._cast.authority.ask("standing", subject=subject)
        return standing

    def _market_data(self) -> dict[str, int]:
        verdicts: dict[str, int] = self._cast.market_data.ask("counts")["verdicts"]
        return verdicts

    def _at_market_data(self, scene: str, play: Callable[[], Any]) -> Any:
        before = self._market_data()
        result = play()
        self._facts.setdefault("market_data", {})[scene] = less(self._market_data(), before)
        return result


def _until(seen: Callable[[], bool]) -> None:
    """Ask until it is so, or for too long: that is for the expectations to say."""
    deadline_s = time.monotonic() + _WITHIN_S
    while not seen() and time.monotonic() < deadline_s:
        time.sleep(0.01)
