"""An enforcement point and its clients in memory, with time in the test's hands, and the oracle for
attacks.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from model import Keys

from ztsession import errors
from ztsession._calls import SessionView, Signer, Verifier
from ztsession._core import VERDICTS, Table
from ztsession._limits import LIMITS
from ztsession._records import Profile

SECOND = 1_000_000
START_US = 1_000 * SECOND + 7
EPOCH_US = LIMITS["EPOCH_LENGTH_US"]
SKEW_US = LIMITS["SKEW_US"]
ALWAYS = LIMITS["STALE_ALWAYS_MS"]
HOUR_US = 3_600 * SECOND

#: What each operation is there to show; the index is its place.
OPERATIONS = (
    "orders.submit",  # NORMAL only, refused as soon as the lease is over
    "orders.cancel",  # in every mode, and while the session lives
    "orders.status",  # NORMAL and RESTRICTED, 1.5 s beyond the lease
    "orders.amend",  # wants more assurance
    "orders.replace",  # ordered
    "orders.burst",  # 5 ms: on the fine clock
    "orders.withdraw",  # never allowed
)
SUBMIT, CANCEL, STATUS, AMEND, REPLACE, BURST, WITHDRAW = range(7)
MAX_AGE_US = 2 * SECOND
LIMITS_BY_OPERATION = {
    SUBMIT: (MAX_AGE_US, 0),
    CANCEL: (MAX_AGE_US, ALWAYS),
    STATUS: (MAX_AGE_US, 1_500),
    AMEND: (MAX_AGE_US, 0),
    REPLACE: (MAX_AGE_US, 0),
    BURST: (5_000, 0),
}
ALLOWED = [0b0111111, 0b0000110, 0b0000010]
STEP_UP, ORDERED = 1 << AMEND, 1 << REPLACE

#: Verdicts that only an authentic token can bring about are charged to its session.
CHARGED = VERDICTS[VERDICTS.index("EXPIRED") :]


def profile_of(digest: bytes = b"profile".ljust(32), **changes: Any) -> Profile:
    options: dict[str, Any] = {
        "allowed": ALLOWED,
        "limits": LIMITS_BY_OPERATION,
        "step_up": STEP_UP,
        "ordered": ORDERED,
        "epoch_length_us": EPOCH_US,
    }
    return Profile(digest, **(options | changes))


@dataclass
class Session:
    """One installation: the client's table, and what only a test may know, its keys."""

    point: Table
    client: Table
    handle: int
    secret: bytes
    nonce: bytes
    started_us: int
    record: Any
    keys: Keys

    def signer(self, operation: int = SUBMIT) -> Signer:
        return Signer(self.client, self.handle, OPERATIONS[operation])

    def sign(self, body: bytes = b"body", operation: int = SUBMIT) -> bytes:
        return self.signer(operation)(body)

    def reply(self, body: bytes = b"reply", operation: int = SUBMIT) -> bytes:
        return Signer(self.point, self.handle, OPERATIONS[operation])(body)

    def open_reply(self, token: bytes, body: bytes = b"reply", *, learns: bool = False) -> SessionView:
        return Verifier(self.client, None, learns=learns)(token, body)

    def state(self) -> dict[str, Any]:
        state = self.point.session(self.handle)
        assert state is not None
        return state

    def end(self, *, revoked: bool = True) -> bool:
        return self.point.end(self.handle, revoked=revoked)


