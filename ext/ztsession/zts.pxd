# The C core as Cython sees it. Names and meaning are those of ext/src; constants are read, never repeated.

from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "zts_limits.h" nogil:
    const uint64_t ZTS_SEQUENCE_MAX
    const uint32_t ZTS_STALE_ALWAYS_MS
    const uint32_t ZTS_TABLE_CAPACITY_MAX
    enum:
        ZTS_PROTOCOL_VERSION
        ZTS_TOKEN_BYTES
        ZTS_TOKEN_HEADERBYTES
        ZTS_TOKEN_TAGBYTES
        ZTS_TOKEN_TEXTBYTES
        ZTS_DIRECTION_REQUEST
        ZTS_DIRECTION_REPLY
        ZTS_SECRET_BYTES
        ZTS_NONCE_BYTES
        ZTS_OPERATIONS_MAX
        ZTS_HANDLE_INDEXBITS
        ZTS_BODY_MAXBYTES
        ZTS_REPLAY_WORDS_DEFAULT
        ZTS_REPLAY_WORDS_MAX
        ZTS_PROFILES_DEFAULT
        ZTS_SKEW_US
        ZTS_EPOCH_LENGTH_US
        ZTS_EPOCH_LENGTH_MIN_US
        ZTS_EPOCH_STEPS_MAX
        ZTS_MAX_AGE_US
        ZTS_MAX_AGE_MIN_US
        ZTS_MAX_AGE_MAX_US
        ZTS_FINE_CLOCK_BELOW_US
        ZTS_LEASE_US
        ZTS_IDLE_S
        ZTS_LIFETIME_S
        ZTS_HANDSHAKES_PER_SOURCE_PER_S
        ZTS_COOKIE_SECRET_S
        ZTS_OVERLAP_S
        ZTS_POSTURE_MAX_AGE_S


cdef extern from "zts_sha256.h" nogil:
    ctypedef struct zts_hmac_key:
        pass

    enum:
        ZTS_MAC_LANES

    ctypedef struct zts_mac_job:
        const zts_hmac_key *key
        const uint8_t *header
        const uint8_t *body
        size_t body_bytes

    ctypedef struct zts_sha256_backend:
        const char *name
        void (*mac)(const zts_mac_job *job, uint8_t *tag) noexcept nogil
        void (*mac_many)(const zts_mac_job *jobs, int count, uint8_t (*tags)[16]) noexcept nogil

    const zts_sha256_backend *zts_sha256_nth(size_t n)
    const zts_sha256_backend *zts_sha256_best()
    const zts_sha256_backend *zts_sha256_named(const char *name)
    void zts_sha256(const zts_sha256_backend *backend, const uint8_t *message, size_t size, uint8_t *digest)


cdef extern from "zts_hmac.h" nogil:
    void zts_hmac_key_init(const zts_sha256_backend *backend, zts_hmac_key *key, const uint8_t *secret,
                           size_t size)
    void zts_hmac(const zts_sha256_backend *backend, const uint8_t *secret, size_t secret_bytes,
                  const uint8_t *message, size_t size, uint8_t *mac)


cdef extern from "zts_bytes.h" nogil:
    void zts_wipe(void *p, size_t size)


cdef extern from "zts_verdict.h" nogil:
    ctypedef enum zts_verdict:
        ZTS_OK
        ZTS_MALFORMED
        ZTS_VERDICT_COUNT

    const char *zts_verdict_name(int verdict)

    ctypedef enum zts_status:
        ZTS_DONE
        ZTS_TABLE_FULL
        ZTS_PROFILES_FULL
        ZTS_BAD_SHAPE
        ZTS_BAD_REGION
        ZTS_NO_SUCH_SESSION
        ZTS_SESSION_ENDED
        ZTS_SEQUENCES_USED_UP
        ZTS_BODY_TOO_LONG


cdef extern from "zts_clock.h" nogil:
    enum:
        ZTS_CLOCK_SYSTEM
        ZTS_CLOCK_MANUAL

    ctypedef struct zts_clock:
        uint64_t offset_us
        uint64_t manual_us

    uint64_t zts_clock_now_us(const zts_clock *clock, int fine)
    void zts_clock_start(zts_clock *clock, uint64_t peer_us)
    void zts_clock_learn(zts_clock *clock, uint64_t peer_us)
    void zts_clock_fold_suspend(zts_clock *clock)


