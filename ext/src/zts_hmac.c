#include "zts_hmac.h"

enum { HKDF_INFO_MAXBYTES = 128 };

void zts_hmac_key_init(const zts_sha256_backend *backend, zts_hmac_key *key, const uint8_t *secret,
                       size_t secret_bytes) {
    uint8_t block[ZTS_SHA256_BLOCKBYTES] = {0};
    if (secret_bytes > sizeof block)
        zts_sha256(backend, secret, secret_bytes, block);
    else if (secret_bytes)
        memcpy(block, secret, secret_bytes);
    for (size_t i = 0; i < sizeof block; i++) block[i] ^= 0x36;
    memcpy(key->inner, zts_sha256_initial, sizeof key->inner);
    backend->compress(key->inner, block, 1);
    for (size_t i = 0; i < sizeof block; i++) block[i] ^= 0x36 ^ 0x5c;
    memcpy(key->outer, zts_sha256_initial, sizeof key->outer);
    backend->compress(key->outer, block, 1);
    zts_wipe(block, sizeof block);
}

void zts_hmac_with_key(const zts_sha256_backend *backend, const zts_hmac_key *key, const uint8_t *message,
                       size_t bytes, uint8_t mac[ZTS_SHA256_BYTES]) {
    uint32_t state[8];
    uint8_t digest[ZTS_SHA256_BYTES];
    const size_t blocks = bytes / ZTS_SHA256_BLOCKBYTES, whole = blocks * ZTS_SHA256_BLOCKBYTES;
    memcpy(state, key->inner, sizeof state);
    if (blocks) backend->compress(state, message, blocks);
    zts_sha256_finish(backend, state, blocks ? message + whole : message, bytes - whole,
                      ZTS_SHA256_BLOCKBYTES + (uint64_t)bytes, digest);
    memcpy(state, key->outer, sizeof state);
    zts_sha256_finish(backend, state, digest, sizeof digest, ZTS_SHA256_BLOCKBYTES + sizeof digest, mac);
    zts_wipe(digest, sizeof digest);
    zts_wipe(state, sizeof state);
}

void zts_hmac(const zts_sha256_backend *backend, const uint8_t *secret, size_t secret_bytes,
              const uint8_t *message, size_t bytes, uint8_t mac[ZTS_SHA256_BYTES]) {
    zts_hmac_key key;
    zts_hmac_key_init(backend, &key, secret, secret_bytes);
    zts_hmac_with_key(backend, &key, message, bytes, mac);
    zts_wipe(&key, sizeof key);
}

void zts_hkdf(const zts_sha256_backend *backend, const uint8_t secret[ZTS_SECRET_BYTES],
              const uint8_t salt[ZTS_NONCE_BYTES], const uint8_t *info, size_t info_bytes,
              uint8_t out[ZTS_SECRET_BYTES]) {
    uint8_t extracted[ZTS_SHA256_BYTES], block[HKDF_INFO_MAXBYTES + 1];
    if (info_bytes > HKDF_INFO_MAXBYTES) __builtin_trap(); /* every label is a constant of this core */
    zts_hmac(backend, salt, ZTS_NONCE_BYTES, secret, ZTS_SECRET_BYTES, extracted);
    memcpy(block, info, info_bytes);
    block[info_bytes] = 0x01;
    zts_hmac(backend, extracted, sizeof extracted, block, info_bytes + 1, out);
    zts_wipe(extracted, sizeof extracted);
}
