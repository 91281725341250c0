#define _GNU_SOURCE
#include "zts_table.h"

#include <time.h>

static const char MAGIC[8] = "zts-tbl";

enum { REFERENCES_LOCKED = UINT32_MAX };

#define GET(field) atomic_load_explicit(&(field), memory_order_relaxed)
#define SET(field, value) atomic_store_explicit(&(field), (value), memory_order_relaxed)

const char *zts_verdict_name(int verdict) {
#define NAME(name) #name,
    static const char *const names[] = {ZTS_VERDICTS(NAME)};
#undef NAME
    return verdict >= 0 && verdict < ZTS_VERDICT_COUNT ? names[verdict] : NULL;
}

/* ---- Shape, format, attach -------------------------------------------------------------------------------- */

static uint64_t aligned(uint64_t n) { return (n + 63) & ~UINT64_C(63); }

static int shape_possible(const zts_table_shape *s) {
    const int power_of_two = s->window_words && (s->window_words & (s->window_words - 1)) == 0;
    return s->capacity >= 1 && s->capacity <= ZTS_TABLE_CAPACITY_MAX && s->profiles >= 1 &&
           s->profiles <= UINT16_MAX && power_of_two && s->window_words <= ZTS_REPLAY_WORDS_MAX &&
           s->receives <= ZTS_DIRECTION_REPLY && s->clock_kind <= ZTS_CLOCK_MANUAL &&
           (s->receives == ZTS_DIRECTION_REQUEST || s->capacity == 1);
}

static void lay_out(const zts_table_shape *s, zts_table_header *h) {
    h->slot_bytes = (uint32_t)aligned(sizeof(zts_slot) + s->window_words * sizeof(zts_replay_word));
    h->profiles_at = aligned(sizeof *h);
    h->occupied_at = h->profiles_at + (uint64_t)s->profiles * sizeof(zts_profile);
    h->slots_at = h->occupied_at + aligned(((uint64_t)s->capacity + 63) / 64 * 8);
    h->region_bytes = h->slots_at + (uint64_t)s->capacity * h->slot_bytes;
}

size_t zts_table_bytes(const zts_table_shape *shape) {
    zts_table_header h;
    if (!shape_possible(shape)) return 0;
    lay_out(shape, &h);
    return h.region_bytes;
}

zts_status zts_table_format(void *region, size_t bytes, const zts_table_shape *shape) {
    if (!shape_possible(shape) || bytes < zts_table_bytes(shape)) return ZTS_BAD_SHAPE;
    zts_table_header *h = region;
    lay_out(shape, h);
    h->shape = *shape;
    h->index_mask = shape->receives == ZTS_DIRECTION_REQUEST ? ZTS_TABLE_CAPACITY_MAX - 1 : 0;
    h->layout_version = ZTS_TABLE_LAYOUT_VERSION;
    h->skew_us = ZTS_SKEW_US;
    zts_clock_init(&h->clock, (zts_clock_kind)shape->clock_kind);
    SET(h->lease_deadline_us, UINT64_MAX);
    memcpy(h->magic, MAGIC, sizeof h->magic); /* last: a region without it was never finished */
    return ZTS_DONE;
}

zts_status zts_table_attach(zts_table *table, void *region, size_t bytes, const zts_sha256_backend *backend) {
    const zts_table_header *h = region;
    zts_table_header expected;
    if (bytes < sizeof *h || ((uintptr_t)region & 63)) return ZTS_BAD_REGION;
    if (memcmp(h->magic, MAGIC, sizeof h->magic) != 0 || h->layout_version != ZTS_TABLE_LAYOUT_VERSION)
        return ZTS_BAD_REGION;
    if (!shape_possible(&h->shape)) return ZTS_BAD_REGION;
    lay_out(&h->shape, &expected);
    if (expected.slot_bytes != h->slot_bytes || expected.profiles_at != h->profiles_at ||
        expected.occupied_at != h->occupied_at || expected.slots_at != h->slots_at ||
        expected.region_bytes != h->region_bytes || bytes < h->region_bytes)
        return ZTS_BAD_REGION;
    uint8_t *base = region;
    *table = (zts_table){
        .header = region,
        .profiles = (zts_profile *)(void *)(base + h->profiles_at),
        .occupied = (_Atomic uint64_t *)(void *)(base + h->occupied_at),
        .slots = base + h->slots_at,
        .backend = backend,
        .capacity = h->shape.capacity,
        .index_mask = h->index_mask,
        .slot_bytes = h->slot_bytes,
        .window_mask = h->shape.window_words - 1,
    };
    return ZTS_DONE;
}

