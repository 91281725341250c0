"""Which devices are enrolled, and the keys by which each of them can prove itself.

A device has up to three keys, one for each kind of evidence, and every key has exactly one owner and one
purpose. Two devices behind one key could each pass for the other; one key in two kinds of evidence could be
turned from one against the other. Both are refused when a device is enrolled, over all registries together.

As with subjects there are two registries, the operator's file and a table that fills while the Authority
runs; where they disagree the file is right.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Protocol

from ztsession.errors import ConfigurationError
from ztsession.identity.enrolments import Enrolments
from ztsession.identity.key_digests import key_digests
from ztsession.posture.keys import (
    PEM_MAX_BYTES,
    PublicKey,
    attestation_key,
    eat_key,
    fingerprint,
    statement_key,
)
from ztsession.wire.names import is_name
from ztsession.wire.operator_file import Table, read_toml
from ztsession.wire.schema import Message, Name, Octets, Text
from ztsession.wire.signature import PUBLIC_KEY_BYTES

__all__ = [
    "NO_DEVICE",
    "UEID_MAX_BYTES",
    "UEID_MIN_BYTES",
    "AllDevices",
    "Device",
    "DeviceRegistry",
    "FileDevices",
    "StoredDevices",
]

#: Stands where no device was shown, so no device can have this name.
NO_DEVICE = "none"
#: RFC 9711, section 4.2.1: one byte of type and 6 to 32 of identity.
UEID_MIN_BYTES, UEID_MAX_BYTES = 7, 33

_WAYS = ("public_key", "eat_key", "ak")
_PEM_WAYS: dict[str, Callable[[str], PublicKey]] = {"eat_key": eat_key, "ak": attestation_key}


@dataclass(frozen=True)
class Device:
    """One enrolled device and what is known to be its own; at least one of the three keys is there.

    ``public_key``: Ed25519, 32 bytes, of our own statement. ``eat_key``: PEM of the EC P-256 or Ed25519 key
    that signs EATs. ``ueid``: the Universal Entity ID that its EATs must carry, 7 to 33 bytes. ``ak``: PEM of
    the TPM's attestation key, EC P-256 or RSA of 2048 to 4096 bits.
    """

    name: str
    public_key: bytes | None = None
    eat_key: str | None = None
    ueid: bytes | None = None
    ak: str | None = None

    def __post_init__(self) -> None:
        if not is_name(self.name):
            raise ConfigurationError("device: expected 1 to 128 characters from A-Z a-z 0-9 . _ : / @ -")
        if self.name == NO_DEVICE:
            raise ConfigurationError(f"device: {NO_DEVICE!r} stands for no device, expected another name")
        if self.ueid is not None:
            _check_ueid(self.ueid)
        if not self.keys:
            raise ConfigurationError(f"expected a way to prove it: one or more of {', '.join(_WAYS)}")
        if len(set(self.keys)) != len(self.keys):
            raise ConfigurationError(f"expected a key of its own for each of {', '.join(_WAYS)}")

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """A fingerprint of each key, by which to see that no two devices share one."""
        return tuple(map(fingerprint, self._public_keys()))

    @cached_property
    def key_digests(self) -> tuple[str, ...]:
        """By which digests others may know the keys, see :mod:`ztsession.identity.key_digests`."""
        return tuple(each for key in self._public_keys() for each in key_digests(key))

    def to_bytes(self) -> bytes:
        """The canonical form, for the store."""
        return _DeviceForm(
            self.name, self.public_key or b"", self.eat_key or "", self.ueid or b"", self.ak or ""
        ).to_bytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Device:
        """Read the canonical form."""
        form = _DeviceForm.from_bytes(data)
        return cls(
            form.name, form.public_key or None, form.eat_key or None, form.ueid or None, form.ak or None
        )

    def _public_keys(self) -> list[PublicKey]:
        found: list[PublicKey] = []
        if self.public_key is not None:
            found.append(statement_key(self.public_key))
        if self.eat_key is not None:
            found.append(eat_key(self.eat_key))
        if self.ak is not None:
            found.append(attestation_key(self.ak))
        return found


class DeviceRegistry(Protocol):
    """Finds devices."""

    def named(self, name: str) -> Device | None:
        """The device of this name, None if none of that name is enrolled."""

    def by_ueid(self, ueid: bytes) -> Device | None:
        """The device with this Universal Entity ID, None if none has it."""

    def holder(self, key: str) -> Device | None:
        """The device that one of ``Device.keys`` belongs to, None if none does."""


class FileDevices:
    """The devices of a TOML file; what else is in the file is read elsewhere.

    [devices."host-1"]                     # at least one of public_key, eat_key, ak
    public_key = "64 hexadecimal digits"   # Ed25519, of our own statement
    eat_key = '''-----BEGIN PUBLIC KEY-----
    ...'''                                 # EC P-256 or Ed25519, of its EATs
    ueid = "14 to 66 hexadecimal digits"   # that its EATs must carry
    ak = '''-----BEGIN PUBLIC KEY-----
    ...'''                                 # the TPM's attestation key
    """

    def __init__(self, devices: Table) -> None:
        """Take the ``devices`` table of a file; ``ConfigurationError`` names file, line and what was
        expected.
        """
        self._named: dict[str, Device] = {}
        self._holders: dict[str, Device] = {}
        self._ueids: dict[bytes, Device] = {}
        for name, table in devices.holders():
            self._add(_read_device(name, table), table)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> FileDevices:
        """Read the devices of a file that may also hold ``[posture]``."""
        root = read_toml(path)
        root.allow_only("devices", "posture")
        return cls(root.table("devices"))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all devices."""
        return tuple(self._named)

    def named(self, name: str) -> Device | None:
        """The device of this name."""
        return self._named.get(name)

    def by_ueid(self, ueid: bytes) -> Device | None:
        """The device with this Universal Entity ID."""
        return self._ueids.get(ueid)

    def holder(self, key: str) -> Device | None:
        """The device that this key belongs to."""
        return self._holders.get(key)

    def _add(self, device: Device, table: Table) -> None:
        self._named[device.name] = device
        for key in device.keys:
            other = self._holders.setdefault(key, device)
            if other is not device:
                raise table.error(f"expected a key of its own, {other.name} has the same")
        if device.ueid is not None and self._ueids.setdefault(device.ueid, device) is not device:
            other = self._ueids[device.ueid]
            raise table.error(f"expected a UEID of its own, {other.name} has the same", "ueid")


