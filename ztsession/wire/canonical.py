"""The one encoding of a value: canonical msgpack.

Keys are derived from digests of encoded values, and signatures cover them. If a value had two encodings,
or one encoding two readings, then two honest parties could hold different decisions under one key, or the
same decision under two. So there is exactly one form: map keys are text in ascending order without
duplicates, integers and lengths take their shortest form, floats and extension types do not exist, and
nothing may follow the value.

Writing is left to msgpack, once the keys are in order. Reading is not: a plain reader takes every form, and
allocates what a few bytes claim. The extension's own reader refuses whatever this module would not write.
"""

from __future__ import annotations

from typing import Any

import msgpack  # type: ignore[import-untyped]

from ztsession._canonical import MAX_DEPTH, ordered, read
from ztsession.errors import WireError

__all__ = ["MAX_DEPTH", "decode", "encode"]


def encode(obj: object) -> bytes:
    """Return the only accepted encoding of ``obj``; :class:`WireError` if it has none.

    Values are dict (text keys), list or tuple, str, bytes, bool, None and integers from -2**63 to 2**64 - 1.
    """
    packed: bytes = msgpack.packb(ordered(obj), use_bin_type=True)
    return packed


def decode(data: bytes, *, max_bytes: int) -> Any:
    """Return the value whose canonical encoding is exactly ``data``, of at most ``max_bytes`` bytes.

    Raises :class:`WireError` for everything else; ``encode(decode(data)) == data`` always holds.
    """
    if len(data) > max_bytes:
        raise WireError(f"message of {len(data)} bytes is over the limit of {max_bytes}")
    return read(bytes(data))
