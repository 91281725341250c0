/* SHA-256 in plain C: the reference that every faster back end is held against. */
#include "zts_sha256.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

const uint32_t zts_sha256_k[64] __attribute__((aligned(64))) = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

const uint32_t zts_sha256_initial[8] = {
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
};

/* ---- Choosing ------------------------------------------------------------------------------------------ */

#if defined(__x86_64__)

typedef struct { unsigned b7, c1; uint32_t enabled; } processor;

/* What the processor can do and the system has switched on: an instruction set whose registers are not saved at a
 * switch of threads is not there. */
static processor look_at_processor(void) {
    processor p = {0, 0, 0};
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &p.c1, &d)) return p;
    if (p.c1 >> 27 & 1) __asm__("xgetbv" : "=a"(p.enabled), "=d"(d) : "c"(0));
    if (!__get_cpuid_count(7, 0, &a, &p.b7, &c, &d)) p.b7 = 0;
    return p;
}

/* AVX too: its encodings are shorter, and it has the instruction that frees the wide registers' upper halves. */
static int has_sha_and_avx(void) {
    const processor p = look_at_processor();
    const unsigned ssse3 = 1u << 9, sse41 = 1u << 19, avx = 1u << 28, wanted = ssse3 | sse41 | avx;
    return (p.c1 & wanted) == wanted && (p.enabled & 0x6) == 0x6 && (p.b7 >> 29 & 1);
}

static int has_sha_and_avx512vl(void) {
    const processor p = look_at_processor();
    return has_sha_and_avx() && (p.enabled & 0xe6) == 0xe6 && (p.b7 >> 16 & 1) && (p.b7 >> 31);
}

#endif

static int always(void) { return 1; }

/* Slowest first. */
static const struct {
    const zts_sha256_backend *backend;
    int (*runs_here)(void);
} known[] = {
    {&zts_sha256_portable, always},
#if defined(__x86_64__)
    {&zts_sha256_shani, has_sha_and_avx},
    {&zts_sha256_shani512, has_sha_and_avx512vl},
#endif
};

enum { KNOWN = sizeof known / sizeof known[0] };

const zts_sha256_backend *zts_sha256_nth(size_t n) {
    for (size_t i = 0; i < KNOWN; i++) {
        if (!known[i].runs_here()) continue;
        if (n-- == 0) return known[i].backend;
    }
    return NULL;
}

const zts_sha256_backend *zts_sha256_best(void) {
    for (size_t i = KNOWN; i-- > 0;)
        if (known[i].runs_here()) return known[i].backend;
    return NULL;
}

const zts_sha256_backend *zts_sha256_named(const char *name) {
    for (size_t i = 0; i < KNOWN; i++)
        if (strcmp(known[i].backend->name, name) == 0 && known[i].runs_here()) return known[i].backend;
    return NULL;
}

/* ---- Hashing with any back end ------------------------------------------------------------------------- */

void zts_sha256(const zts_sha256_backend *backend, const uint8_t *message, size_t bytes,
                uint8_t digest[ZTS_SHA256_BYTES]) {
    uint32_t state[8];
    memcpy(state, zts_sha256_initial, sizeof state);
    const size_t blocks = bytes / ZTS_SHA256_BLOCKBYTES, whole = blocks * ZTS_SHA256_BLOCKBYTES;
    if (blocks) backend->compress(state, message, blocks);
    zts_sha256_finish(backend, state, blocks ? message + whole : message, bytes - whole, bytes, digest);
    zts_wipe(state, sizeof state);
}

void zts_sha256_finish(const zts_sha256_backend *backend, uint32_t state[8], const uint8_t *tail,
                       size_t tail_bytes, uint64_t total_bytes, uint8_t digest[ZTS_SHA256_BYTES]) {
    uint8_t last[2 * ZTS_SHA256_BLOCKBYTES] = {0};
    if (tail_bytes) memcpy(last, tail, tail_bytes);
    last[tail_bytes] = 0x80;
    const size_t blocks = tail_bytes < ZTS_SHA256_BLOCKBYTES - 8 ? 1 : 2;
    zts_store64_be(last + blocks * ZTS_SHA256_BLOCKBYTES - 8, total_bytes * 8);
    backend->compress(state, last, blocks);
    for (int i = 0; i < 8; i++) zts_store32_be(digest + 4 * i, state[i]);
    zts_wipe(last, sizeof last);
}

