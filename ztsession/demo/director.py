"""The director: starts the processes, leads them through the acts, and writes down what happened.

It judges nothing while it leads. The facts are gathered from the parties concerned (what the gateway
counted, not what the attacker says) and held against the expectations at the end, each of which can fail.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ztsession.demo.children import Children
from ztsession.demo.expectations import EXPECTATIONS, Expectation, Facts, Finding, judge
from ztsession.demo.staging import Stage

__all__ = ["MESSAGES_DEFAULT", "Options", "Outcome", "Watch", "run"]

MESSAGES_DEFAULT = 1_000_000

#: How long a change may take to arrive: the lease of the enforcement points.
LEASE_S = 5.0
_COST_FRAMES, _COST_ORDERS = 41, 400

_DEVICE = "trading-host-1"


@dataclass(frozen=True)
class Options:
    """``quotes``: a CSV file, else states are generated; ``messages``: at most so many of the file, or so
    many at all.
    """

    quotes: Path | None = None
    messages: int | None = None
    seed: int = 1


@dataclass(frozen=True)
class Outcome:
    """What happened, and which expectations it met."""

    facts: Facts
    findings: list[Finding]

    @property
    def ok(self) -> bool:
        """Whether everything happened as it should."""
        return all(finding.held for finding in self.findings)


class Watch(Protocol):
    """Whoever wants to see how the demo is getting on."""

    def act(self, title: str) -> None:
        """Another act begins."""

    def progress(self, done: int, total: int) -> None:
        """So many states of the market have been traded on."""


def run(options: Options, watch: Watch, *, expectations: Sequence[Expectation] = EXPECTATIONS) -> Outcome:
    """Run the demo once; ZtsError when it could not be carried through, which says who failed and why."""
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ztsession-demo-") as base:
        stage = Stage(Path(base))
        with Children(stage.logs) as children:
            facts = _Play(options, watch, stage, children).run()
            watch.act("Everybody goes home")
            facts["exit_statuses"] = children.end()
    facts["seconds"] = time.monotonic() - began_s
    return Outcome(facts, judge(facts, expectations))


class _Play:
    """The acts, in order."""

    def __init__(self, options: Options, watch: Watch, stage: Stage, children: Children) -> None:
        self._options, self._watch, self._stage = options, watch, stage
        self._authority = children.start("authority_role")
        self._gateway = children.start("gateway_role")
        self._market_data = children.start("market_data_role")
        self._algorithm = children.start("algorithm_role")
        self._facts: Facts = {"gateway": {}, "attacks": {}}

    def run(self) -> Facts:
        self._open()
        total = self._facts["states"]
        self._counted("trading", self._trade, "trade_1", 0, total // 2)
        self._counted("device bad", self._drift)
        self._counted("still bad", self._reauthenticate_tampered)
        self._counted("put right", self._reauthenticate)
        self._counted("trading again", self._trade, "trade_2", total // 2, total - total // 2)
        self._counted("attack", self._attacks)
        self._counted("after", self._afterwards)
        self._cost()
        self._close()
        return self._facts

    # ---- Acts

    def _open(self) -> None:
        self._watch.act("An Authority, an order gateway, a market-data service and an algorithm start")
        options, facts = self._options, self._facts
        file = None if options.quotes is None else str(options.quotes)
        wanted = options.messages or (0 if file else MESSAGES_DEFAULT)
        self._market_data.tell("load", quotes=file, seed=options.seed, messages=wanted)
        enrolment = self._algorithm.ask("prepare")
        self._stage.enrol(enrolment["subject"], enrolment["device"], enrolment["measured"])
        authority = self._authority.ask("open", state=str(self._stage.state), policy=str(self._stage.policy))
        facts["states"] = self._market_data.answer()
        facts["source"] = file or f"generated, seed {options.seed}"
        gateway = self._gateway.ask("open", **self._stage.service("orders", authority))
        data = self._market_data.ask("open", **self._stage.service("market-data", authority))
        self._root, self._gateway_address = authority["root"], gateway["address"]
        self._watch.act("The algorithm connects: identity, device posture, a session in each of two segments")
        facts["connected"] = self._algorithm.ask(
            "connect",
            authority=authority["address"],
            gateway=gateway["address"],
            market_data=data["address"],
            root=self._root,
        )

    def _trade(self, name: str, first: int, count: int) -> None:
        self._watch.act(f"It quotes around {count:,} top-of-book states")
        total = self._facts["states"]
        began_s = time.monotonic()
        self._algorithm.tell("trade", first=first, count=count)
        traded = self._algorithm.answer(lambda so_far: self._watch.progress(so_far["done"], total))
        self._watch.progress(first + count, total)
        self._facts[name] = {**traded, "seconds": time.monotonic() - began_s}
        self._facts[f"{name}_orders"] = self._algorithm.ask("some_orders")

    def _drift(self) -> None:
        self._watch.act("The device's posture turns bad while orders are flowing")
        self._algorithm.tell("press_on", seconds=2 * LEASE_S)
        # The signal is to come in the middle of traffic.
        self._algorithm.first_progress()
        signalled = self._authority.ask("signal", device=_DEVICE)
        pressed = self._algorithm.answer()
        reaction_s = (pressed["refused_ns"] - signalled["given_ns"]) / 1e9
        self._facts["drift"] = {**pressed, "modes": signalled["modes"], "reaction_s": reaction_s}

    def _reauthenticate_tampered(self) -> None:
        self._watch.act("It re-authenticates on the bad device, and gets what a bad device gets")
        self._facts["tampered"] = self._algorithm.ask("reauthenticate", tampered=True)
        self._facts["tampered_orders"] = self._algorithm.ask("some_orders")

    def _reauthenticate(self) -> None:
        self._watch.act("The device is put right; it re-authenticates and goes on")
        self._facts["reauthenticated"] = self._algorithm.ask("reauthenticate", tampered=False)
        self._facts["old_session"] = self._algorithm.ask("probe_old", seconds=LEASE_S)

    def _attacks(self) -> None:
        self._watch.act(
            "The market-data service is compromised, and tries to forge, replay and redirect orders"
        )
        names = self._market_data.ask(
            "compromise",
            tapped=self._algorithm.ask("tapped"),
            gateway=self._gateway_address,
            root=self._root,
        )
        for name in names:
            before = self._look()
            attempts = self._market_data.ask("attack", name=name)
            self._facts["attacks"][name] = {"attempts": attempts, **_difference(before, self._look())}

    def _afterwards(self) -> None:
        self._watch.act("The algorithm's session has not noticed")
        self._facts["afterwards"] = self._algorithm.ask("some_orders")

    def _cost(self) -> None:
        self._watch.act("What an order costs with and without verification")
        self._gateway.ask("meter", on=True)
        self._facts["metered"] = self._algorithm.ask("many_orders", frames=_COST_FRAMES, orders=_COST_ORDERS)
        self._facts["cost"] = self._gateway.ask("meter", on=False)
        self._facts["latency"] = self._gateway.ask("latency")

    def _close(self) -> None:
        facts = self._facts
        facts["market_data"], facts["algorithm"] = (
            self._market_data.ask("counts"),
            self._algorithm.ask("counts"),
        )
        facts["core_refusals"] = self._gateway.ask("counts")["core"]
        facts["audit"] = self._authority.ask("audit")
        for child in (self._gateway, self._market_data, self._authority):
            child.ask("close")

    # ---- Counting

    def _counted(self, act: str, play: Callable[..., None], *arguments: Any) -> None:
        before = self._gateway.ask("counts")["verdicts"]
        play(*arguments)
        after = self._gateway.ask("counts")["verdicts"]
        self._facts["gateway"][act] = {
            operation: dict(Counter(after[operation]) - Counter(before[operation])) for operation in after
        }

    def _look(self) -> dict[str, Any]:
        gateway = self._gateway.ask("counts")
        verdicts: Counter[str] = Counter()
        for by_verdict in gateway["verdicts"].values():
            verdicts.update(by_verdict)
        return {
            "verdicts": verdicts,
            "installations": Counter(gateway["installations"]),
            "authority": Counter(self._authority.ask("audit")),
            "book": gateway["book"],
        }


def _difference(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    counted = {name: dict(after[name] - before[name]) for name in ("verdicts", "installations", "authority")}
    return {**counted, "book_unchanged": before["book"] == after["book"]}
