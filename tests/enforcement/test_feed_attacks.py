"""Whatever happens to changes on their way, a point obeys them in order or stops trusting what it knows."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest

from ztsession.bus.change import Change
from ztsession.bus.feed import CHANGES_MAX, FeedAnswer, FeedRequest, read_answer
from ztsession.bus.taken import GENERATION_US
from ztsession.clock import FakeClock
from ztsession.enforcement import EnforcementPoint
from ztsession.errors import (
    InstallationError,
    NotPermitted,
    ReauthRequired,
    Revoked,
    Stale,
    TransportError,
    WireError,
)
from ztsession.policy.catalog import Catalog
from ztsession.policy.tighten import Less
from ztsession.risk.levels import Mode
from ztsession.testing import TestAuthority
from ztsession.testing.pair import _catalog_text
from ztsession.wire.signature import SeedSigner

STRANGER = SeedSigner(b"s" * 32)
KEYS = [STRANGER.public_key]
OPERATIONS = {"orders.submit": {}, "orders.cancel": {}, "orders.status": {"effect": "read", "stale": "2s"}}
LEASE_S = 5


class Middle:
    """An Authority seen through a line that somebody else holds: what is pushed and what is answered can be
    changed.
    """

    pushes = True

    def __init__(self, clock: FakeClock) -> None:
        segment = Catalog.from_text(_catalog_text("orders", OPERATIONS, {"epoch_length_s": 60})).segment(
            "orders"
        )
        self.true = TestAuthority(segment, clock=clock.time)
        self.pushed: list[Change] = []
        self.receive: Callable[[Change], None] = self.pushed.append
        self.answer: Callable[[bytes], bytes] = self.true.feed
        self.true.subscribe(lambda change: self.receive(change))
        self.ticket_keys, self.segment = self.true.ticket_keys, self.true.segment
        self.segment_keys = self.true.segment_keys

    def subscribe(self, receiver: Callable[[Change], None]) -> Callable[[], None]:
        self.deliver = receiver
        return lambda: None

    def feed(self, request: bytes) -> bytes:
        return self.answer(request)


class Scene:
    """A point behind such a line, and a client of it."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.line = Middle(self.clock)
        self.point = EnforcementPoint(
            "orders",
            authority=self.line,
            manual_clock=True,
            wall_clock=self.clock.time,
            lease_us=LEASE_S * 10**6,
        )
        self.clock.follow(self.point.table)
        assert self.point.maintain()
        self.client = self.line.true.connect(self.point, clock=self.clock)
        self.session = self.client.grant.session

    def call(self, operation: str = "orders.submit") -> Any:
        return self.point.verifier(operation)(self.client.sign(operation, b"x"), b"x")


@pytest.fixture
def scene() -> Scene:
    return Scene()


def silent(_: bytes) -> bytes:
    raise TransportError("nobody answers")


# ---- Pushed changes


def test_R1_a_lost_push_is_found_by_the_next_question(scene: Scene):
    """A revocation whose push never came is in force as soon as the point asks."""
    assert scene.call()
    scene.line.true.set_mode(scene.session, Mode.REVOKED)
    assert scene.call()
    assert scene.point.maintain()
    with pytest.raises(Revoked):
        scene.call()


def test_R1_a_lost_push_is_found_by_the_push_after_it(scene: Scene):
    """A gap in the numbers is filled before anything is obeyed that came after it."""
    scene.line.true.set_mode(scene.session, Mode.REVOKED)
    scene.line.true.set_mode(os.urandom(16), Mode.RESTRICTED)
    assert scene.call()
    scene.line.deliver(scene.line.pushed[1])
    with pytest.raises(Revoked):
        scene.call()


def test_R2_a_push_that_comes_twice_is_obeyed_once(scene: Scene):
    """A second delivery of an older mode does not undo the newer one."""
    for mode in (Mode.RESTRICTED, Mode.NORMAL):
        scene.line.true.set_mode(scene.session, mode)
    for change in (*scene.line.pushed, scene.line.pushed[0]):
        scene.line.deliver(change)
    assert scene.call().mode == "NORMAL"


def test_R3_pushes_that_overtake_each_other_end_in_the_last_mode(scene: Scene):
    """In whatever order three changes come, what was decided last holds."""
    for mode in (Mode.SUSPENDED, Mode.NORMAL, Mode.SUSPENDED):
        scene.line.true.set_mode(scene.session, mode)
    for at in (2, 0, 1):
        scene.line.deliver(scene.line.pushed[at])
    with pytest.raises(ReauthRequired):
        scene.call()


