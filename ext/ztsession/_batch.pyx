"""Many calls at once, over buffers, with the GIL released.

Tokens lie one after the other, 48 bytes each. Bodies lie in one buffer, either all of one length or cut by an
array of offsets. Offsets are copied before they are checked, because other threads may write to the caller's
buffers meanwhile.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from ztsession._core cimport Table, operation_index, raise_status
from ztsession.zts cimport ZTS_DONE, ZTS_SEQUENCE_MAX, ZTS_TOKEN_BYTES, zts_bodies, zts_status


cdef const uint8_t *start_of(const uint8_t[::1] buffer) noexcept:
    return &buffer[0] if buffer.shape[0] else NULL


cdef class Cut:
    """Where each body begins and ends: a stride, or a private and checked copy of the caller's offsets."""

    cdef zts_bodies bodies
    cdef uint64_t *offsets
    cdef size_t count

    def __dealloc__(self):
        PyMem_Free(self.offsets)

    cdef int by_stride(self, const uint8_t[::1] bodies, size_t count) except -1:
        cdef size_t size = bodies.shape[0]
        if count and size % count or not count and size:
            raise ValueError(
                f"bodies are {size} bytes, which is not {count} bodies of one length: pass offsets")
        self.count = count
        self.bodies.bytes = start_of(bodies)
        self.bodies.offsets = NULL
        self.bodies.stride = size // count if count else 0
        return 0

    cdef int by_offsets(self, const uint8_t[::1] bodies, object offsets) except -1:
        view = memoryview(offsets)
        if view.ndim != 1 or view.itemsize != 8 or view.format.lstrip("@=<") not in ("q", "Q", "l", "L"):
            raise TypeError(f"offsets have format {view.format!r}, expected one dimension of 64-bit integers")
        cdef bytes raw = bytes(view)
        cdef size_t ends = len(raw) // 8
        if ends == 0:
            raise ValueError("offsets are empty, expected one more than there are bodies")
        self.offsets = <uint64_t *>PyMem_Malloc(ends * 8)
        if self.offsets is NULL:
            raise MemoryError()
        memcpy(self.offsets, PyBytes_AS_STRING(raw), ends * 8)
        self.check(bodies.shape[0], ends)
        self.count = ends - 1
        self.bodies.bytes = start_of(bodies)
        self.bodies.offsets = self.offsets
        return 0

    cdef int check(self, uint64_t size, size_t ends) except -1:
        cdef size_t i
        for i in range(1, ends):
            if self.offsets[i] < self.offsets[i - 1]:
                raise ValueError(f"offsets[{i}] is below offsets[{i - 1}], expected them never to fall")
        if self.offsets[ends - 1] > size:
            raise ValueError(f"the last offset is {self.offsets[ends - 1]}, but bodies are {size} bytes")
        return 0


def verify_batch(Table table not None, str operation not None, const uint8_t[::1] tokens not None,
                 const uint8_t[::1] bodies not None, offsets=None, uint8_t[::1] out=None):
    """One verdict code per token, in order (index into ``VERDICTS``, 0 is OK).

    ``tokens``: n x 48 bytes. ``bodies``: n bodies of one length, or any lengths with ``offsets`` (n+1 of 64
    bits). Codes go to ``out`` (at least n bytes, writable) if given, which is then returned, else to a new
    bytes object.
    """
    cdef uint32_t index = operation_index(table, operation)
    cdef size_t count = tokens.shape[0] // ZTS_TOKEN_BYTES
    cdef Cut cut = Cut()
    if <size_t>tokens.shape[0] != count * ZTS_TOKEN_BYTES:
        raise ValueError(f"tokens are {tokens.shape[0]} bytes, expected a multiple of {ZTS_TOKEN_BYTES}")
    if offsets is None:
        cut.by_stride(bodies, count)
    else:
        cut.by_offsets(bodies, offsets)
        if cut.count != count:
            raise ValueError(f"offsets cut {cut.count} bodies, but there are {count} tokens")
    if out is not None and <size_t>out.shape[0] < count:
        raise ValueError(f"out is {out.shape[0]} bytes, expected at least {count}")
    result = out.base if out is not None else PyBytes_FromStringAndSize(NULL, count)
    cdef uint8_t *codes = &out[0] if out is not None and count else \
        <uint8_t *>PyBytes_AS_STRING(result) if out is None else NULL
    cdef const uint8_t *first = start_of(tokens)
    if count:
        with nogil:
            table.verify_batch(first, &cut.bodies, count, index, codes)
    return result


def sign_batch(Table table not None, uint64_t handle, str operation not None,
               const uint8_t[::1] bodies not None, *, count=None, offsets=None):
    """The tokens of all bodies, n x 48 bytes: ``count`` bodies of one length, or cut by ``offsets``."""
    cdef uint32_t index = operation_index(table, operation)
    cdef Cut cut = Cut()
    if (count is None) == (offsets is None):
        raise TypeError("pass either count (bodies of one length) or offsets")
    if offsets is not None:
        cut.by_offsets(bodies, offsets)
    elif isinstance(count, bool) or not isinstance(count, int):
        raise TypeError(f"count must be int, not {type(count).__name__}")
    elif not 0 <= count <= ZTS_SEQUENCE_MAX:
        raise ValueError(f"count is {count}, expected 0 to {ZTS_SEQUENCE_MAX}")
    else:
        cut.by_stride(bodies, count)
    cdef bytes tokens = PyBytes_FromStringAndSize(NULL, cut.count * ZTS_TOKEN_BYTES)
    cdef uint8_t *first = <uint8_t *>PyBytes_AS_STRING(tokens)
    cdef zts_status status
    with nogil:
        status = table.sign_batch(handle, index, &cut.bodies, cut.count, first)
    if status != ZTS_DONE:
        raise_status(status)
    return tokens
