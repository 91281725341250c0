"""The flood gate alone, with a clock in the test's hand: who gets in, who is asked for a cookie, who not."""

from __future__ import annotations

import os
import threading
from collections import Counter
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ztsession.authority import gate as gate_module
from ztsession.authority.gate import HALF_OPEN_S, Gate
from ztsession.errors import Overloaded
from ztsession.handshake.messages import COOKIE_BYTES_MAX, CookieDemand, Hello
from ztsession.limits import COOKIE_SECRET_S, HANDSHAKES_PER_SOURCE_PER_S
from ztsession.wire.source import address_of, network_of

HERE, THERE = "192.0.2.1", "192.0.2.2"


class ManualClock:
    def __init__(self) -> None:
        self.now = 5000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def sources(number: int) -> list[str]:
    return [f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(number)]


def entered(gate: Gate, source: str, times: int, cookie: bytes = b"") -> int:
    """How many of so many first messages get in without more ado."""
    count = 0
    for _ in range(times):
        with suppress(Overloaded):
            count += gate.enter(source, cookie) is None
    return count


def cookie_for(gate: Gate, source: str, cookie: bytes = b"") -> bytes:
    demand = gate.enter(source, cookie)
    assert demand is not None
    return CookieDemand.from_bytes(demand).cookie


# ---- The share of one source


def test_D1_one_source_has_its_share_and_the_others_keep_theirs(clock: ManualClock):
    """A source over its rate is turned away as overloaded; another is let in; the share comes back."""
    gate = Gate(clock)
    assert entered(gate, HERE, 1000) == HANDSHAKES_PER_SOURCE_PER_S
    with pytest.raises(Overloaded):
        gate.enter(HERE, b"")
    assert gate.enter(THERE, b"") is None
    clock.now += 0.5
    assert entered(gate, HERE, 1000) == HANDSHAKES_PER_SOURCE_PER_S // 2
    clock.now += 3600
    assert entered(gate, HERE, 1000) == HANDSHAKES_PER_SOURCE_PER_S


def test_D1_an_ipv6_network_is_one_source(clock: ManualClock):
    """Addresses of one /64 share what is one customer's; those of another /64 have their own."""
    gate = Gate(clock, per_source_per_s=3)
    assert sum(entered(gate, f"2001:db8::{n:x}", 1) for n in range(100)) == 3
    assert sum(entered(gate, f"2001:db8:0:{n:x}::1", 1) for n in range(1, 100)) == 99


@pytest.mark.parametrize(
    ("one", "other", "same_address", "same_network"),
    [
        ("192.0.2.1", "192.0.2.1", True, True),
        ("192.0.2.1", "192.0.2.2", False, False),
        ("192.0.2.1", "::ffff:192.0.2.1", True, True),
        ("2001:db8::1", "2001:0DB8:0::0001", True, True),
        ("2001:db8::1", "2001:db8::2", False, True),
        ("2001:db8::1", "2001:db8:0:1::1", False, False),
        ("fe80::1%eth0", "fe80::1", True, True),
        ("gateway-1", "gateway-2", False, False),
        ("\ud800", "x" * 100_000, False, False),
    ],
)
def test_the_spellings_of_an_address_are_one_source(
    one: str, other: str, same_address: bool, same_network: bool
):
    """IPv4 by address, IPv6 by /64, mapped IPv4 as IPv4, other names as they are."""
    assert (address_of(one) == address_of(other)) is same_address
    assert (network_of(address_of(one)) == network_of(address_of(other))) is same_network
    assert len(address_of(other)) <= 32


def test_this_process_is_never_limited(clock: ManualClock):
    """A call from within, or over a Unix socket, passes a gate that is closed to everybody else."""
    gate = Gate(clock, per_source_per_s=1, busy_per_s=0, half_open_max=1)
    gate.opened(HERE)
    with pytest.raises(Overloaded):
        gate.opened(THERE)
    assert entered(gate, "", 1000) == 1000
    assert all(gate.closed(gate.opened("")) for _ in range(1000))
    assert gate.half_open == 1


