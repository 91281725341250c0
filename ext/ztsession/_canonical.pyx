"""The strict half of canonical msgpack: a reader that accepts one form, and the order that a writer needs.

It reads what strangers send, so nothing is allocated on the word of a message: a container is as long as it
claims only if that many bytes follow, and no deeper than it may be. There is no second pass; each rule is
checked where it could be broken.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport uint8_t, uint64_t

from ztsession.errors import WireError

#: Containers may be nested this deep; no message of the protocol needs more than four.
MAX_DEPTH = 8


cdef class _Reader:
    """One pass over one message."""

    cdef const uint8_t *at
    cdef const uint8_t *end

    cdef object value(self, int depth):
        cdef uint8_t lead = self.byte()
        if lead <= 0x7f:
            return lead
        if lead >= 0xe0:
            return <int>lead - 0x100
        if lead <= 0x8f:
            return self.map(lead & 0x0f, depth)
        if lead <= 0x9f:
            return self.list(lead & 0x0f, depth)
        if lead <= 0xbf:
            return self.text(lead & 0x1f)
        if lead == 0xc0:
            return None
        if lead == 0xc2 or lead == 0xc3:
            return lead == 0xc3
        if 0xc4 <= lead <= 0xc6:
            return self.octets(self.length(1 << (lead - 0xc4), 0))
        if 0xd9 <= lead <= 0xdb:
            return self.text(self.length(1 << (lead - 0xd9), 32))
        if lead == 0xdc or lead == 0xdd:
            return self.list(self.length(2 << (lead - 0xdc), 16), depth)
        if lead == 0xde or lead == 0xdf:
            return self.map(self.length(2 << (lead - 0xde), 16), depth)
        return self.number(lead)

    cdef object number(self, uint8_t lead):
        if 0xcc <= lead <= 0xcf:
            return self.length(1 << (lead - 0xcc), 0x80)
        if 0xd0 <= lead <= 0xd3:
            return self.negative(1 << (lead - 0xd0))
        if lead == 0xc1:
            raise WireError("message is not msgpack (a byte that means nothing)")
        raise WireError("floats and extension types have no encoding here")

    # It counts down from -1. Down to -32 numbers are bytes of their own, and from 0 on they have other forms.
    cdef object negative(self, int size):
        cdef uint64_t below = ~self.big_endian(size) & (~<uint64_t>0 >> (64 - 8 * size))
        cdef uint64_t least = 0x20 if size == 1 else <uint64_t>1 << (4 * size - 1)
        if below < least or below >> (8 * size - 1):
            raise WireError("message is not in canonical form")
        return -1 - <object>below

    cdef dict map(self, uint64_t count, int depth):
        self.check_container(count, 2, depth)
        cdef dict result = {}
        cdef const uint8_t *last = NULL
        cdef size_t last_size = 0
        cdef const uint8_t *key_at
        cdef size_t size
        for _ in range(count):
            size = self.key_length()
            key_at = self.at
            key = self.text(size)
            if last is not NULL and not ascends(last, last_size, key_at, size):
                raise WireError("map keys are repeated or out of order")
            last, last_size = key_at, size
            result[key] = self.value(depth - 1)
        return result

    cdef list list(self, uint64_t count, int depth):
        self.check_container(count, 1, depth)
        cdef list result = []
        for _ in range(count):
            result.append(self.value(depth - 1))
        return result

    cdef size_t key_length(self) except? 0:
        cdef uint8_t lead = self.byte()
        if 0xa0 <= lead <= 0xbf:
            return lead & 0x1f
        if 0xd9 <= lead <= 0xdb:
            return self.length(1 << (lead - 0xd9), 32)
        raise WireError("map keys must be text")

    cdef str text(self, uint64_t size):
        cdef const uint8_t *start = self.take(size)
        try:
            return PyUnicode_DecodeUTF8(<const char *>start, size, NULL)
        except UnicodeDecodeError:
            # The cause would quote the message, which may hold secrets.
            raise WireError("message holds text that is not UTF-8") from None

    cdef bytes octets(self, uint64_t size):
        cdef const uint8_t *start = self.take(size)
        return PyBytes_FromStringAndSize(<const char *>start, size)

    # A length or a number in so many bytes, which must not fit a shorter form.
    cdef uint64_t length(self, int size, uint64_t least_in_one) except? 0:
        cdef uint64_t value = self.big_endian(size)
        if value < least_of(size, least_in_one):
            raise WireError("message is not in canonical form")
        return value

    cdef uint64_t big_endian(self, size_t size) except? 0:
        cdef const uint8_t *start = self.take(size)
        cdef uint64_t value = 0
        cdef size_t i
        for i in range(size):
            value = value << 8 | start[i]
        return value

    cdef uint8_t byte(self) except? 0:
        return self.take(1)[0]

    cdef const uint8_t *take(self, uint64_t size) except NULL:
        cdef const uint8_t *start = self.at
        if size > <uint64_t>(self.end - start):
            raise WireError("message is cut short")
        self.at = start + size
        return start

    cdef int check_container(self, uint64_t count, int bytes_each, int depth) except -1:
        if depth == 0:
            raise WireError(f"value is nested deeper than {MAX_DEPTH}")
        if count > <uint64_t>(self.end - self.at) / bytes_each:
            raise WireError("message is cut short")
        return 0


# The least that needs `size` bytes: forms double, so the one before has half as many. The shortest has one
# byte, or two for the lengths of containers; what is below `before_all` is in the lead byte itself.
cdef uint64_t least_of(int size, uint64_t before_all) noexcept:
    return before_all if size == 1 or (size == 2 and before_all == 16) else <uint64_t>1 << (4 * size)


cdef bint ascends(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size) noexcept:
    cdef size_t i
    for i in range(min(a_size, b_size)):
        if a[i] != b[i]:
            return a[i] < b[i]
    return a_size < b_size


def read(bytes data not None):
    """Return the value whose canonical encoding is exactly ``data``; ``WireError`` for everything else."""
    cdef _Reader reader = _Reader()
    reader.at = <const uint8_t *>PyBytes_AS_STRING(data)
    reader.end = reader.at + PyBytes_GET_SIZE(data)
    value = reader.value(MAX_DEPTH)
    if reader.at != reader.end:
        raise WireError("bytes follow the message")
    return value


def ordered(value, int depth=MAX_DEPTH):
    """Return ``value`` with every map's keys ascending; ``WireError`` for what has no canonical encoding."""
    kind = type(value)
    if kind is str:
        check_text(value)
        return value
    if value is None or kind is bytes or kind is bool:
        return value
    if kind is int:
        if not -0x8000000000000000 <= value <= 0xffffffffffffffff:
            raise WireError("integer does not fit 64 bits")
        return value
    if kind is dict:
        return ordered_map(value, depth)
    if kind is list or kind is tuple:
        if depth == 0:
            raise WireError(f"value is nested deeper than {MAX_DEPTH}")
        return [ordered(item, depth - 1) for item in value]
    # Exact types: a subclass could carry behaviour that the receiver never sees.
    raise WireError(f"a {kind.__name__} has no encoding here")


cdef dict ordered_map(dict value, int depth):
    if depth == 0:
        raise WireError(f"value is nested deeper than {MAX_DEPTH}")
    for key in value:
        if type(key) is not str:
            raise WireError("map keys must be text")
        check_text(key)
    # Text orders by code point, which is also the order of its UTF-8 bytes.
    return {key: ordered(value[key], depth - 1) for key in sorted(value)}


cdef int check_text(str text) except -1:
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise WireError("text holds a lone surrogate") from None
    return 0
