"""What is known about a subject when a decision is made: its name, its kind, its roles and its desk.

These come out of identity evidence and go into Cedar and the audit log. They are names of the small ASCII
alphabet on purpose: two names that look alike to a person must not be two subjects to a policy, nor one
subject to a person and two to a policy (UTS #39 calls them confusables; the cure here is to have none).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ztsession.errors import PolicyError
from ztsession.wire.names import is_name

__all__ = ["ROLES_MAX", "SubjectAttributes"]

ROLES_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class SubjectAttributes:
    """A subject as policies see it; ``kind`` is "human", "algorithm" or "service", ``desk`` may be ""."""

    subject: str
    kind: str
    roles: tuple[str, ...] = ()
    desk: str = ""

    def __post_init__(self) -> None:
        """Refuse with PolicyError whatever could be mistaken for another name."""
        object.__setattr__(self, "roles", tuple(self.roles))
        if len(self.roles) > ROLES_MAX:
            raise PolicyError(f"a subject has at most {ROLES_MAX} roles")
        named: list[tuple[str, object]] = [("subject", self.subject), ("kind", self.kind)]
        named += [("role", role) for role in self.roles]
        named += [("desk", self.desk)] if self.desk != "" else []
        for what, value in named:
            if not isinstance(value, str) or not is_name(value):
                raise PolicyError(f"{what}: expected 1 to 128 characters of A-Z a-z 0-9 . _ : / @ -")
