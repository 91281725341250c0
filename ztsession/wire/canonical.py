"""The one encoding of a value: canonical msgpack.

Keys are derived from digests of encoded values, and signatures cover them. If a value had two encodings,
or one encoding two readings, then two honest parties could hold different decisions under one key, or the
same decision under two. So there is exactly one form: map keys are text in ascending order without
duplicates, integers take their shortest form, floats and extension types do not exist, and nothing may
follow the value.

Decoding walks the containers itself, with the depth and the declared lengths bounded by what is really
there, and leaves only scalars to msgpack: a few bytes that claim to be nested arrays of a billion items
cost nothing. What comes out is encoded again and must give the same bytes, so that no reading is accepted
that we would not write.
"""

from __future__ import annotations

from typing import Any

import msgpack  # type: ignore[import-untyped]

from ztsession.errors import WireError

__all__ = ["MAX_DEPTH", "decode", "encode"]

#: Containers may be nested this deep; no message of the protocol needs more than four.
MAX_DEPTH = 8

_INTEGER_MIN = -(2**63)
_INTEGER_MAX = 2**64 - 1


def encode(obj: object) -> bytes:
    """Return the only accepted encoding of ``obj``; :class:`WireError` if it has none.

    Values are dict (text keys), list or tuple, str, bytes, bool, None and integers from -2**63 to 2**64 - 1.
    """
    return _pack(_ordered(obj, MAX_DEPTH))


def decode(data: bytes, *, max_bytes: int) -> Any:
    """Return the value whose canonical encoding is exactly ``data``, of at most ``max_bytes`` bytes.

    Raises :class:`WireError` for everything else; ``encode(decode(data)) == data`` always holds.
    """
    if len(data) > max_bytes:
        raise WireError(f"message of {len(data)} bytes is over the limit of {max_bytes}")
    data = bytes(data)
    value = _Reader(data).whole()
    # Containers were checked on the way in; this catches a scalar or a header in any but its shortest form.
    if _pack(value) != data:
        raise WireError("message is not in canonical form")
    return value


def _pack(value: object) -> bytes:
    packed: bytes = msgpack.packb(value, use_bin_type=True)
    return packed


def _ordered(value: object, depth: int) -> object:
    if type(value) is dict:
        _check_depth(depth)
        # Text orders by code point, which is also the order of its UTF-8 bytes.
        return {key: _ordered(value[key], depth - 1) for key in sorted(value, key=_text_key)}
    if type(value) is list or type(value) is tuple:
        _check_depth(depth)
        return [_ordered(item, depth - 1) for item in value]
    return _scalar(value)


def _check_depth(depth: int) -> None:
    if depth == 0:
        raise WireError(f"value is nested deeper than {MAX_DEPTH}")


def _text_key(key: object) -> str:
    if type(key) is not str:
        raise WireError("map keys must be text")
    _scalar(key)
    return key


def _scalar(value: object) -> object:
    # Exact types: a subclass could carry behaviour that the receiver never sees.
    kind = type(value)
    if value is None or kind is bool or kind is bytes:
        return value
    if isinstance(value, str) and kind is str:
        if not value.isascii():
            try:
                value.encode("utf-8")
            except UnicodeEncodeError:
                raise WireError("text holds a lone surrogate") from None
        return value
    if isinstance(value, int) and kind is int:
        if not _INTEGER_MIN <= value <= _INTEGER_MAX:
            raise WireError("integer does not fit 64 bits")
        return value
    raise WireError(f"a {kind.__name__} has no encoding here")


class _Reader:
    """One pass over one message; containers by hand, scalars by msgpack."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._source = msgpack.Unpacker(
            raw=False, strict_map_key=True, ext_hook=_refuse_extension, max_buffer_size=max(len(data), 1)
        )
        self._source.feed(data)

    def whole(self) -> object:
        try:
            value = self._value(MAX_DEPTH)
        except WireError:
            raise
        except (ValueError, msgpack.UnpackException) as error:
            # UnicodeDecodeError is a ValueError. The cause may quote the message, which may hold secrets.
            raise WireError(f"message is not msgpack ({type(error).__name__})") from None
        if self._source.tell() != len(self._data):
            raise WireError("bytes follow the message")
        return value

    def _value(self, depth: int) -> object:
        lead = self._lead()
        if lead & 0xF0 == 0x80 or lead in (0xDE, 0xDF):
            return self._map(depth)
        if lead & 0xF0 == 0x90 or lead in (0xDC, 0xDD):
            return self._list(depth)
        return _scalar(self._source.unpack())

    def _map(self, depth: int) -> dict[str, object]:
        count = self._count(self._source.read_map_header(), 2, depth)
        result: dict[str, object] = {}
        last: str | None = None
        for _ in range(count):
            key = _text_key(self._scalar_only())
            if last is not None and key <= last:
                raise WireError("map keys are repeated or out of order")
            result[key] = self._value(depth - 1)
            last = key
        return result

    def _list(self, depth: int) -> list[object]:
        count = self._count(self._source.read_array_header(), 1, depth)
        return [self._value(depth - 1) for _ in range(count)]

    def _scalar_only(self) -> object:
        lead = self._lead()
        if 0x80 <= lead <= 0x9F or 0xDC <= lead <= 0xDF:
            raise WireError("map keys must be text")
        return self._source.unpack()

    def _lead(self) -> int:
        position: int = self._source.tell()
        if position >= len(self._data):
            raise WireError("message is cut short")
        return self._data[position]

    def _count(self, declared: int, bytes_each: int, depth: int) -> int:
        _check_depth(depth)
        if declared * bytes_each > len(self._data) - self._source.tell():
            raise WireError("message is cut short")
        return declared


def _refuse_extension(code: int, _data: bytes) -> object:
    raise WireError(f"extension type {code} has no meaning here")
