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
from ztsession.risk.networks import NETWORK_MAX_BYTES, network_of
from ztsession.wire import canonical
from ztsession.wire.schema import VERSION, Flag, Integer, MapOf, Name, Octets, Rule, Text

__all__ = ["SIGNAL_MAX_BYTES", "Signal"]

SIGNAL_MAX_BYTES: Final = 4096

_TIME_MAX_US: Final = 2**53
_FORM: Final[dict[str, Rule]] = {
    "id": Name(),
    "about": Name(),
    "level": Integer(0, 3),
    "source": Name(),
    "time_us": Integer(0, _TIME_MAX_US),
    "subject": Name(optional=True),
    "device": Name(optional=True),
    "session": Octets.exactly(16, or_empty=True),
    "network": Text(NETWORK_MAX_BYTES),
    "withdraws": Flag(),
    "evidence": MapOf(Text(32, min_bytes=1), Text(256), 8),
}


@dataclass(frozen=True, slots=True)
class Signal:
    """One signal against exactly one of ``subject``, ``device`` (names), ``session`` (16 bytes) or
    ``network`` (an address or a network, as "192.0.2.0/24").

    ``kind``: one of those in ``risk.toml``, see :data:`ztsession.risk.kinds.DEFAULT_KINDS`. ``time``: unix
    seconds when it happened, kept to the microsecond; only a source's own signals are told apart by it.
    ``evidence``: at most 8 short texts for people. ``withdraws``: the source takes back all that it said of
    this kind against this target until ``time`` by its own clock, and nothing that anybody else said.
    WireError names the field that does not fit.
    """

    id: str
    kind: str
    level: Level
    source: str
    time: float
    subject: str = ""
    device: str = ""
    session: bytes = b""
    network: str = ""
    withdraws: bool = False
    evidence: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check every field, and make the evidence unchangeable."""
        for name, value in self._form().items():
            _FORM[name].check(value, f"signal.{name}")
        named = (self.subject != "", self.device != "", self.session != b"", self.network != "")
        if sum(named) != 1:
            raise WireError("signal: expected exactly one of subject, device, session and network")
        object.__setattr__(self, "network", _checked_network(self.network))
        object.__setattr__(self, "level", Level(self.level))
        object.__setattr__(self, "time", round(self.time * 1e6) / 1e6)
        object.__setattr__(self, "evidence", MappingProxyType(dict(self.evidence)))

    @property
    def target(self) -> tuple[str, str]:
        """What the signal is against: ("subject" | "device" | "session" | "network", its name or hexadecimal
        id).
        """
        if self.session:
            return "session", self.session.hex()
        if self.network:
            return "network", self.network
        return ("subject", self.subject) if self.subject else ("device", self.device)

    @property
    def name(self) -> tuple[str, str]:
        """(source, id): what makes a second arrival a duplicate."""
        return self.source, self.id

    def is_of(self, source: str, until: float) -> bool:
        """Whether ``source`` ("" for anybody) said it, of what happened ``until`` then."""
        return source in ("", self.source) and self.time <= until

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
            network=values["network"],
            withdraws=values["withdraws"],
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
            "network": self.network,
            "withdraws": self.withdraws,
            "evidence": dict(self.evidence),
        }


def _checked_network(text: str) -> str:
    if not text:
        return ""
    try:
        return network_of(text)
    except ValueError:
        raise WireError("signal.network: expected an address or a network such as 192.0.2.0/24") from None
