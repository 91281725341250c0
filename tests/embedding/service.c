/* A service and its client in C, on the core alone: make tables, install a session at both ends, sign, verify. */
#include <stdio.h>
#include <stdlib.h>

#include "zts_token.h"

enum { SUBMIT, CANCEL };

/* A table in memory of our own; aligned to a cache line and zeroed, as the core demands. */
static zts_table make_table(uint32_t receives, uint32_t capacity) {
    const zts_table_shape shape = {
        .capacity = capacity,
        .profiles = 16,
        .window_words = ZTS_REPLAY_WORDS_DEFAULT,
        .receives = receives,
        .clock_kind = ZTS_CLOCK_SYSTEM,
    };
    const size_t bytes = (zts_table_bytes(&shape) + 63) / 64 * 64;
    void *region = bytes ? aligned_alloc(64, bytes) : NULL;
    zts_table table;
    if (!region) exit(1);
    memset(region, 0, bytes);
    if (zts_table_format(region, bytes, &shape) != ZTS_DONE) exit(1);
    if (zts_table_attach(&table, region, bytes, zts_sha256_best()) != ZTS_DONE) exit(1);
    return table;
}

int main(void) {
    const zts_table point = make_table(ZTS_DIRECTION_REQUEST, 1024), client = make_table(ZTS_DIRECTION_REPLY, 1);

    /* The decision: both operations in NORMAL, only CANCEL in RESTRICTED, nothing in SUSPENDED. */
    const zts_profile_spec decision = {
        .digest = {1},
        .epoch_length_us = ZTS_EPOCH_LENGTH_US,
        .allowed = {1u << SUBMIT | 1u << CANCEL, 1u << CANCEL, 0},
        .limits = {[SUBMIT] = {.max_age_us = 500000}, [CANCEL] = {ZTS_MAX_AGE_US, ZTS_STALE_ALWAYS_MS}},
    };

    /* What a ticket and an installation would give both ends. Random in earnest; here the point is the call. */
    const uint8_t segment_secret[ZTS_SECRET_BYTES] = {2}, nonce[ZTS_NONCE_BYTES] = {3};
    zts_installation what = {
        .profile = &decision,
        .segment_secret = segment_secret,
        .nonce = nonce,
        .random_bits = 4,
        .now_us = zts_clock_now_us(&point.header->clock, 1),
        .lifetime_us = UINT64_C(3600) * 1000000,
        .idle_limit_s = ZTS_IDLE_S,
    };
    uint64_t handle;
    if (zts_table_install(&point, &what, &handle) != ZTS_DONE) return 1;
    what.handle = handle;
    zts_clock_start(&client.header->clock, what.now_us);
    if (zts_table_install(&client, &what, &handle) != ZTS_DONE) return 1;

    const uint8_t body[] = "buy 100 XYZ";
    uint8_t token[ZTS_TOKEN_BYTES];
    zts_call call;
    if (zts_token_sign(&client, handle, SUBMIT, body, sizeof body, token) != ZTS_DONE) return 1;
    puts(zts_verdict_name(zts_token_verify(&point, token, body, sizeof body, SUBMIT, &call)));
    printf("sequence %llu\n", (unsigned long long)call.sequence);
    puts(zts_verdict_name(zts_token_verify(&point, token, body, sizeof body, SUBMIT, &call)));

    if (zts_table_set_mode(&point, handle, ZTS_MODE_RESTRICTED) != ZTS_DONE) return 1;
    if (zts_token_sign(&client, handle, SUBMIT, body, sizeof body, token) != ZTS_DONE) return 1;
    puts(zts_verdict_name(zts_token_verify(&point, token, body, sizeof body, SUBMIT, &call)));

    if (zts_table_end(&point, handle, ZTS_MODE_REVOKED) != ZTS_DONE) return 1;
    puts(zts_verdict_name(zts_token_verify(&point, token, body, sizeof body, SUBMIT, &call)));

    free(point.header);
    free(client.header);
    return 0;
}
