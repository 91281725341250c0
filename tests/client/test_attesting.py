"""What happens on a device is shown to the Authority at once, and its answer holds for the next call."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ztsession as zts
from ztsession.client.attesting import Attester
from ztsession.client.keeper import SessionKeeper
from ztsession.errors import ConfigurationError, Denied, NotPermitted, TransportError
from ztsession.posture.collector import collect, program_digest
from ztsession.posture.watching import DeviceWatch


class Host:
    """A device with a real program file, which the operator has declared, and a keeper of its session."""

    def __init__(self, house: Any, directory: Path) -> None:
        self.program = directory / "algo.py"
        self.program.write_text("print('trade')\n")
        files = (self.program,)
        self.device = zts.DevicePosture(
            "host-1", house.device.signing_seed, measure=lambda: collect(program=files)
        )
        declared = f'\n[posture]\nprograms = ["{program_digest(*files)}"]\n'
        (house.rules / "devices.toml").write_text(self.device.registry_entry() + declared)
        self.authority = house.authority()
        self.point = house.point(self.authority)
        self.call = self.point.verifier("orders.submit")
        self.cut = False
        session = house.connect(self.authority, posture=self.device, scopes=["orders.*"])
        self.keeper = house.keep(SessionKeeper(session, {"orders": lambda: self.point}, dial=self.dial))
        self.sign = self.keeper.signer("orders.submit")
        self.watch = DeviceWatch(program=files)

    def dial(self) -> Any:
        if self.cut:
            raise TransportError("nobody answers")
        return self.authority.connection()

    def replace(self, text: str = "print('steal')\n") -> None:
        fresh = self.program.with_name("fresh")
        fresh.write_text(text)
        os.replace(fresh, self.program)

    def refused(self) -> bool:
        try:
            self.call(self.sign(b"x"), b"x")
        except Denied:
            return True
        return False


@pytest.fixture
def host(house: Any, tmp_path: Path) -> Host:
    return Host(house, tmp_path)


def test_H21_a_replaced_program_is_judged_before_the_next_call(host: Host):
    """The file is exchanged, the next look shows it, and what the policies forbid it is refused at once."""
    attester = Attester(host.keeper, host.watch)
    first = host.keeper.session
    assert attester.look() == ()
    assert (host.keeper.session, host.refused()) == (first, False)
    host.replace()
    assert not host.refused()  # nobody has looked
    assert attester.look() == ("program",)
    assert host.keeper.session is not first
    with pytest.raises(NotPermitted):
        host.call(host.sign(b"x"), b"x")
    # The program that was declared is put back, shown, and trades again.
    host.replace("print('trade')\n")
    assert attester.look() == ("program",)
    assert not host.refused()


def test_what_the_first_showing_set_off_is_answered_however_often_it_fails(host: Host):
    """News is told twice, and the second time is owed until it has succeeded."""
    attester, dials = Attester(host.keeper, host.watch), [0]

    def dial() -> Any:
        dials[0] += 1
        if dials[0] == 2:
            raise TransportError("nobody answers")
        return host.authority.connection()

    host.keeper._dial = dial
    host.replace()
    with pytest.raises(TransportError):
        attester.look()
    assert attester.look() == ()
    assert dials == [4]
    assert attester.look() == ()
    assert dials == [4]


def test_D1_a_device_that_changes_all_the_time_is_no_flood(host: Host, monkeypatch: pytest.MonkeyPatch):
    """A few times it is shown at once, then together after a pause; the last state is shown in any case."""
    clock = [1000.0]
    monkeypatch.setattr("ztsession.client.attesting.time.monotonic", lambda: clock[0])
    attester, shown = Attester(host.keeper, host.watch), []
    renew = host.keeper.renew
    monkeypatch.setattr(host.keeper, "renew", lambda: shown.append(clock[0]) or renew())
    for second in range(60):
        host.replace(f"print({second})\n")
        clock[0] += 1
        assert attester.look() == ("program",)
    assert 2 * (5 + 5) <= len(shown) <= 2 * (5 + 6)
    host.replace("print('trade')\n")
    attester.look()
    clock[0] += 10
    assert attester.look() == ()
    assert not host.refused()


def test_in_a_thread_it_is_noticed_by_itself(host: Host, eventually: Callable[..., None]):
    """With a thread that looks, nobody has to ask."""
    with Attester(host.keeper, host.watch, look_every_s=0.01):
        assert not host.refused()
        host.replace()
        eventually(host.refused)
    assert not any(each.name == "ztsession-attester" for each in threading.enumerate())


def test_posture_is_shown_on_a_schedule(host: Host):
    """Without any news it is shown when it was time, counted from the last time, whoever showed it."""
    attester = Attester(host.keeper, host.watch, every_s=1000)
    first = host.keeper.session
    attester.look()
    assert host.keeper.session is first
    attester._due_at = 0.0
    attester.look()
    second = host.keeper.session
    assert second is not first
    attester.look()
    assert host.keeper.session is second
    attester._due_at = 0.0
    third = host.keeper.renew()
    attester.look()
    assert host.keeper.session is third


def test_what_could_not_be_shown_is_shown_at_the_next_look(host: Host):
    """A change is noticed once, and owed until the Authority has heard of it."""
    attester = Attester(host.keeper, host.watch)
    first = host.keeper.session
    host.replace()
    host.cut = True
    with pytest.raises(TransportError):
        attester.look()
    with pytest.raises(TransportError):
        attester.look()
    assert host.keeper.session is first
    host.cut = False
    assert attester.look() == ()
    assert host.refused()
    last = host.keeper.session
    attester.look()
    assert host.keeper.session is last


def test_a_thread_that_fails_goes_on(host: Host, eventually: Callable[..., None]):
    """Whatever goes wrong is told and tried again, with growing pauses."""
    host.cut = True
    with Attester(host.keeper, host.watch, look_every_s=0.01):
        host.replace()
        assert not host.refused()
        host.cut = False
        eventually(host.refused)


def test_it_may_be_asked_for_by_hand(host: Host):
    """A program that knows of something itself has it shown."""
    attester = Attester(host.keeper, host.watch)
    first = host.keeper.session
    assert attester.attest() is host.keeper.session is not first
    assert not host.refused()


def test_times_are_times(host: Host):
    """A schedule of no time is refused."""
    for wrong in ({"every_s": 0}, {"look_every_s": -1}):
        with pytest.raises(ConfigurationError, match="more than 0 seconds"):
            Attester(host.keeper, host.watch, **wrong)
