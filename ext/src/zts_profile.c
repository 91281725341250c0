/* Profiles: found or made by the digest of a decision, counted, and narrowed in place. */
#include "zts_table_parts.h"

enum { REFERENCES_LOCKED = UINT32_MAX };

void zts_profile_release(zts_profile *p) { atomic_fetch_sub(&p->references, 1); }

static int profile_acquire(zts_profile *p, uint64_t mark, const uint8_t digest[ZTS_SHA256_BYTES]) {
    uint32_t n = ZTS_GET(p->references);
    /* Again when others come or go meanwhile: whoever narrows must not pass by a profile that is in use. */
    do {
        if (n >= REFERENCES_LOCKED - 1 || ZTS_GET(p->digest_mark) != mark) return 0;
    } while (!atomic_compare_exchange_weak(&p->references, &n, n + 1));
    /* Memory that nobody filled has the digest of zeros, and must not pass for a decision. */
    if (ZTS_GET(p->epoch_length_us) && memcmp(p->digest, digest, ZTS_SHA256_BYTES) == 0) return 1;
    zts_profile_release(p);
    return 0;
}

/* An operation that is never allowed has no say in how long a past epoch counts, nor in which clock is read. */
static void profile_fill_limits(zts_profile *p, const zts_profile_spec *spec, uint64_t known) {
    uint64_t fine = 0, grace_us = 0;
    for (int op = 0; op < ZTS_OPERATIONS_MAX; op++) {
        const uint32_t max_age_us = ZTS_GET(spec->limits[op].max_age_us);
        ZTS_SET(p->limits[op].max_age_us, max_age_us);
        ZTS_SET(p->limits[op].stale_ms, ZTS_GET(spec->limits[op].stale_ms));
        if (!(known >> op & 1)) continue;
        if (max_age_us < ZTS_FINE_CLOCK_BELOW_US) fine |= UINT64_C(1) << op;
        if (max_age_us > grace_us) grace_us = max_age_us;
    }
    ZTS_SET(p->fine, fine);
    ZTS_SET(p->grace_us, grace_us);
}

static void profile_fill(zts_profile *p, const zts_profile_spec *spec, uint64_t mark) {
    uint64_t known = 0;
    memcpy(p->digest, spec->digest, sizeof p->digest);
    ZTS_SET(p->epoch_length_us, spec->epoch_length_us);
    ZTS_SET(p->step_up, spec->step_up);
    ZTS_SET(p->ordered, spec->ordered);
    for (int mode = 0; mode < ZTS_MODE_COUNT; mode++) {
        const int live = mode >= ZTS_MODE_NORMAL && mode <= ZTS_MODE_SUSPENDED;
        const uint64_t allowed = live ? spec->allowed[mode - ZTS_MODE_NORMAL] : 0;
        ZTS_SET(p->allowed[mode], allowed);
        known |= allowed;
    }
    profile_fill_limits(p, spec, known);
    ZTS_SET(p->digest_mark, mark);
}

/* Holds one reference to the profile of this digest, made on first use. */
zts_status zts_profile_hold(const zts_table *t, const zts_profile_spec *spec, uint32_t *index) {
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

void zts_profile_narrow(zts_profile *p, const uint64_t allowed[3], uint64_t step_up) {
    for (int m = 0; m < 3; m++) atomic_fetch_and(&p->allowed[ZTS_MODE_NORMAL + m], allowed[m]);
    atomic_fetch_or(&p->step_up, step_up);
}

zts_status zts_table_narrow(const zts_table *t, const uint8_t digest[ZTS_SHA256_BYTES], const uint64_t allowed[3],
                            uint64_t step_up) {
    const uint64_t mark = zts_load64(digest);
    zts_status status = ZTS_NO_SUCH_SESSION;
    /* Two installers may have made the same profile at once: narrow every copy. */
    for (uint32_t i = 0; i < t->header->shape.profiles; i++) {
        zts_profile *p = &t->profiles[i];
        if (!profile_acquire(p, mark, digest)) continue;
        zts_profile_narrow(p, allowed, step_up);
        zts_profile_release(p);
        status = ZTS_DONE;
    }
    return status;
}
