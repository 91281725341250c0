/* Keys of one installation: a chain per direction, one key per epoch.
 *
 *   chain[0][dir] = HKDF(segment_secret, salt = installation nonce, info = "ztsession v1 chain" || dir || handle)
 *   token_key[e]  = HMAC(chain[e], 0x01)      chain[e+1] = HMAC(chain[e], 0x02), chain[e] is wiped
 *
 * Counting starts at the epoch of the installation. A ring holds what a verifier may need (previous, current and
 * next key of the peer), what a signer needs (its own current key), and the chains beyond them: whoever reads a
 * ring learns nothing that was authenticated before its previous epoch. */
#ifndef ZTS_KEYS_H
#define ZTS_KEYS_H

#include "zts_hmac.h"

#define ZTS_KEYS_HELD 3

typedef struct {
    zts_hmac_key receive[ZTS_KEYS_HELD]; /* by epoch modulo 3 */
    zts_hmac_key send;
    uint8_t receive_chain[ZTS_SECRET_BYTES]; /* two epochs ahead of the current one */
    uint8_t send_chain[ZTS_SECRET_BYTES];    /* one epoch ahead */
} zts_keyring;

_Static_assert(sizeof(zts_keyring) == 5 * 64, "a key ring is five cache lines");

/* A fresh ring whose current epoch is `epoch`; `receives` is the direction that this side verifies. */
void zts_keyring_start(const zts_sha256_backend *backend, zts_keyring *ring,
                       const uint8_t secret[ZTS_SECRET_BYTES], const uint8_t nonce[ZTS_NONCE_BYTES],
                       int receives, uint64_t handle, uint32_t epoch);

/* From `epoch` to `epoch + steps`; steps >= 1. Costs ten compressions a step and key. */
void zts_keyring_advance(const zts_sha256_backend *backend, zts_keyring *ring, uint32_t epoch, uint32_t steps);

#endif
