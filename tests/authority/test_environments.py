"""A session of one environment is of no use in another, however it is come by."""

from __future__ import annotations

from typing import Any

import pytest

import ztsession as zts
from ztsession.errors import ConfigurationError, HandshakeError
from ztsession.policy.grant import Grant

LAB = """
[segments.lab]
environment = "test"
[segments.lab.operations.submit]
effect = "risk-increasing"
"""


@pytest.fixture
def house(house: Any) -> Any:
    catalog = house.rules / "catalog.toml"
    catalog.write_text(catalog.read_text() + LAB)
    policy = house.rules / "trading.cedar"
    policy.write_text(policy.read_text() + 'permit (principal, action in Action::"lab.*", resource);\n')
    return house


def environments(authority: zts.Authority, session: zts.Session) -> set[str]:
    return {Grant.from_bytes(grant).environment for grant in authority.session(session.id).grants}


def test_a_session_is_of_one_environment(house: Any) -> None:
    """Whoever asks for segments of two environments at once gets a session of neither."""
    authority = house.authority()
    with pytest.raises(HandshakeError):
        house.connect(authority, scopes=["orders.*", "lab.*"])
    assert authority.sessions() == []
    for scopes, environment in ((["orders.*", "md.*"], "prod"), (["lab.*"], "test")):
        session = house.connect(authority, scopes=scopes)
        assert environments(authority, session) == {environment}


@pytest.mark.parametrize(("first", "then"), [("lab.*", "orders.*"), ("orders.*", "lab.*")])
def test_K9_no_renewal_and_no_step_up_leads_out_of_the_environment(house: Any, first: str, then: str) -> None:
    """A session goes on in the environment in which it began; its own scopes it may renew."""
    authority = house.authority()
    session = house.connect(authority, scopes=[first])
    with pytest.raises(HandshakeError):
        session.renew(scopes=[then])
    with pytest.raises(HandshakeError):
        session.step_up(posture=house.device, scopes=[then])
    with pytest.raises(HandshakeError):
        session.renew(scopes=[first, then])
    began = environments(authority, session)
    assert environments(authority, session.renew(scopes=[first])) == began


def test_a_test_sessions_ticket_is_of_no_use_in_production(house: Any) -> None:
    """A ticket of one environment opens nothing at a point of another, even for segments of one name."""
    authority = house.authority()
    orders, lab = house.point(authority), house.point(authority, "lab")
    session = house.connect(authority, scopes=["lab.*"])
    with pytest.raises(zts.ZtsError):
        session.install(orders, "orders")
    assert session.install(lab, "lab").sign("lab.submit", b"x")


def test_a_point_that_was_told_its_environment_guards_no_other(house: Any) -> None:
    """A service that was deployed to production with the segment of a test does not start."""
    authority = house.authority()
    with pytest.raises(ConfigurationError, match="environment 'test', expected 'prod'"):
        house.point(authority, "lab", environment="prod")
    house.point(authority, "lab", environment="test")
