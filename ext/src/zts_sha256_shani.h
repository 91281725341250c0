/* SHA-256 with the x86 SHA extensions, one lane and up to four interleaved lanes.
 *
 * One message is bound by latency: each round waits for the one before. Independent messages fit into the gaps: two
 * lanes take two thirds of the time a message, four a little more than half; beyond that the unit itself is busy.
 * State registers hold the words in the order that the instructions want, (f,e,b,a) and (h,g,d,c) from the lowest lane
 * up; everything stored stays in FIPS order.
 *
 * Not an interface: each file that includes this makes one back end of it, for one set of registers. */
#include "zts_sha256.h"

#include <immintrin.h>

#ifndef SHANI
#error "define SHANI (the functions' target attribute) and SHANI_BACKEND, SHANI_NAME before including this"
#endif
#define SHANI_INLINE static inline __attribute__((always_inline)) SHANI

typedef struct { __m128i abef, cdgh; } lanes;

/* ---- State and message words --------------------------------------------------------------------------- */

SHANI_INLINE lanes state_load(const uint32_t state[8]) {
    __m128i dcba = _mm_loadu_si128((const __m128i *)state);
    __m128i hgfe = _mm_loadu_si128((const __m128i *)(state + 4));
    dcba = _mm_shuffle_epi32(dcba, 0xB1);
    hgfe = _mm_shuffle_epi32(hgfe, 0x1B);
    return (lanes){_mm_alignr_epi8(dcba, hgfe, 8), _mm_blend_epi16(hgfe, dcba, 0xF0)};
}

/* In FIPS order; the outer hash takes these as its message words without another byte swap. */
SHANI_INLINE void state_words(lanes s, __m128i *abcd, __m128i *efgh) {
    const __m128i feba = _mm_shuffle_epi32(s.abef, 0x1B), dchg = _mm_shuffle_epi32(s.cdgh, 0xB1);
    *abcd = _mm_blend_epi16(feba, dchg, 0xF0);
    *efgh = _mm_alignr_epi8(dchg, feba, 8);
}

SHANI_INLINE lanes state_add(lanes a, lanes b) {
    return (lanes){_mm_add_epi32(a.abef, b.abef), _mm_add_epi32(a.cdgh, b.cdgh)};
}

SHANI_INLINE __m128i swap_words(__m128i v) {
    return _mm_shuffle_epi8(v, _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL));
}

SHANI_INLINE __m128i load_words(const uint8_t *p) { return swap_words(_mm_loadu_si128((const __m128i *)p)); }

/* ---- Rounds -------------------------------------------------------------------------------------------- */

/* Hides where the constants come from, else the compiler keeps all of them on the stack and pays for the copies. */
SHANI_INLINE const __m128i *round_constants(void) {
    const __m128i *k = (const __m128i *)(const void *)zts_sha256_k;
    __asm__("" : "+r"(k));
    return k;
}

/* Four rounds, and the message words that will be needed sixteen rounds later. */
SHANI_INLINE void quad(lanes *s, __m128i m[4], const __m128i *k, int i) {
    const __m128i wk = _mm_add_epi32(m[i & 3], k[i]);
    s->cdgh = _mm_sha256rnds2_epu32(s->cdgh, s->abef, wk);
    s->abef = _mm_sha256rnds2_epu32(s->abef, s->cdgh, _mm_shuffle_epi32(wk, 0x0E));
    if (i < 12) {
        const __m128i w = _mm_add_epi32(_mm_sha256msg1_epu32(m[i & 3], m[(i + 1) & 3]),
                                        _mm_alignr_epi8(m[(i + 3) & 3], m[(i + 2) & 3], 4));
        m[i & 3] = _mm_sha256msg2_epu32(w, m[(i + 3) & 3]);
    }
}

SHANI_INLINE lanes rounds(lanes s, __m128i m[4]) {
    lanes t = s;
    const __m128i *k = round_constants();
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) quad(&t, m, k, i);
    return state_add(s, t);
}

