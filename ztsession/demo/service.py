"""What the services have in common: an enforcement point, fed by the Authority over a socket."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ztsession as zts
from ztsession.errors import WireError
from ztsession.integrations.stream import SocketTransport
from ztsession.policy.catalog import Catalog
from ztsession.tickets import InstallAnswer, SegmentKey

__all__ = ["address_of", "handle_in", "open_point"]


def open_point(
    segment: str,
    *,
    authority: Sequence[Any],
    catalog: str,
    key: str,
    ticket_key: str,
    environment: str = "prod",
) -> zts.EnforcementPoint:
    """The point of ``segment``: ``key`` and ``catalog`` are files, ``ticket_key`` is hexadecimal."""
    remote = zts.RemoteAuthority(
        lambda: SocketTransport.connect(address_of(authority)),
        segment=Catalog.load(Path(catalog)).segment(segment),
        segment_key=SegmentKey.from_file(key),
        ticket_key=bytes.fromhex(ticket_key),
    )
    return zts.EnforcementPoint(segment, authority=remote, environment=environment, capacity=1024)


def handle_in(answer: bytes) -> int | None:
    """The new session's handle in a point's answer to a ticket; None if it was refused."""
    try:
        return InstallAnswer.from_bytes(answer).handle
    except WireError:
        return None


def address_of(pair: Sequence[Any]) -> tuple[str, int]:
    """A socket address that came as JSON."""
    host, port = pair
    return str(host), int(port)
