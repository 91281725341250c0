"""What a review asks, of whom, and what it leaves: sessions and rules made by hand, without a handshake."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from ztsession.authority.assurance import level_of
from ztsession.authority.judged import NO_DEVICE, Basis
from ztsession.authority.live import LiveGrants, Tightening
from ztsession.authority.reviewing import Review, review
from ztsession.errors import EvidenceError, PolicyError
from ztsession.identity.subjects import Subject
from ztsession.policy.attributes import SubjectAttributes
from ztsession.policy.catalog import Catalog
from ztsession.policy.compile import compile_grant
from ztsession.policy.engine import PolicySet
from ztsession.policy.tighten import Less
from ztsession.posture.items import GOOD, ITEMS, UNKNOWN
from ztsession.store.records import SessionRecord

CATALOG = """\
version = 1
[segments.orders.operations.submit]
effect = "risk-increasing"
stale = "10s"
[segments.orders.operations.cancel]
effect = "risk-reducing"
[segments.orders.operations.replace]
effect = "risk-increasing"
ordered = true
"""
SUBMIT, CANCEL, REPLACE = 1, 2, 4
EVERYTHING = "permit (principal, action, resource);\n"
HEALTHY = dict.fromkeys(ITEMS, GOOD)
NOW = 1_800_000_000
ALGORITHM = Subject("algo-7", "algorithm", ("trading", "pricing"), "rates")


def forbid(operation: str, when: str, catalog: str = CATALOG) -> PolicySet:
    text = f'forbid (principal, action == Action::"orders.{operation}", resource) when {{ {when} }};\n'
    return PolicySet({"a.cedar": EVERYTHING + text}, Catalog.from_text(catalog))


def rules(text: str = EVERYTHING, catalog: str = CATALOG) -> PolicySet:
    return PolicySet({"a.cedar": text}, Catalog.from_text(catalog))


class Floor:
    """Live sessions, who and what is enrolled, and the review that they get."""

    def __init__(self, policy: PolicySet | None = None) -> None:
        self.live, self.granted_by = LiveGrants(), policy or rules()
        self.subjects: dict[str, Subject] = {}
        self.devices: set[tuple[str, str]] = set()

    def session(
        self,
        who: Subject = ALGORITHM,
        *,
        device: str = "host-1",
        key: str = "key-1",
        posture: Mapping[str, str] = HEALTHY,
        proven: int = 1,
        factor: int = 0,
        scopes: tuple[str, ...] = ("orders.*",),
    ) -> bytes:
        """Grant a session by the rules of before; its id."""
        self.subjects.setdefault(who.name, who)
        self.devices.add((device, key))
        name = b"%016d" % (len(self.live) + 1)
        has_device = device != NO_DEVICE
        assurance = level_of(
            who.kind, proven, factor, device=has_device, hardware=posture["hardware"] == GOOD
        )
        grant = compile_grant(
            self.granted_by,
            self.granted_by.catalog,
            "orders",
            SubjectAttributes(who.name, who.kind, who.roles, who.desk),
            device=device,
            posture=posture,
            posture_digest=b"o" * 32,
            assurance=assurance,
            session=name,
            scopes=scopes,
            issued_at=NOW,
        )
        assert grant is not None
        record = SessionRecord(name, who.name, device, b"k" * 32, assurance, 0, NOW, NOW + 60)
        shown = Basis(
            credential=f"key of {who.name}",
            until=0,
            identity_assurance=proven,
            factor="totp" if factor else "",
            factor_assurance=factor,
            authenticated_at=NOW,
            scopes=list(scopes),
            handshake_hash=b"h" * 32,
            nonce=b"n" * 32,
            mark=0,
            device_key=key if has_device else "",
            posture=dict(posture),
            environment="prod",
            network="",
            measured={},
            posture_at=NOW,
            keys=[],
        )
        self.live.add(record, shown, [grant])
        return name

    def review(self, policy: PolicySet) -> Review:
        """Review, and have what was found in force."""
        decider: Any = SimpleNamespace(
            policies=SimpleNamespace(current=policy), holder=self._holder, check_device=self._check_device
        )
        found = review(self.live, decider, NOW + 1)
        self.live.took(found.tightened)
        return found

    def left(self, session: bytes) -> Less:
        """What a session still has."""
        [[digest]] = [each.profiles for name, each in self.live.sessions() if name == session]
        return self.live.held(session, digest)

    def _holder(self, credential: str, name: str) -> Subject:
        if name not in self.subjects or credential != f"key of {name}":
            raise EvidenceError("no longer enrolled")
        return self.subjects[name]

    def _check_device(self, device: str, key: str) -> None:
        if (device, key) not in self.devices:
            raise EvidenceError("the device is no longer enrolled")


# ---- Who is reviewed


def test_the_same_rules_take_nothing_and_a_second_review_takes_nothing_more() -> None:
    """What was taken is not taken again, from all or from one: a review without news is silent."""
    floor = Floor()
    floor.session()
    floor.session(Subject("algo-8", "algorithm", ALGORITHM.roles, "rates"))
    assert floor.review(rules()) == Review()
    both = forbid("submit", 'principal == Subject::"algo-8" || context.assurance < 3')
    alone = forbid("submit", 'principal == Subject::"algo-8"')
    for policy, taken in ((alone, 1), (alone, 0), (both, 0), (forbid("cancel", "true"), 1)):
        assert len(floor.review(policy).tightened) == taken
    assert floor.review(forbid("cancel", "true")) == Review()


@pytest.mark.parametrize("gone", ["subject", "device", "one key of it"])
def test_H14_who_is_gone_has_no_session_and_others_have(gone: str) -> None:
    """A session ends with its subject, its device or the very key by which that showed itself."""
    floor = Floor()
    other = Subject("algo-8", "algorithm")
    stays = floor.session(other, device="host-2" if gone == "device" else "host-1", key="key-2")
    ends = floor.session()
    if gone == "subject":
        del floor.subjects["algo-7"]
    else:
        floor.devices.remove(("host-1", "key-1"))
    found = floor.review(rules())
    assert [name for name, _ in found.ended] == [ends]
    assert "no longer enrolled" in found.ended[0][1]
    assert floor.left(stays).allowed[0] == SUBMIT | CANCEL | REPLACE


def test_a_session_that_showed_no_device_needs_none() -> None:
    """Nobody looks for a device that was never there."""
    floor = Floor()
    name = floor.session(device=NO_DEVICE, posture=dict.fromkeys(ITEMS, UNKNOWN))
    floor.devices.clear()
    assert floor.review(rules()) == Review()
    assert floor.left(name).allowed[0]


# ---- What they are asked by

HUMAN = Subject("ada", "human", (), "rates")


@pytest.mark.parametrize(
    ("loses", "keeps", "when"),
    [
        ({"device": "host-2"}, {}, 'context.device == "host-2"'),
        ({"posture": HEALTHY | {"boot": UNKNOWN}}, {}, 'context.posture.boot == "unknown"'),
        (
            {"who": Subject("b", "service", ("trading", "pricing"), "rates")},
            {},
            'principal.kind == "service"',
        ),
        ({"who": Subject("b", "algorithm", ("test",), "rates")}, {}, 'principal.roles.contains("test")'),
        ({"who": Subject("b", "algorithm", ("trading", "pricing"), "fx")}, {}, 'principal.desk == "fx"'),
        (
            {"who": Subject("b", "algorithm", ("trading", "pricing"), "rates")},
            {},
            'principal == Subject::"b"',
        ),
        ({"device": NO_DEVICE}, {}, "context.assurance < 2"),
        ({"posture": HEALTHY | {"hardware": UNKNOWN}}, {}, "context.assurance < 3"),
        ({"who": HUMAN}, {"who": HUMAN, "factor": 2}, "context.assurance < 2"),
        ({"who": HUMAN}, {"who": HUMAN, "proven": 2}, "context.assurance < 2"),
    ],
)
def test_each_session_is_asked_about_by_what_it_rests_on(
    loses: dict[str, Any], keeps: dict[str, Any], when: str
) -> None:
    """Of two sessions that differ in one thing, rules about it hit the one and not the other, whichever is
    asked about first.
    """
    for first in (0, 1):
        floor = Floor()
        names = [floor.session(**each) for each in ((keeps, loses) if first else (loses, keeps))]
        floor.review(forbid("submit", when))
        lost, kept = (floor.left(names[at]) for at in (first, 1 - first))
        assert kept.step_up == 0
        assert kept.allowed[0] & SUBMIT
        assert not lost.allowed[0] & ~lost.step_up & SUBMIT
        assert lost.allowed[0] & CANCEL


def test_nobody_is_held_to_what_was_not_asked_for() -> None:
    """The answer to one who asked for less is no answer about one who asked for more, whoever is first."""
    for scopes in ((("orders.cancel",), ("orders.*",)), (("orders.*",), ("orders.cancel",))):
        floor = Floor()
        for each in scopes:
            floor.session(scopes=each)
        assert floor.review(rules()) == Review()


def test_L4_a_question_that_cannot_be_put_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told, and the sessions that it was not about keep what they have."""
    floor = Floor()
    asked, other = floor.session(), floor.session(Subject("b", "service"))
    policy, decide = rules(), PolicySet.decide

    def fails(self: PolicySet, who: SubjectAttributes, *rest: Any, **more: Any) -> Any:
        if who.kind == "algorithm":
            raise PolicyError("could not be evaluated")
        return decide(self, who, *rest, **more)

    monkeypatch.setattr(PolicySet, "decide", fails)
    found = floor.review(policy)
    assert found.failed == ["could not be evaluated"]
    assert floor.left(asked).allowed == (0, 0, 0)
    assert floor.left(other).allowed[0] == SUBMIT | CANCEL | REPLACE


