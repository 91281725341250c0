"""New rules: what they take is taken at once from every session that lives, what they give comes with a
renewal.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import ztsession as zts
from ztsession.authority.rulebook import RuleBook
from ztsession.bus.change import Change
from ztsession.bus.feed import FeedRequest, read_answer
from ztsession.errors import (
    AuditError,
    ConfigurationError,
    FromFuture,
    PolicyError,
    StoreError,
    ZtsError,
)
from ztsession.identity.subjects import Subject, ed25519_credential
from ztsession.policy.catalog import Catalog
from ztsession.policy.engine import PolicySet
from ztsession.store.sqlite import KEEP_S, SqliteStore
from ztsession.tickets.segment_key import SegmentKey
from ztsession.wire import canonical

NO_SUBMIT = '\nforbid (principal, action == Action::"orders.submit", resource);\n'
NO_SUBMIT_FOR_8 = '\nforbid (principal == Subject::"algo-8", action == Action::"orders.submit", resource);\n'
SUBMIT_WITH_3 = """
forbid (principal, action == Action::"orders.submit", resource) when { context.assurance < 3 };
"""
NO_CANCEL_WHEN_RESTRICTED = """
forbid (principal, action == Action::"orders.cancel", resource) when { context.risk == "medium" };
"""

Add = Callable[[str], None]


@pytest.fixture
def add(house: Any) -> Add:
    def add(text: str) -> None:
        policy = house.rules / "trading.cedar"
        policy.write_text(policy.read_text() + text)

    return add


def verdict(
    point: zts.EnforcementPoint, client: zts.InstalledSession, operation: str = "orders.submit"
) -> str:
    token, call = client.sign(operation, b"x"), point.verifier(operation)
    try:
        try:
            call(token, b"x")
        except FromFuture:
            # Of a point whose clock the test holds still: the client's has gone on.
            point.table.set_manual_clock(int.from_bytes(token[24:32], "little"))
            call(token, b"x")
    except zts.Denied as denied:
        return denied.verdict
    return "OK"


def audited(house: Any, event: str) -> list[dict[str, Any]]:
    lines = (house.state / "audit.jsonl").read_text().splitlines()
    return [entry for entry in map(json.loads, lines) if entry["event"] == event]


def test_what_new_rules_take_is_gone_with_the_next_call(house: Any, add: Add) -> None:
    """Every attached point refuses what the reload took from a session that lives on, and takes the rest; the
    same rules once more take nothing.
    """
    authority = house.authority()
    points = [house.point(authority) for _ in range(2)]
    session = house.connect(authority)
    clients = [session.install(point, "orders") for point in points]
    assert [verdict(*each) for each in zip(points, clients, strict=True)] == ["OK", "OK"]
    add(NO_SUBMIT)
    authority.reload()
    for point, client in zip(points, clients, strict=True):
        assert verdict(point, client) == "NOT_PERMITTED"
        assert verdict(point, client, "orders.cancel") == "OK"
    authority.reload()
    [told] = audited(house, "policy.tightened")
    assert (told["version"], told["profiles"], told["sessions"]) == (2, 1, 0)


def test_what_now_wants_more_assurance_says_so(house: Any, add: Add) -> None:
    """An operation for which the rules now demand more is not taken away: the refusal names what helps, also
    where a ticket of before is presented after.
    """
    authority = house.authority()
    point, late = house.point(authority), house.point(authority)
    session = house.connect(authority)
    client = session.install(point, "orders")
    add(SUBMIT_WITH_3)
    assert verdict(point, client) == "OK"
    authority.reload()
    for at, held in ((point, client), (late, session.install(late, "orders"))):
        assert verdict(at, held) == "STEP_UP_REQUIRED"
        assert verdict(at, held, "orders.cancel") == "OK"


def test_one_subject_of_many_can_be_asked_for_more(house: Any, add: Add) -> None:
    """Of two sessions with one decision the one that is meant is told to step up, and the other goes on."""
    other = zts.Ed25519Identity.generate("algo-8")
    house.enrol(house.identity, other)
    authority = house.authority()
    point, late = house.point(authority), house.point(authority)
    mine, its = house.connect(authority), house.connect(authority, identity=other)
    clients = mine.install(point, "orders"), its.install(point, "orders")
    add(SUBMIT_WITH_3.replace("principal,", 'principal == Subject::"algo-8",'))
    authority.reload()
    assert [verdict(point, client) for client in clients] == ["OK", "STEP_UP_REQUIRED"]
    assert verdict(late, its.install(late, "orders")) == "STEP_UP_REQUIRED"
    assert verdict(late, mine.install(late, "orders")) == "OK"


def test_what_a_mode_may_no_longer_do_is_taken_from_that_mode(house: Any, add: Add) -> None:
    """A rule about medium risk leaves NORMAL as it was and holds as soon as the session is RESTRICTED."""
    authority = house.authority()
    point = house.point(authority)
    session = house.connect(authority)
    client = session.install(point, "orders")
    add(NO_CANCEL_WHEN_RESTRICTED)
    authority.reload()
    assert verdict(point, client, "orders.cancel") == "OK"
    authority.signal(zts.Signal("s-1", "behaviour", zts.Level.MEDIUM, "test", 1.0, session=session.id))
    assert verdict(point, client, "orders.cancel") == "STEP_UP_REQUIRED"
    assert verdict(point, client, "orders.cancel-all") == "OK"


def test_a_rule_against_one_subject_hits_its_sessions_alone(house: Any, add: Add) -> None:
    """Of sessions that share one decision, those of the subject that is named lose, at once and no others,
    also if their tickets are presented only afterwards.
    """
    other = zts.Ed25519Identity.generate("algo-8")
    house.enrol(house.identity, other)
    authority = house.authority()
    point, late = house.point(authority), house.point(authority)
    mine, its = house.connect(authority), house.connect(authority, identity=other)
    profiles = {each.grants["orders"].profile_digest() for each in (mine, its)}
    assert len(profiles) == 1
    clients = mine.install(point, "orders"), its.install(point, "orders")
    add(NO_SUBMIT_FOR_8)
    authority.reload()
    assert [verdict(point, client) for client in clients] == ["OK", "NOT_PERMITTED"]
    assert verdict(point, clients[1], "orders.cancel") == "OK"
    presented = mine.install(late, "orders"), its.install(late, "orders")
    assert [verdict(late, client) for client in presented] == ["OK", "NOT_PERMITTED"]
    assert [entry["sessions"] for entry in audited(house, "policy.tightened")] == [1]


def test_what_one_session_loses_in_one_segment_costs_it_nothing_in_another(house: Any, add: Add) -> None:
    """Every point hears of it, and only the one whose decision is meant does anything."""
    other = zts.Ed25519Identity.generate("algo-8")
    house.enrol(house.identity, other)
    authority = house.authority()
    orders, md = house.point(authority), house.point(authority, "md")
    mine, its = house.connect(authority), house.connect(authority, identity=other)
    assert mine.grants["md"].profile_digest() == its.grants["md"].profile_digest()
    trades, reads = its.install(orders, "orders"), its.install(md, "md")
    add('\nforbid (principal == Subject::"algo-8", action == Action::"md.snapshot", resource);\n')
    authority.reload()
    assert verdict(md, reads, "md.snapshot") == "NOT_PERMITTED"
    assert verdict(md, reads, "md.subscribe") == "OK"
    assert verdict(orders, trades) == "OK"


def test_more_is_taken_from_who_was_given_less_already(house: Any, add: Add) -> None:
    """A later rule for all, and an operator's narrowing, reach a session that has less than the others; and
    nothing that was taken comes back.
    """
    other = zts.Ed25519Identity.generate("algo-8")
    house.enrol(house.identity, other)
    authority = house.authority()
    point = house.point(authority)
    mine, its = house.connect(authority), house.connect(authority, identity=other)
    clients = mine.install(point, "orders"), its.install(point, "orders")
    add(NO_SUBMIT_FOR_8)
    authority.reload()
    add('\nforbid (principal, action == Action::"orders.cancel", resource);\n')
    authority.reload()
    assert [verdict(point, c, "orders.cancel") for c in clients] == ["NOT_PERMITTED", "NOT_PERMITTED"]
    assert [verdict(point, c) for c in clients] == ["OK", "NOT_PERMITTED"]
    authority.narrow(mine.grants["orders"].profile_digest(), [~(1 << 5) & (2**64 - 1)] * 3)
    assert [verdict(point, c, "orders.status") for c in clients] == ["NOT_PERMITTED", "NOT_PERMITTED"]
    assert [verdict(point, c, "orders.cancel-all") for c in clients] == ["OK", "OK"]


@pytest.mark.parametrize("named", [False, True], ids=["all", "one"])
def test_K9_wider_rules_give_a_live_session_nothing(house: Any, add: Add, named: bool) -> None:
    """Rules that allow again what others took give it to nobody in place; a renewal has it, with another
    digest and so with other keys.
    """
    before = (house.rules / "trading.cedar").read_text()
    authority = house.authority()
    point = house.point(authority)
    session = house.connect(authority)
    client = session.install(point, "orders")
    if named:
        other = zts.Ed25519Identity.generate("algo-8")
        house.enrol(house.identity, other)
        authority.reload()
        house.connect(authority, identity=other)
    add(NO_SUBMIT if not named else NO_SUBMIT_FOR_8.replace("algo-8", "algo-7"))
    authority.reload()
    assert verdict(point, client) == "NOT_PERMITTED"
    (house.rules / "trading.cedar").write_text(before)
    authority.reload()
    assert verdict(point, client) == "NOT_PERMITTED"
    renewed = session.renew()
    assert verdict(point, renewed.install(point, "orders")) == "OK"
    assert verdict(point, client) == "NOT_PERMITTED"
    old, new = client.grant, renewed.grants["orders"]
    assert (old.allowed, old.policy) == (new.allowed, new.policy)
    assert new.version > old.version
    assert new.digest() != old.digest()
    assert new.profile_digest() != old.profile_digest()


def test_K9_a_wider_catalog_and_an_easier_limit_give_nothing_in_place(house: Any) -> None:
    """Permission that a session never had, and a limit that became easier, wait for the renewal."""
    authority = house.authority()
    point = house.point(authority)
    client = house.connect(authority, scopes=["orders.cancel"]).install(point, "orders")
    (house.rules / "trading.cedar").write_text("permit (principal, action, resource);\n")
    authority.reload()
    assert verdict(point, client) == "NOT_PERMITTED"
    assert verdict(point, client, "orders.cancel") == "OK"


def test_R6_an_older_change_that_is_replayed_gives_nothing_back(house: Any, add: Add) -> None:
    """Tightenings heard twice, late and in another order leave what the narrowest of them left."""
    authority = house.authority()
    heard: list[Any] = []
    authority.subscribe(heard.append)
    point = house.point(authority)
    client = house.connect(authority).install(point, "orders")
    for rule in (SUBMIT_WITH_3, NO_SUBMIT):
        add(rule)
        authority.reload()
    changes = [change for change in heard if change.what == "tighten"]
    assert len(changes) == 2
    for order in itertools.permutations(changes):
        for change in order:
            point._listener.apply(change)
            point._listener._obey(change)
    assert verdict(point, client) == "NOT_PERMITTED"
    assert verdict(point, client, "orders.cancel") == "OK"


def test_L6_rules_that_do_not_load_change_nothing_and_are_told(house: Any, add: Add) -> None:
    """A broken version is refused, out loud, and the old one goes on for old and new sessions."""
    authority = house.authority()
    point = house.point(authority)
    client = house.connect(authority).install(point, "orders")
    version = authority.rules.version
    add("\nforbid (principal, action, resource) when { context.posture.kernl == 1 };\n")
    with pytest.raises(PolicyError, match=r"trading\.cedar:\d+"):
        authority.reload()
    assert verdict(point, client) == "OK"
    assert verdict(point, house.connect(authority).install(point, "orders")) == "OK"
    [refused] = audited(house, "policy.refused")
    assert "kernl" in refused["cause"]
    assert authority.rules.version == version


def test_L6_of_two_reloads_at_once_what_was_read_last_holds(
    house: Any, add: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rules that were read before the file was changed do not take the place of those read after it."""
    authority = house.authority()
    read, meanwhile = authority.rules._load, threading.Thread(target=authority.reload)

    def slowly() -> Any:
        found = read()
        if meanwhile.ident is None:
            add(NO_SUBMIT)
            meanwhile.start()
            meanwhile.join(0.5)
        return found

    monkeypatch.setattr(authority.rules, "_load", slowly)
    authority.reload()
    meanwhile.join()
    assert house.connect(authority).grants["orders"].allowed[0] & 1 == 0


