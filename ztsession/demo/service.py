"""What both services have in common: an enforcement point, fed by the Authority over a socket."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ztsession as zts
from ztsession.integrations.stream import SocketTransport
from ztsession.policy.catalog import Catalog
from ztsession.tickets import SegmentKey

__all__ = ["address_of", "open_point"]


def open_point(
    segment: str, *, authority: Sequence[Any], catalog: str, key: str, ticket_key: str
) -> zts.EnforcementPoint:
    """The point of ``segment``: ``key`` and ``catalog`` are files, ``ticket_key`` is hexadecimal."""
    remote = zts.RemoteAuthority(
        lambda: SocketTransport.connect(address_of(authority)),
        segment=Catalog.load(Path(catalog)).segment(segment),
        segment_key=SegmentKey.from_file(key),
        ticket_key=bytes.fromhex(ticket_key),
    )
    return zts.EnforcementPoint(segment, authority=remote, capacity=1024)


def address_of(pair: Sequence[Any]) -> tuple[str, int]:
    """A socket address that came as JSON."""
    host, port = pair
    return str(host), int(port)
