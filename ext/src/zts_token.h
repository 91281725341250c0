/* Tokens: 48 bytes that authenticate one message, verified and signed one at a time or in batches.
 *
 * Order of checks. Before the MAC only what costs nothing and reveals nothing useful: form, handle, epoch. Then the MAC,
 * in constant time. Only then anything that changes state: epoch, mode, lease, expiry, operation, age, assurance, and
 * last the replay window, so that a refused call never burns its sequence. */
#ifndef ZTS_TOKEN_H
#define ZTS_TOKEN_H

#include "zts_table.h"

/* Takes whatever operation the token names: for the caller that dispatches on it afterwards. */
#define ZTS_ANY_OPERATION UINT32_MAX

typedef struct {
    uint64_t handle, sequence, issued_at_us;
    uint32_t epoch;
    uint16_t operation;
    uint8_t mode; /* the session's mode at that moment */
} zts_call;

/* `call` is filled when the verdict is OK. */
zts_verdict zts_token_verify(const zts_table *table, const uint8_t token[ZTS_TOKEN_BYTES], const uint8_t *body,
                             size_t body_bytes, uint32_t operation, zts_call *call) ZTS_MUST_USE;

/* For bytes that are not even 48: counted like every refusal. Returns MALFORMED. */
zts_verdict zts_token_refuse_malformed(const zts_table *table);

zts_status zts_token_sign(const zts_table *table, uint64_t handle, uint32_t operation, const uint8_t *body,
                          size_t body_bytes, uint8_t token[ZTS_TOKEN_BYTES]) ZTS_MUST_USE;

/* Many bodies in one buffer: body i is bytes[offsets[i] .. offsets[i+1]), or with offsets NULL,
 * bytes[i*stride .. (i+1)*stride). Bounds are the caller's to check, once. */
typedef struct {
    const uint8_t *bytes;
    const uint64_t *offsets;
    size_t stride;
} zts_bodies;

ZTS_INLINE const uint8_t *zts_body_at(const zts_bodies *b, size_t i, size_t *bytes) {
    if (b->offsets) {
        *bytes = (size_t)(b->offsets[i + 1] - b->offsets[i]);
        return b->bytes + b->offsets[i];
    }
    *bytes = b->stride;
    return b->bytes + i * b->stride;
}

/* verdicts[i] for token i, in order: of one token given twice the first is accepted. Returns how many are OK. */
size_t zts_token_verify_batch(const zts_table *table, const uint8_t *tokens, const zts_bodies *bodies,
                              size_t count, uint32_t operation, uint8_t *verdicts);

/* All or nothing: on any other status no token of the batch may be used. */
zts_status zts_token_sign_batch(const zts_table *table, uint64_t handle, uint32_t operation,
                                const zts_bodies *bodies, size_t count, uint8_t *tokens) ZTS_MUST_USE;

#endif
