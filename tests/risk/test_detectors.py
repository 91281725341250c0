"""Each detector finds its attack among real calls at a real point, and nothing in normal trading."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest
from scenes import Trading

from ztsession.errors import BadTag, Denied, NotPermitted, Revoked
from ztsession.policy.calendar import Moment
from ztsession.risk.detectors.concurrency import Concurrency, at_once
from ztsession.risk.detectors.denials import Denials
from ztsession.risk.detectors.lateral import LateralMovement
from ztsession.risk.detectors.off_hours import OffHours, UsualHours
from ztsession.risk.detectors.order_rate import OrderRate
from ztsession.risk.detectors.protocol import Finding
from ztsession.risk.detectors.replays import Replays
from ztsession.risk.detectors.settings import DetectorSettings
from ztsession.risk.detectors.stale_posture import StalePosture
from ztsession.risk.detectors.standard import StandardDetectors
from ztsession.risk.detectors.strangers import SOURCES_MAX, Strangers
from ztsession.risk.levels import Level, Mode

EVERY_DAY = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
WEEK = EVERY_DAY[:5]


def told(trading: Trading) -> list[tuple[str, Level, tuple[str, str]]]:
    return [(signal.kind, signal.level, signal.target) for signal in trading.told]


# ---- Order rate


def test_a_session_that_calls_ten_times_as_often_is_found() -> None:
    """Beside another that always did: only the one that changed is told of, once."""
    trading = Trading()
    watch, busy = trading.watch(OrderRate()), trading.join(subject="market-maker")
    for _ in range(65):
        for client, calls in ((trading.client, 3), (busy, 60)):
            for _ in range(calls):
                trading.call(client=client)
        trading.pass_time(1)
        assert watch.once() == []
    trading.trade(watch, 3, 60, [trading.client, busy])
    assert told(trading) == [("order-rate", Level.MEDIUM, ("session", trading.session.hex()))]
    assert dict(trading.told[0].evidence) == {"per_second": "60.0", "usually": "3.0", "segment": "orders"}


def test_normal_trading_raises_nothing() -> None:
    """A day with an opening rush, quiet hours, bursts, late and repeated messages and a mistake or two."""
    trading, random_ = Trading(), random.Random(7)
    detectors = StandardDetectors(trading.settings, kind_of=lambda _: "algorithm", clock=trading.clock.time)
    watch = trading.watch(*detectors)
    trading.take_away("orders.status")
    for rate in (40, 30, 10, 4, 12, 5, 25):
        for second in range(30):
            tokens = [trading.call() for _ in range(random_.randrange(rate // 2, 2 * rate))]
            if second % 15 == 0:
                # A transport that repeats; a stranger; something that it may not.
                assert trading.say(tokens[0]) is not None
                detectors.strangers.refused("192.0.2.1", BadTag())
            if second == 20:
                refused = trading.say(trading.client.sign("orders.status", b"body"))
                assert isinstance(refused, NotPermitted)
            late = trading.client.sign("orders.submit", b"body")
            trading.pass_time(1.0)
            watch.once()
        trading.pass_time(3.0)
        assert trading.say(late) is not None
    assert trading.told == []


def test_a_level_of_the_operators_is_the_signals() -> None:
    """Each detector says its finding at the level that it was given."""
    trading = Trading(replays=1)
    watch = trading.watch(Replays(Level.CRITICAL))
    trading.say(trading.call())
    assert [signal.level for signal in watch.once()] == [Level.CRITICAL]


# ---- Replays


def test_T1_replayed_tokens_are_told_of_as_the_sessions() -> None:
    """A recorded token that comes again and again is held against the session that it was recorded of."""
    trading = Trading()
    watch, other = trading.watch(Replays()), trading.join(subject="algo-2")
    token = trading.call()
    trading.call(client=other)
    for _ in range(19):
        assert trading.say(token) is not None
    assert watch.once() == []
    assert trading.say(token) is not None
    [signal] = watch.once()
    assert told(trading) == [("replay", Level.MEDIUM, ("session", trading.session.hex()))]
    assert signal.evidence["replayed"] == "1"


def test_tokens_of_another_time_are_told_of() -> None:
    """Tokens that are held back, and such of a clock that runs ahead, count as well."""
    trading = Trading(replays=10)
    watch = trading.watch(Replays())
    late = [trading.client.sign("orders.submit", b"body") for _ in range(5)]
    trading.pass_time(3)
    for token in late:
        assert trading.say(token) is not None
    trading.client.table.set_manual_clock(trading.clock.machine_us + 2_000_000)
    for _ in range(5):
        assert trading.say(trading.client.sign("orders.submit", b"body")) is not None
    [signal] = watch.once()
    assert [signal.evidence[name] for name in ("replayed", "too_old", "from_future")] == ["0", "5", "5"]


# ---- Denials and lateral movement


def test_a_burst_of_denials_is_noted_with_what_was_asked_for() -> None:
    """LOW, against the session, with the operations that the server told of."""
    trading = Trading()
    denials = Denials()
    watch = trading.watch(denials)
    trading.take_away("orders.amend", "orders.status")
    for operation in ("orders.amend", "orders.status", "orders.amend"):
        token = trading.client.sign(operation, b"body")
        error = trading.say(token)
        assert isinstance(error, NotPermitted)
        denials.refused(token, error)
    # Somebody else's refusals, and what is no token, are let be.
    denials.refused(trading.call(), Revoked())
    denials.refused(b"", NotPermitted())
    [signal] = watch.once()
    assert told(trading) == [("behaviour", Level.LOW, ("session", trading.session.hex()))]
    assert dict(signal.evidence) == {
        "denied": "3",
        "operations": "orders.amend orders.status",
        "segment": "orders",
    }


def test_D6_what_was_asked_for_is_kept_of_so_many_sessions() -> None:
    """Memory is bounded however many sessions ask for what they may not have."""
    denials = Denials()
    for handle in range(10_000):
        denials.refused(bytes(8) + handle.to_bytes(8, "little") + bytes(32), NotPermitted())
    assert len(denials._asked) == 4096


def test_a_long_list_of_operations_ends_at_a_whole_name() -> None:
    """Evidence has 256 bytes; a name that does not fit is left out and not cut in two."""
    from ztsession.risk.detectors.denials import _listed

    names = [f"orders.operation-{n:02}" for n in range(20)]
    assert _listed(names[:3]) == " ".join(names[:3])
    assert _listed(names).split() == names[:12]
    assert len(_listed(names)) <= 256


def lateral(**options: Any) -> tuple[LateralMovement, SimpleNamespace]:
    clock = SimpleNamespace(now=1_000_000.0)
    return LateralMovement(clock=lambda: clock.now, **options), clock


def test_a_subject_that_is_denied_in_two_segments_moves() -> None:
    """HIGH against the subject, with where; the same twice in one segment is no movement."""
    movement, clock = lateral()
    assert movement.denied("ada", "orders") is None
    clock.now += 300
    assert movement.denied("ada", "orders") is None
    assert movement.denied("bob", "risk") is None
    found = movement.denied("ada", "risk")
    assert found is not None
    assert (found.kind, found.level, found.subject) == ("lateral-movement", Level.HIGH, "ada")
    assert dict(found.evidence) == {"segments": "orders risk", "operations": "0"}


def test_many_operations_of_one_segment_are_movement_too() -> None:
    """Eight different ones, however often each."""
    movement, _ = lateral()
    for n in range(7):
        for _ in range(3):
            assert movement.denied("ada", "orders", [f"orders.{n}"]) is None
    assert movement.denied("ada", "orders", ["orders.7"]) is not None


def test_what_is_long_past_is_no_movement() -> None:
    """Two segments count only within the window."""
    movement, clock = lateral(within_s=600)
    assert movement.denied("ada", "orders") is None
    clock.now += 601
    assert movement.denied("ada", "risk") is None
    clock.now += 600
    assert movement.denied("ada", "orders") is not None


def test_D6_movement_is_remembered_of_so_many() -> None:
    """Neither subjects nor doors grow without an end."""
    movement, _ = lateral(segments=10_000, operations=10_000)
    for n in range(70_000):
        movement.denied(f"s{n}", "orders")
    assert len(movement) == 65_536
    for n in range(1000):
        movement.denied("ada", f"segment-{n}")
    assert len(movement._doors["ada"]) == 256


# ---- Strangers


def test_D10_a_strangers_garbage_is_held_against_its_source_and_never_a_session() -> None:
    """Forged tokens for a live handle: an alert about the address, LOW; the session is not even mentioned."""
    trading = Trading()
    strangers = Strangers(clock=trading.clock.time)
    watch = trading.watch(strangers, Replays(), Denials(), OrderRate())
    good = trading.client.sign("orders.submit", b"body")
    for n in range(100):
        forged = bytearray(good)
        forged[32 + n % 16] ^= 1
        error = trading.say(bytes(forged))
        assert error is not None
        strangers.refused("198.51.100.7", error)
        strangers.refused("203.0.113.1" if n % 2 else "not an address", error)
    assert trading.say(good) is None
    watch.once()
    assert told(trading) == [("threat", Level.LOW, ("network", "198.51.100.7"))]
    assert trading.told[0].evidence["refused"] == "100"


def test_verdicts_that_a_session_answers_for_are_no_strangers() -> None:
    """What came after the tag had held is not counted for the address."""
    strangers = Strangers(count=1)
    for error in (NotPermitted(), Revoked(), Denied()):
        strangers.refused("192.0.2.1", error)
    assert len(strangers) == 0


def test_D8_strangers_take_so_much_memory_and_a_loud_one_stands_out() -> None:
    """A flood from many addresses with one that sends a tenth of it: the places are bounded, and that one
    is found.
    """
    trading, noise = Trading(), random.Random(3)
    strangers = Strangers(clock=trading.clock.time)
    watch = trading.watch(strangers)
    for n in range(30_000):
        source = f"2001:db8:{noise.randrange(65536):x}:{noise.randrange(65536):x}::{n:x}"
        strangers.refused("192.0.2.9" if n % 10 == 0 else source, BadTag())
        assert len(strangers) <= SOURCES_MAX
    watch.once()
    assert [target for _, _, target in told(trading)] == [("network", "192.0.2.9")]


def test_D2_one_network_of_ipv6_is_one_source() -> None:
    """A /64 is one customer's; an IPv4 address is itself in whatever clothes."""
    trading = Trading()
    strangers = Strangers(count=4, clock=trading.clock.time)
    watch = trading.watch(strangers)
    for n in range(4):
        strangers.refused(f"2001:db8:1:2::{n:x}", BadTag())
        strangers.refused("::ffff:192.0.2.1" if n % 2 else "192.0.2.1", BadTag())
        strangers.refused(f"2001:db8:1:{n + 3:x}::1", BadTag())
    watch.once()
    assert [signal.network for signal in trading.told] == ["2001:db8:1:2::/64", "192.0.2.1"]