# ---- Cookies


def test_D1_under_load_newcomers_are_asked_for_a_cookie_and_come_back_with_it(clock: ManualClock):
    """Over the rate in all, nothing is done for who does not say the cookie again; who does is let in."""
    gate = Gate(clock, busy_per_s=20)
    assert sum(entered(gate, source, 1) for source in sources(5000)) == 20
    assert gate.busy
    cookie = cookie_for(gate, HERE)
    assert 16 <= len(cookie) <= COOKIE_BYTES_MAX
    assert Hello.from_bytes(Hello(["orders.*"], b"", cookie).to_bytes()).cookie == cookie
    assert gate.enter(HERE, cookie) is None


def test_D1_who_proved_his_address_still_has_only_his_share(clock: ManualClock):
    """A cookie may be said more than once, and as often as the rate allows."""
    gate = Gate(clock, per_source_per_s=5, busy_per_s=0)
    cookie = cookie_for(gate, HERE)
    assert entered(gate, HERE, 100, cookie) == 5
    with pytest.raises(Overloaded):
        gate.enter(HERE, cookie)


def test_D1_nobody_uses_up_the_share_of_an_address_that_is_not_his(clock: ManualClock):
    """Under load, first messages in another's name cost that other nothing."""
    gate = Gate(clock, per_source_per_s=5, busy_per_s=0)
    assert entered(gate, HERE, 1000) == 0
    assert gate.enter(HERE, cookie_for(gate, HERE)) is None


def test_D1_the_load_is_over_when_the_flood_is(clock: ManualClock):
    """A second after the flood nobody is asked for anything."""
    gate = Gate(clock, busy_per_s=20)
    for source in sources(100):
        gate.enter(source, b"")
    assert gate.busy
    clock.now += 1.0
    assert not gate.busy
    assert gate.enter(HERE, b"") is None


def test_D1_a_source_over_its_rate_does_not_make_load_for_others(clock: ManualClock):
    """What is turned away is not work, so one that hammers alone gets nobody asked for cookies."""
    gate = Gate(clock)
    entered(gate, HERE, 10_000)
    assert not gate.busy


def test_D2_a_cookie_from_another_address_is_none(clock: ManualClock):
    """A cookie serves the address that it was sent to, in any spelling, and not even its neighbour."""
    gate = Gate(clock, busy_per_s=0)
    for owner, spelling, neighbour in (
        (HERE, f"::ffff:{HERE}", THERE),
        ("2001:db8::1", "2001:DB8::01", "2001:db8::2"),
        ("gateway-1", "gateway-1", "gateway-10"),
    ):
        cookie = cookie_for(gate, owner)
        assert cookie_for(gate, neighbour, cookie) != cookie
        assert gate.enter(owner, cookie) is None
        assert gate.enter(spelling, cookie) is None


def test_D2_a_cookie_of_another_gate_is_none(clock: ManualClock):
    """Its secret is its own, and the process that starts next has another."""
    one, other = Gate(clock, busy_per_s=0), Gate(clock, busy_per_s=0)
    cookie = cookie_for(one, HERE)
    assert other.enter(HERE, cookie) is not None
    assert one.enter(HERE, cookie) is None