class StoredDevices:
    """The devices that were enrolled while the Authority runs."""

    def __init__(self, enrolments: Enrolments) -> None:
        self._enrolments = enrolments

    def named(self, name: str) -> Device | None:
        """The device of this name."""
        found = self._enrolments.get("device", name)
        return None if found is None else Device.from_bytes(found[1])

    def by_ueid(self, ueid: bytes) -> Device | None:
        """The device with this Universal Entity ID."""
        return self._pointed_to("device-ueid", ueid.hex())

    def holder(self, key: str) -> Device | None:
        """The device that this key belongs to."""
        return self._pointed_to("device-key", key)

    def enrol(self, device: Device) -> None:
        """Enrol a device, or replace its enrolment; ConfigurationError for a key or UEID of another."""
        data, name = device.to_bytes(), device.name.encode("ascii")
        with self._enrolments.transaction():
            for kind, value in _pointers(device):
                other = self._pointed_to(kind, value)
                if other is not None and other.name != device.name:
                    raise ConfigurationError(f"a key or UEID of {device.name} belongs to {other.name}")
            self.remove(device.name)
            self._enrolments.put("device", device.name, data, expected=0)
            for kind, value in _pointers(device):
                self._enrolments.put(kind, value, name, expected=0)

    def remove(self, name: str) -> bool:
        """End an enrolment; False when there was none. Sessions that live are not touched."""
        with self._enrolments.transaction():
            device = self.named(name)
            if device is None:
                return False
            for kind, value in _pointers(device):
                self._enrolments.remove(kind, value)
            return self._enrolments.remove("device", name)

    def _pointed_to(self, kind: str, value: str) -> Device | None:
        found = self._enrolments.get(kind, value)
        return None if found is None else self.named(found[1].decode("ascii"))


