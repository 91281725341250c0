/* SHA-256 (FIPS 180-4) and the token MAC on it, behind one table of functions per back end.
 *
 * A back end is chosen once, at run time, by what the processor can do; whoever holds the table calls through
 * it, so that shipped binaries need no -march and tests can run every back end on one machine. */
#ifndef ZTS_SHA256_H
#define ZTS_SHA256_H

#include "zts_bytes.h"
#include "zts_limits.h"

/* HMAC's two key blocks, already compressed (RFC 2104, section 4): exactly one cache line. A message then
 * costs only its own compressions. */
typedef struct {
    _Alignas(64) uint32_t inner[8];
    uint32_t outer[8];
} zts_hmac_key;

/* One message to authenticate: a 32-byte header followed by a body that lies elsewhere. */
typedef struct {
    const zts_hmac_key *key;
    const uint8_t *header;
    const uint8_t *body;
    size_t body_bytes;
} zts_mac_job;

#define ZTS_MAC_LANES 4

typedef struct {
    const char *name;
    void (*compress)(uint32_t state[8], const uint8_t *blocks, size_t count);
    /* tag = first 16 bytes of HMAC-SHA-256(key, header || body) */
    void (*mac)(const zts_mac_job *job, uint8_t tag[ZTS_TOKEN_TAGBYTES]);
    /* The same for 1 to ZTS_MAC_LANES messages at once, in far less time than one after the other where lanes interleave. */
    void (*mac_many)(const zts_mac_job *jobs, int count, uint8_t (*tags)[ZTS_TOKEN_TAGBYTES]);
} zts_sha256_backend;

extern const uint32_t zts_sha256_k[64];
extern const uint32_t zts_sha256_initial[8];

extern const zts_sha256_backend zts_sha256_portable;
#if defined(__x86_64__)
extern const zts_sha256_backend zts_sha256_shani;
extern const zts_sha256_backend zts_sha256_shani512;
#endif

/* Those that this processor runs, slowest first; NULL past the last. */
const zts_sha256_backend *zts_sha256_nth(size_t n) ZTS_MUST_USE;

/* The fastest back end that this processor runs. */
const zts_sha256_backend *zts_sha256_best(void) ZTS_MUST_USE;

/* A back end by name; NULL when it is unknown or this processor lacks it. */
const zts_sha256_backend *zts_sha256_named(const char *name) ZTS_MUST_USE;

void zts_sha256(const zts_sha256_backend *backend, const uint8_t *message, size_t bytes,
                uint8_t digest[ZTS_SHA256_BYTES]);

/* Ends a message: the last partial block, the 1 bit and the length of all `total_bytes`. Shared by hash and
 * MAC, so that padding exists once. */
void zts_sha256_finish(const zts_sha256_backend *backend, uint32_t state[8], const uint8_t *tail,
                       size_t tail_bytes, uint64_t total_bytes, uint8_t digest[ZTS_SHA256_BYTES]);

#endif
