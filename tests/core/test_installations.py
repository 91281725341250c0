"""Tables, profiles and installations that cannot be are refused whole, with a sentence that says why."""

from __future__ import annotations

import pytest
from worlds import ALLOWED, HOUR_US, MAX_AGE_US, OPERATIONS, World, profile_of

from ztsession import errors
from ztsession._core import Table
from ztsession._records import Profile


def install(table: Table, profile: Profile, **options: int) -> None:
    table.install(profile, bytes(32), bytes(32), None, **({"lifetime_us": HOUR_US} | options))


def test_handles_and_time_are_the_points_to_choose(world: World) -> None:
    """A point given a handle or a time, and a client given none, refuse and change nothing."""
    client = Table(operations=OPERATIONS, client=True)
    before, now_us = world.point.snapshot_for_testing_only(), world.point.now_us()
    for table, options in (
        (world.point, {"handle": 5}),
        (world.point, {"now_us": 5}),
        (world.point, {"handle": 5, "now_us": 5}),
        (client, {}),
        (client, {"handle": 5}),
        (client, {"now_us": 5}),
    ):
        with pytest.raises(errors.InstallationError, match="a point neither"):
            install(table, profile_of(), **options)
    assert (world.point.snapshot_for_testing_only(), world.point.now_us()) == (before, now_us)


def test_a_grant_beyond_the_tables_operations_is_refused(world: World) -> None:
    """A bit without a name could be accepted and then not be told: such a grant is not installed."""
    for bit in (len(OPERATIONS), 63):
        for mode in range(3):
            allowed = list(ALLOWED)
            allowed[mode] |= 1 << bit
            with pytest.raises(errors.InstallationError, match="no name"):
                install(world.point, profile_of(allowed=allowed))
    assert world.point.live == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lifetime_us": 0}, "lifetime_us"),
        ({"lifetime_us": -1}, "lifetime_us"),
        ({"lifetime_us": 2**61}, "lifetime_us"),
        ({"idle_s": 0}, "idle_s"),
        ({"idle_s": 2**32}, "idle_s"),
    ],
)
def test_numbers_out_of_range_are_named(world: World, options: dict[str, int], message: str) -> None:
    """A number that cannot be is refused with its name and its range."""
    with pytest.raises(ValueError, match=message):
        install(world.point, profile_of(), **options)
    assert world.point.live == 0


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"allowed": [0, 0]}, ValueError),
        ({"allowed": [0, 0, 2**64]}, ValueError),
        ({"allowed": [0, 0, True]}, TypeError),
        ({"limits": {64: (1000, 0)}}, ValueError),
        ({"limits": {0: (999, 0)}}, ValueError),
        ({"limits": {0: (60_000_001, 0)}}, ValueError),
        ({"limits": {0: (MAX_AGE_US, -1)}}, ValueError),
        ({"limits": {0: (MAX_AGE_US, 0)}, "epoch_length_us": 1_000_000}, ValueError),
        ({"epoch_length_us": 999_999}, ValueError),
        ({"step_up": "1"}, TypeError),
    ],
)
def test_profiles_out_of_range(options: dict[str, object], kind: type[Exception]) -> None:
    """A profile's numbers are checked when it is made; no age may exceed an epoch, or the grace could
    not cover it.
    """
    with pytest.raises(kind):
        profile_of(**options)


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"operations": ()}, ValueError),
        ({"operations": ("a",) * 2}, ValueError),
        ({"operations": tuple(str(i) for i in range(65))}, ValueError),
        ({"operations": (1,)}, TypeError),
        ({"capacity": 0}, ValueError),
        ({"capacity": 2**24 + 1}, ValueError),
        ({"capacity": 2, "client": True}, ValueError),
        ({"profiles": 0}, ValueError),
        ({"window_words": 3}, ValueError),
        ({"window_words": 2048}, ValueError),
        ({"backend": "abacus"}, ValueError),
    ],
)
def test_impossible_tables(options: dict[str, object], kind: type[Exception]) -> None:
    """A table that cannot be is refused with a sentence, never made in part."""
    with pytest.raises(kind):
        Table(**({"operations": OPERATIONS} | options))  # type: ignore[arg-type]
