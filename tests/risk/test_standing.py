"""Networks, withdrawals and quarantine: what stands, whom it hits, and who takes it back."""

from __future__ import annotations

from typing import Any

import pytest

from ztsession.errors import WireError
from ztsession.risk.actions import Action
from ztsession.risk.engine import RiskEngine
from ztsession.risk.kinds import Kind
from ztsession.risk.levels import Level, Mode
from ztsession.risk.networks import address_of, is_in, network_of
from ztsession.risk.rules import RiskRules
from ztsession.risk.signals import Signal

ONE, TWO, NEXT = b"1" * 16, b"2" * 16, b"3" * 16


def engine() -> RiskEngine:
    """Two sessions of ada and bob, on two devices, from two addresses."""
    made = RiskEngine(clock=lambda: 1_790_000_000.0)
    made.open(ONE, "ada", "host-1", mark=0, network="192.0.2.7")
    made.open(TWO, "bob", "host-2", mark=0, network="2001:db8::1")
    return made


def said(
    id: str,
    kind: str = "threat",
    level: Level = Level.HIGH,
    source: str = "feed",
    time: float = 1_790_000_000.0,
    **more: Any,
) -> Signal:
    return Signal(id, kind, level, source, time, **more)


def modes(of: RiskEngine) -> list[Mode]:
    return [of.session(session).mode for session in (ONE, TWO)]


def restored(of: RiskEngine, *targets: tuple[str, str]) -> RiskEngine:
    """The same after a restart."""
    kept = [data for data in map(of.standing_bytes, targets) if data]
    sessions = [of.session(session).to_bytes() for session in (ONE, TWO)]
    return RiskEngine.restore(kept, sessions, clock=lambda: 1_790_000_000.0, at=of.clock)


@pytest.mark.parametrize(
    ("network", "hit"),
    [
        ("192.0.2.7", [Mode.SUSPENDED, Mode.NORMAL]),
        ("::ffff:192.0.2.7", [Mode.SUSPENDED, Mode.NORMAL]),
        ("192.0.2.7/32", [Mode.SUSPENDED, Mode.NORMAL]),
        ("192.0.2.0/24", [Mode.SUSPENDED, Mode.NORMAL]),
        ("::ffff:192.0.2.0/120", [Mode.SUSPENDED, Mode.NORMAL]),
        ("0.0.0.0/0", [Mode.SUSPENDED, Mode.NORMAL]),
        ("2001:DB8:0::/48", [Mode.NORMAL, Mode.SUSPENDED]),
        ("192.0.2.8", [Mode.NORMAL, Mode.NORMAL]),
        ("192.0.3.0/24", [Mode.NORMAL, Mode.NORMAL]),
    ],
)
def test_a_network_hits_who_came_from_it(network: str, hit: list[Mode]) -> None:
    """An address in any spelling, and a network around it, hit the sessions from there, now and to come."""
    one = engine()
    one.signal(said("a", network=network))
    assert modes(one) == hit
    again = restored(one, ("network", network_of(network)))
    for each in (one, again):
        opened = each.open(NEXT, "eve", "host-3", mark=each.mark(), network="192.0.2.7")
        assert opened.mode is hit[0]
        assert each.open(NEXT, "eve", "host-3", mark=each.mark()).mode is Mode.NORMAL


def test_addresses_have_one_spelling() -> None:
    """What is no address is none; zones and IPv6 clothes are taken off; host bits are refused."""
    assert address_of("::FFFF:192.0.2.1") == address_of("192.0.2.1") == "192.0.2.1"
    assert address_of("fe80::1%eth0") == "fe80::1"
    assert address_of("/run/socket") == address_of("") == address_of("192.0.2.1:80") == ""
    assert network_of("192.0.2.1/32") == "192.0.2.1"
    assert network_of("::ffff:192.0.2.0/120") == "192.0.2.0/24"
    assert network_of("::ffff:0:0/96") == "0.0.0.0/0"
    assert network_of("::fffe:0:0/95") == "::fffe:0:0/95"
    assert not is_in("", "0.0.0.0/0")
    assert not is_in("", "")
    for wrong in ("192.0.2.1/24", "somewhere", "", "1.2.3.4/33"):
        with pytest.raises(ValueError, match=r".*"):
            network_of(wrong)


