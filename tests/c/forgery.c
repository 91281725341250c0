/* Forged tokens for a live session, each with a fresh random tag and a sequence of its own; prints how many were accepted.
 * Built with a comparison of 8 bits it must accept one in 256, which shows that the counter counts.
 *
 * usage: forgery <tokens> <seed> */
#include "bench_table.h"

enum { BATCH = 4096 };

static uint64_t state;

static uint64_t random_word(void) { /* splitmix64: any tag will do that the key does not know of */
    uint64_t z = state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static void forge(const session *s, uint64_t sequence, uint8_t token[ZTS_TOKEN_BYTES]) {
    memset(token, 0, ZTS_TOKEN_BYTES);
    token[0] = ZTS_PROTOCOL_VERSION;
    zts_store16(token + 2, OPERATION);
    zts_store32(token + 4, START_US / EPOCH_US);
    zts_store64(token + 8, s->handle);
    zts_store64(token + 16, sequence);
    zts_store64(token + 24, START_US);
    zts_store64(token + 32, random_word());
    zts_store64(token + 40, random_word());
}

int main(int argc, char **argv) {
    static uint8_t tokens[BATCH * ZTS_TOKEN_BYTES], bodies[BATCH * 64], verdicts[BATCH];
    CHECK(argc == 3);
    const uint64_t count = strtoull(argv[1], NULL, 10);
    state = strtoull(argv[2], NULL, 10);
    zts_table point = table_new(16, 32, ZTS_DIRECTION_REQUEST, ZTS_CLOCK_MANUAL);
    session s = session_new(&point, 1, 77);
    uint64_t accepted = 0, bad_tag = 0;
    for (uint64_t done = 0; done < count; done += BATCH) {
        const zts_bodies cut = {bodies, NULL, 64};
        const size_t batch = count - done < BATCH ? (size_t)(count - done) : BATCH;
        for (size_t i = 0; i < batch; i++) forge(&s, done + i + 1, tokens + i * ZTS_TOKEN_BYTES);
        accepted += zts_token_verify_batch(&point, tokens, &cut, batch, OPERATION, verdicts);
        for (size_t i = 0; i < batch; i++) bad_tag += verdicts[i] == ZTS_BAD_TAG;
    }
    CHECK(accepted + bad_tag == count);
    printf("%llu\n", (unsigned long long)accepted);
    table_free(&point);
    table_free(&s.client);
    return 0;
}