def test_strangers_are_forgotten_after_a_while(caplog: pytest.LogCaptureFixture) -> None:
    """Counts begin anew with each window; those without an address are told in the log."""
    trading = Trading()
    strangers = Strangers(count=10, within_s=60, clock=trading.clock.time)
    watch = trading.watch(strangers)
    for _ in range(3):
        for _ in range(9):
            strangers.refused("192.0.2.1", BadTag())
        watch.once()
        trading.pass_time(61)
        watch.once()
    assert trading.told == []
    for _ in range(10):
        strangers.refused("", BadTag())
    trading.pass_time(61)
    watch.once()
    assert "10 from sources without an address" in caplog.text


# ---- Hours


def test_a_call_at_night_is_found_once_for_the_shift() -> None:
    """Only of whom the hours are given; being connected is not being at work; who has answered is not asked
    again at once.
    """
    trading = Trading()
    midnight = trading.clock.time() // 86_400 * 86_400
    hour = SimpleNamespace(now=12)
    kinds = {"algo-1": "human", "algo-2": "algorithm"}
    detector = OffHours(
        {"human": UsualHours(700, 1900)},
        kind_of=kinds.__getitem__,
        clock=lambda: midnight + 3600 * hour.now,
    )
    watch = trading.watch(detector, clock=lambda: midnight + 3600 * hour.now)
    robot = trading.join(subject="algo-2")

    def both() -> None:
        trading.call()
        trading.call(client=robot)

    both()
    assert watch.once() == []
    hour.now = 22
    assert watch.once() == []
    both()
    [signal] = watch.once()
    assert told(trading) == [("off-hours", Level.MEDIUM, ("session", trading.session.hex()))]
    assert (signal.evidence["hhmm"], signal.evidence["kind"]) == ("2200", "human")
    found = []
    for hour.now in (23, 24, 25, 26):
        both()
        found.append(len(watch.once()))
    assert found == [0, 0, 0, 1]


