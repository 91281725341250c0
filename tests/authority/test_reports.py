"""What is reported from elsewhere counts only from whom it may come, and once; together it says more."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from typing import Any

import pytest

import ztsession as zts
from ztsession.authority.reports import PER_SOURCE_PER_S
from ztsession.bus.report import ReportAnswer, SignalReport, check_answer
from ztsession.clock import FakeClock
from ztsession.enforcement.reporting import remote_report
from ztsession.enforcement.watch import Watch
from ztsession.errors import (
    AuditError,
    BadTag,
    ConfigurationError,
    EvidenceError,
    NotPermitted,
    ReauthRequired,
    StepUpRequired,
    StoreError,
    TransportError,
    WireError,
)
from ztsession.handshake.refusal import Refusal
from ztsession.integrations.stream import SocketTransport
from ztsession.policy.catalog import Catalog
from ztsession.risk.detectors.denials import Denials
from ztsession.risk.detectors.replays import Replays
from ztsession.risk.detectors.settings import DETECTORS_FILE, DetectorSettings
from ztsession.risk.detectors.strangers import Strangers
from ztsession.risk.levels import Level
from ztsession.risk.signals import Signal
from ztsession.server import StreamServer
from ztsession.tickets import SegmentKey
from ztsession.wire.digest import digest
from ztsession.wire.signature import SeedSigner, Signed

GATEWAY, STRANGER = SeedSigner(b"g" * 32), SeedSigner(b"s" * 32)
SETTINGS = f"""
[replay]
count = 3

[sources.gateway]
public_key = "{GATEWAY.public_key.hex()}"
kinds = ["replay", "behaviour"]
highest = "MEDIUM"
segments = ["orders"]
"""


@pytest.fixture
def authority(house: Any) -> zts.Authority:
    (house.rules / DETECTORS_FILE).write_text(SETTINGS)
    opened: zts.Authority = house.authority()
    return opened


def of(session: bytes, **changed: Any) -> Signal:
    values = {
        "id": "1",
        "kind": "replay",
        "level": Level.MEDIUM,
        "source": "gateway",
        "time": time.time(),
        "session": session,
        "evidence": {"segment": "orders"},
    }
    return Signal(**(values | changed))


def send(authority: zts.Authority, signal: Signal, signer: SeedSigner = GATEWAY) -> None:
    """Report it over a connection, as a point does; TransportError for what is not taken."""
    report = SignalReport.make(signal, signer)
    check_answer(authority.connection().exchange(report.to_bytes()), report, tuple(authority.ticket_keys))


def events(house: Any, event: str) -> list[dict[str, Any]]:
    lines = (house.state / "audit.jsonl").read_text().splitlines()
    return [entry for entry in map(json.loads, lines) if entry["event"] == event]


def test_a_report_is_in_force_when_it_is_answered(house: Any, authority: zts.Authority) -> None:
    """The session's very next call in this process is asked for a step-up; said twice it counts once."""
    point = house.point(authority)
    session = house.connect(authority)
    orders = session.install(point, "orders")
    verify = point.verifier("orders.submit")
    verify(orders.sign("orders.submit", b"x"), b"x")
    for _ in range(2):
        send(authority, of(session.id))
    token = orders.sign("orders.submit", b"x")
    with pytest.raises(StepUpRequired):
        verify(token, b"x")
    assert len(events(house, "signal")) == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"level": Level.HIGH},
        {"kind": "operator"},
        {"source": "nobody"},
        {"source": "point:orders"},
        {"evidence": {"segment": "md"}},
        {"evidence": {}},
        {"later_s": -7 * 3600},
        {"later_s": 600},
    ],
    ids=str,
)
def test_what_a_source_may_not_say_is_refused(
    house: Any, authority: zts.Authority, changed: dict[str, Any]
) -> None:
    """Too high, another kind, another's name, another segment, too old, too early: nothing has happened, and
    the peer is counted as a stranger.
    """
    before, given = authority.strangers_refused, dict(changed)
    when = time.time() + given.pop("later_s", 0)
    with pytest.raises(TransportError):
        send(authority, of(b"s" * 16, time=when, **given))
    assert authority.strangers_refused == before + 1
    assert events(house, "signal") == []