def test_H14_a_session_that_moves_meets_what_stands_where_it_arrives() -> None:
    """A renewal from an address that something stands against is hit by it, and by nothing twice."""
    one = engine()
    one.signal(said("a", level=Level.MEDIUM, network="198.51.100.0/24"))
    one.signal(said("b", level=Level.MEDIUM, subject="ada"))
    moved = one.renew(NEXT, ONE, mark=one.mark(), shown=frozenset({"posture"}), network="198.51.100.9")
    assert [each.signal.id for each in moved.unresolved] == ["a", "b"]
    assert [each.points for each in moved.unresolved] == [30_000, 30_000]
    assert moved.network == "198.51.100.9"
    assert one.signal(said("c", network="198.51.100.9")).modes[0].session == NEXT


def test_H14_a_session_that_moves_answers_only_by_what_it_shows() -> None:
    """What a handshake from there would have answered, a renewal does not: it shows posture and no factor."""
    one = engine()
    one.signal(said("a", "off-hours", Level.MEDIUM, network="198.51.100.0/24"))
    one.signal(said("b", "posture-drift", Level.MEDIUM, network="198.51.100.0/24"))
    shown = {"mark": one.mark(), "shown": frozenset({"posture"}), "network": "198.51.100.9"}
    moved = one.renew(NEXT, ONE, **shown)
    assert ([each.signal.id for each in moved.unresolved], moved.mode) == (["a"], Mode.RESTRICTED)
    one.signal(said("c", "off-hours", Level.HIGH, network="198.51.100.9"))
    assert one.renew(b"4" * 16, TWO, **shown).mode is Mode.SUSPENDED
    assert one.open(b"5" * 16, "eve", "x", mark=one.mark(), network="198.51.100.9").mode is Mode.NORMAL


def test_a_source_takes_back_what_it_said_and_nothing_else() -> None:
    """A withdrawal lifts that source's signals of that kind against that target, for all sessions."""
    one = engine()
    one.signal(said("a", "posture-drift", Level.MEDIUM, device="host-1"))
    one.signal(said("b", "posture-drift", Level.MEDIUM, "other", device="host-1"))
    one.signal(said("c", "threat", Level.MEDIUM, device="host-1"))
    for back in (
        said("d", "posture-drift", Level.LOW, "nobody", device="host-1", withdraws=True),
        said("e", "posture-drift", Level.LOW, device="host-2", withdraws=True),
    ):
        assert one.signal(back).modes == []
    assert len(one.session(ONE).unresolved) == 3
    one.signal(said("f", "posture-drift", Level.LOW, device="host-1", withdraws=True))
    assert [each.signal.id for each in one.session(ONE).unresolved] == ["b", "c"]
    one.signal(said("g", "posture-drift", Level.LOW, "other", device="host-1", withdraws=True))
    changes = one.signal(said("h", level=Level.LOW, device="host-1", withdraws=True)).modes
    assert [change.after for change in changes] == [Mode.NORMAL]
    assert one.standing_bytes(("device", "host-1")) == b""
    assert one.open(NEXT, "eve", "host-1", mark=one.mark()).mode is Mode.NORMAL


def test_R6_a_withdrawal_that_is_replayed_takes_nothing_back() -> None:
    """A second arrival of a withdrawal is a duplicate, so it cannot undo what was said since."""
    one = engine()
    one.signal(said("a", device="host-1"))
    back = said("b", level=Level.LOW, device="host-1", withdraws=True)
    one.signal(back)
    one.signal(said("c", device="host-1"))
    assert one.signal(back).duplicate
    assert modes(one) == [Mode.SUSPENDED, Mode.NORMAL]


