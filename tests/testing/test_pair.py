"""What ztsession.testing promises to those who test with it."""

from __future__ import annotations

import threading

import pytest

from ztsession.errors import (
    Expired,
    NotPermitted,
    ReauthRequired,
    Revoked,
    Stale,
    StepUpRequired,
    TooOld,
    ZtsError,
)
from ztsession.risk.levels import Mode
from ztsession.testing import FakeClock, TestAuthority, pair


def test_a_pair_is_a_session_that_works():
    """Without any argument there are two operations of one segment, by the machine's own clock."""
    client, point = pair()
    with point:
        assert point.table.operations == ("orders.submit", "orders.cancel")
        for operation in point.table.operations:
            view = point.verifier(operation)(client.sign(operation, b"x"), b"x")
            assert (view.subject, view.mode) == ("algo-1", "NORMAL")


def test_operations_take_the_keys_of_a_catalog():
    """Effect, age, order and assurance can be said for each operation; what is not said is guessed by its
    name.
    """
    keys = {
        "md.quote": {"effect": "read", "max_age_ms": 50, "ordered": True},
        "md.cancel-feed": {},
        "md.go": {},
    }
    clock = FakeClock()
    client, point = pair("md", keys, clock=clock)
    effects = [operation.effect for operation in point._segment.operations]
    assert effects == ["read", "risk-reducing", "risk-increasing"]
    token = client.sign("md.quote", b"x")
    clock.advance(0.051)
    with pytest.raises(TooOld):
        point.verifier("md.quote")(token, b"x")


def test_one_hand_moves_every_clock():
    """Both ends and the wall clock follow the fake clock, forwards and back."""
    clock = FakeClock(machine_us=5_000_000, unix_s=1_000_000.0)
    client, point = pair(clock=clock)
    assert point.table.now_us() == client.table.now_us() == 5_000_000
    clock.advance(2.5)
    assert point.table.now_us() == client.table.now_us() == 7_500_000
    assert clock.time() == 1_000_002.5
    clock.advance(-1)
    assert (point.table.now_us(), clock.machine_us) == (6_500_000, 6_500_000)


def test_an_hour_passes_in_no_time():
    """Idle time, lifetime and lease run on the fake clock; maintain() stands in for the thread."""
    clock = FakeClock()
    client, point = pair(clock=clock, segment_keys={"idle_s": 3600, "epoch_length_s": 600})
    submit = point.verifier("orders.submit")
    clock.advance(3599)
    with pytest.raises(Stale):
        submit(client.sign("orders.submit", b"x"), b"x")
    assert point.maintain()
    assert submit(client.sign("orders.submit", b"x"), b"x")
    clock.advance(3601)
    with pytest.raises(Expired):
        point.verifier("orders.cancel")(client.sign("orders.cancel", b"x"), b"x")
    assert point.maintain()
    assert point.table.live == 0


def test_modes_can_be_set_and_narrowed():
    """What a TestAuthority decides is in force on return."""
    client, point = pair()
    with point:
        authority = point.authority
        assert isinstance(authority, TestAuthority)
        submit, session = point.verifier("orders.submit"), client.grant.session
        for mode, error in (
            (Mode.RESTRICTED, StepUpRequired),
            (Mode.SUSPENDED, ReauthRequired),
            (Mode.NORMAL, None),
            (Mode.REVOKED, Revoked),
        ):
            authority.set_mode(session, mode)
            assert outcome(submit, client) is error
        other = authority.connect(point)
        authority.narrow(other.grant.profile_digest(), [0, 0, 0])
        assert outcome(submit, other) is NotPermitted


def test_operations_can_be_kept_for_a_step_up():
    """With step_up= the client is told what would help, and the rest goes on."""
    client, point = pair(step_up=["orders.submit"])
    with point:
        assert outcome(point.verifier("orders.submit"), client) is StepUpRequired
        assert outcome(point.verifier("orders.cancel"), client, "orders.cancel") is None


def test_options_go_to_the_point():
    """Capacity, window and lease are those of EnforcementPoint; an unknown one is an error."""
    clock = FakeClock()
    _, point = pair(clock=clock, capacity=3, lease_us=1_000_000)
    assert point.table.capacity == 3
    assert point.table.lease_deadline_us == clock.machine_us + 1_000_000
    with pytest.raises(TypeError):
        pair(capacty=3)


def test_more_clients_can_be_connected():
    """Each has a session of its own; a fake clock is handed to each of them."""
    clock = FakeClock()
    first, point = pair(clock=clock)
    authority = point.authority
    others = [authority.connect(point, authority.grant(subject=f"algo-{n}"), clock=clock) for n in (2, 3)]
    submit = point.verifier("orders.submit")
    subjects = [submit(each.sign("orders.submit", b"x"), b"x").subject for each in (first, *others)]
    assert subjects == ["algo-1", "algo-2", "algo-3"]


def test_threads_may_decide_at_once():
    """Changes from eight threads are numbered without a gap, and the point hears all of them."""
    client, point = pair(clock=FakeClock())
    authority = point.authority

    def decide() -> None:
        for n in range(200):
            authority.set_mode(client.grant.session, (Mode.RESTRICTED, Mode.NORMAL)[n % 2])

    threads = [threading.Thread(target=decide) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [change.number for change in authority._changes] == list(range(1, 1601))
    assert point.maintain()
    assert point._listener._applied == 1600


def outcome(verify: object, client: object, operation: str = "orders.submit") -> type[ZtsError] | None:
    try:
        verify(client.sign(operation, b"x"), b"x")
    except ZtsError as error:
        return type(error)
    return None


def test_a_clock_of_the_tests_begins_with_a_fresh_lease():
    """The jump to the clock's own time is no silence of the Authority."""
    clock = FakeClock()
    _, point = pair(clock=clock)
    lease = point.lease()
    assert (lease.lost, lease.longest_silence_us, lease.stale) == (0, 0, False)