@pytest.mark.parametrize(
    "changed",
    [{"subject": "algo-7"}, {"device": "host-1"}, {"network": "198.51.100.7"}],
    ids=lambda changed: next(iter(changed)),
)
def test_a_source_says_nothing_of_who_is_at_work_in_other_segments(
    house: Any, authority: zts.Authority, changed: dict[str, Any]
) -> None:
    """Not of a subject, a device, or (but for a note) an address: the gateway of one segment that was taken
    over cannot have the firm restricted.
    """
    session = house.connect(authority, authority.connection("198.51.100.7"))
    with pytest.raises(TransportError):
        send(authority, of(b"", kind="behaviour", **changed))
    assert authority.session(session.id).mode == zts.Mode.NORMAL
    assert events(house, "signal") == []
    send(authority, of(b"", kind="behaviour", level=Level.LOW, network="198.51.100.7"))
    assert authority.session(session.id).mode == zts.Mode.NORMAL


def test_a_source_says_nothing_of_sessions_of_other_segments(house: Any, authority: zts.Authority) -> None:
    """A session that has a grant in its segment is hit, also by the name that it had before its renewal; one
    that has none there is not.
    """
    elsewhere, here = house.connect(authority, scopes=["md.*"]), house.connect(authority)
    with pytest.raises(TransportError):
        send(authority, of(elsewhere.id))
    assert authority.session(elsewhere.id).mode == zts.Mode.NORMAL
    renewed = here.renew(authority.connection())
    send(authority, of(here.id))
    assert authority.session(renewed.id).mode == zts.Mode.RESTRICTED


def test_R5_a_forged_report_is_refused(house: Any, authority: zts.Authority) -> None:
    """Another's key, and each byte of a true report changed: nothing is taken."""
    signal = of(b"s" * 16)
    with pytest.raises(TransportError):
        send(authority, signal, STRANGER)
    good = SignalReport.make(signal, GATEWAY).to_bytes()
    connection = authority.connection()
    for at in range(len(good)):
        forged = bytearray(good)
        forged[at] ^= 1
        answer = connection.exchange(bytes(forged))
        assert Refusal.from_bytes(answer).reason in ("refused", "malformed")
    assert events(house, "signal") == []
    send(authority, signal)


def test_a_source_that_was_taken_out_is_refused(house: Any, authority: zts.Authority) -> None:
    """With the next reload; a mistake in the file leaves all as it was."""
    send(authority, of(b"s" * 16))
    (house.rules / DETECTORS_FILE).write_text("[scan]\nevery = 1\n")
    with pytest.raises(ConfigurationError, match="unknown key"):
        authority.reload()
    send(authority, of(b"s" * 16, id="2"))
    (house.rules / DETECTORS_FILE).write_text("")
    authority.reload()
    with pytest.raises(TransportError):
        send(authority, of(b"s" * 16, id="3"))


def test_R6_a_report_that_was_recorded_is_too_old_when_its_id_is_forgotten(house: Any) -> None:
    """The store forgets ids after two days; by then the report is refused for its age."""
    (house.rules / DETECTORS_FILE).write_text(SETTINGS)
    clock = FakeClock()
    authority = house.authority(clock=clock.time)
    report = SignalReport.make(of(b"s" * 16, time=clock.time()), GATEWAY).to_bytes()
    assert Signed.from_bytes(authority.connection().exchange(report))
    assert Signed.from_bytes(authority.connection().exchange(report))
    clock.advance(3 * 86_400)
    authority._changes.prune(int(clock.time()))
    assert Refusal.from_bytes(authority.connection().exchange(report)).reason == "refused"
    assert len(events(house, "signal")) == 1


