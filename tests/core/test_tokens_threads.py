"""Attacks by being in two places at once: threads that hold no lock, and batches that do not hold the GIL."""

from __future__ import annotations

import functools
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest
from model import Token
from worlds import OPERATIONS, SECOND, SUBMIT, Session, World

from ztsession import errors
from ztsession._batch import sign_batch, verify_batch
from ztsession._calls import Verifier
from ztsession._core import VERDICTS

REPLAYED, REVOKED = VERDICTS.index("REPLAYED"), VERDICTS.index("REVOKED")


@pytest.fixture(autouse=True)
def eager_switching() -> Iterator[None]:
    """Threads take turns as often as the interpreter allows."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def together(*calls: Callable[[], None]) -> None:
    """All calls at once, each on its own thread; the first exception is raised here."""
    barrier, raised = threading.Barrier(len(calls)), []

    def run(call: Callable[[], None]) -> None:
        barrier.wait(60)
        try:
            call()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=run, args=(call,), daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    if raised:
        raise raised[0]


def test_T17_one_sequence_from_eight_threads(world: World, session: Session) -> None:
    """Of eight threads with the same tokens exactly one is accepted for each, and the counters agree."""
    tokens = [session.sign() for _ in range(700)]
    accepted: list[int] = []

    def attack() -> None:
        verify, mine = Verifier(world.point, OPERATIONS[SUBMIT]), tokens.copy()
        random.shuffle(mine)
        for token in mine:
            try:
                accepted.append(verify(token, b"body").sequence)
            except errors.Replayed:
                continue

    together(*[attack] * 8)
    assert sorted(accepted) == list(range(1, len(tokens) + 1))
    assert session.state()["accepted"] == len(tokens)
    assert session.state()["refused"]["REPLAYED"] == 7 * len(tokens)


def batches(world: World, parts: list[bytes], body_bytes: int) -> list[bytes]:
    """The codes of one batch a thread, all at once; bodies of zeros."""
    results: list[bytes] = []

    def verify(tokens: bytes) -> None:
        bodies = bytes(len(tokens) // 48 * body_bytes)
        results.append(verify_batch(world.point, OPERATIONS[SUBMIT], tokens, bodies))

    together(*[functools.partial(verify, part) for part in parts])
    return results


def test_T17_batches_of_eight_threads(world: World, session: Session) -> None:
    """Without the GIL, too, each sequence is accepted by one batch only."""
    count, rounds, name = 900, 20, OPERATIONS[SUBMIT]
    for _ in range(rounds):
        tokens = sign_batch(session.client, session.handle, name, bytes(64 * count), count=count)
        results = batches(world, [tokens] * 8, 64)
        for i in range(count):
            assert sorted(codes[i] for codes in results) == [0] + [REPLAYED] * 7, i
    assert session.state()["accepted"] == rounds * count


def test_T17_turning_the_epoch_at_once(world: World, session: Session) -> None:
    """When many threads bring the first tokens of an epoch, it turns once and no honest call is refused."""
    name = OPERATIONS[SUBMIT]
    for _ in range(60):
        world.advance(30 * SECOND)
        parts = [sign_batch(session.client, session.handle, name, bytes(640), count=40) for _ in range(8)]
        assert batches(world, parts, 16) == [bytes(40)] * 8
        assert session.state()["epoch"] == world.epoch


@pytest.mark.parametrize("how", ["revoke", "suspend"])
def test_T18_no_call_is_accepted_after_the_end_returned(backend: str, how: str) -> None:
    """Calls that begin after end() or set_mode() has returned are refused, on threads in full swing."""
    world = World(backend, window_words=1024)  # wide enough for threads that run far ahead of each other
    session = world.install()
    over, late, running = threading.Event(), [], threading.Semaphore(0)
    tokens = [session.sign() for _ in range(6_000)]
    refusals = (errors.Revoked, errors.ReauthRequired)

    def call(mine: list[bytes]) -> Callable[[], None]:
        def run() -> None:
            verify = Verifier(world.point, OPERATIONS[SUBMIT])
            for i, token in enumerate(mine):
                was_over = over.wait(60) if i == len(mine) - 100 else over.is_set()
                try:
                    verify(token, b"body")
                except refusals:
                    assert i > 0 or was_over
                    continue
                if was_over:
                    late.append(token)
                if i == 50:
                    running.release()

        return run

    def end() -> None:
        for _ in range(4):
            assert running.acquire(timeout=60)
        if how == "revoke":
            assert session.end(revoked=True)
        else:
            assert world.point.set_mode(session.handle, "SUSPENDED")
        over.set()

    together(end, *[call(tokens[i::4]) for i in range(4)])
    assert not late
    assert session.point.refused()["REVOKED" if how == "revoke" else "REAUTH_REQUIRED"] >= 4 * 100


def test_T18_a_batch_under_way_stops_at_the_revocation(world: World, session: Session) -> None:
    """Inside a batch that a revocation meets, every token after the first refused one is refused, too."""
    count = 60_000
    for _ in range(12):
        victim = world.install()
        tokens = sign_batch(victim.client, victim.handle, OPERATIONS[SUBMIT], bytes(16 * count), count=count)
        started, results = threading.Event(), []

        def run(
            tokens: bytes = tokens, started: threading.Event = started, results: list[bytes] = results
        ) -> None:
            started.set()
            results.append(verify_batch(world.point, OPERATIONS[SUBMIT], tokens, bytes(16 * count)))

        def revoke(victim: Session = victim, started: threading.Event = started) -> None:
            assert started.wait(60)
            assert victim.end(revoked=True)

        together(run, revoke)
        codes = results[0]
        accepted = codes.count(0)
        assert codes == bytes(accepted) + bytes([REVOKED]) * (count - accepted)
    assert world.verdict(session.sign()) == "OK"


def test_T22_buffers_changed_during_a_batch(backend: str) -> None:
    """While another thread scribbles over tokens and bodies, verdicts stay sane and no sequence is
    accepted twice.
    """
    world, count = World(backend, window_words=1024), 2_000  # none falls out of the window
    session = world.install()
    stop, seen = threading.Event(), bytearray()
    names = {"OK", "MALFORMED", "UNKNOWN_SESSION", "BAD_EPOCH", "BAD_TAG", "REPLAYED"}
    tokens = bytearray(
        sign_batch(session.client, session.handle, OPERATIONS[SUBMIT], bytes(100 * count), count=count)
    )
    pristine, bodies = bytes(tokens), bytearray(100 * count)

    def scribble() -> None:
        rng = random.Random(5)
        while not stop.is_set():
            for _ in range(200):
                at, bit = rng.randrange(len(tokens)), rng.randrange(len(bodies))
                tokens[at] ^= 1 << rng.randrange(8)
                bodies[bit] ^= 1
                bodies[bit] ^= 1
            start = rng.randrange(count) * 48
            tokens[start : start + 48 * 40] = pristine[start : start + 48 * 40]

    def verify() -> None:
        try:
            for _ in range(150):
                seen.extend(verify_batch(world.point, OPERATIONS[SUBMIT], tokens, bodies))
        finally:
            stop.set()

    together(scribble, verify)
    assert {VERDICTS[code] for code in set(seen)} <= names
    assert 0 < seen.count(0) <= count
    assert session.state()["accepted"] == seen.count(0)
    rest = verify_batch(world.point, OPERATIONS[SUBMIT], pristine, bytes(100 * count))
    assert rest.count(0) + seen.count(0) == count
    assert rest.count(REPLAYED) == seen.count(0)


def test_signing_from_many_threads_never_repeats_a_sequence(world: World, session: Session) -> None:
    """Each token of eight signing threads, single and in batches, has a sequence of its own."""
    tokens: list[bytes] = []

    def sign() -> None:
        for i in range(150):
            if i % 3:
                tokens.append(session.sign())
            else:
                batch = sign_batch(session.client, session.handle, OPERATIONS[SUBMIT], b"body" * 9, count=9)
                tokens.extend(batch[j : j + 48] for j in range(0, len(batch), 48))

    together(*[sign] * 8)
    sequences = sorted(Token.parse(token).sequence for token in tokens)
    assert sequences == list(range(1, len(tokens) + 1))


FORKED = """
import os, sys
from worlds import OPERATIONS, World, profile_of
from ztsession import errors
from ztsession._batch import verify_batch
from ztsession._core import VERDICTS
world = World()
session = world.install()
token, reply = session.sign(), session.reply()
child = os.fork()
if child:
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status == 0, status
    world.passes(session, token)
    session.open_reply(reply)
    sys.exit(0)