/* ---- Profiles --------------------------------------------------------------------------------------------- */

static int profile_acquire(zts_profile *p, uint64_t mark, const uint8_t digest[ZTS_SHA256_BYTES]) {
    uint32_t n = GET(p->references);
    if (n >= REFERENCES_LOCKED - 1 || GET(p->digest_mark) != mark) return 0;
    if (!atomic_compare_exchange_strong(&p->references, &n, n + 1)) return 0;
    /* Memory that nobody filled has the digest of zeros, and must not pass for a decision. */
    if (GET(p->epoch_length_us) && memcmp(p->digest, digest, ZTS_SHA256_BYTES) == 0) return 1;
    atomic_fetch_sub(&p->references, 1);
    return 0;
}

/* An operation that is never allowed has no say in how long a past epoch counts, nor in which clock is read. */
static void profile_fill_limits(zts_profile *p, const zts_profile_spec *spec, uint64_t known) {
    uint64_t fine = 0, grace_us = 0;
    for (int op = 0; op < ZTS_OPERATIONS_MAX; op++) {
        const uint32_t max_age_us = GET(spec->limits[op].max_age_us);
        SET(p->limits[op].max_age_us, max_age_us);
        SET(p->limits[op].stale_ms, GET(spec->limits[op].stale_ms));
        if (!(known >> op & 1)) continue;
        if (max_age_us < ZTS_FINE_CLOCK_BELOW_US) fine |= UINT64_C(1) << op;
        if (max_age_us > grace_us) grace_us = max_age_us;
    }
    SET(p->fine, fine);
    SET(p->grace_us, grace_us);
}

static void profile_fill(zts_profile *p, const zts_profile_spec *spec, uint64_t mark) {
    uint64_t known = 0;
    memcpy(p->digest, spec->digest, sizeof p->digest);
    SET(p->epoch_length_us, spec->epoch_length_us);
    SET(p->step_up, spec->step_up);
    SET(p->ordered, spec->ordered);
    for (int mode = 0; mode < ZTS_MODE_COUNT; mode++) {
        const int live = mode >= ZTS_MODE_NORMAL && mode <= ZTS_MODE_SUSPENDED;
        const uint64_t allowed = live ? spec->allowed[mode - ZTS_MODE_NORMAL] : 0;
        SET(p->allowed[mode], allowed);
        known |= allowed;
    }
    profile_fill_limits(p, spec, known);
    SET(p->digest_mark, mark);
}

/* Holds one reference to the profile of this digest, made on first use. */
static zts_status profile_hold(const zts_table *t, const zts_profile_spec *spec, uint32_t *index) {
    const uint64_t mark = zts_load64(spec->digest);
    const uint32_t count = t->header->shape.profiles;
    for (uint32_t i = 0; i < count; i++) {
        if (!profile_acquire(&t->profiles[i], mark, spec->digest)) continue;
        *index = i;
        return ZTS_DONE;
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t unused = 0;
        if (!atomic_compare_exchange_strong(&t->profiles[i].references, &unused, REFERENCES_LOCKED)) continue;
        profile_fill(&t->profiles[i], spec, mark);
        atomic_store(&t->profiles[i].references, 1);
        *index = i;
        return ZTS_DONE;
    }
    return ZTS_PROFILES_FULL;
}

zts_status zts_table_narrow(const zts_table *t, const uint8_t digest[ZTS_SHA256_BYTES], const uint64_t allowed[3]) {
    const uint64_t mark = zts_load64(digest);
    zts_status status = ZTS_NO_SUCH_SESSION;
    /* Two installers may have made the same profile at once: narrow every copy. */
    for (uint32_t i = 0; i < t->header->shape.profiles; i++) {
        zts_profile *p = &t->profiles[i];
        if (!profile_acquire(p, mark, digest)) continue;
        for (int m = 0; m < 3; m++) atomic_fetch_and(&p->allowed[ZTS_MODE_NORMAL + m], allowed[m]);
        atomic_fetch_sub(&p->references, 1);
        status = ZTS_DONE;
    }
    return status;
}

/* ---- Slots: occupied bits ------------------------------------------------------------------------------------ */

