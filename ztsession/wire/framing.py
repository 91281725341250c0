"""Frames for stream sockets: a length, then that many bytes.

A stranger writes the length, so it is judged before a single byte of the body is kept: over the limit,
the reader is dead and the connection should be closed, because after a bad length there is no telling
where a frame begins.
"""

from __future__ import annotations

from ztsession.errors import WireError

__all__ = ["LENGTH_BYTES", "MAX_FRAME_BYTES", "FrameReader", "frame"]

LENGTH_BYTES = 4

#: One Noise message (65,535 bytes) fits; nothing larger is ever sent.
MAX_FRAME_BYTES = 65536


def frame(body: bytes) -> bytes:
    """Return ``body`` behind its length (4 bytes, big-endian); :class:`WireError` if it is too long."""
    if len(body) > MAX_FRAME_BYTES:
        raise WireError(f"frame of {len(body)} bytes is over the limit of {MAX_FRAME_BYTES}")
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


class FrameReader:
    """Cuts a byte stream into frame bodies; does no I/O and never holds more than one unfinished frame."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._dead = False

    @property
    def pending_bytes(self) -> int:
        """How many bytes of an unfinished frame are held; not 0 at the end of the stream means it was cut."""
        return len(self._pending)

    def feed(self, data: bytes) -> list[bytes]:
        """Take what the socket gave and return the bodies of the frames it completes, possibly none.

        Raises :class:`WireError` as soon as a length over ``MAX_FRAME_BYTES`` is seen, and ever after.
        """
        if self._dead:
            raise WireError("the stream broke the framing rules earlier")
        self._pending += data
        bodies: list[bytes] = []
        start = 0
        while (end := self._end_of_frame(start)) is not None:
            bodies.append(bytes(self._pending[start + LENGTH_BYTES : end]))
            start = end
        del self._pending[:start]
        return bodies

    def _end_of_frame(self, start: int) -> int | None:
        body = start + LENGTH_BYTES
        if len(self._pending) < body:
            return None
        length = int.from_bytes(self._pending[start:body], "big")
        if length > MAX_FRAME_BYTES:
            self._dead = True
            self._pending.clear()
            raise WireError(f"frame of {length} bytes is over the limit of {MAX_FRAME_BYTES}")
        return body + length if len(self._pending) >= body + length else None