code = 1
try:
    assert world.verdict(token) == "UNKNOWN_SESSION"
    codes = verify_batch(world.point, OPERATIONS[0], token * 3, b"body" * 3)
    assert [VERDICTS[c] for c in codes] == ["UNKNOWN_SESSION"] * 3
    for call in (session.sign, session.reply):
        try:
            call()
        except errors.SessionEnded:
            continue
        raise AssertionError("signed")
    try:
        session.open_reply(reply)
    except errors.Denied:
        pass
    assert not world.point.end(session.handle, revoked=True)
    assert not world.point.set_mode(session.handle, "NORMAL")
    assert not world.point.narrow(b"profile".ljust(32), [0, 0, 0])
    assert world.point.sweep() == 0
    assert world.point.session(session.handle) is None
    try:
        world.point.install(profile_of(), bytes(32), bytes(32), None, lifetime_us=10**9)
    except errors.InstallationError:
        code = 0
    assert not any(world.point.snapshot_for_testing_only())
    del world, session
finally:
    os._exit(code)
"""


def test_a_forked_child_refuses_everything() -> None:
    """A child has no keys and no window: it can accept, sign, end and install nothing, and its parent
    goes on.
    """
    here = os.path.dirname(__file__)
    result = subprocess.run(
        [sys.executable, "-c", FORKED],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([here, *sys.path])},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