def test_R3_a_push_that_cannot_be_placed_is_not_obeyed(scene: Scene):
    """With a gap that nobody fills the point keeps what it knows, and its lease runs out."""
    scene.line.true.set_mode(scene.session, Mode.SUSPENDED)
    scene.line.true.set_mode(scene.session, Mode.NORMAL)
    scene.line.answer = silent
    with pytest.raises(TransportError):
        scene.line.deliver(scene.line.pushed[1])
    assert scene.call().mode == "NORMAL"
    scene.clock.advance(LEASE_S + 1)
    with pytest.raises(Stale):
        scene.call()


def test_R4_a_push_that_comes_late_is_obeyed_when_it_comes(scene: Scene):
    """Nothing about a change depends on when it was sent."""
    scene.line.true.set_mode(scene.session, Mode.SUSPENDED)
    scene.clock.advance(3)
    assert scene.call()
    scene.line.deliver(scene.line.pushed[0])
    with pytest.raises(ReauthRequired):
        scene.call()


def test_R6_nothing_brings_a_revoked_session_back(scene: Scene):
    """A later change of its mode, and an older change repeated, leave a revoked session revoked."""
    for mode in (Mode.RESTRICTED, Mode.REVOKED, Mode.NORMAL):
        scene.line.true.set_mode(scene.session, mode)
    for change in (*scene.line.pushed, *scene.line.pushed):
        scene.line.deliver(change)
    with pytest.raises(Revoked):
        scene.call()
    with pytest.raises(InstallationError, match=r"refused$"):
        scene.line.true.connect(scene.point, scene.client.grant, clock=scene.clock)


def test_R3_who_is_given_less_while_all_lose_something_loses_both(scene: Scene):
    """A loss of one session that falls into a loss of its whole profile brings nothing over from before."""
    profile, every = scene.client.grant.profile_digest(), 2**64 - 1
    listener, table = scene.point._listener, scene.point.table
    alone = Change.tighten(profile, [every & ~2] * 3, 0, session=scene.session, number=1)
    meanwhile = threading.Thread(target=listener.apply, args=[alone])

    class Slow:
        def narrow(self, *what: Any) -> bool:
            if meanwhile.ident is None:
                meanwhile.start()
                meanwhile.join(0.2)
            return table.narrow(*what)

        def __getattr__(self, name: str) -> Any:
            return getattr(table, name)

    listener._table = Slow()
    listener.take(profile, Less((every & ~1,) * 3))
    meanwhile.join()
    for operation in ("orders.submit", "orders.cancel"):
        with pytest.raises(NotPermitted):
            scene.call(operation)
    assert scene.call("orders.status")


# ---- Answers


def altered(scene: Scene, change: Callable[[FeedAnswer], FeedAnswer] | None, signer: SeedSigner) -> None:
    def answer(data: bytes) -> bytes:
        asked = FeedRequest.from_bytes(data)
        true = FeedAnswer(asked.segment, asked.nonce, asked.after, [], complete=True)
        return (change(true) if change else true).sign(signer)

    scene.line.answer = answer


def test_R5_a_forged_answer_is_not_believed(scene: Scene, caplog: pytest.LogCaptureFixture):
    """Only the Authority's signature prolongs a lease; the exact cause is in the log, once."""
    altered(scene, None, STRANGER)
    scene.clock.advance(LEASE_S - 1)
    before = scene.point.table.lease_deadline_us
    assert not scene.point.maintain()
    assert not scene.point.maintain()
    assert scene.point.table.lease_deadline_us == before
    assert caplog.text.count("not from the Authority") == 1
    scene.line.answer = scene.line.true.feed
    assert scene.point.maintain()
    assert scene.point.table.lease_deadline_us == before + (LEASE_S - 1) * 10**6
    assert "hears from its Authority again" in caplog.text


def test_R5_every_byte_of_an_answer_is_covered(scene: Scene):
    """Flip any byte of a true answer: no change in it is obeyed and no lease prolonged."""
    scene.line.true.set_mode(scene.session, Mode.SUSPENDED)
    size = len(scene.line.true.feed(FeedRequest("orders", b"n" * 32, 0).to_bytes()))
    scene.clock.advance(1)
    before = scene.point.table.lease_deadline_us
    for at in range(size):

        def flipped(data: bytes, at: int = at) -> bytes:
            answer = bytearray(scene.line.true.feed(data))
            answer[at] ^= 1 << at % 8
            return bytes(answer)

        scene.line.answer = flipped
        assert not scene.point.maintain()
    assert scene.point.table.lease_deadline_us == before
    assert scene.call().mode == "NORMAL"
    scene.line.answer = scene.line.true.feed
    assert scene.point.maintain()
    with pytest.raises(ReauthRequired):
        scene.call()