# ---- What is left


def test_K9_what_it_finds_is_never_more_than_is_held() -> None:
    """A profile without an operation gets it from no rules, a step-up that was demanded stays demanded, and
    none is demanded of what is not allowed.
    """
    floor = Floor(forbid("submit", "context.assurance < 3"))
    name = floor.session(posture=HEALTHY | {"hardware": UNKNOWN}, scopes=("orders.submit", "orders.cancel"))
    assert floor.left(name) == Less((SUBMIT | CANCEL, CANCEL, 0), SUBMIT)
    [found] = floor.review(forbid("cancel", "true")).tightened
    assert found.less == Less((SUBMIT, 0, 0), SUBMIT)
    [found] = floor.review(
        rules('permit (principal, action == Action::"orders.cancel", resource);')
    ).tightened
    assert found.less == Less((0, 0, 0), 0)
    assert floor.left(name).allowed == (0, 0, 0)


@pytest.mark.parametrize(
    ("before", "after", "lost"),
    [
        ('"10s"', '"9s"', SUBMIT),
        ('"10s"', '"11s"', 0),
        ("ordered = true\n", "", 0),
        ('"risk-reducing"', '"risk-reducing"\nordered = true', CANCEL),
        ('"risk-reducing"', '"risk-reducing"\nmax_age_ms = 1999', CANCEL),
        ('"risk-reducing"', '"risk-reducing"\nmax_age_ms = 2001', 0),
    ],
)
def test_a_limit_that_became_stricter_takes_its_operation(before: str, after: str, lost: int) -> None:
    """How long it outlives a lease, how old a call may be and its order; what stayed or became easier takes
    nothing.
    """
    floor = Floor()
    name = floor.session()
    floor.review(rules(catalog=CATALOG.replace(before, after, 1)))
    assert floor.left(name).allowed[0] == (SUBMIT | CANCEL | REPLACE) & ~lost


