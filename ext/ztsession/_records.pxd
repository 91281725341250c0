from libc.stdint cimport uint8_t, uint64_t

from ztsession.zts cimport zts_profile_spec


cdef class Profile:
    cdef zts_profile_spec spec
    cdef readonly bytes digest


cdef class Installation:
    cdef uint8_t[16] id
    cdef str names
    cdef readonly bytes profile
    cdef readonly int assurance


cdef int bitmaps(object allowed, uint64_t *into) except -1
cdef uint64_t bounded(object value, str name, uint64_t low, uint64_t high) except? 0
cdef const uint8_t *exactly(bytes value, str name, Py_ssize_t size) except NULL
