/* A million clients at once: their keys and their tokens, without a table for each.
 *
 * A client's own table holds one session, and a million of these would measure nothing but themselves. Keys are derived
 * here by the same code that the enforcement point runs, from the handle that the point gave. */
#include "zts_keys.h"
#include "zts_wire.h"

#include <stdlib.h>

/* The token key of each handle in `epoch`, for tokens from client to point; every session has the given secret and
 * nonce, and its own keys by its handle. */
void fleet_keys(const uint8_t secret[ZTS_SECRET_BYTES], const uint8_t nonce[ZTS_NONCE_BYTES], uint32_t epoch,
                const uint64_t *handles, size_t count, zts_hmac_key *keys) {
    const zts_sha256_backend *backend = zts_sha256_best();
    for (size_t i = 0; i < count; i++) {
        zts_keyring ring;
        zts_keyring_start(backend, &ring, secret, nonce, ZTS_DIRECTION_REQUEST, handles[i], epoch);
        keys[i] = ring.receive[epoch % ZTS_KEYS_HELD];
    }
}

/* Token i is of session order[i] and covers bodies[i * stride ..]; stride 0 gives every token the same body. */
void fleet_sign(const zts_hmac_key *keys, const uint64_t *handles, const uint32_t *order, size_t count,
                uint32_t epoch, uint64_t sequence, uint64_t issued_at_us, uint32_t operation,
                const uint8_t *bodies, size_t body_bytes, size_t stride, uint8_t *tokens) {
    const zts_sha256_backend *backend = zts_sha256_best();
    for (size_t i = 0; i < count; i++) {
        uint8_t *token = tokens + i * ZTS_TOKEN_BYTES;
        const zts_header header = {
            .version = ZTS_PROTOCOL_VERSION,
            .flags = ZTS_DIRECTION_REQUEST,
            .operation = (uint16_t)operation,
            .epoch = epoch,
            .handle = handles[order[i]],
            .sequence = sequence,
            .issued_at_us = issued_at_us,
        };
        const zts_mac_job job = {&keys[order[i]], (const uint8_t *)&header, bodies + i * stride, body_bytes};
        backend->mac(&job, token + ZTS_TOKEN_HEADERBYTES);
        memcpy(token, &header, sizeof header);
    }
}

size_t fleet_key_bytes(void) { return sizeof(zts_hmac_key); }
