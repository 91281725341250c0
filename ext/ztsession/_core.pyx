"""The C core's table, seen from Python: its memory, its sessions, its counters.

Nothing here runs once per call; verifying and signing are in ``_calls`` and ``_batch`` and reach the core
through the C methods at the end of ``Table``.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize

from ztsession._records cimport Profile, bitmaps, bounded, exactly
from ztsession.zts cimport (
    ZTS_BAD_SHAPE,
    ZTS_BODY_MAXBYTES,
    ZTS_BODY_TOO_LONG,
    ZTS_CLOCK_MANUAL,
    ZTS_CLOCK_SYSTEM,
    ZTS_DIRECTION_REPLY,
    ZTS_DIRECTION_REQUEST,
    ZTS_DONE,
    ZTS_IDLE_S,
    ZTS_MAC_LANES,
    ZTS_MODE_FREE,
    ZTS_MODE_REVOKED,
    ZTS_MODE_SUSPENDED,
    ZTS_NONCE_BYTES,
    ZTS_OPERATIONS_MAX,
    ZTS_PROFILES_FULL,
    ZTS_REPLAY_WORDS_DEFAULT,
    ZTS_REPLAY_WORDS_MAX,
    ZTS_SECRET_BYTES,
    ZTS_SEQUENCES_USED_UP,
    ZTS_SLOT_FIRST_VERDICT,
    ZTS_TABLE_CAPACITY_MAX,
    ZTS_TABLE_FULL,
    ZTS_VERDICT_COUNT,
    zts_bodies,
    zts_call,
    zts_clock_fold_suspend,
    zts_clock_learn,
    zts_clock_now_us,
    zts_clock_start,
    zts_hmac,
    zts_hmac_key,
    zts_hmac_key_init,
    zts_installation,
    zts_mac_job,
    zts_mode,
    zts_sha256,
    zts_sha256_backend,
    zts_sha256_best,
    zts_sha256_named,
    zts_sha256_nth,
    zts_slot,
    zts_status,
    zts_table_attach,
    zts_table_bytes,
    zts_table_end,
    zts_table_format,
    zts_table_install,
    zts_table_narrow,
    zts_table_set_mode,
    zts_table_tighten,
    zts_table_shape,
    zts_table_shorten,
    zts_table_slot,
    zts_table_slot_of,
    zts_table_sweep,
    zts_token_refuse_malformed,
    zts_token_sign,
    zts_token_sign_batch,
    zts_token_verify,
    zts_token_verify_batch,
    zts_verdict,
    zts_verdict_name,
    zts_wipe,
)

import os

from ztsession.errors import InstallationError, SequenceExhausted, SessionEnded, TableFull

cdef extern from "sys/mman.h" nogil:
    void *mmap(void *addr, size_t length, int prot, int flags, int fd, long offset)
    int munmap(void *addr, size_t length)
    int madvise(void *addr, size_t length, int advice)
    int mlock2(const void *addr, size_t length, unsigned int flags)
    void *MAP_FAILED
    int PROT_READ, PROT_WRITE, MAP_PRIVATE, MAP_ANONYMOUS
    int MADV_HUGEPAGE, MADV_DONTDUMP, MADV_WIPEONFORK
    unsigned int MLOCK_ONFAULT

VERDICTS = tuple([zts_verdict_name(i).decode("ascii") for i in range(ZTS_VERDICT_COUNT)])
MODES = ("FREE", "NORMAL", "RESTRICTED", "SUSPENDED", "REVOKED")


cdef const zts_sha256_backend *chosen_backend(str name) except NULL:
    cdef const zts_sha256_backend *backend
    if name is None:
        return zts_sha256_best()
    raw = name.encode("ascii", "replace")
    backend = zts_sha256_named(raw)
    if backend is NULL:
        raise ValueError(f"no SHA-256 back end {name!r} on this machine: expected one of {backends()}")
    return backend


def backends():
    """Names of the SHA-256 back ends that this machine runs, slowest first."""
    cdef size_t n = 0
    names = []
    while zts_sha256_nth(n) is not NULL:
        names.append(zts_sha256_nth(n).name.decode("ascii"))
        n += 1
    return tuple(names)


cdef object raise_status(zts_status status):
    if status == ZTS_TABLE_FULL:
        raise TableFull("the session table is full: raise its capacity or wait for sessions to end")
    if status == ZTS_PROFILES_FULL:
        raise TableFull("no room for another distinct grant: raise the point's number of profiles")
    if status == ZTS_SEQUENCES_USED_UP:
        raise SequenceExhausted("every sequence of this installation has been used: renew the session")
    if status == ZTS_BODY_TOO_LONG:
        raise ValueError(f"body is over {ZTS_BODY_MAXBYTES} bytes, the most that one token covers")
    if status == ZTS_BAD_SHAPE:
        raise InstallationError("this installation is out of range: check epoch length, lifetime and mode")
    raise SessionEnded("this session is over on this side: install the ticket again or connect anew")


cdef tuple operation_names(object operations):
    """Names by index, as one bit per operation asks; an index without an operation has the empty name."""
    names = tuple(operations)
    if not 1 <= len(names) <= ZTS_OPERATIONS_MAX:
        raise ValueError(f"operations are {len(names)}, expected 1 to {ZTS_OPERATIONS_MAX}")
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"an operation's name must be str, not {type(name).__name__}")
        if name and names.count(name) > 1:
            raise ValueError(f"operation {name!r} is named twice")
    return names


cdef uint32_t operation_index(Table table, str operation) except? 0xFFFFFFFF:
    if not operation or operation not in table.operations:
        raise ValueError(f"{operation!r} is no operation of this table: expected one of {table.operations}")
    return table.operations.index(operation)


cdef class Table:
    """Sessions of one enforcement point, or the one session of a client, in a flat region of memory.

    The region is private to this process: never in a core dump, locked in RAM where the system allows, and
    wiped in a forked child, which therefore refuses everything rather than giving second answers about
    replays.
    """

    def __cinit__(self, *, operations, capacity=1, profiles=1, window_words=ZTS_REPLAY_WORDS_DEFAULT,
                  bint client=False, bint manual_clock=False, backend=None):
        cdef zts_table_shape shape
        shape.capacity = bounded(capacity, "capacity", 1, ZTS_TABLE_CAPACITY_MAX)
        shape.profiles = bounded(profiles, "profiles", 1, 65535)
        shape.window_words = bounded(window_words, "window_words", 1, ZTS_REPLAY_WORDS_MAX)
        shape.receives = ZTS_DIRECTION_REPLY if client else ZTS_DIRECTION_REQUEST
        shape.clock_kind = ZTS_CLOCK_MANUAL if manual_clock else ZTS_CLOCK_SYSTEM
        cdef const zts_sha256_backend *which = chosen_backend(backend)
        self.operations = operation_names(operations)
        self.by_index = []
        self.region_bytes = zts_table_bytes(&shape)
        if self.region_bytes == 0:
            raise ValueError(
                f"window_words is {window_words}, expected a power of two; a client has one slot")
        self.map_region()
        if zts_table_format(self.region, self.region_bytes, &shape) != ZTS_DONE:
            raise ValueError("the table cannot have this shape")
        if zts_table_attach(&self.table, self.region, self.region_bytes, which) != ZTS_DONE:
            raise ValueError("the table's memory could not be attached")

    def __dealloc__(self):
        if self.region is not NULL and self.table.header is not NULL:
            zts_wipe(self.region, self.table.header.slots_at)
            self.wipe_slots()
        if self.region is not NULL:
            munmap(self.region, self.region_bytes)

    cdef int map_region(self) except -1:
        self.region = mmap(
            NULL, self.region_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        if self.region == MAP_FAILED:
            self.region = NULL
            raise MemoryError(f"no {self.region_bytes} bytes for the session table")
        if madvise(self.region, self.region_bytes, MADV_WIPEONFORK):
            raise MemoryError("this kernel cannot keep the session table out of forked processes")
        madvise(self.region, self.region_bytes, MADV_DONTDUMP)
        madvise(self.region, self.region_bytes, MADV_HUGEPAGE)
        # Refused without the right to: the swap is then yours.
        mlock2(self.region, self.region_bytes, MLOCK_ONFAULT)
        return 0

    @property
    def capacity(self):
        """How many sessions fit."""
        return self.table.capacity

    @property
    def live(self):
        """How many sessions are installed."""
        return self.table.header.live

    @property
    def memory_bytes(self):
        """Size of the region; memory of slots never used is not touched."""
        return self.region_bytes

    # ---- Sessions

    def install(self, Profile profile not None, bytes segment_secret not None, bytes nonce not None, record,
                *, lifetime_us, idle_s=ZTS_IDLE_S, handle=0, now_us=None):
        """Puts a session into a slot; returns (handle, session time in microseconds of its installation).

        A client passes the handle and time that the point answered with; a point passes neither. ``record``
        is kept for ``SessionView``. Raises TableFull, or InstallationError for values out of range.
        """
        cdef zts_installation what
        cdef uint64_t given = 0
        self.check_installation(profile, handle, now_us)
        what.profile = &profile.spec
        what.segment_secret = exactly(segment_secret, "segment_secret", ZTS_SECRET_BYTES)
        what.nonce = exactly(nonce, "nonce", ZTS_NONCE_BYTES)
        what.random_bits = int.from_bytes(os.urandom(8), "little")
        what.handle = bounded(handle, "handle", 0, <uint64_t>-1)
        what.lifetime_us = bounded(lifetime_us, "lifetime_us", 1, 1 << 60)
        what.idle_limit_s = bounded(idle_s, "idle_s", 1, 1 << 31)
        if now_us is None:
            what.now_us = zts_clock_now_us(&self.table.header.clock, 1)
        else:
            what.now_us = bounded(now_us, "now_us", 0, 1 << 60)
        cdef zts_status status = zts_table_install(&self.table, &what, &given)
        if status != ZTS_DONE:
            raise_status(status)
        if now_us is not None:
            zts_clock_start(&self.table.header.clock, what.now_us)
        self.remember(given, record)
        return given, what.now_us

    cdef int check_installation(self, Profile profile, object handle, object now_us) except -1:
        """A point chooses handles and keeps time: told otherwise, sessions were out of reach, or revived."""
        cdef bint client = self.table.header.shape.receives == ZTS_DIRECTION_REPLY
        cdef uint64_t known = <uint64_t>-1 >> (ZTS_OPERATIONS_MAX - len(self.operations))
        if client != bool(handle) or client != (now_us is not None):
            raise InstallationError(
                "a client passes the handle and the time that the point answered, a point neither")
        for i in range(3):
            if profile.spec.allowed[i] & ~known:
                raise InstallationError("the grant allows operations that this table has no name for")
        return 0

    def record(self, uint64_t handle):
        """What ``install`` was given for this session; None when it is not live here."""
        cdef uint64_t index = handle & self.table.index_mask
        if self.live_slot(handle) is NULL or index >= <uint64_t>len(self.by_index):
            return None
        return self.by_index[index]

    def index_of(self, uint64_t handle):
        """The slot that a handle names."""
        return handle & self.table.index_mask

    def handle_at(self, uint32_t index):
        """The handle that a slot was last given; 0 for one never used."""
        if index >= self.table.capacity:
            raise ValueError(f"index is {index}, expected 0 to {self.table.capacity - 1}")
        return zts_table_slot(&self.table, index).handle

    def records(self):
        """All live sessions' records by handle: a copy."""
        found = {}
        for index, record in enumerate(list(self.by_index)):
            if record is not None:
                found[zts_table_slot(&self.table, index).handle] = record
        return {handle: record for handle, record in found.items() if self.live_slot(handle) is not NULL}

    cdef int remember(self, uint64_t handle, object record) except -1:
        cdef Py_ssize_t index = handle & self.table.index_mask
        missing = index + 1 - len(self.by_index)
        if missing > 0:
            self.by_index.extend([None] * missing)
        self.by_index[index] = record
        return 0

    cdef int forget_ended(self) except -1:
        cdef zts_slot *slot
        for index in range(len(self.by_index)):
            slot = zts_table_slot(&self.table, index)
            if self.by_index[index] is not None and self.live_slot(slot.handle) is NULL:
                self.by_index[index] = None
        return 0

    def set_mode(self, uint64_t handle, str mode not None):
        """NORMAL, RESTRICTED or SUSPENDED, seen by the very next verify. False when it is not here."""
        if mode not in MODES[1:4]:
            raise ValueError(f"mode is {mode!r}, expected one of {MODES[1:4]}")
        cdef int number = MODES.index(mode)
        return zts_table_set_mode(&self.table, handle, <zts_mode>number) == ZTS_DONE

    def shorten(self, uint64_t handle, uint64_t in_us):
        """The session ends ``in_us`` microseconds from now, or earlier if it would. False: not here."""
        return zts_table_shorten(&self.table, handle, in_us) == ZTS_DONE

    def end(self, uint64_t handle, *, bint revoked):
        """Ends a session and wipes its keys; its handle is then REVOKED, or unknown. False: not here."""
        cdef zts_mode as_ = ZTS_MODE_REVOKED if revoked else ZTS_MODE_FREE
        cdef bint ended = zts_table_end(&self.table, handle, as_) == ZTS_DONE
        if ended:
            index = handle & self.table.index_mask
            if self.live_slot(zts_table_slot(&self.table, index).handle) is NULL:
                self.by_index[index] = None
        return ended

    def narrow(self, bytes digest not None, allowed, step_up=0):
        """Intersects the bitmaps of every session with this profile, and adds ``step_up`` to what wants more
        assurance; False when there is none.
        """
        cdef uint64_t[3] kept
        bitmaps(allowed, kept)
        cdef uint64_t later = bounded(step_up, "step_up", 0, <uint64_t>-1)
        return zts_table_narrow(&self.table, exactly(digest, "digest", 32), kept, later) == ZTS_DONE

    def tighten(self, uint64_t handle, Profile narrower not None):
        """One session goes on under ``narrower``, made of its profile by ``tightened``; False: not here.

        TableFull when there is no room for one profile more: the session then has what it had.
        """
        cdef zts_status status = zts_table_tighten(&self.table, handle, &narrower.spec)
        if status == ZTS_PROFILES_FULL:
            raise_status(status)
        return status == ZTS_DONE

    def sweep(self, uint32_t first=0, uint32_t count=0xFFFFFFFF):
        """Ends expired sessions, advances silent ones: ``count`` slots from ``first``; how many it ended."""
        cdef uint32_t ended
        with nogil:
            ended = zts_table_sweep(&self.table, first, count)
        if ended:
            self.forget_ended()
        return ended

    def session(self, uint64_t handle):
        """State and counters of one live session as a dict, or None."""
        cdef zts_slot *slot = self.live_slot(handle)
        if slot is NULL:
            return None
        refused = {VERDICTS[ZTS_SLOT_FIRST_VERDICT + i]: slot.refused[i]
                   for i in range(ZTS_VERDICT_COUNT - ZTS_SLOT_FIRST_VERDICT)}
        return {"mode": MODES[slot.mode], "epoch": slot.epoch, "accepted": slot.accepted, "sent": slot.sent,
                "last_accepted_us": slot.last_accepted_us, "expires_at_us": slot.expires_at_us,
                "refused": refused}

    def refused(self):
        """Refusals of the whole table by verdict name, strangers included."""
        return {VERDICTS[i]: self.table.header.refused[i] for i in range(1, ZTS_VERDICT_COUNT)}

    # ---- Time

    def now_us(self):
        """Session time, microseconds."""
        return zts_clock_now_us(&self.table.header.clock, 1)

    def set_lease(self, deadline_us):
        """Session time until which this table's knowledge counts as fresh; None: for ever (a client)."""
        self.table.header.lease_deadline_us = <uint64_t>-1 if deadline_us is None else <uint64_t>deadline_us

    @property
    def lease_deadline_us(self):
        """Session time at which the lease runs out."""
        return self.table.header.lease_deadline_us

    def fold_suspend(self):
        """Adds the time that the machine slept since."""
        zts_clock_fold_suspend(&self.table.header.clock)

    def set_manual_clock(self, uint64_t machine_us):
        """Moves the machine's clock of a table made with manual_clock=True."""
        self.table.header.clock.manual_us = machine_us

    # ---- Tests

    def snapshot_for_testing_only(self):
        """Every byte that a refused call must not change: profiles, slots without their refusal counters."""
        cdef uint64_t start = self.table.header.profiles_at
        cdef bytearray copy = bytearray(
            PyBytes_FromStringAndSize(<char *>self.region + start, self.region_bytes - start))
        cdef zts_slot *slot = zts_table_slot(&self.table, 0)
        cdef Py_ssize_t at = <char *>slot.refused - <char *>self.region - start
        for i in range(self.table.capacity):
            copy[at + i * self.table.slot_bytes:at + i * self.table.slot_bytes + 48] = bytes(48)
        return bytes(copy)

    def set_sent_for_testing_only(self, uint64_t handle, uint64_t sent):
        """Pretends that so many messages were signed."""
        cdef zts_slot *slot = self.live_slot(handle)
        if slot is NULL:
            raise SessionEnded("no such session")
        slot.sent = sent

    # ---- For the call path

    cdef zts_verdict verify(self, const uint8_t *token, const uint8_t *body, size_t body_bytes,
                            uint32_t operation, zts_call *call) noexcept nogil:
        return zts_token_verify(&self.table, token, body, body_bytes, operation, call)

    cdef zts_status sign(self, uint64_t handle, uint32_t operation, const uint8_t *body, size_t body_bytes,
                         uint8_t *token) noexcept nogil:
        return zts_token_sign(&self.table, handle, operation, body, body_bytes, token)

    cdef size_t verify_batch(self, const uint8_t *tokens, const zts_bodies *bodies, size_t count,
                             uint32_t operation, uint8_t *verdicts) noexcept nogil:
        return zts_token_verify_batch(&self.table, tokens, bodies, count, operation, verdicts)

    cdef zts_status sign_batch(self, uint64_t handle, uint32_t operation, const zts_bodies *bodies,
                               size_t count, uint8_t *tokens) noexcept nogil:
        return zts_token_sign_batch(&self.table, handle, operation, bodies, count, tokens)

    cdef zts_verdict count_malformed(self) noexcept nogil:
        return zts_token_refuse_malformed(&self.table)

    cdef void learn(self, uint64_t peer_us) noexcept nogil:
        zts_clock_learn(&self.table.header.clock, peer_us)

    cdef zts_slot *live_slot(self, uint64_t handle) noexcept nogil:
        cdef zts_slot *slot = zts_table_slot_of(&self.table, handle)
        if slot is NULL or handle == 0 or slot.handle != handle:
            return NULL
        if slot.mode == ZTS_MODE_FREE or slot.mode > ZTS_MODE_SUSPENDED:
            return NULL
        return slot

    cdef int wipe_slots(self) noexcept nogil:
        """Slots never used are left alone: writing them would make the system find memory for them."""
        cdef uint32_t i
        cdef zts_slot *slot
        for i in range(self.table.capacity):
            slot = zts_table_slot(&self.table, i)
            if slot.handle:
                zts_wipe(slot, self.table.slot_bytes)
        return 0


