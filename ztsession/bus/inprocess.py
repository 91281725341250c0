"""The bus within one process: a change reaches every enforcement point before ``publish`` returns.

The lease is the safety property and a bus only makes it fast, so this one has little to do, but two things it
must not do: let one failing point keep a revocation from the others, and let changes overtake each other.
Deliveries go one at a time, in the order of publishing, also when a subscriber publishes from within a
delivery.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ztsession.bus.change import Change

__all__ = ["DeliveryFailure", "InProcessBus", "Subscriber"]

Subscriber = Callable[[Change], None]

_LOG: Final = logging.getLogger("ztsession.bus")


@dataclass(frozen=True, slots=True)
class DeliveryFailure:
    """One subscriber that did not take one change, and what it raised. Its lease will run out."""

    subscriber: Subscriber
    change: Change
    error: Exception


class InProcessBus:
    """Synchronous delivery to callables in this process. Thread-safe."""

    def __init__(self) -> None:
        self._delivery = threading.RLock()
        self._registry = threading.Lock()
        self._subscribers: tuple[tuple[object, Subscriber], ...] = ()
        self._pending: deque[Change] = deque()
        self._delivering = False

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Deliver every later change to ``subscriber``; call what is returned to stop (twice is harmless).

        Subscribing does not wait for a delivery that is under way. A subscriber learns what it missed from
        the store, and knows that it missed something by the numbers.
        """
        token = object()
        with self._registry:
            self._subscribers = (*self._subscribers, (token, subscriber))

        def unsubscribe() -> None:
            with self._registry:
                self._subscribers = tuple(entry for entry in self._subscribers if entry[0] is not token)

        return unsubscribe

    def publish(self, change: Change) -> list[DeliveryFailure]:
        """Deliver ``change`` to every subscriber; the failures, which are logged too. Never raises for them.

        Published from within a delivery, the change is queued: it is delivered, and its failures reported, by
        the outer call.
        """
        with self._delivery:
            self._pending.append(change)
            if self._delivering:
                return []
            self._delivering = True
            try:
                return self._deliver_pending()
            finally:
                self._delivering = False

    def _deliver_pending(self) -> list[DeliveryFailure]:
        failures: list[DeliveryFailure] = []
        while self._pending:
            change = self._pending.popleft()
            for token, subscriber in self._subscribers:
                if not any(token is entry[0] for entry in self._subscribers):
                    continue  # unsubscribed by another one during this delivery
                try:
                    subscriber(change)
                except Exception as error:
                    failures.append(DeliveryFailure(subscriber, change, error))
                    _LOG.warning("change %d was not taken: %s", change.number, type(error).__name__)
        return failures