def test_operations_are_told_apart_by_name_where_numbers_moved() -> None:
    """In a catalog that numbers them otherwise, what is taken and what wants a step-up are the grant's own
    bits.
    """
    moved = CATALOG.replace(
        "version = 1\n", 'version = 1\n[segments.orders.operations.first]\neffect = "read"\n'
    )
    floor = Floor()
    name = floor.session(posture=HEALTHY | {"hardware": UNKNOWN})
    text = EVERYTHING + 'forbid (principal, action == Action::"orders.replace", resource);\n'
    text += (
        'forbid (principal, action == Action::"orders.submit", resource) when { context.assurance < 3 };\n'
    )
    floor.review(rules(text, moved))
    assert floor.left(name) == Less((SUBMIT | CANCEL, CANCEL, 0), SUBMIT)


def test_sessions_are_many_and_questions_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand sessions of one kind are one question."""
    floor, asked = Floor(), []
    for number in range(1000):
        floor.session(Subject(f"algo-{number}", "algorithm", ALGORITHM.roles, "rates"), device=f"h-{number}")
    decide = PolicySet.decide

    def counted(self: PolicySet, *what: Any, **more: Any) -> Any:
        asked.append(what)
        return decide(self, *what, **more)

    monkeypatch.setattr(PolicySet, "decide", counted)
    found = floor.review(forbid("submit", "true"))
    assert len(asked) == 1
    assert [(each.session, each.less.allowed[0]) for each in found.tightened] == [(b"", CANCEL | REPLACE)]


# ---- What is remembered of them


def test_D6_what_is_remembered_ends_with_the_sessions() -> None:
    """Profiles, what single sessions lost and who they are of are forgotten with the last that needs them."""
    floor, every = Floor(), 200
    names = [floor.session(Subject(f"algo-{n}", "algorithm", ALGORITHM.roles, "rates")) for n in range(every)]
    floor.review(forbid("submit", 'principal == Subject::"algo-3"'))
    live = floor.live
    assert (len(live._profiles), len(live._own), len(live._bearers)) == (1, 1, every)
    for name in names[:-1]:
        live.remove(name)
    assert (len(live._profiles), len(live._own)) == (1, 0)
    assert len(live._bearers) <= 2 + 64
    live.remove(names[-1])
    live.remove(names[-1])
    assert (len(live), len(live._profiles)) == (0, 0)
    live.took([Tightening(b"p" * 32, b"", Less((0, 0, 0)))])


def test_what_two_reviews_took_from_one_session_adds_up() -> None:
    """The later loss does not undo the earlier one."""
    floor = Floor()
    floor.session()
    name = floor.session(Subject("b", "algorithm", ALGORITHM.roles, "rates"))
    for operation in ("submit", "replace"):
        floor.review(forbid(operation, 'principal == Subject::"b"'))
    assert floor.left(name).allowed[0] == CANCEL
