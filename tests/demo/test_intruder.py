"""The intruder of the demo, with all its parts in one process: found at two services, and not at one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from demo_desk import Desk, desk_in

from ztsession.demo.watching import Watching


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with desk_in(tmp_path / "desk") as opened:
        yield opened


def until(seen: Callable[[], bool], within_s: float = 20.0) -> bool:
    deadline_s = time.monotonic() + within_s
    while not seen() and time.monotonic() < deadline_s:
        time.sleep(0.02)
    return seen()


def reported(desk: Desk) -> list[dict[str, Any]]:
    return [entry for entry in desk.authority.reported() if entry["about"] == "behaviour"]


def intrude(desk: Desk) -> str:
    return desk.algorithm.intrude(gateway=desk.orders, market_data=desk.data)


def test_he_is_found_when_both_services_have_reported(desk: Desk) -> None:
    """All sessions of the subject are suspended, its cancels pass, and nobody gets another session."""
    opened = intrude(desk)
    probed = desk.algorithm.probe(seconds=20.0)
    assert probed["refused_ns"] > probed["probe_refused_ns"] > 0
    assert desk.modes() == ["SUSPENDED"] * 2
    assert probed["outcomes"]["orders.submit"] == {"reauth-required": probed["live"]}
    assert probed["outcomes"]["orders.cancel"] == {"done": probed["live"]}
    assert desk.algorithm.intruders_order() == "reauth-required"
    assert desk.algorithm.prove_anew() == [False, False]
    assert [each["what"] for each in desk.authority.alerts()] == ["signal.lateral-movement"]
    desk.authority.revoke(opened)
    desk.authority.resolve("lateral-movement", "algo-1")
    assert desk.modes() == ["NORMAL"]
    desk.algorithm.reauthenticate(tampered=False)
    assert all(set(counts) == {"done"} for counts in desk.algorithm.some_orders().values())
    assert desk.algorithm.intruders_order() != "done"
    assert desk.gateway._gateway.verdicts["orders.submit", "REVOKED"] == 1


def test_one_service_alone_stops_nobody(desk: Desk) -> None:
    """Refusals at the gateway are noted with what was asked for, and the session goes on."""
    intrude(desk)
    doors = desk.algorithm._intruder._doors
    looks = [door for door in (next(doors) for _ in range(4)) if "orders" in door.__qualname__]
    assert [door() for door in looks * 4] == [False] * 12
    assert until(lambda: bool(reported(desk)))
    [noted] = reported(desk)
    assert (noted["source"], noted["level"], noted["action"]) == ("order-gateway", "LOW", "none")
    assert dict(noted["evidence"])["operations"] == "orders.look orders.override orders.settle"
    assert desk.modes() == ["NORMAL"] * 2


def test_an_honest_algorithm_is_not_noted(desk: Desk) -> None:
    """What it may not do on a bad device it has asked for once each, and that is nobody's concern."""
    desk.algorithm.reauthenticate(tampered=True)
    refused = desk.algorithm.some_orders(count=1)
    assert refused["orders.submit"] == {"refused": 1}
    # Several looks of the services.
    time.sleep(0.3)
    assert desk.authority.reported() == []


def test_a_report_by_another_key_is_not_believed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reports in the gateway's name without its key is heard by nobody."""
    intrude(desk)
    impostor = Watching("order-gateway")
    impostor._signer = Watching("order-gateway")._signer
    desk.gateway._watching.close()
    point = desk.gateway._gateway.point
    impostor.begin(point, point.authority, desk.stage.policy)  # type: ignore[arg-type]
    for _ in range(8):
        desk.algorithm._intruder.probe()
    assert until(lambda: impostor._watch.waiting > 0)
    assert {each["source"] for each in desk.authority.reported()} <= {"market-data-service"}
    assert desk.modes() == ["NORMAL"] * 2
    impostor.close()


def test_replays_off_the_wire_ask_nobody_for_a_step_up(desk: Desk) -> None:
    """Whoever has recorded orders and repeats them is noted, and the session that sent them goes on."""
    desk.algorithm.some_orders()
    frames = [bytes.fromhex(frame) for frame in desk.algorithm.tapped()["orders"]]
    for frame in frames:
        desk.gateway._gateway.serve(frame, None, "192.0.2.1")
    assert until(lambda: bool(desk.authority.reported()))
    assert [(each["about"], each["level"]) for each in desk.authority.reported()] == [("replay", "LOW")]
    assert desk.modes() == ["NORMAL"]


def test_what_nobody_can_be_charged_with_is_told_of_its_address(desk: Desk) -> None:
    """Forged orders are held against where they came from, and not against whose handle they bear."""
    desk.algorithm.some_orders()
    frame = bytes.fromhex(desk.algorithm.tapped()["orders"][-1])
    forged = frame[:32] + bytes(16) + frame[48:]
    for _ in range(100):
        desk.gateway._gateway.serve(forged, None, "192.0.2.1")
    assert until(lambda: bool(desk.authority.reported()))
    [noted] = desk.authority.reported()
    assert (noted["about"], noted["level"], noted["network"]) == ("threat", "LOW", "192.0.2.1")
    assert desk.modes() == ["NORMAL"]
