#include "zts_keys.h"

static const char CHAIN_LABEL[] = "ztsession v1 chain";

static void chain_start(const zts_sha256_backend *backend, const uint8_t secret[ZTS_SECRET_BYTES],
                        const uint8_t nonce[ZTS_NONCE_BYTES], int direction, uint64_t handle,
                        uint8_t chain[ZTS_SECRET_BYTES]) {
    uint8_t info[sizeof CHAIN_LABEL - 1 + 1 + 8];
    memcpy(info, CHAIN_LABEL, sizeof CHAIN_LABEL - 1);
    info[sizeof CHAIN_LABEL - 1] = (uint8_t)direction;
    zts_store64(info + sizeof CHAIN_LABEL, handle);
    zts_hkdf(backend, secret, nonce, info, sizeof info, chain);
}

/* Moves the chain one epoch on, leaving the passed epoch's token key in `key` unless that is NULL. */
static void chain_step(const zts_sha256_backend *backend, uint8_t chain[ZTS_SECRET_BYTES], zts_hmac_key *key) {
    zts_hmac_key pads;
    uint8_t token_key[ZTS_SHA256_BYTES];
    zts_hmac_key_init(backend, &pads, chain, ZTS_SECRET_BYTES);
    if (key) {
        zts_hmac_with_key(backend, &pads, (const uint8_t[]){0x01}, 1, token_key);
        zts_hmac_key_init(backend, key, token_key, sizeof token_key);
        zts_wipe(token_key, sizeof token_key);
    }
    zts_hmac_with_key(backend, &pads, (const uint8_t[]){0x02}, 1, chain);
    zts_wipe(&pads, sizeof pads);
}

void zts_keyring_start(const zts_sha256_backend *backend, zts_keyring *ring,
                       const uint8_t secret[ZTS_SECRET_BYTES], const uint8_t nonce[ZTS_NONCE_BYTES],
                       int receives, uint64_t handle, uint32_t epoch) {
    memset(ring, 0, sizeof *ring);
    chain_start(backend, secret, nonce, receives, handle, ring->receive_chain);
    chain_start(backend, secret, nonce, 1 - receives, handle, ring->send_chain);
    chain_step(backend, ring->receive_chain, &ring->receive[epoch % ZTS_KEYS_HELD]);
    chain_step(backend, ring->receive_chain, &ring->receive[(epoch + 1) % ZTS_KEYS_HELD]);
    chain_step(backend, ring->send_chain, &ring->send);
}

void zts_keyring_advance(const zts_sha256_backend *backend, zts_keyring *ring, uint32_t epoch, uint32_t steps) {
    for (uint32_t i = 1; i <= steps; i++) {
        const uint32_t next = epoch + i + 1; /* after the last step: previous, current and next are held */
        const int held = next + 1 >= epoch + steps;
        chain_step(backend, ring->receive_chain, held ? &ring->receive[next % ZTS_KEYS_HELD] : NULL);
        chain_step(backend, ring->send_chain, i == steps ? &ring->send : NULL);
    }
}
