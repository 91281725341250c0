"""Risk as files of before version 4 hold it, brought to the form of today.

There it was the worst signal alone that decided, and what stands against subjects and devices was one lump.
None of it may be lost: a stolen credential that is forgotten with an update is a stolen credential that works
again.
"""

from __future__ import annotations

import sqlite3
from typing import Any, Final

from ztsession.errors import StoreError, WireError
from ztsession.wire import canonical

__all__ = ["RISK_CHANGED", "renew_risk"]

#: The version from which on risk has today's form.
RISK_CHANGED: Final = 4

_SESSION_MAX_BYTES: Final = 1 << 18
_STANDING_MAX_BYTES: Final = 1 << 26
_SIGNAL_MAX_BYTES: Final = 4096
_STATE: Final = "standing-risk"
#: What a session's evidence was not known to be before.
_NOT_KEPT: Final[dict[str, Any]] = {"network": "", "measured": {}, "posture_at": 0, "keys": []}


def renew_risk(connection: sqlite3.Connection) -> None:
    """Rewrite it inside the transaction that is open; StoreError if some of it cannot be read."""
    try:
        _renew_sessions(connection)
        _renew_standing(connection)
    except (WireError, KeyError, TypeError, ValueError) as error:
        raise StoreError(f"the risk that it holds is damaged: {error}") from None


def _renew_sessions(connection: sqlite3.Connection) -> None:
    for session, mode, risk, basis in connection.execute(
        "SELECT id, mode, risk, basis FROM sessions"
    ).fetchall():
        if risk:
            old = canonical.decode(risk, max_bytes=_SESSION_MAX_BYTES)
            new = {"mode": mode, "rated": 0, "suspended": False, "ended": "", "network": ""}
            risk = canonical.encode({**old, **new, "unresolved": [_row(row) for row in old["unresolved"]]})
        if basis:
            shown = canonical.decode(basis, max_bytes=_SESSION_MAX_BYTES)
            basis = canonical.encode({**_NOT_KEPT, **shown})
        connection.execute("UPDATE sessions SET risk = ?, basis = ? WHERE id = ?", (risk, basis, session))


def _renew_standing(connection: sqlite3.Connection) -> None:
    found = connection.execute("SELECT data FROM state WHERE name = ?", (_STATE,)).fetchone()
    if found is None:
        return
    old = canonical.decode(found[0], max_bytes=_STANDING_MAX_BYTES)
    against: dict[tuple[str, str], list[Any]] = {}
    for row in map(_row, old["standing"]):
        against.setdefault(_target(row[3]), []).append(row)
    for (target, name), rows in against.items():
        form = {"v": 1, "kind": "standing-risk", "target": target, "name": name}
        data = canonical.encode({**form, "signals": rows, "since_us": 0, "why": ""})
        connection.execute("INSERT INTO standing (target, name, data) VALUES (?, ?, ?)", (target, name, data))
    clock = canonical.encode([old["arrived"], 0])
    connection.execute("INSERT INTO state (name, data) VALUES (?, ?)", ("risk-clock", clock))
    connection.execute("DELETE FROM state WHERE name = ?", (_STATE,))


def _row(row: list[Any]) -> list[Any]:
    number, signal = row
    values = canonical.decode(signal, max_bytes=_SIGNAL_MAX_BYTES)
    # It has no moment and no points: by itself it does what it always did.
    return [number, 0, 0, canonical.encode({"network": "", "withdraws": False, **values})]


def _target(signal: bytes) -> tuple[str, str]:
    values = canonical.decode(signal, max_bytes=_SIGNAL_MAX_BYTES)
    return ("subject", values["subject"]) if values["subject"] else ("device", values["device"])
