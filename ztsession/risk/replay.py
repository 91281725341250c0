"""Risk decided again from what was recorded: the same signals at the same moments give the same modes.

Whoever asks months later why a desk was suspended should not have to believe the sentence in the log. An
audit log has every event that the engine was told and the moment at which it was, so the engine can be led
through them once more, and what it comes to can be held against what was recorded then. A difference means
that the rules given are not those of that day, that the log begins later than what it tells, or that somebody
changed one of them.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ztsession.errors import SessionEnded, WireError
from ztsession.limits import OVERLAP_S
from ztsession.risk.engine import RiskEngine
from ztsession.risk.levels import Level, Mode
from ztsession.risk.rules import RiskRules
from ztsession.risk.signals import Signal

__all__ = ["EVENTS", "Difference", "Replay"]

_LAST_US: Final = 2**53
#: Between an Authority's look at what is over and the moment of its entry.
_SLACK_US: Final = 1_000_000
_TARGETS: Final = ("subject", "device", "session", "network")


@dataclass(frozen=True, slots=True)
class Difference:
    """An entry (its number) that says another mode than the replay comes to; "" for a session that the
    replay does not know.
    """

    entry: int
    session: str
    recorded: str
    replayed: str


class Replay:
    """An engine that is led by an audit log's entries. Not thread-safe."""

    def __init__(self, rules: RiskRules | None = None) -> None:
        self._at_us = 0
        #: When sessions are over (microseconds): nothing else tells of it, and logs are long.
        self._ends: list[tuple[int, bytes]] = []
        self.engine = RiskEngine(rules, clock=lambda: self._at_us / 1e6)
        #: How many signals and modes were seen, and entries that tell too little or cannot be read.
        self.signals = self.modes = self.skipped = 0
        self.differences: list[Difference] = []

    def take(self, entry: Mapping[str, Any]) -> None:
        """Lead the engine through one entry, as ``decode_entry`` gives it; others than ``EVENTS`` say
        nothing.
        """
        step = EVENTS.get(entry["event"])
        if step is None:
            return
        try:
            self._at_us = max(self._at_us, _moment(entry.get("at_us", 0)))
            self.engine.look_at_clock()
            step(self, entry)
        except (KeyError, TypeError, ValueError, OverflowError, WireError, SessionEnded):
            # Written by an older version, or by somebody else.
            self.skipped += 1

    # ---- Entries

    def _granted(self, entry: Mapping[str, Any]) -> None:
        session, (first_mark, mark) = bytes.fromhex(entry["session"]), entry["marks"]
        shown, network = frozenset(entry["shown"]), entry["network"]
        self._forget_over()
        heapq.heappush(self._ends, (_moment(entry["ends_at"] * 1_000_000), session))
        if entry["renewed"]:
            old = bytes.fromhex(entry["supersedes"])
            self.engine.renew(session, old, mark=mark, shown=shown, network=network)
            heapq.heappush(self._ends, (self._at_us + OVERLAP_S * 1_000_000, old))
            return
        if entry["supersedes"]:
            self.engine.close(bytes.fromhex(entry["supersedes"]))
        who, device = entry["subject"], entry["device"]
        self.engine.open(session, who, device, mark=first_mark, network=network, more=(mark, shown))

    def _forget_over(self) -> None:
        # As the Authority does before it grants, but never sooner.
        while self._ends and self._ends[0][0] <= self._at_us - _SLACK_US:
            self.engine.close(heapq.heappop(self._ends)[1])

    def _ended(self, entry: Mapping[str, Any]) -> None:
        self.engine.close(bytes.fromhex(entry["session"]))

    def _signal(self, entry: Mapping[str, Any]) -> None:
        about: dict[str, Any] = {kind: entry[kind] for kind in _TARGETS if kind in entry}
        if "session" in about:
            about["session"] = bytes.fromhex(about["session"])
        signal = Signal(
            entry["id"],
            entry["about"],
            Level[entry["level"]],
            entry["source"],
            entry["happened_us"] / 1e6,
            withdraws=entry["withdraws"],
            evidence=dict(entry["evidence"]),
            **about,
        )
        self.engine.signal(signal, [bytes.fromhex(each) for each in entry["line"]])
        self.signals += 1

    def _resolved(self, entry: Mapping[str, Any]) -> None:
        self.engine.resolve(entry["about"], (entry["target"], entry["name"]))

    def _quarantined(self, entry: Mapping[str, Any]) -> None:
        # If a signal did it, the engine has done it, too.
        self.engine.quarantine((entry["target"], entry["name"]), entry["why"])

    def _released(self, entry: Mapping[str, Any]) -> None:
        self.engine.release((entry["target"], entry["name"]))

    def _mode(self, entry: Mapping[str, Any]) -> None:
        session, recorded = bytes.fromhex(entry["session"]), Mode[entry["mode"]].name
        self.modes += 1
        replayed = ""
        if self.engine.watches(session):
            # Time alone may have been what changed it.
            self.engine.look_again(session)
            replayed = self.engine.session(session).mode.name
        if replayed != recorded:
            self.differences.append(Difference(entry["n"], entry["session"], recorded, replayed))


def _moment(us: Any) -> int:
    if type(us) is not int or not 0 <= us <= _LAST_US:
        raise ValueError("no moment")
    return us


#: What an entry does, by its event.
EVENTS: Final[Mapping[str, Callable[[Replay, Mapping[str, Any]], None]]] = {
    "session.granted": Replay._granted,
    "session.revoked": Replay._ended,
    "signal": Replay._signal,
    "signal.resolved": Replay._resolved,
    "quarantine": Replay._quarantined,
    "quarantine.released": Replay._released,
    "session.mode": Replay._mode,
}