@pytest.mark.parametrize(
    ("usual", "moment", "holds"),
    [
        (UsualHours(), Moment(300, "sun", 20260101, "closed"), True),
        (UsualHours(700, 1900), Moment(700, "mon", 20260101, "closed"), True),
        (UsualHours(700, 1900), Moment(659, "mon", 20260101, "closed"), False),
        (UsualHours(700, 1900), Moment(1900, "mon", 20260101, "closed"), False),
        (UsualHours(700, 1900, WEEK), Moment(1200, "sat", 20260101, "closed"), False),
        (UsualHours(2200, 600, WEEK), Moment(2330, "fri", 20260101, "closed"), True),
        (UsualHours(2200, 600, WEEK), Moment(300, "sat", 20260101, "closed"), True),
        (UsualHours(2200, 600, WEEK), Moment(300, "mon", 20260101, "closed"), False),
        (UsualHours(2200, 600, WEEK), Moment(1200, "mon", 20260101, "closed"), False),
        (UsualHours(phases=("continuous",)), Moment(1000, "mon", 20260101, "continuous"), True),
        (UsualHours(phases=("continuous",)), Moment(1000, "mon", 20260101, "closed"), False),
    ],
)
def test_usual_hours(usual: UsualHours, moment: Moment, holds: bool) -> None:
    """Edges, days, nights that belong to the evening before, and phases."""
    assert usual.hold(moment) == holds


