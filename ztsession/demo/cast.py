"""Who plays, and who counts: the roles' processes, and the facts that are gathered around each act.

What a party says of itself is not taken for a fact. The gateway counts what it verified, the Authority tells
what it granted and refused, and an act is what they say afterwards less what they said before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

from ztsession.demo.children import Child, Children
from ztsession.demo.host_tpm import what_is_missing
from ztsession.demo.refusals import Facts
from ztsession.demo.staging import Stage

__all__ = ["Cast", "Watch", "less"]


class Watch(Protocol):
    """Whoever wants to see how the demo is getting on."""

    def act(self, title: str) -> None:
        """Another act begins."""

    def progress(self, done: int, total: int) -> None:
        """So many states of the market have been traded on."""


class Cast:
    """The roles; ``clearing`` is None where its host would have no TPM."""

    def __init__(self, watch: Watch, stage: Stage, children: Children) -> None:
        self.watch, self.stage = watch, stage
        self.facts: Facts = {"gateway": {}, "accepted": {}, "installed": {}, "attacks": {}, "skipped": {}}
        self.authority = children.start("authority_role")
        self.gateway = children.start("gateway_role")
        self.market_data = children.start("market_data_role")
        self.algorithm = children.start("algorithm_role")
        self.trader = children.start("trader_role")
        self.lab = children.start("lab_role")
        self.release_gate = children.start("release_gate_role")
        self.release_manager = children.start("release_manager_role")
        self.device_management = children.start("device_management_role")
        self.clearing: Child | None = None
        missing = what_is_missing()
        if missing:
            self.facts["skipped"]["clearing"] = missing
        else:
            self.clearing = children.start("clearing_role")

    def meet(self, authority: dict[str, Any], gateway: dict[str, Any], market_data: dict[str, Any]) -> None:
        """What the three have said of themselves is where everybody else finds them."""
        self.events, self.data = authority["events"], market_data["address"]
        self.where = {
            "authority": authority["address"],
            "gateway": gateway["address"],
            "root": authority["root"],
        }

    def counted(self, act: str, play: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
        """Play, and write down what the gateway has counted meanwhile; what ``play`` returns."""
        before = self.gateway.ask("counts")
        result = play(*arguments, **more)
        after = self.gateway.ask("counts")
        self.facts["gateway"][act] = {
            operation: less(counts, before["verdicts"][operation])
            for operation, counts in after["verdicts"].items()
        }
        self.facts["accepted"][act] = less(after["accepted"], before["accepted"])
        self.facts["installed"][act] = less(after["installations"], before["installations"])
        return result

    def modes_from(self, play: Callable[..., Any], *arguments: Any, **more: Any) -> tuple[Any, list[str]]:
        """Play; what that returns, and the modes that the Authority has put sessions in meanwhile."""
        before = len(self.authority.ask("modes"))
        result = play(*arguments, **more)
        return result, self.authority.ask("modes")[before:]

    def look(self) -> dict[str, Any]:
        """What gateway and Authority say at this moment."""
        gateway = self.gateway.ask("counts")
        verdicts: Counter[str] = Counter()
        for by_verdict in gateway["verdicts"].values():
            verdicts.update(by_verdict)
        return {
            "verdicts": verdicts,
            "installations": Counter(gateway["installations"]),
            "authority": Counter(self.authority.ask("audit")),
            "events": Counter(self.authority.ask("events")),
            "book": gateway["book"],
        }

    def since(self, before: dict[str, Any]) -> dict[str, Any]:
        """What has changed since that look."""
        after = self.look()
        changed = {
            name: less(after[name], before[name])
            for name in ("verdicts", "installations", "authority", "events")
        }
        return {**changed, "book_unchanged": before["book"] == after["book"]}


def less(after: dict[str, int], before: dict[str, int]) -> dict[str, int]:
    """Counts of what came to those of before."""
    return dict(Counter(after) - Counter(before))