/* Walks on from where the last search ended, so that an ended session's handle is remembered as long as possible. */
static zts_status claim_index(const zts_table *t, uint32_t *index) {
    const uint32_t words = (t->capacity + 63) / 64;
    const uint32_t start = (uint32_t)(atomic_fetch_add(&t->header->cursor, 1) % t->capacity);
    for (uint32_t i = 0; i <= words; i++) {
        const uint32_t w = (start / 64 + i) % words;
        uint64_t mask = i == 0 ? ~UINT64_C(0) << (start % 64) : ~UINT64_C(0);
        if (w == words - 1 && t->capacity % 64) mask &= ~(~UINT64_C(0) << (t->capacity % 64));
        uint64_t seen = GET(t->occupied[w]);
        while (~seen & mask) {
            const uint64_t bit = (~seen & mask) & -(~seen & mask);
            if (!atomic_compare_exchange_weak(&t->occupied[w], &seen, seen | bit)) continue;
            *index = w * 64 + (uint32_t)__builtin_ctzll(bit);
            atomic_fetch_add(&t->header->live, 1);
            return ZTS_DONE;
        }
    }
    return ZTS_TABLE_FULL;
}

static void release_index(const zts_table *t, uint32_t index) {
    atomic_fetch_and(&t->occupied[index / 64], ~(UINT64_C(1) << (index % 64)));
    atomic_fetch_sub(&t->header->live, 1);
}

/* ---- Slots: writing ------------------------------------------------------------------------------------------- */

static int try_lock(zts_slot *slot, uint64_t revision) {
    if (revision % 2 || !atomic_compare_exchange_strong_explicit(&slot->revision, &revision, revision + 1,
                                                                 memory_order_acquire, memory_order_relaxed))
        return 0;
    atomic_thread_fence(memory_order_release); /* readers must see "odd" before any change */
    return 1;
}

/* A writer is inside for less than a microsecond, unless the system took the processor away from it: then only
 * patience helps, since a revocation that gives up early is a revocation lost. */
uint64_t zts_slot_lock(zts_slot *slot) {
    static const struct timespec nap = {.tv_nsec = ZTS_NAP_US * 1000};
    for (int looks = 0; looks < ZTS_SPINS_MAX + ZTS_NAPS_MAX; looks++) {
        const uint64_t revision = GET(slot->revision);
        if (try_lock(slot, revision)) return revision + 1;
        if (looks < ZTS_SPINS_MAX)
            zts_pause();
        else
            (void)nanosleep(&nap, NULL);
    }
    return 0;
}

void zts_slot_unlock(zts_slot *slot, uint64_t locked) {
    atomic_store_explicit(&slot->revision, locked + 1, memory_order_release);
}

/* Word by word and atomically: readers may be looking, and will find the revision changed. */
static void publish_keys(zts_slot *slot, const zts_keyring *ring) {
    const uint64_t *from = (const uint64_t *)(const void *)ring;
    uint64_t *to = (uint64_t *)(void *)&slot->keys;
    for (size_t i = 0; i < sizeof *ring / sizeof *from; i++) __atomic_store_n(&to[i], from[i], __ATOMIC_RELAXED);
}

int zts_slot_copy_keys(const zts_slot *slot, uint64_t revision, zts_keyring *ring) {
    const uint64_t *from = (const uint64_t *)(const void *)&slot->keys;
    uint64_t *to = (uint64_t *)(void *)ring;
    for (size_t i = 0; i < sizeof *ring / sizeof *to; i++) to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
    atomic_thread_fence(memory_order_acquire);
    return GET(slot->revision) == revision;
}

static void slot_fill(zts_slot *slot, const zts_installation *what, uint64_t handle, uint32_t profile,
                      const zts_keyring *ring, uint32_t window_words) {
    const uint64_t length = what->profile->epoch_length_us, epoch = what->now_us / length;
    publish_keys(slot, ring);
    SET(slot->epoch, (uint32_t)epoch);
    SET(slot->first_epoch, (uint32_t)epoch);
    SET(slot->epoch_ends_us, (epoch + 1) * length);
    SET(slot->expires_at_us, what->now_us + what->lifetime_us);
    SET(slot->last_accepted_us, what->now_us);
    SET(slot->idle_limit_s, what->idle_limit_s);
    SET(slot->accepted, 0);
    SET(slot->sent, 0);
    SET(slot->last_ordered, 0);
    for (size_t i = 0; i < sizeof slot->refused / sizeof slot->refused[0]; i++) SET(slot->refused[i], 0);
    for (uint32_t i = 0; i < window_words; i++) SET(slot->window[i], 0);
    SET(slot->profile, (uint16_t)profile);
    SET(slot->handle, handle);
    atomic_store_explicit(&slot->mode, ZTS_MODE_NORMAL, memory_order_release);
}

static int installation_possible(const zts_installation *what) {
    const zts_profile_spec *p = what->profile;
    return p->epoch_length_us >= ZTS_EPOCH_LENGTH_MIN_US && what->lifetime_us <= UINT64_MAX / 4 &&
           what->now_us <= UINT64_MAX / 4 && what->now_us / p->epoch_length_us < UINT32_MAX / 2 &&
           what->lifetime_us / p->epoch_length_us < UINT32_MAX / 4;
}

