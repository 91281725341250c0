"""Questions of other tools: answered as a session would be granted, or as a point would answer, and never
more.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

import ztsession as zts
from ztsession.authority.hearing import Heard
from ztsession.authority.questions import (
    DENIED,
    FAILED,
    PERMITTED,
    REAUTHENTICATE,
    STEP_UP,
    AccessQuestion,
    Circumstances,
    Entity,
    Questions,
)
from ztsession.bus.change import Change
from ztsession.bus.taken import GENERATION_US
from ztsession.errors import Denied, PolicyError, ReauthRequired, StepUpRequired, StoreError
from ztsession.policy.engine import PolicySet
from ztsession.policy.grant import Grant
from ztsession.policy.tighten import Less
from ztsession.posture.items import ITEMS
from ztsession.store.sqlite import SqliteStore

OPERATIONS = ("submit", "amend", "cancel", "cancel-all", "block-trade", "status")
UNKNOWN = dict.fromkeys(ITEMS, "unknown")


def asking(
    action: str = "submit",
    subject: str = "algo-7",
    segment: str = "orders",
    *,
    session: bytes = b"",
    **circumstances: Any,
) -> AccessQuestion:
    return AccessQuestion(
        Entity("subject", subject),
        Entity("segment", segment),
        action,
        Circumstances(**circumstances),
        session,
    )


@pytest.fixture
def authority(house: Any) -> zts.Authority:
    return house.authority()


@pytest.fixture
def questions(house: Any, authority: zts.Authority) -> Questions:
    asked = Questions(authority)
    house.keep(closing(asked))
    return asked


def add_policy(house: Any, authority: zts.Authority, text: str) -> None:
    (house.rules / "more.cedar").write_text(text)
    authority.reload()


# ---- Circumstances


@pytest.mark.parametrize(
    ("question", "outcome", "why"),
    [
        (asking(), PERMITTED, ""),
        (asking("orders.submit"), PERMITTED, ""),
        (asking("subscribe", segment="md"), PERMITTED, ""),
        (asking(subject="algo-8"), DENIED, "no such subject"),
        (asking(segment="payments"), DENIED, "no such segment"),
        (asking("sell"), DENIED, "orders has no such operation"),
        (asking("md.subscribe"), DENIED, "orders has no such operation"),
        (asking("block-trade"), STEP_UP, "needs assurance 3, and this is 1"),
        (asking("block-trade", assurance=2), STEP_UP, "needs assurance 3, and this is 2"),
        (asking("block-trade", assurance=3), PERMITTED, ""),
        (asking(posture=UNKNOWN | {"kernel": "bad"}), DENIED, "at risk low: forbidden by trading.cedar:20"),
        (asking("cancel", posture=UNKNOWN | {"kernel": "bad"}), PERMITTED, ""),
        (asking(risk="medium"), DENIED, "runs at risk low at most, and this is medium"),
        (asking("cancel", risk="medium"), PERMITTED, ""),
        (asking("cancel", risk="high"), DENIED, "runs at risk medium at most"),
        (asking("cancel-all", risk="high"), PERMITTED, ""),
    ],
)
def test_an_answer_follows_from_catalog_policies_and_circumstances(
    questions: Questions, question: AccessQuestion, outcome: str, why: str
):
    """Each rule has its word in the answer, with the place of what forbids."""
    ruling = questions.now()(question)
    assert ruling.outcome == outcome
    assert why in ruling.why
    assert ruling.permitted is (outcome == PERMITTED)


def test_L1_what_no_policy_permits_is_denied(house: Any, authority: zts.Authority, questions: Questions):
    """A subject without the role gets no from the default, and yes from the line that permits it."""
    house.enrol(house.identity)
    subjects = house.rules / "subjects.toml"
    subjects.write_text(subjects.read_text().replace('"trading"', '"research"'))
    authority.reload()
    ruling = questions.now()(asking())
    assert (ruling.outcome, ruling.why) == (DENIED, "orders.submit at risk low: nothing permits it")
    add_policy(house, authority, 'permit (principal, action == Action::"orders.submit", resource);\n')
    assert questions.now()(asking()).permitted


def test_L2_a_forbid_wins(house: Any, authority: zts.Authority, questions: Questions):
    """What is permitted ten times is denied by one forbid, which is named."""
    permits = "permit (principal, action, resource);\n" * 10
    add_policy(house, authority, permits)
    assert questions.now()(asking()).permitted
    add_policy(house, authority, permits + "forbid (principal, action, resource);\n")
    ruling = questions.now()(asking())
    assert ruling.outcome == DENIED
    assert "more.cedar:11" in ruling.why


def test_L4_a_failing_policy_denies(house: Any, authority: zts.Authority, questions: Questions):
    """Where a forbid fails the answer is no, and told apart; where it does not, the same is a yes."""
    overflow = (
        'forbid (principal, action == Action::"orders.submit", resource)\n'
        "when { context.assurance * 9223372036854775807 < 0 };\n"
    )
    add_policy(house, authority, overflow)
    assert questions.now()(asking(assurance=1)).permitted
    ruling = questions.now()(asking(assurance=3))
    assert ruling.outcome == FAILED
    assert "more.cedar:1" in ruling.why


def test_L4_an_evaluator_that_cannot_be_asked_denies(questions: Questions, monkeypatch: pytest.MonkeyPatch):
    """An error instead of a decision is a no."""

    def fails(*_: object, **__: object) -> None:
        raise PolicyError("answers are missing")

    with monkeypatch.context() as patched:
        patched.setattr(PolicySet, "decide", fails)
        ruling = questions.now()(asking())
    assert (ruling.outcome, ruling.permitted) == (FAILED, False)
    assert "answers are missing" in ruling.why
    assert questions.now()(asking()).permitted


def test_L4_a_registry_that_cannot_be_read_denies(
    authority: zts.Authority, questions: Questions, monkeypatch: pytest.MonkeyPatch
):
    """Whoever cannot be looked up is nobody; who is known from the file is still answered."""

    def fails(*_: object) -> None:
        raise StoreError("the disk is gone")

    monkeypatch.setattr(SqliteStore, "rows", fails)
    rule = questions.now()
    assert rule(asking(subject="not-in-the-file")).outcome == FAILED
    assert rule(asking()).permitted


@pytest.mark.parametrize(
    "alike",
    [
        lambda name: "".join(chr(ord(letter) + 0xFEE0) for letter in name),
        lambda name: name[0] + "\N{ZERO WIDTH JOINER}" + name[1:],
        lambda name: name.capitalize(),
        lambda name: name + " ",
        lambda name: name + "\n",
        lambda name: name + "\0",
        lambda name: name + "\ud800",
        lambda name: name * 10_000,
        lambda name: "",
    ],
)
def test_L7_a_look_alike_is_nobody_nothing_and_nowhere(questions: Questions, alike: Callable[[str], str]):
    """A name that a person could mistake for another is no name, and is not told again."""
    rule = questions.now()
    assert rule(asking("submit", "algo-7", "orders")).permitted
    for question in (
        asking(alike("submit"), "algo-7", "orders"),
        asking("submit", alike("algo-7"), "orders"),
        asking("submit", "algo-7", alike("orders")),
    ):
        ruling = rule(question)
        assert ruling.outcome == DENIED
        assert len(ruling.why) < 64
        assert ruling.why.isascii()


@pytest.mark.parametrize(
    ("subject", "resource"),
    [
        (Entity("user", "algo-7"), Entity("segment", "orders")),
        (Entity("Subject", "algo-7"), Entity("segment", "orders")),
        (Entity("subject", "algo-7"), Entity("account", "orders")),
        (Entity("subject", "algo-7"), Entity("", "orders")),
    ],
)
def test_what_is_of_another_type_is_unknown(questions: Questions, subject: Entity, resource: Entity):
    """The same name under another type is another thing."""
    question = replace(asking(), subject=subject, resource=resource)
    assert questions.now()(question).outcome == DENIED


def test_step_up_names_the_level_that_policies_ask_for(
    house: Any, authority: zts.Authority, questions: Questions
):
    """Where a policy wants assurance 2, that is what is asked for, and it is enough."""
    add_policy(
        house,
        authority,
        'forbid (principal, action == Action::"orders.submit", resource) when { context.assurance < 2 };\n',
    )
    ruling = questions.now()(asking(assurance=1))
    assert (ruling.outcome, ruling.assurance) == (STEP_UP, 2)
    assert questions.now()(asking(assurance=ruling.assurance)).permitted
    # In a session that is in trouble a step-up earns nothing.
    assert questions.now()(asking("block-trade", assurance=1, risk="medium")).outcome == DENIED


def test_time_is_the_one_of_the_question_or_now(house: Any, authority: zts.Authority):
    """A policy over the clock decides by the given moment, and without one by the present."""
    at_noon, at_night = 1_795_780_800.0, 1_795_824_000.0
    add_policy(
        house,
        authority,
        "forbid (principal, action, resource) when { context.time.hhmm < 900 || context.time.hhmm >= 1700 };",
    )
    now = at_noon
    questions = Questions(authority, clock=lambda: now)
    assert questions.now()(asking()).permitted
    assert questions.now()(asking(at=at_night)).outcome == DENIED
    now = at_night
    assert questions.now()(asking()).outcome == DENIED
    assert questions.now()(asking(at=at_noon)).permitted


@pytest.mark.parametrize("target", [{"subject": "algo-7"}, {"device": "host-1"}])
def test_what_stands_against_subject_or_device_counts_whatever_is_assumed(
    authority: zts.Authority, questions: Questions, target: dict[str, str]
):
    """A signal that no evidence answers makes the risk at least what it would be in a session."""

    def tell(level: zts.Level) -> None:
        sent = zts.Signal(level.name, "credential-compromise", level, "detector", time.time(), **target)
        authority.signal(sent)

    rule, here = questions.now(), {"device": "host-1", "risk": "low"}
    assert rule(asking("submit", **here)).permitted
    tell(zts.Level.MEDIUM)
    refused = rule(asking("submit", **here))
    assert (refused.outcome, "stands against" in refused.why) == (DENIED, True)
    assert rule(asking("cancel", **here)).permitted
    assert "stands" not in rule(asking("submit", device="host-1", risk="medium")).why
    assert rule(asking("submit", "algo-7", device="host-2")).permitted is ("device" in target)
    tell(zts.Level.HIGH)
    assert rule(asking("cancel", **here)).outcome == DENIED
    assert rule(asking("cancel-all", **here)).permitted
    tell(zts.Level.CRITICAL)
    assert "no session" in rule(asking("cancel-all", **here)).why


def test_what_is_answered_is_what_a_session_is_granted(
    house: Any, authority: zts.Authority, questions: Questions
):
    """For every operation the answer in a session's own circumstances is that of its grant."""
    grant = granted(authority, house.connect(authority))
    standing = {"assurance": 2, "device": "host-1"}
    for index, operation in enumerate(OPERATIONS):
        ready = grant.allowed[0] & ~grant.step_up
        for risk, allowed in zip(("low", "medium", "high"), (ready, *grant.allowed[1:]), strict=True):
            ruling = questions.now()(asking(operation, risk=risk, **standing))
            assert ruling.permitted is bool(allowed >> index & 1), (operation, risk)