def test_R3_a_withdrawal_that_was_overtaken_takes_back_nothing_newer() -> None:
    """What happened later stands although what came before it arrives after it, also over a restart."""
    one = engine()
    one.signal(said("a", time=100.0, device="host-1"))
    one.signal(said("b", time=300.0, device="host-1"))
    again = restored(one, ("device", "host-1"))
    for each in (one, again):
        assert each.signal(said("c", time=200.0, device="host-1", withdraws=True)).modes == []
        assert modes(each) == [Mode.SUSPENDED, Mode.NORMAL]
        assert each.open(NEXT, "eve", "host-1", mark=each.mark()).mode is Mode.SUSPENDED
        each.close(NEXT)
        assert each.signal(said("d", time=300.0, device="host-1", withdraws=True)).modes[0].session == ONE


@pytest.mark.parametrize("level", [Level.MEDIUM, Level.HIGH])
def test_R3_what_arrives_late_does_not_make_older_what_it_takes_the_place_of(level: Level) -> None:
    """A signal of before that arrives after a newer one, and a withdrawal between them, leave the newer."""
    one = engine()
    one.signal(said("a", level=Level.MEDIUM, time=300.0, device="host-1"))
    one.signal(said("b", level=level, time=100.0, device="host-1"))
    assert one.signal(said("c", time=200.0, device="host-1", withdraws=True)).modes == []
    assert one.session(ONE).mode >= Mode.RESTRICTED
    assert one.open(NEXT, "eve", "host-1", mark=one.mark()).mode >= Mode.RESTRICTED
    one.signal(said("d", time=300.0, device="host-1", withdraws=True))
    assert modes(one) == [Mode.NORMAL, Mode.NORMAL]


def test_R18_a_withdrawal_brings_nobody_back_who_is_revoked() -> None:
    """What ended stays over; a new session may begin."""
    one = engine()
    one.signal(said("a", level=Level.CRITICAL, subject="ada"))
    one.signal(said("b", level=Level.LOW, subject="ada", withdraws=True))
    assert modes(one) == [Mode.REVOKED, Mode.NORMAL]
    assert one.open(NEXT, "ada", "host-1", mark=one.mark()).mode is Mode.NORMAL


@pytest.mark.parametrize(
    ("target", "hit"),
    [
        (("subject", "ada"), [Mode.REVOKED, Mode.NORMAL]),
        (("device", "host-2"), [Mode.NORMAL, Mode.REVOKED]),
        (("network", "192.0.2.0/24"), [Mode.REVOKED, Mode.NORMAL]),
    ],
)
def test_quarantine_ends_what_is_there_and_what_would_come(target: tuple[str, str], hit: list[Mode]) -> None:
    """Every session of the target ends, none begins until the release, and a restart changes nothing."""
    one = engine()
    reaction = one.quarantine(target, "looks\nodd")
    assert (modes(one), reaction.standing) == (hit, [target])
    assert all("is quarantined: looks\\nodd" in change.why for change in reaction.modes)
    places = {"subject": ("ada", "x", ""), "device": ("x", "host-2", ""), "network": ("x", "x", "192.0.2.9")}
    who, device, network = places[target[0]]
    for each in (one, restored(one, target)):
        opened = each.open(NEXT, who, device, mark=each.mark(), network=network)
        assert (opened.mode, "quarantined" in opened.ended) == (Mode.REVOKED, True)
        assert each.open(NEXT, "x", "y", mark=each.mark()).mode is Mode.NORMAL
        assert each.release(target)
        assert not each.release(target)
        assert each.open(NEXT, who, device, mark=each.mark(), network=network).mode is Mode.NORMAL
        assert modes(each) == hit
        assert each.standing_bytes(target) == b""


def test_a_signal_whose_action_is_quarantine_needs_nobody_connected() -> None:
    """An account that is gone is shut out before it ever comes; a kind's action decides who is."""
    one = engine()
    reaction = one.signal(said("a", "account", Level.CRITICAL, subject="carol"))
    assert (reaction.quarantined, reaction.action) == ([("subject", "carol")], Action.QUARANTINE_SUBJECT)
    assert one.open(NEXT, "carol", "host-1", mark=one.mark()).mode is Mode.REVOKED
    hit = one.signal(said("b", "account", Level.CRITICAL, session=ONE))
    assert hit.quarantined == [("subject", "ada")]
    assert modes(one) == [Mode.REVOKED, Mode.NORMAL]


