"""What an explanation holds: the outcome, what decided, what stands in the way, and what would help.

It is for operators and their logs, never for the peer, whom it would teach how to pass. Whoever reads it acts
on it, so every statement in it is an answer of the policies themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

__all__ = ["MODES", "OUTCOMES", "Condition", "Explanation", "Finding", "Found", "Need", "Source"]

OUTCOMES: Final = ("allowed", "step-up", "denied")
#: What a session may be, in the order of ``RISKS``.
MODES: Final = ("NORMAL", "RESTRICTED", "SUSPENDED")

#: What an attribute was when the question was asked.
Found = str | int | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """What had a say: a policy ("permit" or "forbid") at its ``place`` "file:line" with its ``@id``, or else
    a "limit" of the "catalog", the session's "scopes" or its "environment".
    """

    place: str
    effect: str
    id: str = ""

    def to_json(self) -> dict[str, Any]:
        """Its fields, by name."""
        return {"place": self.place, "id": self.id, "effect": self.effect}


@dataclass(frozen=True, slots=True)
class Condition:
    """A part of a policy that must hold for the whole to hold, as Cedar text, with the attributes that it
    mentions as they were; ``holds`` is None, and ``error`` tells why, if it could not be evaluated.
    """

    text: str
    holds: bool | None
    found: Mapping[str, Found] = field(default_factory=dict)
    error: str = ""

    def to_json(self) -> dict[str, Any]:
        """Its fields, by name."""
        found = {
            path: list(value) if isinstance(value, tuple) else value for path, value in self.found.items()
        }
        return {"text": self.text, "holds": self.holds, "found": found, "error": self.error}


@dataclass(frozen=True, slots=True)
class Finding:
    """What one source did not let pass, and by which of its conditions: those that hold of a forbid, and
    those that do not of everything else.
    """

    source: Source
    conditions: tuple[Condition, ...]

    def to_json(self) -> dict[str, Any]:
        """The source's fields, and ``conditions``."""
        return {**self.source.to_json(), "conditions": [each.to_json() for each in self.conditions]}


@dataclass(frozen=True, slots=True)
class Need:
    """One way to be allowed: everything in it together suffices, and nothing in it can be left out.

    ``assurance``: at least so much; ``posture``: items that must be good; ``risk``: the session's, a word of
    ``RISKS``; ``at``: Unix seconds, and ``local``, the same where the calendar is; ``role``: to be enrolled
    with; ``scope``: to be asked for when the session is made; ``environment``: of another session.
    """

    assurance: int = 0
    posture: tuple[str, ...] = ()
    risk: str = ""
    at: int = 0
    local: str = ""
    role: str = ""
    scope: str = ""
    environment: str = ""

    @property
    def kinds(self) -> tuple[str, ...]:
        """Which of "environment", "scope", "assurance", "posture", "risk", "role" and "time" it is."""
        parts = {
            "environment": self.environment,
            "scope": self.scope,
            "assurance": self.assurance,
            "posture": self.posture,
            "risk": self.risk,
            "role": self.role,
            "time": self.at,
        }
        return tuple(kind for kind, part in parts.items() if part)

    def to_json(self) -> dict[str, Any]:
        """``kinds``, and a key for each of them; ``time`` is ``{"unix_s": ..., "local": ...}``."""
        values: dict[str, Any] = {
            "environment": self.environment,
            "scope": self.scope,
            "assurance": self.assurance,
            "posture": list(self.posture),
            "risk": self.risk,
            "role": self.role,
            "time": {"unix_s": self.at, "local": self.local},
        }
        return {"kinds": list(self.kinds), **{kind: values[kind] for kind in self.kinds}}


@dataclass(frozen=True)
class Explanation:
    """Why ``subject`` may or may not do ``operation`` (its full name) with this assurance, at this risk and
    moment (Unix seconds).

    ``outcome``: "allowed", "step-up" (allowed with more assurance) or "denied". ``modes``: those of NORMAL,
    RESTRICTED and SUSPENDED in which it may run as things are. ``deciding``: what decided; of policies the
    permits if they allow it, else the forbids, and none if it is denied because nothing permits it.
    ``failed``: what stands in the way: limits, forbids that hold, and if no permit does, those whose head
    fits, the nearest first. ``errors``: of evaluation, each of which denies. ``needs``: ways to be allowed,
    of which any one suffices. ``decided_risk``: the risk at which the policies refused, at most ``risk``.
    """

    subject: str
    operation: str
    outcome: str
    modes: tuple[str, ...]
    assurance: int
    risk: str
    decided_risk: str
    at: float
    deciding: tuple[Source, ...] = ()
    failed: tuple[Finding, ...] = ()
    errors: tuple[str, ...] = ()
    needs: tuple[Need, ...] = ()

    def text(self) -> str:
        """A few lines of ASCII for a person; the first says who, what, the outcome and why."""
        from ztsession.policy.explained import text_of

        return text_of(self)

    def to_json(self) -> dict[str, Any]:
        """Everything as values of JSON.

        Keys: ``subject``, ``operation``, ``outcome``, ``modes``, ``assurance``, ``risk``, ``decided_risk``,
        ``at``, ``deciding`` (each ``place``, ``id``, ``effect``), ``failed`` (the same and ``conditions``,
        each ``text``, ``holds``, ``found`` by path, ``error``), ``errors`` and ``needs`` (each ``kinds`` and
        a key for each of these: ``environment``, ``scope``, ``assurance``, ``posture``, ``risk``, ``role``,
        ``time`` with ``unix_s`` and ``local``).
        """
        return {
            "subject": self.subject,
            "operation": self.operation,
            "outcome": self.outcome,
            "modes": list(self.modes),
            "assurance": self.assurance,
            "risk": self.risk,
            "decided_risk": self.decided_risk,
            "at": self.at,
            "deciding": [source.to_json() for source in self.deciding],
            "failed": [finding.to_json() for finding in self.failed],
            "errors": list(self.errors),
            "needs": [need.to_json() for need in self.needs],
        }