# ---- One version, and no lock


def test_L6_a_sitting_keeps_the_version_it_began_with(
    house: Any, authority: zts.Authority, questions: Questions
):
    """Questions that belong together are decided together, whatever is reloaded between them."""
    before = questions.now()
    assert before(asking()).permitted
    add_policy(house, authority, "forbid (principal, action, resource);\n")
    (house.rules / "subjects.toml").write_text("[subjects]\n")
    authority.reload()
    assert before(asking()).permitted
    after = questions.now()
    assert after(asking()).outcome == DENIED
    assert before(asking("cancel")).permitted


def test_the_authoritys_lock_is_not_needed(house: Any, authority: zts.Authority, questions: Questions):
    """While the Authority is busy with a decision of its own, questions are answered, also about sessions."""
    session = house.connect(authority).id
    answered = list[bool]()

    def ask() -> None:
        rule = questions.now()
        answered.extend([rule(asking()).permitted, rule(asking(session=session)).permitted])

    with authority._lock:
        asking_thread = threading.Thread(target=ask)
        asking_thread.start()
        asking_thread.join(20)
        assert answered == [True, True]
    asking_thread.join()


# ---- Sessions


def granted(authority: zts.Authority, session: Any, segment: str = "orders") -> Grant:
    grants = map(Grant.from_bytes, authority.session(session.id).grants)
    return next(grant for grant in grants if grant.segment == segment)


