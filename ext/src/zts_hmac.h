/* HMAC-SHA-256 (RFC 2104, FIPS 198-1) and HKDF-SHA-256 (RFC 5869), on any back end. */
#ifndef ZTS_HMAC_H
#define ZTS_HMAC_H

#include "zts_sha256.h"

/* Compresses the two key blocks once. Keys over 64 bytes are hashed first, as RFC 2104 says. */
void zts_hmac_key_init(const zts_sha256_backend *backend, zts_hmac_key *key, const uint8_t *secret,
                       size_t secret_bytes);

void zts_hmac_with_key(const zts_sha256_backend *backend, const zts_hmac_key *key, const uint8_t *message,
                       size_t bytes, uint8_t mac[ZTS_SHA256_BYTES]);

void zts_hmac(const zts_sha256_backend *backend, const uint8_t *secret, size_t secret_bytes,
              const uint8_t *message, size_t bytes, uint8_t mac[ZTS_SHA256_BYTES]);

/* Extract and expand to one digest: all that this protocol ever derives at a time. */
void zts_hkdf(const zts_sha256_backend *backend, const uint8_t secret[ZTS_SECRET_BYTES],
              const uint8_t salt[ZTS_NONCE_BYTES], const uint8_t *info, size_t info_bytes,
              uint8_t out[ZTS_SECRET_BYTES]);

#endif