/* Lanes step by step in turn: one's latency is the others' time. */
SHANI_INLINE void rounds_interleaved(lanes *s, __m128i (*m)[4], int count) {
    lanes t[ZTS_MAC_LANES];
    const __m128i *k = round_constants();
    for (int l = 0; l < count; l++) t[l] = s[l];
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) {
#pragma GCC unroll 4
        for (int l = 0; l < count; l++) quad(&t[l], m[l], k, i);
    }
    for (int l = 0; l < count; l++) s[l] = state_add(s[l], t[l]);
}

/* ---- The blocks of header || body, padded ---------------------------------------------------------------- */

/* A window into these at 16 - n yields "shift right by 16 - n bytes" and "0x80 at byte n". */
static const uint8_t shift_table[32] = {
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
    128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128,
};
static const uint8_t mark_table[33] = {[16] = 0x80};

/* Sixteen bytes of the padded body from `at`. Never reads outside the body: a short end is read together with
 * the bytes before it and shifted down, since bytes stored singly and loaded wide would stall. */
SHANI_INLINE __m128i body_words(const uint8_t *body, size_t bytes, size_t at) {
    if (ZTS_LIKELY(at + 16 <= bytes)) return load_words(body + at);
    if (at > bytes) return _mm_setzero_si128();
    const size_t rest = bytes - at;
    const __m128i mark = _mm_loadu_si128((const __m128i *)(mark_table + 16 - rest));
    if (rest == 0) return swap_words(mark);
    __m128i v;
    if (ZTS_LIKELY(bytes >= 16)) {
        v = _mm_loadu_si128((const __m128i *)(body + bytes - 16));
        v = _mm_shuffle_epi8(v, _mm_loadu_si128((const __m128i *)(shift_table + 16 - rest)));
    } else {
        uint8_t copy[16] = {0};
        for (size_t i = 0; i < rest && i < sizeof copy; i++) copy[i] = body[at + i];
        v = _mm_loadu_si128((const __m128i *)copy);
    }
    return swap_words(_mm_or_si128(v, mark));
}

SHANI_INLINE size_t job_blocks(const zts_mac_job *job) {
    return (ZTS_TOKEN_HEADERBYTES + job->body_bytes + 9 + ZTS_SHA256_BLOCKBYTES - 1) / ZTS_SHA256_BLOCKBYTES;
}

SHANI_INLINE void job_words(const zts_mac_job *job, size_t block, size_t blocks, __m128i m[4]) {
    const size_t at = block * ZTS_SHA256_BLOCKBYTES - ZTS_TOKEN_HEADERBYTES; /* wraps for block 0, unused there */
    if (block == 0) {
        m[0] = load_words(job->header);
        m[1] = load_words(job->header + 16);
    } else {
        m[0] = body_words(job->body, job->body_bytes, at);
        m[1] = body_words(job->body, job->body_bytes, at + 16);
    }
    m[2] = body_words(job->body, job->body_bytes, at + 32);
    m[3] = body_words(job->body, job->body_bytes, at + 48);
    if (block + 1 == blocks) {
        const uint64_t bits = 8 * (ZTS_SHA256_BLOCKBYTES + ZTS_TOKEN_HEADERBYTES + (uint64_t)job->body_bytes);
        m[3] = _mm_or_si128(m[3], _mm_set_epi32((int)(uint32_t)bits, (int)(uint32_t)(bits >> 32), 0, 0));
    }
}

/* The outer message is always one inner digest: its words come straight from the registers. */
SHANI_INLINE void outer_words(lanes inner, __m128i m[4]) {
    state_words(inner, &m[0], &m[1]);
    m[2] = _mm_set_epi32(0, 0, 0, (int)0x80000000u);
    m[3] = _mm_set_epi32(8 * (ZTS_SHA256_BLOCKBYTES + ZTS_SHA256_BYTES), 0, 0, 0);
}