static uint64_t new_handle(const zts_slot *slot, const zts_installation *what, uint32_t index) {
    if (what->handle) return what->handle;
    uint64_t random = what->random_bits << ZTS_HANDLE_INDEXBITS >> ZTS_HANDLE_INDEXBITS;
    /* Zero means "none", and a slot's own last handle must not come back, however bad the random source. */
    while (random == 0 || random == GET(slot->handle) >> ZTS_HANDLE_INDEXBITS)
        random = (random + 1) & ((UINT64_C(1) << ZTS_HANDLE_RANDOMBITS) - 1);
    return random << ZTS_HANDLE_INDEXBITS | index;
}

zts_status zts_table_install(const zts_table *t, const zts_installation *what, uint64_t *handle) {
    uint32_t index, profile;
    zts_keyring ring;
    if (!installation_possible(what)) return ZTS_BAD_SHAPE;
    zts_status status = profile_hold(t, what->profile, &profile);
    if (status != ZTS_DONE) return status;
    status = claim_index(t, &index);
    if (status != ZTS_DONE) {
        atomic_fetch_sub(&t->profiles[profile].references, 1);
        return status;
    }
    zts_slot *slot = zts_table_slot(t, index);
    *handle = new_handle(slot, what, index);
    zts_keyring_start(t->backend, &ring, what->segment_secret, what->nonce, (int)t->header->shape.receives,
                      *handle, (uint32_t)(what->now_us / what->profile->epoch_length_us));
    const uint64_t locked = zts_slot_lock(slot);
    if (locked) {
        slot_fill(slot, what, *handle, profile, &ring, t->window_mask + 1);
        zts_slot_unlock(slot, locked);
    } else {
        /* Somebody died inside this slot: leave it claimed, nobody shall use it. */
        atomic_fetch_sub(&t->profiles[profile].references, 1);
        status = ZTS_TABLE_FULL;
    }
    zts_wipe(&ring, sizeof ring);
    return status;
}

static int mode_is_live(uint8_t mode) { return mode >= ZTS_MODE_NORMAL && mode <= ZTS_MODE_SUSPENDED; }
static int is_live(const zts_slot *slot) { return mode_is_live(GET(slot->mode)); }

/* Whoever is stuck inside may wake up at any time and leave; this session shall be over then. */
static int abandon(zts_slot *slot, uint64_t handle) {
    uint8_t mode = GET(slot->mode);
    while (mode_is_live(mode) && GET(slot->handle) == handle)
        if (atomic_compare_exchange_weak(&slot->mode, &mode, ZTS_MODE_ABANDONED)) return 1;
    return 0;
}

/* DONE: `slot` is locked and the handle lives in it. SESSION_ENDED: it could not be locked, and is dead now. */
static zts_status lock_live(const zts_table *t, uint64_t handle, zts_slot **slot, uint64_t *locked) {
    zts_slot *s = *slot = zts_table_slot_of(t, handle);
    if (!s || GET(s->handle) != handle) return ZTS_NO_SUCH_SESSION;
    *locked = zts_slot_lock(s);
    if (!*locked) return abandon(s, handle) ? ZTS_SESSION_ENDED : ZTS_NO_SUCH_SESSION;
    if (GET(s->handle) == handle && is_live(s)) return ZTS_DONE;
    zts_slot_unlock(s, *locked);
    return ZTS_NO_SUCH_SESSION;
}

zts_status zts_table_set_mode(const zts_table *t, uint64_t handle, zts_mode mode) {
    zts_slot *slot;
    uint64_t locked;
    if (mode < ZTS_MODE_NORMAL || mode > ZTS_MODE_SUSPENDED) return ZTS_BAD_SHAPE;
    zts_status status = lock_live(t, handle, &slot, &locked);
    if (status != ZTS_DONE) return status;
    uint8_t before = GET(slot->mode);
    /* An exchange, since a session that was abandoned while we were stuck here must not rise again. */
    if (before == ZTS_MODE_ABANDONED || !atomic_compare_exchange_strong(&slot->mode, &before, (uint8_t)mode))
        status = ZTS_SESSION_ENDED;
    zts_slot_unlock(slot, locked);
    return status;
}