def test_H14_what_does_something_at_low_stands_too() -> None:
    """Where the operator gives LOW an action or points, connecting again is no way out of it either."""
    kinds = {
        "strict": Kind(actions=(Action.SUSPEND, *Kind().actions[1:])),
        "counted": Kind(points=(45, 45, 45, 45)),
        "noted": Kind(actions=(Action.ALERT, *Kind().actions[1:])),
    }
    for kind, mode in (("strict", Mode.SUSPENDED), ("counted", Mode.RESTRICTED), ("noted", Mode.NORMAL)):
        one = RiskEngine(RiskRules(kinds=kinds), clock=lambda: 1_790_000_000.0)
        one.signal(said("a", kind, Level.LOW, subject="ada"))
        assert one.open(ONE, "ada", "host-1", mark=one.mark()).mode is mode
        # What does nothing takes no room: a flood of it costs no memory (D8).
        assert (one.standing_bytes(("subject", "ada")) == b"") == (kind == "noted")


def test_a_kind_that_there_is_not_is_refused_before_it_counts() -> None:
    """An unknown kind changes nothing, and its id may be used again."""
    one = engine()
    with pytest.raises(WireError, match=r"signal\.kind.*risk\.toml"):
        one.signal(said("a", "mood", subject="ada"))
    assert one.mark() == 0
    assert one.signal(said("a", subject="ada")).modes[0].after is Mode.SUSPENDED


def test_D8_what_is_over_leaves_nothing_behind() -> None:
    """Networks that nothing stands against any more, and names that nobody bears, take no room."""
    one = engine()
    for number in range(100):
        network = f"10.{number}.0.0/16"
        one.signal(said(f"a-{number}", network=network))
        one.quarantine(("network", f"10.{number}.0.1"), "x")
        one.quarantine(("network", network), "x")
        one.resolve("threat", ("network", network))
        assert one._standing._wide == {("network", network): None}
        assert one.release(("network", network))
        one.release(("network", f"10.{number}.0.1"))
        one.signal(said(f"b-{number}", network=network))
        one.resolve("threat", ("network", network))
        assert one._standing._wide == {}
        one.open(NEXT, f"n-{number}", f"d-{number}", mark=one.mark(), network="10.0.0.1")
        one.close(NEXT)
    one.close(ONE)
    one.close(TWO)
    assert (one._standing._wide, one._standing._signals, one._sessions._by) == ({}, {}, {})
    assert (one._sessions._with_signals, one._cooling) == ({}, {})


def test_D8_a_flood_against_one_name_is_kept_as_one() -> None:
    """What stands is kept as a session keeps it, so a thousand signals are few."""
    one = engine()
    for number in range(1000):
        one.signal(said(f"a-{number}", level=Level.MEDIUM, subject="carol"))
    assert len(one.standing_bytes(("subject", "carol"))) < 1000


def test_resolving_one_kind_leaves_the_others_standing_for_who_comes() -> None:
    """Also when nobody is connected to show it."""
    one = engine()
    one.signal(said("a", "threat", subject="carol"))
    one.signal(said("b", "operator", subject="carol"))
    one.resolve("threat", ("subject", "carol"))
    assert [each.signal.id for each in one.open(NEXT, "carol", "x", mark=2).unresolved] == ["b"]


def test_quarantines_are_listed_in_order_and_with_a_reason_of_bounded_length() -> None:
    """By target, whoever was first; a long reason can be kept all the same."""
    one = engine()
    one.quarantine(("subject", "b"), "x" * 1000)
    one.quarantine(("subject", "a"), "\u202e" * 300)
    assert [each.target for each in one.quarantines()] == [("subject", "a"), ("subject", "b")]
    assert [len(each.why) for each in one.quarantines()] == [256, 256]
    opened = one.open(NEXT, "b", "x", mark=0)
    assert one.standing_bytes(("subject", "b"))
    assert opened.to_bytes()


def test_a_signal_cannot_be_changed_by_who_made_it() -> None:
    """What was checked is what counts."""
    evidence = {"a": "b"}
    one = said("a", subject="ada", evidence=evidence)
    evidence["a"] = "c" * 300
    assert one.evidence == {"a": "b"}