SHANI_INLINE void tag_store(lanes outer, uint8_t tag[ZTS_TOKEN_TAGBYTES]) {
    __m128i abcd, efgh;
    state_words(outer, &abcd, &efgh);
    _mm_storeu_si128((__m128i *)tag, swap_words(abcd));
}

/* ---- The back end --------------------------------------------------------------------------------------- */

SHANI static void shani_compress(uint32_t state[8], const uint8_t *blocks, size_t count) {
    lanes s = state_load(state);
    for (; count; count--, blocks += ZTS_SHA256_BLOCKBYTES) {
        __m128i m[4];
        for (int i = 0; i < 4; i++) m[i] = load_words(blocks + 16 * i);
        s = rounds(s, m);
    }
    __m128i abcd, efgh;
    state_words(s, &abcd, &efgh);
    _mm_storeu_si128((__m128i *)state, abcd);
    _mm_storeu_si128((__m128i *)(state + 4), efgh);
}

SHANI_INLINE size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* The rest of one lane by itself: its message has more blocks than the others. */
SHANI_INLINE lanes inner_rest(const zts_mac_job *job, size_t from, lanes s) {
    const size_t blocks = job_blocks(job);
    __m128i m[4];
    for (size_t i = from; i < blocks; i++) {
        job_words(job, i, blocks, m);
        s = rounds(s, m);
    }
    return s;
}

SHANI_INLINE void mac_one(const zts_mac_job *job, uint8_t tag[ZTS_TOKEN_TAGBYTES]) {
    __m128i m[4];
    outer_words(inner_rest(job, 0, state_load(job->key->inner)), m);
    tag_store(rounds(state_load(job->key->outer), m), tag);
}

SHANI_INLINE void mac_interleaved(const zts_mac_job *jobs, int count, uint8_t (*tags)[ZTS_TOKEN_TAGBYTES]) {
    size_t blocks[ZTS_MAC_LANES], common = SIZE_MAX;
    lanes s[ZTS_MAC_LANES];
    __m128i m[ZTS_MAC_LANES][4];
    for (int l = 0; l < count; l++) {
        blocks[l] = job_blocks(&jobs[l]);
        common = least(common, blocks[l]);
        s[l] = state_load(jobs[l].key->inner);
    }
    for (size_t i = 0; i < common; i++) {
        for (int l = 0; l < count; l++) job_words(&jobs[l], i, blocks[l], m[l]);
        rounds_interleaved(s, m, count);
    }
    for (int l = 0; l < count; l++) {
        outer_words(inner_rest(&jobs[l], common, s[l]), m[l]);
        s[l] = state_load(jobs[l].key->outer);
    }
    rounds_interleaved(s, m, count);
    for (int l = 0; l < count; l++) tag_store(s[l], tags[l]);
}

/* Whoever used wide registers last (a KEM, a memcpy) may have left their upper halves in use; every instruction here would
 * then wait for them, in any process that had made a handshake. */
SHANI static void shani_mac(const zts_mac_job *job, uint8_t tag[ZTS_TOKEN_TAGBYTES]) {
    _mm256_zeroupper();
    mac_one(job, tag);
}

SHANI static void shani_mac_many(const zts_mac_job *jobs, int count, uint8_t (*tags)[ZTS_TOKEN_TAGBYTES]) {
    _mm256_zeroupper();
    if (count == 4) {
        mac_interleaved(jobs, 4, tags);
        return;
    }
    if (count >= 2) mac_interleaved(jobs, 2, tags);
    if (count % 2) mac_one(&jobs[count - 1], tags[count - 1]);
}

const zts_sha256_backend SHANI_BACKEND = {
    .name = SHANI_NAME,
    .compress = shani_compress,
    .mac = shani_mac,
    .mac_many = shani_mac_many,
};