def test_a_report_that_cannot_be_stored_is_not_answered(
    authority: zts.Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The point hears "unavailable" and says it again; what is in force and only not in the log is taken."""
    report = SignalReport.make(of(b"s" * 16), GATEWAY)

    def fails(error: Exception) -> Callable[[Signal], Any]:
        def take(signal: Signal) -> Any:
            raise error

        return take

    monkeypatch.setattr(authority._reports, "_take", fails(StoreError("full")))
    answer = authority.connection().exchange(report.to_bytes())
    assert Refusal.from_bytes(answer).reason == "unavailable"
    monkeypatch.setattr(authority._reports, "_take", fails(AuditError("full")))
    check_answer(authority.connection().exchange(report.to_bytes()), report, tuple(authority.ticket_keys))


def test_D1_one_source_has_so_many_taken_in_a_second(
    house: Any, authority: zts.Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A point that was taken over cannot keep the Authority busy with reports; who repeats a recorded one
    uses nothing up.
    """
    monkeypatch.setattr("ztsession.authority.reports.time.monotonic", lambda: 1000.0)
    connection = authority.connection()
    first = SignalReport.make(of(b"s" * 16, id="0"), GATEWAY).to_bytes()
    for _ in range(2 * PER_SOURCE_PER_S):
        assert Signed.from_bytes(connection.exchange(first))
    for n in range(1, PER_SOURCE_PER_S):
        send(authority, of(b"s" * 16, id=str(n)))
    more = SignalReport.make(of(b"s" * 16, id="more"), GATEWAY).to_bytes()
    assert Refusal.from_bytes(connection.exchange(more)).reason == "busy"
    assert len(events(house, "signal")) == PER_SOURCE_PER_S
    assert Signed.from_bytes(connection.exchange(first))
    monkeypatch.setattr("ztsession.authority.reports.time.monotonic", lambda: 1000.1)
    assert Signed.from_bytes(connection.exchange(more))


def test_R5_an_answer_is_the_authoritys_and_to_this_report() -> None:
    """Whoever keeps reports from the Authority cannot say that they were taken."""
    report, other = SignalReport.make(of(b"s" * 16), GATEWAY), SignalReport.make(of(b"t" * 16), GATEWAY)
    keys = (GATEWAY.public_key,)
    good = ReportAnswer(report.name).sign(GATEWAY)
    check_answer(good, report, keys)
    wrong = (
        ReportAnswer(report.name).sign(STRANGER),
        ReportAnswer(other.name).sign(GATEWAY),
        ReportAnswer(report.name).to_bytes(),
        Signed.make(GATEWAY, "feed answer", ReportAnswer(report.name).to_bytes()).to_bytes(),
        Refusal("refused").to_bytes(),
        b"",
    )
    for answer in wrong:
        with pytest.raises(TransportError):
            check_answer(answer, report, keys)


def test_a_report_is_signed_under_its_own_label() -> None:
    """A signature for another purpose is none for a report, and a report has a bounded size."""
    signal = of(b"s" * 16).to_bytes()
    with pytest.raises(EvidenceError):
        SignalReport(signal, GATEWAY.sign(digest("feed answer", signal))).check(GATEWAY.public_key)
    with pytest.raises(WireError):
        SignalReport(bytes(4097), bytes(64))
    assert len(SignalReport(bytes(4096), bytes(64)).to_bytes()) <= SignalReport.max_bytes


# ---- Together


def denied(authority: zts.Authority, session: bytes, where: str, segment: str, **changed: Any) -> None:
    evidence = {"segment": segment, "denied": "3"}
    values = {"id": os.urandom(4).hex(), "kind": "behaviour", "level": Level.LOW, "source": where}
    authority.signal(of(**{"session": session, "evidence": evidence, **values, **changed}))


def test_refusals_in_two_segments_suspend_the_subject(house: Any, authority: zts.Authority) -> None:
    """Each by itself is a note; together they are lateral movement, HIGH, against the subject: every session
    of it, at the next call.
    """
    point = house.point(authority)
    session, other = house.connect(authority), house.connect(authority)
    orders = other.install(point, "orders")
    verify = point.verifier("orders.submit")
    denied(authority, session.id, "point:orders", "orders")
    denied(authority, session.id, "point:orders", "orders")
    verify(orders.sign("orders.submit", b"x"), b"x")
    denied(authority, session.id, "point:md", "md")
    token = orders.sign("orders.submit", b"x")
    with pytest.raises(ReauthRequired):
        verify(token, b"x")
    [found] = [entry for entry in events(house, "signal") if entry["about"] == "lateral-movement"]
    assert (found["level"], found["subject"]) == ("HIGH", "algo-7")
    assert found["evidence"] == [["operations", "0"], ["segments", "md orders"]]


@pytest.mark.parametrize(
    "changed",
    [
        {"source": "some-tool"},
        {"evidence": {"segment": "md"}},
        {"evidence": {"denied": "3"}},
        {"kind": "threat"},
        {"withdraws": True},
        {"session": b"u" * 16},
        {"time": 1_000_000_000.0},
    ],
    ids=str,
)
def test_what_is_no_refusal_of_a_point_is_not_counted(
    house: Any, authority: zts.Authority, changed: dict[str, Any]
) -> None:
    """Other sources, kinds and evidence, sessions that nobody knows, and what is long past."""
    session = house.connect(authority)
    denied(authority, session.id, "point:orders", "orders")
    given = dict(changed)
    denied(authority, given.pop("session", session.id), "point:md", "md", **given)
    assert all(entry["about"] != "lateral-movement" for entry in events(house, "signal"))


def test_movement_that_could_not_be_stored_is_stored_with_the_next_signal(
    house: Any, authority: zts.Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was correlated is owed until it is in force."""
    session, take = house.connect(authority), authority._reports._take
    failing = [True]

    def sometimes(signal: Signal) -> Any:
        if failing and signal.kind == "lateral-movement":
            raise StoreError("full")
        return take(signal)

    monkeypatch.setattr(authority._reports, "_take", sometimes)
    denied(authority, session.id, "point:orders", "orders")
    denied(authority, session.id, "point:md", "md")
    assert authority.session(session.id).mode == zts.Mode.NORMAL
    failing.clear()
    authority.signal(of(b"t" * 16, kind="operator", source="desk", level=Level.LOW))
    assert authority.session(session.id).mode == zts.Mode.SUSPENDED


OPERATIONS = "orders.submit orders.amend orders.cancel orders.cancel-all orders.block-trade orders.status"


def told(segment: str, operations: str = "") -> dict[str, str]:
    return {"segment": segment, "denied": "9", "operations": operations}


def test_one_source_alone_gets_nobody_suspended(house: Any) -> None:
    """Whatever it invents: what is made of it is no worse than it may say itself, and operations that there
    are not are none. Two that agree are believed.
    """
    both = SETTINGS.replace('highest = "MEDIUM"', 'highest = "LOW"').replace('["orders"]', '["orders", "md"]')
    second = f"""
    [sources.other]
    public_key = "{STRANGER.public_key.hex()}"
    kinds = ["behaviour"]
    highest = "LOW"
    segments = ["md"]
    [lateral-movement]
    operations = 6
    """
    (house.rules / DETECTORS_FILE).write_text(both + second)
    authority = house.authority()
    session = house.connect(authority)
    note = {"kind": "behaviour", "level": Level.LOW}
    send(authority, of(session.id, id="1", evidence=told("orders", "a b c d e f g"), **note))
    assert all(entry["about"] != "lateral-movement" for entry in events(house, "signal"))
    send(authority, of(session.id, id="2", evidence=told("orders", OPERATIONS), **note))
    send(authority, of(session.id, id="3", evidence=told("md"), **note))
    found = [entry for entry in events(house, "signal") if entry["about"] == "lateral-movement"]
    assert {entry["level"] for entry in found} == {"LOW"}
    assert authority.session(session.id).mode == zts.Mode.NORMAL
    send(authority, of(session.id, source="other", evidence=told("md"), **note), STRANGER)
    assert authority.session(session.id).mode == zts.Mode.SUSPENDED


def test_what_an_operator_settled_is_not_found_again_in_what_led_to_it(house: Any) -> None:
    """After resolving, one refusal more is the first and not the last; two segments are too many again."""
    ahead_s = 0.0
    (house.rules / DETECTORS_FILE).write_text(SETTINGS)
    authority = house.authority(clock=lambda: time.time() + ahead_s)
    session = house.connect(authority)

    def mode_after(*segments: str) -> int:
        for segment in segments:
            denied(authority, session.id, f"point:{segment}", segment, time=time.time() + ahead_s)
        return int(authority.session(session.id).mode)

    assert mode_after("orders", "md") == zts.Mode.SUSPENDED
    authority.resolve("lateral-movement", ("subject", "algo-7"))
    # Within the same minute the same finding is one finding.
    ahead_s += 61
    assert mode_after("orders") == zts.Mode.NORMAL
    assert mode_after("md") == zts.Mode.SUSPENDED


# ---- The whole way


def test_from_calls_at_two_points_to_the_refusal_of_the_next(house: Any, authority: zts.Authority) -> None:
    """Real refusals at real points, seen by their watches, end in the suspension of whoever looks around."""
    segments = {"orders": "orders.submit", "md": "md.subscribe"}
    points = {name: house.point(authority, name) for name in segments}
    watches = [
        Watch(point, [Denials(), Replays()], report=authority.signal, every_s=0) for point in points.values()
    ]
    session = house.connect(authority)
    installed = {name: session.install(point, name) for name, point in points.items()}
    for name, operation in segments.items():
        installed[name].sign(operation, b"x")
        points[name].verifier(operation)(installed[name].sign(operation, b"x"), b"x")
        authority.narrow(installed[name].grant.profile_digest(), [0, 0, 0])
        for _ in range(3):
            token = installed[name].sign(operation, b"x")
            with pytest.raises(NotPermitted):
                points[name].verifier(operation)(token, b"x")
    assert authority.session(session.id).mode == zts.Mode.NORMAL
    for watch in watches:
        watch.once()
    assert authority.session(session.id).mode == zts.Mode.SUSPENDED


def test_a_watch_in_another_process_reports_over_its_connection(
    house: Any, authority: zts.Authority, eventually: Callable[..., None]
) -> None:
    """Over a real socket, beside the question that is held open there; while the Authority is out of reach
    nothing is lost.
    """
    address = str(house.rules.parent / "authority.sock")
    segment = Catalog.load(house.rules / "catalog.toml").segment("orders")
    key = SegmentKey.from_file(authority.segment_key_file("orders"))
    remote = zts.RemoteAuthority(
        lambda: SocketTransport.connect(address, timeout_s=5.0),
        segment=segment,
        segment_key=key,
        ticket_key=authority.ticket_key,
    )
    server = StreamServer(address, authority.connection)
    try:
        with house.point(remote) as point:
            eventually(lambda: not point.lease().stale)
            session = house.connect(authority)
            orders = session.install(point, "orders")
            verify = point.verifier("orders.cancel")
            settings = DetectorSettings.from_directory(house.rules)
            report = remote_report(remote, point, GATEWAY)
            watch = Watch(point, [Replays()], report=report, settings=settings, every_s=0, source="gateway")
            server.close()
            token = orders.sign("orders.cancel", b"x")
            verify(token, b"x")
            for _ in range(3):
                with pytest.raises(zts.Denied):
                    verify(token, b"x")
            assert watch.once() == []
            assert watch.waiting == 1
            server = StreamServer(address, authority.connection)
            eventually(lambda: watch.once() != [] or watch.waiting == 0)
            assert authority.session(session.id).mode == zts.Mode.RESTRICTED
            eventually(lambda: point.session(orders.handle)["mode"] == "RESTRICTED")  # type: ignore[index]
    finally:
        remote.close()
        server.close()


def test_an_answer_of_a_key_that_was_announced_is_taken(house: Any, authority: zts.Authority) -> None:
    """A point that heard of a rotation believes the new key's answers to its reports, too."""
    point = house.point(authority)
    fresh = SeedSigner(b"f" * 32)
    point._believed.announce(fresh.public_key)

    class Answers:
        def report(self, report: bytes) -> bytes:
            return ReportAnswer(SignalReport.from_bytes(report).name).sign(fresh)

    remote_report(Answers(), point, GATEWAY)(of(b"s" * 16))


def test_D10_a_stranger_does_not_hurt_who_comes_from_the_same_address(
    house: Any, authority: zts.Authority
) -> None:
    """Forged tokens of an address are told of, and the session that was connected from there goes on."""
    point, strangers = house.point(authority), Strangers(count=10)
    watch = Watch(point, [strangers], report=authority.signal, every_s=0)
    session = house.connect(authority, authority.connection("198.51.100.7"))
    orders, verify = session.install(point, "orders"), point.verifier("orders.submit")
    for _ in range(10):
        forged = orders.sign("orders.submit", b"x")[:-1] + b"!"
        with pytest.raises(BadTag) as caught:
            verify(forged, b"x")
        strangers.refused("198.51.100.7", caught.value)
    watch.once()
    [signal] = events(house, "signal")
    assert (signal["about"], signal["level"], signal["network"]) == ("threat", "LOW", "198.51.100.7")
    assert verify(orders.sign("orders.submit", b"x"), b"x").mode == "NORMAL"
    assert authority.session(session.id).mode == zts.Mode.NORMAL
