"""Which of the Authority's keys this point believes: those it was given, and those that the feed named since.

A key is announced in the feed before it is used, under a signature of a key that is believed already, so a
rotation reaches every point that listens. What the feed retired is believed never again, whoever gives it:
a stolen old key must not come back by way of an old configuration file or an old announcement.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import Final

from ztsession.errors import ConfigurationError, EvidenceError
from ztsession.wire.signature import check_public_key

__all__ = ["Believed"]

#: Each message may be tried against each of them, so there must not be many.
KEYS_MAX: Final = 8

_log = logging.getLogger("ztsession.enforcement")


class Believed:
    """The signing keys that a point accepts, and the names of all keys that were retired. Thread-safe."""

    def __init__(self, segment: str, pinned: Sequence[bytes]) -> None:
        """``pinned``: Ed25519 public keys, 32 bytes each; ConfigurationError for what is none."""
        if not 1 <= len(pinned) <= KEYS_MAX:
            raise ConfigurationError(f"ticket_key: expected 1 to {KEYS_MAX} keys, not {len(pinned)}")
        for key in pinned:
            try:
                check_public_key(key)
            except EvidenceError as error:
                raise ConfigurationError(f"ticket_key: expected Authority.ticket_key: {error}") from None
        self._segment, self._lock = segment, threading.Lock()
        self._keys, self._pinned = tuple(dict.fromkeys(pinned)), frozenset(pinned)
        self._retired: frozenset[bytes] = frozenset()

    @property
    def keys(self) -> tuple[bytes, ...]:
        """What tickets and feed answers may be signed with."""
        return self._keys

    def is_retired(self, name: bytes) -> bool:
        """Whether a key of this name (32 bytes) is over."""
        return name in self._retired

    def announce(self, key: bytes) -> None:
        """Believe a key that the feed announced."""
        with self._lock:
            if key in self._keys or key in self._retired:
                return
            if len(self._keys) >= KEYS_MAX:
                _log.error("segment %s was told of more than %d signing keys", self._segment, KEYS_MAX)
                return
            self._keys = (*self._keys, key)
        _log.warning(
            "segment %s: the Authority announces the signing key %s: give it as ticket_key, too, or this "
            "point will not understand its Authority after a restart",
            self._segment,
            key.hex(),
        )

    def retire(self, name: bytes) -> None:
        """Believe a key no more: a signing key by itself, a segment's key by its name."""
        with self._lock:
            self._retired |= {name}
            self._keys = tuple(key for key in self._keys if key != name)
        if name in self._pinned:
            _log.warning(
                "segment %s: the signing key %s is retired: take it out of ticket_key",
                self._segment,
                name.hex(),
            )
