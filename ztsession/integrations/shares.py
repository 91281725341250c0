"""How much of what is there for all may one hold: a count for each source, and no more memory than that.

A bound on the whole keeps a server alive and lets whoever comes first keep it to himself. A share for each
source leaves something for the others (D4).
"""

from __future__ import annotations

import threading
from collections import Counter

from ztsession.wire.source import address_of, network_of

__all__ = ["Shares"]


class Shares:
    """Counts what each source holds. Thread-safe; a source that holds nothing is not remembered."""

    def __init__(self, per_source_max: int) -> None:
        """``per_source_max`` for each IPv4 address or IPv6 /64; the empty source, this machine, has no
        limit.
        """
        self._max, self._held, self._lock = per_source_max, Counter[bytes](), threading.Lock()

    def take(self, source: str) -> bool:
        """Take one more for ``source``, the text of an address; False when it holds its share already."""
        if not source:
            return True
        network = network_of(address_of(source))
        with self._lock:
            if self._held[network] >= self._max:
                return False
            self._held[network] += 1
        return True

    def give_back(self, source: str) -> None:
        """Give back one that was taken."""
        if not source:
            return
        network = network_of(address_of(source))
        with self._lock:
            self._held[network] -= 1
            if self._held[network] <= 0:
                del self._held[network]

    def __len__(self) -> int:
        """How many sources hold anything."""
        return len(self._held)
