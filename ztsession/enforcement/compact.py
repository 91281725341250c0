"""A map from names to small numbers for millions of entries: 12 bytes each where a dict would take 120.

Only a keyed 64-bit hash of each name is kept, under a key that is drawn when the map is made, so that
nobody outside can choose names that collide. Two names of the same hash (one pair in 10^8 among a million)
are one to this map: whoever uses it must compare the full name where taking one for the other would matter.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator
from hashlib import blake2b

__all__ = ["CompactMap"]

_EMPTY, _GONE = 0, 1
_SLOTS_MIN = 64


class CompactMap:
    """Names (bytes) to integers from 0 to 2^32 - 1, by open addressing. Not thread-safe."""

    def __init__(self) -> None:
        """An empty map."""
        self._key = os.urandom(16)
        self._allocate(_SLOTS_MIN)

    def __len__(self) -> int:
        """How many names are in the map."""
        return self._live

    def __contains__(self, name: bytes) -> bool:
        return self.get(name) is not None

    def alike(self, name: bytes, other: bytes) -> bool:
        """Whether this map cannot tell the two names apart."""
        return self._hash(name) == self._hash(other)

    def get(self, name: bytes) -> int | None:
        """The number of ``name``, or None."""
        at = self._find(self._hash(name))
        return None if at is None else self._numbers[at]

    def put(self, name: bytes, number: int) -> None:
        """Set the number of ``name``."""
        hashed = self._hash(name)
        at = self._find(hashed)
        if at is not None:
            self._numbers[at] = number
            return
        if 3 * (self._used + 1) > 2 * len(self._hashes):
            self._rebuild()
        self._insert(hashed, number)

    def pop(self, name: bytes) -> int | None:
        """Take ``name`` out; its number, or None."""
        at = self._find(self._hash(name))
        if at is None:
            return None
        self._hashes[at] = _GONE
        self._live -= 1
        return self._numbers[at]

    def _hash(self, name: bytes) -> int:
        hashed = int.from_bytes(blake2b(name, digest_size=8, key=self._key).digest(), "little")
        return hashed if hashed > _GONE else hashed + 2

    def _probes(self, hashed: int) -> Iterator[int]:
        mask = len(self._hashes) - 1
        at = hashed & mask
        while True:
            yield at
            at = (at + 1) & mask

    def _find(self, hashed: int) -> int | None:
        for at in self._probes(hashed):
            if self._hashes[at] == hashed:
                return at
            if self._hashes[at] == _EMPTY:
                return None
        raise AssertionError("a third of the places is always empty")

    def _insert(self, hashed: int, number: int) -> None:
        at = next(at for at in self._probes(hashed) if self._hashes[at] == _EMPTY)
        self._hashes[at], self._numbers[at] = hashed, number
        self._used += 1
        self._live += 1

    def _rebuild(self) -> None:
        entries = [(h, n) for h, n in zip(self._hashes, self._numbers, strict=True) if h > _GONE]
        slots = _SLOTS_MIN
        while slots < 2 * (len(entries) + 1):
            slots *= 2
        self._allocate(slots)
        for hashed, number in entries:
            self._insert(hashed, number)

    def _allocate(self, slots: int) -> None:
        # Places ever taken (`used`) count for the load, those still taken (`live`) for the size.
        self._hashes, self._numbers = array("Q", bytes(8 * slots)), array("I", bytes(4 * slots))
        self._used = self._live = 0
