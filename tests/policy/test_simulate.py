"""New policies on sessions that were granted by the old ones: who gains, who loses, and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from ztsession.authority.recorded import Tally, logged_sessions
from ztsession.errors import ConfigurationError
from ztsession.policy.attributes import SubjectAttributes
from ztsession.policy.catalog import Catalog
from ztsession.policy.engine import PolicyEngine, PolicySet
from ztsession.policy.outcome import Outcome, outcomes
from ztsession.policy.simulate import Difference, Held, Recorded, Simulation, simulate
from ztsession.posture.items import ITEMS

NOTHING, STEP_UP, NORMAL, RESTRICTED, SUSPENDED = Outcome
GOOD = dict.fromkeys(ITEMS, "good")
ALGORITHM = SubjectAttributes("algo-7", "algorithm", ("trading",), "rates")
CATALOG = """\
version = 1
[segments.orders.operations.submit]
effect = "risk-increasing"
[segments.orders.operations.cancel]
effect = "risk-reducing"
always_allowed = true
"""
PERMIT = "permit (principal, action, resource);\n"


def policies(text: str, catalog: str = CATALOG) -> PolicySet:
    return PolicySet({"a.cedar": text}, Catalog.from_text(catalog))


def session(**changed: Any) -> Recorded:
    """One that was granted both operations, by ``PERMIT``."""
    made = Recorded(
        subject="algo-7",
        identity=ALGORITHM,
        identity_before=ALGORITHM,
        device="host-1",
        posture=GOOD,
        assurance=2,
        scopes=("orders.*",),
        at=1_790_000_000.0,
        held=(Held("orders", (0b11, 0b10, 0b10), 0),),
    )
    return replace(made, **changed)


def changes(result: Simulation) -> dict[str, tuple[Outcome, Outcome]]:
    return {each.operation: (each.before, each.after) for each in result.differences}


# ---- What an Authority recorded


def edit(house: Any, old: str, new: str) -> None:
    file = house.rules / "trading.cedar"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))


def nothing(house: Any) -> None:
    edit(house, "// People read", "// Persons read")


def gain(house: Any) -> None:
    # block-trade wants assurance 3 of a session that has 2: the catalog is eased.
    catalog = house.rules / "catalog.toml"
    catalog.write_text(catalog.read_text().replace("assurance = 3", "assurance = 2"))


def lose(house: Any) -> None:
    edit(house, 'action in [Action::"orders.*", Action::"md.*"]', 'action in [Action::"orders.*"]')


def both(house: Any) -> None:
    gain(house)
    lose(house)


@pytest.mark.parametrize(
    ("change", "gained", "lost"),
    [
        (nothing, {}, {}),
        (gain, {"orders.block-trade": (STEP_UP, NORMAL)}, {}),
        (lose, {}, {"md.snapshot": (RESTRICTED, NOTHING), "md.subscribe": (RESTRICTED, NOTHING)}),
        (
            both,
            {"orders.block-trade": (STEP_UP, NORMAL)},
            {"md.snapshot": (RESTRICTED, NOTHING), "md.subscribe": (RESTRICTED, NOTHING)},
        ),
    ],
)
def test_sessions_of_an_authoritys_log_by_edited_policies(
    house: Any, change: Callable[[Any], None], gained: dict[str, Any], lost: dict[str, Any]
):
    """What an edit gives and takes is told for each operation, and the same against the old directory."""
    authority = house.authority(posture_required=True)
    for _ in range(3):
        house.connect(authority)
    authority.close()
    old = PolicyEngine(house.rules).current
    change(house)
    new = PolicyEngine(house.rules).current
    for against in (None, old):
        log = logged_sessions([house.state / "audit.jsonl"], Tally())
        result = simulate(new, log, against)
        assert (result.sessions, result.cases) == (3, 1)
        assert changes(replace(result, differences=result.gains)) == gained
        assert changes(replace(result, differences=result.losses)) == lost
        assert {each.sessions for each in result.differences} <= {3}


def test_by_the_same_policies_nothing_changes_in_any_mode(house: Any):
    """What the Authority recorded is what its own policies answer, bit by bit, at the recorded time."""
    (house.rules / "trading.cedar").write_text(
        'permit (principal, action in Action::"md.*", resource) when { context.risk != "high" };\n'
        'permit (principal, action, resource) when { context.assurance >= 3 || context.risk == "low" };\n'
    )
    house.connect(house.authority())
    [recorded] = logged_sessions([house.state / "audit.jsonl"], Tally())
    assert {held.segment for held in recorded.held} == {"md", "orders"}
    result = simulate(PolicyEngine(house.rules).current, [recorded])
    assert (result.differences, result.failures) == ((), ())


# ---- What a change comes to


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (PERMIT, {}),
        ("permit (principal, action, resource) when { context.assurance >= 2 };", {}),
        (
            "permit (principal, action, resource) when { context.assurance >= 3 };",
            {"orders.submit": (NORMAL, STEP_UP), "orders.cancel": (SUSPENDED, STEP_UP)},
        ),
        (
            'permit (principal, action, resource) when { context.risk != "high" };',
            {"orders.cancel": (SUSPENDED, RESTRICTED)},
        ),
        (
            'permit (principal, action, resource) when { context.risk == "low" };',
            {"orders.cancel": (SUSPENDED, NORMAL)},
        ),
        (
            'permit (principal, action == Action::"orders.submit", resource);',
            {"orders.cancel": (SUSPENDED, NOTHING)},
        ),
    ],
)
def test_an_outcome_is_the_worst_mode_in_which_an_operation_runs(text: str, expected: dict[str, Any]):
    """Losing a mode is a loss like losing the operation, and it is named."""
    result = simulate(policies(text), [session()])
    assert changes(result) == expected
    assert result.gains == ()
    # Against the old policies it is the same, and the other way round it is a gain.
    assert changes(simulate(policies(text), [session()], policies(PERMIT))) == expected
    back = simulate(policies(PERMIT), [session()], policies(text))
    assert changes(back) == {name: (after, before) for name, (before, after) in expected.items()}
    assert back.losses == ()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('permit (principal, action == Action::"orders.cancel", resource);', "no policy permits it"),
        (
            f'{PERMIT}forbid (principal, action == Action::"orders.submit", resource);',
            "forbidden by a.cedar:2",
        ),
    ],
)
def test_a_loss_says_why(text: str, why: str):
    """Beside each loss stands which policy is behind it, or that none is."""
    result = simulate(policies(text), [session()])
    assert {each.operation: each.because for each in result.losses} == {"orders.submit": why}


@pytest.mark.parametrize(
    ("demand", "why"),
    [
        ("assurance = 3", "the catalog wants assurance 3"),
        ('posture = ["kernel", "boot"]', "the catalog wants good boot"),
    ],
)
def test_a_loss_by_the_catalog_says_so(demand: str, why: str):
    """What the policies still permit and the catalog no longer does is told as the catalog's."""
    catalog = CATALOG.replace('effect = "risk-increasing"', f'effect = "risk-increasing"\n{demand}')
    result = simulate(policies(PERMIT, catalog), [session(posture=GOOD | {"boot": "bad"})])
    assert {each.operation: each.because for each in result.losses} == {"orders.submit": why}