def said_by(call: Callable[[], object]) -> str:
    """What a point says, in the words of the answers."""
    try:
        call()
    except StepUpRequired:
        return STEP_UP
    except ReauthRequired:
        return REAUTHENTICATE
    except Denied:
        return DENIED
    return PERMITTED


def signal(session: bytes, level: zts.Level) -> zts.Signal:
    return zts.Signal(f"s-{level.name}", "behaviour", level, "detector", time.time(), session=session)


@pytest.mark.parametrize("level", [None, zts.Level.MEDIUM, zts.Level.HIGH])
@pytest.mark.parametrize("narrowed", [False, True])
def test_a_sessions_answer_is_the_one_of_its_point(
    house: Any, authority: zts.Authority, questions: Questions, level: zts.Level | None, narrowed: bool
):
    """In every mode, and after its profile was narrowed, each operation is answered as its point answers."""
    session = house.connect(authority)
    point = house.point(authority)
    orders = session.install(point, "orders")
    if narrowed:
        authority.narrow(granted(authority, session).profile_digest(), [0b11_1110] * 3)
    if level is not None:
        authority.signal(signal(session.id, level))
    outcomes = set[str]()
    for operation in OPERATIONS:
        full = f"orders.{operation}"

        def call(full: str = full) -> object:
            return point.verifier(full)(orders.sign(full, b"x"), b"x")

        outcome = questions.now()(asking(operation, session=session.id)).outcome
        assert outcome == said_by(call), operation
        outcomes.add(outcome)
    assert len(outcomes) > 1