# ---- Hashing by itself

def hmac_sha256(const uint8_t[::1] key not None, const uint8_t[::1] message not None, *, str backend=None):
    """HMAC-SHA-256 (RFC 2104, FIPS 198-1) of any message under any key, 32 bytes, as the core computes it."""
    cdef const zts_sha256_backend *which = chosen_backend(backend)
    cdef bytes mac = PyBytes_FromStringAndSize(NULL, 32)
    zts_hmac(which, &key[0] if key.shape[0] else NULL, key.shape[0],
             &message[0] if message.shape[0] else NULL, message.shape[0], <uint8_t *>PyBytes_AS_STRING(mac))
    return mac


def sha256(const uint8_t[::1] message not None, *, str backend=None):
    """SHA-256 (FIPS 180-4), 32 bytes, as the core computes it."""
    cdef const zts_sha256_backend *which = chosen_backend(backend)
    cdef bytes digest = PyBytes_FromStringAndSize(NULL, 32)
    zts_sha256(which, &message[0] if message.shape[0] else NULL, message.shape[0],
               <uint8_t *>PyBytes_AS_STRING(digest))
    return digest


def mac_lanes_for_testing_only(bytes key not None, list messages not None, *, str backend=None):
    """The 16-byte tags of 1 to 4 messages (32 header bytes, then body): (all at once, one by one)."""
    cdef const zts_sha256_backend *which = chosen_backend(backend)
    cdef zts_hmac_key state
    cdef zts_mac_job[ZTS_MAC_LANES] jobs
    cdef uint8_t[ZTS_MAC_LANES][16] together
    cdef uint8_t[ZTS_MAC_LANES][16] alone
    cdef int count = len(messages)
    if not 1 <= count <= ZTS_MAC_LANES or min(map(len, messages)) < 32:
        raise ValueError(f"expected 1 to {ZTS_MAC_LANES} messages of at least 32 bytes")
    zts_hmac_key_init(which, &state, <const uint8_t *>PyBytes_AS_STRING(key), len(key))
    for i in range(count):
        message = <bytes>messages[i]
        jobs[i].key = &state
        jobs[i].header = <const uint8_t *>PyBytes_AS_STRING(message)
        jobs[i].body = jobs[i].header + 32
        jobs[i].body_bytes = len(message) - 32
        which.mac(&jobs[i], alone[i])
    which.mac_many(jobs, count, together)
    return [together[i][:16] for i in range(count)], [alone[i][:16] for i in range(count)]