def test_a_loss_in_a_worse_mode_says_why_it_was_lost_there():
    """The reason is that of the mode that was lost, not of the one that is left."""
    text = PERMIT + 'forbid (principal, action, resource) when { context.risk == "high" };'
    [loss] = simulate(policies(text), [session()]).losses
    assert loss.because == "forbidden by a.cedar:2 at high risk"
    eased = CATALOG.replace("always_allowed = true", 'highest_risk = "low"')
    [loss] = simulate(policies(PERMIT, eased), [session()]).losses
    assert loss.because == "the catalog lets it run up to low risk"


def test_a_gain_says_which_policy_gives_it():
    """Beside each gain stands the permit, and what it wants first."""
    [gain] = simulate(policies(PERMIT), [session(held=(Held("orders", (2, 2, 2), 0),))]).gains
    assert (gain.operation, gain.because) == ("orders.submit", "permitted by a.cedar:1")
    later = policies(
        "permit (principal, action, resource) when { context.assurance > 2 };",
        CATALOG.replace("always_allowed = true", ""),
    )
    told = {each.operation: each.because for each in simulate(later, [session(held=())]).gains}
    assert told == dict.fromkeys(
        ("orders.submit", "orders.cancel"), "permitted by a.cedar:1, with more assurance"
    )


def test_a_policy_that_fails_is_a_loss_and_told():
    """Cedar's failure denies; here that is seen before anybody is denied."""
    text = PERMIT + (
        'forbid (principal, action == Action::"orders.submit", resource)\n'
        "when { context.assurance * 9223372036854775807 < 0 };"
    )
    [loss] = simulate(policies(text), [session()]).losses
    assert (loss.operation, loss.after) == ("orders.submit", NOTHING)
    assert loss.because.startswith("a policy fails: ")
    assert "a.cedar:2" in loss.because


def test_a_session_that_could_not_be_asked_for_loses_everything_and_is_counted():
    """Segments that come to lie in two environments can be asked for by no session: that is a failure."""
    two = CATALOG + '[segments.lab]\nenvironment = "test"\n[segments.lab.operations.run]\neffect = "read"\n'
    sessions = [session(scopes=("orders.*", "lab.*"))] * 2
    result = simulate(policies(PERMIT, two), sessions)
    [failure] = result.failures
    assert (failure.subject, failure.of, failure.sessions) == ("algo-7", "new", 2)
    assert "prod, test" in failure.error
    assert changes(result) == {"orders.submit": (NORMAL, NOTHING), "orders.cancel": (SUSPENDED, NOTHING)}
    assert simulate(policies(PERMIT, two), [session()]).failures == ()


