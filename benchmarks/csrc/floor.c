/* The floor: what the processor needs for the SHA-256 rounds alone.
 *
 * No padding, no key, no call per message: whoever is near these figures has nothing left to save. Every function
 * returns nanoseconds per unit by its own clock, so that no caller's overhead is in them. */
#define _GNU_SOURCE
#include "zts_sha256.h"

#include <time.h>

enum { RUN_BLOCKS = 48 }; /* per call of a back end: long enough to forget the call, short enough for the first cache */

static uint8_t message[2][RUN_BLOCKS * ZTS_SHA256_BLOCKBYTES + ZTS_SHA256_BLOCKBYTES];
static volatile uint32_t sink;

static double now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void fill(void) {
    for (size_t i = 0; i < sizeof message[0]; i++) {
        message[0][i] = (uint8_t)(i * 131 + 7);
        message[1][i] = (uint8_t)(i * 37 + 91);
    }
}

const char *floor_backend(void) { return zts_sha256_best()->name; }

/* ---- One lane: each compression waits for the one before ---------------------------------------------------- */

double floor_chain_ns(size_t runs) {
    const zts_sha256_backend *backend = zts_sha256_best();
    uint32_t state[8];
    fill();
    memcpy(state, zts_sha256_initial, sizeof state);
    const double start = now_ns();
    for (size_t i = 0; i < runs; i++) backend->compress(state, message[0], RUN_BLOCKS);
    const double spent = now_ns() - start;
    sink = state[0];
    return spent / ((double)runs * RUN_BLOCKS);
}

/* ---- Two lanes: independent chains fill each other's gaps ---------------------------------------------------- */

#if defined(__x86_64__)
#include <immintrin.h>

#define WITH_SHA __attribute__((target("sha,sse4.1,ssse3")))
#define WITH_MORE_REGISTERS __attribute__((target("sha,sse4.1,ssse3,avx512vl")))

typedef struct { __m128i abef, cdgh; } halves;

WITH_SHA static inline __attribute__((always_inline)) void four_rounds(halves *h, __m128i w[4], int i) {
    const __m128i sum = _mm_add_epi32(w[i % 4], _mm_load_si128((const __m128i *)zts_sha256_k + i));
    h->cdgh = _mm_sha256rnds2_epu32(h->cdgh, h->abef, sum);
    h->abef = _mm_sha256rnds2_epu32(h->abef, h->cdgh, _mm_unpackhi_epi64(sum, sum));
    if (i >= 12) return;
    const __m128i older = _mm_sha256msg1_epu32(w[i % 4], w[(i + 1) % 4]);
    const __m128i middle = _mm_alignr_epi8(w[(i + 3) % 4], w[(i + 2) % 4], 4);
    w[i % 4] = _mm_sha256msg2_epu32(_mm_add_epi32(older, middle), w[(i + 3) % 4]);
}

WITH_SHA static inline __attribute__((always_inline)) __m128i big_endian(const uint8_t *p) {
    const __m128i order = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
    return _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)p), order);
}

WITH_SHA static inline __attribute__((always_inline)) void two_lanes(halves h[2], size_t runs) {
    for (size_t run = 0; run < runs; run++) {
        for (size_t block = 0; block < RUN_BLOCKS; block++) {
            __m128i v[4], w[4];
            halves a = h[0], b = h[1];
            for (int i = 0; i < 4; i++) {
                v[i] = big_endian(message[0] + block * ZTS_SHA256_BLOCKBYTES + 16 * i);
                w[i] = big_endian(message[1] + block * ZTS_SHA256_BLOCKBYTES + 16 * i);
            }
#pragma GCC unroll 16
            for (int i = 0; i < 16; i++) {
                four_rounds(&a, v, i);
                four_rounds(&b, w, i);
            }
            h[0] = (halves){_mm_add_epi32(h[0].abef, a.abef), _mm_add_epi32(h[0].cdgh, a.cdgh)};
            h[1] = (halves){_mm_add_epi32(h[1].abef, b.abef), _mm_add_epi32(h[1].cdgh, b.cdgh)};
        }
    }
}

