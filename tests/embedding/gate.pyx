# cython: language_level=3
"""A downstream module: messages lie in a ring as token and body, and are verified there without the GIL."""

from libc.stdint cimport uint8_t, uint32_t

from ztsession._core cimport Table
from ztsession.zts cimport ZTS_BODY_MAXBYTES, ZTS_OK, ZTS_TOKEN_BYTES, zts_call, zts_verdict


def count_accepted(Table table not None, str operation not None, const uint8_t[::1] ring not None,
                   int body_bytes):
    """How many of the ring's messages (48 bytes of token, then a body) are accepted."""
    cdef uint32_t index = table.operations.index(operation)
    cdef Py_ssize_t stride = ZTS_TOKEN_BYTES + body_bytes, at = 0
    cdef int accepted = 0
    cdef zts_call call
    cdef zts_verdict verdict
    if body_bytes < 0 or body_bytes > ZTS_BODY_MAXBYTES:
        raise ValueError("no such body")
    with nogil:
        while at + stride <= ring.shape[0]:
            verdict = table.verify(&ring[at], &ring[at] + ZTS_TOKEN_BYTES, body_bytes, index, &call)
            if verdict == ZTS_OK:
                accepted += 1
            at += stride
    return accepted
