/* A decision is narrowed while sessions of it come and go: the count of its holders turns under the narrowing, which
 * must hold all the same. usage: narrowing <rounds> */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>

#include "bench_table.h"
#include "zts_table_parts.h"

static zts_table point;
static _Atomic int over;

static void *come_and_go(void *unused) {
    const zts_profile_spec spec = profile_new(1);
    while (!atomic_load(&over)) {
        uint32_t index;
        CHECK(zts_profile_hold(&point, &spec, &index) == ZTS_DONE);
        sched_yield();
        zts_profile_release(&point.profiles[index]);
    }
    return unused;
}

int main(int argc, char **argv) {
    const uint64_t rounds = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000, nothing[3] = {0, 0, 0};
    uint8_t digest[ZTS_SHA256_BYTES];
    pthread_t other;
    memset(digest, 1, sizeof digest);
    point = table_new(64, 64, ZTS_DIRECTION_REQUEST, ZTS_CLOCK_MANUAL);
    session stays = session_new(&point, 1, 1001);
    pthread_create(&other, NULL, come_and_go, NULL);
    for (uint64_t n = 0; n < rounds; n++) CHECK(zts_table_narrow(&point, digest, nothing, 0) == ZTS_DONE);
    atomic_store(&over, 1);
    pthread_join(other, NULL);
    table_free(&stays.client);
    table_free(&point);
    return 0;
}
