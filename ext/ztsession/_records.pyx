"""What the table is told of a session: the decision that many share, and who is behind one handle."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING
from libc.string cimport memcpy, memset

from ztsession.zts cimport (
    ZTS_EPOCH_LENGTH_MIN_US,
    ZTS_EPOCH_LENGTH_US,
    ZTS_MAX_AGE_MAX_US,
    ZTS_MAX_AGE_MIN_US,
    ZTS_OPERATIONS_MAX,
    ZTS_STALE_ALWAYS_MS,
)


cdef uint64_t bounded(object value, str name, uint64_t low, uint64_t high) except? 0:
    """An int of the caller's, or a sentence about it."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be int, not {type(value).__name__}")
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}, expected {low} to {high}")
    return value


cdef const uint8_t *exactly(bytes value, str name, Py_ssize_t size) except NULL:
    if len(value) != size:
        raise ValueError(f"{name} is {len(value)} bytes, expected {size}")
    return <const uint8_t *>PyBytes_AS_STRING(value)


cdef int bitmaps(object allowed, uint64_t *into) except -1:
    """Three bitmaps of the caller's, or a sentence about them."""
    if len(allowed) != 3:
        raise ValueError(f"allowed has {len(allowed)} bitmaps, expected 3: NORMAL, RESTRICTED, SUSPENDED")
    for i, bitmap in enumerate(allowed):
        into[i] = bounded(bitmap, f"allowed[{i}]", 0, <uint64_t>-1)
    return 0


@cython.final
cdef class Profile:
    """What sessions with equal grants share: which operations in which mode, and their limits.

    ``allowed`` is three bitmaps (NORMAL, RESTRICTED, SUSPENDED) over operation indices; ``limits`` maps an
    operation's index to (max_age_us, stale_ms); ``digest`` is 32 bytes that name all of it.
    """

    def __init__(self, bytes digest not None, *, allowed, limits, step_up=0, ordered=0,
                 epoch_length_us=ZTS_EPOCH_LENGTH_US):
        memset(&self.spec, 0, sizeof(self.spec))
        memcpy(self.spec.digest, exactly(digest, "digest", 32), 32)
        self.digest = digest
        bitmaps(allowed, self.spec.allowed)
        self.spec.step_up = bounded(step_up, "step_up", 0, <uint64_t>-1)
        self.spec.ordered = bounded(ordered, "ordered", 0, <uint64_t>-1)
        self.spec.epoch_length_us = bounded(
            epoch_length_us, "epoch_length_us", ZTS_EPOCH_LENGTH_MIN_US, 1 << 48)
        for index, (max_age_us, stale_ms) in limits.items():
            i = bounded(index, "operation index", 0, ZTS_OPERATIONS_MAX - 1)
            self.spec.limits[i].max_age_us = bounded(max_age_us, "max_age_us", ZTS_MAX_AGE_MIN_US,
                                                     min(ZTS_MAX_AGE_MAX_US, epoch_length_us))
            self.spec.limits[i].stale_ms = bounded(stale_ms, "stale_ms", 0, ZTS_STALE_ALWAYS_MS)

    def tightened(self, bytes digest not None, allowed, step_up=0):
        """The same with less in it, under a name of its own: bitmaps intersected with ``allowed``, and
        ``step_up`` added to what wants more assurance.
        """
        cdef Profile less = Profile.__new__(Profile)
        cdef uint64_t[3] kept
        less.spec = self.spec
        memcpy(less.spec.digest, exactly(digest, "digest", 32), 32)
        less.digest = digest
        bitmaps(allowed, kept)
        for i in range(3):
            less.spec.allowed[i] &= kept[i]
        less.spec.step_up |= bounded(step_up, "step_up", 0, <uint64_t>-1)
        return less


@cython.final
@cython.no_gc
cdef class Installation:
    """Who is behind a handle, in as few bytes as a million of them deserve.

    ``session`` is the Authority's 16-byte id, ``profile`` the 32-byte digest of the decision, ``assurance``
    1 to 3.
    """

    def __init__(self, bytes session not None, str subject not None, str device not None, int assurance,
                 bytes profile not None):
        memcpy(self.id, exactly(session, "session", 16), 16)
        if "\n" in subject or "\n" in device:
            raise ValueError("names have no line breaks")
        self.names = f"{subject}\n{device}"
        self.assurance, self.profile = assurance, profile

    @property
    def session(self):
        """The session's id, 16 bytes."""
        return self.id[:16]

    @property
    def subject(self):
        """The trader, algorithm or service."""
        return self.names.partition("\n")[0]

    @property
    def device(self):
        """The host that the subject runs on."""
        return self.names.partition("\n")[2]

    def __repr__(self):
        return f"<Installation of {self.subject} on {self.device}>"
