#define _GNU_SOURCE
#include <time.h>

#include "zts_table_parts.h"

int zts_slot_try_lock(zts_slot *slot, uint64_t revision) {
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
        const uint64_t revision = ZTS_GET(slot->revision);
        if (zts_slot_try_lock(slot, revision)) return revision + 1;
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
void zts_slot_publish_keys(zts_slot *slot, const zts_keyring *ring) {
    const uint64_t *from = (const uint64_t *)(const void *)ring;
    uint64_t *to = (uint64_t *)(void *)&slot->keys;
    for (size_t i = 0; i < sizeof *ring / sizeof *from; i++) __atomic_store_n(&to[i], from[i], __ATOMIC_RELAXED);
}

int zts_slot_copy_keys(const zts_slot *slot, uint64_t revision, zts_keyring *ring) {
    const uint64_t *from = (const uint64_t *)(const void *)&slot->keys;
    uint64_t *to = (uint64_t *)(void *)ring;
    for (size_t i = 0; i < sizeof *ring / sizeof *to; i++) to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
    atomic_thread_fence(memory_order_acquire);
    return ZTS_GET(slot->revision) == revision;
}

uint64_t zts_slot_epochs_behind(const zts_slot *slot, const zts_profile *profile, uint64_t now_us) {
    const uint64_t ends = ZTS_GET(slot->epoch_ends_us);
    return now_us < ends ? 0 : (now_us - ends) / ZTS_GET(profile->epoch_length_us) + 1;
}

int zts_slot_commit_epoch(zts_slot *slot, const zts_profile *profile, uint64_t revision, const zts_keyring *ring,
                          uint32_t steps) {
    if (!zts_slot_try_lock(slot, revision)) return 0;
    zts_slot_publish_keys(slot, ring);
    ZTS_SET(slot->epoch, ZTS_GET(slot->epoch) + steps);
    ZTS_SET(slot->epoch_ends_us, ZTS_GET(slot->epoch_ends_us) + steps * ZTS_GET(profile->epoch_length_us));
    zts_slot_unlock(slot, revision + 1);
    return 1;
}
