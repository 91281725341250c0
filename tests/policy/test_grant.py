from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ztsession.errors import WireError
from ztsession.policy.grant import Grant
from ztsession.policy.tighten import narrower
from ztsession.wire import canonical

GRANT = Grant(
    session=bytes(range(16)),
    subject="algo-7",
    device="host-1",
    segment="orders",
    environment="prod",
    catalog=b"c" * 32,
    policy=b"p" * 32,
    version=1,
    posture=b"o" * 32,
    assurance=2,
    operations={
        "orders.submit": [0, 500_000, 0, 1],
        "orders.cancel": [1, 2_000_000, 0xFFFF_FFFF, 0],
        "orders.last": [63, 1000, 30_000, 0],
    },
    allowed=[1 << 63 | 3, 1 << 63 | 2, 2],
    step_up=1,
    epoch_length_us=30_000_000,
    lifetime_s=43_200,
    idle_s=900,
    until=0,
    lasting=[2, 2, 0],
    issued_at=1_790_000_000,
)


def fields_of(grant: Grant) -> dict[str, Any]:
    values: dict[str, Any] = canonical.decode(grant.to_bytes(), max_bytes=1 << 16)
    return values


def test_grant_survives_its_own_bytes() -> None:
    """Decoding what was encoded gives the same grant and the same digest, which is SHA-256 of those bytes."""
    again = Grant.from_bytes(GRANT.to_bytes())
    assert again == GRANT
    assert again.digest() == GRANT.digest() == hashlib.sha256(GRANT.to_bytes()).digest()


CHANGES: list[tuple[str, Any]] = [
    ("session", b"x" * 16),
    ("subject", "algo-8"),
    ("device", "host-2"),
    ("catalog", b"x" * 32),
    ("policy", b"x" * 32),
    ("posture", b"x" * 32),
    ("assurance", 3),
    ("operations", GRANT.operations | {"orders.submit": [0, 500_001, 0, 1]}),
    ("operations", GRANT.operations | {"orders.submit": [0, 500_000, 1, 1]}),
    ("operations", GRANT.operations | {"orders.submit": [0, 500_000, 0, 0]}),
    ("allowed", [3, 2, 2]),
    ("allowed", [1 << 63 | 3, 2, 2]),
    ("allowed", [1 << 63 | 3, 1 << 63 | 2, 0]),
    ("step_up", 0),
    ("epoch_length_us", 30_000_001),
    ("lifetime_s", 43_199),
    ("idle_s", 899),
    ("environment", "test"),
    ("version", 2),
    ("until", 1_790_000_001),
    ("lasting", [2, 2, 2]),
    ("issued_at", 1_790_000_001),
]


@pytest.mark.parametrize(("name", "value"), CHANGES)
def test_every_field_is_in_the_digest(name: str, value: Any) -> None:
    """A decision that differs in anything has another digest, hence other keys."""
    assert dataclasses.replace(GRANT, **{name: value}).digest() != GRANT.digest()


@pytest.mark.parametrize(("name", "value"), CHANGES)
def test_profile_is_the_decision_without_whose_it_is(name: str, value: Any) -> None:
    """Sessions share a profile exactly when only session, subject, device and time differ."""
    same = dataclasses.replace(GRANT, **{name: value}).profile_digest() == GRANT.profile_digest()
    assert same == (name in ("session", "subject", "device", "issued_at"))


def _set(name: str, value: object) -> Callable[[dict[str, Any]], None]:
    return lambda fields: fields.__setitem__(name, value)


