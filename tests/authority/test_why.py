"""Why a live session may or may not do an operation, from what an Authority keeps of it."""

from __future__ import annotations

import time
from typing import Any

import pytest

import ztsession as zts
from ztsession.authority.judged import Basis
from ztsession.authority.why import explain_session
from ztsession.errors import ConfigurationError, EvidenceError, WireError
from ztsession.policy.explanation import Explanation, Need

LAB = """
[segments.lab]
environment = "test"
[segments.lab.operations.submit]
effect = "risk-increasing"
assurance = 3
"""


def why(authority: zts.Authority, session: Any, operation: str, risk: str = "low") -> Explanation:
    record = authority.session(session.id)
    return explain_session(authority.decider, record, record.basis, operation, risk=risk, now=time.time())


def first_place(told: Explanation) -> str:
    return told.deciding[0].place


def test_a_session_is_explained_by_what_it_has_shown(house: Any) -> None:
    """The identity, the device and the assurance are those that were judged at the handshake."""
    authority = house.authority()
    session = house.connect(authority)
    told = why(authority, session, "orders.submit")
    assert (told.subject, told.operation, told.outcome) == ("algo-7", "orders.submit", "allowed")
    assert told.assurance == authority.session(session.id).assurance == 2
    assert told.modes == ("NORMAL",)
    assert first_place(told) == "trading.cedar:2"
    assert why(authority, session, "orders.cancel", "medium").modes == ("NORMAL", "RESTRICTED")


def test_a_step_up_is_told_by_the_sessions_assurance(house: Any) -> None:
    """What the grant marks as step-up is one here, with the level that is missing."""
    authority = house.authority()
    told = why(authority, house.connect(authority), "orders.block-trade")
    assert told.outcome == "step-up"
    assert told.needs == (Need(assurance=3),)


def test_risk_is_part_of_the_answer(house: Any) -> None:
    """What does not run at this risk is denied, and less risk would help."""
    authority = house.authority()
    told = why(authority, house.connect(authority), "orders.submit", "medium")
    assert told.outcome == "denied"
    assert told.needs == (Need(risk="low"),)


def test_the_posture_is_the_one_that_was_appraised_last(house: Any) -> None:
    """A policy on posture is answered by the session's own, not as if nothing were known."""
    policy = house.rules / "trading.cedar"
    policy.write_text(
        policy.read_text()
        + 'forbid (principal, action == Action::"orders.amend", resource)'
        + 'unless { context.posture.device == "good" && context.posture.kernel == "good" };'
    )
    authority = house.authority()
    told = why(authority, house.connect(authority), "orders.amend")
    found = dict(told.failed[0].conditions[0].found)
    assert found == {"context.posture.device": "good", "context.posture.kernel": "unknown"}
    assert told.needs == (Need(posture=("kernel",)),)


@pytest.mark.parametrize("scopes", [["md.*"], ["orders.cancel"]])
def test_what_the_session_did_not_ask_for_is_said_first(house: Any, scopes: list[str]) -> None:
    """Whatever the policies permit, a session has no more than it asked for; to ask for it would help."""
    authority = house.authority()
    session = house.connect(authority, scopes=scopes)
    told = why(authority, session, "orders.submit")
    assert (told.outcome, told.modes, first_place(told)) == ("denied", (), "scopes")
    assert told.needs == (Need(scope="orders.submit"),)
    assert told.needs[0].kinds == ("scope",)
    first, *_, last = told.text().splitlines()
    assert first == "orders.submit is denied to algo-7: the session did not ask for it"
    assert last == "    in a session that asked for orders.submit"
    assert why(authority, session, scopes[0].replace("*", "snapshot")).outcome == "allowed"


def test_to_ask_for_it_is_not_said_to_suffice_where_it_does_not(house: Any) -> None:
    """Where the policies refuse as well, both are needed, or nothing helps."""
    authority = house.authority()
    session = house.connect(authority, scopes=["md.*"])
    told = why(authority, session, "orders.block-trade")
    assert told.needs == (Need(assurance=3, scope="orders.block-trade"),)
    policy = house.rules / "trading.cedar"
    policy.write_text(policy.read_text() + 'forbid (principal, action == Action::"orders.submit", resource);')
    authority.reload()
    assert why(authority, session, "orders.submit").needs == ()


def test_another_environment_takes_another_session(house: Any) -> None:
    """No scope and no step-up leads out of the session's environment."""
    catalog, policy = house.rules / "catalog.toml", house.rules / "trading.cedar"
    catalog.write_text(catalog.read_text() + LAB)
    policy.write_text(policy.read_text() + 'permit (principal, action in Action::"lab.*", resource);\n')
    authority = house.authority()
    told = why(authority, house.connect(authority), "lab.submit")
    assert (told.outcome, first_place(told)) == ("denied", "environment")
    assert told.needs == (Need(assurance=3, scope="lab.submit", environment="test"),)
    assert told.text().splitlines()[-1] == (
        "    in a session of environment test and in a session that asked for lab.submit and with assurance 3"
    )
    lab = house.connect(authority, scopes=["lab.*"])
    assert first_place(why(authority, lab, "lab.submit")) == "catalog"


def test_the_policies_and_the_registry_are_those_in_force(house: Any) -> None:
    """After a reload the same session is explained by the new rules and by what the subject is now."""
    authority = house.authority()
    session = house.connect(authority)
    subjects = house.rules / "subjects.toml"
    subjects.write_text(subjects.read_text().replace('roles = ["trading"]', 'roles = ["reading"]'))
    authority.reload()
    told = why(authority, session, "orders.submit")
    assert told.outcome == "denied"
    assert dict(told.failed[0].conditions[0].found) == {"principal.roles": ("reading",)}
    assert told.needs == (Need(role="trading"),)


def test_a_basis_is_taken_as_bytes_or_read(house: Any) -> None:
    """Both give one answer; bytes that are none give an error, and no explanation."""
    authority = house.authority()
    record = authority.session(house.connect(authority).id)
    by_bytes, by_value = (
        explain_session(authority.decider, record, basis, "orders.submit", risk="low", now=1_790_000_000)
        for basis in (record.basis, Basis.from_bytes(record.basis))
    )
    assert by_bytes == by_value
    with pytest.raises(WireError):
        explain_session(authority.decider, record, b"no", "orders.submit", risk="low", now=1_790_000_000)


def test_what_is_not_there_is_an_error(house: Any) -> None:
    """An operation that the catalog has not, and a subject that is enrolled no longer, are told as such."""
    authority = house.authority()
    session = house.connect(authority)
    record = authority.session(session.id)
    for operation in ("orders.nothing", "nothing.submit", "orders", ""):
        with pytest.raises(ConfigurationError):
            why(authority, session, operation)
    (house.rules / "subjects.toml").write_text("")
    authority.reload()
    with pytest.raises(EvidenceError, match="no longer enrolled"):
        explain_session(authority.decider, record, record.basis, "orders.submit", risk="low", now=time.time())
