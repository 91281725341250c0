"""Labelled digests keep purposes and parts apart."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from ztsession.wire import digest


def test_the_layout_is_the_written_one():
    """The digest is SHA-256 over length-prefixed label and parts, as the protocol says."""
    label = b"ztsession v1 x"
    expected = hashlib.sha256(len(label).to_bytes(8, "big") + label + (2).to_bytes(8, "big") + b"ab").digest()
    assert digest("x", b"ab") == expected


@given(st.lists(st.binary(max_size=8), max_size=4), st.lists(st.binary(max_size=8), max_size=4))
def test_different_parts_have_different_digests(one, two):
    """No two lists of parts share a digest, even when they join to the same bytes."""
    assert (digest("x", *one) == digest("x", *two)) == (one == two)


def test_labels_separate():
    """A digest for one purpose is none for another."""
    assert digest("a", b"b") != digest("ab", b"") != digest("", b"ab")