def test_R6_an_older_answer_replayed_does_not_prolong_the_lease(scene: Scene):
    """Whoever recorded "nothing new" cannot say it again to keep a revocation away."""
    recorded: list[bytes] = []

    def record(data: bytes) -> bytes:
        recorded.append(scene.line.true.feed(data))
        return recorded[-1]

    scene.line.answer = record
    assert scene.point.maintain()
    scene.line.true.set_mode(scene.session, Mode.REVOKED)
    scene.line.answer = lambda _: recorded[0]
    scene.clock.advance(LEASE_S - 1)
    assert not scene.point.maintain()
    assert scene.call()
    scene.clock.advance(2)
    with pytest.raises(Stale):
        scene.call()


def test_R4_an_answer_counts_from_the_question_and_not_from_its_arrival(scene: Scene):
    """An answer that was held back for longer than the lease does not make a lease."""

    def late(data: bytes) -> bytes:
        answer = scene.line.true.feed(data)
        scene.clock.advance(LEASE_S + 1)
        return answer

    scene.line.answer = late
    assert scene.point.maintain()
    with pytest.raises(Stale):
        scene.call()
    scene.line.answer = scene.line.true.feed
    assert scene.point.maintain()
    assert scene.call()


@pytest.mark.parametrize("field", ["segment", "nonce", "after", "gap", "duplicate"])
def test_R6_an_answer_to_another_question_is_refused(field: str):
    """Segment, nonce, place and an unbroken count: what does not fit this very request is no answer."""
    request = FeedRequest("orders", b"n" * 32, 7)
    changes = [Change.revoke(bytes([n]) * 16, number=n).to_bytes() for n in (8, 9, 10)]
    good = {"segment": "orders", "nonce": b"n" * 32, "after": 7, "changes": changes, "complete": True}
    assert [c.number for c in read_answer(FeedAnswer(**good).sign(STRANGER), request, KEYS).changes] == [
        8,
        9,
        10,
    ]
    wrong: dict[str, dict[str, Any]] = {
        "segment": {"segment": "md"},
        "nonce": {"nonce": b"m" * 32},
        "after": {"after": 6},
        "gap": {"changes": [changes[0], changes[2]]},
        "duplicate": {"changes": [changes[0], *changes]},
    }
    with pytest.raises(WireError, match="feed answer"):
        read_answer(FeedAnswer(**{**good, **wrong[field]}).sign(STRANGER), request, KEYS)


def test_the_largest_answer_fits_its_message():
    """As many of the largest changes as an answer may hold can be signed and read."""
    last = 2**63 - 1
    changes = [
        Change.narrow(b"p" * 32, [2**64 - 1] * 3, number=last - CHANGES_MAX + n, sent_at=2**64 - 1).to_bytes()
        for n in range(1, CHANGES_MAX + 1)
    ]
    request = FeedRequest("s" * 32, b"n" * 32, last - CHANGES_MAX)
    answer = FeedAnswer(request.segment, request.nonce, request.after, changes, complete=True).sign(STRANGER)
    assert len(read_answer(answer, request, KEYS).changes) == CHANGES_MAX


def test_a_point_that_is_far_behind_catches_up_in_one_go(scene: Scene):
    """More changes than one answer holds are all obeyed before the lease is prolonged."""
    for _ in range(2 * CHANGES_MAX + 3):
        scene.line.true.set_mode(os.urandom(16), Mode.RESTRICTED)
    scene.line.true.set_mode(scene.session, Mode.REVOKED)
    assert scene.point.maintain()
    with pytest.raises(Revoked):
        scene.call()


# ---- The lease


def test_R7_within_a_partition_each_operation_does_what_its_class_says(scene: Scene):
    """When the lease has run out submit stops at once, status after its two seconds, cancel never; then all
    go on.
    """
    scene.line.answer = silent
    scene.clock.advance(LEASE_S - 0.5)
    assert not scene.point.maintain()
    assert scene.call()
    scene.clock.advance(1)
    with pytest.raises(Stale):
        scene.call()
    assert scene.call("orders.status")
    scene.clock.advance(2)
    with pytest.raises(Stale):
        scene.call("orders.status")
    assert scene.call("orders.cancel")
    assert scene.point.refused()["STALE"] == 2
    scene.line.answer = scene.line.true.feed
    assert scene.point.maintain()
    for operation in OPERATIONS:
        assert scene.call(operation)


