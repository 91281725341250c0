from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from ztsession.bus.change import CHANGE_MAX_BYTES, Change
from ztsession.errors import WireError
from ztsession.risk.levels import Mode
from ztsession.wire import canonical

SESSION, PROFILE, FULL = b"s" * 16, b"p" * 32, 2**64 - 1

CHANGES = [
    Change.set_mode(SESSION, Mode.RESTRICTED, number=1, sent_at=5),
    Change.set_mode(SESSION, Mode.NORMAL, number=2, sent_at=5),
    Change.revoke(SESSION, number=3, sent_at=5),
    Change.narrow(PROFILE, [FULL, 1, 0], number=2**63 - 1, sent_at=FULL),
    Change.narrow(PROFILE, [0, 0, 0], number=5, sent_at=5),
    Change.tighten(PROFILE, [FULL, FULL, FULL], FULL, session=SESSION, number=2**63 - 1, sent_at=FULL),
    Change.tighten(PROFILE, [0, 0, 0], 0, number=5, sent_at=5),
    Change.heartbeat(number=5, sent_at=5),
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.what)
def test_change_survives_its_own_bytes(change: Change) -> None:
    """Each kind of change reads back as it was, within the size bound."""
    data = change.to_bytes()
    assert Change.from_bytes(data) == change
    assert len(data) <= CHANGE_MAX_BYTES


def test_mode_travels_as_its_number() -> None:
    """The mode's enumeration and its number are the same change."""
    assert Change.set_mode(SESSION, Mode.SUSPENDED) == Change.set_mode(SESSION, 2)


def test_number_is_given_when_the_store_has_given_it() -> None:
    """A change is made without a number and numbered once; the rest stays."""
    change = Change.revoke(SESSION).numbered(7, sent_at=9)
    assert change == Change.revoke(SESSION, number=7, sent_at=9)


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("v", {"v": 2}),
        ("kind", {"kind": "grant"}),
        ("what", {"what": "widen"}),
        ("extra", {"extra": 0}),
        ("number", {"number": -1}),
        ("number", {"number": 2**63}),
        ("session", {"session": b"s" * 15}),
        ("session", {"session": b""}),
        ("profile", {"profile": PROFILE}),
        ("mode", {"mode": 3}),
        ("mode", {"mode": 4}),
        ("mode", {"mode": True}),
        ("allowed", {"allowed": [1, 0, 0]}),
        ("allowed", {"allowed": [0, 0]}),
        ("sent_at", {"sent_at": -1}),
        ("mode", {"what": "revoke"}),
        ("session", {"what": "heartbeat", "mode": 0}),
        ("session", {"what": "narrow", "mode": 0, "profile": PROFILE}),
        ("profile", {"what": "narrow", "mode": 0, "session": b""}),
        ("mode", {"what": "narrow", "session": b"", "profile": PROFILE}),
        ("profile", {"what": "tighten", "mode": 0}),
        ("step_up", {"what": "narrow", "mode": 0, "session": b"", "profile": PROFILE, "step_up": 1}),
        ("key", {"what": "tighten", "mode": 0, "profile": PROFILE, "key": PROFILE}),
    ],
)
def test_R5_malformed_change_is_refused(field: str, changes: dict[str, Any]) -> None:
    """A field that is wrong, unknown, or not of this kind of change refuses it and is named."""
    fields = canonical.decode(CHANGES[0].to_bytes(), max_bytes=CHANGE_MAX_BYTES)
    assert Change.from_bytes(canonical.encode(fields)) == CHANGES[0]
    with pytest.raises(WireError, match=field):
        Change.from_bytes(canonical.encode(fields | changes))


def test_wrong_change_cannot_be_made() -> None:
    """The bounds hold for the sender too."""
    with pytest.raises(WireError, match="mode"):
        Change.set_mode(SESSION, Mode.REVOKED)
    with pytest.raises(WireError, match="profile"):
        Change.narrow(b"", [0, 0, 0])
    with pytest.raises(WireError, match="allowed"):
        dataclasses.replace(CHANGES[3], allowed=[2**64, 0, 0])
