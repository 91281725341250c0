"""The firmware's event log: which digests were put into the boot registers, one by one.

A register is one digest over everything that was ever put into it, so a quote alone says that something
differs and not what. The log lists the single digests. It is a file that anybody with root can write, and is
worth nothing by itself; but replayed, it must end at exactly the values that the TPM quoted, and a log that
does was not tampered with.

Only the digests are kept. The descriptions next to them are not covered by any register, and whoever reads
them for more than amusement can be told any story.

PCR 0 is special. A TPM that was started from another locality than 0, or by a hardware measurement, begins
with another value than zero; the log then says so in an event of its own. Such a log cannot be replayed from
zero, and PCR 0 is left out of ``replayable``.

Format: TCG PC Client Platform Firmware Profile, "Event Logging", the crypto-agile form; little-endian.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from ztsession.errors import WireError

__all__ = ["LOG_MAX_BYTES", "EventLog", "replay"]

#: Real logs have 20 to 200 KB.
LOG_MAX_BYTES = 1 << 20

_PCR_LAST = 23
_NO_ACTION = 3
_SHA1, _SHA256 = 0x0004, 0x000B
_BANKS_MAX = 8
_DIGEST_MAX_BYTES = 64
_SPEC_ID = b"Spec ID Event03\0"
_LOCALITY = b"StartupLocality\0"


@dataclass(frozen=True)
class EventLog:
    """``events``: [register, SHA-256 digest] in order. ``locality``: from where the TPM was started."""

    events: tuple[tuple[int, bytes], ...]
    locality: int = 0

    @classmethod
    def read(cls, data: bytes) -> EventLog:
        """Read a log of at most 1 MiB, as the kernel gives it; ``WireError`` for anything else."""
        source = _Reader(data)
        banks = _read_head(source)
        events: list[tuple[int, bytes]] = []
        locality = 0
        while source.left:
            pcr, kind = source.number(4), source.number(4)
            sha256 = _read_digests(source, banks)
            said = source.sized()
            if kind == _NO_ACTION:
                # Is not put into a register, whatever register it names.
                locality = _locality(said, locality)
            elif pcr <= _PCR_LAST:
                events.append((pcr, sha256))
            else:
                raise WireError(f"event log: register {pcr}, expected 0 to {_PCR_LAST}")
        return cls(tuple(events), locality)

    def replayable(self, pcrs: Collection[int]) -> list[tuple[int, bytes]]:
        """The events of these registers, without PCR 0 if that did not begin with zero."""
        left_out = {0} if self.locality else set()
        return [event for event in self.events if event[0] in pcrs and event[0] not in left_out]


def replay(events: Iterable[tuple[int, bytes]]) -> dict[int, bytes]:
    """Return the value of each register that the events touch, extended from zero (SHA-256 bank)."""
    values: dict[int, bytes] = {}
    for pcr, digest in events:
        values[pcr] = hashlib.sha256(values.get(pcr, bytes(32)) + digest).digest()
    return values


def _read_head(source: _Reader) -> dict[int, int]:
    """The size of the digest of each bank, by its algorithm."""
    pcr, kind = source.number(4), source.number(4)
    source.octets(20)
    head = _Reader(source.sized())
    if (pcr, kind) != (0, _NO_ACTION) or head.octets(16) != _SPEC_ID:
        raise WireError("event log: expected the crypto-agile form, which begins with Spec ID Event03")
    head.octets(8)  # platform class, version, errata, size of a pointer
    count = head.number(4)
    if not 1 <= count <= _BANKS_MAX:
        raise WireError(f"event log: {count} banks, expected 1 to {_BANKS_MAX}")
    banks: dict[int, int] = {}
    for _ in range(count):
        algorithm, size = head.number(2), head.number(2)
        if algorithm in banks or size > _DIGEST_MAX_BYTES:
            raise WireError("event log: a bank twice, or with digests of more than 64 bytes")
        banks[algorithm] = size
    head.octets(head.number(1))  # the vendor's own
    if head.left or banks.get(_SHA256) != 32 or banks.get(_SHA1, 20) != 20:
        raise WireError("event log: expected a SHA-256 bank, and nothing after the banks")
    return banks


def _read_digests(source: _Reader, banks: dict[int, int]) -> bytes:
    count = source.number(4)
    if count != len(banks):
        raise WireError(f"event log: an event with {count} digests, expected {len(banks)}")
    digests: dict[int, bytes] = {}
    for _ in range(count):
        algorithm = source.number(2)
        if algorithm not in banks or algorithm in digests:
            raise WireError("event log: an event with a digest twice, or of a bank that there is not")
        digests[algorithm] = source.octets(banks[algorithm])
    return digests[_SHA256]


def _locality(said: bytes, before: int) -> int:
    if not said.startswith(_LOCALITY):
        return before
    if len(said) != len(_LOCALITY) + 1:
        raise WireError("event log: expected one byte of locality")
    return said[-1]


class _Reader:
    """Little-endian fields one after the other, and never past the end."""

    def __init__(self, data: bytes) -> None:
        if len(data) > LOG_MAX_BYTES:
            raise WireError(f"event log: {len(data)} bytes, expected at most {LOG_MAX_BYTES}")
        self._data, self._at = data, 0

    @property
    def left(self) -> int:
        """How many bytes are not read yet."""
        return len(self._data) - self._at

    def octets(self, size_bytes: int) -> bytes:
        """Return that many bytes."""
        if size_bytes > self.left:
            raise WireError("event log: is cut short")
        self._at += size_bytes
        return self._data[self._at - size_bytes : self._at]

    def number(self, size_bytes: int) -> int:
        """Return an unsigned number of that many bytes."""
        return int.from_bytes(self.octets(size_bytes), "little")

    def sized(self) -> bytes:
        """Return four bytes of length, and what they count."""
        return self.octets(self.number(4))