def test_what_was_narrowed_before_anybody_listened_is_known(house: Any, authority: zts.Authority):
    """Questions that begin after a change was made have read it up."""
    session = house.connect(authority)
    early = Questions(authority)
    authority.narrow(granted(authority, session).profile_digest(), [0, 0, 0])
    late = Questions(authority)
    for questions in (early, late):
        assert questions.now()(asking(session=session.id)).outcome == DENIED
    with_hundreds = [authority.narrow(number.to_bytes(32, "big"), [0, 0, 0]) for number in range(300)]
    assert len(Heard(authority)) == len(with_hundreds) + 1
    early.close()
    authority.narrow(b"n" * 32, [0, 0, 0])
    assert len(early._heard) == 301


def test_what_was_taken_once_does_not_come_back(house: Any, authority: zts.Authority, questions: Questions):
    """Two changes of one profile leave what both of them leave."""
    session = house.connect(authority)
    profile = granted(authority, session).profile_digest()
    authority.narrow(profile, [0b101, 0b101, 0])
    assert questions.now()(asking("submit", session=session.id)).permitted
    authority.narrow(profile, [0b110, 0b110, 0])
    for listening in (questions, Questions(authority)):
        rule = listening.now()
        found = {name: rule(asking(name, session=session.id)).permitted for name in OPERATIONS[:3]}
        assert found == {"submit": False, "amend": False, "cancel": True}


