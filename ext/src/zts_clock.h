/* Session time: microseconds on one enforcement point's own clock, never the wall clock.
 *
 * The point counts from its machine's monotonic clock; suspended time is folded in by zts_clock_fold_suspend. A
 * client holds the same struct with an offset that it learned from the point, so both ends read time one way. */
#ifndef ZTS_CLOCK_H
#define ZTS_CLOCK_H

#include <stdatomic.h>

#include "zts_bytes.h"
#include "zts_limits.h"

typedef enum { ZTS_CLOCK_SYSTEM = 0, ZTS_CLOCK_MANUAL = 1 } zts_clock_kind;

typedef struct {
    _Atomic uint64_t offset_us;  /* added to the machine's clock, modulo 2^64 */
    _Atomic uint64_t manual_us;  /* the machine's clock of tests */
    _Atomic uint64_t asleep_us;  /* how much of the machine's sleep the offset knows of */
    uint32_t kind;
    uint32_t reserved;
    /* The best observation of the peer's clock in this window and in the one before (client side). */
    uint64_t best_us, best_before_us, window_ends_us;
} zts_clock;

/* The coarse clock costs 3 ns and ticks each 1 to 4 ms; the fine one costs 20 ns. */
uint64_t zts_clock_machine_us(const zts_clock *clock, int fine) ZTS_MUST_USE;

ZTS_INLINE uint64_t zts_clock_now_us(const zts_clock *clock, int fine) {
    return zts_clock_machine_us(clock, fine) + atomic_load_explicit(&clock->offset_us, memory_order_relaxed);
}

/* Time begins; what the machine slept before counts for nothing. */
void zts_clock_init(zts_clock *clock, zts_clock_kind kind);

/* Starts the client's estimate: `peer_us` was true some moment before now. */
void zts_clock_start(zts_clock *clock, uint64_t peer_us);

/* Takes an authenticated observation. An observation is late by its travel time and never early, so the largest
 * of a window is the best; keeping two windows lets a fast local clock be corrected downwards too. */
void zts_clock_learn(zts_clock *clock, uint64_t peer_us);

/* CLOCK_MONOTONIC stands still while the machine sleeps; without this a laptop's lid would stretch every expiry.
 * Adds what was slept since the last time, whatever else the offset holds. */
void zts_clock_fold_suspend(zts_clock *clock);

#endif