def test_R8_pushes_alone_do_not_make_a_lease(scene: Scene):
    """In a partition of one direction changes still come and are obeyed, and the lease runs out all the
    same.
    """
    scene.line.answer, scene.line.receive = silent, scene.line.deliver
    scene.clock.advance(LEASE_S - 1)
    scene.line.true.set_mode(scene.session, Mode.RESTRICTED)
    assert scene.call("orders.cancel").mode == "RESTRICTED"
    scene.line.true.set_mode(scene.session, Mode.NORMAL)
    assert scene.call().mode == "NORMAL"
    scene.clock.advance(2)
    with pytest.raises(Stale):
        scene.call()


def test_R12_a_restarted_point_knows_what_was_revoked_before_it_takes_a_ticket(scene: Scene):
    """A point that heard nothing yet takes no ticket, lest a restart bring the revoked back."""
    scene.line.true.set_mode(scene.session, Mode.REVOKED)
    scene.line.answer = silent
    restarted = EnforcementPoint(
        "orders", authority=scene.line, manual_clock=True, wall_clock=scene.clock.time
    )
    scene.clock.follow(restarted.table)
    for grant in (scene.client.grant, None):
        with pytest.raises(InstallationError, match="refused the ticket: unavailable"):
            scene.line.true.connect(restarted, grant, clock=scene.clock)
    assert restarted.table.live == 0
    scene.line.answer = scene.line.true.feed
    assert restarted.maintain()
    with pytest.raises(InstallationError, match="refused the ticket: refused"):
        scene.line.true.connect(restarted, scene.client.grant, clock=scene.clock)
    assert scene.line.true.connect(restarted, clock=scene.clock)


def test_R12_in_a_partition_after_it_heard_a_point_goes_on_taking_tickets(scene: Scene):
    """Once heard, what is known is known: who installs then may do what its class allows, and no more."""
    scene.line.answer = silent
    scene.clock.advance(LEASE_S + 1)
    scene.client = scene.line.true.connect(scene.point, clock=scene.clock)
    assert scene.call("orders.cancel")
    with pytest.raises(Stale):
        scene.call()


def test_R12_a_narrowed_profile_stays_narrow_at_a_restarted_point(scene: Scene):
    """What was taken from a decision is taken also where its first session is installed later."""
    scene.line.true.narrow(scene.client.grant.profile_digest(), [2, 2, 0])
    assert scene.point.maintain()
    with pytest.raises(NotPermitted):
        scene.call()
    scene.point = EnforcementPoint(
        "orders", authority=scene.line, manual_clock=True, wall_clock=scene.clock.time
    )
    scene.clock.follow(scene.point.table)
    assert scene.point.maintain()
    scene.client = scene.line.true.connect(scene.point, clock=scene.clock)
    with pytest.raises(NotPermitted):
        scene.call()
    assert scene.call("orders.cancel")


def test_D6_modes_are_forgotten_when_no_ticket_can_ask_for_them(scene: Scene):
    """A revoked session, and what rules took, is remembered for longer than any session lives, and not for
    ever.
    """
    modes, taken = scene.point._listener._modes, scene.point._listener._taken
    for _ in range(50):
        scene.line.true.set_mode(os.urandom(16), Mode.REVOKED)
    scene.line.true.set_mode(scene.session, Mode.REVOKED)
    scene.line.true._publish(Change.tighten(b"p" * 32, [0, 0, 0], 0))
    assert scene.point.maintain()
    scene.clock.advance(86400)
    assert scene.point.maintain()
    assert (len(modes), len(taken)) == (51, 1)
    assert modes.get(scene.session) is Mode.REVOKED
    for _ in range(3):
        scene.clock.advance(GENERATION_US / 1e6)
        assert scene.point.maintain()
    assert (len(modes), len(taken)) == (0, 0)


def test_D6_lesser_decisions_are_forgotten_with_the_sessions_that_have_them(scene: Scene):
    """What was taken from single sessions is known by name while their profile is, and no longer."""
    profile, every = scene.client.grant.profile_digest(), 2**64 - 1
    scene.line.true._publish(Change.tighten(profile, [every & ~1] * 3, 0, session=scene.session))
    assert scene.point.maintain()
    with pytest.raises(NotPermitted):
        scene.call()
    lesser = scene.point._listener._lesser
    assert [len(names) for names in lesser.values()] == [1]
    scene.line.true.narrow(profile, [every & ~2] * 3)
    assert scene.point.maintain()
    with pytest.raises(NotPermitted):
        scene.call("orders.cancel")
    assert scene.call("orders.status")
    assert scene.point.end(scene.session)
    for version in range(2, 70):
        other = dataclasses.replace(scene.line.true.grant(), version=version)
        scene.line.true.connect(scene.point, other, clock=scene.clock)
        assert scene.point.end(other.session)
    assert scene.point.maintain()
    assert scene.point._listener._lesser == {}
