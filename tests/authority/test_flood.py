"""A flood at the door: cookies before public-key work, shares by source, bounded half-open handshakes."""

from __future__ import annotations

import os
from typing import Any

import pytest

import ztsession as zts
from ztsession.authority.gate import Gate
from ztsession.errors import HandshakeError
from ztsession.handshake import noise
from ztsession.handshake.messages import Hello, RenewalRequest, demanded_cookie
from ztsession.handshake.refusal import Refusal
from ztsession.handshake.states import start_initiator

HERE, THERE = "192.0.2.1", "198.51.100.7"


class Clock:
    """The gate's seconds."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Ops:
    """Counts every Noise handshake that is begun: nothing costly happens without one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, before = 0, noise.NoiseHandshake.__init__

        def counted(handshake: Any, *given: Any, **named: Any) -> None:
            if not named["initiator"]:
                self.begun += 1
            before(handshake, *given, **named)

        monkeypatch.setattr(noise.NoiseHandshake, "__init__", counted)


def hello(cookie: bytes = b"") -> bytes:
    return start_initiator(os.urandom(32), Hello(["orders.*"], b"", cookie).to_bytes())[0]


def busy(house: Any, **options: Any) -> tuple[zts.Authority, Gate, Clock]:
    """An Authority that has had more first messages in this second than it takes for a quiet one."""
    clock = Clock()
    gate = Gate(clock, busy_per_s=2, **options)
    authority = house.authority(gate=gate)
    for number in range(4):
        authority.connection(f"203.0.113.{number}").exchange(hello())
    assert gate.busy
    return authority, gate, clock


def test_D1_under_load_a_cookie_is_demanded_before_any_public_key_work(
    house: Any, monkeypatch: pytest.MonkeyPatch
):
    """A thousand first messages of strangers begin no handshake; an honest client gets through with its
    cookie.
    """
    authority, _, _ = busy(house, per_source_per_s=10_000)
    operations, strangers = Ops(monkeypatch), authority.connection(HERE)
    message = hello()
    for _ in range(1000):
        assert demanded_cookie(strangers.exchange(message)) is not None
    assert operations.begun == 0
    session = house.connect(authority, authority.connection(THERE))
    assert operations.begun == 1
    assert session.renew(authority.connection(THERE))


def test_D1_a_quiet_authority_asks_for_no_cookie(house: Any):
    """The positive twin: without load the first message is answered at once."""
    authority = house.authority(gate=Gate(Clock()))
    assert len(authority.connection(HERE).exchange(hello())) > 1000
    assert house.connect(authority, authority.connection(HERE))


def test_D1_renewals_pass_the_same_gate(house: Any, monkeypatch: pytest.MonkeyPatch):
    """A flood of renewal requests, which are dear to read, is met with cookies too."""
    authority, _, _ = busy(house, per_source_per_s=10_000)
    operations = Ops(monkeypatch)
    request = RenewalRequest(bytes(8), os.urandom(1400)).to_bytes()
    for _ in range(100):
        assert demanded_cookie(authority.connection(HERE).exchange(request)) is not None
    assert operations.begun == 0


def test_D2_a_cookie_of_another_address_is_none(house: Any, monkeypatch: pytest.MonkeyPatch):
    """What one address was given opens nothing from another; at its own it does."""
    authority, _, _ = busy(house, per_source_per_s=10_000)
    cookie = demanded_cookie(authority.connection(HERE).exchange(hello()))
    assert cookie is not None
    operations = Ops(monkeypatch)
    assert demanded_cookie(authority.connection(THERE).exchange(hello(cookie))) is not None
    assert operations.begun == 0
    assert demanded_cookie(authority.connection(HERE).exchange(hello(cookie))) is None
    assert operations.begun == 1


def test_D1_one_source_that_asks_too_often_is_turned_away_alone(house: Any):
    """Past its share a source hears "busy", and others connect as ever."""
    authority = house.authority(gate=Gate(Clock(), per_source_per_s=3))
    answers = [authority.connection(HERE).exchange(hello()) for _ in range(8)]
    refused = [answer for answer in answers if len(answer) < 128]
    assert len(refused) == 5
    assert {Refusal.from_bytes(answer).reason for answer in refused} == {"busy"}
    with pytest.raises(HandshakeError, match="busy"):
        house.connect(authority, authority.connection(HERE))
    assert house.connect(authority, authority.connection(THERE))


def test_D4_half_open_handshakes_are_bounded_and_fall_free(house: Any):
    """Clients that never come back fill a bounded number of places, and only for seconds."""
    clock = Clock()
    gate = Gate(clock, half_open_max=8, per_source_per_s=100)
    authority = house.authority(gate=gate)
    opened = [authority.connection(f"203.0.113.{number}") for number in range(12)]
    answers = [connection.exchange(hello()) for connection in opened]
    assert gate.half_open <= 8
    assert any(len(answer) < 300 for answer in answers)
    clock.now += 11
    assert gate.half_open == 0
    assert house.connect(authority, authority.connection(THERE))
    assert gate.half_open == 0


def test_D4_a_proof_that_comes_too_late_is_refused(house: Any):
    """A place that fell free is not taken up again by its old owner, who starts anew."""
    clock = Clock()
    authority = house.authority(gate=Gate(clock))

    class Slow:
        def __init__(self) -> None:
            self.inner, self.messages = authority.connection(HERE), 0

        def exchange(self, message: bytes) -> bytes:
            self.messages += 1
            clock.now += 11 if self.messages == 2 else 0
            return self.inner.exchange(message)

    slow = Slow()
    with pytest.raises(HandshakeError, match="refused"):
        house.connect(authority, slow)
    assert authority.sessions() == []
    assert house.connect(authority, slow)


def test_D4_a_place_is_given_back_by_whoever_hangs_up_or_fails(house: Any):
    """A closed connection, and one whose third message is garbage, hold no place any more."""
    gate = Gate(Clock())
    authority = house.authority(gate=gate)
    gone, wrong = authority.connection(HERE), authority.connection(THERE)
    for connection in (gone, wrong):
        connection.exchange(hello())
    assert gate.half_open == 2
    gone.hang_up()
    assert gate.half_open == 1
    wrong.exchange(os.urandom(500))
    assert gate.half_open == 0


def test_this_process_is_never_held_up(house: Any):
    """What runs inside the Authority's own process is neither counted nor asked for cookies."""
    authority, gate, _ = busy(house, per_source_per_s=1)
    for _ in range(5):
        assert house.connect(authority)
    assert gate.busy
