"""What a conversation costs: each side's processor time, the time on the wall, and what goes over the wire.

Both sides run in this process, in one thread. So what the Authority spends is timed around its answers, and
the rest of the conversation is the client's. Waiting for the disk is no processor time: a session is in the
store and in the audit log, durably, before it is granted, and that shows in the time on the wall.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from benchmarks.handshakes.kind import Conversation
from benchmarks.measure import Series
from ztsession.client import Transport

__all__ = ["Costs", "Metered"]


class Metered:
    """A transport that counts what the peer behind it spends on answers, and the bytes either way."""

    def __init__(self, inner: Transport) -> None:
        self._inner = inner
        self.cpu_ns = self.wall_ns = self.messages = self.up = self.down = 0

    def exchange(self, message: bytes) -> bytes:
        """Pass it on."""
        wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
        answer = self._inner.exchange(message)
        self.cpu_ns += time.thread_time_ns() - cpu
        self.wall_ns += time.perf_counter_ns() - wall
        self.messages += 2
        self.up += len(message)
        self.down += len(answer)
        return answer


@dataclass
class Costs:
    """Of one way, a value for each conversation."""

    name: str
    note: str = ""
    authority: Series = field(init=False)
    client: Series = field(init=False)
    wall: Series = field(init=False)
    authority_wall: Series = field(init=False)
    messages: Series = field(init=False)
    up: Series = field(init=False)
    down: Series = field(init=False)

    def __post_init__(self) -> None:
        self.authority = Series(f"Authority's CPU: {self.name}", "ms")
        self.client = Series(f"client's CPU: {self.name}", "ms")
        self.wall = Series(f"wall, both sides: {self.name}", "ms")
        self.authority_wall = Series(f"wall, Authority: {self.name}", "ms")
        self.messages = Series(f"messages: {self.name}", "")
        self.up, self.down = Series(f"up: {self.name}", "B"), Series(f"down: {self.name}", "B")

    def add(self, conversation: Conversation, transport: Transport) -> None:
        """Run it once and count."""
        metered = Metered(transport)
        wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
        conversation(metered)
        cpu = time.thread_time_ns() - cpu
        self.wall.values.append((time.perf_counter_ns() - wall) / 1e6)
        self.authority.values.append(metered.cpu_ns / 1e6)
        self.client.values.append((cpu - metered.cpu_ns) / 1e6)
        self.authority_wall.values.append(metered.wall_ns / 1e6)
        for series, value in (
            (self.messages, metered.messages),
            (self.up, metered.up),
            (self.down, metered.down),
        ):
            series.values.append(float(value))

    @property
    def times(self) -> list[Series]:
        """What is kept of it round by round, with everything else that was measured."""
        return [self.authority, self.client]

    def as_json(self) -> dict[str, Any]:
        """For bench.json."""
        found: dict[str, Any] = {"name": self.name, "conversations": len(self.wall.values), "note": self.note}
        for name in ("authority", "client", "wall", "authority_wall"):
            series: Series = getattr(self, name)
            found[f"{name}_ms"] = series.median
            found[f"{name}_ms_quartiles"] = list(series.quartiles)
        for name in ("messages", "up", "down"):
            found[name] = round(getattr(self, name).median)
        return found
