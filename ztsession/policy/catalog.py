"""The catalog: every segment and every operation that can be asked of it, with its limits.

Nothing can be allowed that is not listed here. An operation's place in its segment's table is the number that
travels in each token, so the order of declaration is part of the contract: inserting a line in the middle
changes the meaning of every later number. That is why a segment has a digest over the whole table, and why
every grant carries it: a service and an Authority that read different tables hold different keys and cannot
misunderstand each other.

An environment is a stage on the way of code and data, from the first tests to production. Segments belong to
one each, and so does every session. What moves something from one stage to the next is an operation like any
other, of the segment that it moves into: so it is denied until a policy permits it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from ztsession.errors import ConfigurationError
from ztsession.wire import canonical
from ztsession.wire.digest import digest

__all__ = ["DATA_CLASSES", "EFFECTS", "RISKS", "STALE_ALLOW", "STALE_DENY", "Catalog", "Operation", "Segment"]

#: Effects, by what an operation does to the firm's exposure.
EFFECTS: Final = ("read", "risk-reducing", "risk-increasing")
#: How much harm it does if data of an operation gets out, from none to most.
DATA_CLASSES: Final = ("public", "internal", "confidential", "restricted")
#: Risk of a session, from good to bad: the session is NORMAL, RESTRICTED, SUSPENDED.
RISKS: Final = ("low", "medium", "high")

#: ``stale_ms`` of an operation that stops when the lease has run out.
STALE_DENY: Final = 0
#: ``stale_ms`` of an operation that outlives the lease, until its session ends.
STALE_ALLOW: Final = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that can be asked of a segment; ``index`` (0..63) is its number in tokens and bitmaps.

    ``highest_risk``: the worst risk of a session in which it may still run, a word of ``RISKS``.
    ``posture``: the items that must be good on the device. ``promotes_from``: the environment out of which it
    moves something into that of its segment, or "".
    """

    segment: str
    name: str
    index: int
    effect: str
    data_class: str
    max_age_us: int
    assurance: int
    highest_risk: str
    posture: tuple[str, ...]
    ordered: bool
    stale_ms: int
    promotes_from: str

    @property
    def full_name(self) -> str:
        """``segment.name``, the form used in scopes, policies and grants."""
        return f"{self.segment}.{self.name}"

    @property
    def bit(self) -> int:
        """The operation's bit in a u64 bitmap of its segment."""
        return 1 << self.index

    def runs_at(self, risk: str) -> bool:
        """Whether it may run in a session of this risk, as far as the catalog says."""
        return RISKS.index(risk) <= RISKS.index(self.highest_risk)

    def lacks(self, posture: Mapping[str, str]) -> list[str]:
        """The items of ``posture`` that would have to be good and are not."""
        return [item for item in self.posture if posture.get(item) != "good"]


@dataclass(frozen=True)
class Segment:
    """One micro-perimeter: its operations in declaration order, and the timers of its sessions."""

    name: str
    environment: str
    epoch_length_s: int
    lifetime_s: int
    idle_s: int
    operations: tuple[Operation, ...]

    @cached_property
    def digest(self) -> bytes:
        """32 bytes over everything here: equal digests mean equal tables."""
        return digest("catalog", canonical.encode(self._canonical()))

    def operation(self, name: str) -> Operation:
        """Find an operation by its full or its short name; raises ConfigurationError when there is none."""
        for operation in self.operations:
            if name in (operation.full_name, operation.name):
                return operation
        raise ConfigurationError(f"segment {self.name!r} has no operation {name!r}")

    def _canonical(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "environment": self.environment,
            "epoch_length_s": self.epoch_length_s,
            "lifetime_s": self.lifetime_s,
            "idle_s": self.idle_s,
            "operations": [
                [
                    o.name,
                    o.effect,
                    o.data_class,
                    o.max_age_us,
                    o.assurance,
                    o.highest_risk,
                    list(o.posture),
                    o.ordered,
                    o.stale_ms,
                    o.promotes_from,
                ]
                for o in self.operations
            ],
        }


@dataclass(frozen=True)
class Catalog:
    """All segments, by name; ``environments`` in the order in which things are promoted."""

    segments: Mapping[str, Segment]
    environments: tuple[str, ...]

    @classmethod
    def load(cls, path: str | Path) -> Catalog:
        """Read a catalog file of at most 1 MiB; raises ConfigurationError naming file, line and key."""
        from ztsession.policy.catalog_file import read_catalog
        from ztsession.wire.operator_file import read_toml

        return read_catalog(read_toml(path))

    @classmethod
    def from_text(cls, text: str, *, file: str = "<catalog>") -> Catalog:
        """Read a catalog from TOML text; raises ConfigurationError naming ``file``, line and key."""
        from ztsession.policy.catalog_file import read_catalog
        from ztsession.wire.operator_file import parse_toml

        return read_catalog(parse_toml(text, file=file))

    def segment(self, name: str) -> Segment:
        """Find a segment; raises ConfigurationError when there is none of this name."""
        try:
            return self.segments[name]
        except KeyError:
            raise ConfigurationError(f"the catalog has no segment {name!r}") from None

    @cached_property
    def digest(self) -> bytes:
        """32 bytes over all segments, sorted by name, and the order of the environments."""
        segments = [self.segments[name].digest for name in sorted(self.segments)]
        return digest("catalogs", canonical.encode(list(self.environments)), *segments)
