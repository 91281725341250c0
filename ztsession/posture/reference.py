"""The operator's reference values, and what measurements amount to beside them.

Good needs a declared value and a measurement equal to it; there is no other way to it. Two items need no
declaration, because there is only one answer that anybody could declare: ``debug`` and ``hardware``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from ztsession.posture.freshness import MAX_AGE_S
from ztsession.posture.items import BAD, GOOD, ITEMS, UNKNOWN
from ztsession.posture.protocol import VerifiedPosture
from ztsession.wire.operator_file import Table

__all__ = ["PCRS", "Reference", "read_reference"]

#: PCR indices of the PC Client platform (TCG PC Client Platform TPM Profile, section 4.6).
PCRS = range(24)
#: "Debug" and "application support" can be reset from locality 0 (the same profile).
_RESETTABLE = ("16", "23")

_LISTS = {"kernels": "kernel", "packages": "packages", "programs": "program"}
_SWITCHES = ("secure_boot", "disk_encryption")
_EVENT_LOG = "event_log"
_DIGEST = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Reference:
    """What is accepted: values by item, and by name of what makes up the boot ("pcr.7", "event_log")."""

    accepted: Mapping[str, frozenset[str]] = field(default_factory=dict)
    boot: Mapping[str, frozenset[str]] = field(default_factory=dict)
    max_age_s: int = MAX_AGE_S

    def compare(self, shown: VerifiedPosture) -> dict[str, str]:
        """Return the word for each item."""
        vector = {item: _judge(shown.measurements.get(item), self.accepted.get(item)) for item in ITEMS}
        # It has signed with an enrolled key, or we would not be here.
        vector["device"] = GOOD
        vector["boot"] = self._boot(shown)
        vector["hardware"] = GOOD if shown.hardware else UNKNOWN
        vector["debug"] = _judge(shown.measurements.get("debug"), _NO_DEBUG)
        return vector

    def _boot(self, shown: VerifiedPosture) -> str:
        # Software could write down any PCR value; only a TPM's quote makes it one.
        if not self.boot or not shown.hardware:
            return UNKNOWN
        words = [_judge(shown.measurements.get(name), accepted) for name, accepted in self.boot.items()]
        return next(word for word in (BAD, UNKNOWN, GOOD) if word in words)


_NO_DEBUG = frozenset({"disabled"})


def _judge(measured: str | None, accepted: frozenset[str] | None) -> str:
    if accepted is None or measured is None or measured == UNKNOWN:
        return UNKNOWN
    return GOOD if measured in accepted else BAD


def read_reference(posture: Table) -> Reference:
    """Read the ``[posture]`` table; ``ConfigurationError`` names file, line and what was expected.

    [posture]                          # what is left out stays unknown
    kernels = ["6.1.0-38-amd64"]
    secure_boot = true
    disk_encryption = true
    packages = ["64 hexadecimal digits"]
    programs = ["64 hexadecimal digits"]
    event_logs = ["64 hexadecimal digits"]
    max_age_s = 600

    [posture.pcrs]                     # SHA-256 bank, any of the values of each
    7 = ["64 hexadecimal digits"]
    """
    posture.allow_only(*_LISTS, *_SWITCHES, "event_logs", "pcrs", "max_age_s")
    max_age_s = posture.integer("max_age_s", MAX_AGE_S, low=1, high=86400)
    return Reference(_read_accepted(posture), _read_boot(posture), max_age_s)


def _read_accepted(posture: Table) -> dict[str, frozenset[str]]:
    accepted: dict[str, frozenset[str]] = {}
    for key, item in _LISTS.items():
        if posture.has(key):
            values = posture.texts(key)
            # An empty list would call every host bad, and "unknown" on it would call an unreadable one good.
            if not values or UNKNOWN in values:
                raise posture.error('expected at least one value, and "unknown" is none', key)
            accepted[item] = frozenset(values)
    for key in _SWITCHES:
        if posture.has(key):
            if not posture.flag(key, True):
                raise posture.error("expected true, or the line left out where it is not demanded", key)
            accepted[key] = frozenset({"enabled"})
    return accepted


def _read_boot(posture: Table) -> dict[str, frozenset[str]]:
    pcrs = posture.table("pcrs")
    names = [str(index) for index in PCRS]
    pcrs.allow_only(*names)
    for name in _RESETTABLE:
        if pcrs.has(name):
            raise pcrs.error("any program can reset this register and fill it as it likes", name)
    boot = {f"pcr.{name}": _read_digests(pcrs, name) for name in names if pcrs.has(name)}
    if posture.has("pcrs") and not boot:
        raise posture.error("expected at least one PCR", "pcrs")
    if posture.has("event_logs"):
        # A log is as true as the PCRs that it adds up to; without them anybody could have written it.
        if not boot:
            raise posture.error("expected [posture.pcrs] too, which the event log adds up to", "event_logs")
        boot[_EVENT_LOG] = _read_digests(posture, "event_logs")
    return boot


def _read_digests(table: Table, key: str) -> frozenset[str]:
    values = table.texts(key)
    if not values or not all(map(_DIGEST.fullmatch, values)):
        raise table.error("expected at least one digest of 64 digits of lower-case hexadecimal", key)
    return frozenset(values)
