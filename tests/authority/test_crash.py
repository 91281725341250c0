"""Killed at any moment, an Authority comes back with every session and every revocation that it had told
of.
"""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest

import ztsession as zts


def test_kill_9_loses_no_session_no_mode_and_no_revocation(house: Any, separate: Any):
    """Over some cycles of grant, signal, revoke and SIGKILL, all that was answered is still true
    afterwards.
    """
    live, suspended, revoked = set[bytes](), set[bytes](), list[bytes]()
    for cycle in range(6):
        with separate() as process, process.transport() as transport:
            sessions = [house.connect(process, transport) for _ in range(3)]
            process.tell("signal", f"cycle-{cycle}", "HIGH", sessions[0].id.hex())
            process.tell("revoke", sessions[1].id.hex())
            process.send(signal.SIGKILL)
        live |= {sessions[0].id, sessions[2].id}
        suspended.add(sessions[0].id)
        revoked.append(sessions[1].id)
        authority = house.authority()
        assert {record.id for record in authority.sessions()} == live
        assert {r.id for r in authority.sessions() if r.mode == zts.Mode.SUSPENDED} == suspended
        assert all(authority.explain(session).startswith("HIGH because") for session in suspended)
        assert sorted(authority._store.revocations(0)) == sorted(revoked)
        # A point that starts now knows all of it, too.
        with zts.EnforcementPoint("orders", authority=authority) as point:
            submit = point.verifier("orders.submit")
            held, good = (sessions[n].install(point, "orders") for n in (0, 2))
            with pytest.raises(zts.errors.ReauthRequired):
                submit(held.sign("orders.submit", b"x"), b"x")
            with pytest.raises(zts.errors.InstallationError):
                sessions[1].install(point, "orders")
            assert submit(good.sign("orders.submit", b"x"), b"x")
        authority.close()
    entries = [json.loads(line) for line in (house.state / "audit.jsonl").read_text().splitlines()]
    assert [entry["n"] for entry in entries] == list(range(1, len(entries) + 1))
    assert sum(entry["event"] == "session.revoked" for entry in entries) == 6
