"""The example of a detector of one's own does what the page says of it."""

from __future__ import annotations

import runpy
from contextlib import suppress
from pathlib import Path
from typing import Any

from pages import ROOT

from ztsession.clock import FakeClock
from ztsession.enforcement.watch import Watch
from ztsession.errors import Replayed
from ztsession.testing import pair

EXAMPLE: Path = ROOT / "docs" / "examples" / "peer_refusals.py"


def traded(refusals: list[int]) -> list[Any]:
    """What is found when as many sessions make thirty calls each, of which so many are replays."""
    clock = FakeClock()
    first, point = pair(clock=clock)
    authority: Any = point.authority
    clients = [first, *(authority.connect(point, clock=clock) for _ in refusals[1:])]
    verify = point.verifier("orders.submit")
    detector = runpy.run_path(str(EXAMPLE))["PeerRefusals"]()
    watch = Watch(point, [detector], report=lambda _: None, every_s=0, clock=clock.time)
    for client, count in zip(clients, refusals, strict=True):
        tokens = [client.sign("orders.submit", b"x") for _ in range(30 - count)]
        for token in tokens + tokens[:count]:
            with suppress(Replayed):
                verify(token, b"x")
    found = watch.once()
    return [(clients.index(c), s) for s in found for c in clients if c.grant.session == s.session]


def test_who_is_refused_much_more_often_than_the_others_is_found() -> None:
    """One among many, and two of them as well: they do not shift what is usual."""
    [(number, signal)] = traded([0, 1, 0, 2, 1, 0, 1, 12, 0, 1, 2, 0])
    assert (number, signal.kind, signal.level.name) == (7, "behaviour", "LOW")
    assert signal.evidence["refused"] == "40%"
    assert [number for number, _ in traded([15, 1, 0, 2, 1, 0, 1, 12, 0, 1, 2, 0])] == [0, 7]


def test_normal_trading_is_not_found() -> None:
    """Some refusals here and there, many with everybody, and too few sessions to compare."""
    assert traded([0, 1, 0, 2, 1, 0, 1, 3, 0, 1, 2, 0]) == []
    assert traded([10, 11, 12, 9, 10, 11, 12, 9, 10, 11, 12, 14]) == []
    assert traded([0, 0, 0, 15]) == []
