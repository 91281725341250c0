from libc.stdint cimport uint32_t, uint64_t

from ztsession._core cimport Table
from ztsession.zts cimport zts_call


cdef class SessionView:
    cdef Table table
    cdef zts_call call


cdef SessionView verified(Table table, uint32_t operation, object token, object body)
