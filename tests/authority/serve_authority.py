"""A process with an Authority behind a socket, that obeys one command for each line and can be killed at
any time.
"""

from __future__ import annotations

import json
import sys
import time

import ztsession as zts
from ztsession.server import StreamServer


def main(state: str, rules: str, address: str) -> None:
    authority = zts.Authority.open(state, policy=rules)
    with authority, StreamServer(address, authority.connection):
        facts = {"root": authority.root.hex(), "ticket_key": authority.ticket_key.hex()}
        print(json.dumps({**facts, "orders": str(authority.segment_key_file("orders"))}), flush=True)
        for line in sys.stdin:
            what, *given = line.split()
            if what == "revoke":
                authority.revoke(bytes.fromhex(given[0]))
            elif what == "reload":
                authority.reload()
            elif what == "signal":
                level, session = zts.Level[given[1]], bytes.fromhex(given[2])
                authority.signal(
                    zts.Signal(given[0], "behaviour", level, "test", time.time(), session=session)
                )
            print("done", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
