"""How much is measured: everything that ``--quick`` makes smaller, in one place."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FULL", "QUICK", "Plan"]


@dataclass(frozen=True)
class Plan:
    """Counts of one run of the benchmarks."""

    name: str
    rounds: int
    #: Calls per round of what costs about 100 ns; dearer peers get a share of it.
    calls: int
    #: C blocks per round are 48 times this.
    floor_runs: int
    fleet_sessions: int
    fleet_rounds: int
    latency_calls: int
    memory_sessions: int
    memory_tickets: int
    #: Conversations of each way to a session.
    handshakes: int
    renewals: int
    #: First messages per round, each met with a demand for a cookie; full answers get a share of it.
    first_messages: int
    #: Sessions that are called under load, each revoked in the end; and signals against them before that.
    revocations: int
    refusals: int
    #: Sessions of one pass; attacks of each kind.
    scan_sessions: int
    detections: int
    #: Live sessions, of a hundred kinds, that a change of the rules has to reach.
    policy_sessions: int
    imports: int


FULL = Plan(
    name="full",
    rounds=25,
    calls=50_000,
    floor_runs=500,
    fleet_sessions=1_000_000,
    fleet_rounds=5,
    latency_calls=1_000_000,
    memory_sessions=100_000,
    memory_tickets=100_000,
    handshakes=200,
    renewals=50,
    first_messages=4_000,
    revocations=100,
    refusals=100_000,
    scan_sessions=100_000,
    detections=50,
    policy_sessions=100_000,
    imports=20,
)

QUICK = Plan(
    name="quick",
    rounds=3,
    calls=5_000,
    floor_runs=200,
    fleet_sessions=20_000,
    fleet_rounds=3,
    latency_calls=20_000,
    memory_sessions=5_000,
    memory_tickets=300,
    handshakes=10,
    renewals=5,
    first_messages=400,
    revocations=10,
    refusals=100,
    scan_sessions=20_000,
    detections=3,
    policy_sessions=1_000,
    imports=3,
)
