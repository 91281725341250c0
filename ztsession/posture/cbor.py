"""CBOR as strangers may send it: bounded, definite, and without anything that a decoder would act upon.

A decoder that follows the whole of RFC 8949 builds dates, regular expressions, fractions and shared
references for whoever asks, and a few bytes can announce more items than there is memory. So the heads of all
items are walked first, which allocates nothing: no tags, no indefinite lengths, no length in more bytes than
it needs, few items, little depth, nothing behind the end. Only what passes is decoded.
"""

from __future__ import annotations

from typing import Any

from ztsession.errors import WireError

__all__ = ["DEPTH_MAX", "ITEMS_MAX", "check_labels", "read_cbor"]

#: A token of a few dozen claims has some hundred items; more are colliding keys or ballast.
ITEMS_MAX = 1024
DEPTH_MAX = 8

_BYTES, _TEXT, _ARRAY, _MAP, _TAG, _SIMPLE = range(2, 8)
_FALSE, _NULL = 20, 22
#: Where the argument stands in the bytes that follow, by the low five bits of a head (RFC 8949, section 3).
_ARGUMENT_BYTES = {24: 1, 25: 2, 26: 4, 27: 8}


def read_cbor(data: bytes) -> Any:
    """Return the one item in ``data``; ``WireError`` for anything but plain items of definite length."""
    import cbor2

    _walk(data)
    try:
        return cbor2.loads(data, max_depth=DEPTH_MAX, allow_indefinite=False, allow_duplicate_keys=False)
    except Exception as error:
        raise WireError(f"not CBOR as expected: {type(error).__name__}") from None


def check_labels(found: dict[Any, Any]) -> None:
    """Raise ``WireError`` unless all keys are labels as COSE has them, integers or text (RFC 9052, 1.4)."""
    # To Python 1.0 and true are 1: a second way to write a label.
    if not all(type(label) in (int, str) for label in found):
        raise WireError("CBOR with a label that is neither an integer nor text")


def _walk(data: bytes) -> None:
    """Raise unless the heads of all items add up to exactly ``data``."""
    at, items = 0, 0
    missing = [1]  # of each open container, the items that are still to come
    while missing:
        if not missing[-1]:
            missing.pop()
            continue
        missing[-1] -= 1
        items += 1
        major, argument, at = _head(data, at)
        if major in (_BYTES, _TEXT):
            at += argument
        elif major in (_ARRAY, _MAP):
            missing.append(argument * (major - _ARRAY + 1))
        if items + missing[-1] > ITEMS_MAX or len(missing) > DEPTH_MAX + 1:
            raise WireError("CBOR with a depth or a number of items that is over the limit")
    if at != len(data):
        raise WireError("CBOR with bytes behind its end")


def _head(data: bytes, at: int) -> tuple[int, int, int]:
    """Return the major type, the argument, and where the head ends."""
    if at >= len(data):
        raise WireError("CBOR that is cut off")
    major, low = data[at] >> 5, data[at] & 31
    at += 1
    if major == _TAG:
        raise WireError("CBOR with a tag where none is expected")
    if major == _SIMPLE and low < 24:
        if not _FALSE <= low <= _NULL:
            raise WireError("CBOR with a simple value that has no meaning here")
        return major, 0, at
    if low < 24:
        return major, low, at
    size = _ARGUMENT_BYTES.get(low)
    if size is None or len(data) - at < size:
        raise WireError("CBOR that is cut off, or of indefinite length")
    argument = int.from_bytes(data[at : at + size], "big")
    if major == _SIMPLE:
        return _float(low, at + size)
    # A second way to write a number is a second form of what was signed.
    if argument < (24 if size == 1 else 1 << 4 * size):
        raise WireError("CBOR with a number in more bytes than it needs")
    return major, argument, at + size


def _float(low: int, end: int) -> tuple[int, int, int]:
    if low == 24:
        raise WireError("CBOR with a simple value that has no meaning here")
    return _SIMPLE, 0, end
