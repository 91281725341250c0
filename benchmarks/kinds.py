"""A firm with many live sessions of a hundred kinds: what a change of its rules has to reach.

Each kind is a subject with roles of its own, and so a decision of its own; its sessions are on different
devices. Handshakes for all of them would take minutes, so the Authority's database is filled with what they
would have left there, and the Authority is opened on it. Tickets, installation and enforcement point are the
real ones.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

import ztsession
from ztsession.authority.judged import Basis
from ztsession.client.installed import InstalledSession
from ztsession.client.installing import install_ticket
from ztsession.identity.subjects import ed25519_credential
from ztsession.policy.attributes import SubjectAttributes
from ztsession.policy.catalog import Catalog
from ztsession.policy.compile import compile_grant
from ztsession.policy.engine import PolicySet
from ztsession.policy.grant import Grant
from ztsession.posture.appraisal import Appraisal
from ztsession.posture.items import GOOD, ITEMS
from ztsession.posture.keys import fingerprint, statement_key
from ztsession.store.records import SessionRecord
from ztsession.store.sqlite import SqliteStore
from ztsession.tickets.ticket import TicketBody, seal_ticket
from ztsession.wire.signature import SeedSigner

__all__ = ["KINDS", "ManySessions"]

KINDS = 100
#: Each kind has those of these operations whose bits its number has, and all have cancel and status.
_BY_ROLE = 7
_DEVICES_MAX = 1000


class ManySessions:
    """``count`` sessions of ``KINDS`` kinds, live at an Authority and installed at a point of its process."""

    def __init__(self, count: int, say: Callable[[str], None]) -> None:
        self.count, self._opened = count, ExitStack()
        root = Path(self._opened.enter_context(TemporaryDirectory(prefix="ztsession-bench-")))
        self.rules, state = root / "policy", root / "state"
        self.rules.mkdir()
        devices = self._write_rules(min(_DEVICES_MAX, -(-count // KINDS)))
        ztsession.Authority.open(state, policy=self.rules).close()
        grants = list(self._grants(devices))
        say(f"storing {count:,} sessions")
        with SqliteStore(state / "authority.sqlite") as store, store.transaction():
            for grant in grants:
                credential = ed25519_credential(self.keys[grant.subject])
                store.put_session(_record(grant, credential, devices[grant.device]))
        say(f"opening an Authority with {count:,} live sessions")
        start = time.perf_counter()
        self.authority = self._opened.enter_context(ztsession.Authority.open(state, policy=self.rules))
        self.opening_s = time.perf_counter() - start
        self.point = self._opened.enter_context(
            ztsession.EnforcementPoint("orders", authority=self.authority, capacity=count + 1)
        )
        #: One client of each kind; the others live elsewhere in the field.
        self.clients = self._install(grants, say)

    def add_rule(self, text: str) -> None:
        """Write one more policy."""
        with (self.rules / "orders.cedar").open("a", encoding="utf-8") as file:
            file.write(text + "\n")

    def _write_rules(self, devices: int) -> dict[str, str]:
        names = [f"trade-{n}" for n in range(_BY_ROLE)] + ["cancel", "status"]
        rows = "".join(f'[segments.orders.operations.{name}]\neffect = "risk-reducing"\n' for name in names)
        (self.rules / "catalog.toml").write_text("version = 1\n" + rows)
        policies = [
            f'permit (principal, action == Action::"orders.trade-{n}", resource)'
            f' when {{ principal.roles.contains("role-{n}") }};'
            for n in range(_BY_ROLE)
        ]
        policies += [
            f'permit (principal, action == Action::"orders.{name}", resource);' for name in names[_BY_ROLE:]
        ]
        (self.rules / "orders.cedar").write_text("\n".join(policies) + "\n")
        self.keys = {f"algo-{kind}": SeedSigner(os.urandom(32)).public_key for kind in range(KINDS)}
        subjects = [
            f'[subjects."{name}"]\nkind = "algorithm"\nroles = {_roles(kind)!r}\npublic_key = "{key.hex()}"\n'
            for kind, (name, key) in enumerate(self.keys.items())
        ]
        (self.rules / "subjects.toml").write_text("".join(subjects))
        keys = {f"host-{n}": SeedSigner(os.urandom(32)).public_key for n in range(devices)}
        (self.rules / "devices.toml").write_text(
            "".join(f'[devices."{name}"]\npublic_key = "{key.hex()}"\n' for name, key in keys.items())
        )
        return {name: fingerprint(statement_key(key)) for name, key in keys.items()}

    def _grants(self, devices: dict[str, str]) -> Iterator[Grant]:
        catalog = Catalog.load(self.rules / "catalog.toml")
        policy, posture = PolicySet.load(self.rules, catalog), dict.fromkeys(ITEMS, GOOD)
        names, now = list(devices), int(time.time())
        for kind in range(KINDS):
            made = compile_grant(
                policy,
                catalog,
                "orders",
                SubjectAttributes(f"algo-{kind}", "algorithm", tuple(_roles(kind))),
                device=names[0],
                posture=posture,
                posture_digest=Appraisal(posture).digest,
                assurance=3,
                session=bytes(16),
                scopes=["orders.*"],
                issued_at=now,
            )
            if made is None:
                raise RuntimeError(f"kind {kind} was granted nothing")
            for number in range(kind, self.count, KINDS):
                device = names[number // KINDS % len(names)]
                yield dataclasses.replace(made, session=os.urandom(16), device=device)

    def _install(self, grants: list[Grant], say: Callable[[str], None]) -> list[InstalledSession]:
        signer, to = self.authority.keys.signing, self.authority.keys.segment("orders").public
        clients: dict[str, InstalledSession] = {}
        for number, grant in enumerate(grants):
            if number % 20_000 == 0:
                say(f"installing session {number + 1:,} of {self.count:,}")
            ends_at, secret = grant.issued_at + grant.lifetime_s, os.urandom(32)
            body = TicketBody(grant.encoded, secret, grant.issued_at, "authority", ends_at)
            client = install_ticket(
                self.point, grant, seal_ticket(body, "orders", to, ends_at, signer), secret
            )
            if clients.setdefault(grant.subject, client) is not client:
                client.close()
        return list(clients.values())

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close everything, and remove it."""
        self._opened.close()


def _roles(kind: int) -> list[str]:
    return [f"role-{n}" for n in range(_BY_ROLE) if kind + 1 >> n & 1]


def _record(grant: Grant, credential: str, device_key: str) -> SessionRecord:
    ends_at = grant.issued_at + grant.lifetime_s
    basis = Basis(
        credential=credential,
        until=0,
        identity_assurance=1,
        factor="",
        factor_assurance=0,
        authenticated_at=grant.issued_at,
        scopes=["orders.*"],
        handshake_hash=bytes(32),
        nonce=bytes(32),
        mark=0,
        device_key=device_key,
        posture=dict.fromkeys(ITEMS, GOOD),
        environment=grant.environment,
        network="",
        measured={},
        posture_at=grant.issued_at,
        keys=[],
    )
    return SessionRecord(
        id=grant.session,
        subject=grant.subject,
        device=grant.device,
        static_key=bytes(32),
        assurance=grant.assurance,
        mode=0,
        started_at=grant.issued_at,
        expires_at=ends_at,
        grants=(grant.encoded,),
        basis=basis.to_bytes(),
    )
