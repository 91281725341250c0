"""A renewal behind the back of trading: it must not cost a single order.

The keeper gets the new session and installs it at both points in a thread of its own, while the main thread
goes on signing with the old keys. From one order to the next the new keys are in force; the old ones are
taken for ten more seconds, and so nothing that is under way is lost.
"""

from __future__ import annotations

import threading
import time

from ztsession import SessionKeeper
from ztsession.errors import ZtsError

__all__ = ["Renewing"]


class Renewing:
    """One renewal, and how many orders went out before, during and after it."""

    def __init__(self, keeper: SessionKeeper) -> None:
        self._keeper = keeper
        self._thread: threading.Thread | None = None
        self._failed: ZtsError | None = None
        self._took_ns = 0
        self._orders = {"before": 0, "during": 0, "after": 0}

    def begin(self) -> None:
        """Start it, unless that was done before."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._renew, name="demo-renewal", daemon=True)
            self._thread.start()

    def counts(self, orders: int) -> None:
        """So many orders are about to be sent."""
        if self._thread is None:
            self._orders["before"] += orders
        else:
            self._orders["during" if self._thread.is_alive() else "after"] += orders

    def end(self) -> dict[str, int] | None:
        """Wait for its end; what it took, None if it was never begun. ZtsError when it failed."""
        if self._thread is None:
            return None
        self._thread.join()
        if self._failed is not None:
            raise self._failed
        return {**self._orders, "took_ns": self._took_ns}

    def _renew(self) -> None:
        began_ns = time.perf_counter_ns()
        try:
            self._keeper.renew()
        except ZtsError as error:
            self._failed = error
        self._took_ns = time.perf_counter_ns() - began_ns
