"""What got worse on a device hits all its sessions, and who is not heard of is restricted until it is."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ztsession as zts
from ztsession.authority import attesting
from ztsession.authority.attesting import GRACE_S, RETURN_S, SILENT_PER_TICK, worse
from ztsession.authority.judged import Basis
from ztsession.client import Attester, SessionKeeper
from ztsession.errors import (
    AuditError,
    Denied,
    HandshakeError,
    NotPermitted,
    ReauthRequired,
    StepUpRequired,
    StoreError,
)
from ztsession.mfa.prover import TotpProver
from ztsession.posture.collector import collect, program_digest
from ztsession.posture.items import BAD, GOOD, ITEMS, UNKNOWN
from ztsession.posture.watching import DeviceWatch

MAX_AGE_S = 600
GOOD_PROGRAM, BAD_PROGRAM = "ab" * 32, "ba" * 32
POSTURE = f"""
[posture]
kernels = ["6.1.0-38-amd64"]
programs = ["{GOOD_PROGRAM}"]
max_age_s = {MAX_AGE_S}
"""


class Firm:
    """An Authority whose time a test moves, a point, and a device that says what the test wants."""

    def __init__(self, house: Any) -> None:
        self.house, self.ahead_s = house, 0.0
        self.measured = {"kernel": "6.1.0-38-amd64", "program": GOOD_PROGRAM, "packages": "cd" * 32}
        self.device = zts.DevicePosture(
            "host-1", house.device.signing_seed, measure=lambda: self.measured, clock=self.clock
        )
        self.other = zts.DevicePosture("host-2", os.urandom(32), measure=lambda: {}, clock=self.clock)
        entries = self.device.registry_entry() + self.other.registry_entry()
        (house.rules / "devices.toml").write_text(entries + POSTURE)
        self.authority = house.authority(clock=self.clock)
        self.point = house.point(self.authority)
        self.call = self.point.verifier("orders.submit")

    def clock(self) -> float:
        return time.time() + self.ahead_s

    def connect(self, **changed: Any) -> zts.Session:
        return self.house.connect(
            self.authority, **{"posture": self.device, "scopes": ["orders.*"]} | changed
        )

    def installed(self, session: zts.Session) -> Callable[[], Any]:
        orders = session.install(self.point, "orders")
        return lambda: self.call(orders.sign("orders.submit", b"x"), b"x")

    def mode(self, session: zts.Session) -> zts.Mode:
        return zts.Mode(self.authority.session(session.id).mode)

    def pass_time(self, seconds: float) -> None:
        self.ahead_s += seconds
        self.authority.tick()

    def said(self, kind: str) -> list[dict[str, Any]]:
        lines = (self.house.state / "audit.jsonl").read_text().splitlines()
        entries = [json.loads(line) for line in lines]
        return [each for each in entries if each["event"] == "signal" and each["about"] == kind]


@pytest.fixture
def firm(house: Any) -> Firm:
    return Firm(house)


# ---- Drift


def basis(posture: dict[str, str] | None = None, measured: dict[str, str] | None = None) -> Any:
    class Shown:
        pass

    shown = Shown()
    shown.posture, shown.measured = posture or {}, measured or {}  # type: ignore[attr-defined]
    return shown


@pytest.mark.parametrize(
    ("before", "now", "found"),
    [
        ({}, {}, {}),  # 1
        ({"kernel": GOOD}, {"kernel": UNKNOWN}, {"kernel": "good -> unknown"}),  # 2
        ({"kernel": UNKNOWN}, {"kernel": BAD}, {"kernel": "unknown -> bad"}),  # 3
        ({"kernel": BAD}, {"kernel": GOOD}, {}),  # 4: better
        ({"kernel": BAD}, {"kernel": UNKNOWN}, {}),  # 5: better than what was known to be bad
        ({"debug": GOOD, "boot": GOOD}, {"debug": BAD}, {"boot": "good -> unknown", "debug": "good -> bad"}),
    ],
)
def test_a_word_that_got_worse_is_found(before: dict[str, str], now: dict[str, str], found: dict[str, str]):
    """Good, unknown and bad are in this order, and only the way down counts."""
    full = dict.fromkeys(ITEMS, UNKNOWN)
    assert worse(basis(full | before), basis(full | now)) == found


@pytest.mark.parametrize(
    ("word", "before", "now", "found"),
    [
        (UNKNOWN, GOOD_PROGRAM, GOOD_PROGRAM, False),  # 1
        (UNKNOWN, GOOD_PROGRAM, BAD_PROGRAM, True),  # 2: nothing is declared, and it was another
        (GOOD, GOOD_PROGRAM, BAD_PROGRAM, False),  # 3: one of several that are declared
        (BAD, GOOD_PROGRAM, BAD_PROGRAM, True),  # 4
        (UNKNOWN, GOOD_PROGRAM, "unknown", True),  # 5: it cannot be read any more
        (UNKNOWN, "unknown", BAD_PROGRAM, False),  # 6: it could not be read before
        (UNKNOWN, None, BAD_PROGRAM, False),  # 7: nobody had asked before
        (UNKNOWN, GOOD_PROGRAM, None, True),  # 8: it is not shown any more
    ],
)
def test_another_digest_counts_unless_the_reference_knows_it(
    word: str, before: str | None, now: str | None, found: bool
):
    """What a device runs may only become something that was declared."""
    for item in ("program", "packages"):
        one, two = ({item: value} if value else {} for value in (before, now))
        words = {item: word}
        assert (item in worse(basis(words, one), basis(words, two))) is found


def test_H21_what_a_renewal_shows_to_be_worse_hits_every_session_of_the_device(firm: Firm):
    """Its old keys and the other sessions of the device are restricted; the new one is judged by itself."""
    session, other = firm.connect(), firm.connect()
    elsewhere = firm.connect(posture=firm.other)
    calls = [firm.installed(each) for each in (session, other)]
    firm.measured |= {"packages": "dc" * 32}
    renewed = session.renew()
    for call in calls:
        with pytest.raises(StepUpRequired):
            call()
    assert [firm.mode(each).name for each in (renewed, other, elsewhere)] == [
        "NORMAL",
        "RESTRICTED",
        "NORMAL",
    ]
    [said] = firm.said("posture-drift")
    assert (said["source"], said["device"], said["level"]) == ("appraiser", "host-1", "MEDIUM")
    assert dict(said["evidence"]) == {"packages": f"{'cd' * 32} -> {'dc' * 32}"}
    # The others go on when they have shown what is there now, to a nonce of afterwards.
    other = other.renew()
    assert firm.mode(other) is zts.Mode.RESTRICTED
    assert firm.mode(other.renew()) is zts.Mode.NORMAL


def test_H21_a_program_that_nobody_declared_suspends(firm: Firm):
    """Whoever is inside a program has its keys: the renewal is refused, and everything is shown anew."""
    session, other = firm.connect(), firm.connect()
    calls = [firm.installed(each) for each in (session, other)]
    firm.measured |= {"program": BAD_PROGRAM}
    with pytest.raises(HandshakeError, match="refused"):
        session.renew()
    for call in calls:
        with pytest.raises(ReauthRequired):
            call()
    assert [each["level"] for each in firm.said("posture-drift")] == ["HIGH"]
    # Proven anew it is judged by the policies alone, which let a bad program do nothing that adds risk.
    anew = session.reauthenticate()
    assert firm.mode(anew) is zts.Mode.NORMAL
    with pytest.raises(NotPermitted):
        firm.installed(anew)()
    # The other one still has to.
    with pytest.raises(HandshakeError):
        other.renew()
    assert len(firm.said("posture-drift")) == 1


def test_a_debugger_suspends(firm: Firm):
    """A statement that a debugger is there is worse than one that does not know."""
    session = firm.connect()
    firm.measured |= {"debug": "enabled"}
    with pytest.raises(HandshakeError, match="refused"):
        session.renew()
    [said] = firm.said("posture-drift")
    assert (said["level"], dict(said["evidence"])) == ("HIGH", {"debug": "unknown -> bad"})


def test_full_authentication_and_a_step_up_are_compared_as_well(firm: Firm):
    """Whatever way is taken to show something worse, it is said."""
    session = firm.connect()
    firm.measured |= {"kernel": "6.1.0-99-amd64"}
    stepped = session.step_up(posture=firm.device)
    assert [dict(each["evidence"]) for each in firm.said("posture-drift")] == [{"kernel": "good -> bad"}]
    firm.measured |= {"packages": "dc" * 32}
    other = firm.connect()
    anew = stepped.reauthenticate()
    assert len(firm.said("posture-drift")) == 2
    assert [firm.mode(each).name for each in (anew, other)] == ["NORMAL", "RESTRICTED"]


def test_the_same_posture_says_nothing(firm: Firm):
    """Renewals, step-ups and full authentication of a device that is as it was are quiet."""
    session = firm.connect()
    session = session.renew()
    session = session.step_up(posture=firm.device)
    session = session.reauthenticate()
    assert (firm.said("posture-drift"), firm.mode(session)) == ([], zts.Mode.NORMAL)


def test_what_got_better_says_nothing(firm: Firm):
    """A host that is repaired is welcome."""
    firm.measured |= {"kernel": "6.1.0-99-amd64"}
    session = firm.connect()
    firm.measured |= {"kernel": "6.1.0-38-amd64"}
    assert firm.mode(session.renew()) is zts.Mode.NORMAL
    assert firm.said("posture-drift") == []


def test_H20_nobody_speaks_against_a_device_by_naming_its_session(firm: Firm):
    """Who claims to supersede a session that is not its own is refused, and says nothing of that device."""
    theirs = firm.connect()
    mine = zts.Ed25519Identity.generate("algo-8")
    firm.house.enrol(firm.house.identity, mine)
    firm.authority.reload()
    session = firm.connect(identity=mine)
    session._held.outcome.__dict__["session"] = theirs.id
    firm.measured |= {"program": BAD_PROGRAM}
    with pytest.raises(HandshakeError):
        session.reauthenticate()
    assert (firm.said("posture-drift"), firm.mode(theirs)) == ([], zts.Mode.NORMAL)


def test_H19_a_second_factor_alone_is_no_posture(house: Any):
    """A step-up without posture neither compares nor counts as being heard of."""
    import sys

    sys.path.append(str(Path(__file__).parent))
    from test_going_on import Trader

    trader = Trader(house, mfa=False)
    session = trader.connect()
    heard = trader.authority._attesting._heard[session.id]
    trader.clock.ahead_s += 60
    stepped = session.step_up(mfa=TotpProver(trader.next_code))
    assert trader.authority._attesting._heard[stepped.id] == heard


def test_what_all_sessions_of_a_device_show_is_said_once(firm: Firm):
    """Each goes on when it has begun anew, and none is suspended by what another one shows after it."""
    sessions = [firm.connect() for _ in range(4)]
    firm.measured |= {"program": BAD_PROGRAM, "kernel": "6.1.0-99-amd64"}
    with pytest.raises(HandshakeError):
        sessions[0].renew()
    anew = [session.reauthenticate() for session in sessions]
    assert {firm.mode(session) for session in anew} == {zts.Mode.NORMAL}
    assert len(firm.said("posture-drift")) == 1
    # Something else is something else, and so is the same once it was gone.
    firm.measured |= {"packages": "dc" * 32}
    first = anew[0].renew()
    assert [firm.mode(each).name for each in (first, anew[1])] == ["NORMAL", "RESTRICTED"]
    firm.measured |= {"program": GOOD_PROGRAM}
    first = first.reauthenticate()
    assert len(firm.said("posture-drift")) == 2
    firm.measured |= {"program": BAD_PROGRAM}
    with pytest.raises(HandshakeError):
        first.renew()
    assert [each["level"] for each in firm.said("posture-drift")] == ["HIGH", "MEDIUM", "HIGH"]


def test_H21_what_others_say_meanwhile_is_not_answered_along_with_it(firm: Firm):
    """Evidence answers what it set off itself, but only if nobody spoke since it was asked for."""
    session = firm.connect()
    exchange, number = session._transport.exchange, 0

    class Line:
        def exchange(self, message: bytes) -> bytes:
            nonlocal number
            number += 1
            if number % 2 == 0:  # the proof is under way
                edr = zts.Signal(
                    str(number), "posture-drift", zts.Level.HIGH, "edr", firm.clock(), device="host-1"
                )
                firm.authority.signal(edr)
            return exchange(message)

    firm.measured |= {"program": BAD_PROGRAM}
    with pytest.raises(HandshakeError, match="refused"):
        session.reauthenticate(Line())
    assert firm.mode(session.reauthenticate()) is zts.Mode.NORMAL


def test_D6_what_was_said_is_remembered_of_so_many_devices(firm: Firm, monkeypatch: pytest.MonkeyPatch):
    """Of more devices than that the one that was said something of longest ago is forgotten."""
    monkeypatch.setattr(attesting, "SAID_MAX", 1)
    for device in (firm.device, firm.other):
        session = firm.connect(posture=device)
        changed = zts.DevicePosture(
            device.device, device.signing_seed, measure=lambda: {"debug": "enabled"}, clock=firm.clock
        )
        with pytest.raises(HandshakeError):
            session.step_up(posture=changed)
    assert list(firm.authority._attesting._said) == ["host-2"]


# ---- Silence


def test_H19_silence_restricts_and_fresh_posture_answers(firm: Firm):
    """Posture that is older than it may be, and a grace, restricts with the next tick; a renewal lifts it."""
    session = firm.connect()
    call = firm.installed(session)
    firm.pass_time(MAX_AGE_S + GRACE_S - 5)
    call()
    firm.pass_time(6)
    with pytest.raises(StepUpRequired):
        call()
    [said] = firm.said("posture-silence")
    assert (said["session"], said["level"], said["source"]) == (session.id.hex(), "MEDIUM", "appraiser")
    renewed = session.renew()
    assert firm.mode(renewed) is zts.Mode.NORMAL
    firm.installed(renewed)()
    assert [each["withdraws"] for each in firm.said("posture-silence")] == [False, True]
    # And it is waited for again.
    firm.pass_time(MAX_AGE_S + GRACE_S + 1)
    assert firm.mode(renewed) is zts.Mode.RESTRICTED
    assert firm.mode(renewed.step_up(posture=firm.device)) is zts.Mode.NORMAL


def test_H20_another_device_does_not_answer_the_silence_of_a_session(firm: Firm):
    """Evidence of a good neighbour is refused, and the session waits for that of its own device."""
    session = firm.connect()
    firm.pass_time(MAX_AGE_S + GRACE_S + 1)
    with pytest.raises(HandshakeError, match="refused"):
        session.step_up(posture=firm.other)
    assert firm.mode(session) is zts.Mode.RESTRICTED
    assert firm.mode(session.step_up(posture=firm.device)) is zts.Mode.NORMAL


def test_who_shows_posture_and_is_granted_nothing_is_waited_for_again(firm: Firm):
    """Posture that held answers silence even if what was asked for is refused, and counts from then on."""
    session = firm.connect()
    firm.pass_time(MAX_AGE_S + GRACE_S + 1)
    with pytest.raises(HandshakeError, match="refused"):
        session.renew(scopes=["nowhere.submit"])
    assert firm.mode(session) is zts.Mode.NORMAL
    firm.pass_time(MAX_AGE_S + GRACE_S + 1)
    assert firm.mode(session) is zts.Mode.RESTRICTED


def test_who_renews_in_time_is_never_silent(firm: Firm):
    """Half of the time that posture is good is often enough, and sessions in their overlap are let be."""
    session = firm.connect()
    for _ in range(6):
        firm.pass_time(MAX_AGE_S / 2)
        session = session.renew()
        firm.authority.tick()
    assert (firm.said("posture-silence"), firm.mode(session)) == ([], zts.Mode.NORMAL)


def test_silence_of_a_session_that_was_renewed_is_not_the_new_ones(firm: Firm):
    """The old session is let be, even if nobody has cleared it away when its time is over."""
    session = firm.connect()
    firm.pass_time(MAX_AGE_S + GRACE_S - 5)
    renewed = session.renew()
    assert session.id in firm.authority._attesting._heard
    firm.pass_time(6)
    assert (firm.said("posture-silence"), firm.mode(renewed)) == ([], zts.Mode.NORMAL)


def test_who_is_silent_after_a_renewal_is_told_of_once(firm: Firm):
    """The old session is not waited for although nobody has cleared it away, and the new one is lifted."""
    session = firm.connect()
    renewed = session.renew()
    firm.pass_time(MAX_AGE_S + GRACE_S + 1)
    assert {session.id, renewed.id} <= firm.authority._attesting._heard.keys()
    assert [each["session"] for each in firm.said("posture-silence")] == [renewed.id.hex()]
    assert firm.mode(renewed.renew()) is zts.Mode.NORMAL


def test_silence_is_of_one_session_and_does_not_answer_others(firm: Firm):
    """A second session on the device is heard of by itself, and what was said of the first one stays."""
    first, second = firm.connect(), firm.connect()
    firm.pass_time(MAX_AGE_S)
    second = second.renew()
    firm.pass_time(GRACE_S + 1)
    assert [firm.mode(each).name for each in (first, second)] == ["RESTRICTED", "NORMAL"]
    second.renew()
    assert firm.mode(first) is zts.Mode.RESTRICTED


def test_a_clock_that_runs_ahead_does_not_buy_time(firm: Firm):
    """What a device dates into the future counts from when it came."""
    now = int(firm.clock())
    device = zts.DevicePosture(
        "host-1", firm.device.signing_seed, measure=lambda: firm.measured, clock=lambda: firm.clock() + 50
    )
    session = firm.connect(posture=device)
    assert now <= firm.authority._attesting._heard[session.id] <= int(firm.clock())


def test_sessions_without_a_device_are_not_waited_for(house: Any):
    """Where no posture is demanded, whoever shows none is not restricted for it."""
    ahead = [0.0]
    authority = house.authority(posture_required=False, clock=lambda: time.time() + ahead[0])
    session = house.connect(authority, posture=None)
    ahead[0] = 3600.0
    authority.tick()
    assert zts.Mode(authority.session(session.id).mode) is zts.Mode.NORMAL


def test_silence_is_counted_over_a_restart(firm: Firm):
    """An Authority that begins anew knows when each session was heard of."""
    session = firm.connect()
    firm.pass_time(MAX_AGE_S)
    firm.authority.close()
    again = firm.house.authority(clock=firm.clock)
    again.tick()
    assert zts.Mode(again.session(session.id).mode) is zts.Mode.NORMAL
    firm.ahead_s += RETURN_S + 1
    again.tick()
    assert zts.Mode(again.session(session.id).mode) is zts.Mode.RESTRICTED
    again.tick()
    assert len(firm.said("posture-silence")) == 1


def test_who_could_not_be_heard_was_not_silent(firm: Firm):
    """While the Authority was away nobody could show anything: its clients have a minute to come back."""
    comes, stays_away = firm.connect(), firm.connect()
    firm.authority.close()
    firm.ahead_s += 2 * MAX_AGE_S
    firm.authority = firm.house.authority(clock=firm.clock)
    firm.pass_time(RETURN_S - 5)
    assert (firm.mode(comes), firm.mode(stays_away)) == (zts.Mode.NORMAL, zts.Mode.NORMAL)
    renewed = comes.renew(firm.authority.connection())
    firm.pass_time(6)
    assert (firm.mode(renewed), firm.mode(stays_away)) == (zts.Mode.NORMAL, zts.Mode.RESTRICTED)


def test_a_shorter_time_holds_for_sessions_that_live(firm: Firm):
    """The operator shortens max_age_s, and who was silent for longer is restricted by the next tick."""
    session = firm.connect()
    firm.pass_time(120)
    path = firm.house.rules / "devices.toml"
    path.write_text(path.read_text().replace(f"max_age_s = {MAX_AGE_S}", "max_age_s = 60"))
    firm.authority.reload()
    firm.authority.tick()
    assert firm.mode(session) is zts.Mode.RESTRICTED


def test_D6_a_tick_does_a_bounded_part_and_the_next_one_the_rest(firm: Firm, monkeypatch: pytest.MonkeyPatch):
    """When very many are silent at once, each tick says it of some, and in the end it is said of all once."""
    monkeypatch.setattr(attesting, "SILENT_PER_TICK", 2)
    assert SILENT_PER_TICK > 2
    sessions = [firm.connect() for _ in range(5)]
    counts = []
    for seconds in (MAX_AGE_S + GRACE_S + 2, 0, 0, 0):
        firm.pass_time(seconds)
        counts.append(len(firm.said("posture-silence")))
    assert counts == [2, 4, 5, 5]
    assert {firm.mode(each) for each in sessions} == {zts.Mode.RESTRICTED}


def test_D6_what_is_over_is_not_kept(firm: Firm):
    """However often sessions are renewed and ended, what is waited for stays about as long as what lives."""
    session = firm.connect()
    for _ in range(400):
        session = session.renew()
        firm.ahead_s += 11
    assert len(firm.authority._attesting._heard) <= 2
    assert len(firm.authority._attesting._due) <= 4 * 2 + 256


def test_silence_that_cannot_be_stored_is_said_with_the_next_tick(
    firm: Firm, monkeypatch: pytest.MonkeyPatch
):
    """What is not durable is not lost: it stays due."""
    session = firm.connect()
    firm.ahead_s += MAX_AGE_S + GRACE_S + 1

    def fails(*_: object, **__: object) -> bool:
        raise StoreError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(firm.authority._store, "record_signal", fails)
        with pytest.raises(StoreError):
            firm.authority.tick()
    assert firm.mode(session) is zts.Mode.NORMAL
    firm.authority.tick()
    assert firm.mode(session) is zts.Mode.RESTRICTED


def test_a_full_audit_log_does_not_keep_silence_from_restricting(firm: Firm, monkeypatch: pytest.MonkeyPatch):
    """All who are silent are restricted, and the complaint comes afterwards."""
    sessions = [firm.connect() for _ in range(3)]
    firm.ahead_s += MAX_AGE_S + GRACE_S + 1

    def fails(*_: object, **__: object) -> None:
        raise AuditError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(firm.authority._reacting._audit, "record", fails)
        with pytest.raises(AuditError):
            firm.authority.tick()
    assert {firm.mode(each) for each in sessions} == {zts.Mode.RESTRICTED}


# ---- The whole way


def test_H21_a_replaced_program_loses_the_next_call_on_every_session_of_its_device(
    house: Any, tmp_path: Path
):
    """File exchanged, noticed, shown, judged, refused: the calls of the program and of its neighbours."""
    program = tmp_path / "algo.py"
    program.write_text("print('trade')\n")
    device = zts.DevicePosture(
        "host-1", house.device.signing_seed, measure=lambda: collect(program=(program,))
    )
    (house.rules / "devices.toml").write_text(
        device.registry_entry() + f'\n[posture]\nprograms = ["{program_digest(program)}"]\n'
    )
    authority = house.authority()
    point = house.point(authority)
    call = point.verifier("orders.submit")
    neighbour = house.connect(authority, posture=device, scopes=["orders.*"]).install(point, "orders")
    session = house.connect(authority, posture=device, scopes=["orders.*"])
    keeper = house.keep(SessionKeeper(session, {"orders": lambda: point}))
    attester = Attester(keeper, DeviceWatch(program=(program,)))
    sign, old = keeper.signer("orders.submit"), keeper.installed("orders").signer("orders.submit")
    for signer in (sign, old, neighbour.signer("orders.submit")):
        call(signer(b"x"), b"x")
    (tmp_path / "fresh").write_text("print('steal')\n")
    os.replace(tmp_path / "fresh", program)
    assert attester.look() == ("program",)
    refused = []
    for signer in (sign, neighbour.signer("orders.submit"), old):
        with pytest.raises(Denied) as caught:
            call(signer(b"x"), b"x")
        refused.append(type(caught.value).__name__)
    assert refused == ["NotPermitted", "ReauthRequired", "Revoked"]


def test_what_a_change_has_set_off_is_answered_at_once(house: Any, tmp_path: Path):
    """After an upgrade of packages they are shown twice, the second time for a nonce of afterwards."""
    status = tmp_path / "var/lib/dpkg/status"
    status.parent.mkdir(parents=True)
    text = "Package: bash\nStatus: install ok installed\nVersion: 5.2\nArchitecture: amd64\n"
    status.write_text(text)
    firm = Firm(house)
    device = zts.DevicePosture(
        "host-1", house.device.signing_seed, measure=lambda: collect(tmp_path, program=())
    )
    neighbour = firm.connect(posture=device)
    keeper = house.keep(SessionKeeper(firm.connect(posture=device), {"orders": lambda: firm.point}))
    attester = Attester(keeper, DeviceWatch(tmp_path, program=()))
    status.write_text(text.replace("5.2", "5.3"))
    assert attester.look() == ("packages",)
    assert [each["level"] for each in firm.said("posture-drift")] == ["MEDIUM"]
    assert [firm.mode(each).name for each in (keeper.session, neighbour)] == ["NORMAL", "RESTRICTED"]


def test_H19_an_attester_keeps_a_session_from_silence(firm: Firm):
    """A session whose attester runs is never restricted; one whose attester stopped is, until it is back."""
    keeper = firm.house.keep(SessionKeeper(firm.connect(), {"orders": lambda: firm.point}))
    attester = Attester(keeper, DeviceWatch(program=()))
    for _ in range(3):
        firm.pass_time(MAX_AGE_S / 2)
        attester._due_at = 0.0  # its own clock is that of the machine
        attester.look()
        firm.authority.tick()
        assert firm.mode(keeper.session) is zts.Mode.NORMAL
    firm.pass_time(MAX_AGE_S + GRACE_S + 1)
    assert firm.mode(keeper.session) is zts.Mode.RESTRICTED
    attester.attest()
    assert firm.mode(keeper.session) is zts.Mode.NORMAL


def test_what_is_kept_of_a_session_says_when_it_was_heard_of(firm: Firm):
    """The time and the digests of keys are in the store with the session."""
    before = int(firm.clock())
    session = firm.connect()
    kept = Basis.from_bytes(firm.authority.session(session.id).basis)
    assert before <= kept.posture_at <= int(firm.clock())
    assert len(kept.keys) == 2
    renewed = session.renew()
    assert Basis.from_bytes(firm.authority.session(renewed.id).basis).keys == kept.keys
