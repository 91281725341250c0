"""The enforcement point: one object per segment in each service.

    point = EnforcementPoint(segment="orders", authority=authority)

    @point.protect("orders.submit")
    def submit(session, body): ...

It holds the session table, takes tickets, obeys the Authority's changes, and hands out the calls that verify.
All slow things happen when a session is installed or changed; ``protect`` and ``verifier`` bind an operation
once.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Protocol, Self

from ztsession._batch import sign_batch, verify_batch
from ztsession._calls import Protected, SessionView, Signer, Verifier
from ztsession._core import Table
from ztsession.audit.sink import AuditSink, LogAudit
from ztsession.bus.change import Change
from ztsession.bus.feed import FeedSource
from ztsession.enforcement.believed import Believed
from ztsession.enforcement.installer import Installer
from ztsession.enforcement.lease import Lease, LeaseKeeper
from ztsession.enforcement.listener import Listener
from ztsession.errors import ConfigurationError, TableFull, TransportError, WireError, ZtsError
from ztsession.limits import LEASE_US, PROFILES_DEFAULT, REPLAY_WORDS_DEFAULT
from ztsession.policy.catalog import Segment
from ztsession.tickets.installation import InstallRefusal
from ztsession.tickets.segment_key import SegmentKey

__all__ = ["EnforcementPoint", "PointAuthority"]

#: The table's memory is only touched where sessions live, so a generous default costs nothing.
CAPACITY_DEFAULT = 65_536

_log = logging.getLogger("ztsession.enforcement")


class PointAuthority(FeedSource, Protocol):
    """What a point needs of its Authority: in one process the Authority itself, else a RemoteAuthority.

    One that has an ``audit`` (an AuditSink) besides takes the point's entries, unless that was given another.
    """

    @property
    def ticket_keys(self) -> Sequence[bytes]:
        """The Ed25519 public keys that tickets and feed answers may be signed with, 32 bytes each."""

    @property
    def pushes(self) -> bool:
        """Whether ``subscribe`` pushes; else the point keeps a question open, which is answered when there
        is news.
        """

    def segment(self, name: str) -> Segment:
        """The segment's operations and limits."""

    def segment_keys(self, name: str) -> Sequence[SegmentKey]:
        """The private keys that the segment's tickets may be sealed to."""

    def subscribe(self, receiver: Callable[[Change], None]) -> Callable[[], None]:
        """Push changes to ``receiver`` as they happen; returns the way to stop."""