ROW = GRANT.operations


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("v", _set("v", 2)),
        ("kind", _set("kind", "ticket")),
        ("extra", _set("extra", 1)),
        ("issued_at", lambda fields: fields.pop("issued_at")),
        ("session", _set("session", b"x" * 15)),
        ("session", _set("session", "x" * 16)),
        ("subject", _set("subject", "")),
        ("subject", _set("subject", "\u0430lgo")),
        ("device", _set("device", "a" * 129)),
        ("segment", _set("segment", "md")),
        ("catalog", _set("catalog", b"")),
        ("policy", _set("policy", b"p" * 33)),
        ("posture", _set("posture", None)),
        ("assurance", _set("assurance", 0)),
        ("assurance", _set("assurance", True)),
        ("operations", _set("operations", [])),
        ("operations", _set("operations", ROW | {"orders.submit": [64, 1000, 0, 0]})),
        ("operations", _set("operations", ROW | {"orders.submit": [1, 1000, 0, 0]})),
        ("operations", _set("operations", ROW | {"orders.submit": [0, 999, 0, 0]})),
        ("operations", _set("operations", ROW | {"orders.submit": [0, 60_000_001, 0, 0]})),
        ("operations", _set("operations", ROW | {"orders.submit": [0, 30_000_001, 0, 0]})),
        ("operations", _set("operations", ROW | {"orders.submit": [0, 1000, 2**32, 0]})),
        ("operations", _set("operations", ROW | {"orders.submit": [0, 1000, 0, 2]})),
        ("operations", _set("operations", ROW | {"orders.submit": [0, 1000, 0, True]})),
        ("operations", _set("operations", ROW | {"orders.submit": [0, 1000, 0]})),
        ("operations", _set("operations", ROW | {"md.snapshot": [2, 1000, 0, 0]})),
        ("allowed", _set("allowed", [3, 2])),
        ("allowed", _set("allowed", [-1, 2, 2])),
        ("allowed", _set("allowed", [7, 2, 2])),
        ("allowed", _set("allowed", [1, 2, 0])),
        ("allowed", _set("allowed", [3, 1, 2])),
        ("step_up", _set("step_up", 4)),
        ("step_up", lambda fields: fields.update(allowed=[2, 2, 2], step_up=1)),
        ("epoch_length_us", _set("epoch_length_us", 999_999)),
        ("lifetime_s", _set("lifetime_s", 86_401)),
        ("idle_s", _set("idle_s", 43_201)),
        ("issued_at", _set("issued_at", -1)),
        ("environment", _set("environment", "")),
        ("version", _set("version", 0)),
        ("until", _set("until", -1)),
        ("until", _set("until", GRANT.issued_at)),
        ("lasting", _set("lasting", [7, 2, 2])),
        ("lasting", _set("lasting", [3, 3, 2])),
        ("lasting", _set("lasting", [3, 2])),
    ],
)
def test_K9_malformed_or_widened_grant_is_refused(
    field: str, change: Callable[[dict[str, Any]], object]
) -> None:
    """One wrong field refuses the whole grant and is named; unchanged, the same bytes are accepted."""
    fields = fields_of(GRANT)
    assert Grant.from_bytes(canonical.encode(fields)) == GRANT
    change(fields)
    with pytest.raises(WireError, match=field):
        Grant.from_bytes(canonical.encode(fields))


def test_grant_of_64_operations_with_the_longest_names_fits_its_bound() -> None:
    """The size limit is never what stops a catalog that the other limits allow."""
    name = "s" * 32
    operations = {f"{name}.{'o' * 30}{n:02}": [n, 60_000_000, 0xFFFF_FFFF, 1] for n in range(64)}
    full = 2**64 - 1
    grant = dataclasses.replace(
        GRANT,
        subject="s" * 128,
        device="d" * 128,
        segment=name,
        operations=operations,
        allowed=[full, full, full],
        lasting=[full, full, full],
        step_up=full,
        epoch_length_us=3_600_000_000,
    )
    assert Grant.from_bytes(grant.to_bytes()) == grant
    with pytest.raises(WireError, match="limit"):
        Grant.from_bytes(grant.to_bytes() + bytes(16_384))


BITMAP = st.integers(0, 2**64 - 1)
DECISION = st.lists(BITMAP, min_size=3, max_size=3)


@given(DECISION, DECISION, DECISION)
def test_narrowing_only_ever_takes_away(held: list[int], first: list[int], second: list[int]) -> None:
    """No change gives back a bit, and the order and repetition of changes do not matter."""
    result = narrower(narrower(held, first), second)
    assert all(new & ~old == 0 for old, new in zip(held, result, strict=True))
    assert result == narrower(narrower(held, second), first) == narrower(narrower(result, first), second)


def test_narrowing_wants_all_three_modes() -> None:
    """A decision that lacks a mode is a mistake and is not padded."""
    with pytest.raises(ValueError, match="three"):
        narrower([1, 1, 1], [1, 1])
    assert narrower([3, 2, 1], [1, 2, 0]) == [1, 2, 0]
