"""The floors as subjects: raw SHA-256 rounds, in the units that a token needs."""

from __future__ import annotations

from benchmarks.measure import CLoop
from benchmarks.native import library
from benchmarks.plan import Plan

__all__ = ["BATCH_FLOOR", "SINGLE_FLOOR", "floors"]

#: HMAC-SHA-256 over 32 header bytes and 64 of body, key state prepared: two blocks inside, one outside.
COMPRESSIONS_PER_TOKEN = 3
TRIES = 12

SINGLE_FLOOR = "single floor: 3 compressions in a chain (C)"
BATCH_FLOOR = "batch floor: 3 compressions, two lanes (C)"


def floors(plan: Plan) -> list[CLoop]:
    """The floors per token and, for those who wonder, per compression and with padding and calls around
    it.
    """
    c, runs = library(), plan.floor_runs
    return [
        CLoop(SINGLE_FLOOR, runs, c.floor_chain_ns, COMPRESSIONS_PER_TOKEN, TRIES),
        CLoop(BATCH_FLOOR, runs, c.floor_lanes_ns, COMPRESSIONS_PER_TOKEN, TRIES),
        CLoop("one compression in a chain (C)", runs, c.floor_chain_ns, tries=TRIES),
        CLoop("one compression, two lanes (C)", runs, c.floor_lanes_ns, tries=TRIES),
        CLoop("one token's MAC (C)", plan.calls, c.floor_mac_ns),
    ]
