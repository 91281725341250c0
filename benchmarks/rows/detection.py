"""How long a look at all sessions takes, and how long it is from what the counters show to a refused call.

The second begins when the attack has been made and the counters show it, and ends when the next call of the
session is refused: one pass with the detector, the signal through a real store and audit log, the change at
the point. What a deployment adds is the pause between two passes, half of ``every_ms`` on average.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack

import ztsession
from benchmarks.firm import Enrolment, Firm
from benchmarks.fleet import Fleet
from benchmarks.measure import Series
from benchmarks.plan import Plan
from benchmarks.result import Findings, Row
from ztsession.enforcement.watch import Watch
from ztsession.risk.detectors.concurrency import Concurrency
from ztsession.risk.detectors.denials import Denials
from ztsession.risk.detectors.off_hours import OffHours, UsualHours
from ztsession.risk.detectors.order_rate import OrderRate
from ztsession.risk.detectors.protocol import Detector
from ztsession.risk.detectors.replays import Replays
from ztsession.risk.detectors.settings import DetectorSettings
from ztsession.risk.detectors.stale_posture import StalePosture
from ztsession.risk.detectors.standard import StandardDetectors
from ztsession.risk.detectors.strangers import Strangers
from ztsession.store.records import SessionRecord

__all__ = ["measure"]

ATTACKS = 7
SUBMIT, TAKEN, FEED = "orders.submit", "orders.cancel-all", "md.subscribe"
#: Short, so that a rate is known at once; thresholds do not change what a pass costs.
SETTINGS = DetectorSettings(rate_warm_up_s=0, rate_window_ms=10, denials=3, replays=3)
#: A Thursday in UTC, at three in the morning.
NIGHT_UNIX_S = 1_800_000_000 // 86_400 * 86_400 + 3 * 3600


def measure(plan: Plan, wanted: Collection[str], say: Callable[[str], None]) -> Findings:
    """The pass over a fleet, then each detector with its attack."""
    findings = Findings()
    _scan(plan, say, findings)
    with _Floor(ATTACKS * plan.detections) as floor:
        for name, attack in floor.attacks():
            took = Series(f"from the counters to the refused call: {name}", "ms")
            for number in range(plan.detections):
                say(f"{name} {number + 1} of {plan.detections}")
                took.values.append(floor.once(attack))
            note = "" if name != "strangers" else "until the alert: nobody's calls are refused for it"
            findings.rows.append(Row(f"detection {name}", took.name, took, note=note))
            findings.series.append(took)
    return findings


def _scan(plan: Plan, say: Callable[[str], None], findings: Findings) -> None:
    fleet = Fleet(plan.scan_sessions, say)
    calls, scan = fleet.batch(), SETTINGS.scan(fleet.table)
    # At an hour that is unusual for whoever is looked at, so that none is let be.
    detectors = StandardDetectors(
        dataclasses.replace(SETTINGS, hours={"human": UsualHours(700, 1900)}),
        kind_of=lambda _: "algorithm",
        clock=lambda: NIGHT_UNIX_S,
    )
    whole = Series(f"a pass over {plan.scan_sessions:,} sessions, and each detector's look", "ms")
    took = Series("the pass alone, without the GIL", "ms")
    first = Series("the first pass, which finds memory for what it remembers", "ms")
    for number in range(plan.fleet_rounds + 1):
        say(f"pass {number + 1} over {plan.scan_sessions:,} sessions")
        calls.once()
        start = time.perf_counter_ns()
        rows = scan.take()
        passed = time.perf_counter_ns()
        found = [finding for detector in detectors for finding in detector.look(scan)]
        looked = time.perf_counter_ns()
        (took if number else first).values.append((passed - start) / 1e6)
        if number:
            whole.values.append((looked - start) / 1e6)
        if found or rows != plan.scan_sessions or min(scan.accepted) < 1:
            raise RuntimeError("a pass did not count each session's calls, or found what there was not")
    note = "" if plan.scan_sessions >= 100_000 else "the target is for 100,000 sessions"
    findings.rows.append(Row("detection scan", whole.name, whole, note=note))
    findings.series += [whole, took, first]


@dataclasses.dataclass(frozen=True)
class _Attack:
    """``detector``: what looks; ``make``: the calls that it is to find; ``refuses``: whether the session
    answers for them.
    """

    detector: Detector
    make: Callable[[], None]
    refuses: bool = True


class _Floor:
    """A firm with two segments, and one session at a time that is attacked."""

    def __init__(self, subjects: int) -> None:
        """``subjects``: as many as there will be attacks, because what was found of one stands against it."""
        self._opened = ExitStack()
        self._identities = [ztsession.Ed25519Identity.generate(f"target-{n}") for n in range(subjects)]
        entries = (each.registry_entry("algorithm", roles=("trading",)) for each in self._identities)
        self._firm = self._opened.enter_context(Firm([Enrolment(subjects="\n".join(entries))]))
        self._authority = self._firm.authority
        self._points = {name: self._point(name) for name in ("orders", "md")}
        self._submit = self._points["orders"].verifier(SUBMIT)
        self._watches: list[Watch] = []

    def attacks(self) -> Iterator[tuple[str, _Attack]]:
        """Each detector, and what it is to find."""
        strangers = Strangers(count=100)
        human = {"human": UsualHours(700, 1900)}
        night = OffHours(human, kind_of=_human, clock=lambda: NIGHT_UNIX_S)
        twice = Concurrency(self._elsewhere, kind_of=_human, every_s=0)
        yield "order-rate", _Attack(OrderRate(), self._rush)
        yield "replay", _Attack(Replays(), self._replay)
        yield "lateral-movement", _Attack(Denials(), self._look_around)
        yield "off-hours", _Attack(night, self._call)
        yield "concurrency", _Attack(twice, self._move)
        yield "posture-silence", _Attack(StalePosture(shown_at=lambda _: 0.0), self._call)
        yield "strangers", _Attack(strangers, lambda: self._forge(strangers), refuses=False)

    def once(self, attack: _Attack) -> float:
        """Milliseconds from the counters to the refusal, of a session of its own."""
        session = self._session = self._connect()
        self._moved = False
        self._orders = session.install(self._points["orders"], "orders")
        self._feed = session.install(self._points["md"], "md")
        self._watches = [
            Watch(point, [attack.detector], report=self._authority.signal, settings=SETTINGS, every_s=0)
            for point in self._points.values()
        ]
        self._look()
        self._call()
        attack.make()
        body, token = b"next", self._orders.sign(SUBMIT, b"next")
        start = time.perf_counter_ns()
        self._look()
        refused = not self._accepted(token, body)
        spent = (time.perf_counter_ns() - start) / 1e6
        if refused != attack.refuses:
            raise RuntimeError(f"{type(attack.detector).__name__} did not do what it should")
        self._authority.revoke(session.id)
        return spent

    def _connect(self) -> ztsession.Session:
        return ztsession.connect(
            self._authority.connection(),
            identity=self._identities.pop(),
            posture=self._firm.device,
            root=self._authority.root,
            scopes=("orders.*", "md.*"),
        )

    def _point(self, segment: str) -> ztsession.EnforcementPoint:
        return self._opened.enter_context(ztsession.EnforcementPoint(segment, authority=self._authority))

    def _look(self) -> None:
        for watch in self._watches:
            watch.once()

    def _accepted(self, token: bytes, body: bytes) -> bool:
        try:
            self._submit(token, body)
        except ztsession.Denied:
            return False
        return True

    # ---- Attacks

    def _call(self) -> None:
        if not self._accepted(self._orders.sign(SUBMIT, b"call"), b"call"):
            raise RuntimeError("a session that nothing is held against was refused")

    def _rush(self) -> None:
        for calls in (1, 2000):
            for _ in range(calls):
                self._call()
            time.sleep(0.02)
            if calls == 1:
                self._look()

    def _replay(self) -> None:
        token = self._orders.sign(SUBMIT, b"replay")
        for _ in range(6):
            self._accepted(token, b"replay")

    def _look_around(self) -> None:
        for segment, client, operation in (("orders", self._orders, TAKEN), ("md", self._feed, FEED)):
            point = self._points[segment]
            self._authority.narrow(client.grant.profile_digest(), _without(point, operation))
            verify = point.verifier(operation)
            for _ in range(4):
                try:
                    verify(client.sign(operation, b"look"), b"look")
                except ztsession.Denied:
                    continue

    def _forge(self, strangers: Strangers) -> None:
        for _ in range(200):
            try:
                self._submit(bytes(48), b"forged")
            except ztsession.Denied as error:
                strangers.refused("198.51.100.7", error)

    def _move(self) -> None:
        self._moved = True

    def _elsewhere(self) -> list[SessionRecord]:
        # The firm has one device; the second is made up, the list is the Authority's.
        live, own = self._authority.sessions(), self._authority.session(self._session.id)
        return [*live, *([dataclasses.replace(own, device="elsewhere")] if self._moved else [])]

    def __enter__(self) -> _Floor:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()


def _human(subject: str) -> str:
    return "human"


def _without(point: ztsession.EnforcementPoint, operation: str) -> list[int]:
    return [(2**64 - 1) & ~(1 << point.table.operations.index(operation))] * 3