# ---- Concurrency


def live(subject: str, device: str, mode: Mode = Mode.NORMAL) -> Any:
    return SimpleNamespace(subject=subject, device=device, mode=mode)


def test_one_person_on_two_devices_is_found() -> None:
    """Against the subject, with the places; two sessions on one device, and services, are none."""
    sessions = [
        live("ada", "desk-1"),
        live("ada", "desk-1"),
        live("bob", "desk-2"),
        live("bob", "home-7"),
        live("eve", "desk-3"),
        live("eve", "none"),
        live("feed", "host-1"),
        live("feed", "host-2"),
    ]
    found = list(at_once(sessions, lambda who: who != "feed"))
    assert [(f.kind, f.subject, f.evidence["devices"]) for f in found] == [
        ("concurrency", "bob", "desk-2 home-7"),
        ("concurrency", "eve", "desk-3 none"),
    ]


@pytest.mark.parametrize(
    ("first", "second", "level"),
    [
        (Mode.NORMAL, Mode.NORMAL, Level.MEDIUM),
        (Mode.RESTRICTED, Mode.NORMAL, Level.LOW),
        (Mode.RESTRICTED, Mode.SUSPENDED, Level.LOW),
    ],
)
def test_a_second_place_that_may_not_do_everything_is_a_note(first: Mode, second: Mode, level: Level) -> None:
    """What is left of a host that has failed does not stop the one that took over again and again."""
    sessions = [
        live("ada", "host-1", first),
        live("ada", "host-2", second),
        live("ada", "host-2", Mode.RESTRICTED),
    ]
    [found] = at_once(sessions, lambda _: True)
    assert found.level is level


