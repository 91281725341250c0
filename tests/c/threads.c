/* One table, hammered. Threads verify the same tokens and their own while sessions come and go, modes change, profiles
 * narrow, sweeps run and time turns epochs under them. What must hold:
 *
 *   1  of all threads that verify one token, exactly one is accepted
 *   2  no honest call of a session that stays is refused, whatever turns around it
 *   3  no call that begins after a session's end is accepted
 *   4  what was taken from one session alone stays taken, whoever fills the profiles that it leaves behind
 *   5  what is taken from a profile is taken, however many of its sessions come and go meanwhile
 *
 * usage: threads <rounds>; prints how many operations each thread did. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <time.h>

#include "bench_table.h"

enum { VERIFIERS = 3, SHARED = 256, OWN = 64, WINDOW_WORDS = 1024, STEPS = 4, STEP_US = 10000, CHURN = 8 };

static zts_table point;
static session shared, own[VERIFIERS], lesser;
static uint8_t tokens[SHARED * ZTS_TOKEN_BYTES], bodies[SHARED * 16];
static _Atomic uint32_t accepted[SHARED];
static _Atomic uint64_t round_number, rounds_ticked, busy, operations[VERIFIERS + 2];
static _Atomic int over, tightened;
static pthread_barrier_t barrier;
static uint64_t rounds;

/* ---- Verifying ------------------------------------------------------------------------------------------------ */

/* A reader whose writer was taken off the processor gives up at last; the caller then calls again. */
static zts_verdict verify_one(const uint8_t *token, const uint8_t *body, size_t bytes) {
    for (int tries = 0; tries < 1000; tries++) {
        const zts_verdict verdict = zts_token_verify(&point, token, body, bytes, OPERATION, NULL);
        if (verdict != ZTS_UNKNOWN_SESSION) return verdict;
        atomic_fetch_add(&busy, 1);
        sched_yield();
    }
    return ZTS_UNKNOWN_SESSION;
}

static void settle(size_t i, zts_verdict verdict) {
    if (verdict == ZTS_UNKNOWN_SESSION) {
        atomic_fetch_add(&busy, 1);
        verdict = verify_one(tokens + i * ZTS_TOKEN_BYTES, bodies + i * 16, 16);
    }
    if (verdict != ZTS_OK && verdict != ZTS_REPLAYED) {
        fprintf(stderr, "an honest call was refused: %s\n", zts_verdict_name((int)verdict));
        exit(1);
    }
    if (verdict == ZTS_OK) atomic_fetch_add(&accepted[i], 1);
}

static void verify_shared(int me, uint64_t round) {
    if (round % 2) {
        uint8_t verdicts[SHARED];
        const zts_bodies cut = {bodies, NULL, 16};
        (void)zts_token_verify_batch(&point, tokens, &cut, SHARED, OPERATION, verdicts);
        for (size_t i = 0; i < SHARED; i++) settle(i, verdicts[i]);
    } else {
        /* Half of the rounds all go the same way, to meet; in the others each starts elsewhere. */
        for (size_t k = 0; k < SHARED; k++) {
            const size_t i = round % 4 ? (k + (size_t)me * (SHARED / VERIFIERS)) % SHARED : k;
            settle(i, verify_one(tokens + i * ZTS_TOKEN_BYTES, bodies + i * 16, 16));
        }
    }
}

static void verify_own(int me) {
    for (int i = 0; i < OWN; i++) {
        uint8_t token[ZTS_TOKEN_BYTES], body[40] = {(uint8_t)i};
        CHECK(zts_token_sign(&own[me].client, own[me].handle, OPERATION, body, sizeof body, token) == ZTS_DONE);
        CHECK(verify_one(token, body, sizeof body) == ZTS_OK);
    }
}

static void verify_lesser(void) {
    uint8_t token[ZTS_TOKEN_BYTES];
    zts_verdict verdict = ZTS_UNKNOWN_SESSION;
    const int taken = atomic_load(&tightened);
    CHECK(zts_token_sign(&lesser.client, lesser.handle, TAKEN, NULL, 0, token) == ZTS_DONE);
    while (verdict == ZTS_UNKNOWN_SESSION) verdict = zts_token_verify(&point, token, NULL, 0, TAKEN, NULL);
    CHECK(verdict == ZTS_NOT_PERMITTED || (!taken && verdict == ZTS_OK));
    CHECK(zts_token_sign(&lesser.client, lesser.handle, OPERATION, NULL, 0, token) == ZTS_DONE);
    CHECK(verify_one(token, NULL, 0) == ZTS_OK);
}

static void *verifier(void *argument) {
    const int me = (int)(intptr_t)argument;
    for (uint64_t round = 0; round < rounds; round++) {
        if (me == 0) {
            const zts_bodies cut = {bodies, NULL, 16};
            while (atomic_load(&rounds_ticked) < round) sched_yield();
            for (int i = 0; i < SHARED; i++) atomic_store(&accepted[i], 0);
            CHECK(zts_token_sign_batch(&shared.client, shared.handle, OPERATION, &cut, SHARED, tokens) == ZTS_DONE);
            atomic_fetch_add(&round_number, 1);
        }
        pthread_barrier_wait(&barrier);
        verify_shared(me, round);
        verify_own(me);
        for (int i = 0; me == 1 && i < OWN; i++) verify_lesser();
        atomic_fetch_add_explicit(&operations[me], SHARED + 2 * OWN, memory_order_relaxed);
        pthread_barrier_wait(&barrier);
        if (me == 0)
            for (int i = 0; i < SHARED; i++) CHECK(atomic_load(&accepted[i]) == 1);
    }
    return NULL;
}