@dataclass
class World:
    """A point with a manual clock, and as many clients as a test installs."""

    backend: str | None = None
    capacity: int = 4
    profiles: int = 4
    window_words: int = LIMITS["REPLAY_WORDS_DEFAULT"]
    now_us: int = START_US
    sessions: list[Session] = field(default_factory=list)
    numbers: Any = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.point = self.new_point()

    def new_point(self) -> Table:
        point = Table(
            operations=OPERATIONS,
            capacity=self.capacity,
            profiles=self.profiles,
            window_words=self.window_words,
            manual_clock=True,
            backend=self.backend,
        )
        point.set_manual_clock(self.now_us)
        return point

    def install(
        self,
        profile: Profile | None = None,
        *,
        point: Table | None = None,
        secret: bytes | None = None,
        **options: Any,
    ) -> Session:
        profile, point = profile or profile_of(), point or self.point
        secret, nonce = secret or os.urandom(32), os.urandom(32)
        options = {"lifetime_us": 12 * HOUR_US, "idle_s": 12 * 3600} | options
        number = next(self.numbers)
        record = SimpleNamespace(
            subject=f"algo-{number}", device=f"host-{number}", session=number.to_bytes(16, "big")
        )
        handle, now_us = point.install(profile, secret, nonce, record, **options)
        client = Table(operations=OPERATIONS, client=True, manual_clock=True, backend=self.backend)
        client.set_manual_clock(self.now_us)
        client.install(profile, secret, nonce, record, handle=handle, now_us=now_us, **options)
        keys = Keys(secret, nonce, handle, now_us // EPOCH_US)
        session = Session(point, client, handle, secret, nonce, now_us, record, keys)
        self.sessions.append(session)
        return session

    # ---- Time

    def at(self, now_us: int) -> None:
        self.now_us = now_us
        self.point.set_manual_clock(now_us)
        for session in self.sessions:
            session.point.set_manual_clock(now_us)
            session.client.set_manual_clock(now_us)

    def advance(self, us: int) -> None:
        self.at(self.now_us + us)

    @property
    def epoch(self) -> int:
        return self.now_us // EPOCH_US

    # ---- Calls

    def verify(
        self, token: Any, body: Any = b"body", operation: int | None = SUBMIT, *, point: Table | None = None
    ) -> SessionView:
        asked = None if operation is None else OPERATIONS[operation]
        return Verifier(point or self.point, asked)(token, body)

    def verdict(self, *args: Any, **options: Any) -> str:
        try:
            self.verify(*args, **options)
        except errors.Denied as denied:
            return denied.verdict
        return "OK"

    def passes(
        self, session: Session, token: bytes, body: Any = b"body", operation: int | None = SUBMIT
    ) -> SessionView:
        """The positive twin: accepted, counted, and for this session."""
        before = session.state()["accepted"]
        view = self.verify(token, body, operation, point=session.point)
        assert view.handle == session.handle
        assert session.state()["accepted"] == before + 1
        return view

    def refuses(
        self,
        kind: type[errors.Denied],
        token: Any,
        body: Any = b"body",
        operation: int | None = SUBMIT,
        *,
        point: Table | None = None,
        charged: Session | None = None,
    ) -> None:
        """The oracle: refused with this very name, counted once, charged to nobody or ``charged``,
        nothing moved.
        """
        table = point or self.point
        refused_by(
            lambda: self.verify(token, body, operation, point=table), kind, table, self.sessions, charged
        )


def refused_by(
    call: Callable[[], object],
    kind: type[errors.Denied],
    table: Table,
    sessions: list[Session],
    charged: Session | None = None,
) -> None:
    before, counted = table.snapshot_for_testing_only(), table.refused()
    states = {s.handle: table.session(s.handle) for s in sessions}
    with pytest.raises(errors.Denied) as caught:
        call()
    assert type(caught.value) is kind
    assert changes(counted, table.refused()) == {kind.verdict: 1}
    for session in sessions:
        state, now = states[session.handle], table.session(session.handle)
        assert (state is None) == (now is None)
        if state is None or now is None:
            continue
        expected = {kind.verdict: 1} if session is charged else {}
        assert changes(state.pop("refused"), now.pop("refused")) == expected
        assert state == now
    assert table.snapshot_for_testing_only() == before


def changes(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    return {name: after[name] - before[name] for name in after if after[name] != before[name]}


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)