/* ---- The portable back end ----------------------------------------------------------------------------- */

ZTS_INLINE uint32_t rotr(uint32_t x, int n) { return (x >> n) | (x << (32 - n)); }

static void compress_block(uint32_t state[8], const uint8_t block[ZTS_SHA256_BLOCKBYTES]) {
    uint32_t w[64];
    for (int i = 0; i < 16; i++) w[i] = zts_load32_be(block + 4 * i);
    for (int i = 16; i < 64; i++) {
        const uint32_t s0 = rotr(w[i - 15], 7) ^ rotr(w[i - 15], 18) ^ (w[i - 15] >> 3);
        const uint32_t s1 = rotr(w[i - 2], 17) ^ rotr(w[i - 2], 19) ^ (w[i - 2] >> 10);
        w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
    for (int i = 0; i < 64; i++) {
        const uint32_t t1 = h + (rotr(e, 6) ^ rotr(e, 11) ^ rotr(e, 25)) + ((e & f) ^ (~e & g)) +
                            zts_sha256_k[i] + w[i];
        const uint32_t t2 = (rotr(a, 2) ^ rotr(a, 13) ^ rotr(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
        h = g; g = f; f = e; e = d + t1; d = c; c = b; b = a; a = t1 + t2;
    }
    state[0] += a; state[1] += b; state[2] += c; state[3] += d;
    state[4] += e; state[5] += f; state[6] += g; state[7] += h;
    zts_wipe(w, sizeof w);
}

static void portable_compress(uint32_t state[8], const uint8_t *blocks, size_t count) {
    for (; count; count--, blocks += ZTS_SHA256_BLOCKBYTES) compress_block(state, blocks);
}

/* Header and the first 32 bytes of the body make the first block; the rest of the body is read where it is. */
static void portable_mac(const zts_mac_job *job, uint8_t tag[ZTS_TOKEN_TAGBYTES]) {
    const size_t room = ZTS_SHA256_BLOCKBYTES - ZTS_TOKEN_HEADERBYTES;
    const uint64_t total = ZTS_SHA256_BLOCKBYTES + ZTS_TOKEN_HEADERBYTES + (uint64_t)job->body_bytes;
    uint8_t block[ZTS_SHA256_BLOCKBYTES], digest[ZTS_SHA256_BYTES];
    uint32_t state[8];

    memcpy(state, job->key->inner, sizeof state);
    memcpy(block, job->header, ZTS_TOKEN_HEADERBYTES);
    const size_t first = job->body_bytes < room ? job->body_bytes : room;
    if (first) memcpy(block + ZTS_TOKEN_HEADERBYTES, job->body, first);
    if (first < room) {
        zts_sha256_finish(&zts_sha256_portable, state, block, ZTS_TOKEN_HEADERBYTES + first, total, digest);
    } else {
        compress_block(state, block);
        const uint8_t *rest = job->body + room;
        const size_t rest_bytes = job->body_bytes - room, blocks = rest_bytes / ZTS_SHA256_BLOCKBYTES;
        portable_compress(state, rest, blocks);
        zts_sha256_finish(&zts_sha256_portable, state, rest + blocks * ZTS_SHA256_BLOCKBYTES,
                          rest_bytes % ZTS_SHA256_BLOCKBYTES, total, digest);
    }
    memcpy(state, job->key->outer, sizeof state);
    zts_sha256_finish(&zts_sha256_portable, state, digest, sizeof digest,
                      ZTS_SHA256_BLOCKBYTES + sizeof digest, digest);
    memcpy(tag, digest, ZTS_TOKEN_TAGBYTES);
    zts_wipe(digest, sizeof digest);
    zts_wipe(state, sizeof state);
}

static void portable_mac_many(const zts_mac_job *jobs, int count, uint8_t (*tags)[ZTS_TOKEN_TAGBYTES]) {
    for (int i = 0; i < count; i++) portable_mac(&jobs[i], tags[i]);
}

const zts_sha256_backend zts_sha256_portable = {
    .name = "portable",
    .compress = portable_compress,
    .mac = portable_mac,
    .mac_many = portable_mac_many,
};
