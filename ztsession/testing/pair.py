"""``pair()``: an installed client and its enforcement point, without handshake, policy files or database.

The grant is made by hand and everything after it is the real thing: a sealed and signed ticket, the
installation, the session table, signed feed answers. What is left out is only who decided.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ztsession.bus.change import Change
from ztsession.bus.feed import CHANGES_MAX, FeedAnswer, FeedRequest
from ztsession.bus.inprocess import InProcessBus
from ztsession.client.installed import InstalledSession
from ztsession.client.installing import install_ticket
from ztsession.clock import FakeClock
from ztsession.enforcement.point import EnforcementPoint
from ztsession.policy.catalog import RISKS, Catalog, Segment
from ztsession.policy.grant import Grant
from ztsession.risk.levels import Mode
from ztsession.tickets.segment_key import SegmentKey
from ztsession.tickets.ticket import TicketBody, seal_ticket
from ztsession.wire.signature import SeedSigner

__all__ = ["TestAuthority", "pair"]

#: One operation's keys in a catalog, for example {"effect": "read", "max_age_ms": 50}.
OperationKeys = Mapping[str, Any]


class TestAuthority:
    """Grants whatever it is asked to; signs and seals like a real Authority. For tests only."""

    __test__ = False  # pytest, this is no test
    pushes = True

    def __init__(self, segment: Segment, *, clock: Callable[[], float] = time.time) -> None:
        self._segment, self._clock = segment, clock
        self._key, self._signer = SegmentKey.generate(segment.name), SeedSigner(os.urandom(32))
        self._bus, self._changes = InProcessBus(), list[Change]()
        self._deciding = threading.RLock()
        self.subscribe = self._bus.subscribe

    @property
    def ticket_key(self) -> bytes:
        """The public key of tickets and feed answers."""
        return self._signer.public_key

    @property
    def ticket_keys(self) -> Sequence[bytes]:
        """The same, as an enforcement point asks for it."""
        return (self.ticket_key,)

    def segment(self, name: str) -> Segment:
        """The one segment there is."""
        return self._segment

    def segment_keys(self, name: str) -> Sequence[SegmentKey]:
        """Its private key."""
        return (self._key,)

    def feed(self, request: bytes) -> bytes:
        """All changes so far."""
        asked = FeedRequest.from_bytes(request)
        new = [change.to_bytes() for change in self._changes[asked.after :]]
        answer = FeedAnswer(
            asked.segment, asked.nonce, asked.after, new[:CHANGES_MAX], complete=len(new) <= CHANGES_MAX
        )
        return answer.sign(self._signer)

    def set_mode(self, session: bytes, mode: Mode) -> None:
        """Change a session's mode (16-byte id), in force on return."""
        self._publish(Change.revoke(session) if mode is Mode.REVOKED else Change.set_mode(session, mode))

    def narrow(self, profile: bytes, allowed: Sequence[int]) -> None:
        """Take operations away from all sessions of a profile (32-byte digest), in force on return."""
        self._publish(Change.narrow(profile, list(allowed)))

    def grant(self, *, assurance: int = 1, step_up: Iterable[str] = (), subject: str = "algo-1") -> Grant:
        """A grant of every operation, in each mode as the catalog says."""
        segment = self._segment
        later = sum(segment.operation(name).bit for name in step_up)
        every = sum(o.bit for o in segment.operations)
        gentle, always = (
            sum(o.bit for o in segment.operations if o.runs_at(risk)) & ~later for risk in RISKS[1:]
        )
        return Grant(
            session=os.urandom(16),
            subject=subject,
            device="host-1",
            segment=segment.name,
            environment=segment.environment,
            catalog=segment.digest,
            policy=bytes(32),
            version=1,
            posture=bytes(32),
            assurance=assurance,
            operations={
                o.full_name: [o.index, o.max_age_us, o.stale_ms, int(o.ordered)] for o in segment.operations
            },
            allowed=[every, gentle, always],
            step_up=later,
            epoch_length_us=segment.epoch_length_s * 1_000_000,
            lifetime_s=segment.lifetime_s,
            idle_s=segment.idle_s,
            until=0,
            lasting=[every, gentle, always],
            issued_at=int(self._clock()),
        )

    def ticket(self, grant: Grant, secret: bytes) -> bytes:
        """The sealed and signed ticket of a grant; ``secret`` is 32 bytes."""
        started_at = int(self._clock())
        body = TicketBody(
            grant.to_bytes(), secret, started_at, "test-authority", started_at + grant.lifetime_s
        )
        return seal_ticket(body, grant.segment, self._key.public, started_at + grant.lifetime_s, self._signer)

    def connect(
        self, point: EnforcementPoint, grant: Grant | None = None, *, clock: FakeClock | None = None
    ) -> InstalledSession:
        """One more client, installed at ``point``."""
        grant, secret = grant or self.grant(), os.urandom(32)
        machine_us = None if clock is None else clock.machine_us
        client = install_ticket(point, grant, self.ticket(grant, secret), secret, manual_clock_us=machine_us)
        if clock is not None:
            clock.follow(client.table)
        return client

    def _publish(self, change: Change) -> None:
        # Two changes of one number would be a gap in the feed that no point gets over.
        with self._deciding:
            numbered = change.numbered(len(self._changes) + 1, sent_at=int(self._clock() * 1e6))
            self._changes.append(numbered)
            self._bus.publish(numbered)


def pair(
    segment: str = "orders",
    operations: Sequence[str] | Mapping[str, OperationKeys] = ("orders.submit", "orders.cancel"),
    *,
    clock: FakeClock | None = None,
    segment_keys: Mapping[str, int] | None = None,
    step_up: Iterable[str] = (),
    **point_options: Any,
) -> tuple[InstalledSession, EnforcementPoint]:
    """Return (client, point): an installed session and the enforcement point that verifies it, all in memory.

    ``operations``: full names, or names with catalog keys ({"orders.cancel": {"effect": "risk-reducing"}}).
    ``clock``: a FakeClock that both ends then follow. ``segment_keys``: catalog keys of the segment
    (epoch_length_s, idle_s, ...). Further options go to EnforcementPoint. The point's ``authority`` is a
    TestAuthority, with which to change modes.
    """
    text = _catalog_text(segment, operations, segment_keys or {})
    wall = time.time if clock is None else clock.time
    authority = TestAuthority(Catalog.from_text(text).segment(segment), clock=wall)
    point = EnforcementPoint(
        segment, authority=authority, manual_clock=clock is not None, wall_clock=wall, **point_options
    )
    if clock is not None:
        clock.follow(point.table)
        point._lease.begin_anew_for_testing_only()
        point.maintain()
    return authority.connect(point, authority.grant(step_up=step_up), clock=clock), point


def _catalog_text(
    segment: str, operations: Sequence[str] | Mapping[str, OperationKeys], segment_keys: Mapping[str, int]
) -> str:
    rows = operations if isinstance(operations, Mapping) else {name: {} for name in operations}
    lines = [
        "version = 1",
        f"[segments.{segment}]",
        *(f"{key} = {value}" for key, value in segment_keys.items()),
    ]
    for full_name, keys in rows.items():
        lines.append(f"[segments.{segment}.operations.{full_name.removeprefix(segment + '.')}]")
        given = {"effect": _guess_effect(full_name), **keys}
        lines += [f"{key} = {_toml(value)}" for key, value in given.items()]
    return "\n".join(lines)


def _guess_effect(full_name: str) -> str:
    return "risk-reducing" if "cancel" in full_name else "risk-increasing"


def _toml(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value).lower()
