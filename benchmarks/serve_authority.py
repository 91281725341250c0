"""Run as a process of its own: the Authority of a house that another process has made, behind a Unix socket.

    python -m benchmarks.serve_authority STATE POLICY ADDRESS

Prints one line of JSON with what its clients and points have to know, and serves until its standard input
ends. It leaves the processor that the measuring process is pinned to, if there is another.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress

import ztsession
from ztsession.server import StreamServer

__all__: list[str] = []


def main(state: str, policy: str, address: str) -> None:
    """Serve."""
    _elsewhere()
    with ztsession.Authority.open(state, policy=policy) as authority:
        facts = {"root": authority.root.hex(), "ticket_key": authority.ticket_key.hex()}
        facts["segment_key_file"] = str(authority.segment_key_file("orders"))
        with StreamServer(address, authority.connection):
            print(json.dumps(facts), flush=True)
            sys.stdin.read()


def _elsewhere() -> None:
    if hasattr(os, "sched_setaffinity"):
        others = set(range(os.cpu_count() or 1)) - os.sched_getaffinity(0)
        # There may be no other, or none that we may use.
        with suppress(OSError):
            os.sched_setaffinity(0, others)


if __name__ == "__main__":
    main(*sys.argv[1:])
