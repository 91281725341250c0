"""Client, point and time driven at random against a slow, obvious model: verdicts, counters and tokens
must agree.
"""

from __future__ import annotations

import copy
import os
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from model import REPLY, REQUEST, End, Keys, Rules, Token, Window, form_refusal
from worlds import (
    ALLOWED,
    ALWAYS,
    EPOCH_US,
    LIMITS_BY_OPERATION,
    MAX_AGE_US,
    OPERATIONS,
    ORDERED,
    SECOND,
    STEP_UP,
    Session,
    World,
    flipped,
    profile_of,
)

from ztsession import errors
from ztsession._core import VERDICTS, backends

CAPACITY, IDLE_S, LIFETIME_S, WINDOW_WORDS = 3, 600, 3_000, 2
DIGESTS = (b"first grant".ljust(32), b"second grant".ljust(32))
LIVE = ("NORMAL", "RESTRICTED", "SUSPENDED")
BODIES = st.binary(max_size=70)
PICK = st.integers(0, 2**16)


def rules_of_grant() -> dict[int, Rules]:
    return {
        op: Rules(
            {mode for mode, bits in zip(LIVE, ALLOWED, strict=True) if bits >> op & 1},
            max_age_us,
            None if stale_ms == ALWAYS else stale_ms,
            ordered=bool(ORDERED >> op & 1),
            step_up=bool(STEP_UP >> op & 1),
        )
        for op, (max_age_us, stale_ms) in LIMITS_BY_OPERATION.items()
    }


class Pair:
    """One installation in the real tables and in the model."""

    def __init__(self, session: Session, point: End, client: End, digest: bytes) -> None:
        self.session, self.point, self.client, self.digest = session, point, client, digest