class EnforcementPoint:
    """Verifies every call of one segment. Thread-safe; ``close()`` it, or use it as a context manager."""

    def __init__(
        self,
        segment: str,
        *,
        authority: PointAuthority,
        environment: str | None = None,
        capacity: int = CAPACITY_DEFAULT,
        profiles: int = PROFILES_DEFAULT,
        window_words: int = REPLAY_WORDS_DEFAULT,
        lease_us: int = LEASE_US,
        audit: AuditSink | None = None,
        manual_clock: bool = False,
        wall_clock: Callable[[], float] = time.time,
        backend: str | None = None,
    ) -> None:
        """Make the point and hear from the Authority once.

        ``environment``: the one that the segment must be of, if given; ConfigurationError if it is not.
        ``capacity``: sessions; ``profiles``: distinct decisions among them; ``window_words``: replay window,
        32 sequences each; ``lease_us``: how long to trust without hearing; ``audit``: where the loss of the
        lease is written, the Authority's own in one process, else the log. With ``manual_clock`` no thread
        runs, and time moves by ``table.set_manual_clock`` (tests). An Authority that does not answer is asked
        again; until it was heard, no ticket is taken here.
        """
        self.authority, self._segment = authority, authority.segment(segment)
        if environment not in (None, self._segment.environment):
            found = self._segment.environment
            raise ConfigurationError(
                f"segment {segment!r} is of environment {found!r}, expected {environment!r}"
            )
        self.table = Table(
            operations=[operation.full_name for operation in self._segment.operations],
            capacity=capacity,
            profiles=profiles,
            window_words=window_words,
            manual_clock=manual_clock,
            backend=backend,
        )
        keys, believed = partial(authority.segment_keys, segment), Believed(segment, authority.ticket_keys)
        self._installer = Installer(self.table, self._segment, keys, believed, clock=wall_clock)
        self._believed = believed
        sink = audit or getattr(authority, "audit", None) or LogAudit()
        self._lease = LeaseKeeper(segment, self.table, lease_us, sink)
        self._listener = Listener(
            segment,
            self.table,
            authority,
            believed,
            self._lease,
            ended=self._installer.forget,
            handle_of=self._installer.handle_of,
            profile_of=self._installer.profile,
        )
        self._unsubscribe = authority.subscribe(self._listener.apply)
        self._pushed, self._manual_clock = authority.pushes, manual_clock
        #: The hour that something waits for.
        self._watched_us: int | None = None
        self._stopping = threading.Event()
        self.maintain()
        # Also when nobody closes the point: the Authority must not keep its table alive.
        if manual_clock:
            weakref.finalize(self, self._unsubscribe).atexit = False
        else:
            _Housekeeper.start(self, lease_us / 4e6, self._stopping, self._unsubscribe)

    # ---- The call path

    def protect(self, operation: str) -> Callable[[Callable[..., Any]], Protected]:
        """Decorate a handler ``(session, body, ...)`` into one that is called with ``(token, body, ...)``.

        Works on functions, methods and ``async def``. The call raises a subclass of ``Denied`` when it is
        refused.
        """
        self._known(operation)
        return lambda handler: Protected(self.table, operation, handler)

    def verifier(self, operation: str | None = None) -> Verifier:
        """The bare call ``(token, body) -> SessionView``; without an operation it takes any and the view
        names it.
        """
        if operation is not None:
            self._known(operation)
        return Verifier(self.table, operation)

    def verify_batch(
        self, operation: str, tokens: Any, bodies: Any, offsets: Any = None, out: Any = None
    ) -> Any:
        """Verdict codes for many calls, one byte each, in order (names: ``ztsession.VERDICTS``); GIL
        released.

        ``tokens``: n x 48 bytes; ``bodies``: n of one length, or any lengths with ``offsets`` (n+1 of 64
        bits).
        """
        self._known(operation)
        return verify_batch(self.table, operation, tokens, bodies, offsets, out)

    def signer(self, session: SessionView | int, operation: str) -> Signer:
        """The call ``(body) -> token`` towards one session: replies and pushed messages. Takes a view or a
        handle.
        """
        self._known(operation)
        handle = session if isinstance(session, int) else session.handle
        return Signer(self.table, handle, operation)

    def sign_batch(
        self,
        session: SessionView | int,
        operation: str,
        bodies: Any,
        *,
        count: int | None = None,
        offsets: Any = None,
    ) -> bytes:
        """Tokens of many messages towards one session, 48 bytes each: ``count`` bodies of one length, or cut
        by ``offsets`` (n+1 of 64 bits).
        """
        self._known(operation)
        handle = session if isinstance(session, int) else session.handle
        return sign_batch(self.table, handle, operation, bodies, count=count, offsets=offsets)

    def sign_reply(self, session: SessionView, body: bytes) -> bytes:
        """The token of one reply to the call that ``session`` came from."""
        return Signer(self.table, session.handle, session.operation)(body)

    # ---- Sessions

    def install(self, request: bytes) -> bytes:
        """Take an encoded InstallRequest from anybody; returns the encoded answer, or a refusal with a
        coarse reason.
        """
        try:
            if not self._listener.heard:
                # Who was revoked is not known here: a restart must not bring anybody back.
                raise TransportError("the Authority was not heard yet")
            answer = self._installer.install(request, self._listener.mode_of)
        except (ZtsError, ValueError) as error:
            reason = error.reason if isinstance(error, TableFull | TransportError | WireError) else "refused"
            # Anybody can cause one: a flood of garbage must not become a flood of warnings (D8).
            _log.info("segment %s refused an installation: %s", self._segment.name, error)
            return InstallRefusal(reason).to_bytes()
        record = self.table.record(answer.handle)
        if record is not None:
            self._listener.settle(answer.handle, record.session, record.profile)
        self._keep_hours()
        return answer.to_bytes()

    #: A point is its own in-memory transport: ``exchange`` is what a connection calls with each message.
    exchange = install

    def end(self, session: bytes) -> bool:
        """Log a session out here (16-byte id); False when it is not installed."""
        handle = self._installer.forget(session)
        return handle is not None and self.table.end(handle, revoked=False)

    def session(self, view: SessionView | int) -> dict[str, Any] | None:
        """State and counters of one live session, None when it is over."""
        return self.table.session(view if isinstance(view, int) else view.handle)

    def refused(self) -> dict[str, int]:
        """How many calls were refused, by verdict name."""
        return self.table.refused()

    def lease(self) -> Lease:
        """How the lease stands: what is left of it, whether and how often it was lost, and what it bounds."""
        return self._lease.read()

    @property
    def segment(self) -> str:
        """The name of the segment that is enforced."""
        return self._segment.name

    @property
    def authority_keys(self) -> tuple[bytes, ...]:
        """The keys that tickets and answers of the Authority may be signed with, also since a rotation."""
        return self._believed.keys

    @property
    def closed(self) -> bool:
        """Whether the point has stopped listening."""
        return self._stopping.is_set()

    def maintain(self) -> bool:
        """Hear from the Authority, end what expired, advance what is silent; False when the Authority did not
        answer.

        A thread does this four times a lease; call it yourself only with a manual clock.
        """
        return self._maintain(wait_ms=0)

    def _pass_hours(self) -> None:
        for profile, less in self._installer.take_due():
            self._listener.take(profile, less)

    def _keep_hours(self) -> None:
        self._pass_hours()
        # The housekeeper rests, or waits for the Authority, and might look around only after it.
        due_us, in_s = self._installer.next_due_us(), self._next_hour_s()
        if self._manual_clock or due_us == self._watched_us or in_s > _Housekeeper.PAUSE_MAX_S:
            return
        self._watched_us = due_us
        timer = threading.Timer(in_s, self._meet_hour)
        timer.daemon = True
        timer.start()

    def _meet_hour(self) -> None:
        # Also should it be a moment early: then it is waited for again.
        self._watched_us = None
        self._keep_hours()

    def _next_hour_s(self) -> float:
        due_us = self._installer.next_due_us()
        return float("inf") if due_us is None else max(0.0, (due_us - self.table.now_us()) / 1e6)

    def _maintain(self, wait_ms: int) -> bool:
        # Before the lease is prolonged: should this ever not be reached, the lease runs out.
        self._pass_hours()
        heard = self._listener.ask(wait_ms)
        self.table.sweep()
        self._installer.sweep()
        self._listener.sweep()
        return heard

    def close(self) -> None:
        """Stop listening. The lease then runs out, and with it what needs one."""
        self._stopping.set()
        self._unsubscribe()

    def __enter__(self) -> Self:
        """The point itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def _known(self, operation: str) -> None:
        if operation not in self.table.operations:
            names = ", ".join(self.table.operations)
            raise ConfigurationError(
                f"segment {self._segment.name!r} has no operation {operation!r}, only {names}"
            )


class _Housekeeper:
    """Maintains its point while that is alive; holds it weakly, so that a dropped point does not live for
    ever.
    """

    #: Between two tries when the Authority does not answer.
    RETRY_S = 0.1
    #: Longest pause or question: well within the time for which a connection waits for its answer.
    PAUSE_MAX_S = 2.0

    @classmethod
    def start(
        cls, point: EnforcementPoint, every_s: float, stopping: threading.Event, leave: Callable[[], None]
    ) -> None:
        # No callback at the reference: it would run wherever the collector happens to run, under any lock.
        arguments = (weakref.ref(point), min(every_s, cls.PAUSE_MAX_S), stopping, leave)
        name = f"ztsession-{point._segment.name}"
        threading.Thread(target=cls._run, args=arguments, name=name, daemon=True).start()

    @classmethod
    def _run(
        cls,
        reference: weakref.ReferenceType[EnforcementPoint],
        every_s: float,
        stopping: threading.Event,
        leave: Callable[[], None],
    ) -> None:
        pause_s = 0.0
        while not stopping.wait(pause_s):
            point = reference()
            if point is None:
                break
            pause_s = min(cls._once(point, every_s), point._next_hour_s())
            del point
        leave()

    @classmethod
    def _once(cls, point: EnforcementPoint, every_s: float) -> float:
        try:
            heard = point._maintain(0 if point._pushed else int(min(every_s, point._next_hour_s()) * 1000))
        except Exception:
            # Whatever it was, a point without its housekeeper would be stale for good.
            _log.exception("housekeeping of segment %s failed; the lease decides", point._segment.name)
            return cls.RETRY_S
        if not heard:
            return cls.RETRY_S
        return every_s if point._pushed else 0.0
