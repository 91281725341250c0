"""Who is in a list gets no session, and who comes to be in one loses the next call."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ztsession as zts
from ztsession.authority.told import KIND
from ztsession.errors import (
    AuditError,
    ConfigurationError,
    HandshakeError,
    ReauthRequired,
    StepUpRequired,
    StoreError,
)
from ztsession.handshake.keys import DhKeyPair
from ztsession.identity.key_digests import key_digests
from ztsession.posture.collector import collect
from ztsession.risk.threats.lists import ThreatLists

HERE, THERE = "198.51.100.7", "203.0.113.9"


class Firm:
    """An Authority with one list, a point, and clients who come from addresses."""

    def __init__(self, house: Any, *, of: str = "addresses", level: str = "HIGH") -> None:
        self.house, self.of = house, of
        self.lists(level=level)
        self.write("192.0.2.1" if of == "addresses" else "00" * 32)
        self.measured = {"program": "ab" * 32, "packages": "cd" * 32}
        self.device = zts.DevicePosture("host-1", house.device.signing_seed, measure=lambda: self.measured)
        self.authority = house.authority()
        self.point = house.point(self.authority)
        self.call = self.point.verifier("orders.submit")

    def lists(self, *, level: str = "HIGH", name: str = "bad") -> None:
        text = f'[lists.{name}]\nfile = "bad.txt"\nformat = "text"\nof = "{self.of}"\nlevel = "{level}"\n'
        (self.house.rules / "threats.toml").write_text(text)

    def write(self, *entries: str) -> None:
        (self.house.rules / "bad.txt").write_text("".join(f"{each}\n" for each in entries))

    def listed(self, *entries: str) -> None:
        self.write(*entries)
        self.authority.threats.reload()

    def connect(self, source: str = HERE, **changed: Any) -> zts.Session:
        given = {"posture": self.device, "scopes": ["orders.*"]} | changed
        return self.house.connect(self.authority, self.authority.connection(source), **given)

    def installed(self, session: zts.Session) -> Callable[[], Any]:
        orders = session.install(self.point, "orders")
        return lambda: self.call(orders.sign("orders.submit", b"x"), b"x")

    def audited(self, event: str) -> list[dict[str, Any]]:
        lines = (self.house.state / "audit.jsonl").read_text().splitlines()
        return [entry for entry in map(json.loads, lines) if entry["event"] == event]

    def mode(self, session: zts.Session) -> zts.Mode:
        return zts.Mode(self.authority.session(session.id).mode)


@pytest.fixture
def firm(house: Any) -> Firm:
    return Firm(house)


# ---- Before anything is granted


def test_who_comes_from_a_listed_network_gets_nothing(firm: Firm):
    """HIGH refuses the handshake, from wherever in the network; the same client from elsewhere is let in."""
    firm.listed("198.51.100.0/24")
    for source in (HERE, "198.51.100.8", f"::ffff:{HERE}"):
        with pytest.raises(HandshakeError, match="refused"):
            firm.connect(source)
    assert firm.authority.sessions() == []
    assert "begin SUSPENDED" in firm.audited("handshake.refused")[-1]["cause"]
    firm.installed(firm.connect(THERE))()
    # It is said once, and names list and entry.
    [said] = firm.audited("signal")
    assert (said["source"], said["network"], said["level"]) == ("list:bad", "198.51.100.0/24", "HIGH")
    assert dict(said["evidence"]) == {"of": "addresses", "entry": "198.51.100.0/24"}


@pytest.mark.parametrize(
    ("level", "mode"), [("LOW", "NORMAL"), ("MEDIUM", "RESTRICTED"), ("HIGH", None), ("CRITICAL", None)]
)
def test_the_level_of_the_list_decides(house: Any, level: str, mode: str | None):
    """LOW is told, MEDIUM restricts from the start, HIGH and worse grant nothing."""
    firm = Firm(house, level=level)
    firm.listed(HERE)
    if mode is None:
        with pytest.raises(HandshakeError):
            firm.connect()
    else:
        assert firm.mode(firm.connect()).name == mode
    assert [entry["level"] for entry in firm.audited("signal")] == [level]


def test_each_key_of_a_client_is_looked_for(house: Any):
    """The key that proves the subject, the handshake's static key and the device's key, in both forms."""
    firm = Firm(house, of="keys")
    static = DhKeyPair(house.identity.static_private).public
    firm.connect()
    [traits] = firm.authority.threats._traits.values()
    of_device = firm.authority.decider.device_keys("host-1")
    bare = [bytes.fromhex(house.identity.registry_entry("service").split('public_key = "')[1][:64]), static]
    assert {hashlib.sha256(key).hexdigest() for key in bare} < set(traits.keys)
    assert hashlib.sha256(firm.device.public_key).hexdigest() in of_device
    assert (len(traits.keys), len(of_device)) == (4, 2)
    for digests, target in ((traits.keys, "subject"), (of_device, "device")):
        for digest in digests:
            firm.listed(digest.upper())
            with pytest.raises(HandshakeError):
                firm.connect()
            assert target in firm.audited("signal")[-1]
            firm.listed("00" * 32)
            assert firm.connect()


def test_a_certificate_and_what_vouches_for_it_are_looked_for(house: Any, tmp_path: Path):
    """Of a chain the key and the certificate of each link count, up to the root."""
    import sys

    sys.path.append(str(Path(__file__).parents[1] / "identity"))
    import x509_makers
    from cryptography.x509 import load_der_x509_certificate

    root = x509_makers.Issuer.root()
    leaf = root.leaf(x509_makers.uri("spiffe://firm.example/algo-8"))
    (house.rules / "roots.pem").write_bytes(root.pem)
    (house.rules / "identity.toml").write_text(
        '[x509]\nroots = ["roots.pem"]\ntrust_domains = ["firm.example"]\n'
    )
    entry = '\n[subjects."algo-8"]\nkind = "algorithm"\nroles = ["trading"]\ndesk = "rates"\n'
    subjects = house.rules / "subjects.toml"
    subjects.write_text(subjects.read_text() + entry + 'spiffe_id = "spiffe://firm.example/algo-8"\n')
    firm = Firm(house, of="keys")
    firm.connect(identity=leaf.identity)
    for der in (leaf.chain[0], root.der):
        keys = key_digests(load_der_x509_certificate(der).public_key())
        for digest in (*keys, hashlib.sha256(der).hexdigest()):
            firm.listed(digest)
            with pytest.raises(HandshakeError):
                firm.connect(identity=leaf.identity)
            firm.listed("00" * 32)


@pytest.mark.parametrize("of", ["programs", "packages"])
def test_what_a_device_runs_is_looked_for(house: Any, of: str):
    """A device with a listed program or package set is refused, and its session with it."""
    firm = Firm(house, of=of)
    firm.listed(firm.measured["program" if of == "programs" else "packages"])
    with pytest.raises(HandshakeError):
        firm.connect()
    assert firm.audited("signal")[-1]["device"] == "host-1"
    firm.measured = {}
    # The device stays listed until the list says otherwise: it could show anything now.
    with pytest.raises(HandshakeError):
        firm.connect()


def test_the_measurements_of_this_host_can_be_listed(house: Any):
    """What a device measures of itself is what a list of programs has."""
    firm = Firm(house, of="programs")
    firm.device = zts.DevicePosture("host-1", house.device.signing_seed, measure=collect)
    assert firm.connect()
    firm.listed(collect()["program"])
    with pytest.raises(HandshakeError):
        firm.connect()


def test_a_renewal_is_held_against_the_lists_as_a_handshake_is(firm: Firm):
    """A client that moves into a listed network gets no renewal there, and its old keys are restricted."""
    session = firm.connect(THERE)
    call = firm.installed(session)
    firm.write(HERE)
    firm.authority.reload()
    call()
    with pytest.raises(HandshakeError):
        session.renew(firm.authority.connection(HERE))
    # From where it began it goes on.
    assert firm.mode(session.renew(firm.authority.connection(THERE))) is zts.Mode.NORMAL


# ---- While sessions live


def test_a_list_that_changes_hits_the_next_call(firm: Firm):
    """A live session whose address is listed is suspended on return of the reload, and only that one."""
    first, second = firm.installed(firm.connect(HERE)), firm.installed(firm.connect(THERE))
    first()
    firm.listed(HERE)
    with pytest.raises(ReauthRequired):
        first()
    second()
    reloaded = firm.audited("threats.reloaded")[-1]
    assert (reloaded["lists"], reloaded["failed"]) == ({"bad": 1}, [])


def test_what_is_taken_off_a_list_is_taken_back(firm: Firm):
    """The list that said it says that it is over, and the session goes on; what others said stays."""
    call = firm.installed(session := firm.connect())
    firm.listed(HERE, "192.0.2.1")
    with pytest.raises(ReauthRequired):
        call()
    firm.listed("192.0.2.1")
    call()
    assert firm.mode(session) is zts.Mode.NORMAL
    # And comes back when it is listed again.
    firm.listed(HERE)
    with pytest.raises(ReauthRequired):
        call()
    other = zts.Signal("1", KIND, zts.Level.HIGH, "edr", time.time(), network=HERE)
    firm.authority.signal(other)
    firm.listed("192.0.2.1")
    with pytest.raises(ReauthRequired):
        call()


def test_another_level_is_said_without_a_gap(firm: Firm):
    """A list that becomes worse adds, one that becomes milder takes back first."""
    call = firm.installed(session := firm.connect())
    seen: list[str] = []
    firm.authority.subscribe(lambda change: seen.append(change.kind))
    firm.listed(HERE)
    firm.lists(level="MEDIUM")
    firm.authority.threats.reload()
    assert firm.mode(session) is zts.Mode.RESTRICTED
    with pytest.raises(StepUpRequired):
        call()
    firm.lists(level="HIGH")
    firm.authority.threats.reload()
    assert firm.mode(session) is zts.Mode.SUSPENDED
    assert [(each["level"], each["withdraws"]) for each in firm.audited("signal")] == [
        ("HIGH", False),
        ("HIGH", True),
        ("MEDIUM", False),
        ("HIGH", False),
    ]


def test_a_match_holds_whether_or_not_anybody_is_connected(firm: Firm):
    """Another line in a list takes nothing back of what the list still says."""
    firm.listed(HERE)
    with pytest.raises(HandshakeError):
        firm.connect()
    assert firm.authority.sessions() == []
    for more in ("192.0.2.7", "192.0.2.8"):
        firm.listed(HERE, more)
    assert [each["withdraws"] for each in firm.audited("signal")] == [False]
    firm.listed("192.0.2.7")
    assert [each["withdraws"] for each in firm.audited("signal")] == [False, True]


def test_a_list_that_is_gone_takes_all_back(firm: Firm):
    """Whoever takes a list out of threats.toml has taken back what it said."""
    call = firm.installed(firm.connect())
    firm.listed(HERE)
    (firm.house.rules / "threats.toml").unlink()
    firm.authority.reload()
    call()


def test_a_list_that_breaks_goes_on_saying_what_it_said(firm: Firm):
    """Emptied or broken, it stays in force, and the failure is in the audit log."""
    call = firm.installed(firm.connect())
    firm.listed(HERE)
    for broken in ((), ("nonsense",)):
        firm.listed(*broken)
        with pytest.raises(ReauthRequired):
            call()
    causes = [entry["cause"] for entry in firm.audited("threats.refused")]
    assert ["at least one entry" in causes[0], "bad.txt:1: expected an address" in causes[1]] == [True] * 2
    firm.lists(level="bad")
    with pytest.raises(ConfigurationError, match="expected one of LOW"):
        firm.authority.threats.reload()
    with pytest.raises(ReauthRequired):
        call()


def test_an_operator_who_settles_a_match_is_not_overruled_by_the_same_match(firm: Firm):
    """What was settled stays settled while the list says the same, over reloads and restarts."""
    call = firm.installed(session := firm.connect())
    firm.listed(HERE)
    firm.authority.resolve(KIND, ("network", HERE))
    call()
    firm.listed(HERE, "192.0.2.7")
    call()
    assert firm.connect()
    firm.authority.close()
    again = firm.house.authority()
    assert zts.Mode(again.session(session.id).mode) is zts.Mode.NORMAL


def test_after_a_restart_lists_hold_for_the_sessions_of_before(firm: Firm):
    """What changed while nobody was running is matched when the Authority begins."""
    session = firm.connect()
    other = firm.connect(THERE)
    firm.authority.close()
    firm.write(HERE)
    again = firm.house.authority()
    modes = [zts.Mode(again.session(each.id).mode).name for each in (session, other)]
    assert modes == ["SUSPENDED", "NORMAL"]
    again.close()
    firm.write("192.0.2.1")
    third = firm.house.authority()
    assert zts.Mode(third.session(session.id).mode) is zts.Mode.NORMAL


def test_lists_are_watched_wherever_they_lie(firm: Firm, eventually: Callable[..., None], tmp_path: Path):
    """A list outside the policy directory is read by itself when it has changed."""
    path = tmp_path / "elsewhere.txt"
    path.write_text("192.0.2.1\n")
    text = (firm.house.rules / "threats.toml").read_text().replace("bad.txt", str(path))
    (firm.house.rules / "threats.toml").write_text(text)
    firm.authority.watch(every_s=0.01)
    session = firm.connect()
    path.write_text(f"{HERE}\n")
    eventually(lambda: firm.mode(session) is zts.Mode.SUSPENDED)
    # A broken policy does not keep lists from being read.
    (firm.house.rules / "catalog.toml").write_text("nonsense")
    path.write_text("192.0.2.1\n")
    eventually(lambda: firm.mode(session) is zts.Mode.NORMAL)


def test_time_alone_ends_what_an_indicator_says(house: Any):
    """An indicator that ends is withdrawn when it is looked at after its end, without any file changing."""
    pytest.importorskip("stix2", reason="STIX needs ztsession[stix]")
    ahead = [0.0]
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
    found = {
        "type": "indicator",
        "spec_version": "2.1",
        "id": "indicator--1cdf1bd0-e75f-4b33-a286-22eb64551260",
        "created": "2026-01-01T00:00:00.000Z",
        "modified": "2026-01-01T00:00:00.000Z",
        "pattern": f"[ipv4-addr:value = '{HERE}']",
        "pattern_type": "stix",
        "valid_from": "2026-01-01T00:00:00Z",
        "valid_until": until,
    }
    (house.rules / "v.json").write_text(json.dumps({"type": "bundle", "objects": [found]}))
    text = '[lists.vendor]\nfile = "v.json"\nformat = "stix"\nlevel = "HIGH"\n'
    (house.rules / "threats.toml").write_text(text)
    authority = house.authority(clock=lambda: time.time() + ahead[0])
    device = zts.DevicePosture(
        "host-1", house.device.signing_seed, measure=dict, clock=lambda: time.time() + ahead[0]
    )
    with pytest.raises(HandshakeError):
        house.connect(authority, authority.connection(HERE), posture=device)
    seen = authority.threats.look()
    assert authority.threats.look() == seen
    ahead[0] = 3601.0
    assert authority.threats.look() != seen
    authority.threats.reload()
    assert house.connect(authority, authority.connection(HERE), posture=device)


def test_a_broken_list_keeps_an_authority_from_beginning(firm: Firm):
    """At the start there is nothing to fall back on: the error names file and line."""
    firm.authority.close()
    firm.write("nonsense")
    with pytest.raises(ConfigurationError, match=r"bad\.txt:1"):
        firm.house.authority()


# ---- When something fails


def test_a_match_that_cannot_be_stored_grants_nothing_and_is_said_again(
    firm: Firm, monkeypatch: pytest.MonkeyPatch
):
    """Without a durable signal there is no session, and nothing is noted as said."""
    firm.listed(HERE)
    store = firm.authority._store

    def fails(*_: object, **__: object) -> bool:
        raise StoreError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(store, "record_signal", fails)
        with pytest.raises(HandshakeError, match="unavailable"):
            firm.connect()
    assert firm.audited("signal") == []
    with pytest.raises(HandshakeError, match="refused"):
        firm.connect()
    assert len(firm.audited("signal")) == 1


def test_a_full_audit_log_does_not_keep_a_match_from_taking_effect(
    firm: Firm, monkeypatch: pytest.MonkeyPatch
):
    """Every match is in force, and the complaint comes afterwards."""
    calls = [firm.installed(firm.connect(source)) for source in (HERE, THERE)]
    firm.write(HERE, THERE)

    def fails(*_: object, **__: object) -> None:
        raise AuditError("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(firm.authority._reacting._audit, "record", fails)
        with pytest.raises(AuditError):
            firm.authority.threats.reload()
    for call in calls:
        with pytest.raises(ReauthRequired):
            call()


def test_nobody_waits_while_lists_are_matched(firm: Firm, monkeypatch: pytest.MonkeyPatch):
    """While a long list is held against those that live, others are granted, and held against it first."""
    firm.connect(THERE)
    matching, going_on = threading.Event(), threading.Event()
    found = ThreatLists.match
    held = threading.current_thread()

    def slow(self: ThreatLists, **asked: Any) -> Any:
        if threading.current_thread() is not held:
            matching.set()
            assert going_on.wait(20)
        return found(self, **asked)

    monkeypatch.setattr(ThreatLists, "match", slow)
    thread = threading.Thread(target=lambda: firm.listed(HERE))
    thread.start()
    assert matching.wait(20)
    assert firm.connect("192.0.2.55")
    with pytest.raises(HandshakeError):
        firm.connect(HERE)
    going_on.set()
    thread.join()
    with pytest.raises(HandshakeError):
        firm.connect(HERE)


def test_sessions_that_are_over_are_forgotten(firm: Firm):
    """What is kept of sessions for matching goes with them."""
    session = firm.connect()
    assert len(firm.authority.threats._traits) == 1
    firm.authority.revoke(session.id)
    assert firm.authority.threats._traits == {}


def test_L6_broken_settings_of_lists_keep_the_policies_as_they_were(firm: Firm):
    """All of the directory is taken or nothing, and why is in the audit log."""
    version = firm.authority.rules.version
    (firm.house.rules / "more.cedar").write_text("forbid (principal, action, resource);\n")
    firm.lists(level="bad")
    with pytest.raises(ConfigurationError, match="expected one of LOW"):
        firm.authority.reload()
    assert firm.authority.rules.version == version
    assert "threats.toml:5" in firm.audited("threats.refused")[-1]["cause"]
    firm.installed(firm.connect())()
