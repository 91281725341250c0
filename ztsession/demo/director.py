"""The director: starts the processes, leads them through the acts, and writes down what happened.

It judges nothing while it leads. The facts are gathered from the parties concerned (what the gateway
counted, not what the attacker says) and held against the expectations at the end, each of which can fail.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ztsession.demo.cast import Cast, Watch
from ztsession.demo.children import Children
from ztsession.demo.clearing_act import ClearingAct
from ztsession.demo.expectations import EXPECTATIONS, Expectation, Facts, Finding, judge
from ztsession.demo.lateral_act import LateralAct
from ztsession.demo.release_act import ReleaseAct
from ztsession.demo.staging import Stage
from ztsession.demo.trader_act import TraderAct

__all__ = ["MESSAGES_DEFAULT", "Options", "Outcome", "Watch", "run"]

MESSAGES_DEFAULT = 1_000_000

#: How long a change may take to arrive: the lease of the enforcement points.
LEASE_S = 5.0
_COST_FRAMES, _COST_ORDERS = 41, 400

_SUBJECT, _DEVICE = "algo-1", "trading-host-1"


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

    @property
    def skipped(self) -> dict[str, str]:
        """Acts that could not be played on this machine, and what would help."""
        return dict(self.facts["skipped"])


def run(options: Options, watch: Watch, *, expectations: Sequence[Expectation] = EXPECTATIONS) -> Outcome:
    """Run the demo once; ZtsError when it could not be carried through, which says who failed and why."""
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ztsession-demo-") as base:
        stage = Stage(Path(base))
        with Children(stage.logs) as children:
            facts = _Play(options, Cast(watch, stage, children)).run()
            watch.act("Everybody goes home")
            facts["exit_statuses"] |= children.end()
    facts["seconds"] = time.monotonic() - began_s
    return Outcome(facts, judge(facts, expectations))


class _Play:
    """The acts, in order."""

    def __init__(self, options: Options, cast: Cast) -> None:
        self._options, self._cast, self._facts = options, cast, cast.facts
        self._watch, self._algorithm = cast.watch, cast.algorithm
        self._clearing = None if cast.clearing is None else ClearingAct(cast, cast.clearing)
        self._release = ReleaseAct(cast)
        self._lateral = LateralAct(cast)

    def run(self) -> Facts:
        self._open()
        total, counted = self._facts["states"], self._cast.counted
        counted("trading", self._trade, "trade_1", 0, total // 2, renew=True)
        counted("device bad", self._drift)
        counted("still bad", self._reauthenticate_tampered)
        counted("put right", self._reauthenticate)
        counted("trading again", self._trade, "trade_2", total // 2, total - total // 2, renew=False)
        TraderAct(self._cast).play()
        self._lateral.play()
        counted("attack", self._attacks)
        counted("false signals", self._false_signals)
        counted("after", self._afterwards)
        if self._clearing is not None:
            self._clearing.play()
        self._release.play()
        self._cost()
        self._close()
        return self._facts

    # ---- Acts

    def _open(self) -> None:
        self._watch.act("An Authority, an order gateway, a market-data service and an algorithm start")
        cast, options, facts = self._cast, self._options, self._facts
        file = None if options.quotes is None else str(options.quotes)
        wanted = options.messages or (0 if file else MESSAGES_DEFAULT)
        sources = [cast.market_data.ask("prepare")]
        cast.market_data.tell("load", quotes=file, seed=options.seed, messages=wanted)
        parties = [self._algorithm.ask("prepare"), cast.trader.ask("prepare"), self._release.prepare()]
        cast.stage.enrol(
            [*parties, *([] if self._clearing is None else [self._clearing.prepare()])],
            sources=[cast.gateway.ask("prepare"), *sources],
            management=cast.device_management.ask("prepare"),
        )
        authority = cast.authority.ask("open", state=str(cast.stage.state), policy=str(cast.stage.policy))
        facts["states"] = cast.market_data.answer()
        facts["source"] = file or f"generated, seed {options.seed}"
        cast.device_management.ask("subscribe", url=authority["events"])
        gateway = cast.gateway.ask("open", **cast.stage.watched_service("orders", authority))
        data = cast.market_data.ask("open", **cast.stage.watched_service("market-data", authority))
        cast.meet(authority, gateway, data)
        self._release.open(authority, file, options.seed)
        self._watch.act("The algorithm connects: identity, device posture, a session in each of two segments")
        facts["connected"] = self._algorithm.ask("connect", market_data=cast.data, **cast.where)

    def _trade(self, name: str, first: int, count: int, renew: bool) -> None:
        meanwhile = ", and renews its session meanwhile" if renew else ""
        self._watch.act(f"It quotes around {count:,} top-of-book states{meanwhile}")
        total = self._facts["states"]
        began_s = time.monotonic()
        self._algorithm.tell("trade", first=first, count=count, renew=renew)
        traded = self._algorithm.answer(lambda so_far: self._watch.progress(so_far["done"], total))
        self._watch.progress(first + count, total)
        self._facts[name] = {**traded, "seconds": time.monotonic() - began_s}
        self._facts[f"{name}_orders"] = self._algorithm.ask("some_orders")

    def _drift(self) -> None:
        self._watch.act("The device management pushes that the device turned bad, while orders are flowing")
        self._algorithm.tell("press_on", seconds=2 * LEASE_S)
        # The event is to come in the middle of traffic.
        self._algorithm.first_progress()
        pushed, modes = self._push(compliant=False)
        pressed = self._algorithm.answer()
        reaction_s = (pressed["refused_ns"] - pushed["pushed_ns"]) / 1e9
        self._facts["drift"] = {**pressed, **pushed, "modes": modes, "reaction_s": reaction_s}

    def _reauthenticate_tampered(self) -> None:
        self._watch.act("It re-authenticates on the bad device, and gets what a bad device gets")
        again = self._algorithm.ask
        _, modes = self._cast.modes_from(again, "reauthenticate", tampered=True)
        self._facts["tampered"] = {"modes": modes}
        # One of each: a program that goes on asking for what it may not have is taken for an intruder.
        self._facts["tampered_orders"] = self._algorithm.ask("some_orders", count=1)

    def _reauthenticate(self) -> None:
        self._watch.act(
            "The device is put right, and its management says so; it re-authenticates and goes on"
        )
        stood = self._cast.authority.ask("stands", device=_DEVICE)
        pushed, modes = self._push(compliant=True)
        stands = self._cast.authority.ask("stands", device=_DEVICE)
        self._facts["put_right"] = {**pushed, "modes": modes, "stood": stood, "stands": stands}
        self._facts["reauthenticated"] = self._algorithm.ask("reauthenticate", tampered=False)
        self._facts["old_session"] = self._algorithm.ask("probe_old", seconds=LEASE_S)

    def _attacks(self) -> None:
        self._watch.act(
            "The market-data service is compromised, and tries to forge, replay and redirect orders"
        )
        cast = self._cast
        names = cast.market_data.ask(
            "compromise",
            tapped=self._algorithm.ask("tapped"),
            gateway=cast.where["gateway"],
            root=cast.where["root"],
        )
        for name in names:
            before = cast.look()
            attempts = cast.market_data.ask("attack", name=name)
            self._facts["attacks"][name] = {"attempts": attempts, **cast.since(before)}

    def _false_signals(self) -> None:
        self._watch.act("It forges events in the device management's name, and replays what that has pushed")
        cast = self._cast
        authority, pushed = cast.authority, cast.device_management.ask("pushed")
        for how in ("forged", "replayed"):
            before, stood = cast.look(), authority.ask("stands", device=_DEVICE)
            attempts = cast.market_data.ask("false_signals", how=how, url=cast.events, pushed=pushed)
            stands = [stood, authority.ask("stands", device=_DEVICE)]
            self._facts[f"{how}_signals"] = {"attempts": attempts, **cast.since(before), "stands": stands}

    def _push(self, *, compliant: bool) -> tuple[dict[str, Any], list[str]]:
        push = self._cast.device_management.ask
        pushed: dict[str, Any]
        pushed, modes = self._cast.modes_from(push, "push", device=_DEVICE, compliant=compliant)
        return pushed, modes

    def _afterwards(self) -> None:
        self._watch.act("The algorithm's session has not noticed")
        self._facts["afterwards"] = self._algorithm.ask("some_orders")

    def _cost(self) -> None:
        self._watch.act("What an order costs with and without verification")
        gateway = self._cast.gateway
        gateway.ask("meter", on=True)
        self._facts["metered"] = self._algorithm.ask("many_orders", frames=_COST_FRAMES, orders=_COST_ORDERS)
        self._facts["cost"] = gateway.ask("meter", on=False)
        self._facts["latency"] = gateway.ask("latency")

    def _close(self) -> None:
        cast, facts = self._cast, self._facts
        facts["market_data"], facts["algorithm"] = (
            cast.market_data.ask("counts"),
            self._algorithm.ask("counts"),
        )
        self._release.close()
        facts["core_refusals"] = cast.gateway.ask("counts")["core"]
        facts["audit"] = cast.authority.ask("audit")
        facts["renewed"] = [granted["renewed"] for granted in cast.authority.ask("granted", subject=_SUBJECT)]
        facts["exit_statuses"] = {} if self._clearing is None else {"tpm": self._clearing.close()}
        for child in (cast.gateway, cast.market_data, cast.device_management, cast.authority):
            child.ask("close")
