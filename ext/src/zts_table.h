/* The session table: one flat, position-independent region.
 *
 *   header | profiles | occupied bits | slots
 *
 * All links are indices and offsets, so a shared file mapping is only another way to get the memory. A slot is
 * found by an index and one comparison; there is no hash. One verify touches three lines of it: the head (who, mode,
 * epoch, limits), one key, one word of the replay window. What sessions with equal grants have in common (bitmaps,
 * limits) lies once in a profile, so that one store tightens all of them.
 *
 * Readers never block. A writer holds a slot by making its revision odd; a reader that saw the revision change
 * reads again. Keys are only trusted when the revision was even and the same before and after the MAC: a key that was
 * half written, or wiped and therefore known to everybody, can never accept anything. */
#ifndef ZTS_TABLE_H
#define ZTS_TABLE_H

#include "zts_clock.h"
#include "zts_keys.h"
#include "zts_replay.h"
#include "zts_verdict.h"

/* Fields that several threads and processes share. Order comes from revisions and fences, not from single loads. */
#define ZTS_GET(field) atomic_load_explicit(&(field), memory_order_relaxed)
#define ZTS_SET(field, value) atomic_store_explicit(&(field), (value), memory_order_relaxed)

#define ZTS_TABLE_LAYOUT_VERSION 1

/* FREE is zero on purpose: memory that nobody wrote, and the zero key state that everybody knows, belong to no one. */
typedef enum {
    ZTS_MODE_FREE,
    ZTS_MODE_NORMAL,
    ZTS_MODE_RESTRICTED,
    ZTS_MODE_SUSPENDED,
    ZTS_MODE_REVOKED,
    ZTS_MODE_ABANDONED, /* revoked while a writer was stuck inside; as dead as REVOKED, and still to be wiped */
    ZTS_MODE_COUNT
} zts_mode;

/* ---- Profile: the part of a decision that many sessions share -------------------------------------------- */

/* All of it is atomic: a verify whose session ends under it may look at the profile of the next one, and finds out
 * before it accepts. */
typedef struct {
    _Atomic uint32_t max_age_us;
    _Atomic uint32_t stale_ms; /* allowed for so long after the lease; ZTS_STALE_ALWAYS_MS: as long as the session */
} zts_operation_limits;

typedef struct {
    _Alignas(64) uint8_t digest[ZTS_SHA256_BYTES];
    _Atomic uint64_t digest_mark; /* first bytes of the digest: lets a search skip without taking a reference */
    _Atomic uint32_t references;
    uint32_t reserved;
    _Atomic uint64_t epoch_length_us, grace_us; /* a length of 0: never filled */

    _Atomic uint64_t allowed[ZTS_MODE_COUNT]; /* one bit per operation; only live modes have any */
    _Atomic uint64_t step_up, ordered, fine;

    zts_operation_limits limits[ZTS_OPERATIONS_MAX];
} zts_profile;

/* ---- Slot ------------------------------------------------------------------------------------------------- */

typedef struct {
    /* line 1: read by every verify */
    _Alignas(64) _Atomic uint64_t handle;
    _Atomic uint64_t revision; /* odd while a writer is inside */
    _Atomic uint64_t epoch_ends_us;
    _Atomic uint64_t expires_at_us;
    _Atomic uint64_t last_accepted_us;
    _Atomic uint64_t accepted;
    _Atomic uint32_t epoch, first_epoch;
    _Atomic uint32_t idle_limit_s;
    _Atomic uint16_t profile;
    _Atomic uint8_t mode;
    uint8_t reserved;

    zts_keyring keys;

    /* what only refusals, signers and ordered operations touch */
    _Atomic uint64_t sent;
    _Atomic uint64_t last_ordered;
    _Atomic uint32_t refused[12]; /* verdicts that can be charged to a session: from EXPIRED on */

    zts_replay_word window[]; /* header.window_words of them */
} zts_slot;

#define ZTS_SLOT_FIRST_VERDICT ZTS_EXPIRED
_Static_assert(sizeof(zts_slot) == 7 * 64, "seven lines, then the window");
_Static_assert(ZTS_VERDICT_COUNT - ZTS_SLOT_FIRST_VERDICT <= 12, "a counter for each verdict of a session");

/* ---- Table ------------------------------------------------------------------------------------------------ */

typedef struct {
    uint32_t capacity, profiles, window_words;
    uint32_t receives;   /* the direction that is verified here */
    uint32_t clock_kind; /* zts_clock_kind */
} zts_table_shape;

typedef struct {
    _Alignas(64) char magic[8];
    uint32_t layout_version;
    zts_table_shape shape;
    uint32_t index_mask; /* a client's table has one slot and handles that others chose */
    uint32_t slot_bytes;
    uint64_t profiles_at, occupied_at, slots_at, region_bytes;
    uint64_t skew_us;
    _Alignas(64) _Atomic uint64_t lease_deadline_us;
    zts_clock clock;
    _Alignas(64) _Atomic uint64_t cursor;
    _Atomic uint64_t live;
    _Alignas(64) _Atomic uint64_t refused[16]; /* every refusal, whoever caused it; by verdict */
} zts_table_header;