def test_changed_rules_take_from_a_session_and_from_a_profile(house: Any, authority: zts.Authority):
    """What a change of the rules takes holds for its session or profile, and so do its step-ups."""
    one, other = house.connect(authority), house.connect(authority)
    questions = Questions(authority)
    profile = granted(authority, one).profile_digest()
    everything = [2**64 - 1] * 3
    tell = authority._changes
    tell.publish([tell._append(Change.tighten(profile, everything, 0b1, session=one.id))])
    assert questions.now()(asking(session=one.id)).outcome == STEP_UP
    assert questions.now()(asking("cancel", session=one.id)).permitted
    assert questions.now()(asking(session=other.id)).permitted
    tell.publish([tell._append(Change.tighten(profile, [0, 0, 0], 0))])
    assert questions.now()(asking("cancel", session=other.id)).outcome == DENIED


def test_D6_what_rules_took_is_forgotten_when_its_sessions_must_be_over(authority: zts.Authority):
    """A day's changes are kept and those of before are not; a narrowed profile is kept for good."""
    heard, everything, began = Heard(authority), [2**64 - 1] * 3, 1_900_000_000_000_000
    heard._take(Change.narrow(b"n" * 32, [1, 0, 0], sent_at=began))
    for number in range(1000):
        at, session = began + number * GENERATION_US // 10, number.to_bytes(16, "big")
        heard._take(Change.tighten(b"p" * 32, everything, 1, session=session, sent_at=at))
    assert 10 <= len(heard) <= 22
    assert heard._taken.of_profile(b"n" * 32) == Less((1, 0, 0))


def test_after_its_hour_a_session_is_answered_by_what_lasts(house: Any, authority: zts.Authority):
    """What a grant gave for a time is denied after it, as its point denies it."""
    grant = granted(authority, house.connect(authority))
    heard, ends = Heard(authority), grant.issued_at + 60
    timed = dataclasses.replace(grant, until=ends, lasting=[0b100, 0, 0])
    assert heard.left_of(timed, ends - 1).allowed == tuple(grant.allowed)
    assert heard.left_of(timed, ends).allowed == (0b100, 0, 0)
    assert heard.left_of(grant, ends).allowed == tuple(grant.allowed)


def test_a_session_that_is_over_may_do_nothing(house: Any, authority: zts.Authority, questions: Questions):
    """Revoked, renewed, or never there: no, where the same question about a live one is a yes."""
    revoked, renewed = house.connect(authority), house.connect(authority)
    for session in (revoked, renewed):
        assert questions.now()(asking(session=session.id)).permitted
    authority.revoke(revoked.id)
    newest = renewed.renew()
    for over in (revoked.id, renewed.id, bytes(16)):
        ruling = questions.now()(asking(session=over))
        assert (ruling.outcome, ruling.why) == (DENIED, "the Authority knows no live session of this id")
    assert questions.now()(asking(session=newest.id)).permitted


def test_a_session_that_was_revoked_meanwhile_is_over(
    house: Any, authority: zts.Authority, questions: Questions, monkeypatch: pytest.MonkeyPatch
):
    """Between looking it up and asking for its risk there is no moment in which it lives on."""
    revoked, hit = house.connect(authority), house.connect(authority)
    found = {each.id: authority.session(each.id) for each in (revoked, hit)}
    authority.revoke(revoked.id)
    authority.signal(signal(hit.id, zts.Level.CRITICAL))
    monkeypatch.setattr(authority, "session", found.get)
    for over in (revoked.id, hit.id):
        assert questions.now()(asking("cancel-all", session=over)).outcome == DENIED


@pytest.mark.parametrize("known", ["engine", "record"])
def test_of_two_modes_the_worse_is_true(
    house: Any,
    authority: zts.Authority,
    questions: Questions,
    monkeypatch: pytest.MonkeyPatch,
    known: str,
):
    """A mode that the risk engine knows before the database, or the database alone, is in force."""
    session = house.connect(authority)
    record = authority.session(session.id)
    if known == "engine":
        authority.signal(signal(session.id, zts.Level.HIGH))
    else:
        record = replace(record, mode=int(zts.Mode.SUSPENDED))
    monkeypatch.setattr(authority, "session", lambda _: record)
    assert questions.now()(asking(session=session.id)).outcome == REAUTHENTICATE
    assert questions.now()(asking("cancel-all", session=session.id)).permitted


