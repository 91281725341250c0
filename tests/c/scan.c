/* What a scan charges a session with is that session's, whatever happens to its slot meanwhile.
 *
 *   1  differences of counters that wrap are right
 *   2  a slot that was given to another begins anew
 *   3  while sessions come and go under the scan, a session is never charged with another's calls
 *   4  a session that stays is charged with each of its calls once, whatever its epochs and modes do
 *
 * usage: scan <rounds> */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>

#include "bench_table.h"
#include "zts_scan.h"

enum { CAPACITY = 4, CALLS = 20, STAYS_CALLS = 50 };

static zts_table point;
static zts_scan_memory memory[CAPACITY];
static const zts_scan_rules rules = {.rate_factor = 10, .rate_min_per_s = 20, .denials = 3, .replays = 20, .kept = 0.5,
                                     .rate_window_us = 1000, .rate_memory_us = 1000000, .rate_warm_up_us = 0};
static uint64_t handle[CAPACITY], accepted[CAPACITY], last[CAPACITY], known[CAPACITY], *charged, rounds;
static double rate[CAPACITY], expected[CAPACITY];
static uint32_t refused[CAPACITY * ZTS_SCAN_VERDICTS], crossed[CAPACITY];
static uint8_t mode[CAPACITY], why[CAPACITY];
static const zts_scan_columns out = {handle, accepted, last, known, rate, expected, refused, crossed, mode, why};
static _Atomic int over;
static _Atomic uint64_t stays_called;

static size_t scan(void) {
    size_t length;
    const size_t rows = zts_scan(&point, atomic_load(&point.header->clock.manual_us), &rules, memory, &out, &length);
    CHECK(length <= rows);
    return rows;
}

static void wrapping_and_reuse(void) {
    point = table_new(1, 1, ZTS_DIRECTION_REQUEST, ZTS_CLOCK_MANUAL);
    session first = session_new(&point, 1, 7);
    zts_slot *slot = zts_table_slot_of(&point, first.handle);
    const int replayed = ZTS_REPLAYED - ZTS_SLOT_FIRST_VERDICT, denied = ZTS_NOT_PERMITTED - ZTS_SLOT_FIRST_VERDICT;
    atomic_store(&slot->refused[replayed], UINT32_MAX - 1);
    CHECK(scan() == 1 && refused[replayed] == UINT32_MAX - 1 && why[0] == ZTS_SCAN_REPLAYED);
    for (int i = 0; i < 5; i++) {
        CHECK(call(&point, &first, "x") == ZTS_OK);
        atomic_fetch_add(&slot->refused[replayed], 1);
    }
    CHECK(scan() == 1 && accepted[0] == 5 && refused[replayed] == 5 && refused[denied] == 0);
    CHECK(scan() == 1 && accepted[0] == 0 && refused[replayed] == 0 && why[0] == 0);

    CHECK(zts_table_end(&point, first.handle, ZTS_MODE_FREE) == ZTS_DONE && scan() == 0);
    session second = session_new(&point, 1, 8);
    for (int i = 0; i < 2; i++) CHECK(call(&point, &second, "x") == ZTS_OK);
    atomic_store(&slot->refused[denied], 3);
    CHECK(scan() == 1 && handle[0] == second.handle && accepted[0] == 2 && refused[replayed] == 0);
    CHECK(why[0] == ZTS_SCAN_DENIED && known[0] == 0);

    /* Somebody is stuck inside: the slot is passed over, and nothing of it is lost. */
    const uint64_t locked = zts_slot_lock(slot);
    CHECK(locked && scan() == 0);
    zts_slot_unlock(slot, locked);
    CHECK(call(&point, &second, "x") == ZTS_OK && scan() == 1 && accepted[0] == 1);
    table_free(&first.client);
    table_free(&second.client);
    table_free(&point);
    memset(memory, 0, sizeof memory);
}

/* Every second session calls, and the others never: what these are charged with was another's. Each takes the slot of
 * the one that was there for longest, which was of the other sort. */
static void *churn(void *unused) {
    session made[CAPACITY - 1];
    for (uint64_t n = 1; n <= rounds; n++) {
        session *here = &made[n % (CAPACITY - 1)];
        if (n >= CAPACITY) {
            CHECK(zts_table_end(&point, here->handle, n % 5 ? ZTS_MODE_FREE : ZTS_MODE_REVOKED) == ZTS_DONE);
            table_free(&here->client);
        }
        *here = session_new(&point, (uint8_t)(10 + n % 3), n);
        for (int i = 0; n % 2 && i < CALLS; i++) CHECK(call(&point, here, "x") == ZTS_OK);
    }
    for (int i = 0; i < CAPACITY - 1; i++) table_free(&made[i].client);
    atomic_store(&over, 1);
    return unused;
}

static session stays;

static void *keep_calling(void *unused) {
    for (uint64_t n = 0; !atomic_load(&over); n++) {
        for (int i = 0; i < STAYS_CALLS; i++)
            if (call(&point, &stays, "y") == ZTS_OK) atomic_fetch_add(&stays_called, 1);
        CHECK(zts_table_set_mode(&point, stays.handle, n % 2 ? ZTS_MODE_NORMAL : ZTS_MODE_RESTRICTED) == ZTS_DONE);
        const uint64_t now_us = atomic_load(&point.header->clock.manual_us) + 1000;
        atomic_store(&stays.client.header->clock.manual_us, now_us);
        atomic_store(&point.header->clock.manual_us, now_us);
        sched_yield();
    }
    return unused;
}

static uint64_t charge(uint64_t to) {
    uint64_t to_the_one_that_stays = 0;
    const size_t rows = scan();
    for (size_t i = 0; i < rows; i++) {
        if (handle[i] == to) {
            to_the_one_that_stays += accepted[i];
            continue;
        }
        const uint64_t n = handle[i] >> ZTS_HANDLE_INDEXBITS;
        CHECK(n >= 1 && n <= rounds);
        charged[n] += accepted[i];
    }
    return to_the_one_that_stays;
}

int main(int argc, char **argv) {
    pthread_t threads[2];
    uint64_t stays_charged = 0;
    rounds = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000;
    wrapping_and_reuse();
    charged = calloc(rounds + 1, sizeof *charged);
    point = table_new(CAPACITY, 64, ZTS_DIRECTION_REQUEST, ZTS_CLOCK_MANUAL);
    stays = session_new(&point, 1, rounds + 9);
    pthread_create(&threads[0], NULL, churn, NULL);
    pthread_create(&threads[1], NULL, keep_calling, NULL);
    uint64_t scans = 0;
    for (; !atomic_load(&over); scans++) {
        stays_charged += charge(stays.handle);
        if (scans % 16 == 0) sched_yield();
    }
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    stays_charged += charge(stays.handle);
    uint64_t seen = 0;
    for (uint64_t n = 1; n <= rounds; n++) {
        CHECK(charged[n] <= (n % 2 ? CALLS : 0));
        seen += charged[n];
    }
    CHECK(stays_charged == atomic_load(&stays_called));
    printf("scans %llu seen %llu stays %llu\n", (unsigned long long)scans, (unsigned long long)seen,
           (unsigned long long)stays_charged);
    table_free(&stays.client);
    table_free(&point);
    free(charged);
    return 0;
}
