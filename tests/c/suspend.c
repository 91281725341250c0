/* The machine sleeps: CLOCK_MONOTONIC stands still and CLOCK_BOOTTIME goes on. This program is the machine, by way of a
 * clock_gettime of its own. */
#define _GNU_SOURCE
#include <time.h>

#include "bench_table.h"

static uint64_t awake_us = 1000 * 1000000, asleep_us = 36000 * UINT64_C(1000000);

int clock_gettime(clockid_t id, struct timespec *t) {
    const uint64_t us = awake_us + (id == CLOCK_BOOTTIME ? asleep_us : 0);
    t->tv_sec = (time_t)(us / 1000000);
    t->tv_nsec = (long)(us % 1000000) * 1000;
    return 0;
}

static uint64_t now(const zts_table *table) { return zts_clock_now_us(&table->header->clock, 1); }

/* 1 What was slept before the table existed is nothing to it: folding moves no time. */
static void sleep_before_counts_for_nothing(zts_table *point) {
    const uint64_t before = now(point);
    zts_clock_fold_suspend(&point->header->clock);
    CHECK(now(point) == before);
}

/* 2 What is slept meanwhile is added once. */
static void sleep_is_added_once(zts_table *point) {
    const uint64_t before = now(point);
    asleep_us += 60 * 1000000;
    CHECK(now(point) == before);
    for (int i = 0; i < 3; i++) zts_clock_fold_suspend(&point->header->clock);
    CHECK(now(point) == before + 60 * 1000000);
}

/* 3 A client keeps what it learned from its point, and adds its own sleep to it. */
static void a_learned_offset_stays(void) {
    zts_table client = table_new(1, 1, ZTS_DIRECTION_REPLY, ZTS_CLOCK_SYSTEM);
    zts_clock *clock = &client.header->clock;
    zts_clock_start(clock, 5000);
    zts_clock_fold_suspend(clock);
    CHECK(now(&client) == 5000);
    asleep_us += 7000000;
    zts_clock_fold_suspend(clock);
    CHECK(now(&client) == 7005000);
    zts_clock_learn(clock, 7005000 - 300); /* a late observation must not undo it */
    CHECK(now(&client) == 7005000);
    table_free(&client);
}

/* 4 Reading two clocks one after the other is no sleep. */
static void jitter_is_no_sleep(zts_table *point) {
    zts_clock_fold_suspend(&point->header->clock);
    const uint64_t before = now(point);
    asleep_us += 900;
    zts_clock_fold_suspend(&point->header->clock);
    CHECK(now(point) == before);
    asleep_us -= 900;
}

/* 5 A token from before a sleep is too old after it, once the point knows. */
static void tokens_age_in_sleep(zts_table *point) {
    session s = session_new(point, 1, 9);
    uint8_t first[ZTS_TOKEN_BYTES], second[ZTS_TOKEN_BYTES];
    atomic_store(&s.client.header->clock.offset_us, atomic_load(&point->header->clock.offset_us));
    CHECK(zts_token_sign(&s.client, s.handle, OPERATION, NULL, 0, first) == ZTS_DONE);
    CHECK(zts_token_sign(&s.client, s.handle, OPERATION, NULL, 0, second) == ZTS_DONE);
    CHECK(zts_token_verify(point, first, NULL, 0, OPERATION, NULL) == ZTS_OK);
    asleep_us += 10 * EPOCH_US;
    zts_clock_fold_suspend(&point->header->clock);
    CHECK(zts_token_verify(point, second, NULL, 0, OPERATION, NULL) == ZTS_BAD_EPOCH);
    table_free(&s.client);
}

int main(void) {
    zts_table point = table_new(4, 32, ZTS_DIRECTION_REQUEST, ZTS_CLOCK_SYSTEM);
    sleep_before_counts_for_nothing(&point);
    sleep_is_added_once(&point);
    a_learned_offset_stays();
    jitter_is_no_sleep(&point);
    tokens_age_in_sleep(&point);
    table_free(&point);
    return 0;
}
