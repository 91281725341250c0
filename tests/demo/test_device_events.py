"""Events of the demo's device management: what it pushes counts, what others push in its name not."""

from __future__ import annotations

import json
import tomllib
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from demo_desk import HOST, Desk, desk_in
from joserfc import jwk

from ztsession.demo.believing import believe
from ztsession.demo.device_management_role import INVENTORY, DeviceManagementRole
from ztsession.demo.false_signals import FalseSignals
from ztsession.risk.levels import Level
from ztsession.risk.ssf.settings import SsfSettings


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with desk_in(tmp_path / "desk") as opened:
        yield opened


def test_an_event_restricts_the_host_until_it_is_taken_back(desk: Desk) -> None:
    """Called bad, its sessions are RESTRICTED when the push is answered; called good, they are as before."""
    assert desk.management.push(HOST, compliant=False)["status"] == 202
    assert (desk.modes(), desk.authority.stands(HOST)) == (["RESTRICTED"], ["ssf:mdm"])
    assert desk.management.push(HOST, compliant=True)["status"] == 202
    assert (desk.modes(), desk.authority.stands(HOST)) == (["NORMAL"], [])
    assert desk.authority.modes() == ["RESTRICTED", "NORMAL"]
    assert desk.authority.events() == {"applied": 2}


def test_forged_events_change_nothing(desk: Desk) -> None:
    """Another's key, another's claims under a good signature, and no signature are refused, each of them."""
    desk.management.push(HOST, compliant=False)
    desk.management.push(HOST, compliant=True)
    before = desk.authority.audit()
    assert FalseSignals(desk.url, desk.management.pushed()).forge() == 3
    assert desk.authority.events() == {"applied": 2, "refused": 3}
    assert (desk.authority.audit(), desk.modes()) == (before, ["NORMAL"])


def test_the_forger_would_succeed_with_the_key(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what the device management would say: all that it lacks is what signs it."""
    desk.management.push(HOST, compliant=False)
    desk.management.push(HOST, compliant=True)
    monkeypatch.setattr(jwk, "generate_key", lambda *_: desk.management._key)
    FalseSignals(desk.url, desk.management.pushed()).forge()
    assert desk.authority.events() == {"applied": 3, "refused": 2}
    assert desk.modes() == ["RESTRICTED"]


def test_events_that_are_replayed_change_nothing(desk: Desk) -> None:
    """What was taken back is not said again by whoever has recorded it, nor the other way round."""
    desk.management.push(HOST, compliant=False)
    assert FalseSignals(desk.url, desk.management.pushed()).replay() == 1
    desk.management.push(HOST, compliant=True)
    before = desk.authority.audit()
    assert FalseSignals(desk.url, desk.management.pushed()).replay() == 2
    assert (desk.authority.audit(), desk.modes()) == (before, ["NORMAL"])
    assert sum(desk.authority.events().values()) == 5


def test_it_is_believed_about_devices_alone(tmp_path: Path) -> None:
    """It can have a host asked for evidence: no other event is taken from it, and nothing worse than that."""
    believe(tmp_path, DeviceManagementRole().prepare())
    [mdm] = SsfSettings.from_directory(tmp_path).transmitters.values()
    assert (mdm.events, mdm.highest) == ({"device-compliance-change"}, Level.MEDIUM)
    text = tomllib.loads((tmp_path / "ssf.toml").read_text())["transmitters"]["mdm"]
    assert text["listed"] == {asset: device for device, asset in INVENTORY.items()}


def test_the_device_management_publishes_no_private_key() -> None:
    """Its key set is what it can show to anybody."""
    [key] = json.loads(json.dumps(DeviceManagementRole().prepare()))["keys"]
    assert (key["kty"], key["crv"], "d" in key) == ("EC", "P-256", False)


def test_the_door_is_gone_when_it_is_closed(desk: Desk) -> None:
    """Its port takes no connection any more."""
    desk.authority._door.close()
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(desk.url, timeout=5)