class Protocol(RuleBasedStateMachine):
    """Rules name a pair or a token by a number that is taken modulo how many there are."""

    @initialize(backend=st.sampled_from(backends()))
    def start(self, backend: str) -> None:
        self.world = World(backend, capacity=CAPACITY, profiles=len(DIGESTS), window_words=WINDOW_WORDS)
        self.pairs: list[Pair] = []
        self.by_slot: dict[int, Pair] = {}
        self.pool: list[tuple[bytes, bytes]] = []
        self.replies: list[tuple[Pair, bytes, bytes]] = []
        self.grants = {digest: rules_of_grant() for digest in DIGESTS}
        self.narrowed = {digest: [2**64 - 1] * 3 for digest in DIGESTS}
        self.refused = dict.fromkeys(VERDICTS[1:], 0)
        self.lease_us: int | None = None
        self.install(0)

    # ---- Sessions

    @rule(grant=PICK)
    def install(self, grant: int) -> None:
        digest = DIGESTS[grant % len(DIGESTS)]
        full = sum(pair.point.mode in LIVE for pair in self.by_slot.values()) == CAPACITY
        try:
            session = self.world.install(profile_of(digest), lifetime_us=LIFETIME_S * SECOND, idle_s=IDLE_S)
        except errors.TableFull:
            assert full
            return
        assert not full
        # A profile is forgotten with its last session; who installs tells the table again, as a point does.
        assert self.world.point.narrow(digest, self.narrowed[digest])
        ends = [self._end(session, receives, digest) for receives in (REQUEST, REPLY)]
        pair = Pair(session, ends[0], ends[1], digest)
        self.pairs.append(pair)
        self.by_slot[session.handle % 2**24] = pair

    def _end(self, session: Session, receives: int, digest: bytes) -> End:
        return End(
            Keys(session.secret, session.nonce, session.handle, session.keys.first_epoch),
            # A narrowing is told to the point alone.
            self.grants[digest] if receives == REQUEST else rules_of_grant(),
            Window(WINDOW_WORDS if receives == REQUEST else 32),
            EPOCH_US,
            MAX_AGE_US,
            session.started_us + LIFETIME_S * SECOND,
            IDLE_S * SECOND,
            session.started_us,
            receives=receives,
        )

    @rule(pick=PICK, revoked=st.booleans())
    def end(self, pick: int, revoked: bool) -> None:
        pair = self.pairs[pick % len(self.pairs)]
        assert pair.session.end(revoked=revoked) is self._lives(pair)
        if self._lives(pair):
            pair.point.mode = "REVOKED" if revoked else "FREE"

    @rule(pick=PICK, mode=st.sampled_from(LIVE))
    def set_mode(self, pick: int, mode: str) -> None:
        pair = self.pairs[pick % len(self.pairs)]
        assert self.world.point.set_mode(pair.session.handle, mode) is self._lives(pair)
        if self._lives(pair):
            pair.point.mode = mode

    @rule(pick=PICK, us=st.sampled_from([0, 1, 2 * SECOND, EPOCH_US, LIFETIME_S * SECOND, 2**64 - 1]))
    def shorten(self, pick: int, us: int) -> None:
        pair = self.pairs[pick % len(self.pairs)]
        assert self.world.point.shorten(pair.session.handle, us) is self._lives(pair)
        if self._lives(pair):
            pair.point.expires_at_us = min(pair.point.expires_at_us, self.world.now_us + us)

    @rule(grant=PICK, mode=st.integers(0, 2), operation=st.integers(0, len(OPERATIONS) - 1))
    def narrow(self, grant: int, mode: int, operation: int) -> None:
        digest = DIGESTS[grant % len(DIGESTS)]
        allowed = [2**64 - 1] * 3
        # As policies do: what is not allowed in a mode is not in a tighter one.
        for tighter in range(mode, 3):
            allowed[tighter] ^= 1 << operation
        self.world.point.narrow(digest, allowed)
        self.narrowed[digest] = [held & new for held, new in zip(self.narrowed[digest], allowed, strict=True)]
        if operation in self.grants[digest]:
            self.grants[digest][operation].modes.difference_update(LIVE[mode:])

    @rule()
    def sweep(self) -> None:
        ended = sum(
            self._lives(pair) and pair.point.sweep(self.world.now_us) for pair in self.by_slot.values()
        )
        assert self.world.point.sweep() == ended

    def _lives(self, pair: Pair) -> bool:
        return self.by_slot[pair.session.handle % 2**24] is pair and pair.point.mode in LIVE

    # ---- Time

    @rule(us=st.one_of(st.integers(1, 3 * SECOND), st.sampled_from([EPOCH_US, 3 * EPOCH_US, 21 * EPOCH_US])))
    def advance(self, us: int) -> None:
        self.world.advance(us)

    @rule(before=st.sampled_from([1, 0, -1, 100_000, 250_000, -2_000_000]))
    def go_to_the_turn(self, before: int) -> None:
        self.world.at(max(self.world.now_us, (self.world.epoch + 1) * EPOCH_US - before))

    @rule(us=st.one_of(st.none(), st.integers(-2 * SECOND, 5 * SECOND)))
    def lease(self, us: int | None) -> None:
        self.lease_us = None if us is None else self.world.now_us + us
        self.world.point.set_lease(self.lease_us)

    # ---- Calls

    @rule(pick=PICK, body=BODIES, operation=st.integers(0, len(OPERATIONS) - 1))
    def sign(self, pick: int, body: bytes, operation: int) -> None:
        pair = self.pairs[pick % len(self.pairs)]
        expected = pair.client.sign(body, operation, self.world.now_us)
        assert attempt(lambda: pair.session.sign(body, operation)) == expected
        if expected is not None:
            self.pool.append((expected, body))

    @rule(pick=PICK, body=BODIES)
    def call_at_once(self, pick: int, body: bytes) -> None:
        before = len(self.pool)
        self.sign(pick, body, pick % 3)
        if len(self.pool) > before:
            self._verify(*self.pool[-1], pick % 3)

    @precondition(lambda self: self.pool)
    @rule(pick=PICK, asked=st.one_of(st.none(), st.integers(0, 4)), recent=st.booleans())
    def verify(self, pick: int, asked: int | None, recent: bool) -> None:
        token, body = (
            self.pool[-1 - pick % min(4, len(self.pool))] if recent else self.pool[pick % len(self.pool)]
        )
        self._verify(token, body, asked)

    @precondition(lambda self: self.pool)
    @rule(pick=PICK, bit=st.integers(0, 383))
    def tamper(self, pick: int, bit: int) -> None:
        token, body = self.pool[-1 - pick % min(4, len(self.pool))]
        self._verify(flipped(token, bit), body, None)

    @precondition(lambda self: self.pool)
    @rule(pick=PICK, body=BODIES, length=st.integers(0, 60))
    def swap_body_or_cut(self, pick: int, body: bytes, length: int) -> None:
        token, own = self.pool[pick % len(self.pool)]
        self._verify(token, body, None)
        self._verify((token + token)[:length], own, None)

    @rule(
        pick=PICK,
        epoch=st.integers(-2, 2),
        sequence=st.one_of(st.integers(0, 200), st.sampled_from([2**37 - 1, 2**37, 2**64 - 1])),
        issued_us=st.integers(-3 * SECOND, SECOND),
        operation=st.sampled_from([0, 1, 2, 4, 6, 63, 64, 65535]),
        flags=st.sampled_from([0, 0, 0, 1, 2]),
    )
    def craft(self, pick: int, epoch: int, sequence: int, issued_us: int, operation: int, flags: int) -> None:
        """An authentic token of any header, as a compromised client might send."""
        pair = self.pairs[pick % len(self.pairs)]
        token = pair.session.keys.token(
            b"crafted",
            epoch=max(0, self.world.epoch + epoch),
            sequence=sequence,
            issued_at_us=self.world.now_us + issued_us,
            operation=operation,
            flags=flags,
            direction=REQUEST,
        )
        self.pool.append((token, b"crafted"))
        self._verify(token, b"crafted", None)

    def _verify(self, token: bytes, body: bytes, asked: int | None) -> None:
        expected = self._expected(token, body, asked)
        before = None if expected == "OK" else self.world.point.snapshot_for_testing_only()
        turned = {id(pair): pair.point.epoch for pair in self.pairs} != self.epochs
        assert self.world.verdict(token, body, asked) == expected
        if expected != "OK":
            self.refused[expected] += 1
            assert turned or self.world.point.snapshot_for_testing_only() == before
        self.epochs = {id(pair): pair.point.epoch for pair in self.pairs}

    def _expected(self, token: bytes, body: bytes, asked: int | None) -> str:
        self.epochs = {id(pair): pair.point.epoch for pair in self.pairs}
        refusal = form_refusal(token, REQUEST)
        if refusal is not None:
            return refusal
        handle = Token.parse(token).handle
        pair = self.by_slot.get(handle % 2**24)
        if pair is None or pair.session.handle != handle:
            return "UNKNOWN_SESSION"
        return pair.point.verify(token, body, asked, self.world.now_us, self.lease_us)

    # ---- Replies

    @rule(pick=PICK, body=BODIES)
    def reply(self, pick: int, body: bytes) -> None:
        pair = self.pairs[pick % len(self.pairs)]
        expected = pair.point.sign(body, 0, self.world.now_us) if self._lives(pair) else None
        assert attempt(lambda: pair.session.reply(body)) == expected
        if expected is not None:
            self.replies.append((pair, expected, body))

    @precondition(lambda self: self.replies)
    @rule(pick=PICK, bit=st.one_of(st.none(), st.integers(0, 383)))
    def open_reply(self, pick: int, bit: int | None) -> None:
        pair, token, body = self.replies[-1 - pick % min(3, len(self.replies))]
        token = token if bit is None else flipped(token, bit)
        expected = form_refusal(token, REPLY)
        if expected is None and Token.parse(token).handle != pair.session.handle:
            expected = "UNKNOWN_SESSION"
        if expected is None:
            expected = pair.client.verify(token, body, None, self.world.now_us, None)
        assert attempt(lambda: pair.session.open_reply(token, body) and "OK") == expected

    # ---- Always

    @invariant()
    def counters_agree(self) -> None:
        if not hasattr(self, "world"):
            return
        assert self.world.point.refused() == self.refused
        assert self.world.point.live == sum(pair.point.mode in LIVE for pair in self.by_slot.values())
        for pair in self.by_slot.values():
            state = pair.session.point.session(pair.session.handle)
            if pair.point.mode not in LIVE:
                assert state is None
                continue
            assert state is not None
            found = (state["mode"], state["epoch"], state["accepted"], state["sent"])
            model = pair.point
            assert found == (model.mode, model.epoch, model.accepted, model.sent)
            assert state["last_accepted_us"] == model.last_accepted_us


def attempt(call: Any) -> Any:
    """What a call gives; None where the session is over on this side, a refusal by its verdict."""
    try:
        return call()
    except errors.SessionEnded:
        return None
    except errors.Denied as denied:
        return denied.verdict


TestProtocol = Protocol.TestCase
#: An instrumented run is five times slower, and looks for other things.
EXAMPLES = 200 if "ZTS_SANITIZED" in os.environ else 20_000 if "ZTS_LONG" in os.environ else 1_000
TestProtocol.settings = settings(max_examples=EXAMPLES, stateful_step_count=60, deadline=None)


def test_the_model_can_disagree() -> None:
    """A model that forgets its replays is found out, so the comparison does compare."""

    class Forgetful(Protocol):
        def _expected(self, token: bytes, body: bytes, asked: int | None) -> str:
            kept = copy.deepcopy({id(p): p.point.window for p in self.pairs})
            verdict = super()._expected(token, body, asked)
            for pair in self.pairs:
                pair.point.window = kept[id(pair)]
            return verdict

    machine = Forgetful()
    machine.start(backends()[0])
    machine.call_at_once(0, b"body")
    try:
        machine.verify(0, 0, recent=True)
    except AssertionError:
        return
    raise AssertionError("nobody noticed")
