"""What the services have in common: an enforcement point, fed by the Authority over a socket."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ztsession as zts
from ztsession.demo.watching import Watching
from ztsession.errors import WireError
from ztsession.integrations.stream import SocketTransport
from ztsession.policy.catalog import Catalog
from ztsession.tickets import InstallAnswer, SegmentKey

__all__ = ["address_of", "handle_in", "open_point", "open_watched_point"]

_CAPACITY = 1024


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
    remote = _remote(segment, authority, catalog, key, ticket_key)
    return zts.EnforcementPoint(segment, authority=remote, environment=environment, capacity=_CAPACITY)


def open_watched_point(
    segment: str,
    watching: Watching,
    *,
    detectors: str,
    authority: Sequence[Any],
    catalog: str,
    key: str,
    ticket_key: str,
) -> zts.EnforcementPoint:
    """The same in production, with ``watching`` beside it; ``detectors``: a directory with
    ``detectors.toml``.
    """
    remote = _remote(segment, authority, catalog, key, ticket_key)
    point = zts.EnforcementPoint(segment, authority=remote, environment="prod", capacity=_CAPACITY)
    watching.begin(point, remote, Path(detectors))
    return point


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


def _remote(
    segment: str, authority: Sequence[Any], catalog: str, key: str, ticket_key: str
) -> zts.RemoteAuthority:
    return zts.RemoteAuthority(
        lambda: SocketTransport.connect(address_of(authority)),
        segment=Catalog.load(Path(catalog)).segment(segment),
        segment_key=SegmentKey.from_file(key),
        ticket_key=bytes.fromhex(ticket_key),
    )