@pytest.mark.parametrize("later_s", [3600 * 13, 3600 * 25])
def test_a_session_that_is_over_in_a_segment_is_over_there(
    house: Any, authority: zts.Authority, monkeypatch: pytest.MonkeyPatch, later_s: int
):
    """Its tickets have ends of their own, and the last of them is not the end of the others."""
    catalog = house.rules / "catalog.toml"
    catalog.write_text(catalog.read_text() + "\n[segments.md]\nlifetime_s = 86400\n")
    authority.reload()
    session = house.connect(authority)
    record = authority.session(session.id)
    monkeypatch.setattr(authority, "session", lambda _: record)
    for clock, outcome in ((time.time, PERMITTED), (lambda: time.time() + later_s, DENIED)):
        rule = Questions(authority, clock=clock).now()
        assert rule(asking(session=session.id)).outcome == outcome
    in_between = Questions(authority, clock=lambda: time.time() + 3600 * 13).now()
    assert in_between(asking("subscribe", segment="md", session=session.id)).permitted


def test_a_session_speaks_for_its_subject_and_in_its_segments_alone(
    house: Any, authority: zts.Authority, questions: Questions
):
    """Somebody else's session, a segment it did not ask for, and a scope it did not ask for are each a no."""
    other = zts.Ed25519Identity.generate("algo-8")
    house.enrol(house.identity, other)
    authority.reload()
    session = house.connect(authority, scopes=["orders.cancel"]).id
    rule = questions.now()
    assert rule(asking("cancel", session=session)).permitted
    assert "another subject's" in rule(asking("cancel", subject="algo-8", session=session)).why
    assert "no grant" in rule(asking("subscribe", segment="md", session=session)).why
    assert rule(asking("submit", session=session)).outcome == DENIED
    assert rule(asking("cancel", subject="nobody", session=session)).outcome == DENIED


def test_a_sessions_circumstances_are_its_own(house: Any, authority: zts.Authority, questions: Questions):
    """What the question assumes beside a session changes nothing, for better or for worse."""
    session = house.connect(authority).id
    better = {"assurance": 3, "posture": dict.fromkeys(ITEMS, "good")}
    assert questions.now()(asking("block-trade", session=session, **better)).outcome == STEP_UP
    worse = {"posture": dict.fromkeys(ITEMS, "bad"), "risk": "high"}
    assert questions.now()(asking("submit", session=session, **worse)).permitted


def test_why_a_session_may_not_is_told_to_operators(
    house: Any, authority: zts.Authority, questions: Questions
):
    """The reason names the mode and the signal behind it, in ASCII and no more than 512 characters."""
    session = house.connect(authority).id
    authority.signal(signal(session, zts.Level.MEDIUM))
    ruling = questions.now()(asking(session=session))
    assert ruling.outcome == STEP_UP
    assert ruling.why.startswith(
        "the session may not do orders.submit while it is RESTRICTED; MEDIUM because"
    )
    noisy = zts.Signal(
        "loud",
        "behaviour",
        zts.Level.HIGH,
        "detector",
        time.time(),
        session=session,
        evidence={"note": "é" * 120, "more": "é" * 120},
    )
    authority.signal(noisy)
    ruling = questions.now()(asking(session=session))
    assert ruling.outcome == REAUTHENTICATE
    assert len(ruling.why) <= 512
    assert ruling.why.isascii()


def test_a_basis_that_cannot_be_read_denies(
    house: Any, authority: zts.Authority, questions: Questions, monkeypatch: pytest.MonkeyPatch
):
    """What a session rests on must be known, or it may do nothing."""
    session = house.connect(authority)
    record = replace(authority.session(session.id), basis=b"")
    monkeypatch.setattr(authority, "session", lambda _: record)
    assert questions.now()(asking(session=session.id)).outcome == FAILED
