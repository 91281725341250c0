"""The Authority's judgement of a device: what it has shown against the reference values of the operator.

Evidence comes in several kinds, and each kind has a verifier that knows nothing of good and bad. What they
all return is compared here, by one table, so that a host is not better for having chosen another way to
speak.

The outcome is a vector with one word for each item: good, bad or unknown. The vector's digest goes into the
grant, and so into the keys: a session decided for one posture cannot be used under another.

Evidence that is not from the named device, not for this handshake, stale, or answers another nonce, is no
evidence, and raises. Evidence that is true and shows a bad host is an appraisal.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ztsession.errors import EvidenceError, WireError
from ztsession.identity.enrolments import Enrolments
from ztsession.posture.devices import AllDevices, DeviceRegistry, FileDevices, StoredDevices
from ztsession.posture.freshness import MAX_AGE_S, MAX_AHEAD_S, check_age
from ztsession.posture.items import BAD, GOOD, ITEMS, UNKNOWN
from ztsession.posture.protocol import EVIDENCE_MAX_BYTES, PostureVerifier, VerifiedPosture
from ztsession.posture.reference import Reference, read_reference
from ztsession.posture.statement import StatementVerifier
from ztsession.posture.trust import trust_vector
from ztsession.wire import canonical
from ztsession.wire.digest import digest
from ztsession.wire.operator_file import read_toml
from ztsession.wire.schema import kind_of

__all__ = [
    "BAD",
    "GOOD",
    "ITEMS",
    "MAX_AGE_S",
    "MAX_AHEAD_S",
    "UNKNOWN",
    "Appraisal",
    "PostureAppraiser",
]


@dataclass(frozen=True)
class Appraisal:
    """What is known about the device of a session; ``device`` is empty if there was no evidence.

    ``measurements`` is what the vector was judged from, and what else the evidence said: for the log only.
    ``key``: which of ``Device.keys`` has signed the evidence.
    """

    vector: Mapping[str, str]
    device: str = ""
    collected_at: int = 0
    measurements: Mapping[str, str] = field(default_factory=dict)
    key: str = ""
    #: The same in the eight claims of AR4SI, see :mod:`ztsession.posture.trust`.
    trust: Mapping[str, str] = field(init=False)
    #: ``digest("posture", canonical(vector))``, 32 bytes.
    digest: bytes = field(init=False)

    def __post_init__(self) -> None:
        vector = {item: self.vector.get(item, UNKNOWN) for item in ITEMS}
        object.__setattr__(self, "vector", MappingProxyType(vector))
        object.__setattr__(self, "measurements", MappingProxyType(dict(self.measurements)))
        object.__setattr__(self, "trust", MappingProxyType(trust_vector(vector)))
        object.__setattr__(self, "digest", digest("posture", canonical.encode(vector)))

    @classmethod
    def unknown(cls) -> Appraisal:
        """Return the appraisal of a subject that gave no posture evidence."""
        return cls({})


class PostureAppraiser:
    """Judges evidence by the devices and reference values of a TOML file.

    The file has ``[devices]``, see :class:`~ztsession.posture.devices.FileDevices`, and ``[posture]``, see
    :func:`~ztsession.posture.reference.read_reference`. Devices of ``enrolments`` count beside those of the
    file.
    """

    def __init__(self, path: str | os.PathLike[str], *, enrolments: Enrolments | None = None) -> None:
        """Read the file; ``ConfigurationError`` names file, line and what was expected."""
        self._path, self._enrolments = path, enrolments
        self._rules = _read_rules(path, enrolments)

    def reload(self) -> None:
        """Read the file again; on ``ConfigurationError`` what was known before stays in force."""
        self._rules = _read_rules(self._path, self._enrolments)

    @property
    def devices(self) -> tuple[str, ...]:
        """The names of all devices of the file."""
        return self._rules.names

    def has(self, device: str) -> bool:
        """Whether a device of this name is enrolled now."""
        return self._rules.devices.named(device) is not None

    def knows(self, device: str, key: str) -> bool:
        """Whether a device of this name is enrolled now, with this one among its ``Device.keys``."""
        found = self._rules.devices.named(device)
        return found is not None and key in found.keys

    def key_digests(self, device: str) -> tuple[str, ...]:
        """The digests of the keys that a device is enrolled with, see ``Device.key_digests``."""
        found = self._rules.devices.named(device)
        return () if found is None else found.key_digests

    @property
    def max_age_s(self) -> int:
        """How old a measurement may be."""
        return self._rules.reference.max_age_s

    def appraise(
        self, evidence: bytes, binding: bytes, nonce: bytes, *, now: float, device: str | None = None
    ) -> Appraisal:
        """Return the appraisal of ``evidence`` made for this binding and nonce (32 bytes each).

        ``now`` is in Unix seconds. ``device`` is the only device allowed, where that is known already
        (renewal). Raises ``EvidenceError`` for evidence that proves nothing.
        """
        # One reading of the rules, so that a reload in between cannot mix two of them.
        rules = self._rules
        shown = rules.verify(evidence, binding, nonce, now)
        if device is not None and shown.device != device:
            raise EvidenceError("the posture evidence is from another device than before")
        check_age(shown.collected_at, now, rules.reference.max_age_s)
        vector = rules.reference.compare(shown)
        return Appraisal(vector, shown.device, shown.collected_at, shown.measurements, shown.key)


@dataclass(frozen=True)
class _Rules:
    names: tuple[str, ...]
    devices: DeviceRegistry
    reference: Reference

    def verify(self, evidence: bytes, binding: bytes, nonce: bytes, now: float) -> VerifiedPosture:
        kind = _kind(evidence)
        make = _KINDS.get(kind)
        if make is None:
            raise EvidenceError(f"posture evidence of kind {kind[:64]!r} is not taken here")
        try:
            return make(self.devices, lambda: now).verify(evidence, binding, nonce)
        except ImportError as error:
            # What a peer sends must not bring out an exception that only says what is not installed.
            raise EvidenceError(f"evidence of kind {kind!r} cannot be checked here: {error}") from None


def _read_rules(path: str | os.PathLike[str], enrolments: Enrolments | None) -> _Rules:
    root = read_toml(path)
    root.allow_only("devices", "posture")
    written = FileDevices(root.table("devices"))
    stored = [] if enrolments is None else [StoredDevices(enrolments)]
    return _Rules(written.names, AllDevices(written, *stored), read_reference(root.table("posture")))


def _kind(evidence: bytes) -> str:
    try:
        return kind_of(evidence, max_bytes=EVIDENCE_MAX_BYTES)
    except WireError as error:
        raise EvidenceError(f"the posture evidence is malformed: {error}") from None


Clock = Callable[[], float]


def _statement(devices: DeviceRegistry, _clock: Clock) -> PostureVerifier:
    return StatementVerifier(devices)


def _eat_cwt(devices: DeviceRegistry, clock: Clock) -> PostureVerifier:
    from ztsession.posture.eat_cwt import EatCwtVerifier

    return EatCwtVerifier(devices, clock=clock)


def _eat_jwt(devices: DeviceRegistry, clock: Clock) -> PostureVerifier:
    from ztsession.posture.eat_jwt import EatJwtVerifier

    return EatJwtVerifier(devices, clock=clock)


def _tpm(devices: DeviceRegistry, clock: Clock) -> PostureVerifier:
    from ztsession.posture.tpm import TpmVerifier

    return TpmVerifier(devices, clock=clock)


_KINDS: Mapping[str, Callable[[DeviceRegistry, Clock], PostureVerifier]] = {
    StatementVerifier.kind: _statement,
    "posture.eat-cwt": _eat_cwt,
    "posture.eat-jwt": _eat_jwt,
    "posture.tpm": _tpm,
}
