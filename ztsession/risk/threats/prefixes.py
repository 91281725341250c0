"""Networks by the length of their prefix, so that a million of them are asked in as many steps as there are
lengths.

A list is somebody else's word. One line of it must not be able to shut everybody out, so a network that is
wider than any one provider's is refused, and with it the list.
"""

from __future__ import annotations

import ipaddress
from typing import Final

from ztsession.risk.networks import network_of

__all__ = ["PrefixSet"]

#: By version of IP: no prefix is shorter.
PREFIX_MIN_BITS: Final = {4: 8, 6: 16}
_BITS: Final = {4: 32, 6: 128}


class PrefixSet:
    """Addresses and networks of both versions of IP."""

    def __init__(self) -> None:
        #: By version of IP and length of the prefix: the prefixes as numbers.
        self._prefixes: dict[int, dict[int, set[int]]] = {4: {}, 6: {}}

    def add(self, text: str) -> None:
        """Take an address or a network; ValueError says what was expected."""
        version, length, start = _prefix(text)
        if length < PREFIX_MIN_BITS[version]:
            raise ValueError(f"a network of /{PREFIX_MIN_BITS[version]} or narrower (IPv{version})")
        self._prefixes[version].setdefault(length, set()).add(start >> (_BITS[version] - length))

    def holding(self, address: str) -> str:
        """The narrowest network here that an address in its one spelling lies in; "" if none."""
        if not address:
            return ""
        found = ipaddress.ip_address(address)
        value, bits = int(found), _BITS[found.version]
        by_length = self._prefixes[found.version]
        held = [length for length, starts in by_length.items() if value >> (bits - length) in starts]
        return network_of(str(ipaddress.ip_network((found, max(held)), strict=False))) if held else ""

    def holds(self, network: str) -> bool:
        """Whether this very network, in its one spelling, is here."""
        version, length, start = _prefix(network)
        return start >> (_BITS[version] - length) in self._prefixes[version].get(length, ())


def _prefix(text: str) -> tuple[int, int, int]:
    """(version, bits of the prefix, first address as a number)."""
    try:
        # The way of nearly every line of nearly every list; the other takes five times as long.
        number = int(ipaddress.IPv4Address(text))
    except ValueError:
        return _any_prefix(text)
    return 4, 32, number


def _any_prefix(text: str) -> tuple[int, int, int]:
    try:
        network = ipaddress.ip_network(network_of(text))
    except ValueError:
        raise ValueError("an address or a network such as 192.0.2.0/24") from None
    return network.version, network.prefixlen, int(network.network_address)