def test_L4_what_cannot_be_evaluated_is_taken(house: Any, add: Add) -> None:
    """A rule that fails for a live session leaves nothing of what it is about."""
    authority = house.authority()
    point = house.point(authority)
    client = house.connect(authority).install(point, "orders")
    add(
        '\nforbid (principal, action == Action::"orders.submit", resource)'
        " when { context.assurance * 9223372036854775807 < 0 };\n"
    )
    authority.reload()
    assert verdict(point, client) != "OK"
    assert verdict(point, client, "orders.cancel") == "OK"
    causes = [entry["cause"] for entry in audited(house, "policy.failed")]
    assert len(causes) == len(set(causes)) > 0
    assert all(re.search(r"trading\.cedar:\d+.*overflow", cause) for cause in causes)


def test_L4_causes_are_in_the_log_and_no_longer_than_fits(
    house: Any, add: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A question that cannot be evaluated, and rules that do not load, are told with as much of the cause as
    an entry takes.
    """
    authority = house.authority()
    point = house.point(authority)
    client = house.connect(authority).install(point, "orders")

    def fails(*_: Any, **__: Any) -> Any:
        raise PolicyError("x" * 1000)

    with monkeypatch.context() as patched:
        patched.setattr(authority.rules, "_load", fails)
        with pytest.raises(PolicyError):
            authority.reload()
    assert verdict(point, client) == "OK"
    monkeypatch.setattr(PolicySet, "decide", fails)
    add("// the same rules\n")
    authority.reload()
    assert verdict(point, client) == "NOT_PERMITTED"
    for event in ("policy.refused", "policy.failed"):
        assert {entry["cause"] for entry in audited(house, event)} == {"x" * 512}


def test_L5_the_version_counts_changes_over_restarts(house: Any, add: Add) -> None:
    """Each change of the rules has a number of its own, in every grant, also one made while nobody ran."""
    with house.authority() as authority:
        first = house.connect(authority).grants["orders"].version
        authority.reload()
        assert house.connect(authority).grants["orders"].version == first
        add(NO_SUBMIT_FOR_8)
        authority.reload()
        assert house.connect(authority).grants["orders"].version == first + 1
    add("// a comment is a change, too\n")
    with house.authority() as authority:
        assert house.connect(authority).grants["orders"].version == first + 2
    with house.authority() as authority:
        assert house.connect(authority).grants["orders"].version == first + 2


def test_L5_the_version_is_known_before_anything_is_reviewed(house: Any, add: Add) -> None:
    """Whoever takes the rules up grants by the number that was reached before, and not by the first one."""
    authority = house.authority()
    add(NO_SUBMIT)
    authority.reload()
    decider: Any = SimpleNamespace(version=1)
    book = RuleBook(
        decider,
        authority._store,
        authority._changes,
        authority._audit,
        authority._live_grants,
        load=None,
        end=authority.revoke,
        lock=authority._lock,
    )
    assert decider.version == book.version == authority.rules.version == 2
    with pytest.raises(ConfigurationError, match="directory"):
        book.reload()


def test_L5_damaged_state_of_the_rules_is_told(house: Any) -> None:
    """A number that cannot be read is not taken for the first one."""
    for damaged in ({"version": 0, "digest": b"d" * 32}, {"version": "2", "digest": b"d" * 32}, {}):
        with house.authority() as authority:
            version = authority.rules.version
            kept = authority._store.get_state("rules")
            authority._store.put_state("rules", canonical.encode(damaged))
        with pytest.raises(StoreError, match="damaged"):
            house.authority()
        with SqliteStore(house.state / "authority.sqlite") as store:
            store.put_state("rules", kept)
        with house.authority() as authority:
            assert authority.rules.version == version


def test_rules_that_changed_while_nobody_ran_hold_for_the_sessions_of_before(house: Any, add: Add) -> None:
    """A point that lived through the Authority's restart loses what the new rules do not allow."""
    with house.authority() as authority:
        ticket = house.connect(authority)
    add(NO_SUBMIT)
    authority = house.authority()
    point = house.point(authority)
    client = ticket.install(point, "orders")
    assert verdict(point, client) == "NOT_PERMITTED"
    assert verdict(point, client, "orders.cancel") == "OK"


class Line:
    """The way to an Authority that is restarted behind it."""

    def __init__(self, to: zts.Authority) -> None:
        self.to = to

    def __getattr__(self, name: str) -> Any:
        return getattr(self.to, name)


@pytest.mark.parametrize("changed", [True, False])
def test_keys_in_their_overlap_end_when_rules_changed_meanwhile(house: Any, add: Add, changed: bool) -> None:
    """What an old session of a renewal held is not kept, so new rules end it with the restart, at points
    that lived through it, too; under the same rules it goes on.
    """
    with house.authority() as authority:
        line = Line(authority)
        point = house.point(line)
        session = house.connect(authority)
        old = session.install(point, "orders")
        new = session.renew()
        assert verdict(point, old) == "OK"
    if changed:
        add(NO_SUBMIT_FOR_8)
    line.to = house.authority()
    assert point.maintain()
    assert verdict(point, old) == ("REVOKED" if changed else "OK")
    ended = [entry["session"] for entry in audited(house, "session.revoked")]
    assert ended == ([session.id.hex()] if changed else [])
    assert verdict(point, new.install(point, "orders")) == "OK"
    with pytest.raises(zts.ZtsError):
        session.install(house.point(line), "orders")


@pytest.mark.parametrize("role", ["trading", "reporting"])
def test_keys_in_their_overlap_end_when_a_role_was_lost_meanwhile(house: Any, role: str) -> None:
    """Who is enrolled with less after a restart has less under his old keys, too; else they go on."""
    with house.authority() as authority:
        session = house.connect(authority)
        new = session.renew()
    entry = house.identity.registry_entry("algorithm", roles=(role,), desk="rates")
    (house.rules / "subjects.toml").write_text(entry + "\n")
    authority = house.authority()
    ended = {change.session for change in _all_changes(authority) if change.what == "revoke"}
    assert (session.id in ended) == (role == "reporting")
    assert new.id not in ended


def test_keys_in_their_overlap_end_when_rules_change_right_after_a_restart(house: Any, add: Add) -> None:
    """What a session renewed before the restart held is not known, so new rules end its old keys; one that
    was renewed since keeps what they leave.
    """
    with house.authority() as authority:
        session = house.connect(authority)
        new = session.renew()
    authority = house.authority()
    since = house.connect(authority)
    since.renew()
    add(NO_SUBMIT_FOR_8)
    assert [change for change in _all_changes(authority) if change.what == "revoke"] == []
    authority.reload()
    ended = {change.session for change in _all_changes(authority) if change.what == "revoke"}
    assert ended == {session.id}
    assert new.id in {record.id for record in authority.sessions()}


def _all_changes(authority: zts.Authority) -> list[Change]:
    request = FeedRequest("orders", os.urandom(32), 0)
    return list(read_answer(authority.feed(request.to_bytes()), request, authority.ticket_keys).changes)


def test_a_renewed_session_in_its_overlap_loses_too(house: Any, add: Add) -> None:
    """Old and new keys are both good for a while, and both obey."""
    authority = house.authority()
    point = house.point(authority)
    session = house.connect(authority)
    old = session.install(point, "orders")
    new = session.renew().install(point, "orders")
    add(NO_SUBMIT)
    authority.reload()
    assert [verdict(point, client) for client in (old, new)] == ["NOT_PERMITTED", "NOT_PERMITTED"]


def test_a_role_that_is_lost_is_lost_at_once(house: Any) -> None:
    """Whoever is enrolled with fewer roles keeps of its sessions what these still allow; a role that is given
    back is of use to sessions that are granted with it, and to no other.
    """
    authority = house.authority()
    point = house.point(authority)
    client = house.connect(authority).install(point, "orders")
    entry = house.identity.registry_entry("algorithm", roles=("reporting",), desk="rates")
    (house.rules / "subjects.toml").write_text(entry)
    authority.reload()
    assert verdict(point, client) == "NOT_PERMITTED"
    assert verdict(point, client, "orders.cancel") == "NOT_PERMITTED"
    assert len(authority.sessions()) == 1
    house.enrol(house.identity)
    authority.reload()
    assert verdict(point, client) == "NOT_PERMITTED"
    assert verdict(point, house.connect(authority).install(point, "orders")) == "OK"


def test_H14_a_renewed_session_and_the_one_before_it_each_end_once(house: Any) -> None:
    """Both are of a subject that is gone from the file, and the log says so once for each."""
    authority = house.authority()
    point = house.point(authority)
    session = house.connect(authority)
    old, new = session.install(point, "orders"), session.renew().install(point, "orders")
    house.enrol(zts.Ed25519Identity.generate("algo-8"))
    authority.reload()
    assert [verdict(point, client) for client in (old, new)] == ["REVOKED", "REVOKED"]
    ended = [entry["session"] for entry in audited(house, "session.revoked")]
    assert sorted(ended) == sorted(each.grant.session.hex() for each in (old, new))


@pytest.mark.parametrize(
    ("before", "after", "left"),
    [
        ("max_age_ms = 500", "max_age_ms = 499", "NOT_PERMITTED"),
        ("max_age_ms = 500", "max_age_ms = 600", "OK"),
        ("max_age_ms = 500", "max_age_ms = 500\nordered = true", "NOT_PERMITTED"),
        ("max_age_ms = 500", "max_age_ms = 500\nassurance = 3", "STEP_UP_REQUIRED"),
        ("max_age_ms = 500", 'max_age_ms = 500\nposture = ["boot"]', "NOT_PERMITTED"),
        ('environment = "prod"', 'environment = "test"', "NOT_PERMITTED"),
        ("[segments.orders.operations.submit]", "[segments.orders.operations.sell]", "NOT_PERMITTED"),
    ],
)
def test_a_stricter_catalog_is_obeyed_in_place(house: Any, before: str, after: str, left: str) -> None:
    """What the catalog now limits more than the grant did is taken from live sessions; what it limits less
    changes nothing for them.
    """
    authority = house.authority()
    point = house.point(authority)
    client = house.connect(authority, scopes=["orders.*"]).install(point, "orders")
    assert verdict(point, client) == "OK"
    catalog = house.rules / "catalog.toml"
    catalog.write_text(catalog.read_text().replace(before, after, 1))
    authority.reload()
    assert verdict(point, client) == left


def test_what_cannot_be_stored_is_not_in_force(house: Any, add: Add, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the change cannot be made durable, the old rules stay in force for everybody."""
    authority = house.authority()
    point = house.point(authority)
    client = house.connect(authority).install(point, "orders")
    add(NO_SUBMIT)
    old, stored = authority.decider, authority._store.get_state("rules")

    def fails(*_: Any, **__: Any) -> None:
        raise StoreError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(authority._store, "append_change", fails)
        with pytest.raises(StoreError):
            authority.reload()
    assert authority.decider is old
    assert authority._store.get_state("rules") == stored
    assert verdict(point, client) == "OK"
    authority.reload()
    assert verdict(point, client) == "NOT_PERMITTED"


@pytest.mark.parametrize("fails", [AuditError, StoreError])
def test_one_session_that_cannot_be_ended_keeps_none_of_the_others(
    house: Any, monkeypatch: pytest.MonkeyPatch, fails: type[ZtsError]
) -> None:
    """Whoever is enrolled no longer loses his sessions also when the end of one fails, or of all cannot be
    recorded; the caller hears of it, and what failed is done before a lease is prolonged.
    """
    leavers = [zts.Ed25519Identity.generate(f"algo-{n}") for n in range(3)]
    house.enrol(house.identity, *leavers)
    authority = house.authority()
    point = house.point(authority)
    stays = house.connect(authority).install(point, "orders")
    clients = [house.connect(authority, identity=each).install(point, "orders") for each in leavers]
    house.enrol(house.identity)
    failed = []

    def record(event: str, **fields: Any) -> None:
        if event == "session.revoked":
            raise AuditError("disk full")
        recorded(event, **fields)

    def revoke(*what: Any) -> None:
        if not failed:
            failed.append(what)
            raise StoreError("disk full")
        revoked(*what)

    recorded, revoked = authority._audit.record, authority._store.revoke
    with monkeypatch.context() as patched:
        patched.setattr(
            *(
                (authority._audit, "record", record)
                if fails is AuditError
                else (authority._store, "revoke", revoke)
            )
        )
        with pytest.raises(fails):
            authority.reload()
    verdicts = [verdict(point, client) for client in clients]
    assert verdicts.count("REVOKED") >= 3 - len(failed)
    assert verdict(point, stays) == "OK"
    assert point.maintain()
    assert [verdict(point, client) for client in clients] == ["REVOKED"] * 3


def test_what_an_enrolment_takes_and_the_store_refuses_is_taken_before_a_lease_is_prolonged(
    house: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is enrolled with fewer roles has them no more, and what his sessions lose cannot stay undone."""
    authority = house.authority()
    point = house.point(authority)
    mover = zts.Ed25519Identity.generate("algo-9")
    credential = ed25519_credential(mover.public_key)
    authority.enrolment.subject(Subject("algo-9", "algorithm", ("trading",), "rates", (credential,)))
    client = house.connect(authority, identity=mover).install(point, "orders")
    assert verdict(point, client) == "OK"

    def fails(*_: Any, **__: Any) -> None:
        raise StoreError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(authority._store, "append_change", fails)
        with pytest.raises(StoreError):
            authority.enrolment.subject(Subject("algo-9", "algorithm", (), "rates", (credential,)))
        assert not point.maintain()
    assert point.maintain()
    assert verdict(point, client) == "NOT_PERMITTED"


def test_a_point_elsewhere_hears_of_it(house: Any, add: Add, separate: Any, eventually: Any) -> None:
    """A point in another process obeys with the next answer to its question."""
    with separate() as served, closing(served.transport()) as transport, ExitStack() as opened:
        remote = zts.RemoteAuthority(
            served.transport,
            segment=Catalog.load(house.rules / "catalog.toml").segment("orders"),
            segment_key=SegmentKey.from_file(served.segment_key_file),
            ticket_key=served.ticket_key,
        )
        opened.callback(remote.close)
        point = opened.enter_context(zts.EnforcementPoint("orders", authority=remote))
        session = zts.connect(
            transport,
            identity=house.identity,
            posture=house.device,
            root=served.root,
            scopes=["orders.*"],
        )
        client = session.install(point, "orders")
        assert verdict(point, client) == "OK"
        add(NO_SUBMIT)
        served.tell("reload")
        eventually(lambda: verdict(point, client) == "NOT_PERMITTED")
        assert verdict(point, client, "orders.cancel") == "OK"


def test_when_no_profile_is_left_for_one_session_it_ends(house: Any, add: Add) -> None:
    """A point that has no room for one more decision ends the session rather than leave it what it may not
    have; and says so to its client, which can come again.
    """
    other = zts.Ed25519Identity.generate("algo-8")
    house.enrol(house.identity, other)
    authority = house.authority()
    point = house.point(authority, profiles=1)
    mine, its = house.connect(authority), house.connect(authority, identity=other)
    clients = mine.install(point, "orders"), its.install(point, "orders")
    add(NO_SUBMIT_FOR_8)
    authority.reload()
    assert verdict(point, clients[0]) == "OK"
    assert verdict(point, clients[1]) == "REVOKED"
    assert len(point._installer._places) == 1


def test_grants_of_live_sessions_are_forgotten_with_them(house: Any) -> None:
    """However a session ends, the Authority's memory of what it held ends with it (D6)."""
    now = [time.time()]
    authority = house.authority(clock=lambda: now[0])
    first, second = house.connect(authority), house.connect(authority)
    assert len(authority._live_grants) == 2
    authority.revoke(first.id)
    assert len(authority._live_grants) == 1
    renewed = second.renew()
    now[0] += 11
    third = house.connect(authority)
    assert {renewed.id, third.id} == {name for name, _ in authority._live_grants.sessions()}
    assert len(authority._live_grants._profiles) == 2
    authority._granting.end_expired(now[0] + 86_400)
    assert (len(authority._live_grants), len(authority._live_grants._profiles)) == (0, 0)


def test_D6_what_rules_took_is_not_said_again_when_its_sessions_must_be_over(house: Any, add: Add) -> None:
    """Pruning repeats what an operator took for good, and forgets what rules took from sessions of before."""
    now = [time.time()]
    authority = house.authority(clock=lambda: now[0])
    house.connect(authority)
    add(NO_SUBMIT)
    authority.reload()
    authority.narrow(b"p" * 32, [6, 6, 4])
    heard: list[Change] = []
    authority.subscribe(heard.append)
    now[0] += KEEP_S + 10
    authority._changes.prune(int(now[0]))
    assert [(change.what, change.profile, change.allowed) for change in heard] == [
        ("narrow", b"p" * 32, [6, 6, 4])
    ]


def test_what_a_session_was_granted_is_in_the_log(house: Any) -> None:
    """Enough to ask other rules the same question, and to tell by which version it was answered."""
    authority = house.authority()
    session = house.connect(authority)
    [entry] = audited(house, "session.granted")
    grants = [session.grants[name] for name in sorted(session.grants)]
    assert (entry["version"], entry["environment"]) == (authority.rules.version, "prod")
    assert entry["scopes"] == ["orders.*", "md.*"]
    assert entry["decisions"] == [[grant.segment, *grant.allowed, grant.step_up] for grant in grants]


# ---- Watching


def test_a_changed_directory_is_taken_by_itself(house: Any, add: Add, eventually: Any) -> None:
    """Whoever watches needs no reload: what changed is in force soon, what is broken is refused once and the
    next version is taken.
    """
    authority = house.authority()
    versions: list[int] = []
    authority.watch(every_s=0.01, after=lambda: versions.append(authority.rules.version))
    point = house.point(authority)
    client = house.connect(authority).install(point, "orders")
    assert verdict(point, client) == "OK"
    before = (house.rules / "trading.cedar").read_text()
    add("nonsense\n")
    eventually(lambda: len(audited(house, "policy.refused")) == 1)
    assert verdict(point, client) == "OK"
    (house.rules / "trading.cedar").write_text(before + NO_SUBMIT)
    eventually(lambda: verdict(point, client) == "NOT_PERMITTED")
    assert len(audited(house, "policy.refused")) == 1
    eventually(lambda: 2 in versions)


def test_a_directory_that_is_exchanged_as_a_whole_is_taken(
    house: Any, tmp_path: Path, eventually: Any
) -> None:
    """A link that is turned to another directory, as platforms deploy files, is a change."""
    link, fresh = tmp_path / "link", tmp_path / "fresh"
    link.symlink_to(house.rules)
    fresh.mkdir()
    for file in house.rules.iterdir():
        (fresh / file.name).write_bytes(file.read_bytes())
    policy = fresh / "trading.cedar"
    policy.write_text(policy.read_text() + NO_SUBMIT)
    authority = house.keep(zts.Authority.open(house.state, policy=link))
    authority.watch(every_s=0.01)
    point = house.point(authority)
    client = house.connect(authority).install(point, "orders")
    (tmp_path / "turned").symlink_to(fresh)
    os.replace(tmp_path / "turned", link)
    eventually(lambda: verdict(point, client) == "NOT_PERMITTED")


def test_a_change_that_keeps_size_and_time_of_a_file_is_seen(house: Any, add: Add, eventually: Any) -> None:
    """A file that is copied over with the times of its source is a change like any other."""
    policy = house.rules / "trading.cedar"
    text = policy.read_text()
    policy.write_text(text + NO_SUBMIT.replace("submit", "status"))
    authority = house.authority()
    taken = threading.Event()
    authority.watch(every_s=0.01, after=taken.set)
    point = house.point(authority)
    client = house.connect(authority).install(point, "orders")
    assert taken.wait(20)
    before = policy.stat()
    policy.write_text(text + NO_SUBMIT)
    os.utime(policy, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = policy.stat()
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (
        before.st_size,
        before.st_mtime_ns,
        before.st_ino,
    )
    eventually(lambda: verdict(point, client) == "NOT_PERMITTED")


def test_a_change_that_could_not_be_stored_is_tried_again_by_itself(
    house: Any, add: Add, eventually: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files were right and the store was full: nobody has to touch a file for them to be taken."""
    authority = house.authority()
    point = house.point(authority)
    client = house.connect(authority).install(point, "orders")
    tried = threading.Event()

    def fails(*_: Any, **__: Any) -> None:
        tried.set()
        raise StoreError("disk full")

    add(NO_SUBMIT)
    with monkeypatch.context() as patched:
        patched.setattr(authority._store, "append_change", fails)
        authority.watch(every_s=0.01)
        assert tried.wait(20)
    eventually(lambda: verdict(point, client) == "NOT_PERMITTED")


def test_L6_what_was_read_first_does_not_take_the_place_of_what_was_read_later(house: Any, add: Add) -> None:
    """Of two reloads at once the one that began to read later is in force, whichever ends first."""
    authority = house.authority()
    point = house.point(authority)
    client = house.connect(authority).install(point, "orders")
    load, read, go_on = authority.rules._load, threading.Event(), threading.Event()

    def slow() -> Any:
        found = load()
        read.set()
        assert go_on.wait(20)
        return found

    authority.rules._load = slow
    first = threading.Thread(target=authority.reload)
    first.start()
    assert read.wait(20)
    authority.rules._load = load
    add(NO_SUBMIT)
    authority.reload()
    newer = authority.decider
    go_on.set()
    first.join()
    assert authority.decider is newer
    assert verdict(point, client) == "NOT_PERMITTED"
    assert verdict(point, house.connect(authority).install(point, "orders")) == "NOT_PERMITTED"


def test_only_what_was_opened_from_a_directory_can_be_watched(house: Any) -> None:
    """There must be something to watch, and a time to wait."""
    authority = house.authority()
    with pytest.raises(ConfigurationError, match="more than 0"):
        authority.watch(every_s=0)
    authority._directory = None
    with pytest.raises(ConfigurationError, match="directory"):
        authority.watch()


def test_what_is_allowed_for_a_time_is_gone_after_it_and_cancelling_is_not(
    house: Any, eventually: Any
) -> None:
    """At the hour the point itself takes what the hour gave, from tickets that come late, too; what holds at
    all hours goes on under the same keys, and a renewal has what is allowed then.
    """
    # A clock on which the next minute, in which the phase ends, is three seconds away.
    real = time.time()
    ahead_s = 57 - real % 60 + (60 if (real + 60) % 86_400 < 120 else 0)
    ends = int(real + ahead_s) // 60 * 60 + 60

    def clock() -> float:
        return time.time() + ahead_s

    closing = time.strftime("%H:%M", time.gmtime(ends))
    (house.rules / "calendar.toml").write_text(f'[phases]\nopen = "00:00"\nclosed = "{closing}"\n')
    (house.rules / "trading.cedar").write_text(
        'permit (principal, action, resource) when { context.phase == "open" };\n'
        'permit (principal, action in Action::"effect:risk-reducing", resource);\n'
    )
    authority = house.authority(clock=clock)
    point, late = (house.point(authority, wall_clock=clock) for _ in range(2))
    session = house.connect(authority)
    grant = session.grants["orders"]
    assert grant.until == ends
    client = session.install(point, "orders")
    assert verdict(point, client) == "OK" or clock() >= ends
    eventually(lambda: verdict(point, client) == "NOT_PERMITTED")
    # The wall clock and the point's are read one after the other; what lies between is taken off the end.
    assert clock() >= ends - 0.1
    assert verdict(point, client, "orders.cancel") == "OK"
    assert verdict(late, session.install(late, "orders")) == "NOT_PERMITTED"
    renewed = session.renew()
    assert (renewed.grants["orders"].allowed[0], "md" in renewed.grants) == (grant.lasting[0], False)


def _a_minute_to_come() -> tuple[int, str]:
    """When it begins, and how a policy asks for it."""
    begins = int(time.time()) // 60 * 60 + 600
    return begins, f"context.time.hhmm == {int(time.strftime('%H%M', time.gmtime(begins)))}"


@pytest.mark.parametrize("asks", ["point", "client"])
def test_new_rules_that_speak_of_time_take_at_their_hour(house: Any, add: Add, asks: str) -> None:
    """A right that the new rules give until an hour ends then, also for a session whose grant was made by
    rules that knew of no hour; whoever speaks with the Authority brings it about.
    """
    now = [time.time()]
    authority = house.authority(clock=lambda: now[0])
    point = house.point(authority, wall_clock=lambda: now[0], manual_clock=True, lease_us=3_600_000_000)
    session = house.connect(authority)
    client = session.install(point, "orders")
    assert session.grants["orders"].until == 0
    begins, then = _a_minute_to_come()
    add(f'\nforbid (principal, action == Action::"orders.submit", resource) when {{ {then} }};\n')
    authority.reload()
    now[0] = begins - 1
    assert point.maintain()
    assert verdict(point, client) == "OK"
    now[0] = begins
    if asks == "point":
        assert point.maintain()
    else:
        house.connect(authority)
    assert verdict(point, client) == "NOT_PERMITTED"
    assert verdict(point, client, "orders.cancel") == "OK"


def test_what_grants_lose_by_themselves_is_no_change_of_the_rules(house: Any) -> None:
    """Where every grant says when its hour is over, the hour changes no version and publishes nothing."""
    begins, then = _a_minute_to_come()
    (house.rules / "trading.cedar").write_text(
        f"permit (principal, action, resource) unless {{ {then} }};\n"
        'permit (principal, action in Action::"effect:risk-reducing", resource);\n'
    )
    now = [time.time()]
    authority = house.authority(clock=lambda: now[0])
    point = house.point(authority, wall_clock=lambda: now[0], manual_clock=True, lease_us=3_600_000_000)
    house.connect(authority)
    version = authority.rules.version
    now[0] = begins
    assert point.maintain()
    authority.reload()
    assert (authority.rules.version, audited(house, "policy.tightened")) == (version, [])


def test_a_question_does_not_wait_for_the_authority_to_keep_the_hours(house: Any, add: Add) -> None:
    """A point asks while others change something: it is answered, and the hour is kept by the next one."""
    now = [time.time()]
    authority = house.authority(clock=lambda: now[0])
    point = house.point(authority, wall_clock=lambda: now[0], manual_clock=True, lease_us=3_600_000_000)
    client = house.connect(authority).install(point, "orders")
    begins, then = _a_minute_to_come()
    add(f'\nforbid (principal, action == Action::"orders.submit", resource) when {{ {then} }};\n')
    authority.reload()
    now[0] = begins
    with authority._lock:
        asking = threading.Thread(target=point.maintain)
        asking.start()
        asking.join(20)
        assert not asking.is_alive()
    assert verdict(point, client) == "OK"
    assert point.maintain()
    assert verdict(point, client) == "NOT_PERMITTED"
