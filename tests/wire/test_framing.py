"""Frames come out whole, however the stream is cut, and a bad length ends the stream."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ztsession.errors import WireError
from ztsession.wire import MAX_FRAME_BYTES, FrameReader, frame


@given(st.lists(st.binary(max_size=50), max_size=6), st.lists(st.integers(1, 20), min_size=1, max_size=8))
def test_frames_survive_any_cutting(bodies, steps):
    """The same bodies come out, in order, whatever pieces the bytes arrive in."""
    stream = b"".join(map(frame, bodies))
    reader, found, position, turn = FrameReader(), [], 0, 0
    while position < len(stream):
        size = steps[turn % len(steps)]
        found += reader.feed(stream[position : position + size])
        position, turn = position + size, turn + 1
    assert found == bodies
    assert reader.pending_bytes == 0


def test_the_largest_frame_passes_and_one_more_byte_does_not():
    """MAX_FRAME_BYTES is accepted on both sides, and one more is refused on both."""
    largest = bytes(MAX_FRAME_BYTES)
    assert FrameReader().feed(frame(largest)) == [largest]
    with pytest.raises(WireError, match="over the limit"):
        frame(largest + b"x")
    with pytest.raises(WireError, match="over the limit"):
        FrameReader().feed((MAX_FRAME_BYTES + 1).to_bytes(4, "big"))


def test_a_bad_length_is_refused_before_its_body_and_for_good():
    """The length alone is enough to refuse, nothing is kept, and the reader stays dead."""
    reader = FrameReader()
    with pytest.raises(WireError, match="over the limit"):
        reader.feed(frame(b"ok") + b"\xff\xff\xff\xff" + b"body")
    assert reader.pending_bytes == 0
    with pytest.raises(WireError, match="earlier"):
        reader.feed(frame(b"ok"))


def test_an_unfinished_frame_shows():
    """At the end of a stream, pending_bytes tells a cut frame from a clean end."""
    reader = FrameReader()
    assert reader.feed(frame(b"abc")[:-1]) == []
    assert reader.pending_bytes == 6
