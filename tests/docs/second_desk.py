"""Whom the second client speaks for and with: a trader's desk, and the house that knows it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlparse

import pytest
from other_calls import Installed
from other_noise import BrokenError
from other_session import Session, Who, connect, totp

import ztsession as zts
from ztsession.mfa.factors import Factors
from ztsession.mfa.settings import MfaSettings
from ztsession.store.enrolments import SqliteEnrolments

CATALOG = """\
version = 1
[segments.orders.operations.submit]
effect = "risk-increasing"
assurance = 2
[segments.orders.operations.cancel]
effect = "risk-reducing"
"""


class Desk:
    """A trader with a key, a host and an authenticator app; and the Authority that knows all three."""

    def __init__(self, house: Any, *, mfa: bool = False, **options: Any) -> None:
        (house.rules / "catalog.toml").write_text(CATALOG)
        for policy in house.rules.glob("*.cedar"):
            policy.unlink()
        (house.rules / "all.cedar").write_text("permit (principal, action, resource);\n")
        identity = zts.Ed25519Identity.generate("trader-1")
        entry = identity.registry_entry("human") + ("mfa = true\n" if mfa else "")
        (house.rules / "subjects.toml").write_text(entry)
        self.authority = house.authority(**options)
        store = SqliteEnrolments(self.authority._store)
        factors = Factors(store, self.authority.keys.sealing("mfa"), MfaSettings())
        self.secret = parse_qs(urlparse(factors.enrol_totp("trader-1").uri).query)["secret"][0]
        factors.confirm_totp("trader-1", totp(self.secret, time.time()))
        seeds = identity.signing_seed, identity.static_private
        self.who = Who("trader-1", *seeds, "host-1", house.device.signing_seed, self.authority.root)
        self.exchange = self.fresh()

    def code(self) -> str:
        """Of the step after the one that confirmed: a step is good once."""
        return totp(self.secret, time.time() + 30)

    def fresh(self) -> Callable[[bytes], bytes]:
        """Another connection."""
        exchange: Callable[[bytes], bytes] = self.authority.connection().exchange
        return exchange

    def connect(self, **options: Any) -> Session:
        return connect(self.exchange, self.who, ["orders.*"], **options)

    def live(self) -> list[bytes]:
        return [record.id for record in self.authority.sessions()]


class Altered:
    """A line on which one bit of one answer is turned over."""

    def __init__(self, inner: Callable[[bytes], bytes], answer: int, place: float) -> None:
        self.inner, self.left, self.place = inner, answer, place
        self.said = list[bytes]()

    def __call__(self, sent: bytes) -> bytes:
        self.said.append(sent)
        answer, self.left = self.inner(sent), self.left - 1
        if self.left == -1:
            at = int(self.place * (len(answer) - 1))
            return answer[:at] + bytes([answer[at] ^ 1]) + answer[at + 1 :]
        return answer


def call(point: Any, session: Installed, operation: str) -> None:
    """One call with its reply, and a reply that was not made for it."""
    view = point.verifier(operation)(session.sign(operation, b"body"), b"body")
    assert view.session == session.grant["session"]
    reply = point.sign_reply(view, b"done")
    with pytest.raises(BrokenError):
        session.check(reply, b"undone")
    session.check(reply, b"done")
    with pytest.raises(BrokenError, match="repeated"):
        session.check(reply, b"done")