class AllDevices:
    """Several registries as one; of two that name a device, or a key, the first is right."""

    def __init__(self, *registries: DeviceRegistry) -> None:
        self._registries = registries

    def named(self, name: str) -> Device | None:
        """The device of this name."""
        for place, registry in enumerate(self._registries):
            device = registry.named(name)
            if device is not None:
                return None if self._borrowed(device, self._registries[:place]) else device
        return None

    def by_ueid(self, ueid: bytes) -> Device | None:
        """The device with this Universal Entity ID."""
        return self._own(next((d for r in self._registries if (d := r.by_ueid(ueid)) is not None), None))

    def holder(self, key: str) -> Device | None:
        """The device that this key belongs to."""
        return self._own(next((d for r in self._registries if (d := r.holder(key)) is not None), None))

    def _own(self, found: Device | None) -> Device | None:
        # A later registry must not lend a name of an earlier one to another key.
        return found if found is not None and self.named(found.name) == found else None

    @staticmethod
    def _borrowed(device: Device, earlier: tuple[DeviceRegistry, ...]) -> bool:
        # Whoever can write the table could otherwise give a new name to a device of the file.
        taken = any(registry.holder(key) is not None for registry in earlier for key in device.keys)
        ueid = device.ueid
        return taken or (ueid is not None and any(r.by_ueid(ueid) is not None for r in earlier))


@dataclass(frozen=True)
class _DeviceForm(Message, kind="device", max_bytes=8192):
    name: Annotated[str, Name()]
    public_key: Annotated[bytes, Octets.exactly(PUBLIC_KEY_BYTES, or_empty=True)]
    eat_key: Annotated[str, Text(PEM_MAX_BYTES)]
    ueid: Annotated[bytes, Octets(UEID_MAX_BYTES, UEID_MIN_BYTES, or_empty=True)]
    ak: Annotated[str, Text(PEM_MAX_BYTES)]


def _pointers(device: Device) -> list[tuple[str, str]]:
    ueid = [] if device.ueid is None else [("device-ueid", device.ueid.hex())]
    return [("device-key", key) for key in device.keys] + ueid


def _check_ueid(ueid: bytes) -> None:
    if not UEID_MIN_BYTES <= len(ueid) <= UEID_MAX_BYTES:
        raise ConfigurationError(f"expected a UEID of {UEID_MIN_BYTES} to {UEID_MAX_BYTES} bytes")


def _read_device(name: str, table: Table) -> Device:
    table.allow_only(*_WAYS, "ueid")
    public_key = table.public_key("public_key") if table.has("public_key") else None
    pems = {key: _read_pem(table, key, check) for key, check in _PEM_WAYS.items()}
    try:
        return Device(name, public_key, pems["eat_key"], _read_ueid(table), pems["ak"])
    except ConfigurationError as error:
        raise (error if error.file else table.error(str(error))) from None


def _read_pem(table: Table, key: str, check: Callable[[str], PublicKey]) -> str | None:
    if not table.has(key):
        return None
    pem = table.text(key)
    try:
        check(pem)
    except ConfigurationError as error:
        raise table.error(str(error), key) from None
    return pem


def _read_ueid(table: Table) -> bytes | None:
    if not table.has("ueid"):
        return None
    text = table.text("ueid")
    digits = f"{2 * UEID_MIN_BYTES} to {2 * UEID_MAX_BYTES} digits of lower-case hexadecimal"
    if not re.fullmatch(f"(?:[0-9a-f]{{2}}){{{UEID_MIN_BYTES},{UEID_MAX_BYTES}}}", text):
        raise table.error(f"expected {digits}", "ueid")
    return bytes.fromhex(text)
