"""The Authority's judgement of a device: its statement against the reference values of the operator.

The outcome is a vector with one word for each item: good, bad or unknown. Good needs a declared reference
and a measurement equal to one of its values; there is no other way to it. The vector's digest goes into
the grant, and so into the keys: a session decided for one posture cannot be used under another.

Evidence that is not from the named device, not for this handshake, stale, or answers another nonce, is no
evidence, and raises. Evidence that is true and shows a bad host is an appraisal.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ztsession.errors import EvidenceError
from ztsession.posture.statement import Claim, PostureStatement
from ztsession.wire import canonical
from ztsession.wire.digest import digest
from ztsession.wire.operator_file import Table, read_toml
from ztsession.wire.signature import public_key

__all__ = ["BAD", "GOOD", "ITEMS", "MAX_AGE_S", "UNKNOWN", "Appraisal", "PostureAppraiser"]

GOOD, BAD, UNKNOWN = "good", "bad", "unknown"

#: The keys of every vector.
ITEMS = ("kernel", "secure_boot", "disk_encryption", "packages", "program", "device")

#: Default: how old a measurement may be.
MAX_AGE_S = 600
#: How far a device's clock may run ahead. No state is kept from it, so it cannot lock anybody out later
#: (H24).
MAX_AHEAD_S = 60

_LISTS = {"kernels": "kernel", "packages": "packages", "programs": "program"}
_SWITCHES = ("secure_boot", "disk_encryption")


@dataclass(frozen=True)
class Appraisal:
    """What is known about the device of a session; ``device`` is empty if there was no evidence."""

    vector: Mapping[str, str]
    device: str = ""
    collected_at: int = 0
    #: ``digest("posture", canonical(vector))``, 32 bytes.
    digest: bytes = field(init=False)

    def __post_init__(self) -> None:
        vector = {item: self.vector.get(item, UNKNOWN) for item in ITEMS}
        object.__setattr__(self, "vector", MappingProxyType(vector))
        object.__setattr__(self, "digest", digest("posture", canonical.encode(vector)))

    @classmethod
    def unknown(cls) -> Appraisal:
        """Return the appraisal of a subject that gave no posture evidence."""
        return cls({})


class PostureAppraiser:
    """Judges statements by the devices and reference values of a TOML file.

    [devices."host-1"]
    public_key = "64 hexadecimal digits"

    [posture]                       # what is left out stays unknown
    kernels = ["6.1.0-38-amd64"]
    secure_boot = true
    disk_encryption = true
    packages = ["64 hexadecimal digits"]
    programs = ["64 hexadecimal digits"]
    max_age_s = 600
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Read the file; ``ConfigurationError`` names file, line and what was expected."""
        self._path = path
        self._reference = _read_reference(path)

    def reload(self) -> None:
        """Read the file again; on ``ConfigurationError`` what was known before stays in force."""
        self._reference = _read_reference(self._path)

    @property
    def devices(self) -> tuple[str, ...]:
        """The names of all enrolled devices."""
        return tuple(self._reference.devices)

    @property
    def max_age_s(self) -> int:
        """How old a measurement may be."""
        return self._reference.max_age_s

    def appraise(
        self, evidence: bytes, binding: bytes, nonce: bytes, *, now: float, device: str | None = None
    ) -> Appraisal:
        """Return the appraisal of ``evidence`` made for this binding and nonce (32 bytes each).

        ``now`` is in Unix seconds. ``device`` is the only device allowed, where that is known already
        (renewal). Raises ``EvidenceError`` for evidence that proves nothing.
        """
        # One reading of the reference, so that a reload in between cannot mix two of them.
        reference = self._reference
        claim = Claim.read(evidence)
        key = reference.devices.get(claim.device)
        # A stranger costs one verification too, so that time does not tell which devices are enrolled (H23).
        statement = claim.verified(_NO_DEVICE if key is None else key, binding)
        if key is None:
            raise EvidenceError("the device is not enrolled")
        if device is not None and statement.device != device:
            raise EvidenceError("the posture evidence is from another device than before")
        if not hmac.compare_digest(statement.nonce, nonce):
            raise EvidenceError("the posture evidence answers another nonce")
        _check_age(statement, now, reference.max_age_s)
        return Appraisal(reference.compare(statement.measurements), statement.device, statement.collected_at)


@dataclass(frozen=True)
class _Reference:
    devices: dict[str, bytes]
    accepted: dict[str, frozenset[str]]
    max_age_s: int

    def compare(self, measurements: Mapping[str, str]) -> dict[str, str]:
        vector = {item: self._judge(item, measurements.get(item, UNKNOWN)) for item in ITEMS}
        # It has signed with the enrolled key, or we would not be here.
        vector["device"] = GOOD
        return vector

    def _judge(self, item: str, measured: str) -> str:
        accepted = self.accepted.get(item)
        if accepted is None or measured == UNKNOWN:
            return UNKNOWN
        return GOOD if measured in accepted else BAD


_NO_DEVICE = public_key(digest("no device"))


def _check_age(statement: PostureStatement, now: float, max_age_s: int) -> None:
    age_s = now - statement.collected_at
    # Both written so that a time that is no number is refused.
    if not age_s <= max_age_s:
        raise EvidenceError(f"the posture evidence is {age_s:.0f} s old, at most {max_age_s} s are allowed")
    if not age_s >= -MAX_AHEAD_S:
        raise EvidenceError(f"the posture evidence was collected {-age_s:.0f} s in the future")


def _read_reference(path: str | os.PathLike[str]) -> _Reference:
    root = read_toml(path)
    root.allow_only("devices", "posture")
    devices: dict[str, bytes] = {}
    for name, table in root.table("devices").holders():
        table.allow_only("public_key")
        devices[name] = table.public_key("public_key")
    posture = root.table("posture")
    posture.allow_only(*_LISTS, *_SWITCHES, "max_age_s")
    max_age_s = posture.integer("max_age_s", MAX_AGE_S, low=1, high=86400)
    return _Reference(devices, _read_accepted(posture), max_age_s)


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