/* Leaves the processors to the verifiers, which are what is to be disturbed. */
static void rest(void) { nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL); }

/* ---- Turning the world under them ------------------------------------------------------------------------------- */

static void tick(const session *s, uint64_t us) { atomic_store(&s->client.header->clock.manual_us, us); }

/* Paced by the rounds, so that honest tokens never grow old. */
static void *clockwork(void *unused) {
    uint64_t now_us = START_US;
    while (!atomic_load(&over)) {
        if (atomic_load(&rounds_ticked) == atomic_load(&round_number)) {
            sched_yield();
            continue;
        }
        for (int i = 0; i < STEPS; i++) {
            now_us += STEP_US;
            atomic_store(&point.header->clock.manual_us, now_us);
            tick(&shared, now_us);
            for (int v = 0; v < VERIFIERS; v++) tick(&own[v], now_us);
            tick(&lesser, now_us);
            sched_yield();
        }
        atomic_fetch_add(&rounds_ticked, 1);
    }
    return unused;
}

static void *churn(void *unused) {
    for (uint64_t n = 0; !atomic_load(&over); n++) {
        session made[CHURN];
        for (int i = 0; i < CHURN; i++) {
            /* Also of the profile that is narrowed: its holders come and go meanwhile. */
            const uint8_t profile = i % 4 == 3 ? 1 : (uint8_t)(10 + (n + (uint64_t)i) % 3);
            made[i] = session_new(&point, profile, n * CHURN + 7);
        }
        for (int i = 0; i < CHURN; i++) {
            uint8_t before[ZTS_TOKEN_BYTES];
            CHECK(zts_token_sign(&made[i].client, made[i].handle, OPERATION, NULL, 0, before) == ZTS_DONE);
            if (i % 2) CHECK(verify_one(before, NULL, 0) != ZTS_BAD_TAG);
            CHECK(zts_table_end(&point, made[i].handle, n % 2 ? ZTS_MODE_REVOKED : ZTS_MODE_FREE) == ZTS_DONE);
            CHECK(zts_token_verify(&point, before, NULL, 0, OPERATION, NULL) ==
                  (n % 2 ? ZTS_REVOKED : ZTS_UNKNOWN_SESSION));
            table_free(&made[i].client);
            atomic_fetch_add_explicit(&operations[VERIFIERS], 5, memory_order_relaxed);
        }
        rest();
    }
    return unused;
}

static void *control(void *unused) {
    uint8_t digest[ZTS_SHA256_BYTES];
    memset(digest, 1, sizeof digest);
    for (uint64_t n = 0; !atomic_load(&over); n++) {
        const uint64_t narrower[3] = {UINT64_C(1) << OPERATION, UINT64_C(1) << OPERATION, n};
        CHECK(zts_table_set_mode(&point, shared.handle, n % 2 ? ZTS_MODE_NORMAL : ZTS_MODE_RESTRICTED) == ZTS_DONE);
        CHECK(zts_table_set_mode(&point, own[n % VERIFIERS].handle, ZTS_MODE_RESTRICTED) == ZTS_DONE);
        CHECK(zts_table_narrow(&point, digest, narrower, 0) == ZTS_DONE);
        const zts_profile_spec less = profile_new((uint8_t)(31 + n % 3));
        CHECK(zts_table_tighten(&point, lesser.handle, &less) == ZTS_DONE);
        atomic_store(&tightened, 1);
        (void)zts_table_sweep(&point, 0, UINT32_MAX);
        atomic_fetch_add_explicit(&operations[VERIFIERS + 1], 5, memory_order_relaxed);
        rest();
    }
    return unused;
}

int main(int argc, char **argv) {
    pthread_t threads[VERIFIERS + 3];
    rounds = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000;
    point = table_new(64, WINDOW_WORDS, ZTS_DIRECTION_REQUEST, ZTS_CLOCK_MANUAL);
    shared = session_new(&point, 1, 1001);
    lesser = session_new(&point, 29, 1999);
    for (int v = 0; v < VERIFIERS; v++) own[v] = session_new(&point, 1, 2000 + (uint64_t)v);
    pthread_barrier_init(&barrier, NULL, VERIFIERS);
    for (int v = 0; v < VERIFIERS; v++) pthread_create(&threads[v], NULL, verifier, (void *)(intptr_t)v);
    pthread_create(&threads[VERIFIERS], NULL, churn, NULL);
    pthread_create(&threads[VERIFIERS + 1], NULL, control, NULL);
    pthread_create(&threads[VERIFIERS + 2], NULL, clockwork, NULL);
    for (int v = 0; v < VERIFIERS; v++) pthread_join(threads[v], NULL);
    atomic_store(&over, 1);
    for (int i = VERIFIERS; i < VERIFIERS + 3; i++) pthread_join(threads[i], NULL);
    const uint64_t epochs = (atomic_load(&point.header->clock.manual_us) - START_US) / EPOCH_US;
    printf("verifier %llu churn %llu control %llu epochs %llu busy %llu\n",
           (unsigned long long)operations[0], (unsigned long long)operations[VERIFIERS],
           (unsigned long long)operations[VERIFIERS + 1], (unsigned long long)epochs, (unsigned long long)busy);
    CHECK(atomic_load(&point.header->live) == VERIFIERS + 2);
    CHECK(atomic_load(&busy) * 1000 < operations[0]);
    table_free(&point);
    table_free(&shared.client);
    table_free(&lesser.client);
    for (int v = 0; v < VERIFIERS; v++) table_free(&own[v].client);
    return 0;
}