cdef extern from "zts_table.h" nogil:
    ctypedef enum zts_mode:
        ZTS_MODE_FREE
        ZTS_MODE_NORMAL
        ZTS_MODE_RESTRICTED
        ZTS_MODE_SUSPENDED
        ZTS_MODE_REVOKED

    enum:
        ZTS_SLOT_FIRST_VERDICT

    ctypedef struct zts_operation_limits:
        uint32_t max_age_us
        uint32_t stale_ms

    ctypedef struct zts_profile:
        uint64_t epoch_length_us

    ctypedef struct zts_slot:
        uint64_t handle
        uint64_t accepted
        uint64_t last_accepted_us
        uint64_t expires_at_us
        uint64_t sent
        uint32_t epoch
        uint8_t mode
        uint32_t *refused

    ctypedef struct zts_table_shape:
        uint32_t capacity
        uint32_t profiles
        uint32_t window_words
        uint32_t receives
        uint32_t clock_kind

    ctypedef struct zts_table_header:
        zts_table_shape shape
        uint32_t slot_bytes
        uint64_t skew_us
        uint64_t profiles_at
        uint64_t slots_at
        uint64_t lease_deadline_us
        zts_clock clock
        uint64_t live
        uint64_t *refused

    ctypedef struct zts_table:
        zts_table_header *header
        uint32_t capacity
        uint32_t index_mask
        uint32_t slot_bytes

    ctypedef struct zts_profile_spec:
        uint8_t *digest
        uint64_t epoch_length_us
        uint64_t *allowed
        uint64_t step_up
        uint64_t ordered
        zts_operation_limits *limits

    ctypedef struct zts_installation:
        const zts_profile_spec *profile
        const uint8_t *segment_secret
        const uint8_t *nonce
        uint64_t random_bits
        uint64_t handle
        uint64_t now_us
        uint64_t lifetime_us
        uint32_t idle_limit_s

    size_t zts_table_bytes(const zts_table_shape *shape)
    zts_status zts_table_format(void *region, size_t size, const zts_table_shape *shape)
    zts_status zts_table_attach(zts_table *table, void *region, size_t size,
                                const zts_sha256_backend *backend)
    zts_slot *zts_table_slot(const zts_table *table, uint32_t index)
    zts_slot *zts_table_slot_of(const zts_table *table, uint64_t handle)
    zts_status zts_table_install(const zts_table *table, const zts_installation *what, uint64_t *handle)
    zts_status zts_table_narrow(const zts_table *table, const uint8_t *digest, const uint64_t *allowed,
                                uint64_t step_up)
    zts_status zts_table_tighten(const zts_table *table, uint64_t handle, const zts_profile_spec *narrower)
    zts_status zts_table_set_mode(const zts_table *table, uint64_t handle, zts_mode mode)
    zts_status zts_table_shorten(const zts_table *table, uint64_t handle, uint64_t in_us)
    zts_status zts_table_end(const zts_table *table, uint64_t handle, zts_mode as_)
    uint32_t zts_table_sweep(const zts_table *table, uint32_t first, uint32_t count)


cdef extern from "zts_token.h" nogil:
    const uint32_t ZTS_ANY_OPERATION

    ctypedef struct zts_call:
        uint64_t handle
        uint64_t sequence
        uint64_t issued_at_us
        uint32_t epoch
        uint16_t operation
        uint8_t mode

    ctypedef struct zts_bodies:
        const uint8_t *bytes
        const uint64_t *offsets
        size_t stride

    zts_verdict zts_token_verify(const zts_table *table, const uint8_t *token, const uint8_t *body,
                                 size_t size, uint32_t operation, zts_call *call)
    zts_verdict zts_token_refuse_malformed(const zts_table *table)
    zts_status zts_token_sign(const zts_table *table, uint64_t handle, uint32_t operation,
                              const uint8_t *body, size_t size, uint8_t *token)
    size_t zts_token_verify_batch(const zts_table *table, const uint8_t *tokens, const zts_bodies *bodies,
                                  size_t count, uint32_t operation, uint8_t *verdicts)
    zts_status zts_token_sign_batch(const zts_table *table, uint64_t handle, uint32_t operation,
                                    const zts_bodies *bodies, size_t count, uint8_t *tokens)


cdef extern from "zts_scan.h" nogil:
    enum:
        ZTS_SCAN_VERDICTS
        ZTS_SCAN_RATE
        ZTS_SCAN_DENIED
        ZTS_SCAN_REPLAYED

    ctypedef struct zts_scan_rules:
        double rate_factor
        double rate_min_per_s
        double denials
        double replays
        double kept
        uint64_t rate_window_us
        uint64_t rate_memory_us
        uint64_t rate_warm_up_us

    ctypedef struct zts_scan_memory:
        uint64_t handle

    ctypedef struct zts_scan_columns:
        uint64_t *handle
        uint64_t *accepted
        uint64_t *last_accepted_us
        uint64_t *known_us
        double *rate
        double *expected
        uint32_t *refused
        uint32_t *crossed
        uint8_t *mode
        uint8_t *why

    size_t zts_scan(const zts_table *table, uint64_t now_us, const zts_scan_rules *rules,
                    zts_scan_memory *memory, const zts_scan_columns *out, size_t *crossed)