def test_the_list_of_sessions_is_not_read_with_each_pass() -> None:
    """Every half minute, however often the point is looked at; kinds are judged as they are configured."""
    trading, read = Trading(), list[float]()

    def sessions() -> list[Any]:
        read.append(trading.clock.time())
        return [live("ada", "desk-1"), live("ada", "home-1"), live("feed", "a"), live("feed", "b")]

    kinds = {"ada": "human", "feed": "service"}
    watch = trading.watch(Concurrency(sessions, kind_of=kinds.__getitem__, clock=trading.clock.time))
    for _ in range(62):
        watch.once()
        trading.pass_time(1)
    assert len(read) == 3
    assert told(trading) == [("concurrency", Level.MEDIUM, ("subject", "ada"))]


# ---- Posture


def test_H19_a_session_that_shows_nothing_for_too_long_is_found() -> None:
    """While it calls; one that was renewed has a session of its own."""
    trading = Trading(posture_max_age_s=1200)
    watch = trading.watch(StalePosture(max_age_s=1200, clock=trading.clock.time))
    for _ in range(4):
        trading.call()
        assert watch.once() == []
        trading.pass_time(300)
    trading.pass_time(1)
    assert watch.once() == []
    trading.call()
    [signal] = watch.once()
    assert told(trading) == [("posture-silence", Level.MEDIUM, ("session", trading.session.hex()))]
    assert (signal.evidence["age_s"], signal.evidence["device"]) == ("1201", "host-1")
    renewed = trading.join()
    trading.call(client=renewed)
    assert watch.once() == []


def test_when_it_was_shown_is_asked_of_who_knows() -> None:
    """With ``shown_at`` no second presentation of the ticket makes the evidence younger."""
    trading, shown = Trading(), dict[bytes, float]()
    watch = trading.watch(StalePosture(max_age_s=600, shown_at=shown.get, clock=trading.clock.time))
    shown[trading.session] = trading.clock.time() - 599
    trading.call()
    assert watch.once() == []
    trading.pass_time(2)
    trading.call()
    assert [signal.kind for signal in watch.once()] == ["posture-silence"]


def test_what_has_no_device_shows_none() -> None:
    """A session of no device is never silent about it."""
    from ztsession.posture.devices import NO_DEVICE
    from ztsession.risk.detectors.stale_posture import StalePosture as Detector

    class Scan:
        known_us = (10**12,)

        def active(self, first: int, limit: int) -> tuple[list[int], int]:
            return [0], 0

        def record(self, row: int) -> Any:
            return SimpleNamespace(session=b"s" * 16, device=NO_DEVICE)

    assert list(Detector(max_age_s=1).look(Scan())) == []  # type: ignore[arg-type]


# ---- Findings


def test_a_finding_has_one_name_while_it_lasts() -> None:
    """The same id within its window, another afterwards, at a worse level, and against another."""
    finding = Finding("replay", Level.MEDIUM, session=b"s" * 16, evidence={"n": "1"}, lasts_s=300)
    first, again = finding.signal("point:x", 900.0), finding.signal("point:x", 1199.9, segment="orders")
    assert first.id == again.id
    assert dict(again.evidence) == {"n": "1", "segment": "orders"}
    others = [
        finding.signal("point:x", 1200.0),
        Finding("replay", Level.HIGH, session=b"s" * 16).signal("point:x", 900.0),
        Finding("replay", Level.MEDIUM, session=b"t" * 16).signal("point:x", 900.0),
        Finding("behaviour", Level.MEDIUM, session=b"s" * 16).signal("point:x", 900.0),
        Finding("replay", Level.MEDIUM, subject="s").signal("point:x", 900.0),
    ]
    assert len({first.id, *(other.id for other in others)}) == 6


def test_the_standard_detectors_are_those_of_the_settings() -> None:
    """Levels and counts of detectors.toml reach the detectors that a point has."""
    chosen = DetectorSettings(rate_level=Level.HIGH, strangers=7, posture_max_age_s=77)
    detectors = StandardDetectors(chosen)
    kinds = [type(each).__name__ for each in detectors]
    assert kinds == ["OrderRate", "Denials", "Replays", "Strangers", "OffHours", "StalePosture"]
    assert detectors.denials in detectors
    assert detectors.strangers._count == 7
