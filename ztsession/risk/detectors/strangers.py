"""Who sends calls that belong to nobody: forged, unreadable, of sessions that there are not.

Before a tag has held, nobody is known, and a session whose handle stands in a forged token has done nothing.
So what is found here is about an address, and is told and never held against a session (D10): its level is
LOW, whatever is configured. Honest clients may share the address.

Only a server knows where a call came from. It says so when one was refused:

    except Denied as error:
        strangers.refused(peer, error)

Counting must not become the attack. Sources are kept in a fixed number of places (Misra and Gries, "Finding
repeated elements", 1982): whoever sends more than a share of all that comes is among them, and a flood from a
million addresses takes no more memory than one from a single address (D8).
"""

from __future__ import annotations

import ipaddress
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

from ztsession._scan import Scan
from ztsession.errors import BadEpoch, BadTag, Denied, Malformed, UnknownSession
from ztsession.risk.detectors.protocol import Finding
from ztsession.risk.levels import Level
from ztsession.risk.networks import address_of

__all__ = ["SOURCES_MAX", "Strangers"]

SOURCES_MAX: Final = 1024
_OF_NOBODY: Final = (BadTag, Malformed, UnknownSession, BadEpoch)
#: As much as one customer of a provider has.
_IPV6_PREFIX: Final = 64

_log = logging.getLogger("ztsession.risk")


class Strangers:
    """Counts refusals of calls that nobody can be charged with, by their source; signals of kind ``threat``.

    :meth:`refused` may be called by any thread, and costs less than a microsecond or two.
    """

    def __init__(
        self, *, count: int = 100, within_s: int = 60, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """``count`` of them ``within_s`` seconds are too many."""
        self._count, self._within_s, self._clock = count, within_s, clock
        self._lock = threading.Lock()
        self._counted: dict[str, int] = {}
        self._unnamed, self._crowded, self._since = 0, False, clock()

    def __len__(self) -> int:
        """How many sources are counted at present."""
        return len(self._counted)

    def refused(self, source: str, error: Denied) -> None:
        """A call from ``source`` (an address as text) was refused; other verdicts than BAD_TAG, MALFORMED,
        UNKNOWN_SESSION and BAD_EPOCH are let be.
        """
        if not isinstance(error, _OF_NOBODY):
            return
        network = _counted_as(source)
        with self._lock:
            if not network:
                self._unnamed += 1
            elif network in self._counted or len(self._counted) < SOURCES_MAX:
                self._counted[network] = self._counted.get(network, 0) + 1
            else:
                # One less for each, and for the newcomer: each such turn was paid for by as many calls.
                self._crowded = True
                self._counted = {each: n - 1 for each, n in self._counted.items() if n > 1}

    def look(self, scan: Scan) -> Iterator[Finding]:
        """One finding for each source that sent too many."""
        with self._lock:
            found = [(network, n) for network, n in self._counted.items() if n >= self._count]
            over = not 0 <= self._clock() - self._since < self._within_s
            unnamed, crowded = self._unnamed, self._crowded
            if over:
                self._counted, self._unnamed, self._crowded, self._since = {}, 0, False, self._clock()
        if over and (crowded or unnamed >= self._count):
            _log.warning(
                "calls that belong to nobody: %d from sources without an address%s",
                unnamed,
                ", and from more addresses than are counted" if crowded else "",
            )
        for network, n in found:
            evidence = {"refused": str(n), "within_s": str(self._within_s)}
            yield Finding("threat", Level.LOW, network=network, evidence=evidence)


def _counted_as(source: str) -> str:
    address = address_of(source)
    if ":" not in address:
        return address
    return str(ipaddress.ip_network((address, _IPV6_PREFIX), strict=False))
