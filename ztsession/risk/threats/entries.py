"""What one list names, whatever it was written in: addresses, keys, programs, package sets.

Digests are kept as their 32 bytes and networks by their prefix, so that a list of a million lines takes a
hundred megabytes or so and is asked in a microsecond.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from ztsession.errors import ConfigurationError
from ztsession.risk.networks import address_of
from ztsession.risk.threats.prefixes import PrefixSet

__all__ = ["ADDRESSES", "ENTRIES_MAX", "KEYS", "OF", "PACKAGES", "PROGRAMS", "Entries"]

#: What lists are of. Keys and programs by SHA-256, package sets by the digest that hosts measure.
ADDRESSES, KEYS, PROGRAMS, PACKAGES = "addresses", "keys", "programs", "packages"
OF: Final = (ADDRESSES, KEYS, PROGRAMS, PACKAGES)

#: Of one list: 2 million digests as text, a line each, are as long as a file may be.
ENTRIES_MAX: Final = 2_000_000

_DIGEST: Final = re.compile("[0-9A-Fa-f]{64}", re.ASCII)


class Entries:
    """The entries of one list. A reader adds; afterwards it is only asked."""

    def __init__(self) -> None:
        self._addresses = PrefixSet()
        self._digests: dict[str, set[bytes]] = {of: set() for of in OF if of != ADDRESSES}
        self._count = 0

    def __len__(self) -> int:
        """How many entries were added."""
        return self._count

    def add(self, of: str, text: str) -> None:
        """Take one entry; ValueError says what was expected in its place."""
        if self._count == ENTRIES_MAX:
            raise ValueError(f"at most {ENTRIES_MAX} entries")
        if of == ADDRESSES:
            self._addresses.add(text)
        elif _DIGEST.fullmatch(text):
            self._digests[of].add(bytes.fromhex(text))
        else:
            raise ValueError("a SHA-256 digest of 64 hexadecimal digits")
        self._count += 1

    def add_line(self, of: str, text: str, *, file: str, line: int) -> None:
        """:meth:`add` what stands in a line of a file; ConfigurationError names the place."""
        try:
            self.add(of, text)
        except ValueError as error:
            raise ConfigurationError(f"expected {error}", file=file, line=line) from None

    def found(self, of: str, values: Iterable[str]) -> list[str]:
        """The entries that one of these is, or lies in: digests in hexadecimal, addresses in any spelling.

        What is no digest and no address, such as "unknown", is in no list.
        """
        if of == ADDRESSES:
            networks = (self._addresses.holding(address_of(value)) for value in values)
            return [network for network in networks if network]
        digests = self._digests[of]
        if not digests:
            return []
        return [value for value in values if _DIGEST.fullmatch(value) and bytes.fromhex(value) in digests]

    def holds(self, of: str, entry: str) -> bool:
        """Whether an entry that was found once is still listed."""
        return self._addresses.holds(entry) if of == ADDRESSES else bool(self.found(of, [entry]))