def test_D2_a_cookie_with_a_changed_bit_or_length_is_none(clock: ManualClock):
    """There is one form of each cookie."""
    gate = Gate(clock, busy_per_s=0)
    cookie = cookie_for(gate, HERE)
    for bit in range(8 * len(cookie)):
        flipped = bytearray(cookie)
        flipped[bit // 8] ^= 1 << bit % 8
        assert gate.enter(HERE, bytes(flipped)) is not None
    for other in (*(cookie[:n] for n in range(len(cookie))), cookie + b"\0", bytes(len(cookie))):
        assert gate.enter(HERE, other) is not None
    assert gate.enter(HERE, cookie) is None


@pytest.mark.parametrize("began_s", [0.0, 0.5 * COOKIE_SECRET_S, COOKIE_SECRET_S - 1])
def test_D2_a_cookie_lives_as_long_as_its_secret_and_the_next(clock: ManualClock, began_s: float):
    """Good for one lifetime of a secret whenever it was made, and never for two."""
    gate = Gate(clock, busy_per_s=0)
    clock.now += began_s
    cookie = cookie_for(gate, HERE)
    clock.now += COOKIE_SECRET_S
    assert gate.enter(HERE, cookie) is None
    clock.now += COOKIE_SECRET_S
    assert gate.enter(HERE, cookie) is not None


def test_D2_after_a_long_quiet_no_old_cookie_holds(clock: ManualClock):
    """Secrets age while nobody comes."""
    gate = Gate(clock, busy_per_s=0)
    cookie = cookie_for(gate, HERE)
    clock.now += 86400
    assert gate.enter(HERE, cookie) is not None


# ---- Handshakes that are not finished


def test_D4_beyond_the_limit_no_more_handshakes_are_held_open(clock: ManualClock):
    """When every place is taken the next is turned away; one that finishes makes room for one."""
    gate = Gate(clock, half_open_max=8)
    tokens = [gate.opened(source) for source in sources(8)]
    with pytest.raises(Overloaded):
        gate.opened(HERE)
    assert gate.half_open == 8
    assert gate.closed(tokens[3])
    assert gate.closed(gate.opened(HERE))
    assert gate.half_open == 7


def test_D4_clients_that_never_come_back_free_their_places(clock: ManualClock):
    """A place falls free after its time, and who comes back later is told so."""
    gate = Gate(clock, half_open_max=8)
    tokens = [gate.opened(source) for source in sources(8)]
    clock.now += HALF_OPEN_S - 0.001
    assert gate.half_open == 8
    assert gate.closed(tokens.pop())
    clock.now += 0.001
    assert gate.half_open == 0
    assert not any(gate.closed(token) for token in tokens)
    assert all(gate.opened(source) for source in sources(8))


def test_D4_one_source_cannot_hold_every_place(clock: ManualClock):
    """A source holds a quarter at most, its /64 counted as one; others still get in."""
    gate = Gate(clock, half_open_max=8)
    for n in range(2):
        gate.opened(f"2001:db8::{n:x}")
    with pytest.raises(Overloaded, match="this source"):
        gate.opened("2001:db8::ffff")
    assert gate.closed(gate.opened(HERE))


def test_D4_with_half_of_the_places_taken_newcomers_are_asked_for_a_cookie(clock: ManualClock):
    """Slow handshakes are load too, long before the last place is gone."""
    gate = Gate(clock, half_open_max=8)
    tokens = [gate.opened(source) for source in sources(5)]
    cookie = cookie_for(gate, HERE)
    assert gate.enter(HERE, cookie) is None
    gate.closed(tokens[0])
    assert gate.enter(HERE, b"") is None


def test_a_place_is_given_back_once(clock: ManualClock):
    """A token that was used, or never given out, changes nothing."""
    gate = Gate(clock, half_open_max=8)
    token = gate.opened(HERE)
    assert gate.closed(token)
    assert not gate.closed(token)
    assert not gate.closed(12345)
    assert gate.half_open == 0


# ---- Time, memory, threads


def test_D6_the_gate_remembers_a_bounded_number_of_sources(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
):
    """The source that was silent for longest is forgotten, those that go on are not."""
    monkeypatch.setattr(gate_module, "SOURCES_MAX", 100)
    gate = Gate(clock, per_source_per_s=2, busy_per_s=1e9)
    assert entered(gate, HERE, 5) == 2
    for source in sources(1000):
        assert entered(gate, source, 3) == 2
        assert entered(gate, HERE, 1) == 0
    assert len(gate._rates._buckets) == 100


def test_a_clock_that_runs_backward_stops_the_gate_for_no_moment(clock: ManualClock):
    """After a step back shares, cookies and places go on as if no time had passed."""
    gate = Gate(clock, per_source_per_s=2, busy_per_s=1, half_open_max=4)
    assert entered(gate, HERE, 1) == 1
    cookie, token = cookie_for(gate, HERE), gate.opened(HERE)
    clock.now -= 4999
    assert gate.enter(HERE, cookie) is None
    assert gate.half_open == 1
    with pytest.raises(Overloaded):
        gate.enter(HERE, cookie)
    clock.now += HALF_OPEN_S
    assert gate.half_open == 0
    assert not gate.closed(token)
    assert not gate.busy
    assert gate.enter(HERE, b"") is None


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("enter"), st.integers(0, 5), st.booleans()),
        st.tuples(st.just("open"), st.integers(0, 5), st.booleans()),
        st.tuples(st.just("close"), st.integers(0, 20), st.booleans()),
        st.tuples(st.just("wait"), st.integers(-200, 300), st.booleans()),
    ),
    max_size=120,
)


