/* Sessions: put into a slot, changed, ended, and swept when their time is over. */
#include "zts_table_parts.h"

/* ---- Which slots are taken ------------------------------------------------------------------------------- */

/* Walks on from where the last search ended, so that an ended session's handle is remembered as long as possible. */
static zts_status claim_index(const zts_table *t, uint32_t *index) {
    const uint32_t words = (t->capacity + 63) / 64;
    const uint32_t start = (uint32_t)(atomic_fetch_add(&t->header->cursor, 1) % t->capacity);
    for (uint32_t i = 0; i <= words; i++) {
        const uint32_t w = (start / 64 + i) % words;
        uint64_t mask = i == 0 ? ~UINT64_C(0) << (start % 64) : ~UINT64_C(0);
        if (w == words - 1 && t->capacity % 64) mask &= ~(~UINT64_C(0) << (t->capacity % 64));
        uint64_t seen = ZTS_GET(t->occupied[w]);
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

/* ---- Installing -------------------------------------------------------------------------------------------- */

static void slot_fill(zts_slot *slot, const zts_installation *what, uint64_t handle, uint32_t profile,
                      const zts_keyring *ring, uint32_t window_words) {
    const uint64_t length = what->profile->epoch_length_us, epoch = what->now_us / length;
    zts_slot_publish_keys(slot, ring);
    ZTS_SET(slot->epoch, (uint32_t)epoch);
    ZTS_SET(slot->first_epoch, (uint32_t)epoch);
    ZTS_SET(slot->epoch_ends_us, (epoch + 1) * length);
    ZTS_SET(slot->expires_at_us, what->now_us + what->lifetime_us);
    ZTS_SET(slot->last_accepted_us, what->now_us);
    ZTS_SET(slot->idle_limit_s, what->idle_limit_s);
    ZTS_SET(slot->accepted, 0);
    ZTS_SET(slot->sent, 0);
    ZTS_SET(slot->last_ordered, 0);
    for (size_t i = 0; i < sizeof slot->refused / sizeof slot->refused[0]; i++) ZTS_SET(slot->refused[i], 0);
    for (uint32_t i = 0; i < window_words; i++) ZTS_SET(slot->window[i], 0);
    ZTS_SET(slot->profile, (uint16_t)profile);
    ZTS_SET(slot->handle, handle);
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
    while (random == 0 || random == ZTS_GET(slot->handle) >> ZTS_HANDLE_INDEXBITS)
        random = (random + 1) & ((UINT64_C(1) << ZTS_HANDLE_RANDOMBITS) - 1);
    return random << ZTS_HANDLE_INDEXBITS | index;
}

zts_status zts_table_install(const zts_table *t, const zts_installation *what, uint64_t *handle) {
    uint32_t index, profile;
    zts_keyring ring;
    if (!installation_possible(what)) return ZTS_BAD_SHAPE;
    zts_status status = zts_profile_hold(t, what->profile, &profile);
    if (status != ZTS_DONE) return status;
    status = claim_index(t, &index);
    if (status != ZTS_DONE) {
        zts_profile_release(&t->profiles[profile]);
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
        zts_profile_release(&t->profiles[profile]);
        status = ZTS_TABLE_FULL;
    }
    zts_wipe(&ring, sizeof ring);
    return status;
}

/* ---- Changing and ending ------------------------------------------------------------------------------------ */

static int mode_is_live(uint8_t mode) { return mode >= ZTS_MODE_NORMAL && mode <= ZTS_MODE_SUSPENDED; }
static int is_live(const zts_slot *slot) { return mode_is_live(ZTS_GET(slot->mode)); }

/* Whoever is stuck inside may wake up at any time and leave; this session shall be over then. */
static int abandon(zts_slot *slot, uint64_t handle) {
    uint8_t mode = ZTS_GET(slot->mode);
    while (mode_is_live(mode) && ZTS_GET(slot->handle) == handle)
        if (atomic_compare_exchange_weak(&slot->mode, &mode, ZTS_MODE_ABANDONED)) return 1;
    return 0;
}

/* DONE: `slot` is locked and the handle lives in it. SESSION_ENDED: it could not be locked, and is dead now. */
static zts_status lock_live(const zts_table *t, uint64_t handle, zts_slot **slot, uint64_t *locked) {
    zts_slot *s = *slot = zts_table_slot_of(t, handle);
    if (!s || ZTS_GET(s->handle) != handle) return ZTS_NO_SUCH_SESSION;
    *locked = zts_slot_lock(s);
    if (!*locked) return abandon(s, handle) ? ZTS_SESSION_ENDED : ZTS_NO_SUCH_SESSION;
    if (ZTS_GET(s->handle) == handle && is_live(s)) return ZTS_DONE;
    zts_slot_unlock(s, *locked);
    return ZTS_NO_SUCH_SESSION;
}

zts_status zts_table_set_mode(const zts_table *t, uint64_t handle, zts_mode mode) {
    zts_slot *slot;
    uint64_t locked;
    if (mode < ZTS_MODE_NORMAL || mode > ZTS_MODE_SUSPENDED) return ZTS_BAD_SHAPE;
    zts_status status = lock_live(t, handle, &slot, &locked);
    if (status != ZTS_DONE) return status;
    uint8_t before = ZTS_GET(slot->mode);
    /* An exchange, since a session that was abandoned while we were stuck here must not rise again. */
    if (before == ZTS_MODE_ABANDONED || !atomic_compare_exchange_strong(&slot->mode, &before, (uint8_t)mode))
        status = ZTS_SESSION_ENDED;
    zts_slot_unlock(slot, locked);
    return status;
}

zts_status zts_table_shorten(const zts_table *t, uint64_t handle, uint64_t in_us) {
    zts_slot *slot;
    uint64_t locked;
    zts_status status = lock_live(t, handle, &slot, &locked);
    if (status != ZTS_DONE) return status;
    const uint64_t now_us = zts_clock_now_us(&t->header->clock, 1), left_us = UINT64_MAX - now_us;
    const uint64_t ends_us = now_us + (in_us < left_us ? in_us : left_us);
    /* Under the lock nobody else writes it, and it only ever comes nearer. */
    if (ends_us < ZTS_GET(slot->expires_at_us)) ZTS_SET(slot->expires_at_us, ends_us);
    zts_slot_unlock(slot, locked);
    return status;
}

zts_status zts_table_tighten(const zts_table *t, uint64_t handle, const zts_profile_spec *narrower) {
    zts_slot *slot;
    uint64_t locked;
    uint32_t index;
    zts_status status = zts_profile_hold(t, narrower, &index);
    if (status != ZTS_DONE) return status;
    status = lock_live(t, handle, &slot, &locked);
    if (status != ZTS_DONE) {
        zts_profile_release(&t->profiles[index]);
        return status;
    }
    zts_profile *before = &t->profiles[ZTS_GET(slot->profile)];
    const uint64_t held[3] = {ZTS_GET(before->allowed[ZTS_MODE_NORMAL]), ZTS_GET(before->allowed[ZTS_MODE_RESTRICTED]),
                              ZTS_GET(before->allowed[ZTS_MODE_SUSPENDED])};
    zts_profile_narrow(&t->profiles[index], held, ZTS_GET(before->step_up));
    atomic_store_explicit(&slot->profile, (uint16_t)index, memory_order_release);
    zts_slot_unlock(slot, locked);
    /* Only now: while it was this slot's, nobody else could fill it. */
    zts_profile_release(before);
    return ZTS_DONE;
}

/* The slot is locked: forgets its session, and lets others have it. */
static void retire(const zts_table *t, zts_slot *slot, uint64_t locked, zts_mode as) {
    static const zts_keyring nothing;
    const uint32_t index = (uint32_t)(((uint8_t *)slot - t->slots) / t->slot_bytes);
    atomic_store_explicit(&slot->mode, (uint8_t)as, memory_order_release);
    zts_slot_publish_keys(slot, &nothing);
    zts_profile_release(&t->profiles[ZTS_GET(slot->profile)]);
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

/* ---- Sweeping ----------------------------------------------------------------------------------------------- */

static int has_expired(const zts_slot *slot, const zts_profile *profile, uint64_t now_us) {
    const uint64_t idle_us = (uint64_t)ZTS_GET(slot->idle_limit_s) * 1000000u, last = ZTS_GET(slot->last_accepted_us);
    return now_us >= ZTS_GET(slot->expires_at_us) || (now_us > last && now_us - last > idle_us) ||
           zts_slot_epochs_behind(slot, profile, now_us) > ZTS_EPOCH_STEPS_MAX;
}

static void catch_up(const zts_table *t, zts_slot *slot, const zts_profile *profile, uint64_t now_us) {
    const uint64_t revision = atomic_load_explicit(&slot->revision, memory_order_acquire);
    const uint64_t steps = zts_slot_epochs_behind(slot, profile, now_us);
    zts_keyring ring;
    if (revision % 2 || steps == 0 || steps > ZTS_EPOCH_STEPS_MAX) return;
    const uint32_t epoch = ZTS_GET(slot->epoch);
    if (zts_slot_copy_keys(slot, revision, &ring)) {
        zts_keyring_advance(t->backend, &ring, epoch, (uint32_t)steps);
        (void)zts_slot_commit_epoch(slot, profile, revision, &ring, (uint32_t)steps);
    }
    zts_wipe(&ring, sizeof ring);
}

/* Abandoned, and whoever was stuck inside has left meanwhile. */
static int clean_up(const zts_table *t, zts_slot *slot) {
    const uint64_t revision = ZTS_GET(slot->revision);
    if (!zts_slot_try_lock(slot, revision)) return 0;
    const int abandoned = ZTS_GET(slot->mode) == ZTS_MODE_ABANDONED;
    if (abandoned)
        retire(t, slot, revision + 1, ZTS_MODE_REVOKED);
    else
        zts_slot_unlock(slot, revision + 1);
    return abandoned;
}

static int sweep_slot(const zts_table *t, zts_slot *slot, uint64_t now_us) {
    if (ZTS_GET(slot->mode) == ZTS_MODE_ABANDONED) return clean_up(t, slot);
    if (!is_live(slot)) return 0;
    const zts_profile *profile = &t->profiles[ZTS_GET(slot->profile)];
    if (has_expired(slot, profile, now_us)) return zts_table_end(t, ZTS_GET(slot->handle), ZTS_MODE_FREE) == ZTS_DONE;
    catch_up(t, slot, profile, now_us);
    return 0;
}

uint32_t zts_table_sweep(const zts_table *t, uint32_t from, uint32_t count) {
    const uint64_t now_us = zts_clock_now_us(&t->header->clock, 1);
    uint32_t ended = 0;
    for (uint64_t i = from; i < (uint64_t)from + count && i < t->capacity; i++) {
        if (!(ZTS_GET(t->occupied[i / 64]) >> (i % 64) & 1)) continue;
        ended += (uint32_t)sweep_slot(t, zts_table_slot(t, (uint32_t)i), now_us);
    }
    return ended;
}
