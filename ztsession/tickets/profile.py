"""From a grant to what the session table holds of it; both ends build the same from the same grant."""

from __future__ import annotations

from ztsession._records import Profile
from ztsession.policy.grant import Grant

__all__ = ["operation_names", "profile_of"]


def profile_of(grant: Grant) -> Profile:
    """The table's profile of this decision, named by the digest that sessions with equal decisions share."""
    ordered = sum(1 << index for index, _, _, is_ordered in grant.operations.values() if is_ordered)
    return Profile(
        grant.profile_digest(),
        allowed=grant.allowed,
        step_up=grant.step_up,
        ordered=ordered,
        limits={
            index: (max_age_us, stale_ms) for index, max_age_us, stale_ms, _ in grant.operations.values()
        },
        epoch_length_us=grant.epoch_length_us,
    )


def operation_names(grant: Grant) -> tuple[str, ...]:
    """Full names by index; an index without an operation is the empty name, which nothing can ask for."""
    by_index = {row[0]: name for name, row in grant.operations.items()}
    return tuple(by_index.get(index, "") for index in range(max(by_index) + 1))
