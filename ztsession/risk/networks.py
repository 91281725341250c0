"""Addresses and networks in one spelling, so that a signal against one finds the sessions that came from it.

An IPv4 address that arrives in IPv6 clothes (``::ffff:192.0.2.1``) is the IPv4 address: who is refused under
one name must not come in under the other. A zone (``%eth0``) says which card of ours it came by, not who
came.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import Final

__all__ = ["NETWORK_MAX_BYTES", "address_of", "is_in", "network_of"]

#: A full IPv6 address with its prefix.
NETWORK_MAX_BYTES: Final = 43


def address_of(source: str) -> str:
    """The address that ``source`` is, in its one spelling; "" for what is none, such as a Unix socket."""
    try:
        address = ipaddress.ip_address(source.partition("%")[0])
    except ValueError:
        return ""
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def network_of(text: str) -> str:
    """An address or a network ("192.0.2.0/24") in its one spelling; ValueError for anything else.

    Host bits must be zero: whoever writes 192.0.2.7/8 has not said which of the two was meant.
    """
    if address := address_of(text):
        return address
    network = ipaddress.ip_network(text, strict=True)
    base = getattr(network.network_address, "ipv4_mapped", None)
    if base is not None:  # so the prefix covers the clothes
        network = ipaddress.ip_network((base, network.prefixlen - 96))
    return str(network.network_address) if network.num_addresses == 1 else str(network)


def is_in(address: str, network: str) -> bool:
    """Whether an address (or "" for none) lies in a network, both in their one spelling."""
    if "/" not in network or not address:
        return address == network != ""
    return _address(address) in _network(network)


# One address is held against all networks that something stands against, and one network against all
# addresses that sessions come from: to read the one anew each time would take most of the time.
_address: Final = lru_cache(64)(ipaddress.ip_address)
_network: Final = lru_cache(16_384)(ipaddress.ip_network)
