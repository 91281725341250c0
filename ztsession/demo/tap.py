"""A tap on the line between algorithm and gateway: what anybody who can see the network has.

The frames are not encrypted here, and need not be: nothing that can be read off the wire can be used again.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ztsession.client.transport import Transport
from ztsession.demo.messages import is_signed

__all__ = ["Tap", "Tapped"]


class Tap:
    """A Transport that passes everything through and keeps a copy of what went by lately. Thread-safe: an
    installation waits until the frame before it has been answered.
    """

    def __init__(self, line: Transport) -> None:
        self._line, self._turn = line, threading.Lock()
        self._installation: tuple[bytes, bytes] = (b"", b"")
        self._frames: deque[tuple[bytes, bytes]] = deque(maxlen=96)
        self._before: deque[bytes] = deque(maxlen=256)

    def exchange(self, message: bytes) -> bytes:
        """Pass a message on, and its answer back."""
        with self._turn:
            answer = self._line.exchange(message)
            if is_signed(message):
                self._frames.append((message, answer))
            else:
                self._installation = (message, answer)
                # A new session: what was seen until now is of an earlier one.
                self._before.extend(sent for sent, _ in self._frames)
                self._frames.clear()
            return answer

    def as_text(self) -> dict[str, list[str]]:
        """What was seen, in hexadecimal: ready to be handed to somebody with bad intentions."""
        seen: dict[str, Sequence[bytes]] = {
            "installation": self._installation,
            "orders": [sent for sent, _ in self._frames],
            "replies": [answer for _, answer in self._frames],
            "before": list(self._before),
        }
        return {name: [frame.hex() for frame in frames] for name, frames in seen.items()}


@dataclass(frozen=True)
class Tapped:
    """What a tap has seen: the last installation (request, answer), frames of its session, and of those
    before.
    """

    installation: Sequence[bytes]
    orders: Sequence[bytes]
    replies: Sequence[bytes]
    before: Sequence[bytes]

    @classmethod
    def from_text(cls, text: Mapping[str, Sequence[str]]) -> Tapped:
        """Read what :meth:`Tap.as_text` gives."""
        return cls(**{name: [bytes.fromhex(frame) for frame in frames] for name, frames in text.items()})
