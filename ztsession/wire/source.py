"""Where a peer speaks from: one name for each address, and one for each network that a single peer may own.

An address has many spellings, and an IPv6 customer has 2^64 addresses. Whoever counts by the text of an
address counts the same peer again under each of them.
"""

from __future__ import annotations

import hashlib
import ipaddress

__all__ = ["UNNAMED", "address_of", "network_of"]

#: The one source of all peers on a network that no address is known of: a connection that its peer has reset
#: has none any more, and what he said before can still be read.
UNNAMED = "unnamed"

_NETWORK_BYTES = 8


def address_of(source: str) -> bytes:
    """The address that ``source`` spells: 4 bytes for IPv4 (also when mapped into IPv6), 16 for IPv6.

    What is no IP address is a name that the deployer's server chose, and gives 32 bytes.
    """
    try:
        address = ipaddress.ip_address(source)
    except ValueError:
        return hashlib.sha256(source.encode("utf-8", "backslashreplace")).digest()
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.packed
    return address.packed


def network_of(address: bytes) -> bytes:
    """Whom to count an address for: an IPv6 address for its /64, any other for itself."""
    return address[:_NETWORK_BYTES] if len(address) == 16 else address