def test_what_is_on_one_side_only_is_nothing_on_the_other():
    """Operations and segments that come or go are gains and losses of what was or is granted in them."""
    more = CATALOG + '[segments.md.operations.subscribe]\neffect = "read"\n'
    less = CATALOG.partition("[segments.orders.operations.cancel]")[0]
    asking = session(scopes=("orders.*", "md.*"))
    assert changes(simulate(policies(PERMIT, more), [asking])) == {"md.subscribe": (NOTHING, RESTRICTED)}
    named = replace(
        asking, held=(replace(asking.held[0], numbers=(("orders.submit", 0), ("orders.cancel", 1))),)
    )
    gone = {"orders.cancel": (SUSPENDED, NOTHING)}
    assert changes(simulate(policies(PERMIT, less), [named])) == gone
    assert changes(simulate(policies(PERMIT, less), [asking], policies(PERMIT))) == gone
    # A log has no names: what the table does not name any more is told by its number.
    [loss] = simulate(policies(PERMIT, less), [asking]).losses
    assert (loss.operation, loss.because) == ("orders.#1", "not in the catalog")
    other = 'version = 1\n[segments.md.operations.subscribe]\neffect = "read"\n'
    lost = simulate(policies(PERMIT, other), [asking]).losses
    assert [each.operation for each in lost] == ["orders.#0", "orders.#1"]


def test_a_subject_that_is_no_longer_enrolled_loses_everything():
    """Whoever the new directory does not know gets nothing, and that is the reason told."""
    result = simulate(policies(PERMIT), [session(identity=None)])
    assert {each.because for each in result.losses} == {"not enrolled with this credential"}
    assert len(result.losses) == 2
    assert len(simulate(policies(PERMIT), [session(identity_before=None)], policies(PERMIT)).gains) == 2


# ---- How often it is asked


def test_equal_questions_are_asked_once_and_counted():
    """Sessions differ as a case only in what the policies mention; each subject is still told apart."""
    by_time = PERMIT + "forbid (principal, action, resource) when { context.time.hhmm < 1200 };"
    morning, evening = 1_790_064_000.0, 1_790_100_000.0
    many = [session(at=morning), session(at=morning + 60), session(at=evening)]
    many += [session(subject="algo-8", identity=replace(ALGORITHM, subject="algo-8"))]
    assert (simulate(policies(PERMIT), many).cases, simulate(policies(by_time), many).cases) == (2, 3)
    result = simulate(policies(by_time), many)
    assert {(each.subject, each.sessions) for each in result.losses} == {("algo-7", 2)}
    assert result.sessions == 4


def test_what_was_held_tells_cases_apart_unless_the_old_policies_are_asked():
    """Two sessions with the same question and other grants are two cases against the past only."""
    two = [session(), session(held=(Held("orders", (3, 3, 2), 0),))]
    assert simulate(policies(PERMIT), two).cases == 2
    assert simulate(policies(PERMIT), two, policies(PERMIT)).cases == 1


def test_more_cases_than_the_bound_are_refused(monkeypatch: pytest.MonkeyPatch):
    """What does not fit is an error, never a part that passes for the whole."""
    monkeypatch.setattr("ztsession.policy.simulate.CASES_MAX", 2)
    three = [session(assurance=level) for level in (1, 2, 3)]
    assert simulate(policies(PERMIT), three[:2]).cases == 2
    with pytest.raises(ConfigurationError, match="more than 2 different cases"):
        simulate(policies(PERMIT), three)


def test_differences_come_in_the_order_of_subjects_and_operations():
    """Whatever order the sessions came in, the result is the same."""
    some = [session(subject=name, identity=replace(ALGORITHM, subject=name)) for name in ("b", "a", "c")]
    closed = policies('permit (principal == Subject::"nobody", action, resource);')
    result = simulate(closed, some)
    assert result == simulate(closed, reversed(some))
    told = [(each.subject, each.operation) for each in result.differences]
    assert told == sorted(told)
    assert isinstance(result.differences[0], Difference)


@pytest.mark.parametrize(
    ("allowed", "step_up", "expected"),
    [
        ((0, 0, 0), 0, None),
        ((1, 0, 0), 0, NORMAL),
        ((1, 1, 0), 0, RESTRICTED),
        ((1, 1, 1), 0, SUSPENDED),
        ((1, 0, 0), 1, STEP_UP),
        ((0, 1, 1), 0, None),
        ((2, 2, 2), 2, None),
    ],
)
def test_the_outcome_of_bitmaps(allowed: tuple[int, int, int], step_up: int, expected: Outcome | None):
    """From nothing over step-up to all modes; bits of others do not count."""
    assert outcomes({"x.y": 0}, allowed, step_up).get("x.y") is expected


def test_the_words_and_their_order():
    """nothing < step-up < NORMAL < RESTRICTED < SUSPENDED."""
    assert [each.word for each in sorted(Outcome)] == [
        "nothing",
        "step-up",
        "NORMAL",
        "RESTRICTED",
        "SUSPENDED",
    ]
