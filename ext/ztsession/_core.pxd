# What other Cython modules, and embedders, may build on: the table and its calls, reached through its vtable,
# so that the C core is linked into one extension only.

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from ztsession._records cimport Profile
from ztsession.zts cimport (
    zts_bodies,
    zts_call,
    zts_slot,
    zts_status,
    zts_table,
    zts_verdict,
)


cdef class Table:
    cdef zts_table table
    cdef void *region
    cdef size_t region_bytes
    cdef list by_index
    cdef readonly tuple operations
    cdef object __weakref__

    cdef int map_region(self) except -1
    cdef int check_installation(self, Profile profile, object handle, object now_us) except -1
    cdef int remember(self, uint64_t handle, object record) except -1
    cdef int forget_ended(self) except -1
    cdef int wipe_slots(self) noexcept nogil

    cdef zts_verdict verify(self, const uint8_t *token, const uint8_t *body, size_t body_bytes,
                            uint32_t operation, zts_call *call) noexcept nogil
    cdef zts_status sign(self, uint64_t handle, uint32_t operation, const uint8_t *body, size_t body_bytes,
                         uint8_t *token) noexcept nogil
    cdef size_t verify_batch(self, const uint8_t *tokens, const zts_bodies *bodies, size_t count,
                             uint32_t operation, uint8_t *verdicts) noexcept nogil
    cdef zts_status sign_batch(self, uint64_t handle, uint32_t operation, const zts_bodies *bodies,
                               size_t count, uint8_t *tokens) noexcept nogil
    cdef zts_verdict count_malformed(self) noexcept nogil
    cdef void learn(self, uint64_t peer_us) noexcept nogil
    cdef zts_slot *live_slot(self, uint64_t handle) noexcept nogil


cdef object raise_status(zts_status status)
cdef uint32_t operation_index(Table table, str operation) except? 0xFFFFFFFF
