"""Factors over a real database, by a clock that the test moves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pyotp
import pytest
from soft_authenticator import ORIGIN, RP

from ztsession.clock import FakeClock
from ztsession.mfa.factors import Factors
from ztsession.mfa.settings import MfaSettings
from ztsession.mfa.totp import TotpEvidence
from ztsession.store.enrolments import SqliteEnrolments
from ztsession.store.sqlite import SqliteStore

SETTINGS = MfaSettings(rp_id=RP, origins=(ORIGIN, "https://trading.example"), issuer="Example Desk")
KEY = bytes(range(32))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "authority.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    with SqliteStore(path) as opened:
        yield opened


@pytest.fixture
def enrolments(store: SqliteStore) -> SqliteEnrolments:
    return SqliteEnrolments(store)


@pytest.fixture
def factors(enrolments: SqliteEnrolments, clock: FakeClock) -> Factors:
    return Factors(enrolments, KEY, SETTINGS, clock=clock.time)


@pytest.fixture
def another(path: Path, clock: FakeClock) -> Iterator[Factors]:
    """The same factors through a connection of its own, as another process has them."""
    with SqliteStore(path) as opened:
        yield Factors(SqliteEnrolments(opened), KEY, SETTINGS, clock=clock.time)


@pytest.fixture
def app(factors: Factors, clock: FakeClock) -> pyotp.TOTP:
    """The authenticator app of ada, who has confirmed it one minute ago."""
    made = pyotp.parse_uri(factors.enrol_totp("ada").uri)
    assert isinstance(made, pyotp.TOTP)
    factors.confirm_totp("ada", made.at(clock.time()))
    clock.advance(60)
    return made


@pytest.fixture
def code(app: pyotp.TOTP, clock: FakeClock) -> Callable[..., bytes]:
    """Evidence with ada's code of now, or of some steps away."""
    return lambda steps=0: TotpEvidence(app.at(clock.time() + 30 * steps)).to_bytes()


@pytest.fixture
def wrong(app: pyotp.TOTP, clock: FakeClock) -> Callable[[], bytes]:
    """Evidence with a code that is not within the window."""

    def made() -> bytes:
        right = {app.at(clock.time() + 30 * steps) for steps in (-1, 0, 1)}
        return TotpEvidence(
            next(text for text in ("000000", "1" * 6, "2" * 6, "3" * 6) if text not in right)
        ).to_bytes()

    return made
