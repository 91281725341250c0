"""Run as a fresh process: how much this process grows for each session installed, everything included.

    python -m benchmarks.probe_memory table 100000      Table.install, a record and a subject for each
    python -m benchmarks.probe_memory tickets 20000     tickets presented to an EnforcementPoint

Counted is the resident memory of the whole process (pages of the table, records, the books that the point
keeps on tickets and handles, what the allocator wastes) after installing, less that before, by the number of
sessions. A few hundred are installed first, so that what exists once is not charged to anybody. Prints one
line of JSON.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
from collections.abc import Callable

from ztsession._core import Table
from ztsession._records import Profile
from ztsession.client.installing import install_ticket
from ztsession.enforcement import EnforcementPoint
from ztsession.policy.catalog import Catalog
from ztsession.testing import TestAuthority
from ztsession.tickets.record import Installation

WARM_UP = 300
CATALOG = """
version = 1
[segments.orders.operations.submit]
effect = "risk-increasing"
"""


def main(kind: str, count: int) -> dict[str, float]:
    """Resident bytes per session, and the size of the table's region by its capacity."""
    table, install = {"table": _by_table, "tickets": _by_tickets}[kind](count + WARM_UP)
    for number in range(WARM_UP):
        install(number)
    before = _resident_bytes()
    for number in range(WARM_UP, WARM_UP + count):
        install(number)
    grown = _resident_bytes() - before
    if table.live < count:
        raise RuntimeError(f"only {table.live} of {count} sessions are live")
    return {
        "bytes_per_session": grown / count,
        "region_bytes_per_session": table.memory_bytes / (count + WARM_UP),
    }


def _by_table(capacity: int) -> tuple[Table, Callable[[int], None]]:
    table = Table(operations=["orders.submit"], capacity=capacity)
    profile = Profile(bytes(32), allowed=[1, 0, 0], limits={0: (2_000_000, 0)})

    def install(number: int) -> None:
        record = Installation(os.urandom(16), f"algo-{number}", f"host-{number}", 2, profile.digest)
        table.install(profile, os.urandom(32), os.urandom(32), record, lifetime_us=1 << 40)

    return table, install


def _by_tickets(capacity: int) -> tuple[Table, Callable[[int], None]]:
    segment = Catalog.from_text(CATALOG).segment("orders")
    authority = TestAuthority(segment)
    point = EnforcementPoint("orders", authority=authority, capacity=capacity)

    def install(number: int) -> None:
        grant, secret = authority.grant(subject=f"algo-{number}"), os.urandom(32)
        # The client's own table is closed at once: it lives elsewhere in the field.
        install_ticket(point, grant, authority.ticket(grant, secret), secret).close()

    return point.table, install


def _resident_bytes() -> int:
    gc.collect()
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]))))
