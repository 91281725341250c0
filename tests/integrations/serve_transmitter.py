"""A process with a transmitter, that connects one session and then waits to be killed.

    serve_transmitter.py STATE POLICY SECRET_FILE

Prints what it has decided when that is durable. What it pushes goes to an address where nobody answers yet.
"""

from __future__ import annotations

import sys
from pathlib import Path

import ztsession as zts
from ztsession.authority.streams import Wanted
from ztsession.integrations.ssf_transmitter import SsfTransmitter
from ztsession.risk.ssf.names import PUSH


def main(state: str, rules: str, keys: str, endpoint: str) -> None:
    authority = zts.Authority.open(state, policy=rules)
    streams = authority.announcer.streams
    assert streams is not None
    streams.create("siem", Wanted(PUSH, endpoint))
    SsfTransmitter(authority)
    session = zts.connect(
        authority.connection(),
        identity=zts.Ed25519Identity.from_file(Path(keys) / "algo-7.key"),
        posture=zts.DevicePosture.from_file(Path(keys) / "host-1.key"),
        root=authority.root,
        scopes=["orders.*"],
    )
    authority.revoke(session.id)
    print(session.id.hex(), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