/* The slot is locked: forgets its session, and lets others have it. */
static void retire(const zts_table *t, zts_slot *slot, uint64_t locked, zts_mode as) {
    static const zts_keyring nothing;
    const uint32_t index = (uint32_t)(((uint8_t *)slot - t->slots) / t->slot_bytes);
    atomic_store_explicit(&slot->mode, (uint8_t)as, memory_order_release);
    publish_keys(slot, &nothing);
    atomic_fetch_sub(&t->profiles[GET(slot->profile)].references, 1);
    zts_slot_unlock(slot, locked);
    release_index(t, index);
}

zts_status zts_table_end(const zts_table *t, uint64_t handle, zts_mode as) {
    zts_slot *slot;
    uint64_t locked;
    if (as != ZTS_MODE_REVOKED && as != ZTS_MODE_FREE) return ZTS_BAD_SHAPE;
    const zts_status status = lock_live(t, handle, &slot, &locked);
    if (status == ZTS_SESSION_ENDED) return ZTS_DONE;
    if (status == ZTS_DONE) retire(t, slot, locked, as);
    return status;
}

/* ---- Epochs --------------------------------------------------------------------------------------------------- */

uint64_t zts_slot_epochs_behind(const zts_slot *slot, const zts_profile *profile, uint64_t now_us) {
    const uint64_t ends = GET(slot->epoch_ends_us);
    return now_us < ends ? 0 : (now_us - ends) / GET(profile->epoch_length_us) + 1;
}

int zts_slot_commit_epoch(zts_slot *slot, const zts_profile *profile, uint64_t revision, const zts_keyring *ring,
                          uint32_t steps) {
    if (!try_lock(slot, revision)) return 0;
    publish_keys(slot, ring);
    SET(slot->epoch, GET(slot->epoch) + steps);
    SET(slot->epoch_ends_us, GET(slot->epoch_ends_us) + steps * GET(profile->epoch_length_us));
    zts_slot_unlock(slot, revision + 1);
    return 1;
}

static int has_expired(const zts_slot *slot, const zts_profile *profile, uint64_t now_us) {
    const uint64_t idle_us = (uint64_t)GET(slot->idle_limit_s) * 1000000u, last = GET(slot->last_accepted_us);
    return now_us >= GET(slot->expires_at_us) || (now_us > last && now_us - last > idle_us) ||
           zts_slot_epochs_behind(slot, profile, now_us) > ZTS_EPOCH_STEPS_MAX;
}

static void catch_up(const zts_table *t, zts_slot *slot, const zts_profile *profile, uint64_t now_us) {
    const uint64_t revision = atomic_load_explicit(&slot->revision, memory_order_acquire);
    const uint64_t steps = zts_slot_epochs_behind(slot, profile, now_us);
    zts_keyring ring;
    if (revision % 2 || steps == 0 || steps > ZTS_EPOCH_STEPS_MAX) return;
    const uint32_t epoch = GET(slot->epoch);
    if (zts_slot_copy_keys(slot, revision, &ring)) {
        zts_keyring_advance(t->backend, &ring, epoch, (uint32_t)steps);
        (void)zts_slot_commit_epoch(slot, profile, revision, &ring, (uint32_t)steps);
    }
    zts_wipe(&ring, sizeof ring);
}

/* Abandoned, and whoever was stuck inside has left meanwhile. */
static int clean_up(const zts_table *t, zts_slot *slot) {
    const uint64_t revision = GET(slot->revision);
    if (!try_lock(slot, revision)) return 0;
    const int abandoned = GET(slot->mode) == ZTS_MODE_ABANDONED;
    if (abandoned)
        retire(t, slot, revision + 1, ZTS_MODE_REVOKED);
    else
        zts_slot_unlock(slot, revision + 1);
    return abandoned;
}

static int sweep_slot(const zts_table *t, zts_slot *slot, uint64_t now_us) {
    if (GET(slot->mode) == ZTS_MODE_ABANDONED) return clean_up(t, slot);
    if (!is_live(slot)) return 0;
    const zts_profile *profile = &t->profiles[GET(slot->profile)];
    if (has_expired(slot, profile, now_us)) return zts_table_end(t, GET(slot->handle), ZTS_MODE_FREE) == ZTS_DONE;
    catch_up(t, slot, profile, now_us);
    return 0;
}

uint32_t zts_table_sweep(const zts_table *t, uint32_t from, uint32_t count) {
    const uint64_t now_us = zts_clock_now_us(&t->header->clock, 1);
    uint32_t ended = 0;
    for (uint64_t i = from; i < (uint64_t)from + count && i < t->capacity; i++) {
        if (!(GET(t->occupied[i / 64]) >> (i % 64) & 1)) continue;
        ended += (uint32_t)sweep_slot(t, zts_table_slot(t, (uint32_t)i), now_us);
    }
    return ended;
}