/* A process's view of a table. */
typedef struct {
    zts_table_header *header;
    zts_profile *profiles;
    _Atomic uint64_t *occupied;
    uint8_t *slots;
    const zts_sha256_backend *backend;
    uint32_t capacity, index_mask, slot_bytes, window_mask;
} zts_table;

/* 0 when the shape is impossible. */
size_t zts_table_bytes(const zts_table_shape *shape) ZTS_MUST_USE;

/* Writes an empty table into zeroed memory, aligned to 64 bytes. */
zts_status zts_table_format(void *region, size_t bytes, const zts_table_shape *shape) ZTS_MUST_USE;

/* Checks every offset of the header before anything is believed. */
zts_status zts_table_attach(zts_table *table, void *region, size_t bytes,
                            const zts_sha256_backend *backend) ZTS_MUST_USE;

ZTS_INLINE zts_slot *zts_table_slot(const zts_table *table, uint32_t index) {
    return (zts_slot *)(void *)(table->slots + (size_t)index * table->slot_bytes);
}

/* The slot that this handle would live in, or NULL when the index is out of range. */
ZTS_INLINE zts_slot *zts_table_slot_of(const zts_table *table, uint64_t handle) {
    const uint32_t index = (uint32_t)handle & table->index_mask;
    return ZTS_LIKELY(index < table->capacity) ? zts_table_slot(table, index) : NULL;
}

/* ---- Changing a table ------------------------------------------------------------------------------------- */

typedef struct {
    uint8_t digest[ZTS_SHA256_BYTES];
    uint64_t epoch_length_us;
    uint64_t allowed[3]; /* NORMAL, RESTRICTED, SUSPENDED */
    uint64_t step_up, ordered;
    zts_operation_limits limits[ZTS_OPERATIONS_MAX];
} zts_profile_spec;

typedef struct {
    const zts_profile_spec *profile;
    const uint8_t *segment_secret;
    const uint8_t *nonce;
    uint64_t random_bits;   /* point: the low 40 become part of the handle */
    uint64_t handle;        /* client: the handle that the point chose; 0 at a point */
    uint64_t now_us;        /* session time of the installation, equal at both ends */
    uint64_t lifetime_us;
    uint32_t idle_limit_s;
} zts_installation;

zts_status zts_table_install(const zts_table *table, const zts_installation *what, uint64_t *handle) ZTS_MUST_USE;

/* The narrower of what is held and what is given, for every session of the profile, at once; `step_up` wants more
 * assurance from now on, too. */
zts_status zts_table_narrow(const zts_table *table, const uint8_t digest[ZTS_SHA256_BYTES], const uint64_t allowed[3],
                            uint64_t step_up) ZTS_MUST_USE;

/* One session goes on under `narrower`, which is its own profile with less in it, and under all that was taken from
 * that one in place. PROFILES_FULL: nothing has changed. */
zts_status zts_table_tighten(const zts_table *table, uint64_t handle, const zts_profile_spec *narrower) ZTS_MUST_USE;

/* NORMAL, RESTRICTED or SUSPENDED. Ends the session when a writer is stuck inside: a decision must not get lost. */
zts_status zts_table_set_mode(const zts_table *table, uint64_t handle, zts_mode mode) ZTS_MUST_USE;

/* The session ends `in_us` from now, if that is earlier than it would have. */
zts_status zts_table_shorten(const zts_table *table, uint64_t handle, uint64_t in_us) ZTS_MUST_USE;

/* Ends a session and wipes its keys. `as` is REVOKED (its handle is answered so until the slot is reused) or FREE. When
 * it returns, no later call is accepted, also if a writer is stuck inside the slot: wiping is then left to a sweep. */
zts_status zts_table_end(const zts_table *table, uint64_t handle, zts_mode as) ZTS_MUST_USE;

/* Ends what has expired and advances what has fallen behind, for `count` slots from `from`; how many it ended. */
uint32_t zts_table_sweep(const zts_table *table, uint32_t from, uint32_t count);

/* ---- For writers and the call path ------------------------------------------------------------------------- */

/* Waits for about a second. The revision to give back, or 0 when the writer inside did not leave. */
uint64_t zts_slot_lock(zts_slot *slot) ZTS_MUST_USE;
void zts_slot_unlock(zts_slot *slot, uint64_t locked);

/* How far behind a slot is, in epochs. */
uint64_t zts_slot_epochs_behind(const zts_slot *slot, const zts_profile *profile, uint64_t now_us);

/* Publishes a ring that was advanced by `steps` elsewhere, if the slot is still at `revision`. */
int zts_slot_commit_epoch(zts_slot *slot, const zts_profile *profile, uint64_t revision, const zts_keyring *ring,
                          uint32_t steps);

/* A private copy of the ring, only if the slot stayed at `revision` meanwhile. */
int zts_slot_copy_keys(const zts_slot *slot, uint64_t revision, zts_keyring *ring) ZTS_MUST_USE;

#endif
