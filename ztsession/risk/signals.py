"""A signal: something that happened, somewhere else, that bears on trust.

Signals come from detectors, agents and security tools, so they are read as strictly as any message: a bounded
size, a target that is exactly one thing, and names that cannot forge a line of the audit log. A signal's name
is its source and its id together: one source must not be able to suppress another's signal by using its id
first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from ztsession.errors import WireError
from ztsession.risk.levels import Level
from ztsession.wire import canonical
from ztsession.wire.schema import VERSION, Integer, MapOf, Name, Octets, OneOf, Rule, Text

__all__ = [
    "ANSWERED_BY_EVIDENCE",
    "ANSWERED_BY_FACTOR",
    "ANSWERED_BY_POSTURE",
    "KINDS",
    "SIGNAL_MAX_BYTES",
    "Signal",
]

#: What a signal can be about.
KINDS: Final = ("posture-drift", "credential-compromise", "behaviour", "threat", "operator")

#: Kinds that fresh evidence from the subject itself can answer. A stolen credential authenticates as well as
#: the original did, so it is not among them; neither is what an operator or a threat feed said.
ANSWERED_BY_EVIDENCE: Final = frozenset({"posture-drift", "behaviour"})
#: Of these, what fresh posture alone answers, and what a second factor does: it says who, not on what.
ANSWERED_BY_POSTURE: Final = frozenset({"posture-drift"})
ANSWERED_BY_FACTOR: Final = frozenset({"behaviour"})

SIGNAL_MAX_BYTES: Final = 4096

_TIME_MAX_US: Final = 2**53
_FORM: Final[dict[str, Rule]] = {
    "id": Name(),
    "about": OneOf(KINDS),
    "level": Integer(0, 3),
    "source": Name(),
    "time_us": Integer(0, _TIME_MAX_US),
    "subject": Name(optional=True),
    "device": Name(optional=True),
    "session": Octets.exactly(16, or_empty=True),
    "evidence": MapOf(Text(32, min_bytes=1), Text(256), 8),
}


@dataclass(frozen=True, slots=True)
class Signal:
    """One signal against exactly one of ``subject``, ``device`` (names) or ``session`` (16 bytes).

    ``time``: unix seconds, kept to the microsecond, told and never decided by. ``evidence``: at most 8 short
    texts for people. WireError names the field that does not fit.
    """

    id: str
    kind: str
    level: Level
    source: str
    time: float
    subject: str = ""
    device: str = ""
    session: bytes = b""
    evidence: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check every field, and make the evidence unchangeable."""
        for name, value in self._form().items():
            _FORM[name].check(value, f"signal.{name}")
        if sum((self.subject != "", self.device != "", self.session != b"")) != 1:
            raise WireError("signal: expected exactly one of subject, device and session")
        object.__setattr__(self, "level", Level(self.level))
        object.__setattr__(self, "time", round(self.time * 1e6) / 1e6)
        object.__setattr__(self, "evidence", MappingProxyType(dict(self.evidence)))

    @property
    def target(self) -> tuple[str, str]:
        """What the signal is against: ("subject" | "device" | "session", its name or hexadecimal id)."""
        if self.session:
            return "session", self.session.hex()
        return ("subject", self.subject) if self.subject else ("device", self.device)

    @property
    def name(self) -> tuple[str, str]:
        """(source, id): what makes a second arrival a duplicate."""
        return self.source, self.id

    def to_bytes(self) -> bytes:
        """The canonical form, of at most 4096 bytes."""
        return canonical.encode({"v": VERSION, "kind": "signal", **self._form()})

    @classmethod
    def from_bytes(cls, data: bytes) -> Signal:
        """Read the canonical form; WireError naming the field for anything else."""
        values: Any = canonical.decode(data, max_bytes=SIGNAL_MAX_BYTES)
        if not isinstance(values, dict) or (values.pop("v", None), values.pop("kind", None)) != (1, "signal"):
            raise WireError("signal: expected v = 1 and kind = 'signal'")
        if values.keys() != _FORM.keys():
            raise WireError(f"signal: expected exactly the fields {', '.join(_FORM)}")
        for name, rule in _FORM.items():
            rule.check(values[name], f"signal.{name}")
        return cls(
            id=values["id"],
            kind=values["about"],
            level=Level(values["level"]),
            source=values["source"],
            time=values["time_us"] / 1e6,
            subject=values["subject"],
            device=values["device"],
            session=values["session"],
            evidence=values["evidence"],
        )

    def _form(self) -> dict[str, object]:
        # NaN and infinity have no place in an integer; a rule then refuses the -1.
        finite = isinstance(self.time, (int, float)) and math.isfinite(self.time)
        return {
            "id": self.id,
            "about": self.kind,
            "level": int(self.level) if isinstance(self.level, Level) else self.level,
            "source": self.source,
            "time_us": round(self.time * 1e6) if finite else -1,
            "subject": self.subject,
            "device": self.device,
            "session": self.session,
            "evidence": dict(self.evidence),
        }
