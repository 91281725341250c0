#define _GNU_SOURCE
#include "zts_clock.h"

#include <time.h>

static uint64_t read_us(clockid_t id) {
    struct timespec t;
    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

uint64_t zts_clock_machine_us(const zts_clock *clock, int fine) {
    if (ZTS_UNLIKELY(clock->kind == ZTS_CLOCK_MANUAL))
        return atomic_load_explicit(&clock->manual_us, memory_order_relaxed);
    return read_us(fine ? CLOCK_MONOTONIC : CLOCK_MONOTONIC_COARSE);
}

static uint64_t asleep_us(void) { return read_us(CLOCK_BOOTTIME) - read_us(CLOCK_MONOTONIC); }

void zts_clock_init(zts_clock *clock, zts_clock_kind kind) {
    memset(clock, 0, sizeof *clock);
    clock->kind = kind;
    atomic_store_explicit(&clock->asleep_us, asleep_us(), memory_order_relaxed);
}

void zts_clock_start(zts_clock *clock, uint64_t peer_us) {
    const uint64_t machine = zts_clock_machine_us(clock, 1), offset = peer_us - machine;
    clock->best_us = clock->best_before_us = offset;
    clock->window_ends_us = machine + ZTS_CLOCK_WINDOW_US;
    atomic_store_explicit(&clock->offset_us, offset, memory_order_relaxed);
}

static int later(uint64_t a, uint64_t b) { return (int64_t)(a - b) > 0; }

void zts_clock_learn(zts_clock *clock, uint64_t peer_us) {
    const uint64_t machine = zts_clock_machine_us(clock, 1), seen = peer_us - machine;
    if (machine >= clock->window_ends_us) {
        clock->best_before_us = machine - clock->window_ends_us < ZTS_CLOCK_WINDOW_US ? clock->best_us : seen;
        clock->best_us = seen;
        clock->window_ends_us = machine + ZTS_CLOCK_WINDOW_US;
    } else if (later(seen, clock->best_us)) {
        clock->best_us = seen;
    }
    const uint64_t best = later(clock->best_before_us, clock->best_us) ? clock->best_before_us : clock->best_us;
    atomic_store_explicit(&clock->offset_us, best, memory_order_relaxed);
}

void zts_clock_fold_suspend(zts_clock *clock) {
    if (clock->kind != ZTS_CLOCK_SYSTEM) return;
    const uint64_t asleep = asleep_us();
    uint64_t known = atomic_load_explicit(&clock->asleep_us, memory_order_relaxed);
    /* Two clocks read one after the other differ by a few microseconds: that is no sleep. */
    if (!later(asleep, known + 1000)) return;
    const uint64_t slept = asleep - known;
    if (!atomic_compare_exchange_strong(&clock->asleep_us, &known, asleep)) return; /* another folds it in */
    atomic_fetch_add(&clock->offset_us, slept);
    clock->best_us += slept;
    clock->best_before_us += slept;
}
