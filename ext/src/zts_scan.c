#include "zts_scan.h"

/* Looks at a slot that is being written to; it is met again with the next pass. */
#define LOOKS_MAX 64

typedef struct {
    uint64_t handle, accepted, last_accepted_us;
    uint32_t refused[ZTS_SCAN_VERDICTS];
    uint8_t mode;
} reading;

/* Sessions lie close together, so the next ones are guessed well enough by where they would be. */
ZTS_INLINE void look_ahead(const zts_table *t, const zts_scan_memory *memory, uint32_t index) {
    if (index >= t->capacity) return;
    const zts_slot *slot = zts_table_slot(t, index);
    __builtin_prefetch(slot);
    __builtin_prefetch(&slot->sent);
    __builtin_prefetch(&memory[index], 1);
}

/* 1: all of it is one live session's. */
static int read_slot(const zts_slot *slot, reading *r) {
    for (int looks = 0; looks < LOOKS_MAX; looks++) {
        const uint64_t revision = atomic_load_explicit(&slot->revision, memory_order_acquire);
        if (ZTS_UNLIKELY(revision % 2)) {
            zts_pause();
            continue;
        }
        r->handle = ZTS_GET(slot->handle);
        r->mode = ZTS_GET(slot->mode);
        r->accepted = ZTS_GET(slot->accepted);
        r->last_accepted_us = ZTS_GET(slot->last_accepted_us);
        for (int v = 0; v < ZTS_SCAN_VERDICTS; v++) r->refused[v] = ZTS_GET(slot->refused[v]);
        atomic_thread_fence(memory_order_acquire);
        if (ZTS_LIKELY(ZTS_GET(slot->revision) == revision))
            return r->mode >= ZTS_MODE_NORMAL && r->mode <= ZTS_MODE_SUSPENDED;
    }
    return 0;
}

/* Counters begin at zero with the session. When it began within the last window nobody knows, so its rate begins now. */
static void begin(zts_scan_memory *m, const reading *r, uint64_t now_us) {
    *m = (zts_scan_memory){.handle = r->handle, .since_us = now_us, .rated_us = now_us, .rated_accepted = r->accepted};
}

/* The average of the time that is known, and later of about the last `rate_memory_us`: w = t / (T + t) needs no
 * exponential, and windows of any length. 1 if the rate of this window is a jump. */
static int rate_jumped(zts_scan_memory *m, const zts_scan_rules *rules, uint64_t accepted, uint64_t now_us) {
    if (now_us < m->rated_us || now_us - m->rated_us < rules->rate_window_us) return 0;
    const double took_us = (double)(now_us - m->rated_us);
    const double known_us = (double)(m->rated_us - m->since_us), most_us = (double)rules->rate_memory_us;
    const double ceiling = rules->rate_factor * m->expected;
    m->rate = (double)(accepted - m->rated_accepted) * 1e6 / took_us;
    /* Its first window has nothing to be compared with. */
    const int judged = known_us > 0 && known_us >= (double)rules->rate_warm_up_us;
    const int jumped = judged && m->rate >= rules->rate_min_per_s && m->rate > ceiling;
    /* A flood must not teach quickly that floods are usual. */
    double learnt = m->rate;
    if (jumped) learnt = ceiling > rules->rate_min_per_s ? ceiling : rules->rate_min_per_s;
    m->expected += (learnt - m->expected) * took_us / ((known_us < most_us ? known_us : most_us) + took_us);
    m->rated_us = now_us;
    m->rated_accepted = accepted;
    return jumped;
}

/* 1 if something new was counted and there are too many by now. */
static int too_many(double *counted, uint32_t fresh, double kept, double limit) {
    *counted = *counted * kept + fresh;
    return fresh && *counted >= limit;
}

/* Counters are 32 bits wide and may have wrapped: their difference has not. */
static unsigned judge(zts_scan_memory *m, const zts_scan_rules *rules, const reading *r, uint64_t now_us,
                      uint32_t fresh[ZTS_SCAN_VERDICTS]) {
    for (int v = 0; v < ZTS_SCAN_VERDICTS; v++) {
        fresh[v] = r->refused[v] - m->refused[v];
        m->refused[v] = r->refused[v];
    }
#define FRESH(verdict) fresh[ZTS_##verdict - ZTS_SLOT_FIRST_VERDICT]
    unsigned why = rate_jumped(m, rules, r->accepted, now_us) ? ZTS_SCAN_RATE : 0;
    if (too_many(&m->denied, FRESH(NOT_PERMITTED), rules->kept, rules->denials)) why |= ZTS_SCAN_DENIED;
    if (too_many(&m->replayed, FRESH(REPLAYED) + FRESH(TOO_OLD) + FRESH(FROM_FUTURE), rules->kept, rules->replays))
        why |= ZTS_SCAN_REPLAYED;
#undef FRESH
    return why;
}

size_t zts_scan(const zts_table *t, uint64_t now_us, const zts_scan_rules *rules, zts_scan_memory *memory,
                const zts_scan_columns *out, size_t *crossed) {
    size_t rows = 0;
    *crossed = 0;
    for (uint32_t w = 0; w < (t->capacity + 63) / 64; w++) {
        for (uint64_t left = ZTS_GET(t->occupied[w]); left; left &= left - 1) {
            const uint32_t index = w * 64 + (uint32_t)__builtin_ctzll(left);
            zts_scan_memory *m = &memory[index];
            reading r;
            look_ahead(t, memory, index + ZTS_BATCH_PREFETCH);
            if (!read_slot(zts_table_slot(t, index), &r)) continue;
            if (m->handle != r.handle) begin(m, &r, now_us);
            out->handle[rows] = r.handle;
            out->mode[rows] = r.mode;
            out->last_accepted_us[rows] = r.last_accepted_us;
            out->known_us[rows] = now_us > m->since_us ? now_us - m->since_us : 0;
            out->accepted[rows] = r.accepted - m->accepted;
            m->accepted = r.accepted;
            out->expected[rows] = m->expected; /* what this window's rate is compared with */
            const unsigned why = judge(m, rules, &r, now_us, out->refused + rows * ZTS_SCAN_VERDICTS);
            out->why[rows] = (uint8_t)why;
            out->rate[rows] = m->rate;
            if (why) out->crossed[(*crossed)++] = (uint32_t)rows;
            rows++;
        }
    }
    return rows;
}