@given(STEPS)
def test_D4_whatever_happens_the_bounds_hold(steps: list[tuple[str, int, bool]]):
    """No order of arrivals, returns and jumps of the clock lets in more than the rates, or holds more open
    than there are places, and all places are free again in the end.
    """
    clock = ManualClock()
    gate = Gate(clock, per_source_per_s=3, busy_per_s=4, half_open_max=8)
    names, tokens, passed = sources(6), list[int](), 0.0
    let_in, unproven = Counter[str](), 0
    for what, number, flag in steps:
        if what == "wait":
            clock.now += number / 10
            passed += max(0.0, number / 10)
        elif what == "enter":
            source = names[number]
            with suppress(Overloaded):
                demand = gate.enter(source, b"")
                unproven += demand is None
                if demand is not None and flag:
                    demand = gate.enter(source, CookieDemand.from_bytes(demand).cookie)
                    assert demand is None
                let_in[source] += demand is None
        elif what == "open":
            with suppress(Overloaded):
                tokens.append(gate.opened(names[number]))
        elif tokens:
            gate.closed(tokens.pop(number % len(tokens)))
        assert gate.half_open <= 8
        held = Counter(network for _, network in gate._places._taken.values())
        assert all(count <= 2 for count in held.values())
        assert gate._places._by_network == held
        assert unproven <= 4 + 4 * passed + 1e-6
        assert all(count <= 3 + 3 * passed + 1e-6 for count in let_in.values())
    clock.now += HALF_OPEN_S
    assert gate.half_open == 0


@given(st.binary(max_size=80))
def test_D2_no_invented_cookie_holds(invented: bytes):
    """Whatever a stranger makes up, he is asked for a cookie again."""
    gate = Gate(ManualClock(), busy_per_s=0)
    assert gate.enter(HERE, invented) is not None


def test_many_threads_get_what_one_would(clock: ManualClock):
    """With eight threads at once, exactly the share gets in and every place is given back."""
    gate = Gate(clock, per_source_per_s=100, busy_per_s=1e9, half_open_max=4000)
    counts = list[int]()

    def come() -> None:
        counts.append(entered(gate, HERE, 200))
        for _ in range(200):
            assert gate.closed(gate.opened(f"10.0.0.{os.urandom(1)[0]}"))

    threads = [threading.Thread(target=come) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(counts), sum(counts), gate.half_open) == (8, 100, 0)


def test_secrets_are_in_no_text(clock: ManualClock):
    """Neither the gate nor its secret shows a key when it is printed."""
    gate = Gate(clock, busy_per_s=0)
    secret = gate._cookies._current
    assert secret.key.hex() not in repr(secret)
    assert repr(secret.key) not in repr(secret)
