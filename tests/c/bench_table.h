/* A table in plain memory with a manual clock, and sessions with both ends in it: what the test programs share. */
#ifndef BENCH_TABLE_H
#define BENCH_TABLE_H

#include <stdio.h>
#include <stdlib.h>

#include "zts_token.h"

#define CHECK(condition)                                                             \
    do {                                                                             \
        if (!(condition)) {                                                          \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            exit(1);                                                                 \
        }                                                                            \
    } while (0)

enum { OPERATION = 3, TAKEN = 30, EPOCH_US = 1000000, START_US = 50 * EPOCH_US + 3 };

typedef struct {
    zts_table client;
    uint64_t handle;
} session;

static inline zts_table table_new(uint32_t capacity, uint32_t window_words, uint32_t receives, uint32_t clock_kind) {
    const zts_table_shape shape = {capacity, 8, window_words, receives, clock_kind};
    const size_t bytes = zts_table_bytes(&shape);
    void *region = aligned_alloc(64, bytes);
    zts_table table;
    CHECK(bytes && region);
    memset(region, 0, bytes);
    CHECK(zts_table_format(region, bytes, &shape) == ZTS_DONE);
    CHECK(zts_table_attach(&table, region, bytes, zts_sha256_best()) == ZTS_DONE);
    if (clock_kind == ZTS_CLOCK_MANUAL) atomic_store(&table.header->clock.manual_us, START_US);
    return table;
}

static inline void table_free(zts_table *table) { free(table->header); }

/* `kind` distinguishes profiles; OPERATION runs in NORMAL and RESTRICTED, and so does TAKEN with kinds below 31. */
static inline zts_profile_spec profile_new(uint8_t kind) {
    zts_profile_spec spec;
    memset(&spec, 0, sizeof spec);
    memset(spec.digest, kind, sizeof spec.digest);
    spec.epoch_length_us = EPOCH_US;
    for (int m = 0; m < 2; m++)
        spec.allowed[m] = UINT64_C(1) << OPERATION | UINT64_C(1) << kind | (kind < 31 ? UINT64_C(1) << TAKEN : 0);
    for (int op = 0; op < ZTS_OPERATIONS_MAX; op++) {
        spec.limits[op].max_age_us = EPOCH_US;
        spec.limits[op].stale_ms = ZTS_STALE_ALWAYS_MS;
    }
    return spec;
}

static inline zts_installation installation_of(const zts_table *point, const zts_profile_spec *profile,
                                               const uint8_t secret[ZTS_SECRET_BYTES], uint64_t random) {
    return (zts_installation){
        .profile = profile,
        .segment_secret = secret,
        .nonce = secret,
        .random_bits = random,
        .now_us = zts_clock_now_us(&point->header->clock, 1),
        .lifetime_us = UINT64_C(3600000000) * 12,
        .idle_limit_s = 43200,
    };
}

/* Installs at the point and makes a client for it; a client's table can be used again after reset. */
static inline session session_new(const zts_table *point, uint8_t kind, uint64_t random) {
    const zts_profile_spec profile = profile_new(kind);
    uint8_t secret[ZTS_SECRET_BYTES];
    memset(secret, (int)(random % 251), sizeof secret);
    zts_installation what = installation_of(point, &profile, secret, random);
    session s = {.client = table_new(1, 1, ZTS_DIRECTION_REPLY, point->header->clock.kind)};
    uint64_t same;
    CHECK(zts_table_install(point, &what, &s.handle) == ZTS_DONE);
    what.handle = s.handle;
    if (point->header->clock.kind == ZTS_CLOCK_MANUAL)
        atomic_store(&s.client.header->clock.manual_us, atomic_load(&point->header->clock.manual_us));
    CHECK(zts_table_install(&s.client, &what, &same) == ZTS_DONE && same == s.handle);
    return s;
}

static inline zts_verdict call(const zts_table *point, const session *s, const char *body) {
    uint8_t token[ZTS_TOKEN_BYTES];
    const zts_status status =
        zts_token_sign(&s->client, s->handle, OPERATION, (const uint8_t *)body, strlen(body), token);
    if (status != ZTS_DONE) return ZTS_VERDICT_COUNT;
    return zts_token_verify(point, token, (const uint8_t *)body, strlen(body), OPERATION, NULL);
}

#endif