/* The instructions want the words as (f,e,b,a) and (h,g,d,c), lowest lane first. */
WITH_SHA static halves to_halves(const uint32_t s[8]) {
    return (halves){_mm_set_epi32((int)s[0], (int)s[1], (int)s[4], (int)s[5]),
                    _mm_set_epi32((int)s[2], (int)s[3], (int)s[6], (int)s[7])};
}

WITH_SHA static void from_halves(halves h, uint32_t s[8]) {
    uint32_t low[4], high[4];
    _mm_storeu_si128((__m128i *)low, h.abef);
    _mm_storeu_si128((__m128i *)high, h.cdgh);
    const uint32_t words[8] = {low[3], low[2], high[3], high[2], low[1], low[0], high[1], high[0]};
    memcpy(s, words, sizeof words);
}

/* Two lanes want seventeen registers. With thirty-two nothing is spilled, and that is the lower bound where there are
 * so many. */
WITH_SHA static void lanes_in_16(halves h[2], size_t runs) { two_lanes(h, runs); }
WITH_MORE_REGISTERS static void lanes_in_32(halves h[2], size_t runs) { two_lanes(h, runs); }

WITH_SHA static void lanes_by_instruction(uint32_t states[2][8], size_t runs) {
    halves h[2] = {to_halves(states[0]), to_halves(states[1])};
    if (__builtin_cpu_supports("avx512vl"))
        lanes_in_32(h, runs);
    else
        lanes_in_16(h, runs);
    from_halves(h[0], states[0]);
    from_halves(h[1], states[1]);
}
#endif

static void lanes_one_after_the_other(uint32_t states[2][8], size_t runs) {
    for (size_t i = 0; i < runs; i++)
        for (int lane = 0; lane < 2; lane++)
            zts_sha256_best()->compress(states[lane], message[lane], RUN_BLOCKS);
}

static void run_lanes(uint32_t states[2][8], size_t runs) {
    memcpy(states[0], zts_sha256_initial, sizeof zts_sha256_initial);
    memcpy(states[1], zts_sha256_initial, sizeof zts_sha256_initial);
#if defined(__x86_64__)
    if (zts_sha256_named(zts_sha256_shani.name)) {
        lanes_by_instruction(states, runs);
        return;
    }
#endif
    lanes_one_after_the_other(states, runs);
}

double floor_lanes_ns(size_t runs) {
    uint32_t states[2][8];
    fill();
    const double start = now_ns();
    run_lanes(states, runs);
    const double spent = now_ns() - start;
    sink = states[0][0] ^ states[1][0];
    return spent / ((double)runs * RUN_BLOCKS * 2);
}

/* 1 when the two lanes above compute what the back end computes: a floor of wrong rounds would be no floor. */
int floor_lanes_are_right(void) {
    uint32_t by_lanes[2][8], by_backend[8];
    fill();
    run_lanes(by_lanes, 2);
    for (int lane = 0; lane < 2; lane++) {
        memcpy(by_backend, zts_sha256_initial, sizeof by_backend);
        for (int run = 0; run < 2; run++) zts_sha256_portable.compress(by_backend, message[lane], RUN_BLOCKS);
        if (memcmp(by_backend, by_lanes[lane], sizeof by_backend) != 0) return 0;
    }
    return 1;
}

/* ---- The MAC of a token over 64 bytes in C: the floor and its padding, outer hash and call ------------------- */

double floor_mac_ns(size_t count) {
    const zts_sha256_backend *backend = zts_sha256_best();
    const zts_hmac_key key = {{1}, {2}};
    uint8_t header[ZTS_TOKEN_HEADERBYTES] = {0}, tag[ZTS_TOKEN_TAGBYTES];
    const zts_mac_job job = {&key, header, message[0], 64};
    fill();
    const double start = now_ns();
    for (size_t i = 0; i < count; i++) {
        memcpy(header, &i, sizeof i);
        backend->mac(&job, tag);
        sink = tag[0];
    }
    return (now_ns() - start) / (double)count;
}
